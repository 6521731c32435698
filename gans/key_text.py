"""Keys as text, so that any image of a set can be made again from its record."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key

from imgopt.errors import InputError

KEY_WORD = np.dtype(">u4")
"""Of a key's data: big end first, so that the text reads as a number does."""


def keys_to_text(keys: Key[Array, " n"]) -> list[str]:
    """Writes the data of keys (`jax.random.key_data`) in hexadecimal, eight digits a word.

    Args:
        keys: of any kind.
    """
    words = np.asarray(jax.random.key_data(keys)).astype(KEY_WORD)
    return [word.tobytes().hex() for word in words]


def keys_from_text(texts: Sequence[str]) -> Key[Array, " n"]:
    """Reads keys that `keys_to_text` wrote.

    Args:
        texts: of keys of JAX's default kind, at least one.

    Raises:
        InputError: a text is no such key.
    """
    digits = 2 * KEY_WORD.itemsize * jax.random.key_data(jax.random.key(0)).size
    wrong = [text for text in texts if len(text) != digits or set(text) - set("0123456789abcdef")]
    if wrong or not texts:
        raise InputError(
            f"expected keys as {digits} hexadecimal digits, at least one, got "
            f"{repr(wrong[0]) if wrong else 'none'}"
        )
    words = np.frombuffer(bytes.fromhex("".join(texts)), KEY_WORD)
    data = jnp.asarray(words.astype(np.uint32)).reshape(len(texts), -1)
    return jax.random.wrap_key_data(data)
