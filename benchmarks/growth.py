"""How the cost of a job grows: time and memory against what makes it larger.

Usage: python benchmarks/growth.py --out DIR [--scale smoke|cpu|gpu]

Along six axes, each on its own from one base: the number of images, the batch, the updates, the
image's size, the classes that have a GAN each, and the devices. Every point is measured in a
process of its own, n times, and kept at once, so the same command goes on where it stopped. Leaves
growth.json, growth.md (a table) and growth.svg in DIR.

Memory is told in two ways: what XLA has planned for the program that does the work, on each device,
and the peak of the device, or of the whole process (Python and compilation included) on CPUs. On a
CPU the devices are simulated, all on the same cores: that shows that they agree and how memory is
shared out, while the times mean nothing. The scale "cpu" takes a quarter of an hour on two cores,
with kono-cnn at an eighth of its width; "gpu" takes vgg16 in bfloat16.
"""

import json
import statistics
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import tyro
from growth_figure import Series, growth_figure
from growth_point import Point

from train.storage.files import atomic_write
from train.storage.strict_json import read_json, write_json

MIB = 2**20


class Scale(NamedTuple):
    """A base, what differs from it along an axis, and the places along each axis."""

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
"""By the field that grows: what it is."""

_NARROW = Point(
    axis="", images=16, batch_size=16, steps=1, size_px=32, classes=0, devices=1,
    model="kono-cnn", width=1 / 16, precision="float32", repeats=3,
)  # fmt: skip
_WIDE = replace(
    _NARROW, images=512, batch_size=512, steps=10, model="vgg16", width=1.0, precision="bfloat16",
    repeats=5,
)  # fmt: skip

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
        {
            "images": (1000, 2000, 5000, 10000, 20000, 50000),
            "batch_size": (16, 32, 64, 128, 256, 512),
            "steps": (1, 3, 10, 30, 100),
            "size_px": (32, 64, 96, 128, 160, 192, 224),
            "classes": (1, 2, 4, 7, 10),
            "devices": (1, 2, 4, 8),
        },
    ),
    "gpu": Scale(
        _WIDE,
        {
            "images": {"batch_size": 1000},
            "size_px": {"images": 128, "batch_size": 128},
            "classes": {"model": "dcgan", "width": 64, "batch_size": 64},
        },
        {
            "images": (1000, 2000, 5000, 10000, 20000, 50000),
            "batch_size": (64, 128, 256, 512, 1024, 2048, 4096, 8192),
            "steps": (1, 3, 10, 30, 100),
            "size_px": (32, 64, 96, 128, 160, 192, 224),
            "classes": (1, 2, 4, 7, 10),
            "devices": (1, 2, 4, 8),
        },
    ),
}  # fmt: skip


@dataclass(frozen=True)
class GrowthConfig:
    """Measures how time and memory grow along six axes."""

    out: Path
    """Directory of the results; one that was begun is gone on with."""
    scale: Literal["smoke", "cpu", "gpu"] = "cpu"
    """How large: smoke for a test of this program, cpu for a quarter of an hour on two cores."""


def points(scale: Scale) -> Iterator[Point]:
    """All points, axis by axis."""
    for axis, places in scale.places.items():
        for place in places:
            point = replace(scale.base, axis=axis, **scale.along.get(axis, {}))
            point = replace(point, **{axis: place})
            # A batch along its axis is the whole job.
            yield replace(point, images=place) if axis == "batch_size" else point


def measured(point: Point) -> dict[str, Any]:
    """Measures a point in a process of its own.

    Raises:
        RuntimeError: that process failed.
    """
    program = Path(__file__).with_name("growth_point.py")
    done = subprocess.run(  # noqa: S603 - a program of ours
        [sys.executable, str(program), json.dumps(asdict(point))],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"{point} could not be measured:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def measure_all(scale: Scale, path: Path) -> list[dict[str, Any]]:
    """Measures what is not in the file yet, and adds each point to it.

    Args:
        scale: what to measure.
        path: of the results so far; made where it lacks.

    Returns:
        A record for each point, in order: the point's fields and what was found.

    Raises:
        ValueError: the file holds results of another machine or other versions.
    """
    known = read_json(path) if path.is_file() else []
    records = []
    for point in points(scale):
        record = next((r for r in known if r["point"] == asdict(point)), None)
        if record is None:
            record = {"point": asdict(point), **measured(point)}
            _check_same_machine(known, record, path)
            known.append(record)
            write_json(path, known)
        records.append(record)
        print(_line(record), file=sys.stderr, flush=True)
    return records


def _check_same_machine(known: list[dict[str, Any]], record: dict[str, Any], path: Path) -> None:
    here = record.get("environment", {}).get("versions")
    other = [r for r in known if r.get("environment", {}).get("versions", here) != here]
    if here and other:
        raise ValueError(
            f"{path} holds results of other versions: {other[0]['environment']['versions']}, and "
            f"these are {here}; choose another --out"
        )


def _line(record: dict[str, Any]) -> str:
    point = record["point"]
    where = f"{point['axis']} = {point[point['axis']]}"
    if "skipped" in record:
        return f"{where}: skipped: {record['skipped']}"
    return f"{where}: {statistics.median(record['seconds']):.3g} s"


def growth_rate(places: list[float], values: list[float]) -> float:
    """The power b of the law a·x^b that fits best, by least squares of the logarithms."""
    return float(np.polyfit(np.log(places), np.log(values), 1)[0])


def all_series(records: list[dict[str, Any]]) -> list[Series]:
    """What is drawn: along each axis the times, and both kinds of memory."""
    series = []
    for axis, label in AXES.items():
        found = [r for r in records if r["point"]["axis"] == axis and "skipped" not in r]
        if found:
            places = [r["point"][axis] for r in found]
            seconds = [r["seconds"] for r in found]
            planned = [r["planned_bytes"] / MIB for r in found]
            peak = [r["peak_bytes"] / MIB for r in found]
            series.append(Series(label, places, seconds, planned, peak))
    return series


def table(records: list[dict[str, Any]], command: str) -> str:
    """All points as Markdown, and each axis' rate of growth."""
    lines = [f"Made by `{command}`.", ""]
    first = next(r for r in records if "skipped" not in r)
    versions = ", ".join(f"{n} {v}" for n, v in first["environment"]["versions"].items())
    lines += [f"{first['environment']['device']}; {versions}.", ""]
    for axis, label in AXES.items():
        found = [r for r in records if r["point"]["axis"] == axis]
        lines += [f"## Against {label}", "", _settings(found[0]["point"], axis), ""]
        lines += [_rates(axis, found), ""] if len(_whole(found)) > 1 else []
        lines += [
            f"| {label} | n | seconds, median | min | max | planned, MiB | peak, MiB | "
            "compilation, s | difference to one device |",
            "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
            *[_row(record, axis) for record in found],
            "",
        ]
    return "\n".join(lines)


def _whole(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [record for record in records if "skipped" not in record]


def _settings(point: dict[str, Any], axis: str) -> str:
    # All images of the batch's own axis are one batch.
    grows = {"axis", axis} | ({"images"} if axis == "batch_size" else set())
    kept = {name: value for name, value in point.items() if name not in grows}
    return ", ".join(f"{name} {value}" for name, value in kept.items())


def _rates(axis: str, records: list[dict[str, Any]]) -> str:
    whole = _whole(records)
    places = [r["point"][axis] for r in whole]
    time = growth_rate(places, [statistics.median(r["seconds"]) for r in whole])
    memory = growth_rate(places, [r["planned_bytes"] for r in whole])
    return f"Time grows as the power {time:z.2f}, planned memory as the power {memory:z.2f}."


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
    """Measures, and writes what was found."""
    config.out.mkdir(parents=True, exist_ok=True)
    command = f"python benchmarks/growth.py --scale {config.scale}"
    try:
        records = measure_all(SCALES[config.scale], config.out / "growth.json")
    except ValueError as error:
        print(f"growth.py: error: {error}", file=sys.stderr)
        return 2
    atomic_write(config.out / "growth.md", table(records, command).encode())
    atomic_write(config.out / "growth.svg", growth_figure(all_series(records)))
    print(config.out / "growth.md")
    return 0


if __name__ == "__main__":
    sys.exit(main(tyro.cli(GrowthConfig)))
