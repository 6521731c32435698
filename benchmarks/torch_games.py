"""The peers that are GANs, as a good user of PyTorch trains them.

Ten GANs, one a class, are trained in turn.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, cast

import torch
import torch_networks as networks
from jobs import Job, TrainingInputs
from timing import Call
from torch import Tensor, nn
from torch.nn import functional
from torch_setup import as_maps, autocast, begin_step, compiled, device, tensor, to_device

from gans import DcganPair, GanLearner, LevelPair, LossWeights
from gans.game import BETA1
from gans.stacked import LAST_MAP_SIDE_PX
from imgopt.pixel_maps import MAX_LEVEL

ENTROPY, CONDITIONAL = LossWeights.entropy, LossWeights.conditional


class Losses(NamedTuple):
    """The two functions that are compiled; all GANs of a job share them."""

    of_discriminator: Callable[..., Tensor]
    of_generator: Callable[..., Tensor]


def losses(mode: str) -> Losses:
    """A discriminator's loss on real and made images, and a generator's."""

    def of_discriminator(
        discriminator: Any, real: Tensor, made: Tensor, condition: Tensor | None, noise: Tensor
    ) -> Tensor:
        of_real, _ = discriminator(real, condition)
        of_made, guess = discriminator(made, condition)
        loss = (_softplus(-of_real) + _softplus(of_made)) / 2
        return loss if guess is None else loss + ENTROPY * _distance(guess, noise)

    def of_generator(
        generator: Any, discriminator: Any, encoder: Any, condition: Tensor | None, noise: Tensor
    ) -> Tensor:
        made = generator(condition, noise)
        logits, guess = discriminator(made, condition)
        found = None if encoder is None else encoder(made)
        loss = _softplus(-logits)
        if found is None:
            return loss
        return loss + ENTROPY * _distance(guess, noise) + CONDITIONAL * _distance(found, condition)

    return Losses(compiled(of_discriminator, mode), compiled(of_generator, mode))


def _softplus(logits: Tensor) -> Tensor:
    return functional.softplus(logits.float()).mean()


def _distance(found: Any, wanted: Any) -> Tensor:
    return functional.mse_loss(found.float(), wanted)


class Game:
    """A generator and a discriminator in training."""

    def __init__(
        self,
        generator: nn.Module,
        discriminator: nn.Module,
        learner: GanLearner,
        losses: Losses,
        *,
        draw_noise: Callable[[int], Tensor],
        encoder: nn.Module | None = None,
        precision: str,
    ) -> None:
        self.generator = to_device(generator).train()
        self.discriminator = to_device(discriminator).train()
        self.encoder = None if encoder is None else to_device(encoder).requires_grad_(False)
        self.losses, self.draw_noise, self.precision = losses, draw_noise, precision
        rate, betas = learner.learning_rate, (BETA1, 0.999)
        self.optimizers = [
            torch.optim.Adam(network.parameters(), rate, betas, fused=True)
            for network in (self.generator, self.discriminator)
        ]

    def update(self, real: Tensor, condition: Tensor | None) -> Tensor:
        """One update of each; gives both losses.

        Args:
            real: images in [-1, 1].
            condition: labels, where the networks know classes.
        """
        begin_step()
        of_generator, of_discriminator = self.optimizers
        noise = self.draw_noise(len(real))
        with torch.no_grad(), autocast(self.precision):
            if self.encoder is not None:
                condition = self.encoder(real).float()
            made = self.generator(condition, noise)
        self.discriminator.requires_grad_(True)
        of_discriminator.zero_grad(set_to_none=True)
        with autocast(self.precision):
            first = self.losses.of_discriminator(self.discriminator, real, made, condition, noise)
        first.backward()
        of_discriminator.step()
        self.discriminator.requires_grad_(False)
        of_generator.zero_grad(set_to_none=True)
        with autocast(self.precision):
            second = self.losses.of_generator(
                self.generator,
                self.discriminator,
                self.encoder,
                condition,
                self.draw_noise(len(real)),
            )
        second.backward()
        of_generator.step()
        return torch.stack([first.detach(), second.detach()])


def dcgan_step(job: Job, mode: str) -> Call:
    """An epoch of one conditional GAN, or of one a class."""
    inputs: TrainingInputs = job.inputs
    learner = cast(GanLearner, inputs.learner)
    pair = cast(DcganPair, learner.pairs[0])
    size, noise_dim = pair.config.image_size, pair.config.noise_dim
    both = losses(mode)

    def new_game() -> Game:
        return Game(
            networks.Generator(inputs.variables["generators"]["image"], image_size=size),
            networks.Discriminator(inputs.variables["discriminators"]["image"], image_size=size),
            learner,
            both,
            draw_noise=lambda count: 2 * torch.rand((count, noise_dim), device=device()) - 1,
            precision=job.case.precision,
        )

    games = [new_game() for _ in inputs.groups or [None]]
    return _epoch(job, games, knows_classes=pair.config.num_classes is not None)


def sgan_step(job: Job, mode: str) -> Call:
    """An epoch of a Stacked GAN's level of images."""
    inputs: TrainingInputs = job.inputs
    learner = cast(GanLearner, inputs.learner)
    level, encoder = cast(LevelPair, learner.pairs[0]).level, inputs.constants["params"]
    made = inputs.variables["generators"]["image"]
    judge = inputs.variables["discriminators"]["image"]
    game = Game(
        networks.LevelGenerator(made, start_side=level.start_size[0]),
        networks.LevelDiscriminator(judge, map_size=(LAST_MAP_SIDE_PX,) * 2),
        learner,
        losses(mode),
        draw_noise=lambda count: torch.rand((count, level.noise_dim), device=device()),
        encoder=networks.encoder_to_pool2(encoder),
        precision=job.case.precision,
    )
    return _epoch(job, [game], knows_classes=False)


def _epoch(job: Job, games: list[Game], *, knows_classes: bool) -> Call:
    """A call that trains each game on its rows, in an order drawn anew."""
    inputs: TrainingInputs = job.inputs
    images, labels = tensor(inputs.images), tensor(inputs.labels).long()
    groups = [tensor(rows) for rows in (inputs.groups or {"": range(len(labels))}).values()]

    def call() -> None:
        found = []
        for game, rows in zip(games, groups, strict=True):
            order = rows[torch.randperm(len(rows), device=device())]
            for chosen in order.split(job.case.batch_size):
                real = 2 * as_maps(images[chosen]).float() / MAX_LEVEL - 1
                found.append(game.update(real, labels[chosen] if knows_classes else None))
        torch.stack(found).cpu()

    return call
