"""Names of the trackers of `--track`."""

from typing import Literal

TrackerName = Literal["tensorboard", "wandb", "trackio"]

PACKAGES: dict[TrackerName, str] = {
    "tensorboard": "tensorboardX",
    "wandb": "wandb",
    "trackio": "trackio",
}
"""The package of each tracker."""
