"""Chips that programs are compiled for on a machine that has none, and what they can do."""

import functools
import os
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import jax
from jax.experimental import topologies

from imgopt.errors import InputError

H200 = Path(__file__).with_name("h200.txtpb")
"""Facts of an H200 that XLA's compiler asks for, as a GpuTargetConfigProto."""

GIB = 2**30


class Chip(NamedTuple):
    """A chip, with its maker's figures.

    Attributes:
        name: name in the tables.
        platform: JAX's name of its platform.
        topology: name or shape of the smallest group of four, as libtpu or the CUDA plug-in takes.
        package: package that compiles for it.
        memory_bytes: its memory.
        flops: FLOP/s of products in bfloat16.
        float32_flops: FLOP/s of products that JAX asks for in float32 by default: TPUs round the
            factors to bfloat16, an H200 to TF32.
        bandwidth: bytes a second from and to its memory.
        clock_hz: cycles a second, for XLA's estimated cycles; None where XLA estimates none.
    """

    name: str
    platform: str
    topology: str
    package: str
    memory_bytes: int
    flops: float
    float32_flops: float
    bandwidth: float
    clock_hz: float | None = None


# Figures of TPUs: cloud.google.com/tpu/docs/v5e, v5p and v6e. The clock is the bfloat16 FLOP/s
# divided by the FLOP of a cycle, 4 units of 128×128 or, on v6e, 256×256 products (v5p: 8 of 128).
# H200: NVIDIA's data sheet, without sparsity.
CHIPS = {
    chip.name: chip
    for chip in (
        Chip("v5e", "tpu", "v5e:2x2", "libtpu", 16 * GIB, 197e12, 197e12, 819e9, 1.5e9),
        Chip("v5p", "tpu", "v5p:2x2x1", "libtpu", 95 * GIB, 459e12, 459e12, 2765e9, 1.75e9),
        Chip("v6e", "tpu", "v6e:2x2", "libtpu", 32 * GIB, 918e12, 918e12, 1640e9, 1.75e9),
        Chip("h200", "cuda", "1x1x4", "jax_cuda13_plugin", 141 * 10**9, 989e12, 494e12, 4800e9),
    )
}


def find_devices(name: str, count: int) -> Sequence[jax.Device]:
    """The first devices of four chips, which can be compiled for and no more.

    Raises:
        InputError: the chip is unknown, its compiler is not installed, or there are fewer.
    """
    if name not in CHIPS:
        raise InputError(f"unknown chip {name!r}; expected {', '.join(CHIPS)}")
    chip = CHIPS[name]
    if find_spec(chip.package) is None:
        extra = "aot" if chip.platform == "tpu" else "cuda13"
        raise InputError(
            f"compiling for {name} needs {chip.package}, which is not installed; "
            f"pip install '.[{extra}]'"
        )
    try:
        devices = _group_of_four(name)
    except NotImplementedError as error:  # JAX has looked for a GPU and dropped the plug-in
        raise InputError(
            f"compiling for {name} needs JAX_PLATFORMS=cpu in the environment ({error})"
        ) from error
    if not 1 <= count <= len(devices):
        raise InputError(f"expected 1 to {len(devices)} chips, got {count}")
    return devices[:count]


@functools.cache
def _group_of_four(name: str) -> Sequence[jax.Device]:
    chip = CHIPS[name]
    if chip.platform == "cuda":
        return topologies.get_topology_desc(
            platform="cuda",
            topology_name=name,
            topology=chip.topology,
            target_config=H200.read_text(),
        ).devices
    # Without them libtpu asks the cloud's metadata server, which is not there.
    os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
    os.environ.setdefault("TPU_WORKER_HOSTNAMES", "localhost")
    os.environ.setdefault("ALLOW_MULTIPLE_LIBTPU_LOAD", "1")  # no device is opened
    return topologies.get_topology_desc(platform="tpu", topology_name=chip.topology).devices
