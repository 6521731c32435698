"""The command `elicit experiment does-it-help`: do made images help, and how sure is that?

Classifiers are trained on a few images of each class, alone, with what the field expects beside
flip and crop, and with made images. Every arm of made images has a matched control, which differs
from it in the pixels alone.
"""

from pathlib import Path

import numpy as np

from experiments.options.papers import DoesItHelpConfig
from experiments.papers.does_it_help.arms import ARMS, with_controls
from experiments.papers.does_it_help.pages import write_help_pages
from experiments.papers.does_it_help.plan import (
    HelpSettings,
    Lengths,
    base_training,
    make_lengths,
    make_plan,
)
from experiments.papers.engine.experiment import Experiment, ExperimentResult
from experiments.papers.engine.results import machine_identity, training_record
from experiments.papers.engine.run import run_plan
from imgopt.errors import InputError
from train.data.image_data import ImageReader
from train.data.load import data_digest, open_images
from train.models.networks import check_image_shape
from train.storage.runs import as_json, read_result

SETTINGS = (
    "per_class", "seeds", "other_seeds", "model", "width", "teachers", "updates", "views",
    "gan_epochs", "gan_width",
)  # fmt: skip
"""Options that the results depend on, beside the key."""

MEASURES = ("test_loss", "calibration_error")
"""Measures of a training's result beside its accuracy."""


def does_it_help(config: DoesItHelpConfig) -> ExperimentResult | None:
    """Runs the command.

    Args:
        config: what to compare.

    Returns:
        The results; None after a dry run.

    Raises:
        InputError: something does not fit, found before anything is compiled or written.
        FloatingPointError: a loss, an image or a classifier's output is not finite.
    """
    readers = {
        split: open_images(config.data, split, data_dir=config.data_dir)
        for split in ("train", "test")
    }
    check_image_shape(
        config.model, readers["train"].image_shape, num_classes=len(readers["train"].class_names)
    )
    slugs = _choose_arms(config, readers["train"])
    settings = _settings(config, readers["train"])
    lengths = make_lengths(settings, slugs)
    plan = make_plan(settings, lengths, {slug: _seeds_of(config, slug) for slug in slugs})
    return run_plan(DOES_IT_HELP, config, plan, lambda: _identity(config, readers, slugs, lengths))


def _choose_arms(config: DoesItHelpConfig, train: ImageReader) -> tuple[str, ...]:
    """The arms asked for; by default all that the data set has images for.

    Raises:
        InputError: there is no such arm, or a class has fewer images than an arm takes.
    """
    unknown = [name for name in config.arms if name not in ARMS]
    if unknown:
        raise InputError(f"expected arms among {', '.join(ARMS)}, got {', '.join(unknown)}")
    counts = np.bincount(train.labels, minlength=len(train.class_names))
    fewest, name = int(counts.min()), train.class_names[int(counts.argmin())]
    if fewest < config.per_class:
        raise InputError(
            f"--per-class {config.per_class} takes more images than there are: class {name} has "
            f"{fewest} in the split train; give at most that"
        )
    more = [slug for slug, arm in ARMS.items() if arm.has_more_images]
    lacking = more if fewest < 2 * config.per_class else []
    if refused := [slug for slug in lacking if slug in config.arms]:
        raise InputError(
            f"the arm {refused[0]} takes {2 * config.per_class} images a class, and class {name} "
            f"has {fewest}; lower --per-class, or leave out the arm"
        )
    return with_controls(config.arms or tuple(slug for slug in ARMS if slug not in lacking))


def _settings(config: DoesItHelpConfig, train: ImageReader) -> HelpSettings:
    num_classes = len(train.class_names)
    return HelpSettings(
        dataset=config.data,
        data_dir=config.data_dir,
        num_classes=num_classes,
        per_class=config.per_class,
        model=config.model,
        width=config.width,
        train=base_training(config.train, config.per_class * num_classes),
        teachers=config.teachers,
        updates=config.updates,
        view=config.view,
        gan={"epochs": config.gan_epochs, "width": config.gan_width},
    )


def _seeds_of(config: DoesItHelpConfig, slug: str) -> range:
    count = config.seeds if ARMS[slug].is_main else config.other_seeds
    return range(config.key + 1, config.key + 1 + count)


def _identity(
    config: DoesItHelpConfig,
    readers: dict[str, ImageReader],
    slugs: tuple[str, ...],
    lengths: Lengths,
) -> dict[str, object]:
    """Everything that the results depend on; the data by digest, not by place."""
    options = as_json(config)
    return {
        "experiment": DOES_IT_HELP.name,
        "settings": {
            **{name: options[name] for name in SETTINGS},
            "arms": list(slugs),
            "train": options["train"],
        },
        "flop_per_update": lengths.flop,
        "data": {
            "name": Path(config.data).name,
            "sha256": {split: data_digest(reader) for split, reader in readers.items()},
        },
        "key": config.key,
        **machine_identity(),
    }


def _record(run: Path) -> dict[str, object]:
    """Fields of a training's result that the experiment's result keeps."""
    result = read_result(run)
    return {**training_record(run), **{name: result[name] for name in MEASURES}}


DOES_IT_HELP = Experiment(
    name="does-it-help",
    about="whether made images help a classifier of few images, against matched controls",
    record=_record,
    write_pages=write_help_pages,
)
"""The experiment that answers whether made images help."""
