"""The command `elicit experiment closed-loop`: do a GAN's images help (B, 3.3 and 4)?

A classifier trained on a few real images sorts images of a GAN that was trained on the same ones.
Then classifiers are trained on the real images alone, and on the real images with each of the new
sets added. Every training has the same number of optimiser steps, so that no arm wins by training
longer, and all arms have the same seeds, so that they can be compared in pairs. There is a control
that the paper does not have: as many images of the GAN as in the other sets, but not sorted.

Data set, GAN and, optionally, the sorting classifier are the user's: results depend on their
content, and not on where they lie.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Literal, NamedTuple, cast

from experiments.classifier.source import ClassifierSource, check_fits, find_classifier
from experiments.options.classifier import ClassifierTrainConfig
from experiments.options.data import AugmentConfig
from experiments.options.gan import GanSampleConfig, GanTrainConfig
from experiments.options.papers import ClosedLoopConfig
from experiments.papers.closed_loop_pages import (
    SELECTOR,
    UNSORTED,
    describe_sets,
    draw_strips,
    write_loop_pages,
)
from experiments.papers.engine.experiment import Experiment, ExperimentResult
from experiments.papers.engine.plan import Arm, Build, Input, Plan, Row
from experiments.papers.engine.results import machine_identity, training_record
from experiments.papers.engine.run import run_plan
from gans.dcgan import DcganConfig
from gans.sampling import Gan, gan_digest, load_gan
from imgopt.errors import InputError
from train.augmentation import check_crop
from train.data import DIGITS
from train.data.combine import check_alike
from train.data.image_data import ImageData
from train.data.load import data_digest, find_directory, load_images
from train.models import NetworkName
from train.models.networks import check_image_shape
from train.storage.runs import as_json

SETS: dict[str, tuple[str, tuple[str, ...]]] = {
    "real": ("real", ()),
    "geometric": ("real + geometric", ("geometric",)),
    "tp": ("real + TP", ("tp",)),
    "fp": ("real + FP", ("fp",)),
    UNSORTED: ("real + random", (UNSORTED,)),
    "tp-geometric": ("real + TP + geometric", ("tp", "geometric")),
}
"""Rows of the table by slug: name, and pieces that are added to the real images."""


SETTINGS = ("per_class", "seeds", "model", "width", "max_tries_per_class", "crop_px", "train")
"""Options that the results depend on, beside the key."""


def piece_count(seeds: int) -> int:
    """Pieces of a comparison: the classifier that sorts, the sets that are added, the trainings.

    Args:
        seeds: trainings of each kind.
    """
    sets = {name for _, names in SETS.values() for name in names}
    return 1 + len(sets) + seeds * len(SETS)


def closed_loop(config: ClosedLoopConfig, *, steps_before: int = 0) -> ExperimentResult | None:
    """Runs the command.

    Args:
        config: what to compare.
        steps_before: steps that the caller has made, for the progress.

    Returns:
        The results; None after a dry run.

    Raises:
        InputError: something does not fit, found before anything is compiled or written; or all
            of the GAN's images are of one kind.
        FloatingPointError: a loss, an image or a classifier's output is not finite.
    """
    loaded = _load(config)
    return run_plan(
        CLOSED_LOOP,
        config,
        make_plan(config, loaded),
        lambda: _identity(config, loaded),
        steps_before=steps_before,
    )


class _Loaded(NamedTuple):
    """Data sets, GAN and classifier that the user named, loaded and checked.

    Attributes:
        real: real training images.
        test: test images.
        gan: the GAN.
        selector: the given classifier that sorts; None if one is trained.
    """

    real: ImageData
    test: ImageData
    gan: Gan
    selector: ClassifierSource | None


def _load(config: ClosedLoopConfig) -> _Loaded:
    real, test = (load_images(_place(config), split) for split in ("train", "test"))
    check_alike(real, {"the test set": test})
    image_shape = real.images.shape[1:]
    check_image_shape(config.model, image_shape)
    check_crop(config.crop_px, image_shape[:2])
    config.train.budget.steps_per_epoch(len(real.labels))  # refuses a set smaller than a batch
    gan = load_gan(config.gan)
    if gan.spec.class_names != real.class_names:
        raise InputError(
            f"the GAN {config.gan} has the classes {gan.spec.class_names}, the data set "
            f"{real.class_names}; give a GAN trained on this data set"
        )
    if gan.spec.image_shape != image_shape:
        raise InputError(
            f"the GAN {config.gan} makes images of shape {gan.spec.image_shape}, the data set has "
            f"{image_shape}; give a GAN trained on this data set"
        )
    selector = None
    if config.classifier is not None:
        selector = find_classifier(config.classifier, precision="float32")
        check_fits(selector, real)
        if config.dry_run and selector.spec is None:
            raise InputError(
                f"--dry-run cannot tell the costs of the callable {config.classifier}; give a "
                "run of elicit classifier train, or leave out --classifier"
            )
    return _Loaded(real, test, gan, selector)


def _place(config: ClosedLoopConfig) -> str:
    """Directory of the real data set, or "digits", which are built in."""
    if config.data == DIGITS:
        return DIGITS
    return str(find_directory(config.data, data_dir=config.data_dir))


def _identity(config: ClosedLoopConfig, loaded: _Loaded) -> dict[str, object]:
    """Everything that the results depend on; data, GAN and selector by digest, not by place."""
    options = as_json(config)
    return {
        "experiment": CLOSED_LOOP.name,
        "settings": {name: options[name] for name in SETTINGS},
        "data": {
            "name": Path(config.data).name,
            "sha256": {"train": data_digest(loaded.real), "test": data_digest(loaded.test)},
        },
        "gan_sha256": gan_digest(loaded.gan),
        "given_selector": (
            loaded.selector.identify(loaded.real.images.shape[1:]) if loaded.selector else None
        ),
        "key": config.key,
        **machine_identity(),
    }


def make_plan(config: ClosedLoopConfig, loaded: _Loaded) -> Plan:
    """Makes the plan: the sets that are added, and a training for every row and seed.

    Args:
        config: what to compare.
        loaded: what the user named.
    """
    builds: dict[str, Build] = {
        "geometric": lambda at, out: AugmentConfig(
            data=str(at("data")), out=out, crop_px=config.crop_px, key=config.key
        ),
        UNSORTED: _sampling(config, None),
        "tp": _sampling(config, "tp"),
        "fp": _sampling(config, "fp"),
    }
    if loaded.selector is None:
        builds = {SELECTOR: _training(config, (), config.key), **builds}
    arms = []
    for seed in range(config.key + 1, config.key + 1 + config.seeds):
        for slug, (_, sets) in SETS.items():
            name = f"{slug}-seed-{seed}"
            builds[name] = _training(config, sets, seed)
            arms.append(Arm(slug, seed, "steps", name))
    rows = tuple(Row(slug, name) for slug, (name, _) in SETS.items())
    return Plan(rows, tuple(arms), builds, dict(_inputs(config, loaded)))


def _training(config: ClosedLoopConfig, sets: tuple[str, ...], key: int) -> Build:
    """Training on the real images and the sets that are added to them."""
    return lambda at, out: ClassifierTrainConfig(
        data=str(at("data")),
        out=out,
        model=config.model,
        width=config.width,
        extra=tuple(at(name) for name in sets),
        key=key,
        train=config.train,
    )


def _sampling(config: ClosedLoopConfig, select: Literal["tp", "fp"] | None) -> Build:
    """Images of the GAN of one kind; or, for None, all images, with the selector's predictions.

    Classes without any image of the kind are left out: a GAN may have learnt a class so well that
    it has no false positives.
    """
    return lambda at, out: GanSampleConfig(
        gan=str(at("gan")),
        out=out,
        per_class=config.per_class,
        classifier=str(at(SELECTOR)),
        keep=select,
        max_tries_per_class=config.max_tries_per_class if select else None,
        skip_dry_classes=select is not None,
        key=config.key,
    )


def _inputs(config: ClosedLoopConfig, loaded: _Loaded) -> Iterator[tuple[str, Input]]:
    """Data, GAN and selector, each with the options that tell the size of its networks."""
    yield "data", Input(_place(config), data_digest(loaded.real))
    yield "gan", Input(config.gan, gan_digest(loaded.gan), _gan_config(config, loaded.gan))
    if loaded.selector is not None:
        digest, spec = loaded.selector.sha256, loaded.selector.spec
        place = str(config.classifier)
        made = spec and ClassifierTrainConfig(
            data=_place(config),
            out=Path(place),
            model=cast(NetworkName, spec.network),
            width=spec.width,
            train=config.train,
        )
        yield SELECTOR, Input(place, digest or loaded.selector.name, made)


def _gan_config(config: ClosedLoopConfig, gan: Gan) -> GanTrainConfig:
    sizes = gan.spec.config
    options = GanTrainConfig(
        _place(config), Path(config.gan), gan.spec.model, width=sizes.width, batch_size=1
    )
    if isinstance(sizes, DcganConfig):
        return replace(options, one_per_class=gan.spec.is_per_class)
    return replace(options, cut_points=sizes.cut_points, encoder_width=sizes.encoder_width)


CLOSED_LOOP = Experiment(
    name="closed-loop",
    about="paper B's comparison: classifiers trained with and without a GAN's images, sorted or "
    "not",
    record=training_record,
    describe=describe_sets,
    draw=draw_strips,
    write_pages=write_loop_pages,
)
