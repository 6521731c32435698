"""Synthesis within a training step: images made from the batch's images, with their outputs."""

from typing import NamedTuple

import jax
from jaxtyping import Array, Float, Int, Key

from imgopt import rule_by_name, transform
from imgopt.classifier import Classify
from train.recipes.options import TrainingSynthesis
from train.recipes.targets import draw_two_class_targets


class MadeImages(NamedTuple):
    """Images made within a step.

    Attributes:
        images: Finished images in [0, 1], not rounded.
        outputs: The classifier's softmax for them, rounded to 8 bits.
    """

    images: Float[Array, "n h w c"]
    outputs: Float[Array, "n k"]


def make_images(
    key: Key[Array, ""],
    classify: Classify,
    images: Float[Array, "n h w c"],
    labels: Int[Array, " n"],
    *,
    num_classes: int,
    options: TrainingSynthesis,
) -> MadeImages:
    """Optimises every image of a batch towards a two-class target, by a fixed number of updates.

    Args:
        key: Source of the targets' other classes.
        classify: Function from images in [0, 1] to logits, in evaluation mode.
        images: Images of the batch, as augmented.
        labels: Their classes.
        num_classes: k, at least 2.
        options: Rule, number of updates and the label's own probability.
    """
    targets = draw_two_class_targets(
        key, labels, num_classes=num_classes, own=options.synthesize_own
    )
    rule = rule_by_name(options.synthesize_rule)
    init, update, finish = transform(classify, targets, optimizer=rule)
    state = jax.lax.fori_loop(
        0, options.synthesize_updates, lambda _, state: update(state), init(images)
    )
    made = finish(state)
    return MadeImages(made.images, made.outputs)
