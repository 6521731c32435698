"""Options of the selection and the measures of generated images, which are read without JAX."""

import math
from dataclasses import dataclass
from typing import Literal

from imgopt.errors import InputError

Keep = Literal["tp", "fp", "both"]


@dataclass(frozen=True)
class Thresholds:
    """Thresholds for keeping an image of either kind; the defaults keep every image."""

    min_confidence: float = 0.0
    """Smallest probability of the predicted class, in [0, 1]."""
    min_margin: float = 0.0
    """Smallest difference between the two highest probabilities, in [0, 1]."""
    min_distance: float | None = None
    """Smallest distance to the nearest training image, in the classifier's features. The unit is
    the median distance between nearest training images; near-copies have about 0. By default no
    distance is measured."""

    def __post_init__(self) -> None:
        """Raises InputError for a number outside its range."""
        for name in ("min_confidence", "min_margin"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"{name} must be in [0, 1], got {getattr(self, name)}")
        if self.min_distance is not None and not 0 <= self.min_distance < math.inf:
            raise InputError(f"min_distance must be at least 0 and finite, got {self.min_distance}")


NEIGHBOURS = 5
"""Number of neighbours, k, in Naeem et al. 2020; Kynkäänniemi et al. 2019 take 3."""
