"""Computes the reference vectors of the tests with PyTorch, in float64, into `pytorch.npz`.

Run by hand, in an environment with torch 2.13 and numpy:

    python tests/references/make_vectors.py

Arrays are NHWC, convolution kernels HWIO, kernels of transposed convolutions (height, width, in,
out). Inputs have few binary digits, so that the file is small; the results are float64.
"""

from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

OUT = Path(__file__).with_name("pytorch.npz")

SHAPE = (6, 16, 12, 3)
"""Shape of the images that synthesis starts from."""

NUM_CLASSES = 10
CHANNELS = (12, 16)
"""Output channels of the small classifier's two convolutions."""

SEED = 3
"""With this seed no image of the synthesis comes near a kink of ReLU or pooling in float32."""

MARGIN = 1e-3
RADIUS = 5
"""Radius of the low-pass filter, in cycles an image; it removes 123 of 192 coefficients."""

STEPS, LEARNING_RATE, WEIGHT_DECAY, MOMENTUM = 100, 0.05, 5e-4, 0.9
CASES = {
    "sgd": ("pytorch", 0.0, False),
    "momentum_pytorch": ("pytorch", MOMENTUM, False),
    "momentum_printed": ("printed", MOMENTUM, False),
    "momentum_low_pass": ("pytorch", MOMENTUM, True),
}
"""Form of the update rule, momentum, and whether the low-pass filter is applied, by case."""

Arrays = dict[str, np.ndarray]


def channels_first(x: torch.Tensor) -> torch.Tensor:
    """NHWC to NCHW."""
    return x.permute(0, 3, 1, 2)


def channels_last(x: torch.Tensor) -> torch.Tensor:
    """NCHW to NHWC."""
    return x.permute(0, 2, 3, 1)


def dyadic(random: np.random.Generator, *shape: int, std: float = 1.0, bits: int = 5) -> np.ndarray:
    """Normal numbers rounded to multiples of std / 2**bits; `std` is a power of 2."""
    return np.round(random.normal(size=shape) * 2**bits) / 2**bits * std


# Synthesis


def classify(params: dict[str, torch.Tensor], images: torch.Tensor) -> torch.Tensor:
    """The logits of a small classifier for images in [0, 1]."""
    x = channels_first((images - 0.5) / 0.25)
    for layer in ("conv1", "conv2"):
        kernel = params[f"{layer}_kernel"].permute(3, 2, 0, 1)
        x = functional.conv2d(x, kernel, params[f"{layer}_bias"], padding=1)
        x = functional.max_pool2d(functional.relu(x), 2)
    return channels_last(x).flatten(1) @ params["dense_kernel"] + params["dense_bias"]


def low_pass(images: torch.Tensor, radius: float) -> torch.Tensor:
    """Keeps the Fourier coefficients whose distance from DC is below the radius, then clips."""
    rows, columns = (torch.fft.fftfreq(n, d=1 / n, dtype=images.dtype) for n in images.shape[1:3])
    keep = torch.hypot(rows[:, None], columns[None]) < radius
    spectrum = torch.fft.fft2(images, dim=(1, 2)) * keep[None, :, :, None]
    return torch.fft.ifft2(spectrum, dim=(1, 2)).real.clip(0, 1)


def to_weights(images: torch.Tensor, margin: float) -> torch.Tensor:
    """Paper A, eq. 2, after clipping to [margin, 1 - margin]."""
    return torch.tan((images.clip(margin, 1 - margin) - 0.5) * torch.pi)


def synthesize(
    params: dict[str, torch.Tensor],
    images: torch.Tensor,
    targets: torch.Tensor,
    margin: float,
    case: tuple[str, float, float],
) -> Arrays:
    """The images after 100 updates, and the classifier's outputs for them after rounding.

    Args:
        params: of the classifier.
        images: the originals, in [0, 1].
        targets: the distributions asked for.
        margin: of the pixel map.
        case: form of the rule, momentum, and the filter's radius (0: no filter).
    """
    form, momentum, radius = case

    def render(weights: torch.Tensor) -> torch.Tensor:
        x = torch.arctan(weights) / torch.pi + 0.5
        return low_pass(x, radius) if radius else x

    weights = to_weights(images, margin).requires_grad_()
    optimizer = torch.optim.SGD(
        [weights], lr=LEARNING_RATE, momentum=momentum, weight_decay=WEIGHT_DECAY
    )
    velocity = torch.zeros_like(weights)
    for _ in range(STEPS):
        optimizer.zero_grad()
        log_p = functional.log_softmax(classify(params, render(weights)), 1)
        (-(targets * log_p).sum()).backward()
        if form == "pytorch":
            optimizer.step()
            continue
        with torch.no_grad():  # paper A, eqs. 7 and 8, as they are printed
            gradient = weights.grad + WEIGHT_DECAY * weights
            velocity = momentum * velocity + LEARNING_RATE * gradient
            weights -= LEARNING_RATE * velocity
    with torch.no_grad():
        finished = render(weights)
        rounded = torch.round(finished * 255) / 255
        log_q = functional.log_softmax(classify(params, rounded), 1)
        kl = functional.kl_div(log_q, targets, reduction="none").sum(1)
    return {
        "images": finished.numpy(),
        "outputs_uint8": log_q.exp().numpy(),
        "kl_uint8": kl.numpy(),
    }


def make_images(random: np.random.Generator) -> np.ndarray:
    """Smooth random images of uint8 with a little noise; some pixels are 0 and some 255."""
    _, height, width, _ = SHAPE
    rows, columns = np.arange(height)[:, None, None], np.arange(width)[None, :, None]
    images = []
    for _ in range(SHAPE[0]):
        rate, phase = random.uniform(-0.6, 0.6, (2, 3)), random.uniform(0, 6, 3)
        wave = np.sin(rate[0] * rows + rate[1] * columns + phase)
        noisy = 128 + 135 * wave + random.normal(size=wave.shape) * 12
        images.append(noisy.clip(0, 255).astype(np.uint8))
    return np.stack(images)


def synthesis(random: np.random.Generator) -> Arrays:
    """A classifier, images, targets, and what synthesis makes of them."""
    images = make_images(random)
    own, other = random.permuted(np.tile(np.arange(NUM_CLASSES), (SHAPE[0], 1)), axis=1)[:, :2].T
    classes = np.eye(NUM_CLASSES)
    dense_inputs = SHAPE[1] // 4 * (SHAPE[2] // 4) * CHANNELS[1]
    params = {
        "conv1_kernel": dyadic(random, 3, 3, 3, CHANNELS[0], std=0.25),
        "conv1_bias": dyadic(random, CHANNELS[0], std=0.125),
        "conv2_kernel": dyadic(random, 3, 3, *CHANNELS, std=0.125),
        "conv2_bias": dyadic(random, CHANNELS[1], std=0.125),
        "dense_kernel": dyadic(random, dense_inputs, NUM_CLASSES, std=0.125),
        "dense_bias": dyadic(random, NUM_CLASSES, std=0.125),
    }
    found = {
        **params, "images": images, "targets": 0.9 * classes[own] + 0.1 * classes[other],
        "margin": np.float64(MARGIN),
    }  # fmt: skip
    tensors = {name: torch.from_numpy(value) for name, value in params.items()}
    floats, targets = torch.from_numpy(images / 255), torch.from_numpy(found["targets"])
    for name, (form, momentum, filtered) in CASES.items():
        case = (form, momentum, RADIUS if filtered else 0)
        arrays = synthesize(tensors, floats, targets, MARGIN, case)
        found |= {f"{name}_{key}": value for key, value in arrays.items()}
    return found


def mixed_loss(
    logits: np.ndarray, labels: np.ndarray, teacher: np.ndarray, is_generated: np.ndarray
) -> Arrays:
    """Paper A, eq. 9, as 0.5 KL(q ‖ p) + 0.5 cross entropy, with its gradient."""
    x = torch.from_numpy(logits).requires_grad_()
    t = torch.from_numpy(labels).long()
    one_hot = functional.one_hot(t, logits.shape[1]).to(x.dtype)
    target = torch.where(
        torch.from_numpy(is_generated)[:, None], torch.from_numpy(teacher), one_hot
    )
    kl = functional.kl_div(functional.log_softmax(x, 1), target, reduction="none").sum(1)
    loss = 0.5 * kl + 0.5 * functional.cross_entropy(x, t, reduction="none")
    loss.sum().backward()
    return {"loss": loss.detach().numpy(), "grad": x.grad.numpy()}


def losses(random: np.random.Generator) -> Arrays:
    """Examples of the mixed loss."""
    logits = dyadic(random, 16, NUM_CLASSES, std=2.0)
    labels = random.integers(0, NUM_CLASSES, 16).astype(np.int32)
    teacher = random.dirichlet(np.ones(NUM_CLASSES), 16)
    is_generated = np.arange(16) % 2 == 0
    found = {"logits": logits, "labels": labels, "teacher": teacher, "is_generated": is_generated}
    found |= mixed_loss(logits, labels, teacher, is_generated)
    return {f"mixed_{name}": value for name, value in found.items()}


# Layers


def convolve(images: np.ndarray, kernel: np.ndarray, *, stride: int, padding: int) -> np.ndarray:
    """A convolution with symmetric zero padding."""
    x, weight = channels_first(torch.from_numpy(images)), torch.from_numpy(kernel)
    weight = weight.permute(3, 2, 0, 1)
    return channels_last(functional.conv2d(x, weight, stride=stride, padding=padding)).numpy()


def transpose(images: np.ndarray, kernel: np.ndarray, *, stride: int) -> np.ndarray:
    """A transposed 5×5 convolution: stride 2 doubles the size, stride 1 is without padding."""
    options = {"padding": 2, "output_padding": 1} if stride == 2 else {}
    x, weight = channels_first(torch.from_numpy(images)), torch.from_numpy(kernel)
    weight = weight.permute(2, 3, 0, 1)
    found = functional.conv_transpose2d(x, weight, stride=stride, **options)
    return channels_last(found).numpy()


def batch_norm(images: np.ndarray, scale: np.ndarray, bias: np.ndarray) -> Arrays:
    """Batch norm in training from fresh running averages (0 and 1), then in evaluation."""
    x = channels_first(torch.from_numpy(images))
    mean, var = torch.zeros(len(scale), dtype=x.dtype), torch.ones(len(scale), dtype=x.dtype)
    options = {"weight": torch.from_numpy(scale), "bias": torch.from_numpy(bias), "eps": 1e-5}
    trained = functional.batch_norm(x, mean, var, training=True, momentum=0.1, **options)
    evaluated = functional.batch_norm(x, mean, var, training=False, **options)
    return {
        "train_output": channels_last(trained).numpy(), "running_mean": mean.numpy(),
        "running_var": var.numpy(), "eval_output": channels_last(evaluated).numpy(),
    }  # fmt: skip


def resize(images: np.ndarray, size_px: int) -> np.ndarray:
    """Bilinear resizing with align_corners=False."""
    x = channels_first(torch.from_numpy(images))
    options = {"mode": "bilinear", "align_corners": False, "antialias": False}
    return channels_last(functional.interpolate(x, size=(size_px, size_px), **options)).numpy()


LAYERS = {
    "transpose_k5_s2_half": ((3, 5, 5, 6), (5, 5, 6, 4), transpose, {"stride": 2}),
    "transpose_k5_s1_valid": ((3, 10, 10, 4), (5, 5, 4, 3), transpose, {"stride": 1}),
    "conv_k5_s2": ((2, 32, 32, 3), (5, 5, 3, 8), convolve, {"stride": 2, "padding": 2}),
    "conv_k3_s1_same": ((2, 9, 9, 5), (3, 3, 5, 7), convolve, {"stride": 1, "padding": 1}),
    "conv_k5_valid": ((2, 32, 32, 3), (5, 5, 3, 6), convolve, {"stride": 1, "padding": 0}),
}
"""Shapes of images and kernel, the function and its options, by name."""


def layers(random: np.random.Generator) -> Arrays:
    """Inputs and outputs of convolutions, batch norm and bilinear resizing."""
    found: Arrays = {}
    for name, (shape, kernel_shape, function, options) in LAYERS.items():
        images, kernel = dyadic(random, *shape, bits=3), dyadic(random, *kernel_shape, std=0.25)
        output = function(images, kernel, **options)
        found |= {f"{name}_input": images, f"{name}_kernel": kernel, f"{name}_output": output}
    images = dyadic(random, 8, 4, 4, 5, bits=3) * 2 + 1
    scale, bias = 1 + dyadic(random, 5, std=0.25), dyadic(random, 5, std=0.25)
    norm = {"input": images, "scale": scale, "bias": bias, **batch_norm(images, scale, bias)}
    found |= {f"batch_norm_{name}": value for name, value in norm.items()}
    small = random.integers(0, 256, (2, 24, 24, 3)) / 256
    return {
        **found, "resize_24_to_32_input": small, "resize_24_to_32_bilinear": resize(small, 32),
    }  # fmt: skip


def main() -> None:
    """Writes the file."""
    random = np.random.default_rng(SEED)
    np.savez_compressed(OUT, **synthesis(random), **losses(random), **layers(random))
    print(f"{OUT}: {OUT.stat().st_size / 1024:.0f} KiB")


if __name__ == "__main__":
    main()
