"""How the peers use PyTorch: the device, its settings, the ways to run a function on it.

torch is needed by the modules called `torch_…` alone; it is no dependency of the project.
"""

import os
from collections.abc import Callable
from typing import Any

os.environ.setdefault("TORCHINDUCTOR_FORCE_DISABLE_CACHES", "1")  # else a second run compiles less

import jax
import numpy as np
import torch
from timing import MATRIX_SIZES, best_flops
from torch import Tensor

EAGER, COMPILED, GRAPHS = "eager", "torch.compile", "torch.compile with CUDA graphs"

RECOMPILATIONS = 64
"""Of one function, before PyTorch goes back to eager; ten GANs share one. Its own habit is 8."""


def device() -> torch.device:
    """The device that JAX uses as well.

    Raises:
        ValueError: this PyTorch cannot use it.
    """
    platform = jax.default_backend()
    if platform == "cpu":
        return torch.device("cpu")
    if platform == "gpu" and torch.cuda.is_available():
        return torch.device("cuda")
    raise ValueError(f"PyTorch {torch.__version__} cannot use the {platform} that JAX uses")


def on_gpu() -> bool:
    """Whether the device is a GPU."""
    return device().type == "cuda"


def set_up() -> None:
    """Chooses PyTorch's settings; forgets what was compiled for other jobs and sizes.

    On GPUs cuDNN looks for the quickest kernels, and float32 products are of TF32 numbers, as JAX
    has them.
    """
    torch.compiler.reset()
    torch._dynamo.config.recompile_limit = RECOMPILATIONS
    if on_gpu():
        torch.backends.cudnn.benchmark = True
        torch.set_float32_matmul_precision("high")


def versions() -> dict[str, Any]:
    """PyTorch's version, the threads that it takes, and the device it runs on."""
    name = torch.cuda.get_device_name() if on_gpu() else "cpu"
    return {"torch": torch.__version__, "threads": torch.get_num_threads(), "device": name}


def modes() -> tuple[str, ...]:
    """The ways to run a function, of which the quickest is to be taken."""
    return (EAGER, COMPILED, GRAPHS) if on_gpu() else (EAGER, COMPILED)


def compiled(function: Callable, mode: str) -> Callable:
    """A function in one of the modes."""
    if mode == EAGER:
        return function
    kind = "reduce-overhead" if mode == GRAPHS else "default"
    return torch.compile(function, dynamic=False, mode=kind)


def begin_step() -> None:
    """Lets CUDA graphs write over the results of the last step."""
    if on_gpu():
        torch.compiler.cudagraph_mark_step_begin()


def wait() -> None:
    """Returns when the device has nothing left to do."""
    if on_gpu():
        torch.cuda.synchronize()


def peak_device_bytes() -> int | None:
    """The most memory that PyTorch's arrays have taken on a GPU."""
    return torch.cuda.max_memory_allocated() if on_gpu() else None


def matrix_product_flops(precision: str) -> float:
    """As `timing.matrix_product_flops`, by PyTorch."""
    size = MATRIX_SIZES["gpu" if on_gpu() else "cpu"]
    matrix = torch.ones((size, size), dtype=getattr(torch, precision), device=device())

    def product() -> None:
        torch.matmul(matrix, matrix)
        wait()

    return best_flops(product, size)


def autocast(precision: str) -> torch.autocast:
    """Computes in bfloat16, where that is the precision, with parameters in float32."""
    return torch.autocast(device().type, torch.bfloat16, enabled=precision == "bfloat16")


def to_device(module: torch.nn.Module) -> Any:
    """A network on the device, its maps in memory channels last."""
    network: Any = module.to(device())
    return network.to(memory_format=torch.channels_last)


def tensor(array: Any) -> Tensor:
    """A copy of an array on the device."""
    return torch.tensor(np.asarray(array), device=device())


def as_maps(images: Tensor) -> Tensor:
    """(n, h, w, c) → (n, c, h, w), which so lies in memory channels last."""
    return images.permute(0, 3, 1, 2)
