"""JAX's default promotion of types and ranks, for code of other libraries that relies on it.

Our own code works under jax_numpy_dtype_promotion="strict" and jax_numpy_rank_promotion="raise".
Optax does not (Adam computes b1**count, a float to the power of an integer array), nor do Flax's
normalisations in bfloat16 (their statistics are float32).
"""

import contextlib
from collections.abc import Iterator

import jax


@contextlib.contextmanager
def standard_promotion() -> Iterator[None]:
    """Calls inside this context promote types and ranks as JAX does by default."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield
