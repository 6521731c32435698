"""The frozen classifier whose features a Stacked GAN generates, level by level.

Huang et al. 2017, "Stacked generative adversarial networks", with the sizes of its official code
for CIFAR-10 and of paper B, 3.2.3.
"""

from typing import Literal

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from imgopt.errors import InputError
from train.models.layers import Conv, DTypeLike, max_pool_2x2

FeatureName = Literal["image", "pool1", "pool2", "fc3", "label"]

FEATURES: tuple[FeatureName, ...] = ("image", "pool1", "pool2", "fc3", "label")
"""Names of the encoder's features, from the image to the label."""

MAPS = FEATURES[:3]
"""The features with height and width; the other features are vectors."""

WINDOW = 5
"""Height and width of the encoder's kernels."""

WIDTH = 64
"""Channels of the encoder's first convolution in the official code."""


def feature_shapes(
    image_shape: tuple[int, int, int], *, num_classes: int, width: int = WIDTH
) -> dict[str, tuple[int, ...]]:
    """Shapes of all features of one image, in the order of `FEATURES`.

    Args:
        image_shape: height, width, channels. Each side loses 4 pixels and is halved, twice.
        num_classes: number of classes, k.
        width: channels of the first convolution; the second has twice as many, fc3 four times.

    Raises:
        InputError: a side of an unsuitable length, fewer than 2 classes, or no channels.
    """
    if num_classes < 2:
        raise InputError(f"a stack needs at least 2 classes, got {num_classes}")
    if width < 1 or image_shape[2] < 1:
        raise InputError(f"width and channels must be at least 1, got {width} and {image_shape[2]}")
    first = _half_of_window_positions(image_shape[:2], image_shape)
    second = _half_of_window_positions(first, image_shape)
    return {
        "image": image_shape,
        "pool1": (*first, width),
        "pool2": (*second, 2 * width),
        "fc3": (4 * width,),
        "label": (num_classes,),
    }


def _half_of_window_positions(
    size: tuple[int, ...], image_shape: tuple[int, int, int]
) -> tuple[int, ...]:
    left = [side - WINDOW + 1 for side in size]
    if any(side < 2 or side % 2 for side in left):
        height, width, _ = image_shape
        raise InputError(
            "the encoder's two 5×5 convolutions and poolings take height and width of 16, 20, 24, "
            f"28, 32 or a larger multiple of 4; got {height}×{width}"
        )
    return tuple(side // 2 for side in left)


class Encoder(nn.Module):
    """Convolution, pooling, convolution, pooling, dense, dense, with ReLU between.

    The convolutions are 5×5 without padding, the poolings 2×2. The paper's E_i is the part between
    two neighbouring cut points.

    Attributes:
        num_classes: number of classes, k.
        width: channels of the first convolution; the second has twice as many, fc3 four times.
        dtype: precision of the computation; parameters and features are float32.
    """

    num_classes: int
    width: int = WIDTH
    dtype: DTypeLike = jnp.float32

    def setup(self) -> None:
        """Names each layer after its output."""
        self.conv1 = Conv(self.width, WINDOW, padding="valid", dtype=self.dtype)
        self.conv2 = Conv(2 * self.width, WINDOW, padding="valid", dtype=self.dtype)
        self.fc3 = nn.Dense(4 * self.width, dtype=self.dtype)
        self.label = nn.Dense(self.num_classes, dtype=self.dtype)

    def __call__(
        self, features: Float[Array, "n ..."], *, start: FeatureName = "image"
    ) -> dict[str, Float[Array, "n ..."]]:
        """Computes all features from a cut point on.

        Args:
            features: the features named by `start`; images are in [-1, 1].
            start: one of `FEATURES`; "image" for initialisation.

        Returns:
            The features by name, from `start` to the logits, "label".

        Raises:
            InputError: `start` is unknown.
        """
        if start not in FEATURES:
            raise InputError(f"unknown feature {start!r}; expected one of {', '.join(FEATURES)}")
        found = {start: features}
        for name in FEATURES[FEATURES.index(start) + 1 :]:
            features = self._next(name, features)
            found[name] = features.astype(jnp.float32)
        return found

    def _next(self, name: FeatureName, x: Array) -> Array:
        if name == "pool1":
            return max_pool_2x2(nn.relu(self.conv1(x)))
        if name == "pool2":
            return max_pool_2x2(nn.relu(self.conv2(x)))
        if name == "fc3":
            return nn.relu(self.fc3(x.reshape(len(x), -1)))
        return self.label(x)
