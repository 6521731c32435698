"""Results of `bench.py` as text for the terminal and as a table in Markdown."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from timing import Spread

Record = Mapping[str, Any]
"""Part of the results as it stands in the JSON file."""

TEXT_COLUMNS = {
    "": "<38",
    "ms a step": ">10",
    "(min to max)": ">22",
    "images/s": ">11",
    "GFLOP/s": ">10",
    "of ceiling": ">12",
    "compile s": ">11",
    "memory MB": ">11",
}
"""Columns of the text, each with its alignment and width."""

MARKDOWN_COLUMNS = (
    "job",
    "ours, ms a step",
    "PyTorch, ms a step",
    "ours / PyTorch",
    "ours, images/s",
    "ours, GFLOP/s",
    "PyTorch, GFLOP/s",
    "compiled in, s",
    "memory, MB",
)


def as_text(result: Record) -> str:
    """Formats the result of one case for the terminal."""
    title = " · ".join(_title(result))
    if "skipped" in result:
        return f"{title}\n  skipped: {result['skipped']}"
    lines = [title, f"  {result['compared']}", _text_line(TEXT_COLUMNS)]
    lines += [_text_row(name, result[name]) for name in ("ours", "peer")]
    if "ratio" in result:
        ratio = Spread(**result["ratio"])
        range_ = f"({ratio.min:.3f} to {ratio.max:.3f})"
        lines.append(f"  ours / peer, {ratio.n} pairs: {ratio.median:.3f} {range_}")
    if "largest_difference" in result:
        lines.append(f"  outputs of the two differ by at most {result['largest_difference']:.1e}")
    return "\n".join(lines)


def as_markdown(results: Record) -> str:
    """Formats all results: a paragraph about the machine, then a table with a row a case.

    Args:
        results: the contents of the JSON file that `bench.py --out` writes.
    """
    rows = [_markdown_row(result) for result in results["results"]]
    table = [MARKDOWN_COLUMNS, ["---"] * len(MARKDOWN_COLUMNS), *rows]
    lines = ["| " + " | ".join(cells) + " |" for cells in table]
    return "\n".join([_machine(results), "", *lines, ""])


def _title(result: Record) -> list[str]:
    batch = None if result["batch_size"] == 1 else f"batch {result['batch_size']}"
    return [word for word in (result["job"], result["model"], batch, result["precision"]) if word]


# ---- text


def _text_line(cells: Iterable[str]) -> str:
    widths = TEXT_COLUMNS.values()
    return "  " + "".join(f"{cell:{width}}" for cell, width in zip(cells, widths, strict=True))


def _text_row(name: str, side: Record) -> str:
    label = f"{name} ({side['mode']})" if "mode" in side else name
    if "skipped" in side:
        return f"  {label}: {side['skipped']}"
    step = side["step_seconds"]
    median, low, high = (f"{1e3 * step[key]:.1f}" for key in ("median", "min", "max"))
    cells = [label, median, f"({low} to {high})", f"{side['images_per_second']:.0f}"]
    if "flops" in side:
        cells += [f"{side['flops'] / 1e9:.1f}", f"{side['share_of_ceiling']:.0%}"]
        cells += [f"{side['compilation_seconds']:.1f}"]
    else:
        cells += ["–"] * 3
    peak = side.get("peak_memory_bytes")
    return _text_line([*cells, "–" if peak is None else f"{peak / 1e6:.0f}"])


# ---- Markdown


def _machine(results: Record) -> str:
    flops = results["matrix_product_flops"]
    ceilings = {side: f"{each / 1e9:.0f}" for side, each in flops.items()}
    versions = {name: results["versions"][name] for name in ("python", "jax", "jaxlib", "flax")}
    peer = results["peer"]
    if isinstance(peer, Mapping):
        versions["torch"] = peer["torch"]
    return (
        f"{results['device']}, {results['cores']} cores ({results['processor']}); "
        f"{', '.join(f'{name} {version}' for name, version in versions.items())}. "
        f"A large matrix product reaches {' and '.join(ceilings.values())} GFLOP/s "
        f"({' and '.join(ceilings)}). Command: `python benchmarks/{results['command']}`"
    )


def _markdown_row(result: Record) -> Sequence[str]:
    title = ", ".join(word for word in _title(result) if word != "float32")
    if "skipped" in result:
        return [title, result["skipped"], *[""] * (len(MARKDOWN_COLUMNS) - 2)]
    ours, peer = result["ours"], result["peer"]
    return [
        title,
        _step(ours),
        f"{_step(peer)} {peer.get('mode', '')}".rstrip(),
        _spread(result["ratio"], "{:.2f}") if "ratio" in result else "–",
        f"{ours['images_per_second']:.0f}" if "images_per_second" in ours else "–",
        _flops(ours),
        _flops(peer),
        _pair(ours, peer, "compilation_seconds", 1),
        _pair(ours, peer, "peak_memory_bytes", 1e6),
    ]


def _step(side: Record) -> str:
    if "skipped" in side:
        return side["skipped"]
    milliseconds = {name: 1e3 * value for name, value in side["step_seconds"].items()}
    return _spread(milliseconds, "{:.3g}" if milliseconds["max"] < 100 else "{:.0f}")


def _spread(spread: Mapping[str, float], form: str) -> str:
    low, high = form.format(spread["min"]), form.format(spread["max"])
    return f"{form.format(spread['median'])} ({low} to {high})"


def _flops(side: Record) -> str:
    if "flops" not in side:
        return "–"
    return f"{side['flops'] / 1e9:.0f} ({side['share_of_ceiling']:.0%})"


def _pair(ours: Record, peer: Record, name: str, unit: float) -> str:
    values = [side.get(name) for side in (ours, peer)]
    return " / ".join("–" if value is None else f"{value / unit:.0f}" for value in values)
