"""Linen modules of any author, made by name and called in one way."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from imgopt.errors import InputError
from train.models.layers import DTypeLike

MakeModule = nn.Module | Callable[..., Any]
"""A Linen module, its class, or a function that makes one; see `make_module`."""

TRAINING_FLAGS = {
    "train": True,
    "training": True,
    "is_training": True,
    "deterministic": False,
    "use_running_average": False,
}
"""Names that a module may give its flag of training mode, and the flag's value in training."""


@dataclass(frozen=True)
class Network:
    """A Linen module from normalised images to logits, with one way to call it.

    Attributes:
        name: name for messages.
        module: the module; its parameters are the collection "params".
    """

    name: str
    module: nn.Module

    def init(self, key: Any, images: Any, *, train: bool = False) -> dict[str, Any]:
        """Draws the variables, by name of their collection."""
        return dict(self.module.init(key, images, **self._flag(train)))

    def apply(
        self,
        variables: Mapping[str, Any],
        images: Float[Array, "n h w c"],
        *,
        train: bool,
        features: bool = False,
        **options: Any,
    ) -> Any:
        """Computes logits, or the inputs of the last dense layer.

        Args:
            variables: as `init` gives them.
            images: normalised.
            train: batch norm uses the batch's statistics and updates the running ones, dropout
                drops; otherwise neither.
            features: the inputs of the last `flax.linen.Dense`, flattened; the logits of a module
                without one.
            **options: those of `flax.linen.Module.apply`: `mutable` and `rngs`.

        Returns:
            The logits (n, k) or features (n, d) as float32; with `mutable`, the new variables too.
        """
        inputs: list[Array] = []

        def keep_input(call: Any, args: Any, kwargs: Any, context: Any) -> Any:
            if isinstance(context.module, nn.Dense) and context.method_name == "__call__":
                inputs.append(args[0])
            return call(*args, **kwargs)

        with nn.intercept_methods(keep_input):
            result: Any = self.module.apply(variables, images, **self._flag(train), **options)
        is_mutable = options.get("mutable", False) is not False
        logits, *updated = result if is_mutable else (result,)
        if features and inputs:
            logits = inputs[-1].reshape(images.shape[0], -1)
        found = jnp.asarray(logits, jnp.float32)
        return (found, *updated) if updated else found

    def _flag(self, train: bool) -> dict[str, Any]:
        """The keyword that sets training mode; none for a module that takes images alone."""
        for name in inspect.signature(type(self.module).__call__).parameters:
            if name in TRAINING_FLAGS:
                return {name: train is TRAINING_FLAGS[name]}
        return {}


def make_module(
    make: MakeModule, name: str, *, num_classes: int, width: float, dtype: DTypeLike
) -> nn.Module:
    """Makes a Linen module.

    Args:
        make: a module; or a class or function with a parameter `num_classes`, or with a single one
            that is required, which is then the number of classes. It may have parameters `width`
            (a factor on all channel counts) and `dtype` (the precision of the computation).
        name: name for messages.
        num_classes: number of classes, k.
        width: factor on all channel counts; other than 1, `make` needs a parameter for it.
        dtype: precision; other than float32, `make` needs a parameter for it.

    Raises:
        InputError: it lacks a parameter that is needed, fails, or makes something else.
    """
    is_module = isinstance(make, nn.Module)
    accepted = vars(make) if is_module else inspect.signature(make).parameters
    options: dict[str, Any] = {}
    if width != 1:
        options["width"] = width
    if "dtype" in accepted or jnp.dtype(dtype) != jnp.float32:
        options["dtype"] = dtype
    for option, flag in (("width", "--width"), ("dtype", "--precision")):
        if option in options and (option not in accepted or (is_module and option == "width")):
            raise InputError(f"network {name} takes no {option}; leave {flag} at its default")
    if is_module:
        return make.clone(**options) if options else make
    options[_classes_parameter(make, name)] = num_classes
    try:
        module = make(**options)
    except InputError:
        raise
    except Exception as error:  # whatever the user's code raises
        raise InputError(
            f"network {name} cannot be made with {options}: {type(error).__name__}: {error}"
        ) from error
    if not isinstance(module, nn.Module):
        raise InputError(
            f"network {name} must be a Flax Linen module (flax.linen.Module), got "
            f"{type(module).__name__}"
        )
    return module


def _classes_parameter(make: Callable[..., Any], name: str) -> str:
    """Name of the parameter that takes the number of classes."""
    parameters = inspect.signature(make).parameters
    if "num_classes" in parameters:
        return "num_classes"
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    required = [p.name for p in parameters.values() if p.default is p.empty and p.kind in kinds]
    required = [each for each in required if each not in ("width", "dtype")]
    if len(required) != 1:
        raise InputError(
            f"network {name} must have a parameter num_classes, or a single required one, got "
            f"{required or 'none'}"
        )
    return required[0]


def check_traced(network: Network, image_shape: tuple[int, ...], *, num_classes: int) -> None:
    """Raises InputError unless a module gives logits and can be trained; nothing is computed."""
    images = jax.ShapeDtypeStruct((2, *image_shape), jnp.float32)
    key = jax.eval_shape(lambda: jax.random.key(0))
    try:
        before = jax.eval_shape(network.init, key, images)
        logits, after = jax.eval_shape(
            lambda key, variables, images: network.apply(
                variables, images, train=True, mutable=state_names(variables), rngs=key
            ),
            key, before, images,
        )  # fmt: skip
    except InputError:
        raise
    except Exception as error:  # whatever the user's code raises
        reason = next(iter(str(error).strip().splitlines()), "")
        raise InputError(
            f"network {network.name} cannot take images of shape {image_shape}: "
            f"{type(error).__name__}: {reason}"
        ) from error
    if logits.shape != (2, num_classes):
        raise InputError(
            f"network {network.name} must give logits of shape (2, {num_classes}) for 2 images of "
            f"{num_classes} classes, got {logits.shape}"
        )
    kept = {name: before[name] for name in state_names(before)}
    if "params" not in before or jax.tree.map(_layout, kept) != jax.tree.map(_layout, dict(after)):
        raise InputError(
            f"network {network.name} must have parameters, and other variables that keep their "
            f"shapes in training, got {sorted(before)}"
        )


def state_names(variables: Mapping[str, Any]) -> list[str]:
    """Names of the collections that training updates without a gradient, such as batch_stats."""
    return [name for name in variables if name != "params"]


def _layout(leaf: Any) -> tuple[tuple[int, ...], str]:
    return leaf.shape, str(leaf.dtype)
