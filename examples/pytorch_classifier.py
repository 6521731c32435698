"""A PyTorch network as a classifier for `imgopt.synthesize`.

JAX calls the network on the host, so every update moves the images to it and back. It is the way
to use a network as it is; to make many images, convert its weights to a JAX library.

Needs `torch`, which Elicit does not install.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import torch
from jaxtyping import Array, Float


def from_pytorch(module: torch.nn.Module, *, num_classes: int) -> Callable:
    """Makes a classifier of a PyTorch module, with the module's own gradient.

    Its weights are those of the moment of each call.

    Args:
        module: takes float32 images (n, c, h, w) in [0, 1] to logits (n, k), in evaluation mode.
        num_classes: number of logits, k.
    """

    # Under `jax.vmap`, "broadcast_all" gives the host one array with one more axis in front.
    def logits_on_host(images: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return module(_to_torch(images)).numpy().reshape(*images.shape[:-3], num_classes)

    def gradient_on_host(images: np.ndarray, cotangents: np.ndarray) -> np.ndarray:
        given = _to_torch(images).requires_grad_()
        change = torch.tensor(np.asarray(cotangents)).reshape(-1, num_classes)
        (gradient,) = torch.autograd.grad(module(given), given, change)
        return gradient.permute(0, 2, 3, 1).numpy().reshape(images.shape)

    @jax.custom_vjp
    def classify(images: Float[Array, "n h w c"]) -> Float[Array, "n k"]:
        like = jax.ShapeDtypeStruct((len(images), num_classes), jnp.float32)
        return jax.pure_callback(logits_on_host, like, images, vmap_method="broadcast_all")

    def pull_back(images: Array, cotangents: Array) -> tuple[Array]:
        like = jax.ShapeDtypeStruct(images.shape, images.dtype)
        call = jax.pure_callback
        return (call(gradient_on_host, like, images, cotangents, vmap_method="broadcast_all"),)

    classify.defvjp(lambda images: (classify(images), images), pull_back)
    return classify


def _to_torch(images: np.ndarray) -> torch.Tensor:
    """Images of any number of batch axes, as (n, c, h, w)."""
    images = np.asarray(images)
    return torch.tensor(images.reshape(-1, *images.shape[-3:])).permute(0, 3, 1, 2)
