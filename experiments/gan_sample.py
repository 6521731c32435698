"""The command `elicit gan sample`: images of chosen classes from a trained GAN, as an image set.

Image number j of class c is drawn by fold_in(fold_in(key, c), j) alone, so a set of more images a
class begins with those of a smaller one. With --select, numbers are tried from 0 on, and the first
accepted images are kept (B, 3.3).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Int, UInt8
from tyro.conf import arg

from experiments.judging import Judge, Judged, check_references, find_judge, judging
from experiments.new_set import is_complete
from experiments.progress import Progress
from experiments.selection_report import (
    Outcome,
    check_every_class,
    print_outcome,
    warn_of_shortfalls,
    write_pages,
)
from experiments.target_options import class_number
from gans.key_text import keys_to_text
from gans.sampling import Gan, gan_digest, image_keys, load_gan, sample
from gans.selection import Keep, Tally, Thresholds, Verdicts, choose, quota, tally
from train.files import building_directory
from train.image_sets import EXTRAS, ImageSetSpec, write_splits
from train.runs import check_key

SPLIT = "train"
"""Of the new set: what it holds is meant for training."""

TRIES_PER_IMAGE = 20
"""Images tried for each one wanted, at most, unless told otherwise: enough where 1 in 20 is
accepted, which is half of what chance gives among ten classes."""


@dataclass(frozen=True)
class GanSampleConfig:
    """Draws images of every class, or of chosen ones, from a trained GAN."""

    gan: str
    """A run of `elicit gan train`; nothing else is needed of its data."""
    out: Path
    """Directory of the new image set."""
    per_class: Annotated[int, arg(aliases=["--n"])] = 500
    """Images of each class, with --select both of each kind; the default is paper B's."""
    classes: Annotated[tuple[str, ...], arg(name="class")] = ()
    """Names or numbers of classes, such as: cat dog; all by default."""
    key: int = 0
    """Key by which the images are drawn."""
    classifier: str | None = None
    """A run of `elicit classifier train`, or a callable of your own as package.module:name, whose
    prediction and confidence are kept with every image."""
    select: Keep | None = None
    """With --classifier, sample until every class has its number of images that are predicted as
    intended (tp), as another class (fp), or of either kind (both)."""
    thresholds: Thresholds = field(default_factory=Thresholds)
    train_data: str | None = None
    """Directory of the data set that the images must lie away from, with --min-distance; its split
    train."""
    max_tries_per_class: int | None = None
    """With --select, images tried of each class at most; 20 for each one wanted by default."""
    batch_size: int = 256
    """Images in one compiled batch."""

    def __post_init__(self) -> None:
        """Raises ValueError for what can be told from the options alone."""
        check_key(self.key)
        for name in ("per_class", "max_tries_per_class", "batch_size"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        check_references(self.thresholds, self.train_data)
        if self.select is not None and self.classifier is None:
            raise ValueError(f"--select {self.select} needs --classifier, which says what is what")
        if self.select is None and self.thresholds != Thresholds():
            raise ValueError("thresholds such as --min-confidence need --select tp, fp or both")
        if self.select is None and self.max_tries_per_class is not None:
            raise ValueError("--max-tries-per-class needs --select tp, fp or both")

    @property
    def tries(self) -> int:
        """Images tried of each class at most."""
        if self.select is None:
            return self.per_class
        return self.max_tries_per_class or TRIES_PER_IMAGE * self.per_class


class _Job(NamedTuple):
    """A checked job: everything in memory, nothing computed or written yet."""

    gan: Gan
    classes: tuple[int, ...]
    judge: Judge | None


class _Made(NamedTuple):
    """Images to keep, with what is known of them."""

    labels: Int[np.ndarray, " n"]
    numbers: Int[np.ndarray, " n"]
    images: UInt8[np.ndarray, "n h w c"]
    verdicts: Verdicts | None


def sample_gan(config: GanSampleConfig) -> None:
    """Runs the command.

    The set is in the order of the images' numbers, those of one number in the order of the classes.
    Its feature `key` is the image's own key (see `gans.key_text`), by which `gans.sampling.sample`
    makes it again.

    Args:
        config: what to draw.

    Raises:
        ValueError: something does not fit, found before anything is compiled; or no image of some
            class is accepted. Nothing is written.
        FloatingPointError: an image or the classifier's output is not finite.
    """
    job = _check(config)
    identity = _identity(config, job)
    if is_complete(config.out, identity):
        return
    made, tried = _draw(config, job)
    outcome = _outcome(config, job, made, tried)
    if outcome is not None:
        check_every_class(outcome)
        warn_of_shortfalls(outcome)
    _write(config, job, made, outcome=outcome, identity=identity)
    print(f"{config.out}: {len(made.labels):,} {SPLIT}, {len(job.classes)} classes")
    if outcome is not None:
        print_outcome(outcome)


def _check(config: GanSampleConfig) -> _Job:
    gan = load_gan(config.gan)
    names = gan.spec.class_names
    classes = [class_number(name, names) for name in config.classes] or list(range(len(names)))
    if len(set(classes)) < len(classes):
        raise ValueError(f"classes must be distinct, got {', '.join(config.classes)}")
    judge = None
    if config.classifier is not None:
        judge = find_judge(
            config.classifier,
            config.thresholds,
            train_data=config.train_data,
            class_names=names,
            image_shape=gan.spec.image_shape,
            of="GAN",
        )
    return _Job(gan, tuple(sorted(classes)), judge)


def _identity(config: GanSampleConfig, job: _Job) -> dict[str, Any]:
    """What the bytes of the set depend on."""
    judged = {} if job.judge is None else job.judge.identity
    selected = {} if config.select is None else {"max_tries_per_class": config.tries}
    return {
        "gan": {"sha256": gan_digest(job.gan)},
        "classes": [job.gan.spec.class_names[label] for label in job.classes],
        "per_class": config.per_class,
        "key": config.key,
        "select": config.select,
        **selected,
        **judged,
        "batch_size": config.batch_size,
        "device_kind": jax.devices()[0].device_kind,
        "jax": jax.__version__,
    }


def _draw(config: GanSampleConfig, job: _Job) -> tuple[_Made, Tally | None]:
    """Draws all images, and counts how those tried were judged, if they were."""
    judge_images = None if job.judge is None else judging(job.judge)
    kinds = 2 if config.select == "both" else 1
    parts: list[_Made] = []
    tallies: list[Tally] = []
    done, total = 0, kinds * config.per_class * len(job.classes)
    with Progress("sampling", total=total, unit="images") as progress:
        for label in job.classes:
            for part, tried in _draw_class(config, job.gan, judge_images, label):
                parts.append(part)
                tallies += [] if tried is None else [tried]
                done += len(part.labels)
                progress.update_to(done)
    made = jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)
    tried = jax.tree.map(lambda *counts: sum(counts), *tallies) if tallies else None
    return _rows(made, np.lexsort((made.labels, made.numbers))), tried


def _draw_class(
    config: GanSampleConfig,
    gan: Gan,
    judge_images: Callable[[np.ndarray], Judged] | None,
    label: int,
) -> Iterator[tuple[_Made, Tally | None]]:
    """Draws images of one class, batch by batch, until nothing is lacking or all is tried.

    What is tried beyond the last image needed, up to a batch, is not counted: so neither the images
    nor the counts depend on the size of the batches.
    """
    num_classes = gan.spec.num_classes
    # Whatever is judged but not selected is all kept: no kind can run out before the tries do.
    keep, count = (config.select, config.per_class) if config.select else ("both", config.tries)
    lacking = quota(np.array([label]), keep=keep, count=count, num_classes=num_classes)
    for start in range(0, config.tries, config.batch_size):
        numbers = np.arange(start, min(start + config.batch_size, config.tries))
        labels = np.full(len(numbers), label)
        keys = image_keys(jax.random.key(config.key), label, numbers)
        images = sample(gan, keys, labels, batch_size=config.batch_size)
        if judge_images is None:
            yield _Made(labels, numbers, images, None), None
            continue
        verdicts, accepted = judge_images(images)
        choice = choose(labels, verdicts.predicted, accepted, lacking=lacking)
        lacking, tried = choice.lacking, choice.needed
        counts = tally(
            labels[tried], verdicts.predicted[tried], accepted[tried], num_classes=num_classes
        )
        yield _rows(_Made(labels, numbers, images, verdicts), choice.rows), counts
        if not lacking.any():
            return


def _rows(made: _Made, rows: np.ndarray) -> _Made:
    return jax.tree.map(lambda column: column[rows], made)


def _outcome(
    config: GanSampleConfig, job: _Job, made: _Made, tried: Tally | None
) -> Outcome | None:
    """What judging came to, if there was any."""
    if made.verdicts is None or tried is None:
        return None
    num_classes = job.gan.spec.num_classes
    everything = np.ones(len(made.labels), bool)
    kept = tally(made.labels, made.verdicts.predicted, everything, num_classes=num_classes)
    return Outcome(
        class_names=job.gan.spec.class_names,
        classes=job.classes,
        keep=config.select,
        per_class=config.per_class if config.select else None,
        tally=tried,
        kept=kept.accepted,
    )


def _write(
    config: GanSampleConfig,
    job: _Job,
    made: _Made,
    *,
    outcome: Outcome | None,
    identity: dict[str, Any],
) -> None:
    columns = _columns(config, job, made)
    spec = ImageSetSpec(
        name="generated",
        class_names=job.gan.spec.class_names,
        image_shape=job.gan.spec.image_shape,
        extras=tuple(name for name in columns if name in EXTRAS),
        splits=(SPLIT,),
        description="Images that a GAN made for chosen classes (elicit).",
    )
    with building_directory(config.out) as partial:
        write_splits(partial, spec, {SPLIT: [columns]}, manifest=identity)
        write_pages(
            partial,
            made.images,
            made.labels,
            title="Generated images",
            lead="Images that a GAN made for chosen classes.",
            outcome=outcome,
        )


def _columns(config: GanSampleConfig, job: _Job, made: _Made) -> dict[str, Any]:
    """The set's features; an image's id is its class and its number."""
    names = job.gan.spec.class_names
    keys = np.empty(len(made.labels), object)
    for label in job.classes:
        rows = made.labels == label
        own = image_keys(jax.random.key(config.key), label, made.numbers[rows])
        keys[rows] = keys_to_text(own)
    judged = {}
    if made.verdicts is not None:
        judged = {
            "predicted": made.verdicts.predicted,
            "confidence": made.verdicts.confidence,
        }
    return {
        "id": [
            f"{names[label]}_{number:05d}"
            for label, number in zip(made.labels, made.numbers, strict=True)
        ],
        "image": made.images,
        "label": made.labels,
        "key": keys.tolist(),
        **judged,
    }
