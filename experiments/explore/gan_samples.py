"""GANs on the page: images by key, and the way from one key's noise to another's."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key, UInt8

from experiments.explore.pictures import png_text
from experiments.explore.subject import Subject
from gans.blocks import from_signed
from gans.dcgan import DcganConfig, Generator, draw_dcgan_noise
from gans.sampling import Gan, image_keys, load_gan, sample
from gans.stacked import StackConfig, build_generator, draw_stack_noise, stack_levels
from imgopt import to_uint8
from imgopt.errors import InputError
from train.checks import one_hot
from train.storage.runs import check_key

SHOWN_IMAGES = 24
"""Images of a class that one key gives."""

WAY_IMAGES = 9
"""Images on the way between two keys, both ends included."""


@dataclass(frozen=True)
class ShownGan:
    """A loaded GAN.

    Attributes:
        name: directory of its run.
        gan: the GAN.
    """

    name: str
    gan: Gan

    def describe(self) -> dict[str, Any]:
        """Name, network, class names and image shape, as JSON for the page."""
        return {
            "name": self.name,
            "model": self.gan.spec.model,
            "class_names": self.gan.spec.class_names,
            "image_shape": self.gan.spec.image_shape,
        }

    def samples(self, key: int, label: int, subject: Subject | None) -> dict[str, Any]:
        """Images of a class: those that `elicit gan sample` draws first with this key.

        Args:
            key: seed.
            label: the class.
            subject: its classifier says which are true positives; None while it is not ready.

        Raises:
            InputError: the key or the class is outside its range.
        """
        check_key(key)
        self._check_label(label)
        labels = np.full(SHOWN_IMAGES, label, np.int32)
        keys = image_keys(jax.random.key(key), label, np.arange(SHOWN_IMAGES))
        images = sample(self.gan, keys, labels, batch_size=SHOWN_IMAGES)
        return self._with_predictions(images, label, subject)

    def way(self, keys: tuple[int, int], label: int, subject: Subject | None) -> dict[str, Any]:
        """Images on the straight line between the noises of two keys.

        Args:
            keys: seeds of the first and the last image, each the first that its key gives.
            label: the class.
            subject: as in `samples`.

        Raises:
            InputError: a key or the class is outside its range.
        """
        for key in keys:
            check_key(key)
        self._check_label(label)
        ends = [image_keys(jax.random.key(key), label, np.arange(1)) for key in keys]
        images = interpolate(self.gan, jnp.concatenate(ends), label, count=WAY_IMAGES)
        return self._with_predictions(images, label, subject)

    def _check_label(self, label: int) -> None:
        if not 0 <= label < self.gan.spec.num_classes:
            raise InputError(f"class must be in 0 to {self.gan.spec.num_classes - 1}, got {label}")

    def _with_predictions(
        self, images: UInt8[np.ndarray, "n h w c"], label: int, subject: Subject | None
    ) -> dict[str, Any]:
        """Images as the page takes them, with the classifier's predictions if it fits."""
        shown: list[dict[str, Any]] = [{"image": png_text(image)} for image in images]
        spec = self.gan.spec
        fits = subject is not None and (
            (subject.class_names, subject.image_shape) == (spec.class_names, spec.image_shape)
        )
        if fits and subject is not None:
            found = subject.probabilities(images, batch_size=SHOWN_IMAGES)
            for each, row in zip(shown, found, strict=True):
                predicted = int(row.argmax())
                each |= {
                    "predicted": predicted,
                    "confidence": float(f"{row[predicted]:.4g}"),
                    "is_tp": predicted == label,
                }
        return {"images": shown, "is_sorted": fits}


def open_gans(runs: Sequence[Path]) -> tuple[ShownGan, ...]:
    """Loads GANs.

    Args:
        runs: runs of `elicit gan train`.

    Raises:
        InputError: one is missing or damaged.
    """
    return tuple(ShownGan(str(run), load_gan(run)) for run in runs)


def interpolate(
    gan: Gan, keys: Key[Array, " 2"], label: int, *, count: int
) -> UInt8[np.ndarray, "count h w c"]:
    """Images of evenly spaced points between the noises of two keys.

    Args:
        gan: trained GAN.
        keys: the images' own keys at both ends.
        label: their class.
        count: number of images, at least 2; the first and the last belong to the two keys.

    Raises:
        FloatingPointError: an image is not finite.
    """
    variables = gan.variables
    if gan.spec.is_per_class:
        variables = jax.tree.map(lambda leaf: leaf[label], variables)
    shares = jnp.linspace(0, 1, count, dtype=jnp.float32)
    labels = jnp.full(count, label, jnp.int32)
    images = _on_the_way(gan.spec.config, variables, keys, labels, shares)
    if not jnp.isfinite(images).all():
        raise FloatingPointError("the generator's images are not finite: its training diverged")
    return np.asarray(to_uint8(images))


@functools.partial(jax.jit, static_argnums=0)
def _on_the_way(
    config: DcganConfig | StackConfig,
    variables: dict[str, Any],
    keys: Key[Array, " 2"],
    labels: Int[Array, " n"],
    shares: Float[Array, " n"],
) -> Float[Array, "n h w c"]:
    if isinstance(config, DcganConfig):
        noise = _between(draw_dcgan_noise, keys, shares, config.noise_dim)
        given = None if config.num_classes is None else labels
        images: Any = Generator(config).apply(variables["image"], noise, given, train=False)
        return from_signed(images)
    features: Any = one_hot(labels, config.num_classes)
    for index, level in reversed(list(enumerate(stack_levels(config)))):
        level_keys = jax.vmap(jax.random.fold_in, (0, None))(keys, index)
        noise = _between(draw_stack_noise, level_keys, shares, level.noise_dim)
        network = build_generator(level, width=config.width)
        features = network.apply(variables[level.target], features, noise, train=False)
    return from_signed(features)


def _between(draw: Any, keys: Key[Array, " 2"], shares: Float[Array, " n"], noise_dim: int) -> Any:
    """Noises between two keys' noises; uniform noise stays in its range."""
    first, last = jax.vmap(lambda key: draw(key, 1, noise_dim=noise_dim)[0])(keys)
    return first[None] + shares[:, None] * (last - first)[None]
