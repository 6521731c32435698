"""Training of a stack's encoder, on the stack's training set; afterwards it is frozen."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Key

from gans.blocks import to_signed
from gans.encoder import FEATURES
from gans.options.training import EncoderConfig
from gans.pairs import GanData, build_encoder, check_gan_data
from gans.stacked import StackConfig
from imgopt import to_float
from imgopt.errors import InputError
from imgopt.programs import standard_promotion
from train.augmentation import flip_and_crop
from train.learner import TrainState
from train.losses import accuracy, cross_entropy
from train.recipes.train_options import Precision


@dataclass(frozen=True)
class EncoderLearner:
    """A stack's encoder in training, for `train.fit`; its data is a `GanData`.

    Attributes:
        stack: sizes of the stack.
        config: how the encoder is trained.
        precision: precision of the computation.
    """

    stack: StackConfig
    config: EncoderConfig
    precision: Precision = "float32"

    def initial(self, key: Key[Array, ""]) -> TrainState:
        """Initialises variables and optimiser state."""
        images = jnp.zeros((1, *self.stack.image_shape), jnp.float32)
        variables = build_encoder(self.stack).init(key, images)
        return TrainState(dict(variables), self._optimizer.init(variables["params"]))

    @property
    def _optimizer(self) -> optax.GradientTransformation:
        return optax.adam(self.config.encoder_learning_rate)

    def check(self, data: GanData) -> None:
        """Raises InputError for images and labels that do not fit the stack."""
        check_gan_data(data, num_classes=self.stack.num_classes)
        if data.images.shape[1:] != self.stack.image_shape:
            raise InputError(
                f"images must have the stack's shape {self.stack.image_shape}, got "
                f"{data.images.shape[1:]}"
            )

    def update(
        self, key: Key[Array, ""], state: TrainState, batch: GanData, constants: None
    ) -> tuple[TrainState, dict[str, Array]]:
        """One update on one batch; returns the new state, mean loss in nats and accuracy."""
        del constants
        images = flip_and_crop(
            key,
            jnp.asarray(batch.images),
            flip=self.config.encoder_flip,
            pad_px=self.config.encoder_pad_px,
        )

        def loss(params: Any) -> tuple[Array, dict[str, Array]]:
            network = build_encoder(self.stack, precision=self.precision)
            found: Any = network.apply({"params": params}, to_signed(to_float(images)))
            logits = found[FEATURES[-1]]
            mean = cross_entropy(logits, batch.labels).mean()
            return mean, {"loss": mean, "accuracy": accuracy(logits, batch.labels)}

        params = state.variables["params"]
        gradients, means = jax.grad(loss, has_aux=True)(params)
        with standard_promotion():
            change, opt_state = self._optimizer.update(gradients, state.opt_state, params)
        return TrainState({"params": optax.apply_updates(params, change)}, opt_state), means
