"""The error for wrong input, checks of single values, and other libraries' errors in one line.

JAX is imported where it is used, since the command line's options need the error and no JAX.
"""

import re
import traceback
from typing import Any

import numpy as np
from jaxtyping import Key

OWN_PACKAGES = ("imgopt", "train", "gans", "experiments")


class InputError(ValueError):
    """Wrong input: the message says what was expected, what came, and what to do.

    The command line shows it as one line and exits with status 2. Any other exception is a bug in
    Elicit and keeps its traceback.
    """


def is_own_fault(error: BaseException) -> bool:
    """Whether a line of Elicit raised an error, and not a library that it calls.

    Libraries raise errors of many kinds for damaged files, so all kinds are caught around them.
    This tells a bug of our own from damage.

    Args:
        error: a caught error.
    """
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    return frames[-1].f_globals.get("__name__", "").partition(".")[0] in OWN_PACKAGES


def is_number(value: Any) -> bool:
    """Whether a value is one real number: of Python, of NumPy, or an array without axes."""
    import jax
    import jax.numpy as jnp

    if isinstance(value, jax.Array | np.generic | np.ndarray):
        return value.ndim == 0 and jnp.issubdtype(value.dtype, np.number)
    return isinstance(value, float | int) and not isinstance(value, bool)


def is_integer(value: Any, *, least: int = 0) -> bool:
    """Whether a value is one integer of Python or NumPy, and not a bool.

    Args:
        value: the value.
        least: the smallest allowed number.
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


def first_line(error: Exception) -> str:
    """The first line of an error's message, or its kind where it has none."""
    return next(iter(str(error).splitlines()), type(error).__name__)


_NOT_TRACEABLE = (
    "; JAX traces the classifier: it can neither use NumPy on the images nor branch on their values"
)
_NOT_EVALUATION = "; synthesis needs evaluation mode: no dropout, and no statistics of the batch"
_HINTS = {
    "ConcretizationTypeError": _NOT_TRACEABLE,
    "TracerArrayConversionError": _NOT_TRACEABLE,
    "InvalidRngError": _NOT_EVALUATION,
    "ModifyScopeVariableError": _NOT_EVALUATION,
    "TraceContextError": _NOT_EVALUATION,
    "UnexpectedTracerError": "; it keeps values of its last call, as layers in training mode do: "
    "load it anew, and call it in evaluation mode",
}
"""What to do, by the name of another library's error."""


def explain(error: Exception) -> str:
    """Another library's message in one line, and what to do where that is known."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", str(error) or type(error).__name__)  # without colours
    # What JAX adds is about its own traceback, about our function, or about its source.
    text = re.split(
        r"\n-----|The error occurred while|This concrete value|A function transf", text
    )[0]
    hints = [_HINTS[kind.__name__] for kind in type(error).__mro__ if kind.__name__ in _HINTS]
    return " ".join(text.split()).rstrip(".") + "".join(hints[:1])
