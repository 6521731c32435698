"""Mixing of a batch: mixup, CutMix and cutout, as functions of a key and the batch.

Images are floats in [0, 1], targets distributions over the classes, float32 (n, k). A mixture of
distributions is one too.
"""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from imgopt.errors import InputError


class Mixed(NamedTuple):
    """Images and targets after mixing, one row an example."""

    images: Float[Array, "n h w c"]
    targets: Float[Array, "n k"]


def mix_batch(
    key: Key[Array, ""],
    images: Float[Array, "n h w c"],
    targets: Float[Array, "n k"],
    *,
    mixup_alpha: float,
    cutmix_alpha: float,
) -> Mixed:
    """Applies mixup or CutMix; where both are asked for, one of them with probability 1/2 each.

    Args:
        key: Source of the choice, the partners, the share and the place.
        images: Images of the batch.
        targets: Their targets.
        mixup_alpha: α of mixup; 0 for none.
        cutmix_alpha: α of CutMix; 0 for none.
    """
    choice_key, key = jax.random.split(key)
    by_mixup = functools.partial(mixup, alpha=mixup_alpha)
    by_cutmix = functools.partial(cutmix, alpha=cutmix_alpha)
    if mixup_alpha and cutmix_alpha:
        is_mixup = jax.random.bernoulli(choice_key, jnp.float32(0.5))
        return jax.lax.cond(is_mixup, by_mixup, by_cutmix, key, images, targets)
    if mixup_alpha:
        return by_mixup(key, images, targets)
    return by_cutmix(key, images, targets) if cutmix_alpha else Mixed(images, targets)


def mixup(
    key: Key[Array, ""],
    images: Float[Array, "n h w c"],
    targets: Float[Array, "n k"],
    *,
    alpha: float,
) -> Mixed:
    """λ·(x, q) + (1 - λ)·(x', q') with one λ ~ Beta(α, α) a batch (Zhang et al. 2018, eq. 1).

    Args:
        key: Source of λ and of the permutation that gives every image its partner x'.
        images: Images of the batch.
        targets: Their targets.
        alpha: α, above 0.

    Raises:
        InputError: α is not above 0.
    """
    share_key, partner_key = jax.random.split(key)
    share = _draw_share(share_key, alpha)
    partners = _draw_partners(partner_key, len(images))
    return Mixed(*(share * each + (1 - share) * each[partners] for each in (images, targets)))


def cutmix(
    key: Key[Array, ""],
    images: Float[Array, "n h w c"],
    targets: Float[Array, "n k"],
    *,
    alpha: float,
) -> Mixed:
    """Pastes a rectangle of another image; targets mix by area (Yun et al. 2019, eqs. 1 and 2).

    With λ ~ Beta(α, α) the rectangle has √(1 - λ) of height and width, rounded to pixels; its
    centre is uniform over the pixels, and what lies outside the image is cut off. The targets are
    mixed by the share of pixels that are left. λ, the place and the permutation are drawn once a
    batch.

    Args:
        key: Source of λ, the place and the partners.
        images: Images of the batch.
        targets: Their targets.
        alpha: α, above 0.

    Raises:
        InputError: α is not above 0.
    """
    share_key, place_key, partner_key = jax.random.split(key, 3)
    height, width = images.shape[1:3]
    side = jnp.sqrt(1 - _draw_share(share_key, alpha))
    sides = jnp.round(side * jnp.array([height, width], jnp.float32)).astype(jnp.int32)
    centre = _draw_places(place_key, 1, (height, width))
    is_inside = _inside(centre, sides[None], (height, width))[..., None]
    partners = _draw_partners(partner_key, len(images))
    left = 1 - is_inside.mean(dtype=jnp.float32)
    return Mixed(
        jnp.where(jnp.broadcast_to(is_inside, images.shape), images[partners], images),
        left * targets + (1 - left) * targets[partners],
    )


def cutout(
    key: Key[Array, ""],
    images: Float[Array, "n h w c"],
    *,
    side_px: int,
    fill: Sequence[float],
) -> Float[Array, "n h w c"]:
    """Covers a square of every image with one colour (DeVries and Taylor 2017).

    The centre is uniform over the pixels; what lies outside the image is cut off.

    Args:
        key: Source of every image's own place.
        images: Images of the batch.
        side_px: Side of the square in pixels.
        fill: Value of every channel within; the training set's mean is 0 after normalising.
    """
    count, height, width, channels = images.shape
    centres = _draw_places(key, count, (height, width))
    sides = jnp.full((count, 2), side_px, jnp.int32)
    covered = _inside(centres, sides, (height, width))[..., None]
    colour = jnp.broadcast_to(jnp.array(fill, images.dtype), images.shape)
    return jnp.where(jnp.broadcast_to(covered, (*covered.shape[:3], channels)), colour, images)


def _draw_share(key: Key[Array, ""], alpha: float) -> Float[Array, ""]:
    if not alpha > 0:
        raise InputError(f"alpha must be above 0, got {alpha}")
    return jax.random.beta(key, jnp.float32(alpha), jnp.float32(alpha), (), jnp.float32)


def _draw_partners(key: Key[Array, ""], count: int) -> Int[Array, " n"]:
    return jax.random.permutation(key, jnp.arange(count, dtype=jnp.int32))


def _draw_places(key: Key[Array, ""], count: int, size_px: tuple[int, int]) -> Int[Array, "n 2"]:
    return jax.random.randint(key, (count, 2), 0, jnp.array([size_px], jnp.int32), jnp.int32)


def _inside(
    centres: Int[Array, "n 2"], sides: Int[Array, "n 2"], size_px: tuple[int, int]
) -> Bool[Array, "n h w"]:
    """Which pixels lie in rectangles of these centres and sides."""
    first = centres - sides // 2
    rows, columns = (
        (jnp.arange(size, dtype=jnp.int32)[None] >= first[:, axis, None])
        & (jnp.arange(size, dtype=jnp.int32)[None] < (first + sides)[:, axis, None])
        for axis, size in enumerate(size_px)
    )
    return rows[:, :, None] & columns[:, None, :]
