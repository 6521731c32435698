"""Results of `bench.py` as text for the terminal and as a table in Markdown."""

from collections.abc import Mapping, Sequence
from typing import Any

Record = Mapping[str, Any]
"""Part of the results as it stands in the JSON file."""

COLUMNS = (
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
    """Formats the result of one case for the terminal: a line for each column of the table."""
    title, *cells = _row(result)
    lines = [title, f"  {result.get('compared', '')}".rstrip()]
    lines += [f"  {name}: {cell}" for name, cell in zip(COLUMNS[1:], cells, strict=True) if cell]
    if "largest_difference" in result:
        lines.append(f"  outputs of the two differ by at most {result['largest_difference']:.1e}")
    return "\n".join(filter(None, lines))


def as_markdown(results: Record) -> str:
    """Formats all results: a paragraph about the machine, then a table with a row a case.

    Args:
        results: the contents of the JSON file that `bench.py --out` writes.
    """
    rows = [_row(result) for result in results["results"]]
    table = [COLUMNS, ["---"] * len(COLUMNS), *rows]
    lines = ["| " + " | ".join(cells) + " |" for cells in table]
    return "\n".join([_machine(results), "", *lines, ""])


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


def _row(result: Record) -> Sequence[str]:
    batch = None if result["batch_size"] == 1 else f"batch {result['batch_size']}"
    precision = None if result["precision"] == "float32" else result["precision"]
    title = ", ".join(filter(None, (result["job"], result["model"], batch, precision)))
    if "skipped" in result:
        return [title, result["skipped"], *[""] * (len(COLUMNS) - 2)]
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
