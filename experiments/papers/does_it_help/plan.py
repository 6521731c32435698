"""The plan of `elicit experiment does-it-help`: its pieces, and how long each arm trains.

Every seed draws a subset of its own, so an interval holds for the choice of images as well as for
the chance in a training. All arms of a seed share the subset, and are compared in pairs.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from experiments.classifier.fit_to_set import fit_to_set
from experiments.options.classifier import ClassifierTrainConfig
from experiments.options.data import SubsetConfig
from experiments.options.gan import GanSampleConfig, GanTrainConfig
from experiments.options.synthesis import RuleConfig, SynthesizeConfig, ViewConfig
from experiments.papers.does_it_help.arms import ARMS, REPLACED, HelpArm
from experiments.papers.engine.cost import training_flop
from experiments.papers.engine.plan import ONLY_THE_LAST, Arm, At, Build, Plan, Row, place
from experiments.papers.engine.set_sizes import SetSizes
from train.recipes.options import TrainingSynthesis
from train.recipes.train_options import TrainConfig

TEACHER_KEYS = 1_000_000
"""Added to a seed, times the teacher's number, for the teacher's key: it differs from all
students'."""

NEGLECTED = 0.01
"""Share of an update's FLOP that is neglected with equal compute, such as for mixing images."""


@dataclass(frozen=True)
class HelpSettings:
    """What the pieces are made of.

    Attributes:
        dataset: name or directory of the data set, with the splits train and test.
        data_dir: TFDS's data directory, for a name.
        num_classes: number of its classes.
        per_class: images of each class in a subset.
        model: architecture of all classifiers.
        width: factor on its channel counts.
        train: training of the base, with its batch size and steps.
        teachers: number of teachers of each subset.
        updates: updates of every image in the making of image sets.
        view: augmentations that images are made to survive.
        gan: options of the GAN's training.
    """

    dataset: str
    data_dir: Path | None
    num_classes: int
    per_class: int
    model: str
    width: float
    train: TrainConfig
    teachers: int
    updates: int
    view: ViewConfig
    gan: Mapping[str, Any]


class Lengths(NamedTuple):
    """How long the arms train.

    Attributes:
        flop: FLOP of an update, on average, by arm.
        steps: updates by budget and arm. With the budget "steps" all have the base's; with the
            budget "compute" all have the FLOP of the most expensive arm with the base's updates.
    """

    flop: dict[str, float]
    steps: dict[str, dict[str, int]]


def base_training(train: TrainConfig, images: int) -> TrainConfig:
    """The base's training with the batch size and updates that a training set asks for.

    Args:
        train: its options.
        images: number of training images.
    """
    fitted = fit_to_set(train, images)
    return replace(fitted, epochs=TrainConfig.epochs, steps=fitted.budget.total_steps(images))


def make_lengths(settings: HelpSettings, slugs: Sequence[str]) -> Lengths:
    """Counts the FLOP of every arm's update, and the updates that equal compute allows.

    Args:
        settings: what the pieces are made of.
        slugs: the arms.
    """
    steps = settings.train.budget.total_steps(settings.per_class * settings.num_classes)
    builds: dict[str, Build] = dict(_pieces(settings, 0))
    builds |= {slug: _training(settings, ARMS[slug], 0, steps) for slug in slugs}
    pieces = place(Plan((), (), builds), Path("pieces"), {})
    sizes = SetSizes(pieces)
    configs = {
        slug: sizes.config_at(str(pieces[slug].directory), ClassifierTrainConfig) for slug in slugs
    }
    flop = {slug: training_flop(config, sizes) for slug, config in configs.items()}
    most = max(flop.values())
    return Lengths(
        flop,
        {
            "steps": dict.fromkeys(slugs, steps),
            "compute": {slug: _steps_for(most / own, steps) for slug, own in flop.items()},
        },
    )


def _steps_for(ratio: float, steps: int) -> int:
    """Updates that cost as much as `steps` of the most expensive arm, which costs `ratio` times."""
    return steps if ratio < 1 + NEGLECTED else round(steps * ratio)


def make_plan(settings: HelpSettings, lengths: Lengths, seeds: Mapping[str, Iterable[int]]) -> Plan:
    """Makes the plan: every seed's subset, teachers and image sets, and a training for every arm.

    Args:
        settings: what the pieces are made of.
        lengths: how long the arms train.
        seeds: the seeds of each arm.
    """
    builds: dict[str, Build] = {}
    arms = []
    for seed in sorted({seed for own in seeds.values() for seed in own}):
        builds |= _pieces(settings, seed)
        for budget, steps_of in lengths.steps.items():
            for slug in (slug for slug, own in seeds.items() if seed in own):
                steps = steps_of[slug]
                name = f"{slug}-{steps}-seed-{seed}"
                builds[name] = _training(settings, ARMS[slug], seed, steps)
                arms.append(Arm(slug, seed, budget, name))
    rows = tuple(Row(slug, ARMS[slug].name) for slug in seeds)
    return Plan(rows, tuple(arms), builds)


def _pieces(settings: HelpSettings, seed: int) -> dict[str, Build]:
    """Subsets, teachers and image sets of a seed, by name; only those that arms need are made."""

    def subset(per_class: int) -> Build:
        return lambda _, out: SubsetConfig(
            settings.dataset, out, settings.data_dir, split=("train",),
            per_class=per_class, test_per_class=0, key=seed,
        )  # fmt: skip

    def synthesis(view: ViewConfig) -> Build:
        return lambda at, out: SynthesizeConfig(
            tuple(map(str, _teachers(settings, at, seed))),
            str(at(f"subset-{seed}")),
            out,
            rule=RuleConfig(steps=settings.updates),
            view=view,
            batch_size=256,  # chosen by memory, it would round differently on another machine
            key=seed,
        )

    def gan(at: At, out: Path) -> GanTrainConfig:
        return GanTrainConfig(str(at(f"subset-{seed}")), out, key=seed, **settings.gan)

    def samples(at: At, out: Path) -> GanSampleConfig:
        return GanSampleConfig(
            str(at(f"gan-{seed}")), out, settings.per_class, keep="tp", skip_dry_classes=True,
            classifier=str(at(f"teacher-0-{seed}")), key=seed,
        )  # fmt: skip

    teachers = {
        f"teacher-{number}-{seed}": _teacher(settings, seed, number)
        for number in range(settings.teachers)
    }
    return {
        f"subset-{seed}": subset(settings.per_class),
        f"larger-{seed}": subset(2 * settings.per_class),
        **teachers,
        f"paper-set-{seed}": synthesis(ViewConfig()),
        f"views-set-{seed}": synthesis(settings.view),
        f"gan-{seed}": gan,
        f"gan-set-{seed}": samples,
    }


def _teachers(settings: HelpSettings, at: At, seed: int) -> tuple[Path, ...]:
    return tuple(at(f"teacher-{number}-{seed}") for number in range(settings.teachers))


def _teacher(settings: HelpSettings, seed: int, number: int) -> Build:
    """A classifier trained as the base is, on the same few images, from another key."""

    def build(at: At, out: Path) -> ClassifierTrainConfig:
        steps = settings.train.budget.total_steps(settings.per_class * settings.num_classes)
        base = _training(settings, HelpArm("teacher"), seed, steps)(at, out)
        return replace(base, key=seed + (number + 1) * TEACHER_KEYS)

    return build


def _training(
    settings: HelpSettings, arm: HelpArm, seed: int, steps: int
) -> Callable[[At, Path], ClassifierTrainConfig]:
    """The training of an arm, with so many updates."""

    def build(at: At, out: Path) -> ClassifierTrainConfig:
        recipe = replace(settings.train.recipe, **arm.recipe)
        if arm.synthesis:
            recipe = replace(recipe, synthesis=TrainingSynthesis(**arm.synthesis))
        options: dict[str, Any] = {}
        if arm.made:
            options = _use_of(arm, at(f"{arm.made}-set-{seed}"))
        if arm.has_teacher:
            options["teacher"] = _teachers(settings, at, seed)
        loss = "mixed" if arm.use == "replace" else "cross-entropy"
        return ClassifierTrainConfig(
            data=str(at(f"{'larger' if arm.has_more_images else 'subset'}-{seed}")),
            out=out,
            model=settings.model,
            width=settings.width,
            data_dir=settings.data_dir,
            test_data=settings.dataset,
            test_every=ONLY_THE_LAST,
            key=seed,
            train=replace(settings.train, steps=steps, loss=loss, recipe=recipe),
            **options,
        )

    return build


def _use_of(arm: HelpArm, made: Path) -> dict[str, Any]:
    """Options of a training that uses a set of made images."""
    match arm.use:
        case "replace":
            used: dict[str, Any] = {"replace": made, "fraction": REPLACED}
        case "second-view":
            used = {"add": made, "add_as": "second-view"}
        case _:
            return {"extra": (made,)}
    return {**used, "labels_only": arm.labels_only}
