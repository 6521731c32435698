"""Makes the rule, loss and targets of an attack from its options."""

import jax
import numpy as np
import optax
from jaxtyping import Float

import imgopt
from experiments.options.attack import AttackConfig
from experiments.synthesis.rule_options import SynthesisOptions
from experiments.synthesis.target_options import class_number
from imgopt.errors import InputError
from imgopt.method import divergence
from train.data.image_data import ImageReader

LEVELS = 255


def attack_options(config: AttackConfig, *, seed: int) -> SynthesisOptions:
    """Makes the rule, map, loss and number of updates that the options name.

    Args:
        config: the options of an attack.
        seed: seed of the random starts.

    Raises:
        InputError: an option is outside its range.
    """
    losses = {
        "untargeted": imgopt.excluded_log_probability,
        "targeted": divergence,  # from all of one class, which is the cross entropy
        "output": None,
    }
    is_smallest = config.attack == "smallest"
    rule, steps = _rule(config, seed=seed)
    return SynthesisOptions(
        optimizer=rule,
        pixel_map=imgopt.identity_map(),
        image_filter=None,
        steps=steps,
        tolerance=None,
        criterion="kl",
        loss=imgopt.margin if is_smallest else losses[config.goal],
    )


def _rule(config: AttackConfig, *, seed: int) -> tuple[optax.GradientTransformation, int]:
    """The rule of an attack, and its number of updates."""
    radius = config.radius / LEVELS
    if config.attack == "fgsm":
        return imgopt.fgsm(radius, norm=config.norm), 1
    if config.attack == "pgd":
        rule = imgopt.pgd(
            radius,
            norm=config.norm,
            step_size=config.step_levels and config.step_levels / LEVELS,
            random_start=not config.start_at_image,
            seed=seed,
        )
        return rule, config.attack_steps + (not config.start_at_image)
    searches, updates = config.searches, config.search_updates
    rule = imgopt.smallest_perturbation(searches=searches, search_updates=updates)
    return rule, searches * updates


def attack_targets(
    config: AttackConfig, data: ImageReader, *, start: int, stop: int, key: int
) -> Float[np.ndarray, "n k"]:
    """Targets of an attack: all of a class to reach, or equal shares for all but the label.

    Args:
        config: the options, with a goal other than "output".
        data: the split.
        start: first image.
        stop: end of the range.
        key: seed of the classes to reach.

    Raises:
        InputError: there is no such class, or only one.
    """
    labels, num_classes = data.labels[start:stop], len(data.class_names)
    if num_classes < 2:
        raise InputError("an attack needs at least 2 classes, got 1")
    one_hot = np.eye(num_classes, dtype=np.float32)
    if config.goal == "untargeted":
        return (1 - one_hot[labels]) / np.float32(num_classes - 1)
    if config.target_class is not None:
        number = class_number(config.target_class, data.class_names)
        return np.tile(one_hot[number], (len(labels), 1))
    drawn = imgopt.two_class_targets(
        jax.random.key(key),
        labels,
        num_classes=num_classes,
        own=0,
        indices=np.arange(start, stop),
    )
    return np.asarray(drawn)
