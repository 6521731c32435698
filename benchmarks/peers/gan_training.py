"""GAN training as a good user of PyTorch writes it.

Ten GANs, one a class, are trained one after another.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, cast

import torch
from harness.jobs import Job, TrainingInputs
from harness.timing import Call
from torch import Tensor, nn
from torch.nn import functional

from gans import DcganPair, GanLearner, LevelPair
from gans.game import BETA1
from gans.options.training import LossWeights
from gans.stacked import LAST_MAP_SIDE_PX
from imgopt.pixel_maps import MAX_LEVEL
from peers import networks
from peers.pytorch import as_maps, autocast, begin_step, compiled, device, tensor, to_device

ENTROPY, CONDITIONAL = LossWeights.entropy, LossWeights.conditional


class Losses(NamedTuple):
    """The two loss functions, compiled once and shared by all GANs of a job.

    Attributes:
        discriminator: discriminator, real and fake images, condition, noise → loss.
        generator: generator, discriminator, encoder or None, condition, noise → loss.
    """

    discriminator: Callable[..., Tensor]
    generator: Callable[..., Tensor]


def losses(mode: str) -> Losses:
    """Builds the loss functions of discriminator and generator."""

    def discriminator_loss(
        discriminator: Any, real: Tensor, fake: Tensor, condition: Tensor | None, noise: Tensor
    ) -> Tensor:
        real_logits, _ = discriminator(real, condition)
        fake_logits, guess = discriminator(fake, condition)
        loss = (_softplus(-real_logits) + _softplus(fake_logits)) / 2
        return loss if guess is None else loss + ENTROPY * _distance(guess, noise)

    def generator_loss(
        generator: Any, discriminator: Any, encoder: Any, condition: Tensor | None, noise: Tensor
    ) -> Tensor:
        fake = generator(condition, noise)
        logits, guess = discriminator(fake, condition)
        loss = _softplus(-logits)
        if encoder is None:
            return loss
        features = encoder(fake)
        entropy, conditional = _distance(guess, noise), _distance(features, condition)
        return loss + ENTROPY * entropy + CONDITIONAL * conditional

    return Losses(compiled(discriminator_loss, mode), compiled(generator_loss, mode))


def _softplus(logits: Tensor) -> Tensor:
    return functional.softplus(logits.float()).mean()


def _distance(found: Any, wanted: Any) -> Tensor:
    return functional.mse_loss(found.float(), wanted)


class TorchGan:
    """A generator and a discriminator in training."""

    def __init__(
        self,
        generator: nn.Module,
        discriminator: nn.Module,
        losses: Losses,
        *,
        learning_rate: float,
        draw_noise: Callable[[int], Tensor],
        encoder: nn.Module | None = None,
        precision: str,
    ) -> None:
        self.generator = to_device(generator).train()
        self.discriminator = to_device(discriminator).train()
        self.encoder = None if encoder is None else to_device(encoder).requires_grad_(False)
        self.losses, self.draw_noise, self.precision = losses, draw_noise, precision
        self.generator_optimizer, self.discriminator_optimizer = (
            torch.optim.Adam(network.parameters(), learning_rate, (BETA1, 0.999), fused=True)
            for network in (self.generator, self.discriminator)
        )

    def update(self, real: Tensor, condition: Tensor | None) -> Tensor:
        """Updates the discriminator, then the generator, once each.

        Args:
            real: images in [-1, 1].
            condition: labels, if the GAN is class-conditional.

        Returns:
            The losses of discriminator and generator.
        """
        begin_step()
        noise = self.draw_noise(len(real))
        with torch.no_grad(), autocast(self.precision):
            if self.encoder is not None:
                condition = self.encoder(real).float()
            fake = self.generator(condition, noise)
        self.discriminator.requires_grad_(True)
        self.discriminator_optimizer.zero_grad(set_to_none=True)
        with autocast(self.precision):
            first = self.losses.discriminator(self.discriminator, real, fake, condition, noise)
        first.backward()
        self.discriminator_optimizer.step()
        self.discriminator.requires_grad_(False)
        self.generator_optimizer.zero_grad(set_to_none=True)
        with autocast(self.precision):
            second = self.losses.generator(
                self.generator,
                self.discriminator,
                self.encoder,
                condition,
                self.draw_noise(len(real)),
            )
        second.backward()
        self.generator_optimizer.step()
        return torch.stack([first.detach(), second.detach()])


def dcgan_step(job: Job, mode: str) -> Call:
    """An epoch of one class-conditional DCGAN, or of one DCGAN a class."""
    inputs: TrainingInputs = job.inputs
    learner = cast(GanLearner, inputs.learner)
    config = cast(DcganPair, learner.pairs[0]).config
    shared_losses = losses(mode)

    def new_gan() -> TorchGan:
        variables, size = inputs.variables, config.image_size
        return TorchGan(
            networks.Generator(variables["generators"]["image"], image_size=size),
            networks.Discriminator(variables["discriminators"]["image"], image_size=size),
            shared_losses,
            learning_rate=learner.learning_rate,
            draw_noise=lambda count: 2 * torch.rand((count, config.noise_dim), device=device()) - 1,
            precision=job.case.precision,
        )

    gans = [new_gan() for _ in inputs.groups or [None]]
    return _epoch(job, gans, conditional=config.num_classes is not None)


def sgan_step(job: Job, mode: str) -> Call:
    """An epoch of a Stacked GAN's level of images."""
    inputs: TrainingInputs = job.inputs
    learner = cast(GanLearner, inputs.learner)
    level = cast(LevelPair, learner.pairs[0]).level
    generator = inputs.variables["generators"]["image"]
    discriminator = inputs.variables["discriminators"]["image"]
    gan = TorchGan(
        networks.LevelGenerator(generator, start_side=level.start_size[0]),
        networks.LevelDiscriminator(discriminator, map_size=(LAST_MAP_SIDE_PX,) * 2),
        losses(mode),
        learning_rate=learner.learning_rate,
        draw_noise=lambda count: torch.rand((count, level.noise_dim), device=device()),
        encoder=networks.encoder_to_pool2(inputs.constants["params"]),
        precision=job.case.precision,
    )
    return _epoch(job, [gan], conditional=False)


def _epoch(job: Job, gans: list[TorchGan], *, conditional: bool) -> Call:
    """A call that trains each GAN on its own rows, in a random order."""
    inputs: TrainingInputs = job.inputs
    images, labels = tensor(inputs.images), tensor(inputs.labels).long()
    groups = [tensor(rows) for rows in (inputs.groups or {"": range(len(labels))}).values()]

    def call() -> None:
        found = []
        for gan, rows in zip(gans, groups, strict=True):
            order = rows[torch.randperm(len(rows), device=device())]
            for batch in order.split(job.case.batch_size):
                real = 2 * as_maps(images[batch]).float() / MAX_LEVEL - 1
                found.append(gan.update(real, labels[batch] if conditional else None))
        torch.stack(found).cpu()

    return call
