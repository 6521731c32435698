"""DCGANs and Stacked GANs for small data sets: training, sampling, selection, evaluation."""

# ruff: noqa: E402
from elicit_jax import check_packages

check_packages()  # before anything is imported from `train`

from gans.augmentation import augment
from gans.dcgan import DcganConfig
from gans.game import GameConfig, GanData, GanLearner
from gans.losses import LossWeights
from gans.metrics import frechet_distance, kernel_distance, overlap, relative_distances
from gans.pairs import DcganPair, LevelPair
from gans.sampling import (
    Gan,
    GanSpec,
    gan_digest,
    image_keys,
    keys_from_text,
    load_gan,
    sample,
)
from gans.selection import Thresholds, read_predictions
from gans.stacked import PRESETS, Level, StackConfig, stack_levels

__all__ = [
    "PRESETS",
    "DcganConfig",
    "DcganPair",
    "GameConfig",
    "Gan",
    "GanData",
    "GanLearner",
    "GanSpec",
    "Level",
    "LevelPair",
    "LossWeights",
    "StackConfig",
    "Thresholds",
    "augment",
    "frechet_distance",
    "gan_digest",
    "image_keys",
    "kernel_distance",
    "keys_from_text",
    "load_gan",
    "overlap",
    "read_predictions",
    "relative_distances",
    "sample",
    "stack_levels",
]
