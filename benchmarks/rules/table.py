"""Makes the table and the plot of the update rules from what measure.py has measured.

Usage: python benchmarks/rules/table.py DIR

Writes benchmarks/RULES.md, benchmarks/results/rules.json and benchmarks/results/rules.svg.
"""

import json
import sys
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np

mpl.use("svg")
import matplotlib.pyplot as plt

HERE = Path(__file__).parents[1]

KL_LEVELS = (0.1, 0.05, 0.01)
RANKED = 0.99
PAPER = "momentum 0.9, rate 0.05 (paper)"


class Curve(NamedTuple):
    """One arm's means over all images, before and after every update.

    Attributes:
        kl: mean KL after rounding to 8 bits.
        ranked: share of images that rank the classes as asked.
        change: mean |image - original| in grey levels.
        passes: mean number of backward passes so far.
        seconds: time of the updates so far, in proportion where fewer images were measured.
    """

    kl: np.ndarray
    ranked: np.ndarray
    change: np.ndarray
    passes: np.ndarray
    seconds: np.ndarray


def read(directory: Path) -> tuple[dict[str, Curve], dict[str, Any], int]:
    """The arms' curves, what was recorded of the machine, and the largest number of images."""
    records = [json.loads(path.read_text()) for path in sorted(directory.glob("*.json"))]
    by_arm: dict[str, list[dict[str, Any]]] = {}
    for record in records:
        by_arm.setdefault(record["arm"], []).append(record)
    counts = {arm: sum(record["n"] for record in found) for arm, found in by_arm.items()}
    most = max(counts.values())
    curves = {}
    for arm, found in by_arm.items():
        updates = min(len(record["kl"]) for record in found)
        sums = [
            np.sum([record[name][:updates] for record in found], axis=0)
            for name in ("kl", "ranked", "change", "seconds")
        ]
        kl, ranked, change = (each / counts[arm] for each in sums[:3])
        passes = np.mean([record["passes"][:updates] for record in found], axis=0)
        seconds = np.cumsum(sums[3]) * most / counts[arm]
        name = arm if counts[arm] == most else f"{arm} (n = {counts[arm]})"
        curves[name] = Curve(kl, ranked, change, passes, seconds)
    machine = {name: records[0][name] for name in ("device", "versions")}
    return curves, machine, most


def first(reached: np.ndarray) -> int | None:
    """Index of the first update at which something is reached; None if it never is."""
    return int(np.argmax(reached)) if reached.any() else None


def cell(curve: Curve, step: int | None) -> str:
    """Updates, backward passes, seconds and change at an update."""
    if step is None:
        return f"– ({len(curve.kl) - 1})"
    return (
        f"{step} / {curve.passes[step]:.0f} / {curve.seconds[step]:.0f} / {curve.change[step]:.1f}"
    )


def table(curves: dict[str, Curve]) -> str:
    """The rules beside each other, as Markdown."""
    paper = curves[PAPER].kl[-1]
    headings = [
        "rule",
        *(f"KL ≤ {level}" for level in KL_LEVELS),
        f"{RANKED:.0%} ranked as asked",
        f"KL ≤ {paper:.3f}, the paper's momentum after 100",
        "KL and change at the end",
    ]
    lines = [headings, ["---"] * len(headings)]
    for arm, curve in curves.items():
        steps = [first(curve.kl <= level) for level in KL_LEVELS]
        steps += [first(curve.ranked >= RANKED), first(curve.kl <= paper)]
        end = f"{curve.kl[-1]:.3f}, {curve.change[-1]:.1f}"
        lines.append([arm, *(cell(curve, step) for step in steps), end])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def plot(curves: dict[str, Curve], out: Path) -> None:
    """KL over backward passes, and over the change of the image."""
    figure, axes = plt.subplots(1, 2, figsize=(11, 4.2), sharey=True, layout="constrained")
    for number, (arm, curve) in enumerate(curves.items()):
        style = {"lw": 1.6, "color": f"C{number % 10}", "ls": "-" if number < 10 else "--"}
        axes[0].plot(curve.passes, curve.kl, label=arm, **style)
        axes[1].plot(curve.change, curve.kl, **style)
    axes[0].set(xscale="log", yscale="log", xlabel="backward passes an image", xlim=(1, None))
    axes[0].set_ylabel("mean KL(target ‖ output) after 8 bits, nats")
    axes[1].set(xlabel="mean change, grey levels")
    for each in axes:
        each.grid(visible=True, which="both", alpha=0.2)
    figure.legend(loc="outside lower center", ncols=3, fontsize=8)
    figure.savefig(out, metadata={"Date": None})


def main(directory: Path) -> None:
    """Writes the page, the numbers and the plot."""
    curves, machine, count = read(directory)
    results = HERE / "results"
    numbers = {
        arm: {name: np.round(column, 5).tolist() for name, column in curve._asdict().items()}
        for arm, curve in curves.items()
    }
    record = {"images": count, **machine, "curves": numbers}
    (results / "rules.json").write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n")
    plot(curves, results / "rules.svg")
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    page = (HERE / "rules" / "page.md").read_text()
    page = page.format(
        table=table(curves), count=count, device=machine["device"], versions=versions
    )
    (HERE / "RULES.md").write_text(page)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
