"""Timing two ways of one job, in turn, in one process; and the machine's own matrix product."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

Call = Callable[[], Any]
"""Does a job once and returns when all of it is done."""

WARM_UP_CALLS = 3
"""Before any that counts: the first one compiles."""

PAUSE_SECONDS = 0.05
"""Before each call: the other side's threads go on spinning for some milliseconds."""

MATRIX_SIZES = {"cpu": 3072, "gpu": 16384}
"""Sides of the matrices whose product is the ceiling."""

CEILING_CALLS = 4


class Spread(NamedTuple):
    """Several measurements: median, smallest, largest, and how many."""

    median: float
    min: float
    max: float
    n: int


class WarmUp(NamedTuple):
    """What the calls before those that count have told.

    Attributes:
        compilation_seconds: of the first call, beyond a later one.
        call_seconds: the quickest of the later ones.
        result: of the last one.
    """

    compilation_seconds: float
    call_seconds: float
    result: Any


def spread(values: Sequence[float]) -> Spread:
    """Median, minimum and maximum of one or more measurements."""
    return Spread(statistics.median(values), min(values), max(values), len(values))


def timed(call: Call) -> tuple[float, Any]:
    """Seconds that one call takes, and its result."""
    time.sleep(PAUSE_SECONDS)
    began = time.perf_counter()
    result = call()
    return time.perf_counter() - began, result


def warm_up(call: Call) -> WarmUp:
    """Calls what has never been called, until it is ready to be timed.

    Returns:
        What compiling took, and a first idea of what a call takes.
    """
    first, *later = (timed(call) for _ in range(WARM_UP_CALLS))
    quickest = min(seconds for seconds, _ in later)
    return WarmUp(max(0.0, first[0] - quickest), quickest, later[-1][1])


def time_in_turn(calls: Mapping[str, Call], *, rounds: int) -> dict[str, list[float]]:
    """Times all calls, warmed up, alternately: ours, peer, ours, peer and so on.

    So a machine that becomes slower or busier on the way does so for all, and the n-th time of one
    can be compared with the n-th of another.

    Args:
        calls: by name.
        rounds: calls of each.

    Returns:
        Seconds, by name, in the order of the rounds.
    """
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            seconds[name].append(timed(call)[0])
    return seconds


def ratios(ours: Sequence[float], peer: Sequence[float]) -> Spread:
    """Ours over the peer, pair by pair: below 1 where ours is the quicker."""
    return spread([one / other for one, other in zip(ours, peer, strict=True)])


def matrix_product_flops(precision: str, *, size: int | None = None) -> float:
    """The most FLOP/s that a product of two large square matrices reaches, by JAX.

    Args:
        precision: "float32" or "bfloat16".
        size: side of the matrices; large for the platform if not given.
    """
    size = size or MATRIX_SIZES.get(jax.default_backend(), MATRIX_SIZES["gpu"])
    matrix = jnp.ones((size, size), precision)
    product = jax.jit(jnp.matmul)
    return best_flops(lambda: product(matrix, matrix).block_until_ready(), size)


def best_flops(product: Call, size: int) -> float:
    """FLOP/s of the quickest of a few calls of a product of two square matrices."""
    product()
    return 2 * size**3 / min(timed(product)[0] for _ in range(CEILING_CALLS))
