"""A synthesised set in numbers."""

import functools
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass

import jax
import numpy as np
from jaxtyping import Bool, Float

import imgopt
from imgopt import FROZEN_SLOPE, slope
from imgopt.errors import InputError
from train.data.image_data import (
    ImageData,
    ImageReader,
    image_digests,
    iter_parts,
    slice_images,
    take_images,
)

MEASURED_BYTES = 2**22
"""Most grey levels measured at a time, at least one image's; measuring takes some 40 bytes each, in
float32 and complex64."""

COLOURS = 3
"""Channels of colour; a fourth one is opacity."""

Pair = tuple[ImageData, ImageData]
"""A part of a set, and the images that it was made from."""


@dataclass(frozen=True)
class SetSummary:
    """Measures of a synthesised set; means are over its images.

    Attributes:
        images: number of images.
        kl_mean: mean KL divergence from target to output, in nats.
        kl_p95: 95th percentile of the same.
        max_error_mean: mean of the largest error of a class, in [0, 1].
        max_error_p95: 95th percentile of the same.
        steps_mean: mean number of updates.
        ranking_as_asked: share of images whose output ranks all classes as the target does.
        frozen_pixels: share of the originals' pixels that cannot move.
        mean_change_levels: mean absolute change of a pixel, in grey levels.
        high_frequency_energy: energy beyond the low-pass radius.
        high_frequency_energy_of_originals: the same for the originals.
        saturation: mean difference between the largest and the smallest channel, in [0, 1].
        saturation_of_originals: the same for the originals.
        left_out: number of images that were not finite.
        view_kl_mean: mean of the same divergence over random views, in nats; None without views.
        view_ranking_as_asked: share of random views for which the whole ranking holds; None
            without views.
        first_class_as_asked: share of images whose first class is one asked for most; None but for
            attacks.
    """

    images: int
    kl_mean: float
    kl_p95: float
    max_error_mean: float
    max_error_p95: float
    steps_mean: float
    ranking_as_asked: float
    frozen_pixels: float
    mean_change_levels: float
    high_frequency_energy: float
    high_frequency_energy_of_originals: float
    saturation: float
    saturation_of_originals: float
    left_out: int = 0
    view_kl_mean: float | None = None
    view_ranking_as_asked: float | None = None
    first_class_as_asked: float | None = None

    def as_json(self) -> dict[str, object]:
        """The content of `summary.json`, without `left_out` if it is 0, and without None."""
        return {
            name: value
            for name, value in asdict(self).items()
            if value is not None and (name != "left_out" or value)
        }


def pairs_in_parts(synthesised: ImageReader, originals: ImageReader, rows: range) -> Iterator[Pair]:
    """Reads a set beside its originals, part by part; the sources' ids tell what belongs together.

    Args:
        synthesised: the set, in the order of its originals; some originals may have no image.
        originals: the split that the set was made from.
        rows: numbers of the set's originals in that split.

    Raises:
        InputError: the set was not made from these originals.
    """
    done = 0
    size = max(MEASURED_BYTES // math.prod(originals.image_shape), 1)
    for part in iter_parts(originals, start=rows.start, stop=rows.stop, size=size):
        own = synthesised.read(done, min(done + len(part.ids), len(synthesised)))
        kept = np.flatnonzero(np.isin(part.ids, own.source_ids or ()))
        own = slice_images(own, 0, len(kept))
        sources = take_images(part, kept)
        if own.source_ids != sources.ids or not _are_sources(sources, own):
            break
        done += len(kept)
        if len(kept):
            yield own, sources
    if done < len(synthesised):
        raise InputError(
            f"expected images made from originals {rows.start} to {rows.stop}, in their order, got "
            f"a set whose image {done} is of another; it was made from another data set"
        )


def _are_sources(sources: ImageData, synthesised: ImageData) -> bool:
    """Whether a set was made from these images; True for a set without digests."""
    return synthesised.source_digests in (None, image_digests(sources.images))


def summarise(
    pairs: Iterable[Pair],
    columns: Mapping[str, np.ndarray],
    pixel_map: imgopt.PixelMap,
    *,
    left_out: int = 0,
    is_attack: bool = False,
) -> SetSummary:
    """Measures a set against the images that it was made from.

    Args:
        pairs: parts of the set, with targets and outputs, and their originals; read once.
        columns: the set's features "kl", "max_error" and "steps", one row an image; also "view_kl"
            and "view_ranking" if it was made with views.
        pixel_map: the pixel map of the synthesis; it tells which pixels are frozen.
        left_out: number of images that were not finite.
        is_attack: whether the images are to change the first class alone.
    """
    parts = [_measure(*pair, pixel_map) for pair in pairs]
    measures = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    of_views = {"view_kl_mean": "view_kl", "view_ranking_as_asked": "view_ranking"}
    measures |= {name: columns[of] for name, of in of_views.items() if of in columns}
    if not is_attack:
        del measures["first_class_as_asked"]
    return SetSummary(
        images=len(columns["kl"]),
        kl_mean=float(columns["kl"].mean(dtype=np.float64)),
        kl_p95=float(np.percentile(columns["kl"], 95)),
        max_error_mean=float(columns["max_error"].mean(dtype=np.float64)),
        max_error_p95=float(np.percentile(columns["max_error"], 95)),
        steps_mean=float(columns["steps"].mean()),
        **{name: float(values.mean(dtype=np.float64)) for name, values in measures.items()},
        left_out=left_out,
    )


def distributions(data: ImageData) -> tuple[np.ndarray, np.ndarray]:
    """Gives a set's targets and outputs; raises InputError if it has none."""
    if data.targets is None or data.outputs is None:
        raise InputError("expected a set with targets and outputs, made by elicit synthesize")
    return data.targets, data.outputs


def first_class_as_asked(
    outputs: Float[np.ndarray, "n k"], targets: Float[np.ndarray, "n k"]
) -> Bool[np.ndarray, " n"]:
    """Whether the likeliest class is one that the target asks for most.

    Args:
        outputs: the classifier's probabilities.
        targets: the probabilities asked for.
    """
    likeliest = np.take_along_axis(targets, outputs.argmax(1)[:, None], 1)[:, 0]
    return likeliest == targets.max(1)


def _measure(
    synthesised: ImageData, originals: ImageData, pixel_map: imgopt.PixelMap
) -> dict[str, np.ndarray]:
    """Measures each image of a part."""
    targets, outputs = distributions(synthesised)
    return {
        "ranking_as_asked": np.asarray(imgopt.ranking_as_asked(outputs, targets)),
        "first_class_as_asked": first_class_as_asked(outputs, targets),
        **jax.device_get(_pixel_measures(pixel_map, synthesised.images, originals.images)),
    }


@functools.partial(jax.jit, static_argnums=0)
def _pixel_measures(pixel_map, synthesised, originals):
    synthesised, originals = imgopt.to_float(synthesised), imgopt.to_float(originals)
    frozen = slope(pixel_map, pixel_map.to_weights(originals)) < FROZEN_SLOPE
    return {
        "frozen_pixels": frozen.mean((1, 2, 3)),
        "mean_change_levels": imgopt.mean_absolute_change(synthesised, originals),
        "high_frequency_energy": imgopt.high_frequency_energy(synthesised),
        "high_frequency_energy_of_originals": imgopt.high_frequency_energy(originals),
        "saturation": imgopt.saturation(synthesised[..., :COLOURS]),
        "saturation_of_originals": imgopt.saturation(originals[..., :COLOURS]),
    }


def print_summary(summary: SetSummary, *, made: int, seconds: float) -> None:
    """Prints a summary, and the speed if images were made.

    Args:
        summary: the set's summary.
        made: number of images made in this call.
        seconds: time that they took.
    """
    speed = f", {made} made at {made / seconds:.1f} images/s" if made else ", all there already"
    left_out = f", {summary.left_out} left out" if summary.left_out else ""
    print(f"images                   {summary.images}{left_out}{speed}")
    print(
        f"KL(target ‖ output)      mean {summary.kl_mean:.4f}, "
        f"95th percentile {summary.kl_p95:.4f} nats"
    )
    print(
        f"largest error            mean {summary.max_error_mean:.4f}, "
        f"95th percentile {summary.max_error_p95:.4f}"
    )
    if summary.first_class_as_asked is not None:
        print(f"first class as asked     {summary.first_class_as_asked:.1%}")
    print(f"whole ranking as asked   {summary.ranking_as_asked:.1%}")
    if summary.view_ranking_as_asked is not None:
        print(
            f"  in random views        {summary.view_ranking_as_asked:.1%}, "
            f"mean KL {summary.view_kl_mean:.4f} nats"
        )
    print(f"mean change              {summary.mean_change_levels:.2f} grey levels")
    print(f"frozen pixels            {summary.frozen_pixels:.1%}")
