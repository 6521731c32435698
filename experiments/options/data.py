"""Options of `elicit data …` and `elicit augment`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from imgopt.errors import InputError
from train.storage.runs import check_key

TFDS_VERSION = "3.0.2"


@dataclass(frozen=True)
class PrepareConfig:
    """Makes a data set that TFDS reads, without TensorFlow."""

    name: Positional[Literal["cifar10", "cifar100"]]
    """The data set; the labels of cifar100 are its 100 fine ones."""
    data_dir: Path
    """TFDS's data directory; the set becomes cifar10/3.0.2 or cifar100/3.0.2 in it."""
    archive: Path | None = None
    """The official archive, such as cifar-10-python.tar.gz or cifar-10-binary.tar.gz, or a tar of
    its files, or the folder that it unpacks to, as torchvision and Keras leave it. Without it, the
    python archive is downloaded. The files of a python archive must be the official ones."""

    @property
    def target(self) -> Path:
        """The directory of the new data set."""
        return self.data_dir / self.name / TFDS_VERSION


Fit = Literal["crop", "pad", "squash"]
"""What becomes of a picture that is not square: its middle square is cut out, white is added at two
sides, or it is distorted."""


@dataclass(frozen=True)
class ImportConfig:
    """Makes a data set from a folder of pictures with one subfolder a class.

    Reads PNG, JPEG, WebP, BMP, TIFF and GIF. If the subfolders are called train, val, valid,
    validation or test and have subfolders of their own, they become the splits of the set. What
    `elicit export` wrote of a set comes back with all its columns.
    """

    folder: Annotated[Positional[Path], arg(metavar="FOLDER")]
    """The folder; the names of its subfolders are the names of the classes."""
    out: Path
    """The directory of the new data set."""
    size: int = 32
    """Height and width of the images in pixels."""
    fit: Fit = "crop"
    """What becomes of a picture that is not square: crop takes its middle square, pad adds white at
    two sides, squash distorts it."""
    name: str | None = None
    """Name of the data set; by default the name of the folder."""
    test_share: float | None = None
    """Share of each class's training pictures that becomes the split test, at least one picture of
    every class that has two; 0: no split test. By default 0.2, or 0 if the folder has splits."""
    key: int = 0
    """Key by which the pictures of the split test are drawn."""


@dataclass(frozen=True)
class ShowConfig:
    """Prints the splits and classes of a data set and draws the first images of each class."""

    data: Annotated[Positional[str], arg(metavar="DATA")]
    """The directory of a data set, or "digits", or with --data-dir its name."""
    data_dir: Path | None = None
    """TFDS's data directory."""
    out: Path = Path("runs/show")
    """Directory of the contact sheet, where older files are replaced: contact_sheet.png with a row
    for each class, and report.html with class names of any script."""
    columns: int = 10
    """Images of each class on the contact sheet."""
    split: str | None = None
    """The only split to count and draw, such as "test" or "train[:10%]"; by default all splits are
    counted and the first is drawn."""


@dataclass(frozen=True)
class SubsetConfig:
    """Draws so many images of each class from all splits together, as a new data set."""

    data: str
    """Name of a data set, such as cifar10 or digits, or the directory of an image set."""
    out: Path
    """Directory of the new image set, with the splits train and test."""
    data_dir: Path | None = None
    """TFDS's data directory, for a data set named by name."""
    split: tuple[str, ...] = ("train", "test")
    """Splits to draw from, joined into one."""
    per_class: int = 500
    """Images of each class in the split train; the default is paper B's."""
    test_per_class: int = 100
    """Images of each class in the split test; 0 for none."""
    skip_per_class: int = 0
    """Images of each class to skip in the key's order. With 600, the subset shares no image with
    one of 500 training and 100 test images a class by the same key."""
    key: int = 0
    """Key by which the images are drawn."""

    def __post_init__(self) -> None:
        """Raises InputError for an option outside its range."""
        check_key(self.key)
        if not self.split or len(set(self.split)) < len(self.split):
            raise InputError(
                f"splits must be at least one and distinct, got {', '.join(self.split) or 'none'}"
            )
        if self.per_class < 1:
            raise InputError(f"per_class must be at least 1, got {self.per_class}")
        for name in ("test_per_class", "skip_per_class"):
            if getattr(self, name) < 0:
                raise InputError(f"{name} must be at least 0, got {getattr(self, name)}")


LARGEST_PX = 4096
"""Longest side of an image; a limit against typing errors."""


@dataclass(frozen=True)
class ResizeConfig:
    """Scales all images of a data set, such as MNIST's 28 x 28 pixels to 32 x 32."""

    data: str
    """Name of a data set, such as cifar10 or digits, or the directory of an image set."""
    out: Path
    """Directory of the new image set, with the same splits."""
    size: tuple[int, ...]
    """New side in pixels, or height and width, such as: 32, or 32 48."""
    data_dir: Path | None = None
    """TFDS's data directory, for a data set named by name."""
    split: tuple[str, ...] = ()
    """Splits to scale; by default all, which must be labelled."""

    def __post_init__(self) -> None:
        """Raises InputError for an option outside its range."""
        if len(self.size) not in (1, 2) or not all(1 <= px <= LARGEST_PX for px in self.size):
            raise InputError(
                f"size must be one or two numbers of pixels from 1 to {LARGEST_PX}, got "
                f"{' '.join(map(str, self.size)) or 'none'}"
            )
        if len(set(self.split)) < len(self.split):
            raise InputError(f"splits must be distinct, got {' '.join(self.split)}")


@dataclass(frozen=True)
class AugmentConfig:
    """Makes new images from the images of a set by moving their pixels; labels are kept."""

    data: str
    """Name of a data set, such as cifar10 or digits, or the directory of an image set."""
    out: Path
    """Directory of the new image set."""
    method: Literal["crop-zoom"] = "crop-zoom"
    """crop-zoom: a random square of every image, enlarged bilinearly to the image's size (paper B,
    3.2.1)."""
    copies: int = 1
    """Number of new images from each image."""
    split: str = "train"
    """Split to start from. The new images always form a split train."""
    key: int = 0
    """Key by which the squares are drawn."""
    crop_px: int = 24
    """Side of the square in pixels; paper B's is 24 of 32."""
    data_dir: Path | None = None
    """TFDS's data directory, for a data set named by name."""

    def __post_init__(self) -> None:
        """Raises InputError for an option outside its range."""
        check_key(self.key)
        if self.copies < 1:
            raise InputError(f"copies must be at least 1, got {self.copies}")
