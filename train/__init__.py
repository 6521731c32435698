"""Training: image sets, classifiers, losses, the training loop, checkpoints."""

from elicit_jax import interface

__getattr__, __dir__, __all__ = interface(__name__, __file__)
