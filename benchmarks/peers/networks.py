"""Elicit's networks written in PyTorch and filled with the variables of the Flax modules.

Layer sizes are read from the variables, so they cannot differ. Images and feature maps have shape
(n, c, h, w) and lie in memory channels last.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from gans.blocks import LEAK
from gans.dcgan import HALVINGS

Params = dict[str, Any]
"""Variables of a Flax module as nested NumPy arrays, by the names of its submodules."""

Size = Sequence[int]
"""Height and width."""

POOL2_TO_IMAGE_STRIDES = (2, 1, 2, 1)
"""Strides of the transposed convolutions from pool2's features (5×5) to the image (32×32)."""


def convolution(params: Params, *, stride: int = 1, padding: int) -> nn.Conv2d:
    """A convolution from a Flax kernel of shape (h, w, in, out)."""
    size, _, channels, features = params["kernel"].shape
    layer = nn.Conv2d(channels, features, size, stride, padding, bias="bias" in params)
    return _filled(layer, params["kernel"].transpose(3, 2, 0, 1), params)


def transposed_convolution(params: Params, *, stride: int) -> nn.ConvTranspose2d:
    """A transposed convolution: stride 2 doubles the size; stride 1 has no padding."""
    size, _, channels, features = params["kernel"].shape
    padding, more = (size // 2, 1) if stride == 2 else (0, 0)
    layer = nn.ConvTranspose2d(
        channels, features, size, stride, padding, more, bias="bias" in params
    )
    return _filled(layer, params["kernel"].transpose(2, 3, 0, 1), params)


def dense(params: Params, *, map_size: Size | None = None) -> nn.Linear:
    """A dense layer; give `map_size` if its input is a flattened feature map."""
    kernel = params["kernel"].T
    if map_size is not None:
        kernel = channels_first(kernel, map_size)
    layer = nn.Linear(kernel.shape[1], kernel.shape[0], bias="bias" in params)
    return _filled(layer, kernel, params)


def channels_first(rows: np.ndarray, map_size: Size) -> np.ndarray:
    """Reorders flattened feature maps from (h, w, c), Flax's order, to (c, h, w), PyTorch's."""
    maps = rows.reshape(len(rows), *map_size, -1)
    return maps.transpose(0, 3, 1, 2).reshape(len(rows), -1)


def batch_norm(variables: dict[str, Params], index: int, *, maps: bool = True) -> nn.Module:
    """A module's batch norm number `index`, with PyTorch's default momentum and epsilon."""
    params, statistics = (
        variables[kind][f"BatchNorm_{index}"] for kind in ("params", "batch_stats")
    )
    layer = (nn.BatchNorm2d if maps else nn.BatchNorm1d)(len(params["scale"]))
    layer.load_state_dict(
        {
            "weight": torch.tensor(params["scale"]),
            "bias": torch.tensor(params["bias"]),
            "running_mean": torch.tensor(statistics["mean"]),
            "running_var": torch.tensor(statistics["var"]),
            "num_batches_tracked": torch.tensor(0),
        }
    )
    return layer


def _filled(layer: Any, weight: np.ndarray, params: Params) -> Any:
    state = {"weight": torch.tensor(np.ascontiguousarray(weight))}
    if "bias" in params:
        state["bias"] = torch.tensor(params["bias"])
    layer.load_state_dict(state)
    return layer


def classifier(layout: Sequence[int | str], variables: Params, *, image_size: Size) -> nn.Module:
    """`train.models.networks.ConvNet`: normalised images → logits."""
    params, layers = variables["params"], []
    for item in layout:
        if item == "M":
            layers.append(nn.MaxPool2d(2))
            continue
        index = sum(isinstance(layer, nn.Conv2d) for layer in layers)
        layers.append(convolution(params[f"Conv_{index}"], padding=1))
        if "batch_stats" in variables:
            layers.append(batch_norm(variables, index))
        layers.append(nn.ReLU(inplace=True))
    shrink = 2 ** list(layout).count("M")
    layers += [nn.Flatten(), dense(params["Dense_0"], map_size=[n // shrink for n in image_size])]
    for index in range(1, sum(name.startswith("Dense") for name in params)):
        layers += [nn.ReLU(inplace=True), dense(params[f"Dense_{index}"])]
    return nn.Sequential(*layers)


class Generator(nn.Module):
    """`gans.dcgan.Generator` in PyTorch."""

    def __init__(self, variables: dict[str, Params], *, image_size: int) -> None:
        super().__init__()
        params = variables["params"]
        self.embed = None
        if "Embed_0" in params:
            self.embed = nn.Embedding.from_pretrained(
                torch.tensor(params["Embed_0"]["embedding"]), freeze=False
            )
        self.side = image_size // 2**HALVINGS
        self.dense = dense(params["Dense_0"])
        layers: list[nn.Module] = []
        for index in range(HALVINGS):
            layers += [batch_norm(variables, index), nn.ReLU(inplace=True)]
            layers.append(transposed_convolution(params[f"TransposedConv_{index}"], stride=2))
        self.layers = nn.Sequential(*layers, nn.Tanh())

    def forward(self, labels: torch.Tensor | None, noise: torch.Tensor) -> torch.Tensor:
        """Noise, and labels if the GAN is class-conditional → images in [-1, 1]."""
        if self.embed is not None:
            noise = torch.cat([noise, self.embed(labels)], dim=1)
        return self.layers(_as_map(self.dense(noise), self.side))


class Discriminator(nn.Module):
    """`gans.dcgan.Discriminator` in PyTorch."""

    def __init__(self, variables: dict[str, Params], *, image_size: int) -> None:
        super().__init__()
        params, size = variables["params"], (image_size // 2**HALVINGS,) * 2
        self.trunk = trunk(variables)
        self.logit = dense(params["Dense_0"], map_size=size)
        self.embed = None
        if "Embed_0" in params:
            table = channels_first(params["Embed_0"]["embedding"], size)
            self.embed = nn.Embedding.from_pretrained(torch.tensor(table), freeze=False)

    def forward(
        self, images: torch.Tensor, labels: torch.Tensor | None
    ) -> tuple[torch.Tensor, None]:
        """Images in [-1, 1], and labels if the GAN is class-conditional → logits of "real"."""
        x = self.trunk(images)
        logits = self.logit(x)[:, 0]
        return logits if self.embed is None else logits + (self.embed(labels) * x).sum(1), None


def trunk(variables: dict[str, Any]) -> nn.Sequential:
    """`gans.blocks.ConvTrunk`: convolutions of stride 2, batch norm except on the first."""
    inner = {kind: part["ConvTrunk_0"] for kind, part in variables.items()}
    layers: list[nn.Module] = []
    for index in range(sum(name.startswith("Conv_") for name in inner["params"])):
        layers.append(convolution(inner["params"][f"Conv_{index}"], stride=2, padding=2))
        if index:
            layers.append(batch_norm(inner, index - 1))
        layers.append(nn.LeakyReLU(LEAK, inplace=True))
    return nn.Sequential(*layers, nn.Flatten())


class LevelGenerator(nn.Module):
    """`gans.stacked.MapGenerator` for the level that turns pool2's features into images."""

    def __init__(self, variables: dict[str, Params], *, start_side: int) -> None:
        super().__init__()
        params, self.side = variables["params"], start_side
        layers: list[nn.Module] = []
        for index in range(2):
            layers += [dense(params[f"Dense_{index}"]), batch_norm(variables, index, maps=False)]
            layers.append(nn.ReLU(inplace=True))
        self.noise = nn.Sequential(*layers, dense(params["Dense_2"]))
        self.start = nn.Sequential(batch_norm(variables, 2), nn.ReLU(inplace=True))
        layers = []
        for index, stride in enumerate(POOL2_TO_IMAGE_STRIDES):
            if index:
                layers += [batch_norm(variables, 2 + index), nn.ReLU(inplace=True)]
            layer = transposed_convolution(params[f"TransposedConv_{index}"], stride=stride)
            layers.append(layer)
        self.layers = nn.Sequential(*layers, nn.Tanh())

    def forward(self, condition: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        """Features of pool2 and noise → images in [-1, 1]."""
        x = self.start(_as_map(self.noise(noise), self.side))
        return self.layers(torch.cat([condition.to(x.dtype), x], dim=1))


class LevelDiscriminator(nn.Module):
    """`gans.stacked.LevelDiscriminator` for the level of images."""

    def __init__(self, variables: dict[str, Params], *, map_size: Size) -> None:
        super().__init__()
        params = variables["params"]
        hidden = dense(params["Dense_0"], map_size=map_size)
        self.shared = nn.Sequential(trunk(variables), hidden, nn.LeakyReLU(LEAK, inplace=True))
        self.logit, self.guess = dense(params["Dense_1"]), dense(params["Dense_2"])

    def forward(
        self, images: torch.Tensor, condition: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Images in [-1, 1] → logits of "real" and the head's guess of the noise."""
        del condition
        x = self.shared(images)
        return self.logit(x)[:, 0], self.guess(x)


def encoder_to_pool2(params: Params) -> nn.Sequential:
    """`gans.encoder.Encoder` up to pool2; input: images in [-1, 1]."""
    layers: list[nn.Module] = []
    for name in ("conv1", "conv2"):
        layers += [convolution(params[name], padding=0), nn.ReLU(inplace=True), nn.MaxPool2d(2)]
    return nn.Sequential(*layers)


def _as_map(x: torch.Tensor, side: int) -> torch.Tensor:
    """Reshapes vectors in the order (h, w, c) to feature maps that lie channels last."""
    return x.reshape(len(x), side, side, -1).permute(0, 3, 1, 2)
