"""The table of a made-up run."""

import pytest
from harness.result_table import COLUMNS, as_markdown, as_text

pytestmark = pytest.mark.slow

SPREAD = {"n": 7, "median": 0.25, "min": 0.2, "max": 0.5}
SIDE = {
    "step_seconds": SPREAD,
    "images_per_second": 256.4,
    "flops": 1.5e11,
    "share_of_ceiling": 0.5,
    "compilation_seconds": 4.2,
    "peak_memory_bytes": 705e6,
}
CASE = {"job": "training-step", "model": "vgg16", "precision": "bfloat16", "batch_size": 64}
FOUND = {
    "device": "1 × cpu (cpu)",
    "cores": 2,
    "processor": "some processor",
    "versions": {"python": "3.11", "jax": "0.10", "jaxlib": "0.10", "flax": "0.12"},
    "peer": {"torch": "2.13.0"},
    "matrix_product_flops": {"ours": 2.8e11, "peer": 3.6e11},
    "command": "bench.py --job all",
    "results": [
        {**CASE, "ours": SIDE, "peer": {**SIDE, "mode": "eager"}, "ratio": SPREAD},
        {**CASE, "ours": SIDE, "peer": {"skipped": "no torch"}},
        {**CASE, "model": None, "precision": "float32", "batch_size": 1, "skipped": "no data"},
    ],
}


def test_a_case_is_a_row_of_the_table():
    machine, _, head, _, *rows = as_markdown(FOUND).splitlines()
    assert "280 and 360 GFLOP/s (ours and peer)" in machine
    assert "torch 2.13.0" in machine
    assert head.split(" | ")[-1] == "memory, MB |"
    assert [row.count("|") for row in rows] == [len(COLUMNS) + 1] * 3
    assert rows[0].startswith("| training-step, vgg16, batch 64, bfloat16 | 250 (200 to 500) |")
    assert "| 250 (200 to 500) eager | 0.25 (0.20 to 0.50) | 256 | 150 (50%) |" in rows[0]
    assert rows[0].endswith("| 4 / 4 | 705 / 705 |")


def test_a_skipped_case_gives_its_reason():
    *_, no_peer, no_case = as_markdown(FOUND).splitlines()
    assert "| no torch | – |" in no_peer
    assert no_peer.endswith("| 4 / – | 705 / – |")
    assert no_case.startswith("| training-step | no data |")


def test_the_terminal_shows_the_cells_of_the_row():
    both, _, no_case = map(as_text, FOUND["results"])
    assert both.startswith("training-step, vgg16, batch 64, bfloat16\n")
    assert "  ours / PyTorch: 0.25 (0.20 to 0.50)\n" in both
    assert "  memory, MB: 705 / 705" in both
    assert no_case == "training-step\n  ours, ms a step: no data"
