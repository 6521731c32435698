"""Turns command-line options (update rule, pixel map, filter, stopping) into `imgopt`'s objects."""

import math
from dataclasses import dataclass
from typing import Literal

import optax

import imgopt
from experiments.options.attack import MAX_STEPS
from experiments.options.synthesis import (
    RuleConfig,
    RuleOption,
    parse_options,
)
from imgopt.errors import InputError

PIXEL_MAPS = {
    "arctan": imgopt.arctan_map,
    "tanh": imgopt.tanh_map,
    "sigmoid": imgopt.sigmoid_map,
}


@dataclass(frozen=True)
class SynthesisOptions:
    """Keyword arguments of `imgopt.synthesize`."""

    optimizer: optax.GradientTransformation
    pixel_map: imgopt.PixelMap
    image_filter: imgopt.ImageFilter | None
    steps: int
    tolerance: float | None
    criterion: Literal["kl", "max_error"]
    views: imgopt.Views | None = None
    loss: imgopt.Loss | None = None


def synthesis_options(config: RuleConfig) -> SynthesisOptions:
    """Makes the objects that the options name.

    Raises:
        InputError: an option is unknown or outside its range.
    """
    if not 0 <= config.steps <= MAX_STEPS:
        raise InputError(f"steps must be at least 0 and at most {MAX_STEPS}, got {config.steps}")
    if config.tolerance is not None and not 0 <= config.tolerance < math.inf:
        raise InputError(f"tolerance must be at least 0 and finite, got {config.tolerance}")
    rule_options = parse_options(config.rule_options)
    filters = {
        "none": lambda: None,
        "low-pass": lambda: imgopt.low_pass(config.radius),
        "gaussian": lambda: imgopt.gaussian_low_pass(config.sigma),
    }
    return SynthesisOptions(
        optimizer=_make_rule(config.rule, rule_options),
        pixel_map=PIXEL_MAPS[config.pixel_map](margin=config.margin),
        image_filter=filters[config.filter](),
        steps=config.steps,
        tolerance=config.tolerance,
        criterion=config.criterion,
    )


def _make_rule(name: str, options: dict[str, RuleOption]) -> optax.GradientTransformation:
    rate = options.get("learning_rate")
    if isinstance(rate, str):
        raise InputError(f"rule {name!r}: learning_rate must be a number, got {rate!r}")
    try:
        return imgopt.rule_by_name(name, **options)
    except InputError as error:
        if "missing" in str(error) and "'learning_rate'" in str(error):
            hint = "give --rule-options learning_rate=0.1"
            raise InputError(f"rule {name!r} needs a learning rate; {hint}") from error
        raise
