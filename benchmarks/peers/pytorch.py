"""PyTorch's device, its settings, and the modes in which it can run a function."""

import os
from collections.abc import Callable
from typing import Any

# Without this a second run would find compiled code and report shorter compile times.
os.environ.setdefault("TORCHINDUCTOR_FORCE_DISABLE_CACHES", "1")

import jax
import numpy as np
import torch
from harness.timing import MATRIX_SIZES, best_flops
from torch import Tensor

from imgopt.errors import InputError

EAGER, COMPILED, GRAPHS = "eager", "torch.compile", "torch.compile with CUDA graphs"

RECOMPILATIONS = 64
"""Most compilations of one function. PyTorch's default is 8, and ten GANs share one function."""


def device() -> torch.device:
    """The device that JAX uses.

    Raises:
        InputError: this build of PyTorch cannot use that device.
    """
    platform = jax.default_backend()
    if platform == "cpu":
        return torch.device("cpu")
    if platform == "gpu" and torch.cuda.is_available():
        return torch.device("cuda")
    raise InputError(f"PyTorch {torch.__version__} cannot use the {platform} that JAX uses")


def on_gpu() -> bool:
    """Whether the device is a GPU."""
    return device().type == "cuda"


def set_up() -> None:
    """Sets PyTorch's options and drops code compiled for earlier jobs.

    On GPUs cuDNN searches for the fastest kernels, and float32 matrix products use TF32, as JAX's
    do.
    """
    torch.compiler.reset()
    torch._dynamo.config.recompile_limit = RECOMPILATIONS
    if on_gpu():
        torch.backends.cudnn.benchmark = True
        torch.set_float32_matmul_precision("high")


def versions() -> dict[str, Any]:
    """PyTorch's version, number of threads, and device."""
    name = torch.cuda.get_device_name() if on_gpu() else "cpu"
    return {"torch": torch.__version__, "threads": torch.get_num_threads(), "device": name}


def modes() -> tuple[str, ...]:
    """Modes in which a function can run on this device."""
    return (EAGER, COMPILED, GRAPHS) if on_gpu() else (EAGER, COMPILED)


def compiled(function: Callable, mode: str) -> Callable:
    """The function compiled as the mode says; unchanged in eager mode."""
    if mode == EAGER:
        return function
    kind = "reduce-overhead" if mode == GRAPHS else "default"
    return torch.compile(function, dynamic=False, mode=kind)


def begin_step() -> None:
    """Lets CUDA graphs overwrite the previous step's results."""
    if on_gpu():
        torch.compiler.cudagraph_mark_step_begin()


def wait() -> None:
    """Waits until the device is idle."""
    if on_gpu():
        torch.cuda.synchronize()


def peak_device_bytes() -> int | None:
    """Peak memory of PyTorch's arrays on a GPU; None on CPUs."""
    return torch.cuda.max_memory_allocated() if on_gpu() else None


def matrix_product_flops(precision: str) -> float:
    """FLOP/s of a large square matrix product in PyTorch; see `timing.matrix_product_flops`."""
    size = MATRIX_SIZES["gpu" if on_gpu() else "cpu"]
    matrix = torch.ones((size, size), dtype=getattr(torch, precision), device=device())

    def product() -> None:
        torch.matmul(matrix, matrix)
        wait()

    return best_flops(product, size)


def autocast(precision: str) -> torch.autocast:
    """A context that computes in bfloat16 if asked to; parameters stay float32."""
    return torch.autocast(device().type, torch.bfloat16, enabled=precision == "bfloat16")


def to_device(module: torch.nn.Module) -> Any:
    """Moves a network to the device and stores its feature maps channels last."""
    network: Any = module.to(device())
    return network.to(memory_format=torch.channels_last)


def tensor(array: Any) -> Tensor:
    """Copies an array to the device."""
    return torch.tensor(np.asarray(array), device=device())


def as_maps(images: Tensor) -> Tensor:
    """Views images (n, h, w, c) as (n, c, h, w); the memory stays channels last."""
    return images.permute(0, 3, 1, 2)
