"""The teacher of paper A: the frozen classifier whose outputs the synthesised images elicit.

Experiments with the same teacher train it once if they share the directory of their pieces.
"""

from dataclasses import dataclass, field
from pathlib import Path

from experiments.options.classifier import ClassifierTrainConfig
from experiments.papers.engine.experiment import Source
from experiments.papers.engine.plan import ONLY_THE_LAST
from train.models import NetworkName
from train.recipes.train_options import TrainConfig


@dataclass(frozen=True)
class TeacherSettings:
    """Settings of the teacher; the defaults are the paper's."""

    dataset: str = "cifar10"
    train_split: str = "train"
    test_split: str = "test"
    model: NetworkName = "vgg16"
    width: float = 1.0
    """Factor on the channel counts of the network."""
    train: TrainConfig = field(default_factory=TrainConfig)


def teacher_source(settings: TeacherSettings, data_dir: Path | None) -> Source:
    """The data on which the teacher is trained and tested.

    Args:
        settings: settings of the teacher.
        data_dir: TFDS's data directory; None for a data set that needs none.
    """
    return Source(settings.dataset, data_dir, (settings.train_split, settings.test_split))


def teacher_config(
    settings: TeacherSettings, source: Source, key: int, out: Path
) -> ClassifierTrainConfig:
    """Options of the teacher's training.

    Args:
        settings: settings of the teacher.
        source: the data.
        key: key of initial parameters, order and augmentation.
        out: directory of the run.
    """
    return ClassifierTrainConfig(
        data=source.dataset,
        data_dir=source.data_dir,
        split=settings.train_split,
        test_split=settings.test_split,
        test_every=ONLY_THE_LAST,
        out=out,
        model=settings.model,
        width=settings.width,
        key=key,
        train=settings.train,
    )
