"""The networks that the options of `elicit gan train` ask for."""

from experiments.options.gan import GanTrainConfig
from gans.dcgan import DcganConfig
from gans.options.training import PRESETS
from gans.pairs import DcganPair, LevelPair
from gans.stacked import StackConfig, stack_levels
from imgopt.errors import InputError


def gan_sizes(
    config: GanTrainConfig, image_shape: tuple[int, int, int], *, num_classes: int
) -> DcganConfig | StackConfig:
    """Sizes of a GAN's networks.

    Args:
        config: Configuration of the training.
        image_shape: Height, width, channels.
        num_classes: Number of classes of the data.

    Raises:
        InputError: The images do not fit the networks.
    """
    height, width, channels = image_shape
    given = {} if config.width is None else {"width": config.width}
    if config.model == "sgan":
        return StackConfig(
            image_shape=image_shape,
            num_classes=num_classes,
            cut_points=config.cut_points or PRESETS[config.preset],
            encoder_width=config.encoder_width,
            **given,
        )
    if height != width:
        raise InputError(f"a DCGAN takes square images, got {height}×{width}")
    classes = None if config.one_per_class else num_classes
    return DcganConfig(image_size=height, channels=channels, num_classes=classes, **given)


def network_pairs(
    config: GanTrainConfig, sizes: DcganConfig | StackConfig
) -> tuple[DcganPair] | tuple[LevelPair, ...]:
    """The generator and discriminator of a DCGAN, or of each level, from the image up.

    Args:
        config: Configuration of the training.
        sizes: Sizes of the networks.
    """
    options = config.augmentations, config.spectral_norm, config.precision
    if isinstance(sizes, DcganConfig):
        return (DcganPair(sizes, *options),)
    levels = stack_levels(sizes)
    return tuple(LevelPair(sizes, level, config.weights, *options) for level in levels)
