"""The game between generators and discriminators as one jitted step, for `train.fit`.

A GAN is a chain of pairs, from the image up: a DCGAN has one, a Stacked GAN one for each level. The
topmost generator takes the real condition, every other what the one above has made. One level of a
stack, trained on real features, is a chain of one; training jointly is training the whole chain.
"""

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, Key, UInt8

from gans.blocks import Judgement
from gans.losses import (
    AdversarialForm,
    LossWeights,
    discriminator_loss,
    entropy_loss,
    frozen,
    generator_loss,
    weighted_sum,
)
from imgopt.errors import InputError
from imgopt.promotion import standard_promotion
from train.loop import TrainState

ADAPTIVE_STEPS = ((0.65, 1), (0.5, 3), (0.3, 5), (0.0, 7))
"""Generator's steps where the discriminator's loss is above a bound (Huang et al., code)."""

LOWER_LEVEL_WEIGHT = 0.01
"""Of a level's loss in that of the level above, in joint training (Huang et al., code)."""

BETA1 = 0.5
"""Of Adam: share of the old mean gradient (Radford et al. 2016, section 4)."""

Variables = dict[str, Any]


@dataclass(frozen=True)
class GameConfig:
    """How generators and discriminators are trained; for features off by default see each."""

    generator_steps: Literal["1", "2", "3", "5", "7", "adaptive"] = "1"
    """Generator's updates for one of the discriminator; adaptive: 1, 3, 5 or 7, by its loss."""
    form: AdversarialForm = "non-saturating"
    """Of the generator's adversarial loss."""
    averaging: float = 0.0
    """Decay of an exponential average of the generator, which is then sampled; 0 for none."""

    def __post_init__(self) -> None:
        """Raises InputError for a number outside its range."""
        if not 0 <= self.averaging < 1:
            raise InputError(f"averaging must be in [0, 1), got {self.averaging}")


class GanData(NamedTuple):
    """A training set of grey levels and classes, or a batch of it."""

    images: UInt8[Array, "n h w c"]
    labels: Int[Array, " n"]


class Made(NamedTuple):
    """What a generator has made, of what.

    Attributes:
        features: images in [-1, 1], or an encoder's features.
        condition: labels, or the features of the level above; None for a GAN without classes.
        noise: the rest.
    """

    features: Float[Array, "n ..."]
    condition: Array | None
    noise: Float[Array, "n z"]


@runtime_checkable  # for tests, which check annotations
class Pair(Protocol):
    """A generator and its discriminator, hashable by value."""

    @property
    def target(self) -> str:
        """Name of what the generator makes."""
        ...

    @property
    def weights(self) -> LossWeights:
        """Of the losses."""
        ...

    def initial(self, key: Key[Array, ""]) -> tuple[Variables, Variables]:
        """Freshly drawn variables of the generator and of the discriminator."""
        ...

    def real(self, batch: GanData, constants: Any) -> Float[Array, "n ..."]:
        """What the generator is to imitate."""
        ...

    def condition(self, batch: GanData, constants: Any) -> Array | None:
        """What it makes that of, where it is the topmost of its chain."""
        ...

    def draw_noise(self, key: Key[Array, ""], count: int) -> Float[Array, "n z"]:
        """And the rest of what it makes it of."""
        ...

    def generate(
        self, variables: Variables, condition: Array | None, noise: Array
    ) -> tuple[Array, Variables]:
        """Makes features by the batch's statistics; also gives the new running ones."""
        ...

    def judge(
        self, key: Key[Array, ""], variables: Variables, features: Array, condition: Array | None
    ) -> tuple[Judgement, Variables]:
        """Judges features, all real or all made; also gives the new running statistics."""
        ...

    def conditional_loss(self, made: Made, constants: Any) -> Float[Array, ""] | None:
        """Mean distance of what was made from its condition, where a frozen encoder can tell."""
        ...


@dataclass(frozen=True)
class GanLearner:
    """A chain of pairs in training, for `train.fit`; its data is a `GanData`.

    The variables are "generators", "discriminators" and, with averaging, "average" (of the
    generators), each by the pairs' targets.

    Attributes:
        pairs: from the image up.
        config: how they are trained.
        learning_rate: of Adam.
    """

    pairs: tuple[Pair, ...]
    config: GameConfig
    learning_rate: float

    def initial(self, key: Key[Array, ""]) -> TrainState:
        """Freshly drawn networks and the optimisers' first states."""
        drawn = {
            pair.target: pair.initial(jax.random.fold_in(key, index))
            for index, pair in enumerate(self.pairs)
        }
        return self.state_of(
            {target: networks[0] for target, networks in drawn.items()},
            {target: networks[1] for target, networks in drawn.items()},
        )

    def state_of(self, generators: Variables, discriminators: Variables) -> TrainState:
        """The first state of a training that begins with the given networks, by target."""
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
            The new state, and the means of losses, of the discriminators' accuracy (right about
            half real, half made), of the errors of the head Q and of the encoder's features, and
            the number of the generators' updates; with several pairs each under "<name>_<target>".
        """
        key, key_d = jax.random.split(key)
        condition = self.pairs[-1].condition(batch, constants)
        real = {pair.target: pair.real(batch, constants) for pair in self.pairs}
        state, found = self._update_discriminators(key_d, state, real, condition)
        adversarial = jnp.stack([found[self._named("discriminator_loss", p)] for p in self.pairs])
        count = self._count_generator_steps(adversarial.mean())
        state, found_by_generators = self._update_generators(
            key, state, condition, len(batch.labels), count, constants
        )
        return self._average(state), {**found, **found_by_generators, "generator_steps": count}

    def _update_discriminators(
        self, key: Key[Array, ""], state: TrainState, real: dict[str, Array], condition: Any
    ) -> tuple[TrainState, dict[str, Array]]:
        key, key_noise = jax.random.split(key)
        count = len(next(iter(real.values())))
        made, _ = self._generate(key_noise, state.variables["generators"], condition, count)
        made = frozen(made)

        def losses(params, variables):
            total, found, updated = jnp.float32(0), {}, {}
            for index, pair in enumerate(self.pairs):
                name = pair.target
                keys = jax.random.split(jax.random.fold_in(key, index))
                before = {**variables[name], "params": params[name]}
                # Two passes: real and made never share a batch norm's statistics.
                of_real, between = pair.judge(keys[0], before, real[name], made[name].condition)
                of_made, after = pair.judge(keys[1], between, *made[name][:2])
                adversarial = discriminator_loss(of_real.logits, of_made.logits).mean()
                total += weighted_sum(
                    pair.weights, adversarial=adversarial, entropy=_entropy(of_made, made[name])
                )
                right = ((of_real.logits > 0).mean() + (of_made.logits < 0).mean()) / 2
                found[self._named("discriminator_loss", pair)] = adversarial
                found[self._named("discriminator_accuracy", pair)] = right
                updated[name] = after
            return total, (updated, found)

        return self._descend("discriminators", state, losses)

    def _update_generators(
        self, key: Key[Array, ""], state: TrainState, condition: Any, size: int, count: Array,
        constants: Any,
    ) -> tuple[TrainState, dict[str, Array]]:  # fmt: skip
        discriminators = frozen(state.variables["discriminators"])

        def step(index, state):
            key_noise, key_judge = jax.random.split(jax.random.fold_in(key, index))

            def losses(params, variables):
                generators = {n: {**variables[n], "params": params[n]} for n in variables}
                made, updated = self._generate(key_noise, generators, condition, size)
                total, found = self._generator_losses(key_judge, made, discriminators, constants)
                return total, (updated, found)

            return self._descend("generators", state, losses)

        state, found = step(0, state)
        if self.config.generator_steps == "1":
            return state, found
        return jax.lax.fori_loop(1, count, lambda i, carry: step(i, carry[0]), (state, found))

    def _generator_losses(
        self,
        key: Key[Array, ""],
        made: dict[str, Made],
        discriminators: Variables,
        constants: Any,
    ) -> tuple[Array, dict[str, Array]]:
        """The sum of all pairs' losses, and its parts; of several updates the last one's count."""
        total, found = jnp.float32(0), {}
        for index, pair in enumerate(self.pairs):
            name = pair.target
            key_judge = jax.random.fold_in(key, index)
            judged, _ = pair.judge(key_judge, discriminators[name], *made[name][:2])
            parts = {
                "adversarial": generator_loss(judged.logits, form=self.config.form).mean(),
                "conditional": pair.conditional_loss(made[name], constants),
                "entropy": _entropy(judged, made[name]),
            }
            total += weighted_sum(pair.weights, **parts)
            for part, reported in REPORTED.items():
                if parts[part] is not None:
                    found[self._named(reported, pair)] = parts[part]
        return total, found

    def _generate(
        self, key: Key[Array, ""], generators: Variables, condition: Any, count: int
    ) -> tuple[dict[str, Made], Variables]:
        made, updated = {}, {}
        for index, pair in reversed(list(enumerate(self.pairs))):
            noise = pair.draw_noise(jax.random.fold_in(key, index), count)
            variables = generators[pair.target]
            features, updated[pair.target] = pair.generate(variables, condition, noise)
            made[pair.target] = Made(features, condition, noise)
            condition = _scale_gradient(features, LOWER_LEVEL_WEIGHT)
        return made, updated

    def _descend(self, side: str, state: TrainState, losses: Any) -> tuple[TrainState, Any]:
        """One update of all generators, or of all discriminators."""
        variables = state.variables[side]
        params = _params(variables)
        gradients, (updated, found) = jax.grad(losses, has_aux=True)(params, variables)
        with standard_promotion():
            change, opt_state = self._optimizer.update(gradients, state.opt_state[side], params)
        moved: Any = optax.apply_updates(params, change)
        variables = {name: {**updated[name], "params": moved[name]} for name in variables}
        return TrainState(
            {**state.variables, side: variables}, {**state.opt_state, side: opt_state}
        ), found

    def _count_generator_steps(self, loss: Array) -> Array:
        if self.config.generator_steps != "adaptive":
            return jnp.int32(int(self.config.generator_steps))
        bounds, counts = zip(*ADAPTIVE_STEPS, strict=True)
        return jnp.select([loss > bound for bound in bounds[:-1]], counts[:-1], counts[-1])

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

    def _named(self, name: str, pair: Pair) -> str:
        return name if len(self.pairs) == 1 else f"{name}_{pair.target}"


REPORTED = {
    "adversarial": "generator_loss",
    "conditional": "feature_error",
    "entropy": "entropy_error",
}
"""A generator's losses, by the names under which they are reported."""


def _params(variables: Variables) -> Variables:
    return {name: networks["params"] for name, networks in variables.items()}


def _entropy(judged: Judgement, made: Made) -> Array | None:
    """The head Q's mean error, where there is one."""
    if judged.noise_guess is None:
        return None
    return entropy_loss(judged.noise_guess, made.noise).mean()


def _scale_gradient(x: Array, factor: float) -> Array:
    """The same numbers; the gradient through them is multiplied by `factor`."""
    return factor * x + (1 - factor) * jax.lax.stop_gradient(x)
