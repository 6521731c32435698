from gans.augmentation import augment
from gans.dcgan import DcganConfig, Discriminator, Generator, draw_dcgan_noise
from gans.encoder_training import EncoderConfig, EncoderLearner
from gans.game import GameConfig, GanData, GanLearner, trained_generators
from gans.losses import LossWeights
from gans.metrics import frechet_distance, kernel_distance, overlap, relative_distances
from gans.pairs import DcganPair, LevelPair
from gans.sampling import (
    Gan,
    GanSpec,
    gan_digest,
    generate,
    image_keys,
    keys_from_text,
    load_gan,
    sample,
    save_gan,
)
from gans.selection import Thresholds, read_predictions
from gans.stacked import (
    PRESETS,
    Level,
    LevelDiscriminator,
    StackConfig,
    build_generator,
    draw_stack_noise,
    stack_levels,
)

__all__ = [
    "PRESETS",
    "DcganConfig",
    "DcganPair",
    "Discriminator",
    "EncoderConfig",
    "EncoderLearner",
    "GameConfig",
    "Gan",
    "GanData",
    "GanLearner",
    "GanSpec",
    "Generator",
    "Level",
    "LevelDiscriminator",
    "LevelPair",
    "LossWeights",
    "StackConfig",
    "Thresholds",
    "augment",
    "build_generator",
    "draw_dcgan_noise",
    "draw_stack_noise",
    "frechet_distance",
    "gan_digest",
    "generate",
    "image_keys",
    "kernel_distance",
    "keys_from_text",
    "load_gan",
    "overlap",
    "read_predictions",
    "relative_distances",
    "sample",
    "save_gan",
    "stack_levels",
    "trained_generators",
]
