"""Losses of GANs, from logits and features, one value an example.

A discriminator's logit l stands for the probability D = sigmoid(l) that an example is real. Weights
and terms are from Huang et al. 2017, eqs. 2 to 5; the adversarial terms are from Goodfellow et al.
2014, section 3, and the relativistic one is from Huang et al. 2024, "The GAN is dead; long live the
GAN!" (R3GAN).
"""

from typing import get_args

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from gans.options.training import AdversarialForm, LossWeights
from imgopt.errors import InputError
from train.losses import sum_over_classes


def discriminator_loss(
    real_logits: Float[Array, " n"],
    fake_logits: Float[Array, " n"],
    *,
    form: AdversarialForm = "non-saturating",
) -> Float[Array, " n"]:
    """The discriminator's adversarial loss; it is log 2 for an untrained discriminator.

    relativistic: -log sigmoid(real - fake), for pairs of logits: of a real example and of a
    generated one with the same condition.
    Otherwise: half of -log D(real) - log(1 - D(fake)). The Stacked GAN's official code takes half
    too, and its bounds for the number of generator updates assume it.

    Args:
        real_logits: logits of real examples.
        fake_logits: logits of as many generated examples, from another pass.
        form: form of the loss.

    Raises:
        InputError: the shapes differ, or the form is unknown.
    """
    _check_form(form)
    _check_pairs(real_logits, fake_logits)
    if form == "relativistic":
        return jax.nn.softplus(fake_logits - real_logits)
    return (jax.nn.softplus(-real_logits) + jax.nn.softplus(fake_logits)) / 2


def generator_loss(
    fake_logits: Float[Array, " n"],
    real_logits: Float[Array, " n"] | None = None,
    *,
    form: AdversarialForm = "non-saturating",
) -> Float[Array, " n"]:
    """The generator's adversarial loss.

    non-saturating: -log D(fake), the default, which is steep for a bad generator.
    saturating: log(1 - D(fake)), the discriminator's term with opposite sign, which is flat for a
    bad generator.
    relativistic: -log sigmoid(fake - real), the discriminator's loss with the two exchanged.

    Args:
        fake_logits: logits of generated examples.
        real_logits: logits of real examples, for the relativistic form only; example i has the
            condition of generated example i.
        form: form of the loss.

    Raises:
        InputError: the form is unknown, or lacks or does not take the logits of real examples.
    """
    _check_form(form)
    if (form == "relativistic") != (real_logits is not None):
        raise InputError(
            "the relativistic form, and no other, takes the logits of real examples; got form "
            f"{form!r} {'without' if real_logits is None else 'with'} them"
        )
    if real_logits is not None:
        _check_pairs(real_logits, fake_logits)
        return jax.nn.softplus(real_logits - fake_logits)
    if form == "non-saturating":
        return jax.nn.softplus(-fake_logits)
    return -jax.nn.softplus(fake_logits)


def _check_form(form: str) -> None:
    known = get_args(AdversarialForm)
    if form not in known:
        raise InputError(f"form must be one of {', '.join(known)}, got {form!r}")


def _check_pairs(real_logits: Array, fake_logits: Array) -> None:
    if real_logits.shape != fake_logits.shape:
        raise InputError(
            "the loss takes as many generated examples as real ones, got logits of shape "
            f"{real_logits.shape} and {fake_logits.shape}"
        )


def gradient_penalty(gradients: Float[Array, "n ..."]) -> Float[Array, " n"]:
    """Squared norm of each example's gradient, `‖∇D(x)‖²`, which pulls the gradient towards zero.

    With γ/2 before it, it is R1 on real examples (Mescheder et al. 2018, eq. 9) and R2 on generated
    ones (eq. 10). It is a sum over an example's features, so it grows with their number.

    Args:
        gradients: gradient of each example's logit by that example.
    """
    return jnp.square(gradients).reshape(len(gradients), -1).sum(1)


def feature_loss(found: Float[Array, "n ..."], wanted: Float[Array, "n ..."]) -> Float[Array, " n"]:
    """Mean squared difference over all features of an example.

    It serves as the conditional loss between the encoder's features of a generated example and its
    condition, if that is not a label (Huang et al., eq. 3). And it serves as the entropy loss
    between Q's estimate of the noise and the noise, for generator and discriminator (eq. 5): there,
    an estimate that is always the mean has a loss of 1/12, the variance of uniform noise on [0, 1).

    Raises:
        InputError: the shapes differ.
    """
    if found.shape != wanted.shape:
        raise InputError(f"shapes must be equal, got {found.shape} and {wanted.shape}")
    return jnp.square(found - wanted).reshape(len(found), -1).mean(1)


def conditional_loss(
    found: Float[Array, "n ..."], condition: Float[Array, "n ..."], *, is_label: bool
) -> Float[Array, " n"]:
    """Distance between the encoder's features of generated examples and their condition.

    Args:
        found: the encoder's features; its logits if the condition is the label.
        condition: features, or one-hot labels t.
        is_label: take the cross entropy -Σ t log softmax(found) in nats, not `feature_loss`. A
            class with t = 0 counts 0, even if its logit is -inf.

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
    return -sum_over_classes(condition, jax.nn.log_softmax(found))


def weighted_sum(
    weights: LossWeights,
    *,
    adversarial: Float[Array, "*n"],
    conditional: Float[Array, "*n"] | None = None,
    entropy: Float[Array, "*n"] | None = None,
) -> Float[Array, "*n"]:
    """Total loss of a level: λ1·adversarial + λ2·conditional + λ3·entropy (Huang et al., eq. 2).

    A discriminator has no conditional term. A GAN without encoder and head Q has the first term
    only.
    """
    total = weights.adversarial * adversarial
    if conditional is not None:
        total += weights.conditional * conditional
    if entropy is not None:
        total += weights.entropy * entropy
    return total
