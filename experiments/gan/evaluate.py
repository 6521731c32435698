"""The command `elicit gan evaluate`: quality of generated images, beside real ones.

The name of a measure contains the classifier's network and the number of images, such as
`frechet_kono-cnn_5000`. Only values of the same name can be compared.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import cast

import jax
import numpy as np

from experiments.classifier.source import check_fits, find_classifier
from experiments.classifier.train import train_classifier
from experiments.gan.evaluate_report import (
    GanQuality,
    NearestImages,
    SetQuality,
    print_table,
    write_quality_report,
)
from experiments.options.classifier import ClassifierTrainConfig
from experiments.options.gan import GanEvaluateConfig
from experiments.pages.html import digest_words, provenance
from gans.metrics import (
    NEAR_COPY,
    frechet_distance,
    kernel_distance,
    nearest_distances,
    overlap,
    relative_distances,
    usual_distance,
)
from imgopt.errors import InputError
from train.classifiers import (
    Classifier,
    classify_function,
    digest,
    feature_function,
    load_classifier,
)
from train.data.combine import check_alike
from train.data.image_data import ImageData
from train.data.load import data_digest, load_images
from train.evaluation import evaluate, extract_features
from train.models import NetworkName
from train.storage.runs import CONFIG_FILE, as_json, environment, open_run, write_result

REAL, GENERATED, TEST = "real_train", "generated", "real_test"
"""Names of the sets: real images to resemble, images to measure, and real images for comparison."""

MEASURED = (GENERATED, TEST)
"""Sets that are measured, against the real training images."""

BATCH_SIZE = 500
"""Images in one compiled batch; fewer if a set has fewer."""

SHOWN_IMAGES = 10
"""Generated images shown in the report, each beside its nearest training image."""


def evaluate_gan(config: GanEvaluateConfig) -> GanQuality:
    """Runs the command.

    Args:
        config: What to measure.

    Returns:
        The measured quality.

    Raises:
        InputError: Options, data, classifier and run do not fit together. It is raised before
            anything is compiled or written.
        FloatingPointError: The classifier's output, or the training's loss, is not finite.
    """
    sets = _load(config)
    classifier = _load_run(config.classifier, sets[REAL])
    training = _training(config, classifier, sets[GENERATED]) if config.gan_train else None
    if complete := open_run(config.out, _identity(config, classifier, sets)):
        quality = GanQuality.from_json(complete)
        print_table(quality)
        print(f"{config.out} is complete; nothing to do")
        return quality
    features = _extract(classifier, sets)
    unit = usual_distance(features[REAL])
    relative = {
        name: relative_distances(features[name], features[REAL], unit=unit) for name in MEASURED
    }
    quality = _measure_all(config, classifier, sets, features, relative)
    if training:
        trained = train_classifier(training, label="training on the generated images alone")
        if trained is not None and trained.test_accuracy is not None:
            name = quality.measure_name("gan_train", quality.generated.images)
            quality.generated.measures[name] = trained.test_accuracy
    result = {**quality.to_json(), "key": config.key, **environment()}
    name = Path(config.images).name
    write_quality_report(
        config.out / "report.html",
        quality,
        _nearest(sets, features, relative),
        title=f"{name} beside real images of {Path(config.data).name}, key {config.key}",
        footer=provenance(
            result,
            data=f"{name}, {digest_words(data_digest(sets[GENERATED]))}; "
            f"{Path(config.data).name}, {digest_words(data_digest(sets[REAL]))}",
            classifier=f"{quality.network}, {digest_words(quality.classifier_sha256)}",
        ),
    )
    write_result(config.out, result, of=(CONFIG_FILE, "report.html"))
    print_table(quality)
    print(f"report: {config.out / 'report.html'}")
    return quality


def _load(config: GanEvaluateConfig) -> dict[str, ImageData]:
    """Loads the three sets; refuses sets that do not fit together."""
    sets = {
        REAL: load_images(config.data, config.split, data_dir=config.data_dir),
        GENERATED: load_images(config.images),
        TEST: load_images(config.data, config.test_split, data_dir=config.data_dir),
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
    """Loads a run's classifier; refuses one for other images or classes."""
    source = find_classifier(name, precision="float32")
    if source.spec is None:
        raise InputError(
            f"expected a classifier's run, got the callable {name}, which gives logits but no "
            "features; make a run with: elicit classifier train --out RUN"
        )
    check_fits(source, data)
    return load_classifier(name)


def _training(
    config: GanEvaluateConfig, classifier: Classifier, generated: ImageData
) -> ClassifierTrainConfig:
    """Training on generated images only, tested on real ones; refuses a set below one batch."""
    config.train.budget.steps_per_epoch(len(generated.labels), of="the generated set")
    return ClassifierTrainConfig(
        data=config.images,
        data_dir=config.data_dir,
        test_data=config.data,
        test_split=config.test_split,
        out=config.out / "gan-train",
        model=cast(NetworkName, classifier.spec.network),
        width=classifier.spec.width,
        key=config.key,
        train=config.train,
    )


def _identity(
    config: GanEvaluateConfig, classifier: Classifier, sets: Mapping[str, ImageData]
) -> dict[str, object]:
    """Everything that the result depends on; data are identified by digest, not by place."""
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
    """Extracts the features of all images."""
    function, batch_size = feature_function(classifier), _batch_size(sets)
    return {
        name: extract_features(function, data.images, batch_size=batch_size)
        for name, data in sets.items()
    }


def _batch_size(sets: Mapping[str, ImageData]) -> int:
    """Batch size for all sets: one compiled program, so that equal images get equal bits."""
    return min(BATCH_SIZE, *(len(data.labels) for data in sets.values()))


def _measure_all(
    config: GanEvaluateConfig,
    classifier: Classifier,
    sets: Mapping[str, ImageData],
    features: Mapping[str, np.ndarray],
    relative: Mapping[str, np.ndarray],
) -> GanQuality:
    """Measures everything that needs no training."""
    accepted = {name: _accept(classifier, sets[name], _batch_size(sets)) for name in MEASURED}
    quality = GanQuality(
        accepted[GENERATED],
        accepted[TEST],
        real_train_images=len(sets[REAL].labels),
        class_names=classifier.spec.class_names,
        network=classifier.spec.network,
        classifier_sha256=digest(classifier),
        features=features[REAL].shape[1],
        neighbours=config.neighbours,
    )
    fewest = min(found.images for found in accepted.values())
    for name, found in accepted.items():
        near_copies = float((relative[name] < NEAR_COPY).mean())
        found.measures[quality.measure_name("near_copies", found.images)] = near_copies
        for count in {found.images, fewest}:
            rows = features[name][_spread(sets[name].labels, count)]
            for measure, value in _compare(features[REAL], rows, config.neighbours).items():
                found.measures[quality.measure_name(measure, count)] = value
    return quality


def _accept(classifier: Classifier, data: ImageData, batch_size: int) -> SetQuality:
    """How often the classifier assigns images to their labels (GAN-test), in all and by class."""
    evaluation = evaluate(
        classify_function(classifier), data.images, data.labels, batch_size=batch_size
    )
    rates = {
        name: float(row[label] / row.sum()) if row.any() else None
        for label, (name, row) in enumerate(
            zip(data.class_names, evaluation.confusion, strict=True)
        )
    }
    count = len(data.labels)
    acceptance = {f"acceptance_{classifier.spec.network}_{count}": evaluation.accuracy}
    return SetQuality(count, acceptance, rates, evaluation.confusion.tolist())


def _compare(real: np.ndarray, features: np.ndarray, neighbours: int) -> dict[str, float]:
    """Measures that compare a set's features, as a whole, with the real images' features."""
    return {
        "frechet": frechet_distance(real, features),
        "kernel": kernel_distance(real, features),
        **overlap(real, features, neighbours=neighbours)._asdict(),
    }


def _spread(labels: np.ndarray, count: int) -> np.ndarray:
    """Chooses rows at even intervals in the order of the labels, so every class has its share."""
    return np.argsort(labels, kind="stable")[np.arange(count) * len(labels) // count]


def _nearest(
    sets: Mapping[str, ImageData],
    features: Mapping[str, np.ndarray],
    relative: Mapping[str, np.ndarray],
) -> NearestImages:
    """The generated images nearest to training images, nearest first, and all distances."""
    rows = np.argsort(relative[GENERATED], kind="stable")[:SHOWN_IMAGES]
    _, nearest = nearest_distances(features[GENERATED][rows], features[REAL])
    return NearestImages(
        generated=sets[GENERATED].images[rows],
        training=sets[REAL].images[nearest],
        relative=relative[GENERATED],
        relative_of_test=relative[TEST],
    )
