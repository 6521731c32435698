"""The command `elicit gan sample`: images of chosen classes from a trained GAN, as an image set.

Image number j of class c is drawn by fold_in(fold_in(key, c), j) alone, so a set of more images a
class begins with those of a smaller one. (A set of less than a batch a class is compiled in smaller
batches, which may round otherwise.) With --keep, numbers are tried from 0 on, and the first
accepted images are kept (B, 3.3).

Each round draws one batch of every class, and each shard is written as soon as it is full. Memory
holds one round and one shard, however many images there are.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Int, Int64, UInt8

from experiments.console.progress import Progress
from experiments.data.resumable_set import SPLIT, Columns, ResumableSet
from experiments.gan.rounds import Round, write_rounds
from experiments.gan.select_report import (
    KEPT_NAMES,
    SELECTION_FILE,
    Outcome,
    check_classes,
    print_outcome,
    warn_of_shortfalls,
    write_pages,
)
from experiments.gan.selector import (
    Classified,
    Selector,
    classify_by,
    find_selector,
)
from experiments.options.gan import GanSampleConfig
from experiments.pages.html import digest_words, provenance
from experiments.synthesis.target_options import class_number
from gans.sampling import Gan, gan_digest, image_keys, keys_to_text, load_gan, sample
from gans.selection import Predictions, Tally, choose, quota, tally
from imgopt.errors import InputError
from train.data.spec import ImageSetSpec
from train.storage.runs import environment


class _SamplingJob(NamedTuple):
    """A checked job; nothing is computed or written yet.

    Attributes:
        gan: the trained GAN.
        classes: classes to draw, ascending.
        selector: sorts the images; None if no classifier is given.
    """

    gan: Gan
    classes: tuple[int, ...]
    selector: Selector | None


class _SamplingState(NamedTuple):
    """How far the sampling has come.

    Attributes:
        number: next number to draw, of every class that lacks images.
        kept: number of images kept, all classes together.
        lacking: number of images that each class lacks of each of `gans.selection.KINDS`.
        tried: what the classifier said of the images tried.
    """

    number: int
    kept: int
    lacking: Int64[np.ndarray, "k 2"]
    tried: Tally

    def as_json(self) -> dict[str, object]:
        """The state as JSON types."""
        return {
            "number": self.number,
            "kept": self.kept,
            "lacking": self.lacking.tolist(),
            "tried": [counts.tolist() for counts in self.tried],
        }


class _Samples(NamedTuple):
    """Drawn images, and what is known of them."""

    labels: Int[np.ndarray, " n"]
    numbers: Int[np.ndarray, " n"]
    images: UInt8[np.ndarray, "n h w c"]
    keys: np.ndarray
    predictions: Predictions | None

    def take(self, rows: np.ndarray) -> "_Samples":
        """Takes some of the images."""
        return jax.tree.map(lambda column: column[rows], self)


def sample_gan(config: GanSampleConfig, *, label: str = "sampling") -> None:
    """Runs the command.

        The set is in the order of the images' numbers; images of one number are in the order of the
    classes. The feature `key` is the image's own key (see `gans.sampling.keys_to_text`), from which
    `gans.sampling.sample` makes the image again.

    Args:
        config: what to draw.
        label: text in front of the progress.

    Raises:
        InputError: an option does not fit the GAN or the classifier, found before anything is
            compiled; or no image of some class is accepted. Nothing is left on disk then.
        FloatingPointError: an image or the classifier's output is not finite.
    """
    job = _check(config)
    selection = () if job.selector is None else (SELECTION_FILE,)
    image_set = ResumableSet(
        config.out, _spec(job), _identity(config, job), side_files=(*selection, "report.html")
    )
    if image_set.is_complete():
        return
    with image_set.open_for_writing():
        shards, last = write_rounds(
            image_set, SPLIT, lambda found: _rounds(config, job, _state(config, job, found), label)
        )
        state = _state(config, job, last)
        outcome = _outcome(config, job, state)
        if outcome is not None:
            check_classes(outcome, may_lack_some=config.skip_dry_classes)
            warn_of_shortfalls(outcome)
        image_set.commit({SPLIT: shards})
        write_pages(
            config.out,
            title=f"Images of {Path(config.gan).name}, {KEPT_NAMES[config.keep]}, key {config.key}",
            made="drawn from a GAN by key for chosen classes",
            outcome=outcome,
            footer=provenance(
                {**environment(), "key": config.key},
                data=f"GAN {Path(config.gan).name}, {digest_words(gan_digest(job.gan))}",
                classifier=job.selector.words if job.selector else "none",
            ),
        )
    print(f"{config.out}: {state.kept:,} {SPLIT}, {len(job.classes)} classes")
    if outcome is not None:
        print_outcome(outcome)


def _check(config: GanSampleConfig) -> _SamplingJob:
    gan = load_gan(config.gan)
    names = gan.spec.class_names
    classes = [class_number(name, names) for name in config.classes] or list(range(len(names)))
    if len(set(classes)) < len(classes):
        raise InputError(f"classes must be distinct, got {', '.join(config.classes)}")
    selector = None
    if config.classifier is not None:
        selector = find_selector(
            config.classifier,
            config.thresholds,
            train_data=config.train_data,
            data_dir=config.data_dir,
            class_names=names,
            image_shape=gan.spec.image_shape,
            of="GAN",
        )
    return _SamplingJob(gan, tuple(sorted(classes)), selector)


def _identity(config: GanSampleConfig, job: _SamplingJob) -> dict[str, object]:
    """Everything that the set's bytes depend on."""
    limits = {
        "max_tries_per_class": config.tries,
        "skip_dry_classes": config.skip_dry_classes,
    }
    return {
        "gan": {"sha256": gan_digest(job.gan)},
        "classes": [job.gan.spec.class_names[label] for label in job.classes],
        "per_class": config.per_class,
        "key": config.key,
        "keep": config.keep,
        **(limits if config.keep else {}),
        **(job.selector.identity if job.selector else {}),
        "batch_size": config.batch_size,
        "device_kind": jax.devices()[0].device_kind,
        "jax": jax.__version__,
    }


def _spec(job: _SamplingJob) -> ImageSetSpec:
    return ImageSetSpec(
        name="generated",
        class_names=job.gan.spec.class_names,
        image_shape=job.gan.spec.image_shape,
        extras=("key",) if job.selector is None else ("key", "predicted", "confidence"),
        splits=(SPLIT,),
        description="Images that a GAN made for chosen classes (elicit).",
    )


def _rounds(
    config: GanSampleConfig, job: _SamplingJob, state: _SamplingState, label: str
) -> Iterator[Round]:
    """Draws a batch of every class that lacks images, until none does or all numbers are tried."""
    classify = None
    if job.selector is not None:
        classify = classify_by(job.selector, most_images=config.tries)
    kinds = 2 if config.keep == "both" else 1
    total = kinds * config.per_class * len(job.classes)
    is_last = False
    with Progress(label, total=total, unit="images", done=state.kept) as progress:
        while not is_last:
            samples, after = _round(config, job, classify, state)
            is_last = after.number == config.tries or not after.lacking.any()
            yield Round(state.as_json(), _columns(job, samples), after.as_json(), is_last)
            state = after
            progress.update_to(state.kept)


def _state(
    config: GanSampleConfig, job: _SamplingJob, found: dict[str, Any] | None
) -> _SamplingState:
    """Reads a state from JSON types; None is the state before the first round."""
    if found is None:
        nothing = np.zeros(0, int)
        num_classes = job.gan.spec.num_classes
        none = tally(nothing, nothing, np.zeros(0, bool), num_classes=num_classes)
        return _SamplingState(0, 0, _wanted(config, job), none)
    tried = Tally(*(np.array(counts, np.int64) for counts in found["tried"]))
    lacking = np.array(found["lacking"], np.int64)
    return _SamplingState(found["number"], found["kept"], lacking, tried)


def _wanted(config: GanSampleConfig, job: _SamplingJob) -> Int64[np.ndarray, "k 2"]:
    """Number of images to keep of each class and kind.

    Without --keep all images are kept: no kind can be complete before all numbers are tried.
    """
    keep, count = (config.keep, config.per_class) if config.keep else ("both", config.tries)
    classes = np.array(job.classes)
    return quota(classes, keep=keep, count=count, num_classes=job.gan.spec.num_classes)


def _round(
    config: GanSampleConfig,
    job: _SamplingJob,
    classify: Callable[[np.ndarray], Classified] | None,
    state: _SamplingState,
) -> tuple[_Samples, _SamplingState]:
    """Draws the next numbers; gives the images to keep and the state afterwards.

    Images of a class that were tried after the last one needed are not counted. So neither the
    images nor the counts depend on the batch size.
    """
    stop = min(state.number + config.images_at_once, config.tries)
    lacking, tried = state.lacking, state.tried
    parts = []
    for label in np.flatnonzero(lacking.any(1)).tolist():
        samples = _draw(config, job.gan, label, np.arange(state.number, stop))
        if classify is not None:
            predictions, accepted = classify(samples.images)
            choice = choose(samples.labels, predictions.predicted, accepted, lacking=lacking)
            counts = tally(
                samples.labels[choice.needed],
                predictions.predicted[choice.needed],
                accepted[choice.needed],
                num_classes=len(lacking),
            )
            lacking = choice.lacking
            tried = Tally(*(a + b for a, b in zip(tried, counts, strict=True)))
            samples = samples._replace(predictions=predictions).take(choice.rows)
        parts.append(samples)
    samples = jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)
    after = _SamplingState(stop, state.kept + len(samples.labels), lacking, tried)
    return samples.take(np.lexsort((samples.labels, samples.numbers))), after


def _draw(
    config: GanSampleConfig, gan: Gan, label: int, numbers: Int[np.ndarray, " n"]
) -> _Samples:
    """Draws images of one class."""
    labels = np.full(len(numbers), label)
    keys = image_keys(jax.random.key(config.key), label, numbers)
    images = sample(gan, keys, labels, batch_size=config.images_at_once)
    return _Samples(labels, numbers, images, np.array(keys_to_text(keys), object), None)


def _columns(job: _SamplingJob, samples: _Samples) -> Columns:
    """Gives the images' features; an image's id is its class and its number."""
    names = job.gan.spec.class_names
    columns = {
        "id": [
            f"{names[label]}_{number:05d}"
            for label, number in zip(samples.labels, samples.numbers, strict=True)
        ],
        "image": samples.images,
        "label": samples.labels,
        "key": samples.keys.tolist(),
    }
    if samples.predictions is not None:
        columns["predicted"] = samples.predictions.predicted
        columns["confidence"] = samples.predictions.confidence
    return columns


def _outcome(config: GanSampleConfig, job: _SamplingJob, state: _SamplingState) -> Outcome | None:
    """The outcome of the selection; None without a classifier."""
    if job.selector is None:
        return None
    return Outcome(
        class_names=job.gan.spec.class_names,
        classes=job.classes,
        keep=config.keep,
        per_class=config.per_class if config.keep else None,
        tally=state.tried,
        kept=_wanted(config, job) - state.lacking,
    )
