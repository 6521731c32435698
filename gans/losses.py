"""Losses of GANs, from logits and features, one value an example.

A logit l says "real": D = sigmoid(l). Weights and terms are those of Huang et al. 2017, eqs. 2 to
5, the adversarial ones of Goodfellow et al. 2014, section 3.
"""

from dataclasses import dataclass
from typing import Literal, TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from imgopt.errors import InputError

AdversarialForm = Literal["non-saturating", "saturating"]

Tree = TypeVar("Tree")


@dataclass(frozen=True)
class LossWeights:
    """Factors of the three losses of a Stacked GAN's level (its official code)."""

    adversarial: float = 1.0
    """Of the game between generator and discriminator."""
    conditional: float = 1.0
    """Of the distance between the features asked for and those of what was made."""
    entropy: float = 10.0
    """Of the error in guessing the noise from what was made of it."""

    def __post_init__(self) -> None:
        """Refuses negative weights.

        Raises:
            InputError: a weight is negative or not finite.
        """
        for name, weight in vars(self).items():
            if not 0 <= weight < float("inf"):
                raise InputError(f"the {name} weight must be at least 0 and finite, got {weight}")


def frozen(tree: Tree) -> Tree:
    """The same arrays, as constants for the gradient: the side of the game that does not move.

    The discriminator learns from `frozen(generated images)`; the generator through a discriminator
    with `frozen(variables)`.
    """
    return jax.lax.stop_gradient(tree)


def discriminator_loss(
    real_logits: Float[Array, " n"], fake_logits: Float[Array, " n"]
) -> Float[Array, " n"]:
    """Half of -log D(real) - log(1 - D(fake)); log 2 where the discriminator knows nothing.

    Half, as in the Stacked GAN's official code, whose bounds for the number of generator's steps
    it fits.

    Args:
        real_logits: of data.
        fake_logits: of as many generated examples, from another pass.

    Raises:
        InputError: the shapes differ.
    """
    if real_logits.shape != fake_logits.shape:
        raise InputError(
            "a discriminator is judged on as many real as generated examples, got logits of shape "
            f"{real_logits.shape} and {fake_logits.shape}"
        )
    return (jax.nn.softplus(-real_logits) + jax.nn.softplus(fake_logits)) / 2


def generator_loss(
    fake_logits: Float[Array, " n"], *, form: AdversarialForm = "non-saturating"
) -> Float[Array, " n"]:
    """What the generator loses where the discriminator sees through it.

    non-saturating: -log D(fake), steep where the generator is bad, hence the default.
    saturating: log(1 - D(fake)), the discriminator's own term with the other sign; flat there.

    Raises:
        InputError: the form is unknown.
    """
    if form == "non-saturating":
        return jax.nn.softplus(-fake_logits)
    if form == "saturating":
        return -jax.nn.softplus(fake_logits)
    raise InputError(f'form must be "non-saturating" or "saturating", got {form!r}')


def feature_loss(found: Float[Array, "n ..."], wanted: Float[Array, "n ..."]) -> Float[Array, " n"]:
    """Mean squared difference over all features of an example.

    The conditional loss where the condition is not the label (Huang et al., eq. 3), between the
    encoder's features of what was made and those it was made for; and the entropy loss (eq. 5),
    between the guessed noise and the true one. There 1/12, the variance of uniform noise on
    [0, 1), is what guessing the mean gives: below it something is learnt.

    Raises:
        InputError: the shapes differ.
    """
    if found.shape != wanted.shape:
        raise InputError(f"shapes must be equal, got {found.shape} and {wanted.shape}")
    return jnp.square(found - wanted).reshape(len(found), -1).mean(1)


def conditional_loss(
    found: Float[Array, "n ..."], condition: Float[Array, "n ..."], *, is_label: bool
) -> Float[Array, " n"]:
    """Whether the encoder finds again in what was made what it was made for.

    Args:
        found: the encoder's features, or its logits where the condition is the label.
        condition: features, or the label's distribution (one-hot).
        is_label: cross entropy -Σ t log softmax(found) in nats, instead of `feature_loss`.

    Raises:
        InputError: the shapes differ.
    """
    if not is_label:
        return feature_loss(found, condition)
    if found.shape != condition.shape or found.ndim != 2:
        raise InputError(
            "logits and one-hot labels must have one shape (n, k), got "
            f"{found.shape} and {condition.shape}"
        )
    return -(condition * jax.nn.log_softmax(found)).sum(1)


def entropy_loss(guess: Float[Array, "n z"], noise: Float[Array, "n z"]) -> Float[Array, " n"]:
    """Mean squared error of Q's guess of the noise (Huang et al., eq. 5); see `feature_loss`.

    It stands in the generator's loss and in the discriminator's, whose head Q is.

    Raises:
        InputError: the shapes differ.
    """
    return feature_loss(guess, noise)


def weighted_sum(
    weights: LossWeights,
    *,
    adversarial: Float[Array, "*n"],
    conditional: Float[Array, "*n"] | None = None,
    entropy: Float[Array, "*n"] | None = None,
) -> Float[Array, "*n"]:
    """A level's loss: λ1·adversarial + λ2·conditional + λ3·entropy (Huang et al., eq. 2).

    The discriminator's has no conditional term, and a GAN without encoder and head Q the first one
    alone.
    """
    total = weights.adversarial * adversarial
    if conditional is not None:
        total += weights.conditional * conditional
    if entropy is not None:
        total += weights.entropy * entropy
    return total
