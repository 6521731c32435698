"""The command `elicit exemplars`: a few images a class that keep a classifier from forgetting.

The images are Mnemonics exemplars (see `train.recipes.mnemonics`). They start from images of a data
set, drawn by key, and the result is an image set as `elicit synthesize` makes it: its targets are
the labels, and its outputs are the classifier's before any retraining. All exemplars are optimised
together, so an interrupted command begins again.
"""

import functools
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import UInt8

import imgopt
from experiments.classifier.source import ClassifierSource, check_takes, find_classifier
from experiments.console.progress import Progress
from experiments.data.resumable_set import SPLIT, Columns, ResumableSet, dataset_identity
from experiments.options.synthesis import ExemplarsConfig
from experiments.pages.charts import curves
from experiments.pages.html import (
    Fact,
    Picture,
    Section,
    Table,
    digest_words,
    provenance,
    write_report,
)
from experiments.pages.strips import MAX_STRIPS, elicited_strips, shown_of
from experiments.pages.verdict import Verdict
from imgopt.errors import InputError
from train.data.image_data import ImageData, image_digests
from train.data.load import load_images
from train.data.spec import ImageSetSpec
from train.data.subsets import draw_subset
from train.evaluation import evaluate
from train.recipes.mnemonics import Labelled, begin_exemplars, retrain, update_exemplars
from train.recipes.options import Mnemonics
from train.storage.runs import environment

FEATURES = ("target", "output", "kl", "max_error", "steps", "source_id", "source_sha256")
"""Features of an exemplar besides id, image and label: the same as of a synthesised image."""

REPORT = "report.html"
BATCH_SIZE = 256


class Retrained(NamedTuple):
    """A classifier's quality on all originals, as trained or retrained on some images.

    Attributes:
        name: what it was retrained on.
        loss: mean cross entropy, in nats.
        accuracy: share of originals classified as their label.
    """

    name: str
    loss: float
    accuracy: float


def make_exemplars(config: ExemplarsConfig) -> None:
    """Runs the command.

    Raises:
        InputError: an option does not fit, found before anything is compiled or written.
        FloatingPointError: the loss is no longer finite.
    """
    source = find_classifier(config.classifier, precision="float32")
    if source.spec is None:
        raise InputError(
            f"classifier {config.classifier} is a callable, whose parameters cannot be retrained; "
            "expected a run of elicit classifier train"
        )
    originals = load_images(config.data, config.split, data_dir=config.data_dir)
    check_takes(source, originals.class_names, originals.images.shape[1:], of="data set")
    first = draw_subset(
        jax.random.key(config.key), originals, per_class=config.per_class, test_per_class=0
    ).train
    image_set = ResumableSet(
        config.out,
        _spec(originals),
        {
            "classifier": source.identify(originals.images.shape[1:]),
            "dataset": dataset_identity(config.data, config.split, originals),
            "per_class": config.per_class,
            "retraining": asdict(config.retraining),
            "key": config.key,
            "device_kind": jax.devices()[0].device_kind,
            "jax": jax.__version__,
        },
        side_files=(REPORT,),
    )
    if image_set.is_complete():
        return
    with image_set.open_for_writing():
        _make(config, source, originals, first, image_set)
    print(f"image set: {image_set.directory}")


def _make(
    config: ExemplarsConfig,
    source: ClassifierSource,
    originals: ImageData,
    first: ImageData,
    image_set: ResumableSet,
) -> None:
    """Optimises the exemplars, and writes and commits the set with its page."""
    images, losses = _optimise(config, source, originals, first)
    columns = _columns(source, first, images, steps=config.retraining.steps)
    found = [
        _retrained("nothing: as trained", source, None, originals, config.retraining),
        _retrained("the originals drawn first", source, first, originals, config.retraining),
        _retrained(
            "the exemplars", source, first._replace(images=images), originals, config.retraining
        ),
    ]
    table = Table(
        ("retrained on", "loss, nats ↓", "accuracy"),
        [(each.name, f"{each.loss:.4f}", f"{each.accuracy:.2%}") for each in found],
    )
    image_set.directory.mkdir(parents=True, exist_ok=True)
    shown = _images_section(first, columns)
    _write_page(config, image_set.identity, [shown, _loss_section(losses, table)], found)
    shard = image_set.write(SPLIT, 0, columns)
    image_set.commit({SPLIT: [shard]}, retrained=[each._asdict() for each in found])
    print(table.markdown)


def _optimise(
    config: ExemplarsConfig, source: ClassifierSource, originals: ImageData, first: ImageData
) -> tuple[UInt8[np.ndarray, "n h w c"], list[float]]:
    """The finished exemplars in 8 bits, and the loss before each update."""
    options = config.retraining
    apply, params = _as_apply(source)
    state = begin_exemplars(_labelled(first, in_floats=True), options=options)
    data = _labelled(originals)
    key = jax.random.key(config.key)
    update = jax.jit(functools.partial(update_exemplars, options=options))
    losses = []
    with Progress("exemplars", total=options.steps, unit="updates") as progress:
        for step in range(options.steps):
            state, loss = update(key, apply, params, state, data)
            losses.append(float(loss))
            if not np.isfinite(losses[-1]):
                raise FloatingPointError(
                    f"the loss after retraining is {losses[-1]} in update {step + 1}; a lower "
                    "retrain_rate or learning_rate may help"
                )
            progress.update_to(step + 1)
    return np.asarray(imgopt.to_uint8(state.exemplars.images)), losses


def _as_apply(source: ClassifierSource) -> tuple[jax.tree_util.Partial, Any]:
    """A run's classifier as a function of its parameters and images, and the parameters.

    Batch norm keeps the statistics of the training, as in evaluation mode.
    """
    classify: Any = source.measure  # of a run it is a Partial over its variables
    variables = dict(classify.args[0])
    params = variables.pop("params")
    return jax.tree_util.Partial(functools.partial(_apply, classify.func), variables), params


def _apply(function: Any, others: dict[str, Any], params: Any, images: Any) -> Any:
    return function({**others, "params": params}, images)


def _labelled(data: ImageData, *, in_floats: bool = False) -> Labelled:
    images = imgopt.to_float(data.images) if in_floats else jnp.asarray(data.images)
    return Labelled(images, jnp.asarray(data.labels, jnp.int32))


def _retrained(
    name: str,
    source: ClassifierSource,
    images: ImageData | None,
    originals: ImageData,
    options: Mnemonics,
) -> Retrained:
    """Evaluates the classifier on all originals after it was retrained on images, if any."""
    apply, params = _as_apply(source)
    if images is not None:
        exemplars = _labelled(images, in_floats=True)
        params = jax.jit(functools.partial(retrain, options=options))(apply, params, exemplars)
    classify = jax.tree_util.Partial(apply, params)
    found = evaluate(classify, originals.images, originals.labels, batch_size=BATCH_SIZE)
    return Retrained(name, found.loss, found.accuracy)


def _columns(
    source: ClassifierSource, first: ImageData, images: UInt8[np.ndarray, "n h w c"], *, steps: int
) -> Columns:
    """Features of the exemplars, with their measures by the classifier as trained."""
    targets = np.eye(len(first.class_names), dtype=np.float32)[first.labels]
    measured = imgopt.synthesize_in_batches(
        source.measure,
        images,
        targets,
        batch_size=min(BATCH_SIZE, len(images)),
        steps=0,
        pixel_map=imgopt.identity_map(),
    )
    parts = [(part.outputs, part.kl, part.max_error) for part in measured]
    outputs, kl, max_error = (np.concatenate(column) for column in zip(*parts, strict=True))
    return {
        "id": [f"exemplar_{name}" for name in first.ids],
        "image": images,
        "label": first.labels,
        "target": targets,
        "output": outputs,
        "kl": kl,
        "max_error": max_error,
        "steps": np.full(len(images), steps, np.int32),
        "source_id": list(first.ids),
        "source_sha256": image_digests(first.images),
    }


def _spec(originals: ImageData) -> ImageSetSpec:
    return ImageSetSpec(
        name="exemplars",
        class_names=originals.class_names,
        image_shape=originals.images.shape[1:],
        extras=FEATURES,
        description="Mnemonics exemplars: for retraining a classifier without forgetting (elicit).",
    )


def _images_section(first: ImageData, columns: Columns) -> Section:
    """The first exemplar of every class beside its original."""
    _, rows = np.unique(first.labels, return_index=True)
    shown = rows[:MAX_STRIPS]
    strips = elicited_strips(
        first.images[shown],
        columns["image"][shown],
        columns["target"][shown],
        columns["output"][shown],
        first.labels[shown],
        first.class_names,
        caption=f"The first exemplar of each class.{shown_of(len(rows))}",
    )
    return Section("Images of every class", strips=[strips])


def _loss_section(losses: list[float], table: Table) -> Section:
    pictures = []
    if losses:
        drawn = curves(
            {"originals of the update": losses}, x_label="update", y_label="loss, nats ↓"
        )
        pictures.append(Picture(drawn, "Loss on originals after retraining", name="loss"))
    return Section(
        title="Retraining",
        text="Every retraining starts at the trained classifier. Loss and accuracy are those on "
        "all originals.",
        pictures=pictures,
        tables=(table,),
    )


def _write_page(
    config: ExemplarsConfig,
    identity: dict[str, Any],
    sections: list[Section],
    found: list[Retrained],
) -> None:
    trained, plain, made = found
    data, count = identity["dataset"], f"{config.per_class} a class"
    basis = f"n = 1 retraining, on all images of {data['split']}"
    write_report(
        config.out / REPORT,
        title=f"Exemplars of {data['name']}, {count}, key {config.key}",
        verdict=Verdict(
            f"Images, {count}, were moved by {config.retraining.steps} updates so that a "
            "classifier retrained on them alone forgets little of the others.",
            f"Retrained on them, it gets {made.accuracy:.1%} of all originals right; on the "
            f"originals that they were made from, {plain.accuracy:.1%}; without retraining, "
            f"{trained.accuracy:.1%}.",
            "Whether exemplars are better than plain images is not decided by one draw (n = 1).",
        ),
        facts=[
            Fact("accuracy with exemplars", f"{made.accuracy:.1%}", basis),
            Fact("with their originals", f"{plain.accuracy:.1%}", basis),
            Fact("exemplars", count, f"{config.retraining.steps} updates"),
        ],
        sections=sections,
        footer=provenance(
            {**environment(), "key": config.key},
            data=f"{data['name']}, {data['split']}, {digest_words(data['sha256'])}",
            classifier=f"{Path(config.classifier).name}, "
            f"{digest_words(identity['classifier']['sha256'])}",
        ),
    )
