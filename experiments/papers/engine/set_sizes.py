"""Sizes of the image sets of a plan, including those that do not exist yet."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple, TypeVar

import tensorflow_datasets as tfds

from experiments.options.data import AugmentConfig, SubsetConfig
from experiments.options.gan import GanSampleConfig, GanTrainConfig
from experiments.options.synthesis import SynthesizeConfig
from experiments.papers.engine.make_pieces import is_done
from experiments.papers.engine.plan import Piece, PieceConfig
from imgopt.errors import InputError
from train.data.load import list_splits, open_images

Config = TypeVar("Config", bound=PieceConfig)


class SetSize(NamedTuple):
    """Size of a split of an image set, existing or planned."""

    images: int
    class_names: tuple[str, ...]
    image_shape: tuple[int, int, int]

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self.class_names)


class SetSizes:
    """Looks up the sizes of all image sets that a plan's pieces make or use, each only once."""

    def __init__(self, pieces: Mapping[str, Piece]) -> None:
        """Creates the look-up.

        Args:
            pieces: all pieces of the plan, by name.
        """
        self._pieces = {str(piece.directory): piece for piece in pieces.values()}
        self._known: dict[tuple[str, str], SetSize] = {}

    def config_at(self, place: str, kind: type[Config]) -> Config:
        """Finds the configuration of the piece in a directory.

        Raises:
            InputError: the directory does not belong to a piece of that kind.
        """
        piece = self._pieces.get(place)
        if piece is None or not isinstance(piece.config, kind):
            raise InputError(f"expected a piece with a {kind.__name__}, got {place}")
        return piece.config

    def of(
        self, place: str | Path, split: str = "train", *, data_dir: Path | None = None
    ) -> SetSize:
        """Size of a split.

        Args:
            place: directory of a piece, whether it exists or not, or a data set as in
                `train.data.load.load_images`.
            split: a split's name, or a part of a split in TFDS's notation.
            data_dir: TFDS's data directory, for a data set given by name.

        Raises:
            InputError: the data set is not a piece and is missing or damaged, or has no such split.
        """
        known = (str(place), split)
        if known not in self._known:
            piece = self._pieces.get(str(place))
            if piece is None:
                reader = open_images(place, split, data_dir=data_dir)
                size = SetSize(len(reader), reader.class_names, reader.image_shape)
            else:
                source = self.source(piece.config)
                is_there = is_done(piece)
                splits = list_splits(place) if is_there else _planned_splits(piece.config, source)
                size = source._replace(images=count_images(split, splits))
            self._known[known] = size
        return self._known[known]

    def source(self, config: PieceConfig) -> SetSize:
        """Size of a piece's input: the originals of a set, the real images of a training.

        Args:
            config: the piece's configuration; the input of a GAN's samples is the GAN's.

        Raises:
            InputError: as for `of`.
        """
        match config:
            case GanSampleConfig():
                return self.source(self.config_at(config.gan, GanTrainConfig))
            case SubsetConfig():
                return self.of(config.data, config.split[0], data_dir=config.data_dir)
            case _:
                return self.of(config.data, config.split, data_dir=config.data_dir)


def _planned_splits(config: PieceConfig, source: SetSize) -> dict[str, int]:
    """Number of images in each split that a command will make."""
    match config:
        case AugmentConfig():
            return {"train": config.copies * source.images}
        case GanSampleConfig():
            kinds = 2 if config.keep == "both" else 1
            classes = len(config.classes) or source.num_classes
            return {"train": kinds * classes * config.per_class}
        case SubsetConfig():
            per_class = {"train": config.per_class, "test": config.test_per_class}
            return {split: count * source.num_classes for split, count in per_class.items()}
        case SynthesizeConfig():
            stop = source.images if config.stop is None else config.stop
            return {"train": stop - config.start}
        case _:
            raise InputError(f"expected an image set, got {config.out}, which will not be one")


def count_images(split: str, splits: Mapping[str, int]) -> int:
    """Counts the images in a split or in a part of one.

    Args:
        split: a split in TFDS's notation, such as "train[:10%]".
        splits: number of images of each whole split.
    """
    infos = {
        name: tfds.core.SplitInfo(name=name, shard_lengths=[count], num_bytes=0)
        for name, count in splits.items()
    }
    parts = tfds.core.ReadInstruction.from_spec(split).to_absolute(infos)
    return sum(len(range(splits[part.splitname])[part.from_ : part.to]) for part in parts)
