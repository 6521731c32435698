"""The command `elicit classifier evaluate`: exact accuracy on a whole split."""

import re
from pathlib import Path

import numpy as np

from experiments.classifier.report import ClassifierTest, evaluation_section, worst_section
from experiments.classifier.source import check_fits, find_classifier
from experiments.options.classifier import ClassifierEvaluateConfig
from experiments.pages.html import Fact, digest_words, provenance, write_report
from experiments.pages.verdict import Verdict
from imgopt.errors import InputError
from train.data.load import data_digest, load_images
from train.evaluation import Evaluation, evaluate
from train.storage.runs import CONFIG_FILE, environment
from train.storage.strict_json import read_sealed, write_sealed


def evaluate_classifier(config: ClassifierEvaluateConfig) -> None:
    """Runs the command: prints the result, and writes it as JSON and as a report into the run.

    Raises:
        InputError: The run or the data do not exist, or they do not fit together.
    """
    source = find_classifier(str(config.run), precision="float32")
    name = config.data or _trained_on(config.run)
    data = load_images(name, config.split, data_dir=config.data_dir)
    check_fits(source, data)
    result = evaluate(source.classify, data.images, data.labels, batch_size=config.batch_size)
    stem = re.sub(r"[^\w.-]", "_", f"evaluation-{Path(name).name}-{config.split}")
    fields = {field: _as_json(value) for field, value in result._asdict().items()}
    write_sealed(
        config.run / f"{stem}.json", {**fields, "images": len(data.labels), **environment()}
    )
    test = ClassifierTest(result, source.classify, data)
    count = f"n = {len(data.labels):,} images, all of {config.split}"
    write_report(
        config.run / f"{stem}.html",
        title=f"{config.run.name} on {Path(name).name}, {config.split}",
        verdict=Verdict(
            f"A trained classifier was measured on all {len(data.labels):,} images of the split "
            f"{config.split}.",
            f"It gets {test.accuracy_words} of them right. That is one training: another seed "
            "gives another number.",
        ),
        facts=[
            Fact("accuracy", f"{result.accuracy:.2%}", count),
            Fact("loss ↓", f"{result.loss:.4f} nats", count),
            Fact("calibration error ↓", f"{result.calibration_error:.2%}", count),
        ],
        sections=[evaluation_section(test, name=stem), worst_section(test)],
        footer=provenance(
            environment(),
            data=f"{Path(name).name}, {config.split}, {digest_words(data_digest(data))}",
            classifier=f"{config.run.name}, {digest_words(source.sha256)}",
        ),
    )
    _print(result, data.class_names)
    print(f"report: {config.run / f'{stem}.html'}")


def _trained_on(run: Path) -> str:
    path = run / CONFIG_FILE
    try:
        return str(read_sealed(path)["dataset"]["name"])
    except (FileNotFoundError, KeyError, TypeError) as error:
        raise InputError(f"{path} names no data set; give one with --data") from error


def _as_json(value: object) -> object:
    """Converts arrays to lists, and the NaN of an empty bin to null, since JSON has no NaN."""
    if isinstance(value, np.ndarray):
        return [_as_json(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if value != value else value


def _print(result: Evaluation, class_names: tuple[str, ...]) -> None:
    right = int(np.trace(result.confusion))
    print(f"accuracy           {result.accuracy:.2%} ({right} of {result.images} images)")
    print(f"cross entropy      {result.loss:.4f} nats")
    print(f"calibration error  {result.calibration_error:.2%} (15 bins)")
    width = max(len(name) for name in class_names)
    cell = max(4, len(str(result.confusion.max())) + 1)
    print("confusion          rows: true class; columns: predicted class, in the same order")
    for name, row in zip(class_names, result.confusion, strict=True):
        print(f"  {name:{width}} " + "".join(f"{number:{cell}d}" for number in row))
