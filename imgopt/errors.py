"""The error for wrong input, and checks of single values that tell what is wrong input.

JAX is imported where it is used, since the command line's options need the error and no JAX.
"""

from typing import Any

import numpy as np
from jaxtyping import Key


class InputError(ValueError):
    """Wrong input: the message says what was expected, what came, and what to do.

    The command line shows it as one line and exits with status 2. Any other exception is a bug in
    Elicit and keeps its traceback.
    """


def is_number(value: Any) -> bool:
    """Whether a value is one real number: of Python, of NumPy, or an array without axes."""
    import jax
    import jax.numpy as jnp

    if isinstance(value, jax.Array | np.generic | np.ndarray):
        return value.ndim == 0 and jnp.issubdtype(value.dtype, np.number)
    return isinstance(value, float | int) and not isinstance(value, bool)


def is_integer(value: Any, *, least: int = 0) -> bool:
    """Whether a value is one integer of Python or NumPy, and no truth value.

    Args:
        value: the value.
        least: the smallest number that will do.
    """
    is_whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    return is_whole and bool(value >= least)


def typed_key(key: Any) -> Key[Any, "*groups"]:
    """Makes a typed key of one that `jax.random.PRNGKey` made; typed keys stay as they are.

    Args:
        key: one key or an array of keys.

    Raises:
        InputError: it is no key.
    """
    import jax
    import jax.numpy as jnp

    dtype = getattr(key, "dtype", None)
    if dtype is not None and jnp.issubdtype(dtype, jax.dtypes.prng_key):
        return key
    if dtype != np.uint32 or not np.ndim(key):
        raise InputError(f"expected a key, such as jax.random.key(0), got {key!r:.80}")
    return jax.random.wrap_key_data(key)
