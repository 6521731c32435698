"""Synthesis and classifier training as a good user of PyTorch writes them.

Images lie channels last. Gradients are computed only for what is optimised, and set to None between
steps. Optimisers are fused. Losses are fetched once, at the end of a call.
"""

import functools
import math
from collections.abc import Callable
from typing import cast

import numpy as np
import torch
from harness.jobs import Job, SynthesisInputs, TrainingInputs
from harness.timing import Call
from torch import Tensor
from torch.nn import functional

from imgopt.pixel_maps import DEFAULT_MARGIN, MAX_LEVEL
from imgopt.rules import LEARNING_RATE, WEIGHT_DECAY
from peers import networks
from peers.pytorch import as_maps, autocast, begin_step, compiled, device, tensor, to_device
from train.classifier_training import ClassifierLearner
from train.classifiers import ClassifierSpec
from train.models.networks import NETWORKS
from train.recipes.train_options import TrainConfig

# ---- synthesis


def synthesis_step(job: Job, mode: str) -> Call:
    """A few updates of one batch on the device."""
    images = as_maps(tensor(job.inputs.images)).float() / MAX_LEVEL
    targets, run = tensor(job.inputs.targets), _synthesiser(job, mode)
    return lambda: run(images, targets)[1].cpu().numpy()


def whole_synthesis(job: Job, mode: str) -> Call:
    """The whole job: 8-bit images from host memory to the device and back."""
    inputs: SynthesisInputs = job.inputs
    run = _synthesiser(job, mode)
    images, targets = torch.tensor(inputs.images), torch.tensor(inputs.targets)
    if device().type == "cuda":
        images, targets = images.pin_memory(), targets.pin_memory()

    def call() -> np.ndarray:
        found = []
        for rows in torch.arange(len(images)).split(job.case.batch_size):
            pixels = images[rows].to(device(), non_blocking=True)
            wanted = targets[rows].to(device(), non_blocking=True)
            found.append(run(as_maps(pixels).float() / MAX_LEVEL, wanted))
        finished = [(image.cpu().numpy(), output.cpu().numpy()) for image, output in found]
        return np.concatenate([outputs for _, outputs in finished])

    return call


def _synthesiser(job: Job, mode: str) -> Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """A function of images in [0, 1] and targets that returns finished images and their outputs."""
    inputs: SynthesisInputs = job.inputs
    network = networks.classifier(
        NETWORKS[inputs.spec.network].layout,
        inputs.variables,
        image_size=inputs.spec.image_shape[:2],
    )
    network = to_device(network).eval().requires_grad_(False)
    mean, std = _statistics(inputs.spec)

    def render(weights: Tensor) -> Tensor:
        return torch.arctan(weights) / math.pi + 0.5

    def total_loss(weights: Tensor, targets: Tensor) -> Tensor:
        logits = network((render(weights) - mean) / std)
        return functional.cross_entropy(logits.float(), targets, reduction="sum")

    def measure(weights: Tensor) -> tuple[Tensor, Tensor]:
        images = render(weights).clamp(0, 1)
        rounded = (images * MAX_LEVEL).round() / MAX_LEVEL
        return images, network((rounded - mean) / std).softmax(1)

    loss, finish = compiled(total_loss, mode), compiled(measure, mode)

    def run(images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        weights = ((images.clamp(DEFAULT_MARGIN, 1 - DEFAULT_MARGIN) - 0.5) * math.pi).tan()
        optimizer = torch.optim.SGD(
            [weights.requires_grad_()], LEARNING_RATE, weight_decay=WEIGHT_DECAY, fused=True
        )
        for _ in range(inputs.steps):
            begin_step()
            optimizer.zero_grad(set_to_none=True)
            with autocast(job.case.precision):
                found = loss(weights, targets)
            found.backward()
            optimizer.step()
        with torch.no_grad():
            images, outputs = finish(weights)
        return images.clone(), outputs.clone()  # a CUDA graph's results are overwritten

    return run


def _statistics(spec: ClassifierSpec) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation that normalise the images."""
    mean, std = tensor(np.array([spec.mean, spec.std], np.float32)).reshape(2, 1, -1, 1, 1)
    return mean, std


# ---- training


def training_step(job: Job, mode: str) -> Call:
    """An epoch of a few updates of a classifier's parameters."""
    inputs: TrainingInputs = job.inputs
    learner = cast(ClassifierLearner, inputs.learner)
    config, spec = learner.config, learner.spec
    network = networks.classifier(
        NETWORKS[spec.network].layout, inputs.variables, image_size=spec.image_shape[:2]
    )
    network = to_device(network).train()
    optimizer = torch.optim.SGD(
        network.parameters(), config.learning_rate, momentum=config.momentum, nesterov=True,
        weight_decay=config.weight_decay, fused=True,
    )  # fmt: skip
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, functools.partial(rate_factor, config, int(inputs.constants))
    )
    mean, std = _statistics(spec)

    def mean_loss(images: Tensor, labels: Tensor) -> Tensor:
        logits = network((as_maps(images).float() / MAX_LEVEL - mean) / std)
        return functional.cross_entropy(logits.float(), labels)

    loss = compiled(mean_loss, mode)
    images, labels = tensor(inputs.images), tensor(inputs.labels).long()

    def call() -> None:
        losses = []
        for rows in torch.randperm(len(images), device=device()).split(job.case.batch_size):
            begin_step()
            optimizer.zero_grad(set_to_none=True)
            augmented = flip_and_crop(images[rows], pad_px=config.pad_px)
            with autocast(job.case.precision):
                found = loss(augmented, labels[rows])
            found.backward()
            optimizer.step()
            schedule.step()
            losses.append(found.detach().clone())
        torch.stack(losses).cpu()

    return call


def rate_factor(config: TrainConfig, total_steps: int, step: int) -> float:
    """Factor on the learning rate: linear warm-up, then half a cosine down to 0."""
    warmup = round(config.warmup_fraction * total_steps)
    if step < warmup:
        return step / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / (total_steps - warmup)))


def flip_and_crop(images: Tensor, *, pad_px: int) -> Tensor:
    """`train.augmentation.flip_and_crop` in PyTorch, for a batch (n, h, w, c) at once."""
    count, height, width, _ = images.shape
    mirrored = torch.rand((count, 1, 1, 1), device=images.device) < 0.5
    images = torch.where(mirrored, images.flip(2), images)
    padded = functional.pad(images, (0, 0, pad_px, pad_px, pad_px, pad_px))
    tops, lefts = torch.randint(2 * pad_px + 1, (2, count, 1), device=images.device)
    rows = tops + torch.arange(height, device=images.device)
    columns = lefts + torch.arange(width, device=images.device)
    each = torch.arange(count, device=images.device)[:, None, None]
    return padded[each, rows[:, :, None], columns[:, None, :]]
