"""Measures how the time and memory of a job grow with its size.

Usage: python benchmarks/growth.py --out DIR [--scale smoke|cpu|gpu]

Six numbers are varied, one at a time, from a common base: images, batch size, updates, image size,
classes with a GAN each, and devices. Each point is measured several times in a process of its own
and saved at once; after an interruption the same command continues. The results in DIR are
growth.json, growth.md (a table) and growth.svg.

Memory is reported in two ways: what XLA plans for the program on each device, and the peak of the
device. On CPUs the peak is that of the whole process, including Python and compiling. On a CPU,
several devices are simulated on the same cores. That shows that their results agree and how they
share the memory; the times mean nothing there.

The scale "cpu" takes a quarter of an hour on two cores, with kono-cnn at an eighth of its width.
The scale "gpu" uses vgg16 in bfloat16.
"""

import statistics
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import tyro
from harness.growth_figure import Series, growth_figure
from harness.growth_point import Point, measure
from harness.new_process import in_new_process

from imgopt.errors import InputError
from train.storage.files import atomic_write
from train.storage.strict_json import read_json, write_json

MIB = 2**20


class Scale(NamedTuple):
    """The points to measure.

    Attributes:
        base: values common to all axes.
        along: values that differ from the base along one axis, by axis.
        places: values of the number that grows, by axis.
    """

    base: Point
    along: dict[str, dict[str, Any]]
    places: dict[str, tuple[int, ...]]


AXES = {
    "images": "images",
    "batch_size": "images in a batch",
    "steps": "updates of an image",
    "size_px": "image's height and width, pixels",
    "classes": "classes with a GAN each",
    "devices": "devices that share a batch",
}
"""The fields of a `Point` that grow, each with its description."""

_NARROW = Point(
    axis="", images=16, batch_size=16, steps=1, size_px=32, classes=0, devices=1,
    model="kono-cnn", width=1 / 16, precision="float32", repeats=3,
)  # fmt: skip
_WIDE = replace(
    _NARROW, images=512, batch_size=512, steps=10, model="vgg16", width=1.0, precision="bfloat16",
    repeats=5,
)  # fmt: skip

_PLACES = {
    "images": (1000, 2000, 5000, 10000, 20000, 50000),
    "batch_size": (),
    "steps": (1, 3, 10, 30, 100),
    "size_px": (32, 64, 96, 128, 160, 192, 224),
    "classes": (1, 2, 4, 7, 10),
    "devices": (1, 2, 4, 8),
}

SCALES = {
    "smoke": Scale(
        _NARROW,
        {"classes": {"width": 2, "batch_size": 4}},
        {
            "images": (16, 32), "batch_size": (8, 16), "steps": (1, 4), "size_px": (32, 48),
            "classes": (1, 2), "devices": (1, 2),
        },
    ),
    "cpu": Scale(
        replace(_NARROW, images=64, batch_size=64, steps=4, width=1 / 8),
        {
            "images": {"batch_size": 250, "steps": 1},
            "size_px": {"images": 16, "batch_size": 16, "steps": 2},
            "classes": {"model": "dcgan", "width": 8, "batch_size": 16, "steps": 2},
        },
        {**_PLACES, "batch_size": (16, 32, 64, 128, 256, 512)},
    ),
    "gpu": Scale(
        _WIDE,
        {
            "images": {"batch_size": 1000},
            "size_px": {"images": 128, "batch_size": 128},
            "classes": {"model": "dcgan", "width": 64, "batch_size": 64},
        },
        {**_PLACES, "batch_size": (64, 128, 256, 512, 1024, 2048, 4096, 8192)},
    ),
}  # fmt: skip


@dataclass(frozen=True)
class GrowthConfig:
    """Measures how time and memory grow along six axes."""

    out: Path
    """Directory of the results; existing results are continued."""
    scale: Literal["smoke", "cpu", "gpu"] = "cpu"
    """Size of the jobs: smoke tests this script, cpu takes a quarter of an hour on two cores."""


def points(scale: Scale) -> Iterator[Point]:
    """Lists all points, axis by axis."""
    for axis, places in scale.places.items():
        for place in places:
            point = replace(scale.base, axis=axis, **scale.along.get(axis, {}))
            point = replace(point, **{axis: place})
            # Along the axis of the batch size, the job is one batch.
            yield replace(point, images=place) if axis == "batch_size" else point


def measure_all(scale: Scale, path: Path) -> list[dict[str, Any]]:
    """Measures the points that are not in the file yet, and adds each to the file.

    Args:
        scale: the points.
        path: JSON file of the results so far; created if missing.

    Returns:
        A record for each point, in order: the point's fields and its measurements.

    Raises:
        InputError: the file holds results of other versions.
    """
    known = read_json(path) if path.is_file() else []
    records = []
    for point in points(scale):
        record = next((r for r in known if r["point"] == asdict(point)), None)
        if record is None:
            record = {"point": asdict(point), **in_new_process(measure, point)}
            _check_same_versions(known, record, path)
            known.append(record)
            write_json(path, known)
        records.append(record)
        print(_line(record), file=sys.stderr, flush=True)
    return records


def _check_same_versions(known: list[dict[str, Any]], record: dict[str, Any], path: Path) -> None:
    here = record.get("environment", {}).get("versions")
    other = [r for r in known if r.get("environment", {}).get("versions", here) != here]
    if here and other:
        raise InputError(
            f"{path} holds results of other versions: {other[0]['environment']['versions']}; this "
            f"run has {here}: choose another --out"
        )


def _line(record: dict[str, Any]) -> str:
    point = record["point"]
    where = f"{point['axis']} = {point[point['axis']]}"
    if "skipped" in record:
        return f"{where}: skipped: {record['skipped']}"
    return f"{where}: {statistics.median(record['seconds']):.3g} s"


def growth_rate(places: Sequence[float], values: Sequence[float]) -> float:
    """Exponent b of the power law a·x^b fitted by least squares of the logarithms."""
    return float(np.polyfit(np.log(places), np.log(values), 1)[0])


def series_along(axis: str, records: list[dict[str, Any]]) -> Series:
    """Times and memory along one axis, without the points that were skipped."""
    found = [r for r in records if r["point"]["axis"] == axis and "skipped" not in r]
    return Series(
        AXES[axis],
        places=[r["point"][axis] for r in found],
        seconds=[r["seconds"] for r in found],
        planned_mib=[r["planned_bytes"] / MIB for r in found],
        peak_mib=[r["peak_bytes"] / MIB for r in found],
    )


def table(records: list[dict[str, Any]], command: str) -> str:
    """Formats all points as Markdown, with the exponent of growth along each axis."""
    lines = [f"Made by `{command}`.", ""]
    first = next(r for r in records if "skipped" not in r)
    versions = ", ".join(f"{n} {v}" for n, v in first["environment"]["versions"].items())
    lines += [f"{first['environment']['device']}; {versions}.", ""]
    for axis, label in AXES.items():
        found = [r for r in records if r["point"]["axis"] == axis]
        lines += [f"## Against {label}", "", _settings(found[0]["point"], axis), ""]
        series = series_along(axis, records)
        if len(series.places) > 1:
            time = growth_rate(series.places, [statistics.median(s) for s in series.seconds])
            memory = growth_rate(series.places, series.planned_mib)
            powers = f"as the power {time:z.2f}, planned memory as the power {memory:z.2f}"
            lines += [f"Time grows {powers}.", ""]
        lines += [
            f"| {label} | n | seconds, median | min | max | planned, MiB | peak, MiB | "
            "compilation, s | difference to one device |",
            "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
            *[_row(record, axis) for record in found],
            "",
        ]
    return "\n".join(lines)


def _settings(point: dict[str, Any], axis: str) -> str:
    # Along the axis of the batch size, the number of images grows too.
    grows = {"axis", axis} | ({"images"} if axis == "batch_size" else set())
    kept = {name: value for name, value in point.items() if name not in grows}
    return ", ".join(f"{name} {value}" for name, value in kept.items())


def _row(record: dict[str, Any], axis: str) -> str:
    place = record["point"][axis]
    if "skipped" in record:
        return f"| {place} | 0 | {record['skipped']} | | | | | | |"
    times = record["seconds"]
    numbers = [f"{value:.3g}" for value in (statistics.median(times), min(times), max(times))]
    sizes = [f"{record[name] / MIB:.1f}" for name in ("planned_bytes", "peak_bytes")]
    compilation = f"{record['compilation_seconds']:.1f}"
    difference = f"{record['difference']:.1g}" if "difference" in record else ""
    cells = [place, len(times), *numbers, *sizes, compilation, difference]
    return f"| {' | '.join(map(str, cells))} |"


def main(config: GrowthConfig) -> int:
    """Measures all points and writes the table and the figure; returns the exit status."""
    config.out.mkdir(parents=True, exist_ok=True)
    command = f"python benchmarks/growth.py --scale {config.scale}"
    try:
        records = measure_all(SCALES[config.scale], config.out / "growth.json")
    except InputError as error:
        print(f"growth.py: error: {error}", file=sys.stderr)
        return 2
    atomic_write(config.out / "growth.md", table(records, command).encode())
    series = [series_along(axis, records) for axis in AXES]
    atomic_write(config.out / "growth.svg", growth_figure([s for s in series if s.places]))
    print(config.out / "growth.md")
    return 0


if __name__ == "__main__":
    sys.exit(main(tyro.cli(GrowthConfig)))
