"""The arithmetic of a network, counted from its layers rather than from what a compiler makes.

A multiplication and an addition are 2 FLOP. Convolutions, transposed ones and dense layers count;
what stands between them does not, nor does the cleverness with which they are computed: a padding
zero is multiplied, in the count. So the number is the same for both sides of a comparison.
"""

import math
from typing import Any

import flax.linen as nn
import jax

from train.models.layers import Conv
from train.models.transposed import TransposedConv

IMAGE_UPDATE = 2
"""Forward passes that an update of images counts as, since nothing else has a gradient."""

TRAINING_UPDATE = 3
"""Forward passes that an update of parameters counts as: the customary count, with a gradient of
the images that nobody asks for."""


def forward_flop(network: nn.Module, *inputs: Any, **options: Any) -> dict[str, int]:
    """FLOP of one forward pass, by layer; nothing is computed.

    Args:
        network: of our layers.
        *inputs: arrays, or `jax.ShapeDtypeStruct`, with the batch in front.
        **options: of the network's call, such as `train=False`.

    Returns:
        2 · positions · kernel entries for each layer: positions of a convolution's result, of a
        transposed one's images, and one an example for a dense layer.
    """
    counts: dict[str, int] = {}

    def count(layer: Any, args: Any, kwargs: Any, context: nn.module.InterceptorContext) -> Any:
        result = layer(*args, **kwargs)
        module = context.module
        if context.method_name == "__call__" and isinstance(
            module, Conv | TransposedConv | nn.Dense
        ):
            at_each = args[0] if isinstance(module, TransposedConv) else result
            kernel = module.variables["params"]["kernel"]
            name = "/".join(module.path)
            counts[name] = 2 * math.prod(at_each.shape[:-1]) * math.prod(kernel.shape)
        return result

    with nn.intercept_methods(count):
        jax.eval_shape(lambda *inputs: network.init(jax.random.key(0), *inputs, **options), *inputs)
    return counts


def total(counts: dict[str, int]) -> int:
    """FLOP of all layers together."""
    return sum(counts.values())


def synthesis_flop(forward: int, *, steps: int) -> int:
    """FLOP of so many updates of images, and of the forward pass that measures the result.

    Args:
        forward: FLOP of a forward pass of the classifier.
        steps: updates.
    """
    return (IMAGE_UPDATE * steps + 1) * forward
