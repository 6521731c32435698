"""Training of a classifier: configuration, optimiser and step."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Int, Key

from imgopt import to_float
from imgopt.classifier import Classify
from imgopt.errors import InputError
from imgopt.programs import standard_promotion
from train.augmentation import flip_and_crop
from train.checks import check_grey_levels, check_labels, one_hot
from train.classifiers import (
    Classifier,
    ClassifierSpec,
    Teacher,
    check_teacher_spec,
    classify_function,
    normalise,
)
from train.learner import TrainState
from train.losses import (
    accuracy,
    check_teacher,
    cross_entropy,
    mixed_soft_label_loss,
    soft_cross_entropy,
)
from train.recipes.mixing import cutout, mix_batch
from train.recipes.optimizers import (
    make_schedule,
    optimizer_by_name,
)
from train.recipes.state import RecipeState, StepConstants, moving_average, split_variables
from train.recipes.synthesis import make_images
from train.recipes.targets import mean_log_output
from train.recipes.train_options import TrainConfig
from train.recipes.views import Statistics, View, apply_to_views, joined, view_targets
from train.training_sets import TrainData

DROPOUT_STREAM, SECOND_VIEW_STREAM, SYNTHESIS_STREAM, MIXING_STREAM = 2, 3, 4, 5
"""Numbers folded into a step's key: dropout, second views, synthesis, mixing. Augmentation uses 0
and 1. A made view's own streams are folded into the stream of mixing."""


def make_optimizer(
    config: TrainConfig, total_steps: Int[Array, ""] | int
) -> optax.GradientTransformation:
    """The optimiser and the course of its learning rate.

    By default SGD with Nesterov momentum, whose rate rises linearly, then falls as half a cosine.

    Args:
        config: How to train.
        total_steps: Number of updates in all; it may be traced.
    """
    rate = make_schedule(
        config.schedule,
        total_steps,
        learning_rate=config.learning_rate,
        warmup_fraction=config.warmup_fraction,
    )
    return optimizer_by_name(
        config.optimizer, rate, weight_decay=config.weight_decay, momentum=config.momentum
    )


@dataclass(frozen=True)
class ClassifierLearner:
    """A classifier in training, for `train.fit` with a `TrainData`.

    The constants of its update are the number of updates in all, which the learning rate depends
    on, and the teachers' variables; `fit` asks `constants` for them.

    Attributes:
        spec: The classifier to train.
        config: How to train it; `TrainConfig.step_config` lets all lengths share a program.
        teachers: Classifiers whose mean output is a part of the targets; their classes and image
            shape are those of `spec`.
    """

    spec: ClassifierSpec
    config: TrainConfig
    teachers: tuple[Teacher, ...] = ()

    def initial(self, key: Key[Array, ""]) -> TrainState:
        """Draws the initial variables and makes the optimiser's initial state."""
        images = jnp.zeros((1, *self.spec.image_shape), jnp.float32)
        variables = dict(self.spec.build().init(key, images, train=False))
        opt_state = make_optimizer(self.config, 1).init(variables["params"])
        recipe = self.config.recipe
        if not recipe.keeps_state:
            return TrainState(variables, opt_state)
        trained = variables if recipe.average else None
        auxiliary = split_variables(variables)[1] if recipe.separate_statistics else None
        return TrainState(variables, RecipeState(opt_state, trained, auxiliary, jnp.int32(0)))

    def check(self, data: TrainData) -> None:
        """Raises InputError for images, labels, outputs or teachers that do not fit the network."""
        views = data.second_views
        for images in (data.images, *([] if views is None else [views.images])):
            check_grey_levels(images)
            if images.shape[1:] != self.spec.image_shape:
                raise InputError(
                    f"images must have the classifier's shape {self.spec.image_shape}, got "
                    f"{images.shape[1:]}"
                )
        count, num_classes = len(data.images), len(self.spec.class_names)
        check_labels(data.labels, count=count, num_classes=num_classes)
        recipe, shape = self.config.recipe, (count, num_classes)
        if self.config.loss == "mixed" or recipe.labels == "set":
            check_teacher(data.teacher_outputs, data.is_generated, shape=shape)
            if views is not None:
                check_teacher(views.outputs, np.ones(count, bool), shape=shape)
        for teacher in self.teachers:
            check_teacher_spec(teacher.spec, self.spec)
        self._check_recipe(data)

    def _check_recipe(self, data: TrainData) -> None:
        """Raises InputError for options of the recipe that data and teachers do not allow."""
        recipe, shape = self.config.recipe, self.spec.image_shape
        makes = recipe.synthesis.synthesize_every > 0
        if recipe.needs_teacher and not self.teachers:
            raise InputError("an option asks a teacher, got none; give --teacher RUN")
        if recipe.cutout > 2 * max(shape[:2]):
            raise InputError(
                f"cutout must be at most {2 * max(shape[:2])} for images of {shape[0]} x {shape[1]}"
                f" pixels, got {recipe.cutout}"
            )
        if makes and len(self.spec.class_names) < 2:
            raise InputError("synthesis needs at least 2 classes, got 1")
        if recipe.separate_statistics and data.second_views is None and not makes:
            raise InputError(
                "--separate-statistics needs made images beside the originals; give --add SET "
                "--add-as second-view, or --synthesize-every"
            )
        if self._is_soft(data) and self.config.kl != "target||model":
            raise InputError(
                f"soft targets need kl target||model, got {self.config.kl}; leave --kl out"
            )

    def constants(self, total_steps: int) -> Any:
        """The number of updates in all, as an array; with teachers, their variables too."""
        total = np.asarray(total_steps, np.int32)
        if not self.teachers:
            return total
        return StepConstants(total, tuple(teacher.variables for teacher in self.teachers))

    def update(
        self, key: Key[Array, ""], state: TrainState, batch: TrainData, constants: Any
    ) -> tuple[TrainState, dict[str, Array]]:
        """Makes one update on one batch; the scalars are mean loss in nats and accuracy."""
        step = functools.partial(self._step, key, state, batch, constants)
        every = self.config.recipe.synthesis.synthesize_every
        if not every:
            return step(makes=False)
        is_due = (state.opt_state.steps + 1) % every == 0
        return jax.lax.cond(is_due, lambda: step(makes=True), lambda: step(makes=False))

    def _step(
        self,
        key: Key[Array, ""],
        state: TrainState,
        batch: Any,
        constants: Any,
        *,
        makes: bool,
    ) -> tuple[TrainState, dict[str, Array]]:
        """One update; `makes` says whether images are made for it."""
        total, teachers = constants, []
        if self.teachers:
            total, teachers = constants.total_steps, self._classifiers(constants.teachers)
        kept = state.opt_state if self.config.recipe.keeps_state else None
        trained = kept.trained if kept and kept.trained else state.variables
        params, statistics = split_variables(trained)
        views = self._views(key, state, batch, teachers, makes=makes)
        rngs = jax.random.fold_in(key, DROPOUT_STREAM)
        prepared = self._prepared(key, views, batch, teachers)
        gradients, (updated, means) = jax.grad(self._losses, has_aux=True)(
            params, Statistics(statistics, kept and kept.auxiliary), prepared, batch, rngs
        )
        optimizer = make_optimizer(self.config, total)
        with standard_promotion():
            change, opt_state = optimizer.update(
                gradients, kept.optimizer if kept else state.opt_state, params
            )
        variables = {"params": optax.apply_updates(params, change), **updated.own}
        return self._next_state(state, variables, opt_state, updated.auxiliary), means

    def _next_state(
        self, state: TrainState, variables: dict[str, Any], opt_state: Any, auxiliary: Any
    ) -> TrainState:
        """The state after an update: the classifier's variables are the average, if one is kept."""
        recipe = self.config.recipe
        if not recipe.keeps_state:
            return TrainState(variables, opt_state)
        steps = state.opt_state.steps
        if not recipe.average:
            return TrainState(variables, RecipeState(opt_state, None, auxiliary, steps + 1))
        average = moving_average(state.variables, variables, decay=recipe.average, steps=steps)
        return TrainState(average, RecipeState(opt_state, variables, auxiliary, steps + 1))

    def _classifiers(self, variables: Sequence[dict[str, Any]]) -> list[Classify]:
        """The teachers as functions from images in [0, 1] to logits."""
        pairs = zip(self.teachers, variables, strict=True)
        precision = self.config.precision
        return [classify_function(Classifier(t.spec, v), precision=precision) for t, v in pairs]

    def _is_soft(self, batch: TrainData) -> bool:
        """Whether targets are distributions; else they are labels, or targets of the mixed loss."""
        recipe = self.config.recipe
        has_made = batch.second_views is not None or recipe.synthesis.synthesize_every > 0
        changes = recipe.mixes or recipe.label_smoothing > 0 or recipe.labels is not None
        return bool(changes or has_made or self.teachers)

    def _views(
        self,
        key: Key[Array, ""],
        state: TrainState,
        batch: Any,
        teachers: Sequence[Classify],
        *,
        makes: bool,
    ) -> list[View]:
        """The batch's own images, augmented; then second views, and images made in this step."""
        augment = functools.partial(flip_and_crop, flip=self.config.flip, pad_px=self.config.pad_px)
        own = to_float(augment(key, jnp.asarray(batch.images)))
        views = [View(own, batch.teacher_outputs, batch.is_generated)]
        all_made = jnp.ones(len(batch.labels), bool)
        if batch.second_views is not None:
            second = jnp.asarray(batch.second_views.images)
            second = augment(jax.random.fold_in(key, SECOND_VIEW_STREAM), second)
            views.append(View(to_float(second), batch.second_views.outputs, all_made))
        if makes:
            made = make_images(
                jax.random.fold_in(key, SYNTHESIS_STREAM),
                self._source(state, teachers),
                own,
                jnp.asarray(batch.labels, jnp.int32),
                num_classes=len(self.spec.class_names),
                options=self.config.recipe.synthesis,
            )
            views.append(View(made.images, made.outputs, all_made))
        return views

    def _source(self, state: TrainState, teachers: Sequence[Classify]) -> Classify:
        """The classifier that images are made from in this step."""
        source = self.config.recipe.synthesis.synthesize_from
        if source == "teacher":
            return functools.partial(mean_log_output, teachers)
        is_average = source == "average" or not self.config.recipe.average
        variables = state.variables if is_average else state.opt_state.trained
        return classify_function(Classifier(self.spec, variables), precision=self.config.precision)

    def _prepared(
        self,
        key: Key[Array, ""],
        views: Sequence[View],
        batch: Any,
        teachers: Sequence[Classify],
    ) -> list[tuple[Array, Array | None]]:
        """Normalised images of every view, and their soft targets; None for labels."""
        recipe, prepared = self.config.recipe, []
        for number, view in enumerate(views):
            own_key = jax.random.fold_in(jax.random.fold_in(key, MIXING_STREAM), number)
            cut_key, mix_key = jax.random.split(own_key)
            if recipe.cutout:
                cut = cutout(cut_key, view.images, side_px=recipe.cutout, fill=self.spec.mean)
                view = view._replace(images=cut)
            images, targets = view.images, None
            if self._is_soft(batch):
                labels = one_hot(batch.labels, len(self.spec.class_names))
                is_mixed = self.config.loss == "mixed"
                targets = view_targets(view, labels, teachers, recipe=recipe, is_mixed=is_mixed)
                images, targets = mix_batch(
                    mix_key, images, targets, mixup_alpha=recipe.mixup, cutmix_alpha=recipe.cutmix
                )
            prepared.append((normalise(images, self.spec), targets))
        return prepared

    def _losses(
        self,
        params: Any,
        statistics: Statistics,
        views: Sequence[tuple[Array, Array | None]],
        batch: Any,
        rngs: Array,
    ) -> tuple[Array, tuple[Statistics, dict[str, Array]]]:
        """Mean loss, the new averages of batch norm, and the scalars to report."""
        network = self.spec.build(precision=self.config.precision)
        images = [images for images, _ in views]
        logits, updated = apply_to_views(network, params, statistics, images, rngs)
        own_logits = logits[: len(batch.labels)]
        if self._is_soft(batch):
            loss = soft_cross_entropy(logits, joined([targets for _, targets in views]))
        elif self.config.loss == "mixed":
            loss = mixed_soft_label_loss(
                own_logits,
                batch.labels,
                batch.teacher_outputs,
                batch.is_generated,
                kl=self.config.kl,
            )
        else:
            loss = cross_entropy(own_logits, batch.labels)
        means = {"loss": loss.mean(), "accuracy": accuracy(own_logits, batch.labels)}
        return means["loss"], (updated, means)
