"""Views of the examples of a batch: their soft targets, and the network's outputs for them."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from imgopt.classifier import Classify
from train.recipes.options import Recipe
from train.recipes.targets import blend, mean_log_output, set_where, smooth

OUTPUT_SHARE = 0.5
"""Share of the output in the target of a made image with the mixed loss (A, eq. 9)."""


class View(NamedTuple):
    """One view of every example of a batch.

    Attributes:
        images: In [0, 1], as augmented.
        outputs: q of made images; not used for others.
        is_made: Which images are made.
    """

    images: Float[Array, "n h w c"]
    outputs: Float[Array, "n k"]
    is_made: Bool[Array, " n"]


class Statistics(NamedTuple):
    """Variables that are no parameters, such as batch norm's statistics.

    Attributes:
        own: Those that evaluation uses.
        auxiliary: Those of made images, where they are kept apart (AdvProp: Xie et al. 2020,
            section 4; there the scale and the bias are apart too, here they are shared); else None.
    """

    own: dict[str, Any]
    auxiliary: dict[str, Any] | None


def view_targets(
    view: View,
    labels: Float[Array, "n k"],
    teachers: Sequence[Classify],
    *,
    recipe: Recipe,
    is_mixed: bool,
) -> Float[Array, "n k"]:
    """Soft targets of a view: its smoothed labels, outputs of made images, and teachers' outputs.

    Args:
        view: The images.
        labels: One-hot labels.
        teachers: Functions from images in [0, 1] to logits; none if nobody is asked.
        recipe: The options.
        is_mixed: Whether the target of a made image is (u + t)/2, where u is its output and t its
            label, as in paper A. Otherwise it is u alone.
    """
    target = smooth(labels, recipe.label_smoothing)
    asked = None
    if teachers:
        asked = jnp.exp(jax.lax.stop_gradient(mean_log_output(teachers, view.images)))
    kind = recipe.labels or ("set" if is_mixed else "class")
    if kind != "class":
        outputs = jnp.asarray(view.outputs, jnp.float32)
        outputs = asked if kind == "teacher" and asked is not None else outputs
        made = blend(target, outputs, weight=OUTPUT_SHARE if is_mixed else 1.0)
        target = set_where(jnp.asarray(view.is_made), made, target)
    return target if asked is None else blend(target, asked, weight=recipe.teacher_weight)


def apply_to_views(
    network: Any, params: Any, statistics: Statistics, views: Sequence[Array], rngs: Array
) -> tuple[Array, Statistics]:
    """Applies a network in training: the logits of all views, and the new statistics.

    Without auxiliary statistics all views are one batch. With them, the first view is a batch of
    its own, and the others are one with the auxiliary statistics.

    Args:
        network: Linen module.
        params: Its parameters.
        statistics: Its other variables.
        views: Normalised images, those of made images last.
        rngs: Key of what the network draws.
    """

    def apply(own: dict[str, Any], images: Array, rngs: Array) -> tuple[Array, dict[str, Any]]:
        logits, updated = network.apply(
            {"params": params, **own}, images, train=True, mutable=list(own), rngs=rngs
        )
        return logits, dict(updated)

    own, auxiliary = statistics
    if auxiliary is None:
        logits, own = apply(own, joined(views), rngs)
        return logits, Statistics(own, None)
    logits, own = apply(own, views[0], rngs)
    if len(views) > 1:
        made, auxiliary = apply(auxiliary, joined(views[1:]), jax.random.fold_in(rngs, 1))
        logits = jnp.concatenate([logits, made])
    return logits, Statistics(own, auxiliary)


def joined(parts: Sequence[Any]) -> Array:
    """Concatenates the examples of several batches; a single one stays as it is."""
    return parts[0] if len(parts) == 1 else jnp.concatenate(parts)
