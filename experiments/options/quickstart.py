"""Options of `elicit quickstart`."""

from dataclasses import dataclass
from pathlib import Path

from imgopt.errors import InputError
from train.storage.runs import check_key

FRACTION = 0.3


@dataclass(frozen=True)
class QuickstartConfig:
    """Synthesis and training on scikit-learn's handwritten digits; downloads nothing."""

    out: Path | None = None
    """Directory of the run, with its report.html; by default runs/quickstart, or with --gan
    runs/quickstart-gan."""
    gan: bool = False
    """Train a GAN instead, sort its images by a classifier, and train with them."""
    fraction: float = FRACTION
    """Share of the training images to replace by synthesised ones."""
    seeds: int = 3
    """Trainings of each kind, at least 2 for a standard deviation."""
    key: int = 0
    """Seed of everything random."""

    def __post_init__(self) -> None:
        """Raises InputError for a number outside its range."""
        check_key(self.key + self.seeds)  # the trainings' seeds follow it
        if self.seeds < 2:
            raise InputError(f"seeds must be at least 2, got {self.seeds}")
        if not 0 <= self.fraction <= 1:
            raise InputError(f"fraction must be in [0, 1], got {self.fraction}")
        if self.gan and self.fraction != FRACTION:
            raise InputError("--fraction is for synthesised images, of which --gan makes none")

    @property
    def directory(self) -> Path:
        """Directory of the run."""
        return self.out or Path("runs/quickstart-gan" if self.gan else "runs/quickstart")
