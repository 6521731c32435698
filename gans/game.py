"""Adversarial training of generators and discriminators, as one jitted step for `train.fit`.

A GAN is a chain of pairs of networks, a generator and its discriminator. A DCGAN is a chain of one
pair. A Stacked GAN has one pair for each level, the image's level first. The top generator takes
the real condition; each other one takes what the generator above it has made. One level alone, on
real features, is trained as a chain of one pair; joint training trains the whole chain.
"""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Key

from gans.blocks import DiscriminatorOutput, input_gradients
from gans.losses import (
    discriminator_loss,
    feature_loss,
    generator_loss,
    gradient_penalty,
    weighted_sum,
)
from gans.options.training import AdversarialForm, GameConfig
from gans.pairs import GanData, GeneratedBatch, NetworkPair, Variables, check_gan_data
from imgopt.programs import standard_promotion
from train.learner import TrainState

ADAPTIVE_STEPS = ((0.65, 1), (0.5, 3), (0.3, 5), (0.0, 7))
"""Bounds on the discriminator's loss, and generator updates above each (Huang et al., code)."""

LOWER_LEVEL_WEIGHT = 0.01
"""Weight of a level's loss for the level above, in joint training (Huang et al., code)."""

BETA1 = 0.5
"""Adam's β1, the decay of the mean gradient (Radford et al. 2016, section 4)."""


@dataclass(frozen=True)
class GanLearner:
    """A chain of pairs in training, for `train.fit`; its data is a `GanData`.

    The variables are "generators", "discriminators" and, with averaging, "average" (the averaged
    generators). Each is a dict by the pairs' targets.

    Attributes:
        pairs: the pairs of networks, the image's first.
        config: how they are trained.
        learning_rate: Adam's learning rate.
    """

    pairs: tuple[NetworkPair, ...]
    config: GameConfig
    learning_rate: float

    def check(self, data: GanData) -> None:
        """Raises InputError for images that are not uint8, or labels that are no classes."""
        check_gan_data(data, num_classes=self.pairs[-1].num_classes)

    def initial(self, key: Key[Array, ""]) -> TrainState:
        """Draws all networks and initialises the optimisers."""
        drawn = {
            pair.target: pair.initial(jax.random.fold_in(key, index))
            for index, pair in enumerate(self.pairs)
        }
        return self.state_of(
            {target: networks[0] for target, networks in drawn.items()},
            {target: networks[1] for target, networks in drawn.items()},
        )

    def state_of(self, generators: Variables, discriminators: Variables) -> TrainState:
        """First state of a training that starts from given networks, by target."""
        variables = {"generators": generators, "discriminators": discriminators}
        opt_state = {side: self._optimizer.init(_params(variables[side])) for side in variables}
        if self.config.averaging:
            variables["average"] = jax.tree.map(jnp.copy, generators)  # each buffer is donated once
            opt_state["average"] = optax.ema(self.config.averaging).init(generators)
        return TrainState(variables, opt_state)

    @property
    def _optimizer(self) -> optax.GradientTransformation:
        return optax.adam(self.learning_rate, b1=BETA1)

    def update(
        self, key: Key[Array, ""], state: TrainState, batch: GanData, constants: Any
    ) -> tuple[TrainState, dict[str, Array]]:
        """One update of the discriminators, then one or more of the generators.

        Returns:
            The new state and the metrics: mean losses without penalties, the discriminators'
            accuracy (on equally many real and generated examples; of the relativistic form, on
            pairs of them), mean squared norms of their gradients if penalised, the errors of the
            head Q and of the encoder's features, and the number of generator updates. With several
            pairs, a metric's name is "<name>_<target>".
        """
        key, key_discriminators = jax.random.split(key)
        condition = self.pairs[-1].condition(batch, constants)
        real = {pair.target: pair.real(batch, constants) for pair in self.pairs}
        state, metrics = self._update_discriminators(key_discriminators, state, real, condition)
        losses = jnp.stack([metrics[self._named("discriminator_loss", p)] for p in self.pairs])
        count = self._count_generator_steps(losses.mean())
        state, generator_metrics = self._update_generators(
            key, state, real, condition, count, constants
        )
        return self._average(state), {**metrics, **generator_metrics, "generator_steps": count}

    def _update_discriminators(
        self, key: Key[Array, ""], state: TrainState, real: dict[str, Array], condition: Any
    ) -> tuple[TrainState, dict[str, Array]]:
        key, key_noise = jax.random.split(key)
        fake, _ = self._generate(key_noise, state.variables["generators"], condition, _count(real))
        fake = jax.lax.stop_gradient(fake)

        def losses(params, variables):
            total, metrics, updated = jnp.float32(0), {}, {}
            for index, pair in enumerate(self.pairs):
                name = pair.target
                keys = jax.random.split(jax.random.fold_in(key, index))
                before = {**variables[name], "params": params[name]}
                # Two passes: real and generated examples never share a batch norm's statistics.
                on_real, between = pair.discriminate(
                    keys[0], before, real[name], fake[name].condition
                )
                on_fake, after = pair.discriminate(keys[1], between, *fake[name][:2])
                form = self.config.form
                adversarial = discriminator_loss(on_real.logits, on_fake.logits, form=form).mean()
                penalties = self._penalties(pair, keys, (before, between), (real[name], fake[name]))
                total += weighted_sum(
                    pair.weights,
                    adversarial=sum(penalties.values(), start=adversarial),
                    entropy=_noise_error(on_fake, fake[name]),
                )
                found = {
                    "discriminator_loss": adversarial,
                    "discriminator_accuracy": _accuracy(on_real, on_fake, form=form),
                    **penalties,
                }
                metrics |= {self._named(metric, pair): found[metric] for metric in found}
                updated[name] = after
            return total, (updated, metrics)

        return self._descend("discriminators", state, losses)

    def _penalties(
        self,
        pair: NetworkPair,
        keys: Array,
        variables: tuple[Variables, Variables],
        examples: tuple[Array, GeneratedBatch],
    ) -> dict[str, Array]:
        """Mean penalties of a discriminator's gradients, by their metrics' names.

        As in R3GAN's code, the gradients are those by the examples as they are before augmentation.

        Args:
            pair: the pair.
            keys: keys of the augmentations, of real and of generated examples.
            variables: the discriminator's, before its pass on each.
            examples: real ones and generated ones.
        """
        real, fake = examples
        sides = {
            "r1_penalty": (self.config.r1, real),
            "r2_penalty": (self.config.r2, fake.features),
        }
        found = {}
        for (name, (gamma, features)), key, before in zip(
            sides.items(), keys, variables, strict=True
        ):

            def discriminate(variables, x, train, key=key):
                return pair.discriminate(key, variables, x, fake.condition, train=train)

            if gamma:
                gradients = input_gradients(discriminate, before, features)
                found[name] = gamma / 2 * gradient_penalty(gradients).mean()
        return found

    def _update_generators(
        self, key: Key[Array, ""], state: TrainState, real: dict[str, Array], condition: Any,
        count: Array, constants: Any,
    ) -> tuple[TrainState, dict[str, Array]]:  # fmt: skip
        discriminators = jax.lax.stop_gradient(state.variables["discriminators"])

        def step(index, state):
            key_noise, key_augment = jax.random.split(jax.random.fold_in(key, index))

            def losses(params, variables):
                generators = {n: {**variables[n], "params": params[n]} for n in variables}
                fake, updated = self._generate(key_noise, generators, condition, _count(real))
                total, metrics = self._generator_losses(
                    key_augment, real, fake, discriminators, constants
                )
                return total, (updated, metrics)

            return self._descend("generators", state, losses)

        state, metrics = step(0, state)
        if self.config.generator_steps == "1":
            return state, metrics
        return jax.lax.fori_loop(1, count, lambda i, carry: step(i, carry[0]), (state, metrics))

    def _generator_losses(
        self,
        key: Key[Array, ""],
        real: dict[str, Array],
        fake: dict[str, GeneratedBatch],
        discriminators: Variables,
        constants: Any,
    ) -> tuple[Array, dict[str, Array]]:
        """The sum of all pairs' losses, and its parts as metrics."""
        total, metrics = jnp.float32(0), {}
        for index, pair in enumerate(self.pairs):
            name = pair.target
            own_key = jax.random.fold_in(key, index)
            output, _ = pair.discriminate(own_key, discriminators[name], *fake[name][:2])
            on_real = None
            if self.config.form == "relativistic":
                real_key = jax.random.fold_in(key, len(self.pairs) + index)
                on_real = pair.discriminate(
                    real_key, discriminators[name], real[name], fake[name].condition
                )[0].logits
            adversarial = generator_loss(output.logits, on_real, form=self.config.form)
            parts = {
                "adversarial": adversarial.mean(),
                "conditional": pair.conditional_loss(fake[name], constants),
                "entropy": _noise_error(output, fake[name]),
            }
            total += weighted_sum(pair.weights, **parts)
            for part, metric in GENERATOR_METRICS.items():
                if parts[part] is not None:
                    metrics[self._named(metric, pair)] = parts[part]
        return total, metrics

    def _generate(
        self, key: Key[Array, ""], generators: Variables, condition: Any, count: int
    ) -> tuple[dict[str, GeneratedBatch], Variables]:
        """Generates from the top of the chain down; also returns the updated variables."""
        fake, updated = {}, {}
        for index, pair in reversed(list(enumerate(self.pairs))):
            noise = pair.draw_noise(jax.random.fold_in(key, index), count)
            variables = generators[pair.target]
            features, updated[pair.target] = pair.generate(variables, condition, noise)
            fake[pair.target] = GeneratedBatch(features, condition, noise)
            condition = _scale_gradient(features, LOWER_LEVEL_WEIGHT)
        return fake, updated

    def _descend(self, side: str, state: TrainState, losses: Any) -> tuple[TrainState, Any]:
        """One update of all generators, or of all discriminators."""
        variables = state.variables[side]
        params = _params(variables)
        gradients, (updated, metrics) = jax.grad(losses, has_aux=True)(params, variables)
        with standard_promotion():
            change, opt_state = self._optimizer.update(gradients, state.opt_state[side], params)
        moved: Any = optax.apply_updates(params, change)
        variables = {name: {**updated[name], "params": moved[name]} for name in variables}
        return TrainState(
            {**state.variables, side: variables}, {**state.opt_state, side: opt_state}
        ), metrics

    def _count_generator_steps(self, loss: Array) -> Array:
        if self.config.generator_steps != "adaptive":
            return jnp.int32(int(self.config.generator_steps))
        bounds, counts = zip(*ADAPTIVE_STEPS, strict=True)
        above = [loss > bound for bound in bounds[:-1]]
        *more, most = map(jnp.int32, counts)
        return jnp.select(above, more, most)

    def _average(self, state: TrainState) -> TrainState:
        if not self.config.averaging:
            return state
        with standard_promotion():
            average, opt_state = optax.ema(self.config.averaging).update(
                state.variables["generators"], state.opt_state["average"]
            )
        return TrainState(
            {**state.variables, "average": average}, {**state.opt_state, "average": opt_state}
        )

    def _named(self, name: str, pair: NetworkPair) -> str:
        return name if len(self.pairs) == 1 else f"{name}_{pair.target}"


def trained_generators(variables: Variables) -> Variables:
    """Generators to sample from, out of a `GanLearner`'s variables: their average, if there is one.

    Args:
        variables: `TrainState.variables` of the last epoch.

    Returns:
        The generators' variables by the features that they generate, as `gans.Gan` takes them.

    Example:
        >>> trained_generators({"generators": {"image": 1}, "average": {"image": 2}})
        {'image': 2}
    """
    return variables.get("average", variables["generators"])


GENERATOR_METRICS = {
    "adversarial": "generator_loss",
    "conditional": "feature_error",
    "entropy": "entropy_error",
}
"""Names of the metrics for the parts of a generator's loss."""


def _params(variables: Variables) -> Variables:
    return {name: networks["params"] for name, networks in variables.items()}


def _count(examples: dict[str, Array]) -> int:
    return len(next(iter(examples.values())))


def _accuracy(
    on_real: DiscriminatorOutput, on_fake: DiscriminatorOutput, *, form: AdversarialForm
) -> Float[Array, ""]:
    """Share of right answers; a relativistic discriminator's logits have no zero of their own."""
    if form == "relativistic":
        return (on_real.logits > on_fake.logits).mean(dtype=jnp.float32)
    right = jnp.stack([on_real.logits > 0, on_fake.logits < 0])
    return right.mean(dtype=jnp.float32)


def _noise_error(output: DiscriminatorOutput, generated: GeneratedBatch) -> Array | None:
    """Mean error of the head Q; None without one."""
    if output.noise_guess is None:
        return None
    return feature_loss(output.noise_guess, generated.noise).mean()


def _scale_gradient(x: Array, factor: float) -> Array:
    """Returns x unchanged, but multiplies the gradient through it by `factor`."""
    return factor * x + (1 - factor) * jax.lax.stop_gradient(x)
