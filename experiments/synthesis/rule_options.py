"""Turns command-line options (update rule, pixel map, filter, stopping) into `imgopt`'s objects."""

import ast
import math
from dataclasses import dataclass
from typing import Literal

import optax

import imgopt
from experiments.console.options import check_unused
from imgopt.errors import InputError

PIXEL_MAPS = {
    "arctan": imgopt.arctan_map,
    "tanh": imgopt.tanh_map,
    "sigmoid": imgopt.sigmoid_map,
}

RuleOption = bool | int | float | str | None
"""Value of an option of a rule."""

MAX_STEPS = 2**31 - 1
"""Largest int32, since an image's updates are counted in one."""


@dataclass(frozen=True)
class RuleConfig:
    """How the images are optimised."""

    rule: str = "polyak-lbfgs"
    """Update rule: polyak-lbfgs or polyak, which need no learning rate; sgd or momentum, paper
    A's; or the name of any rule of optax or optax.contrib, such as adam."""
    rule_options: tuple[str, ...] = ()
    """Options of the rule as name=value, such as: learning_rate=0.1 form=printed."""
    pixel_map: Literal["arctan", "tanh", "sigmoid"] = "arctan"
    """Map between pixels and weights."""
    margin: float = 1e-3
    """Distance that the map keeps from black and white, above 0 and below 0.5/255."""
    filter: Literal["none", "low-pass", "gaussian"] = "none"
    """Filter between the map and the classifier; it is also applied to the finished image."""
    radius: float = 10.0
    """Radius of the low-pass filter, in cycles an image."""
    sigma: float = 1.0
    """Standard deviation of the Gaussian filter, in pixels."""
    steps: int = 50
    """Largest number of updates; without a tolerance every image takes all of them."""
    tolerance: float | None = 0.01
    """An image stops once its criterion is at or below this. None: never, as in paper A."""
    criterion: Literal["kl", "max_error"] = "kl"
    """Quantity that the tolerance limits: KL(target ‖ output) in nats, or the largest error."""

    def __post_init__(self) -> None:
        """Raises InputError for an option that has no effect without another one."""
        if self.filter != "low-pass":
            check_unused(self, "radius", why="without --filter low-pass")
        if self.filter != "gaussian":
            check_unused(self, "sigma", why="without --filter gaussian")
        if self.tolerance is None:
            check_unused(self, "criterion", why="without --tolerance")

    def describe(self) -> dict[str, object]:
        """Everything that the images depend on: the options in use, with the rule's parsed."""
        filters = {
            "none": {},
            "low-pass": {"radius": self.radius},
            "gaussian": {"sigma": self.sigma},
        }
        stopping = {} if self.tolerance is None else {"criterion": self.criterion}
        return {
            "rule": {"name": self.rule, **parse_options(self.rule_options)},
            "pixel_map": {"name": self.pixel_map, "margin": self.margin},
            "filter": {"name": self.filter, **filters[self.filter]},
            "steps": self.steps,
            "tolerance": self.tolerance,
            **stopping,
        }


PAPER_RULE = RuleConfig(rule="sgd", steps=100, tolerance=None)
"""Paper A's defaults."""


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


def parse_options(words: tuple[str, ...]) -> dict[str, RuleOption]:
    """Turns ("learning_rate=0.1", "form=printed") into a dict; values are Python literals or text.

    Raises:
        InputError: a word is not of the form name=value, or the value is neither a finite number
            nor True, False, None or a word.
    """
    options = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not (equals and name.isidentifier()):
            raise InputError(f"a rule's option must be name=value, got {word!r}")
        options[name] = _parse_value(value)
    return options


def _parse_value(text: str) -> RuleOption:
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError):
        return text
    if isinstance(value, float) and math.isfinite(value):
        return value
    if value is None or isinstance(value, int | str):  # a bool is an int
        return value
    raise InputError(
        f"a rule's option must be a finite number, True, False, None or a word, got {text!r}"
    )
