"""What a run of the benchmarks found, as a table in Markdown."""

from collections.abc import Mapping, Sequence
from typing import Any

HEAD = (
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

Result = Mapping[str, Any]


def as_markdown(found: Mapping[str, Any]) -> str:
    """Gives a table with a row a case, under a paragraph that describes the machine.

    Args:
        found: what `bench.py` writes to its `--out`.
    """
    rows = [_row(result) for result in found["results"]]
    table = [HEAD, ["---"] * len(HEAD), *rows]
    lines = ["| " + " | ".join(cells) + " |" for cells in table]
    return "\n".join([_surroundings(found), "", *lines, ""])


def _surroundings(found: Mapping[str, Any]) -> str:
    ceilings = {side: f"{flops / 1e9:.0f}" for side, flops in found["matrix_product_flops"].items()}
    versions = {name: found["versions"][name] for name in ("python", "jax", "jaxlib", "flax")}
    peer = found["peer"]
    if isinstance(peer, Mapping):
        versions["torch"] = peer["torch"]
    return (
        f"{found['device']}, {found['cores']} cores ({found['processor']}); "
        f"{', '.join(f'{name} {version}' for name, version in versions.items())}. "
        f"A large matrix product reaches {' and '.join(ceilings.values())} GFLOP/s "
        f"({' and '.join(ceilings)}). Command: `python benchmarks/{found['command']}`"
    )


def _row(result: Result) -> Sequence[str]:
    name = [result["job"], result["model"], result["precision"]]
    if result["batch_size"] > 1:
        name.insert(2, f"batch {result['batch_size']}")
    title = ", ".join(word for word in name if word and word != "float32")
    if "skipped" in result:
        return [title, result["skipped"], *[""] * (len(HEAD) - 2)]
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


def _step(side: Result) -> str:
    if "skipped" in side:
        return side["skipped"]
    milliseconds = {name: 1e3 * value for name, value in side["step_seconds"].items()}
    return _spread(milliseconds, "{:.3g}" if milliseconds["max"] < 100 else "{:.0f}")


def _spread(spread: Mapping[str, float], form: str) -> str:
    low, high = form.format(spread["min"]), form.format(spread["max"])
    return f"{form.format(spread['median'])} ({low} to {high})"


def _flops(side: Result) -> str:
    if "flops" not in side:
        return "–"
    return f"{side['flops'] / 1e9:.0f} ({side['share_of_ceiling']:.0%})"


def _pair(ours: Result, peer: Result, name: str, unit: float) -> str:
    values = [side.get(name) for side in (ours, peer)]
    return " / ".join("–" if value is None else f"{value / unit:.0f}" for value in values)
