"""The arms of `elicit experiment does-it-help`: what each adds to the base, and its control.

A matched control differs from its arm in the pixels of the made images alone: it has the same
steps, the same number of views, and the same labels or teachers, on the originals' pixels. So the
difference between the two is what the making of images does.
"""

from dataclasses import dataclass, field
from typing import Any, Literal

Made = Literal["paper", "views", "gan"]

BASE = "base"
"""Slug of the base: the real images alone."""

MIXUP_ALPHA = CUTMIX_ALPHA = 1.0
"""α on CIFAR-10 in the papers of mixup (Zhang et al. 2018) and CutMix (Yun et al. 2019)."""

SMOOTHING = 0.1
"""ε of label smoothing (Szegedy et al. 2016)."""

REPLACED = 0.3
"""Share of replaced images with the highest accuracy in paper A's table 1."""


@dataclass(frozen=True)
class HelpArm:
    """One way to train on the few images.

    Attributes:
        name: name in tables.
        control: slug of the matched control; None for an arm that is compared with the base alone.
        is_main: whether it is trained with all seeds, and not with --other-seeds of them.
        made: set of made images that it uses; None for none.
        use: what becomes of the set: replacements, second views in the same batch, or examples.
        labels_only: whether only the outputs of the set are used, with the originals' pixels.
        has_teacher: whether the teachers are asked for the outputs of second views.
        has_more_images: whether it trains on twice as many real images.
        recipe: options of `train.recipes.options.Recipe`.
        synthesis: options of `TrainingSynthesis`.
    """

    name: str
    control: str | None = None
    is_main: bool = False
    made: Made | None = None
    use: Literal["replace", "second-view", "extra"] | None = None
    labels_only: bool = False
    has_teacher: bool = False
    has_more_images: bool = False
    recipe: dict[str, Any] = field(default_factory=dict)
    synthesis: dict[str, Any] = field(default_factory=dict)


def _second_view(
    name: str, control: str | None = None, *, labels: str = "teacher", **options: Any
) -> HelpArm:
    """An arm with two views of every image in a batch."""
    recipe = {"labels": labels, **options.pop("recipe", {})}
    if labels == "teacher":
        recipe["teacher_weight"] = 0.0  # for made images alone; originals keep their labels
    return HelpArm(
        name, control, made="views", use="second-view", recipe=recipe,
        has_teacher=labels == "teacher", **options,
    )  # fmt: skip


ARMS: dict[str, HelpArm] = {
    BASE: HelpArm("real images", is_main=True),
    "two-views": _second_view(
        "two views of each image", labels="class", labels_only=True, is_main=True
    ),
    "smoothing": HelpArm("label smoothing", recipe={"label_smoothing": SMOOTHING}),
    "mixup": HelpArm("mixup", recipe={"mixup": MIXUP_ALPHA}),
    "cutmix": HelpArm("CutMix", is_main=True, recipe={"cutmix": CUTMIX_ALPHA}),
    "teacher": _second_view(
        "two views, teacher's outputs", labels_only=True, is_main=True
    ),
    "teacher-cutmix": _second_view(
        "two views, teacher's outputs, CutMix", labels_only=True, is_main=True,
        recipe={"cutmix": CUTMIX_ALPHA},
    ),
    "paper-labels": HelpArm(
        "30% with the outputs of paper A's images", made="paper", use="replace", labels_only=True
    ),
    "paper": HelpArm(
        "30% replaced by paper A's images", "paper-labels", made="paper", use="replace"
    ),
    "survives": _second_view(
        "images that survive augmentation", "teacher", is_main=True
    ),
    "survives-cutmix": _second_view(
        "images that survive augmentation, CutMix", "teacher-cutmix",
        is_main=True, recipe={"cutmix": CUTMIX_ALPHA},
    ),
    "during": HelpArm(
        "images made during training", BASE, synthesis={"synthesize_every": 4}
    ),
    "gan-tp": HelpArm("true positives of a GAN", BASE, made="gan", use="extra"),
    "more-real": HelpArm("twice as many real images", has_more_images=True),
}  # fmt: skip
"""All arms by slug, from top to bottom. A control stands before the arms that it is a control for.
Images made during training are made in every fourth batch, so their matched control is the base
with equal compute."""


def with_controls(slugs: tuple[str, ...]) -> tuple[str, ...]:
    """The arms asked for with their controls and the base, in the order of the table."""
    wanted = {BASE, *slugs}
    wanted |= {control for slug in slugs if (control := ARMS[slug].control)}
    return tuple(slug for slug in ARMS if slug in wanted)
