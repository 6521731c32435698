"""PyTorch's answers for a discriminator's relativistic loss with R1 and R2 penalties.

Written from the papers (Huang et al. 2024; Mescheder et al. 2018) with autograd, in float64. The
penalties' gradients are taken at the batch's own statistics of batch norm, which depend on the
parameters but not on the examples that are differentiated by. Prints what
`tests/gans/test_penalties.py` holds.

    pip install torch==2.13.0 && python tests/references/make_gan_vectors.py
"""

import numpy as np
import torch
from torch.nn import functional

SIDE, CHANNELS, WIDTH, CLASSES, COUNT = 16, 2, 2, 3, 5
WIDTHS = tuple(WIDTH * 2**index for index in range(4))
LABELS = torch.tensor([0, 2, 1, 2, 0])
R1, R2 = 0.7, 0.3
LEAK, EPSILON = 0.2, 1e-5


def draw():
    """Parameters by name, kernels as (height, width, in, out), and real and fake images."""
    random = np.random.RandomState(7)
    shapes, channels = {}, CHANNELS
    for index, width in enumerate(WIDTHS):
        shapes[f"kernel{index}"] = (5, 5, channels, width)
        channels = width
    shapes["bias0"] = (WIDTHS[0],)
    for index, width in enumerate(WIDTHS[1:], 1):
        shapes |= {f"scale{index}": (width,), f"shift{index}": (width,)}
    shapes |= {"dense": (WIDTHS[-1], 1), "dense_bias": (1,), "embedding": (CLASSES, WIDTHS[-1])}
    params = {name: random.uniform(-0.4, 0.6, shape) for name, shape in shapes.items()}
    images = random.uniform(-1, 1, (2, COUNT, SIDE, SIDE, CHANNELS))
    return params, images


def discriminate(params, images, statistics=None):
    """Logits, and the means and variances of all batch norms: the batch's, unless given."""
    x, found = images.permute(0, 3, 1, 2), []
    for index in range(len(WIDTHS)):
        kernel = params[f"kernel{index}"].permute(3, 2, 0, 1)
        x = functional.conv2d(x, kernel, stride=2, padding=2)
        if index == 0:
            x = x + params["bias0"][:, None, None]
        else:
            own = (x.mean((0, 2, 3)), x.var((0, 2, 3), unbiased=False))
            mean, variance = own if statistics is None else statistics[index - 1]
            found.append(own)
            x = (x - mean[:, None, None]) / torch.sqrt(variance + EPSILON)[:, None, None]
            x = x * params[f"scale{index}"][:, None, None]
            x = x + params[f"shift{index}"][:, None, None]
        x = functional.leaky_relu(x, LEAK)
    x = x.permute(0, 2, 3, 1).reshape(COUNT, -1)
    logits = (x @ params["dense"] + params["dense_bias"])[:, 0]
    return logits + (params["embedding"][LABELS] * x).sum(1), found


def penalty(params, images):
    """Mean squared norm of each logit's gradient by its own image."""
    _, statistics = discriminate(params, images)
    images = images.clone().requires_grad_(True)
    logits, _ = discriminate(params, images, statistics)
    (gradient,) = torch.autograd.grad(logits.sum(), images, create_graph=True)
    return gradient.square().sum((1, 2, 3)).mean()


def main():
    """Prints the losses, the penalties, and each parameter's gradient as (norm, sum)."""
    torch.set_default_dtype(torch.float64)
    params, images = draw()
    params = {name: torch.tensor(value, requires_grad=True) for name, value in params.items()}
    real, fake = torch.tensor(images)
    on_real, on_fake = discriminate(params, real)[0], discriminate(params, fake)[0]
    adversarial = functional.softplus(on_fake - on_real).mean()
    generator = functional.softplus(on_real - on_fake).mean()
    r1, r2 = penalty(params, real), penalty(params, fake)
    (adversarial + R1 / 2 * r1 + R2 / 2 * r2).backward()
    print(f"ADVERSARIAL, GENERATOR = {adversarial.item():.8f}, {generator.item():.8f}")
    print(f"SQUARED_NORMS = {r1.item():.8f}, {r2.item():.8f}")
    for name, value in params.items():
        print(f'    "{name}": ({value.grad.norm().item():.8g}, {value.grad.sum().item():.8g}),')


if __name__ == "__main__":
    main()
