"""The command `elicit experiment figures-a`: paper A's update rules side by side.

The paper shows what SGD, momentum SGD and momentum SGD with a low-pass filter make of a few images
(figures 3 to 5) and judges by eye: little noise, noise, rainbows. Here the same rules run on the
same images with the same targets, and the eye's judgements get numbers: noise is high-frequency
energy, rainbows are a rise in saturation.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from experiments.figures import rules_grid
from experiments.report import Picture, Section, Table, provenance, write_report
from experiments.synthesis_options import RuleConfig
from experiments.synthesize import Made, SynthesizeConfig, synthesize_set
from train.classifiers import Precision
from train.datasets import load_images
from train.files import atomic_write, read_json, write_json
from train.image_sets import read_manifest
from train.runs import RESULT_FILE, environment

RULES = {
    "SGD": RuleConfig(),
    "momentum": RuleConfig(rule="momentum"),
    "momentum, as printed": RuleConfig(rule="momentum", rule_options=("form=printed",)),
    "momentum, low-pass 10": RuleConfig(rule="momentum", filter="low-pass", radius=10.0),
}
"""Figures 3, 4 (both readings of eqs. 7 and 8) and 5, all with the paper's numbers."""

COLUMNS = {
    "kl_mean": ("mean KL, nats", "{:.4f}"),
    "kl_p95": ("95th pct. KL", "{:.4f}"),
    "max_error_mean": ("mean max error", "{:.4f}"),
    "ranking_as_asked": ("ranking as asked", "{:.1%}"),
    "mean_change_levels": ("mean change, grey levels", "{:.2f}"),
    "high_frequency_energy": ("high-frequency energy, levels²", "{:.1f}"),
    "saturation": ("saturation", "{:.4f}"),
    "images_per_second": ("images/s", "{:.1f}"),
}
"""Of a summary: heading and format."""

SHOWN_IMAGES = 8
DIFFERENCE_GAIN = 5.0


@dataclass(frozen=True)
class FiguresAConfig:
    """Paper A's figures 3 to 5: its update rules side by side, with numbers."""

    classifier: str
    """A run of `elicit classifier train`, or a callable as package.module:name."""
    dataset: str
    """Name of a data set, such as cifar10, or the directory of an image set."""
    out: Path
    """The directory of the results; each rule's image set goes into it too."""
    data_dir: Path | None = None
    """TFDS's data directory, for a data set named by name."""
    split: str = "test"
    """Split to start from."""
    images: int = 1000
    """How many, from the split's beginning."""
    batch_size: int = 128
    """Images in one compiled batch."""
    precision: Precision = "float32"
    """Of the classifier's computation."""
    key: int = 0
    """Seed of the targets, which are the same for all rules."""


def figures_a(config: FiguresAConfig) -> None:
    """Runs the command; an interrupted one goes on where it stopped.

    Raises:
        ValueError: something does not fit, found before anything is compiled or written.
    """
    rows = {}
    for name, rule in RULES.items():
        out = config.out / name.replace(",", "").replace(" ", "-").lower()
        set_config = SynthesizeConfig(
            classifier=config.classifier,
            dataset=config.dataset,
            data_dir=config.data_dir,
            split=config.split,
            stop=config.images,
            out=out,
            rule=rule,
            batch_size=config.batch_size,
            precision=config.precision,
            key=config.key,
        )
        made = synthesize_set(set_config, label=name)
        speed = _speed(made, config.out / f"{out.name}-timing.json")
        rows[name] = {**made.summary, "images_per_second": speed, "set": out.name}
    result = {"rules": rows, **_provenance(config, rows), **environment()}
    write_json(config.out / RESULT_FILE, result)
    atomic_write(config.out / "result.md", _markdown(result).encode())
    _write_report(config, result, _grid(config, rows))
    print(config.out / "report.html")


def _speed(made: Made, path: Path) -> float | None:
    """Images/s of the call that made a set last; None where it was killed before it could say."""
    if made.images:
        write_json(path, {"images": made.images, "seconds": made.seconds})
    if not path.is_file():
        return None
    timing = read_json(path)
    return timing["images"] / timing["seconds"]


def _provenance(config: FiguresAConfig, rows: dict[str, Any]) -> dict[str, Any]:
    manifest = read_manifest(config.out / next(iter(rows.values()))["set"]) or {}
    return {name: manifest.get(name) for name in ("classifier", "dataset", "target", "key", "stop")}


def _table(rows: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Header and cells; the first line is the originals, where a measure has a value for them."""
    first = next(iter(rows.values()))
    originals = [
        form.format(first[f"{field}_of_originals"]) if f"{field}_of_originals" in first else ""
        for field, (_, form) in COLUMNS.items()
    ]
    cells = [["originals", *originals]]
    for name, row in rows.items():
        values = ((row[field], form) for field, (_, form) in COLUMNS.items())
        cells.append([name, *("–" if v is None else form.format(v) for v, form in values)])
    return ["rule", *(heading for heading, _ in COLUMNS.values())], cells


def _markdown(result: dict[str, Any]) -> str:
    header, cells = _table(result["rules"])
    count = next(iter(result["rules"].values()))["images"]
    lines = [
        f"n = {count:,} images; {result['device']}; "
        + ", ".join(f"{name} {version}" for name, version in result["versions"].items()),
        "",
        f"`{result['command']}`",
        "",
        *(f"| {' | '.join(row)} |" for row in (header, ["---"] * len(header), *cells)),
    ]
    return "\n".join(lines) + "\n"


def _grid(config: FiguresAConfig, rows: dict[str, Any]) -> bytes:
    originals = load_images(config.dataset, config.split, data_dir=config.data_dir).images
    made = {name: load_images(config.out / row["set"]).images for name, row in rows.items()}
    count = min(SHOWN_IMAGES, config.images)
    captions = {
        name: f"KL {row['kl_mean']:.3f}, change {row['mean_change_levels']:.1f}"
        for name, row in rows.items()
    }
    return rules_grid(
        np.asarray(originals[:count]),
        {name: images[:count] for name, images in made.items()},
        captions=captions,
        difference_gain=DIFFERENCE_GAIN,
    )


def _write_report(config: FiguresAConfig, result: dict[str, Any], grid: bytes) -> None:
    header, cells = _table(result["rules"])
    write_report(
        config.out / "report.html",
        title="Update rules side by side",
        lead="The same images and the same targets under the update rules of Hirano, Iwamura and "
        "Kise (figures 3 to 5): 100 updates each, rate 0.05, decay 5e-4, momentum 0.9.",
        facts={name: f"KL {row['kl_mean']:.3f}" for name, row in result["rules"].items()},
        sections=[
            Section(
                title="Images",
                text=f"The first images of the split; below each rule's row its differences from "
                f"the originals, {DIFFERENCE_GAIN:.0f} times amplified.",
                pictures=(Picture(grid, "A row a rule", name="rules"),),
            ),
            Section(
                title="Numbers",
                text="Means over all images, measured after rounding to 8 bits. High-frequency "
                "energy is the mean square of what lies 10 or more cycles an image from DC; "
                "saturation is the mean of max - min over the channels.",
                tables=(Table(header=header, rows=cells),),
            ),
        ],
        footer=provenance(result),
    )
