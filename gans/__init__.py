"""Generators and discriminators: DCGAN, the levels of a Stacked GAN, and their losses."""

from gans.blocks import from_signed, to_signed
from gans.dcgan import DcganConfig
from gans.encoder import Encoder, feature_shapes
from gans.losses import LossWeights
from gans.stacked import PRESETS, Level, StackConfig, stack_levels

__all__ = [
    "PRESETS",
    "DcganConfig",
    "Encoder",
    "Level",
    "LossWeights",
    "StackConfig",
    "feature_shapes",
    "from_signed",
    "stack_levels",
    "to_signed",
]
