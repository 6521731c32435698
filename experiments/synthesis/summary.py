"""What a synthesised set holds, in numbers and pictures."""

import functools
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Float, Int, UInt8

import imgopt
from experiments.pages.charts import histogram
from experiments.pages.html import Picture, Section, write_report
from experiments.pages.image_sheets import image_pairs
from imgopt import FROZEN_SLOPE, slope
from imgopt.errors import InputError
from train.data.image_data import ImageData, ImageReader, iter_parts, slice_images, take_images

SHOWN_IMAGES = 8
MEASURED_AT_ONCE = 1000  # bounds the memory of measuring a large set


Pair = tuple[ImageData, ImageData]
"""A part of a set, and the images that it was made from."""


def pairs_in_parts(made: ImageReader, originals: ImageReader, rows: range) -> Iterator[Pair]:
    """Reads a set and the images that it was made from side by side, paired by the sources' ids.

    Args:
        made: the set, in the order of its originals, some of which it may lack.
        originals: the split that it was made from.
        rows: numbers in that split of the images that it was made from.

    Raises:
        InputError: the set was not made from them.
    """
    done = 0
    for part in iter_parts(originals, start=rows.start, stop=rows.stop, size=MEASURED_AT_ONCE):
        own = made.read(done, min(done + len(part.ids), len(made)))
        kept = np.flatnonzero(np.isin(part.ids, own.source_ids or ()))
        own = slice_images(own, 0, len(kept))
        if own.source_ids != tuple(part.ids[row] for row in kept):
            break
        done += len(kept)
        if len(kept):
            yield own, take_images(part, kept)
    if done < len(made):
        raise InputError(
            f"expected images made from originals {rows.start} to {rows.stop}, in their order, got "
            f"a set whose image {done} is of another; it was made from another data set"
        )


def summarise(
    pairs: Iterable[Pair], columns: Mapping[str, np.ndarray], pixel_map: imgopt.PixelMap
) -> dict[str, Any]:
    """Measures a set against the images that it was made from.

    Args:
        pairs: the parts of both, read once; of the set with targets and outputs.
        columns: the set's features "kl", "max_error" and "steps", one row an image.
        pixel_map: the map used, for the share of frozen pixels.

    Returns:
        Counts and means; KL in nats, changes in grey levels, shares in [0, 1].
    """
    parts = [_measure(*pair, pixel_map) for pair in pairs]
    measures = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return {
        "images": len(columns["kl"]),
        "kl_mean": float(columns["kl"].mean(dtype=np.float64)),
        "kl_p95": float(np.percentile(columns["kl"], 95)),
        "max_error_mean": float(columns["max_error"].mean(dtype=np.float64)),
        "max_error_p95": float(np.percentile(columns["max_error"], 95)),
        "steps_mean": float(columns["steps"].mean()),
        **{name: float(values.mean(dtype=np.float64)) for name, values in measures.items()},
    }


def _distributions(data: ImageData) -> tuple[np.ndarray, np.ndarray]:
    """A set's targets and outputs, which not every set has."""
    if data.targets is None or data.outputs is None:
        raise InputError("expected a set with targets and outputs, made by elicit synthesize")
    return data.targets, data.outputs


def _measure(
    made: ImageData, originals: ImageData, pixel_map: imgopt.PixelMap
) -> dict[str, np.ndarray]:
    """What is measured of each image of a part."""
    targets, outputs = _distributions(made)
    return {
        "ranking_as_asked": np.asarray(imgopt.ranking_as_asked(outputs, targets)),
        **jax.device_get(_pixel_measures(pixel_map, made.images, originals.images)),
    }


@functools.partial(jax.jit, static_argnums=0)
def _pixel_measures(pixel_map, made, originals):
    made, originals = imgopt.to_float(made), imgopt.to_float(originals)
    frozen = slope(pixel_map, pixel_map.to_weights(originals)) < FROZEN_SLOPE
    return {
        "frozen_pixels": frozen.mean((1, 2, 3)),
        "mean_change_levels": imgopt.mean_absolute_change(made, originals),
        "high_frequency_energy": imgopt.high_frequency_energy(made),
        "high_frequency_energy_of_originals": imgopt.high_frequency_energy(originals),
        "saturation": imgopt.saturation(made),
        "saturation_of_originals": imgopt.saturation(originals),
    }


def print_summary(summary: dict[str, Any], *, made: int, seconds: float) -> None:
    """Prints a summary, and how quick it was if anything was made."""
    speed = f", {made} made at {made / seconds:.1f} images/s" if made else ", all there already"
    left_out = f", {summary['left_out']} left out" if "left_out" in summary else ""
    print(f"images                   {summary['images']}{left_out}{speed}")
    print(
        f"KL(target ‖ output)      mean {summary['kl_mean']:.4f}, "
        f"95th percentile {summary['kl_p95']:.4f} nats"
    )
    print(
        f"largest error            mean {summary['max_error_mean']:.4f}, "
        f"95th percentile {summary['max_error_p95']:.4f}"
    )
    print(f"whole ranking as asked   {summary['ranking_as_asked']:.1%}")
    print(f"mean change              {summary['mean_change_levels']:.2f} grey levels")
    print(f"frozen pixels            {summary['frozen_pixels']:.1%}")


def synthesis_pairs(
    made: ImageData, originals: UInt8[np.ndarray, "n h w c"], rows: Int[np.ndarray, " m"]
) -> bytes:
    """A picture of some rows of a synthesised set beside their originals, at most 8.

    Raises:
        InputError: the set has no targets and outputs.
    """
    targets, outputs = _distributions(made)
    return image_pairs(
        originals[rows], made.images[rows], targets[rows], outputs[rows], made.class_names
    )


def write_set_report(
    path: Path,
    data: ImageData,
    kl: Float[np.ndarray, " n"],
    originals: UInt8[np.ndarray, "shown h w c"],
    summary: dict[str, Any],
) -> None:
    """Writes a set's page: some images beside their originals, and all the KLs.

    Args:
        path: of the page.
        data: the set's first images, at most `SHOWN_IMAGES`.
        kl: of all images.
        originals: those of the first images.
        summary: of the set.
    """
    pairs = synthesis_pairs(data, originals, np.arange(len(originals)))
    spread = histogram({"all images": kl}, x_label="KL(target ‖ output), nats")
    write_report(
        path,
        title="Synthesised images",
        lead="Images optimised until the classifier's whole output is the distribution asked for.",
        facts={
            "images": f"{summary['images']:,}",
            "mean KL": f"{summary['kl_mean']:.4f} nats",
            "ranking as asked": f"{summary['ranking_as_asked']:.1%}",
            "mean change": f"{summary['mean_change_levels']:.1f} grey levels",
        },
        sections=[
            Section(
                title="The first images",
                text="Above the original, below it the synthesised image, and under both what was "
                "asked for and what the classifier says of the image as saved in 8 bits.",
                pictures=(
                    Picture(
                        pairs, "Originals, synthesised images, targets and outputs", name="pairs"
                    ),
                ),
            ),
            Section(
                title="All images",
                text="How far the outputs are from their targets.",
                pictures=(Picture(spread, "Distribution of the KL divergence", name="kl"),),
            ),
        ],
        footer={"digests and configuration": "manifest.json"},
    )
