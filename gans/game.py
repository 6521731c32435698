"""Adversarial training of generators and discriminators, as one jitted step for `train.fit`.

A GAN is a chain of pairs of networks, a generator and its discriminator. A DCGAN is a chain of one
pair. A Stacked GAN has one pair for each level, the image's level first. The top generator takes
the real condition; each other one takes what the generator above it has made. To train one level
alone, on real features, is to train a chain of one pair; joint training trains the whole chain.
"""

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, Key, UInt8

from gans.blocks import DiscriminatorOutput
from gans.losses import (
    AdversarialForm,
    LossWeights,
    discriminator_loss,
    feature_loss,
    generator_loss,
    weighted_sum,
)
from imgopt.errors import InputError
from imgopt.programs import standard_promotion
from train.checks import check_grey_levels, check_labels
from train.learner import TrainState

ADAPTIVE_STEPS = ((0.65, 1), (0.5, 3), (0.3, 5), (0.0, 7))
"""Bounds on the discriminator's loss, and generator updates above each (Huang et al., code)."""

LOWER_LEVEL_WEIGHT = 0.01
"""Weight of a level's loss for the level above, in joint training (Huang et al., code)."""

BETA1 = 0.5
"""Adam's β1, the decay of the mean gradient (Radford et al. 2016, section 4)."""

Variables = dict[str, Any]


@dataclass(frozen=True)
class GameConfig:
    """How generators and discriminators are trained against each other."""

    generator_steps: Literal["1", "2", "3", "5", "7", "adaptive"] = "1"
    """Generator updates after each discriminator update; adaptive: 1, 3, 5 or 7, by its loss."""
    form: AdversarialForm = "non-saturating"
    """Form of the generator's adversarial loss."""
    averaging: float = 0.0
    """Decay of an exponential average of the generator; the average is sampled. 0 for none."""

    def __post_init__(self) -> None:
        """Raises InputError for a number outside its range."""
        if not 0 <= self.averaging < 1:
            raise InputError(f"averaging must be in [0, 1), got {self.averaging}")


class GanData(NamedTuple):
    """A training set or a batch: 8-bit images and their classes."""

    images: UInt8[Array, "n h w c"]
    labels: Int[Array, " n"]


def check_gan_data(data: GanData, *, num_classes: int | None) -> None:
    """Checks a training set before anything is compiled.

    Args:
        data: The training set.
        num_classes: Number of classes; None if the labels are not used.

    Raises:
        InputError: The images are not uint8, or the labels are not one class for each image.
    """
    check_grey_levels(data.images)
    check_labels(data.labels, count=len(data.images), num_classes=num_classes)


class GeneratedBatch(NamedTuple):
    """Output of a generator, and its inputs.

    Attributes:
        features: the output: images in [-1, 1], or features of an encoder.
        condition: labels, or features of the level above; None for a GAN without classes.
        noise: random input.
    """

    features: Float[Array, "n ..."]
    condition: Array | None
    noise: Float[Array, "n z"]


@runtime_checkable  # for tests, which check annotations
class NetworkPair(Protocol):
    """A generator and its discriminator, hashable by value."""

    @property
    def target(self) -> str:
        """Name of the features that the generator makes, such as "image"."""
        ...

    @property
    def weights(self) -> LossWeights:
        """Weights of the losses."""
        ...

    @property
    def num_classes(self) -> int | None:
        """Number of classes; None for a GAN that does not know them."""
        ...

    def initial(self, key: Key[Array, ""]) -> tuple[Variables, Variables]:
        """Draws the first variables of the generator and of the discriminator."""
        ...

    def real(self, batch: GanData, constants: Any) -> Float[Array, "n ..."]:
        """Real features, which the generator learns to imitate."""
        ...

    def condition(self, batch: GanData, constants: Any) -> Array | None:
        """Condition of the chain's top generator: labels or real features."""
        ...

    def draw_noise(self, key: Key[Array, ""], count: int) -> Float[Array, "n z"]:
        """Draws the generator's noise for `count` examples."""
        ...

    def generate(
        self, variables: Variables, condition: Array | None, noise: Array
    ) -> tuple[Array, Variables]:
        """Generates features in training mode; also returns the updated variables."""
        ...

    def discriminate(
        self, key: Key[Array, ""], variables: Variables, features: Array, condition: Array | None
    ) -> tuple[DiscriminatorOutput, Variables]:
        """Applies the discriminator in training mode; also returns the updated variables.

        Args:
            key: randomness of the augmentations.
            variables: the discriminator's.
            features: all real or all generated, since batch norm uses their statistics.
            condition: the condition of each example.
        """
        ...

    def conditional_loss(
        self, generated: GeneratedBatch, constants: Any
    ) -> Float[Array, ""] | None:
        """Mean distance of generated features from their condition; None without an encoder."""
        ...


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
            The new state and the metrics: mean losses, the discriminators' accuracy (on equally
            many real and generated examples), the errors of the head Q and of the encoder's
            features, and the number of generator updates. With several pairs, a metric's name is
            "<name>_<target>".
        """
        key, key_discriminators = jax.random.split(key)
        condition = self.pairs[-1].condition(batch, constants)
        real = {pair.target: pair.real(batch, constants) for pair in self.pairs}
        state, metrics = self._update_discriminators(key_discriminators, state, real, condition)
        losses = jnp.stack([metrics[self._named("discriminator_loss", p)] for p in self.pairs])
        count = self._count_generator_steps(losses.mean())
        state, generator_metrics = self._update_generators(
            key, state, condition, len(batch.labels), count, constants
        )
        return self._average(state), {**metrics, **generator_metrics, "generator_steps": count}

    def _update_discriminators(
        self, key: Key[Array, ""], state: TrainState, real: dict[str, Array], condition: Any
    ) -> tuple[TrainState, dict[str, Array]]:
        key, key_noise = jax.random.split(key)
        count = len(next(iter(real.values())))
        fake, _ = self._generate(key_noise, state.variables["generators"], condition, count)
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
                adversarial = discriminator_loss(on_real.logits, on_fake.logits).mean()
                total += weighted_sum(
                    pair.weights, adversarial=adversarial, entropy=_noise_error(on_fake, fake[name])
                )
                right = jnp.stack([on_real.logits > 0, on_fake.logits < 0])
                metrics[self._named("discriminator_loss", pair)] = adversarial
                metrics[self._named("discriminator_accuracy", pair)] = right.mean(dtype=jnp.float32)
                updated[name] = after
            return total, (updated, metrics)

        return self._descend("discriminators", state, losses)

    def _update_generators(
        self, key: Key[Array, ""], state: TrainState, condition: Any, size: int, count: Array,
        constants: Any,
    ) -> tuple[TrainState, dict[str, Array]]:  # fmt: skip
        discriminators = jax.lax.stop_gradient(state.variables["discriminators"])

        def step(index, state):
            key_noise, key_augment = jax.random.split(jax.random.fold_in(key, index))

            def losses(params, variables):
                generators = {n: {**variables[n], "params": params[n]} for n in variables}
                fake, updated = self._generate(key_noise, generators, condition, size)
                total, metrics = self._generator_losses(
                    key_augment, fake, discriminators, constants
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
            parts = {
                "adversarial": generator_loss(output.logits, form=self.config.form).mean(),
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


def _noise_error(output: DiscriminatorOutput, generated: GeneratedBatch) -> Array | None:
    """Mean error of the head Q; None without one."""
    if output.noise_guess is None:
        return None
    return feature_loss(output.noise_guess, generated.noise).mean()


def _scale_gradient(x: Array, factor: float) -> Array:
    """Returns x unchanged, but multiplies the gradient through it by `factor`."""
    return factor * x + (1 - factor) * jax.lax.stop_gradient(x)
