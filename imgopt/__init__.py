"""Synthesis by pixel optimisation: images that elicit a chosen output from a frozen classifier.

The classifier stays fixed and the image moves. A pixel map turns the pixels into unconstrained
weights. An update rule descends the cross entropy between the classifier's whole softmax and the
target, the distribution that was asked for. Then the weights become an image again. This package
knows no network: a classifier is any callable, traceable by JAX, from float32 images (n, h, w, c)
in [0, 1] to logits (n, k).

Method: Hirano, Iwamura, Kise, "Image generation that elicits an arbitrary output from a trained
model, and training with it" (paper A; equations are quoted as "A, eq. 2").
"""

from elicit_jax import interface

__getattr__, __dir__, __all__ = interface(__name__, __file__)
