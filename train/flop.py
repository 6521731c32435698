"""The arithmetic of a function, as XLA counts it before compilation."""

from collections.abc import Callable
from typing import Any

import jax

from imgopt.errors import InputError

PLATFORM = "cuda"
"""Platform whose program is counted; on CPUs our convolutions take other, cheaper forms."""


def count_flop(function: Callable[..., Any], *inputs: Any) -> int:
    """Counts the FLOP of one call of a function; nothing is compiled or computed.

    A multiplication and an addition are 2 FLOP, any other elementwise operation is 1 for each
    number. XLA leaves out products with the zeros of a convolution's padding. The body of a loop
    counts once, however often it runs. The count depends neither on the device nor on the
    precision.

    Args:
        function: pure, traceable by JAX.
        *inputs: pytrees of arrays or of `jax.ShapeDtypeStruct`.

    Raises:
        InputError: JAX's CPU backend, which counts, is switched off.
    """
    try:
        cpu = jax.local_devices(backend="cpu")[0]
    except RuntimeError as error:
        raise InputError(
            "XLA counts arithmetic on JAX's CPU backend, which is switched off; add cpu to "
            f'JAX_PLATFORMS, such as JAX_PLATFORMS="cuda,cpu" ({error})'
        ) from error
    with jax.default_device(cpu):  # the backends of GPUs and TPUs count compiled programs only
        lowered = jax.jit(function).trace(*inputs).lower(lowering_platforms=(PLATFORM,))
    cost = lowered.cost_analysis()
    if cost is None:
        raise RuntimeError(f"jax {jax.__version__} does not count the FLOP of a lowered program")
    return round(cost["flops"])


def count_update_flop(learner: Any, batch: Any, constants: Any = None) -> int:
    """Counts the FLOP of one training step: forward, backward, optimiser.

    Args:
        learner: a `train.loop.Learner`.
        batch: as its `update` takes it; shapes are enough.
        constants: as its `update` takes them; shapes are enough.
    """
    key = jax.random.key(0)
    state = jax.eval_shape(learner.initial, key)
    return count_flop(learner.update, key, state, batch, constants)
