"""The command `elicit gan evaluate`: how good generated images are, beside real ones.

Whatever is measured in a classifier's eyes has the classifier's network and the number of images in
its name, such as `frechet_kono-cnn_5000`: it compares only with others of that name.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import jax
import numpy as np

from experiments.classifier.source import check_fits, find_classifier
from experiments.classifier.train import ClassifierTrainConfig, train_classifier
from experiments.gan.evaluate_report import NearestImages, print_table, write_quality_report
from gans.metrics import (
    NEAR_COPY,
    NEIGHBOURS,
    frechet_distance,
    kernel_distance,
    nearest_distances,
    overlap,
    relative_distances,
    usual_distance,
)
from imgopt.errors import InputError
from train.classifier_training import TrainConfig
from train.classifiers import (
    Classifier,
    classify_function,
    digest,
    feature_function,
    load_classifier,
)
from train.data.combine import check_alike
from train.data.load import ImageData, data_digest, load_images
from train.evaluation import evaluate, extract_features
from train.models.networks import NetworkName
from train.storage.runs import CONFIG_FILE, as_json, check_key, environment, open_run, write_result

REAL, GENERATED, TEST = "real_train", "generated", "real_test"
"""The real images to be like, those to measure, and other real ones, to be measured beside them."""

JUDGED = (GENERATED, TEST)

BATCH_SIZE = 500
"""Images in one compiled batch, fewer where a set has not so many."""

SHOWN_IMAGES = 10
"""Generated images in the report, beside the training images that they are nearest to."""


@dataclass(frozen=True)
class GanEvaluateConfig:
    """Measures generated images against real ones, as a classifier sees them."""

    images: str
    """Directory of the image set to measure, its labels the classes asked for."""
    data: str
    """The directory of the real data set, or "digits"."""
    classifier: str
    """Run of the classifier to see with, made by `elicit classifier train`."""
    out: Path
    """The run's directory."""
    train_split: str = "train"
    """Split of the real data that the generated images are to be like."""
    test_split: str = "test"
    """Split of the real data to measure beside them, and to test on with --gan-train."""
    neighbours: int = NEIGHBOURS
    """An image's neighbourhood reaches to this nearest one of its set (precision to coverage)."""
    gan_train: bool = False
    """Also train a classifier of the same architecture on the generated images alone."""
    key: int = 0
    """Seed of the training of --gan-train."""
    train: TrainConfig = field(default_factory=TrainConfig)

    def __post_init__(self) -> None:
        """Raises InputError for what can be told from the options alone."""
        check_key(self.key)
        if self.neighbours < 1:
            raise InputError(f"neighbours must be at least 1, got {self.neighbours}")


def evaluate_gan(config: GanEvaluateConfig) -> dict[str, Any]:
    """Runs the command.

    Args:
        config: what to measure.

    Returns:
        The content of `result.json`.

    Raises:
        InputError: something does not fit, found before anything is compiled or written.
        FloatingPointError: the classifier's output, or the training's loss, is not finite.
    """
    sets = _load(config)
    classifier = _load_run(config.classifier, sets[REAL])
    training = _training(config, classifier, sets[GENERATED]) if config.gan_train else None
    if result := open_run(config.out, _identity(config, classifier, sets)):
        print_table(result)
        print(f"{config.out} is complete; nothing to do")
        return result
    features = _extract(classifier, sets)
    unit = usual_distance(features[REAL])
    relative = {
        name: relative_distances(features[name], features[REAL], unit=unit) for name in JUDGED
    }
    result = _result(config, classifier, sets, features, relative)
    if training:
        trained = train_classifier(training, label="training on the generated images alone")
        accuracy = {"gan_train": trained["test_accuracy"]}
        result[GENERATED]["measures"] |= _named(accuracy, classifier, len(sets[GENERATED].labels))
    write_quality_report(config.out / "report.html", result, _nearest(sets, features, relative))
    write_result(config.out, result, of=(CONFIG_FILE, "report.html"))
    print_table(result)
    print(f"report: {config.out / 'report.html'}")
    return result


def _load(config: GanEvaluateConfig) -> dict[str, ImageData]:
    """The three sets, if they belong together."""
    sets = {
        REAL: load_images(config.data, config.train_split),
        GENERATED: load_images(config.images),
        TEST: load_images(config.data, config.test_split),
    }
    others = {"the generated set": sets[GENERATED], "the test set": sets[TEST]}
    check_alike(sets[REAL], others)
    for name, data in sets.items():
        if len(data.labels) <= config.neighbours:
            raise InputError(
                f"expected more images in every set than --neighbours, which is "
                f"{config.neighbours}, got {len(data.labels)} in {name}; give more images"
            )
    return sets


def _load_run(name: str, data: ImageData) -> Classifier:
    """A run's classifier, if it takes the data's images and has their classes."""
    source = find_classifier(name, precision="float32")
    if source.spec is None:
        raise InputError(
            f"expected a classifier's run, got the callable {name}, which gives logits and no "
            "features; make a run with: elicit classifier train --out RUN"
        )
    check_fits(source, data)
    return load_classifier(name)


def _training(
    config: GanEvaluateConfig, classifier: Classifier, generated: ImageData
) -> ClassifierTrainConfig:
    """The training on generated images alone, tested on real ones; refuses less than a batch."""
    config.train.budget.steps_per_epoch(len(generated.labels), of="the generated set")
    return ClassifierTrainConfig(
        dataset=config.images,
        test_dataset=config.data,
        test_split=config.test_split,
        out=config.out / "gan-train",
        model=cast(NetworkName, classifier.spec.network),
        width=classifier.spec.width,
        key=config.key,
        train=config.train,
    )


def _identity(
    config: GanEvaluateConfig, classifier: Classifier, sets: Mapping[str, ImageData]
) -> dict[str, Any]:
    """What the result depends on, the data by digest rather than by place."""
    gan_train = {"key": config.key, "train": as_json(config.train)} if config.gan_train else None
    return {
        "classifier_sha256": digest(classifier),
        "data_sha256": {name: data_digest(data) for name, data in sets.items()},
        "neighbours": config.neighbours,
        "gan_train": gan_train,
        "device_kind": jax.devices()[0].device_kind,
        "jax": jax.__version__,
    }


def _extract(classifier: Classifier, sets: Mapping[str, ImageData]) -> dict[str, np.ndarray]:
    """Features of all images."""
    function, batch_size = feature_function(classifier), _batch_size(sets)
    return {
        name: extract_features(function, data.images, batch_size=batch_size)
        for name, data in sets.items()
    }


def _batch_size(sets: Mapping[str, ImageData]) -> int:
    """One for all sets, hence one compiled program, which gives copies the same bits."""
    return min(BATCH_SIZE, *(len(data.labels) for data in sets.values()))


def _result(
    config: GanEvaluateConfig,
    classifier: Classifier,
    sets: Mapping[str, ImageData],
    features: Mapping[str, np.ndarray],
    relative: Mapping[str, np.ndarray],
) -> dict[str, Any]:
    """All that needs no training, as `result.json` holds it."""
    judged = {name: _judge(classifier, sets[name], _batch_size(sets)) for name in JUDGED}
    fewest = min(judged[name]["images"] for name in JUDGED)
    for name in JUDGED:
        labels, measures = sets[name].labels, judged[name]["measures"]
        near_copies = {"near_copies": float((relative[name] < NEAR_COPY).mean())}
        measures |= _named(near_copies, classifier, len(labels))
        for count in {len(labels), fewest}:
            found = features[name][_spread(labels, count)]
            distances = _measure(features[REAL], found, neighbours=config.neighbours)
            measures |= _named(distances, classifier, count)
    return {
        **judged,
        REAL: {"images": len(sets[REAL].labels)},
        "class_names": list(classifier.spec.class_names),
        "feature_source": {
            "network": classifier.spec.network,
            "classifier_sha256": digest(classifier),
            "features": features[REAL].shape[1],
        },
        "neighbours": config.neighbours,
        "key": config.key,
        **environment(),
    }


def _judge(classifier: Classifier, data: ImageData, batch_size: int) -> dict[str, Any]:
    """How often the classifier assigns images to their labels, over all (GAN-test) and by class."""
    evaluation = evaluate(
        classify_function(classifier), data.images, data.labels, batch_size=batch_size
    )
    rates = {
        name: float(row[label] / row.sum()) if row.any() else None
        for label, (name, row) in enumerate(
            zip(data.class_names, evaluation.confusion, strict=True)
        )
    }
    return {
        "images": len(data.labels),
        "measures": _named({"acceptance": evaluation.accuracy}, classifier, len(data.labels)),
        "acceptance_by_class": rates,
        "confusion": evaluation.confusion.tolist(),
    }


def _measure(real: np.ndarray, found: np.ndarray, *, neighbours: int) -> dict[str, float]:
    """All measures of a set's features, as a whole, against those of the real images."""
    return {
        "frechet": frechet_distance(real, found),
        "kernel": kernel_distance(real, found),
        **overlap(real, found, neighbours=neighbours)._asdict(),
    }


def _named(measures: dict[str, float], classifier: Classifier, count: int) -> dict[str, float]:
    network = classifier.spec.network
    return {f"{measure}_{network}_{count}": value for measure, value in measures.items()}


def _spread(labels: np.ndarray, count: int) -> np.ndarray:
    """So many rows, at even distances once sorted by label: every class has its share."""
    return np.argsort(labels, kind="stable")[np.arange(count) * len(labels) // count]


def _nearest(
    sets: Mapping[str, ImageData],
    features: Mapping[str, np.ndarray],
    relative: Mapping[str, np.ndarray],
) -> NearestImages:
    """The generated images nearest to training images, the nearest first, and all distances."""
    rows = np.argsort(relative[GENERATED], kind="stable")[:SHOWN_IMAGES]
    _, nearest = nearest_distances(features[GENERATED][rows], features[REAL])
    return NearestImages(
        generated=sets[GENERATED].images[rows],
        training=sets[REAL].images[nearest],
        relative=relative[GENERATED],
        relative_of_test=relative[TEST],
    )
