"""The optimisation of one image, update by update, for the page to watch."""

import math
import secrets
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Float

import imgopt
from experiments.explore.pictures import StartPicture, Uploads, pick, png_text
from experiments.explore.subject import Subject
from experiments.options.synthesis import RuleConfig
from experiments.synthesis.rule_options import synthesis_options
from imgopt.errors import InputError
from imgopt.targets import SUM_TOLERANCE
from train.storage.typed_json import from_json

MOST_RULES = 2
"""Rules that are shown side by side."""

MOST_UPDATES = 10_000

KEPT_RUNS = 16
"""Optimisations that can still go on; the oldest is forgotten first."""

FIELDS = ("image", "upload", "target", "rules")


class OptimisationRequest(NamedTuple):
    """A request of the page for an optimisation.

    Attributes:
        picture: where to start.
        target: the distribution over the classes that is asked for.
        rules: one or two update rules, each with the map, the filter and when to stop.
    """

    picture: StartPicture
    target: Float[np.ndarray, " k"]
    rules: tuple[RuleConfig, ...]


def read_request(subject: Subject, uploads: Uploads, fields: Any) -> OptimisationRequest:
    """Reads a request from the page's JSON.

    Args:
        subject: the classifier and its data set.
        uploads: the pictures that can be named.
        fields: an object with `target`, `rules`, and `image` (a number) or `upload` (a name).

    Raises:
        InputError: a field is missing or wrong; nothing is compiled then.
    """
    if not isinstance(fields, Mapping):
        raise InputError(f"expected an object with the fields {', '.join(FIELDS)}")
    rules = fields.get("rules")
    if not (isinstance(rules, list) and 1 <= len(rules) <= MOST_RULES):
        raise InputError(f"expected 1 or {MOST_RULES} rules, got {rules!r:.60}")
    picture = _picture(subject, uploads, fields)
    target = read_target(fields.get("target"), subject.class_names)
    chosen = tuple(from_json(RuleConfig, rule) for rule in rules)
    for rule in chosen:
        if not 0 <= rule.steps <= MOST_UPDATES:
            raise InputError(f"updates must be 0 to {MOST_UPDATES:,}, got {rule.steps}")
    return OptimisationRequest(picture, target, chosen)


def _picture(subject: Subject, uploads: Uploads, request: Mapping[str, Any]) -> StartPicture:
    upload, index = request.get("upload"), request.get("image")
    if isinstance(upload, str):
        return uploads.get(upload)
    if type(index) is not int:
        raise InputError(f"image must be a whole number, got {index!r:.40}")
    return pick(subject, index)


def read_target(values: Any, class_names: tuple[str, ...]) -> Float[np.ndarray, " k"]:
    """Checks a target that was put together on the page.

    Args:
        values: numbers, one for each class.
        class_names: names of the classes.

    Raises:
        InputError: they are no numbers, are negative, do not sum to 1, or are too many or few.
    """
    if not (isinstance(values, list) and all(type(v) in (int, float) for v in values)):
        raise InputError("the target must be numbers, one for each class")
    if len(values) != len(class_names):
        raise InputError(
            f"the target must have {len(class_names)} numbers, one for each class; got "
            f"{len(values)}"
        )
    if not all(0 <= value <= 1 for value in values):
        raise InputError("the target's numbers must be 0 to 1")
    total = math.fsum(values)
    if abs(total - 1) > SUM_TOLERANCE:
        raise InputError(f"the target must sum to 1, got {total:.4f}")
    return imgopt.check_targets(np.array([values], np.float32), count=1)[0]


@dataclass
class RuleProgress:
    """The updates of one rule.

    Attributes:
        found: gives the image before the first update and after each one.
        number: 0 for the first rule, 1 for the second.
    """

    found: Iterator[imgopt.Synthesis]
    number: int
    is_done: bool = False

    def frame(self) -> dict[str, Any] | None:
        """The next image and its measures as JSON; None after the last."""
        found = None if self.is_done else next(self.found, None)
        if found is None:
            self.is_done = True
            return None
        pixels, found = jax.device_get((imgopt.to_uint8(found.images), found))
        return {
            "rule": self.number,
            "step": int(found.steps[0]),
            "image": png_text(np.asarray(pixels[0])),
            "output": [_number(value) for value in found.outputs[0]],
            "kl": _number(found.kl[0]),
            "max_error": _number(found.max_error[0]),
            "frozen": _number(found.frozen[0]),
        }


def _number(value: Any) -> float | None:
    """A number as JSON has it; None for what is not finite."""
    return float(f"{value:.6g}") if math.isfinite(value) else None


class Optimisation:
    """The optimisation of one image, by one or two rules, an update at a time."""

    def __init__(self, subject: Subject, request: OptimisationRequest) -> None:
        """Checks the rules; raises InputError before anything is compiled."""
        self._tracks = [
            RuleProgress(_iterate(subject, request, rule), number)
            for number, rule in enumerate(request.rules)
        ]
        self._lock = threading.Lock()
        self._last: list[dict[str, Any]] = []

    def advance(self) -> list[dict[str, Any]]:
        """Makes one update by each rule; gives the frames of those that are not done."""
        with self._lock:
            frames = [frame for each in self._tracks if (frame := each.frame()) is not None]
            self._last = frames or self._last
            return frames

    @property
    def is_done(self) -> bool:
        """Whether every rule has met its tolerance."""
        return all(each.is_done for each in self._tracks)

    def missed(self, after: int) -> list[dict[str, Any]]:
        """The last frames, if the page, which was stopped `after` an update, has not had them."""
        return [frame for frame in self._last if frame["step"] > after]


def _iterate(
    subject: Subject, request: OptimisationRequest, rule: RuleConfig
) -> Iterator[imgopt.Synthesis]:
    picture = request.picture
    return imgopt.iterate(
        subject.classify,
        imgopt.to_float(picture.pixels[None]),
        request.target[None],
        steps=MOST_UPDATES,
        indices=np.array([picture.number]),
        **_options(rule),
    )


def _options(rule: RuleConfig) -> imgopt.Options:
    """Options of `imgopt.iterate`; defaults are left out, so that nothing is traced again."""
    made, usual = synthesis_options(rule), RuleConfig()
    options: imgopt.Options = {"tolerance": made.tolerance, "criterion": made.criterion}
    if (rule.rule, rule.rule_options) != (usual.rule, usual.rule_options):
        options["optimizer"] = made.optimizer
    if (rule.pixel_map, rule.margin) != (usual.pixel_map, usual.margin):
        options["pixel_map"] = made.pixel_map
    if made.image_filter is not None:
        options["image_filter"] = made.image_filter
    return options


class Optimisations:
    """The last optimisations by name, each of which can go on."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, Optimisation] = OrderedDict()

    def add(self, optimisation: Optimisation) -> str:
        """Keeps an optimisation, and gives a name that nobody can guess."""
        name = secrets.token_hex(8)
        self._kept[name] = optimisation
        while len(self._kept) > KEPT_RUNS:
            self._kept.popitem(last=False)
        return name

    def get(self, name: str) -> Optimisation:
        """An optimisation by its name.

        Raises:
            InputError: it is not kept any longer.
        """
        if name not in self._kept:
            raise InputError("this optimisation is no longer kept; run it again")
        return self._kept[name]
