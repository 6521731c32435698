"""Makes networks.npz: logits of the residual networks, as PyTorch computes them in float64.

The networks are written here from their papers, channels first, with torch.nn alone. Their weights
are numbers that both sides can make: `weights` draws them in the order of the layers. Run it with
PyTorch installed: python make_network_vectors.py
"""

from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional

WIDTH = 4


class Residual(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.body = nn.Sequential(*unit(channels, channels), *unit(channels, channels))

    def forward(self, x):
        return x + self.body(x)


def unit(before, after):
    convolution = nn.Conv2d(before, after, 3, padding=1, bias=False)
    return convolution, nn.BatchNorm2d(after), nn.ReLU()


class ResNet9(nn.Module):
    """Channels 4, 8, 16, 32 in place of 64, 128, 256, 512."""

    def __init__(self, classes):
        super().__init__()
        a, b, c, d = (WIDTH * 2**i for i in range(4))
        self.body = nn.Sequential(
            *unit(3, a),
            *(*unit(a, b), nn.MaxPool2d(2), Residual(b)),
            *(*unit(b, c), nn.MaxPool2d(2)),
            *(*unit(c, d), nn.MaxPool2d(2), Residual(d)),
        )
        self.last = nn.Linear(d, classes, bias=False)

    def forward(self, x):
        return 0.125 * self.last(self.body(x).amax((2, 3)))


class Block(nn.Module):
    """Layers in the order of use: norm, the 1×1 shortcut if there is one, 3×3, norm, 3×3."""

    def __init__(self, before, after, stride):
        super().__init__()
        self.norm1 = nn.BatchNorm2d(before)
        changes = before != after or stride != 1
        self.shortcut = nn.Conv2d(before, after, 1, stride, bias=False) if changes else None
        self.conv1 = nn.Conv2d(before, after, 3, stride, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(after)
        self.conv2 = nn.Conv2d(after, after, 3, padding=1, bias=False)

    def forward(self, x):
        active = functional.relu(self.norm1(x))
        kept = x if self.shortcut is None else self.shortcut(active)
        return kept + self.conv2(functional.relu(self.norm2(self.conv1(active))))


class WideResNet(nn.Module):
    """Depth 16: two blocks a group; channels 4 before them, then 16, 32, 64."""

    def __init__(self, classes):
        super().__init__()
        self.first = nn.Conv2d(3, WIDTH, 3, padding=1, bias=False)
        blocks, before = [], WIDTH
        for group in range(3):
            after = 4 * WIDTH * 2**group
            blocks += [Block(before, after, 2 if group else 1), Block(after, after, 1)]
            before = after
        self.blocks = nn.Sequential(*blocks)
        self.norm = nn.BatchNorm2d(before)
        self.last = nn.Linear(before, classes)

    def forward(self, x):
        return self.last(functional.relu(self.norm(self.blocks(self.first(x)))).mean((2, 3)))


def layers(network):
    kinds = (nn.Conv2d, nn.BatchNorm2d, nn.Linear)
    return [layer for layer in network.modules() if isinstance(layer, kinds)]


@torch.no_grad()
def fill(network, random):
    """Draws each layer's weights; kernels as (height, width, in, out) or (in, out)."""
    for layer in layers(network):
        if isinstance(layer, nn.BatchNorm2d):
            for place in (layer.weight, layer.bias, layer.running_mean, layer.running_var):
                place.copy_(torch.tensor(random.uniform(0.5, 1.5, place.shape)))
            continue
        out, *rest = layer.weight.shape
        shape = (*rest[1:], rest[0], out)
        drawn = random.normal(size=shape) / np.sqrt(np.prod(shape[:-1]))
        layer.weight.copy_(torch.tensor(np.moveaxis(drawn, (-1, -2), (0, 1))))
        if layer.bias is not None:
            layer.bias.copy_(torch.tensor(random.uniform(0.5, 1.5, layer.bias.shape)))


def main():
    torch.set_default_dtype(torch.float64)
    found = {}
    for name, make, shape in (
        ("resnet9", ResNet9, (3, 16, 24, 3)),
        ("wrn-16-4", WideResNet, (3, 9, 14, 3)),
    ):
        random = np.random.default_rng(16)
        network = make(5)
        fill(network, random)
        images = random.normal(size=shape)
        maps = torch.tensor(images).permute(0, 3, 1, 2)
        with torch.no_grad():
            found[f"{name} eval"] = network.eval()(maps).numpy()
            found[f"{name} train"] = network.train()(maps).numpy()
    np.savez_compressed(Path(__file__).with_name("networks.npz"), **found)


if __name__ == "__main__":
    main()
