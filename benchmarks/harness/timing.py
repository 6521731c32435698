"""Times several calls in turn in one process, and measures the speed of a matrix product."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

Call = Callable[[], Any]
"""A function that does a job once and returns when it is finished."""

WARM_UP_CALLS = 3
"""Untimed calls before the timed ones; the first of them compiles."""

PAUSE_SECONDS = 0.05
"""Pause before each call, since the other side's threads go on spinning for milliseconds."""

MATRIX_SIZES = {"cpu": 3072, "gpu": 16384}
"""Side of the square matrices whose product gives the ceiling, by platform."""

CEILING_CALLS = 4
"""Timed matrix products, of which the fastest counts."""


class Spread(NamedTuple):
    """Median, minimum, maximum and number of several measurements."""

    median: float
    min: float
    max: float
    n: int


class WarmUp(NamedTuple):
    """Result of the untimed calls.

    Attributes:
        compilation_seconds: time of the first call minus that of the fastest later one.
        call_seconds: time of the fastest later call.
        result: result of the last call.
    """

    compilation_seconds: float
    call_seconds: float
    result: Any


def spread(values: Sequence[float]) -> Spread:
    """Median, minimum and maximum of one or more measurements."""
    return Spread(statistics.median(values), min(values), max(values), len(values))


def timed(call: Call) -> tuple[float, Any]:
    """Time of one call in seconds, and its result."""
    time.sleep(PAUSE_SECONDS)
    began = time.perf_counter()
    result = call()
    return time.perf_counter() - began, result


def warm_up(call: Call) -> WarmUp:
    """Compiles and warms up a new call."""
    first, *later = (timed(call) for _ in range(WARM_UP_CALLS))
    fastest = min(seconds for seconds, _ in later)
    return WarmUp(max(0.0, first[0] - fastest), fastest, later[-1][1])


def time_in_turn(calls: Mapping[str, Call], *, rounds: int) -> dict[str, list[float]]:
    """Times warmed-up calls in turn: ours, peer, ours, peer and so on.

    If the machine becomes slower meanwhile, it does so for all calls. The n-th time of one call can
    be compared with the n-th time of another.

    Args:
        calls: calls by name.
        rounds: how often each is called.

    Returns:
        Seconds of each round, by name.
    """
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            seconds[name].append(timed(call)[0])
    return seconds


def ratios(ours: Sequence[float], peer: Sequence[float]) -> Spread:
    """Ratio ours / peer, pair by pair; below 1 if ours is faster."""
    return spread([one / other for one, other in zip(ours, peer, strict=True)])


def matrix_product_flops(precision: str) -> float:
    """FLOP/s of a product of two large square matrices in JAX.

    Args:
        precision: "float32" or "bfloat16".
    """
    size = MATRIX_SIZES.get(jax.default_backend(), MATRIX_SIZES["gpu"])
    matrix = jnp.ones((size, size), precision)
    product = jax.jit(jnp.matmul)
    return best_flops(lambda: product(matrix, matrix).block_until_ready(), size)


def best_flops(product: Call, size: int) -> float:
    """FLOP/s of the fastest of a few products of two square matrices."""
    product()
    return 2 * size**3 / min(timed(product)[0] for _ in range(CEILING_CALLS))
