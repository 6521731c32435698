"""Paper A's teacher: the classifier whose output images are made to elicit.

Experiments that ask for the same one, and share the place of their pieces, train it once.
"""

from dataclasses import dataclass, field
from pathlib import Path

from experiments.classifier.train import ClassifierTrainConfig
from experiments.papers.engine.experiment import Source
from train.classifier_training import TrainConfig
from train.models.networks import NetworkName


@dataclass(frozen=True)
class TeacherSettings:
    """What a preset decides of the teacher; the defaults are the paper's."""

    dataset: str = "cifar10"
    train_split: str = "train"
    test_split: str = "test"
    model: NetworkName = "vgg16"
    width: float = 1.0
    """Factor on the network's channel counts."""
    train: TrainConfig = field(default_factory=TrainConfig)


def teacher_source(settings: TeacherSettings, data_dir: Path | None) -> Source:
    """The data that the teacher is trained and tested on.

    Args:
        settings: of the teacher.
        data_dir: TFDS's data directory; None for a data set that needs none.
    """
    return Source(settings.dataset, data_dir, (settings.train_split, settings.test_split))


def teacher_config(
    settings: TeacherSettings, source: Source, key: int, out: Path
) -> ClassifierTrainConfig:
    """The training of the teacher.

    Args:
        settings: of the teacher.
        source: the data.
        key: of initial parameters, order and augmentation.
        out: directory of the run.
    """
    return ClassifierTrainConfig(
        dataset=source.dataset,
        data_dir=source.data_dir,
        train_split=settings.train_split,
        test_split=settings.test_split,
        out=out,
        model=settings.model,
        width=settings.width,
        key=key,
        train=settings.train,
    )
