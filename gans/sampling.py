"""A trained GAN: what it is, its generators' variables, and images from it.

A run keeps the first in `gan.json` and the second in `generator/`; both together are all that is
needed to sample.
"""

import dataclasses
import functools
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, Key, UInt8

from gans import dcgan, stacked
from gans.blocks import from_signed
from gans.dcgan import DcganConfig
from gans.stacked import StackConfig, build_generator, stack_levels
from imgopt import to_uint8
from train.checkpoints import digest_of, newest_checkpoint
from train.files import read_sealed
from train.runs import check_digest

SPEC_FILE = "gan.json"
GENERATOR = "generator"
"""Name of the directory in a run's that holds the variables."""

Model = Literal["dcgan", "sgan"]
CONFIGS: dict[Model, type[DcganConfig] | type[StackConfig]] = {
    "dcgan": DcganConfig,
    "sgan": StackConfig,
}


class GanSpec(NamedTuple):
    """All that is needed to apply a GAN's variables.

    Attributes:
        model: its kind.
        class_names: in the order of the labels.
        config: sizes of a DCGAN or of a stack. A DCGAN that knows no classes is one for each class;
            its variables have an axis of classes in front.
    """

    model: Model
    class_names: tuple[str, ...]
    config: DcganConfig | StackConfig

    @property
    def num_classes(self) -> int:
        """Classes that it can sample."""
        return len(self.class_names)

    @property
    def is_per_class(self) -> bool:
        """Whether it is a GAN for each class."""
        return isinstance(self.config, DcganConfig) and self.config.num_classes is None

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Height, width, channels."""
        if isinstance(self.config, StackConfig):
            return self.config.image_shape
        return (self.config.image_size, self.config.image_size, self.config.channels)


class Gan(NamedTuple):
    """A spec and the generators' variables, by what they make."""

    spec: GanSpec
    variables: dict[str, Any]


def load_gan(run: str | Path) -> Gan:
    """Loads a finished run's generators, their digests verified.

    Args:
        run: directory written by `elicit gan train`.

    Raises:
        ValueError: the directory is not a GAN's run, or its training isn't finished; or its files
            are damaged, or are not what the run's result says.
    """
    path = Path(run) / SPEC_FILE
    if not path.is_file():
        raise ValueError(
            f"{run} is not a GAN's run (it has no {SPEC_FILE}); make one with: elicit gan train "
            "--out RUN"
        )
    spec = _read_spec(path)
    checkpoint = newest_checkpoint(Path(run) / GENERATOR)
    if checkpoint is None:
        raise ValueError(
            f"{run} holds no generator: its training is not finished, or the files are gone; "
            "repeat the command that made it"
        )
    gan = Gan(spec, jax.tree.map(jnp.asarray, checkpoint.state))
    check_digest(Path(run), "gan_sha256", gan_digest(gan), of=GENERATOR)
    return gan


def _read_spec(path: Path) -> GanSpec:
    fields = read_sealed(path)
    try:
        sizes: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in fields["config"].items()
        }
        config = CONFIGS[fields["model"]](**sizes)
        return GanSpec(fields["model"], tuple(fields["class_names"]), config)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} does not describe a GAN: {error!r}") from error


def gan_digest(gan: Gan) -> str:
    """Sha256 over the spec and every variable's name, type, shape and bytes."""
    fields = (gan.spec.model, gan.spec.class_names, dataclasses.asdict(gan.spec.config))
    return digest_of(repr(fields), gan.variables)


def image_keys(key: Key[Array, ""], label: int, numbers: Int[np.ndarray, " n"]) -> Key[Array, " n"]:
    """Keys of the images with the given numbers of a class: fold_in(fold_in(key, label), number).

    Args:
        key: of the whole set.
        label: the class.
        numbers: of its images, at least 0.
    """
    return _image_keys(key, label, jnp.asarray(numbers))


@jax.jit
def _image_keys(key, label, numbers):
    return jax.vmap(jax.random.fold_in, (None, 0))(jax.random.fold_in(key, label), numbers)


def sample(
    gan: Gan, keys: Key[Array, " n"], labels: Int[np.ndarray, " n"], *, batch_size: int = 256
) -> UInt8[np.ndarray, "n h w c"]:
    """Makes images, each of its own key and label alone.

    The generators run in evaluation mode, in batches of one compiled size, the last one filled up.

    Args:
        gan: trained.
        keys: one an image.
        labels: what to make, in [0, k).
        batch_size: images in a batch, at least 1.

    Raises:
        ValueError: a label is outside its range.
        FloatingPointError: an image is not finite.
    """
    if labels.size and not 0 <= labels.min() <= labels.max() < gan.spec.num_classes:
        raise ValueError(
            f"labels must be in [0, {gan.spec.num_classes}), got {labels.min()} to {labels.max()}"
        )
    images = np.empty((len(labels), *gan.spec.image_shape), np.uint8)
    for rows, variables in _parts(gan, labels):
        for start in range(0, len(rows), batch_size):
            batch = rows[start : start + batch_size]
            padded = np.pad(batch, (0, batch_size - len(batch)), mode="edge")
            made, is_finite = _render(gan.spec, variables, keys[padded], labels[padded])
            if not is_finite:
                raise FloatingPointError(
                    "the generator's images are not finite: its training diverged; a lower "
                    "--learning-rate may help"
                )
            images[batch] = np.asarray(made)[: len(batch)]
    return images


def _parts(gan: Gan, labels: np.ndarray) -> list[tuple[np.ndarray, dict[str, Any]]]:
    """Rows that one set of variables makes, and these; a set for each class or one for all."""
    if not gan.spec.is_per_class:
        return [(np.arange(len(labels)), gan.variables)]
    return [
        (np.flatnonzero(labels == c), jax.tree.map(lambda leaf, c=c: leaf[c], gan.variables))
        for c in np.unique(labels).tolist()
    ]


@functools.partial(jax.jit, static_argnums=0)
def _render(spec: GanSpec, variables, keys, labels):
    """Images as uint8, and whether all of them were finite."""
    generate = _generate_dcgan if isinstance(spec.config, DcganConfig) else _generate_stack
    images = from_signed(generate(spec.config, variables, keys, labels))
    return to_uint8(images), jnp.isfinite(images).all()


def _generate_dcgan(config, variables, keys, labels) -> Any:
    noise = _draw(dcgan.draw_noise, keys, config.noise_dim)
    given = None if config.num_classes is None else labels
    return dcgan.Generator(config).apply(variables["image"], noise, given, train=False)


def _generate_stack(config, variables, keys, labels) -> Any:
    features = jax.nn.one_hot(labels, config.num_classes)
    for index, level in reversed(list(enumerate(stack_levels(config)))):
        level_keys = jax.vmap(jax.random.fold_in, (0, None))(keys, index)
        noise = _draw(stacked.draw_noise, level_keys, level.noise_dim)
        network = build_generator(level, width=config.width)
        features = network.apply(variables[level.target], features, noise, train=False)
    return features


def _draw(draw_noise, keys, noise_dim: int):
    """Noise of each image by its own key."""
    return jax.vmap(lambda key: draw_noise(key, 1, noise_dim=noise_dim)[0])(keys)
