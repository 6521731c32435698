"""The command `elicit gan sample`: images of chosen classes from a trained GAN, as an image set.

Image number j of class c is drawn by fold_in(fold_in(key, c), j) alone, so a set of more images a
class begins with those of a smaller one. With --select, numbers are tried from 0 on, and the first
accepted images are kept (B, 3.3).

All classes are drawn side by side, a batch of each in a round, and a shard of the set is written as
soon as it is complete: memory holds a round and a shard, however many images there are.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Int, Int64, UInt8
from tyro.conf import arg

from experiments.console.progress import Progress
from experiments.data.columns import Columns
from experiments.data.complete_set import is_complete
from experiments.data.growing_set import Part, discard_work, growing_directory, write_parts
from experiments.gan.judge import Judge, Judged, check_references, find_judge, judging
from experiments.gan.select_report import (
    SELECTION_FILE,
    Outcome,
    check_classes,
    print_outcome,
    warn_of_shortfalls,
    write_pages,
)
from experiments.synthesis.target_options import class_number
from gans.sampling import Gan, gan_digest, image_keys, keys_to_text, load_gan, sample
from gans.selection import Keep, Predictions, Tally, Thresholds, choose, quota, tally
from imgopt.errors import InputError
from train.data.spec import ImageSetSpec
from train.data.write import commit
from train.storage.runs import check_key

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
    skip_dry_classes: bool = False
    """With --select, leave out a class of which nothing is accepted, instead of stopping."""
    batch_size: int = 256
    """Images in one compiled batch."""

    def __post_init__(self) -> None:
        """Raises InputError for what can be told from the options alone."""
        check_key(self.key)
        for name in ("per_class", "max_tries_per_class", "batch_size"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"{name} must be at least 1, got {value}")
        check_references(self.thresholds, self.train_data)
        if self.select is not None and self.classifier is None:
            raise InputError(f"--select {self.select} needs --classifier, which says what is what")
        if self.select is None and self.thresholds != Thresholds():
            raise InputError("thresholds such as --min-confidence need --select tp, fp or both")
        for name in ("max_tries_per_class", "skip_dry_classes"):
            if self.select is None and getattr(self, name):
                raise InputError(f"--{name.replace('_', '-')} needs --select tp, fp or both")

    @property
    def tries(self) -> int:
        """Images tried of each class at most."""
        if self.select is None:
            return self.per_class
        return self.max_tries_per_class or TRIES_PER_IMAGE * self.per_class


class _Job(NamedTuple):
    """A checked job; nothing is computed or written yet."""

    gan: Gan
    classes: tuple[int, ...]
    judge: Judge | None


class _Drawn(NamedTuple):
    """How far the drawing has come.

    Attributes:
        number: the next image's of every class that lacks something.
        kept: images in all.
        lacking: of each class and each of `gans.selection.KINDS`, where a classifier judges.
        tried: how those tried were judged.
    """

    number: int
    kept: int
    lacking: Int64[np.ndarray, "k 2"]
    tried: Tally


class _Made(NamedTuple):
    """Images to keep, with what is known of them."""

    labels: Int[np.ndarray, " n"]
    numbers: Int[np.ndarray, " n"]
    images: UInt8[np.ndarray, "n h w c"]
    keys: np.ndarray
    verdicts: Predictions | None


def sample_gan(config: GanSampleConfig) -> None:
    """Runs the command.

    The set is in the order of the images' numbers, those of one number in the order of the classes.
    Its feature `key` is the image's own key (see `gans.sampling.keys_to_text`), by which
    `gans.sampling.sample` makes it again.

    Args:
        config: what to draw.

    Raises:
        InputError: something does not fit, found before anything is compiled; or no image of some
            class is accepted. Nothing is written.
        FloatingPointError: an image or the classifier's output is not finite.
    """
    job = _check(config)
    identity = _identity(config, job)
    judged = () if job.judge is None else (SELECTION_FILE,)
    if is_complete(config.out, identity, also=(*judged, "report.html")):
        discard_work(config.out)
        return
    spec = _spec(job)
    with growing_directory(config.out, identity) as directory:
        shards, state = write_parts(
            directory, spec, lambda state: _rounds(config, job, state), split=SPLIT
        )
        drawn = _from_json(state)
        outcome = _outcome(config, job, drawn)
        if outcome is not None:
            check_classes(outcome, may_lack_some=config.skip_dry_classes)
            warn_of_shortfalls(outcome)
        commit(directory, spec, {SPLIT: shards}, manifest=identity)
        write_pages(
            directory,
            title="Generated images",
            lead="Images that a GAN made for chosen classes.",
            outcome=outcome,
        )
    print(f"{config.out}: {drawn.kept:,} {SPLIT}, {len(job.classes)} classes")
    if outcome is not None:
        print_outcome(outcome)


def _check(config: GanSampleConfig) -> _Job:
    gan = load_gan(config.gan)
    names = gan.spec.class_names
    classes = [class_number(name, names) for name in config.classes] or list(range(len(names)))
    if len(set(classes)) < len(classes):
        raise InputError(f"classes must be distinct, got {', '.join(config.classes)}")
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
    selected = {}
    if config.select is not None:
        selected = {
            "max_tries_per_class": config.tries,
            "skip_dry_classes": config.skip_dry_classes,
        }
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


def _spec(job: _Job) -> ImageSetSpec:
    return ImageSetSpec(
        name="generated",
        class_names=job.gan.spec.class_names,
        image_shape=job.gan.spec.image_shape,
        extras=("key",) if job.judge is None else ("key", "predicted", "confidence"),
        splits=(SPLIT,),
        description="Images that a GAN made for chosen classes (elicit).",
    )


def _rounds(config: GanSampleConfig, job: _Job, state: Any) -> Iterator[Part]:
    """Draws a batch of every class that lacks something, until none does or all is tried."""
    judge_images = None if job.judge is None else judging(job.judge)
    drawn = _begin(config, job) if state is None else _from_json(state)
    kinds = 2 if config.select == "both" else 1
    total = kinds * config.per_class * len(job.classes)
    is_last = False
    with Progress("sampling", total=total, unit="images", done=drawn.kept) as progress:
        while not is_last:
            made, after = _round(config, job, judge_images, drawn)
            is_last = after.number == config.tries or not after.lacking.any()
            yield Part(_as_json(drawn), _columns(job, made), _as_json(after), is_last)
            drawn = after
            progress.update_to(drawn.kept)


def _begin(config: GanSampleConfig, job: _Job) -> _Drawn:
    num_classes = job.gan.spec.num_classes
    nothing = np.zeros(0, int)
    none = tally(nothing, nothing, np.zeros(0, bool), num_classes=num_classes)
    return _Drawn(0, 0, _wanted(config, job), none)


def _wanted(config: GanSampleConfig, job: _Job) -> Int64[np.ndarray, "k 2"]:
    """What is to be kept of each class and kind.

    What is judged but not selected is all kept: no kind can run out before the tries do.
    """
    keep, count = (config.select, config.per_class) if config.select else ("both", config.tries)
    classes = np.array(job.classes)
    return quota(classes, keep=keep, count=count, num_classes=job.gan.spec.num_classes)


def _as_json(drawn: _Drawn) -> dict[str, Any]:
    return {
        "number": drawn.number,
        "kept": drawn.kept,
        "lacking": drawn.lacking.tolist(),
        "tried": [counts.tolist() for counts in drawn.tried],
    }


def _from_json(state: dict[str, Any]) -> _Drawn:
    tried = Tally(*(np.array(counts, np.int64) for counts in state["tried"]))
    return _Drawn(state["number"], state["kept"], np.array(state["lacking"], np.int64), tried)


def _round(
    config: GanSampleConfig,
    job: _Job,
    judge_images: Callable[[np.ndarray], Judged] | None,
    drawn: _Drawn,
) -> tuple[_Made, _Drawn]:
    """Draws the next numbers, and says how far that has come.

    What is tried of a class beyond the last image needed is not counted: so neither the images nor
    the counts depend on the size of the batches.
    """
    stop = min(drawn.number + config.batch_size, config.tries)
    lacking, tried = drawn.lacking, drawn.tried
    parts = []
    for label in np.flatnonzero(lacking.any(1)).tolist():
        made = _draw(config, job.gan, label, np.arange(drawn.number, stop))
        if judge_images is not None:
            verdicts, accepted = judge_images(made.images)
            choice = choose(made.labels, verdicts.predicted, accepted, lacking=lacking)
            counts = tally(
                made.labels[choice.needed],
                verdicts.predicted[choice.needed],
                accepted[choice.needed],
                num_classes=len(lacking),
            )
            lacking = choice.lacking
            tried = Tally(*(a + b for a, b in zip(tried, counts, strict=True)))
            made = _rows(made._replace(verdicts=verdicts), choice.rows)
        parts.append(made)
    made = jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)
    after = _Drawn(stop, drawn.kept + len(made.labels), lacking, tried)
    return _rows(made, np.lexsort((made.labels, made.numbers))), after


def _draw(config: GanSampleConfig, gan: Gan, label: int, numbers: Int[np.ndarray, " n"]) -> _Made:
    """Draws images of one class."""
    labels = np.full(len(numbers), label)
    keys = image_keys(jax.random.key(config.key), label, numbers)
    images = sample(gan, keys, labels, batch_size=config.batch_size)
    return _Made(labels, numbers, images, np.array(keys_to_text(keys), object), None)


def _rows(made: _Made, rows: np.ndarray) -> _Made:
    return jax.tree.map(lambda column: column[rows], made)


def _columns(job: _Job, made: _Made) -> Columns:
    """The set's features; an image's id is its class and its number."""
    names = job.gan.spec.class_names
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
        "key": made.keys.tolist(),
        **judged,
    }


def _outcome(config: GanSampleConfig, job: _Job, drawn: _Drawn) -> Outcome | None:
    """What judging came to, if there was any."""
    if job.judge is None:
        return None
    return Outcome(
        class_names=job.gan.spec.class_names,
        classes=job.classes,
        keep=config.select,
        per_class=config.per_class if config.select else None,
        tally=drawn.tried,
        kept=_wanted(config, job) - drawn.lacking,
    )
