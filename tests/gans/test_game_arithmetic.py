"""Arithmetic of GANs, beside counts by hand."""

import pytest

from gans.dcgan import DcganConfig
from gans.game_arithmetic import (
    dcgan_update_flop,
    encoder_update_flop,
    generation_flop,
    stack_update_flop,
)
from gans.stacked import StackConfig, stack_levels

# 16×16 pixels of one channel; (pixels, channels, channels) of 5×5 kernels, and dense layers.
DCGAN = DcganConfig(image_size=16, channels=1, num_classes=4, width=2)
GENERATOR = 2 * (150 * 16 + 25 * (1 * 16 * 8 + 4 * 8 * 4 + 16 * 4 * 2 + 64 * 2 * 1))
DISCRIMINATOR = 2 * (16 * 1 + 25 * (64 * 1 * 2 + 16 * 2 * 4 + 4 * 4 * 8 + 1 * 8 * 16))


@pytest.mark.parametrize("steps", [1, 3])
def test_a_dcgan_s_update_is_its_passes_counted_by_hand(steps):
    judging_real_and_made = GENERATOR + 2 * (3 * DISCRIMINATOR)
    fooling = 3 * GENERATOR + 2 * DISCRIMINATOR
    expected = judging_real_and_made + steps * fooling
    assert dcgan_update_flop(DCGAN, generator_steps=steps) == expected


def test_one_generator_s_step_is_the_habit():
    assert dcgan_update_flop(DCGAN) == 4 * GENERATOR + 8 * DISCRIMINATOR


def test_drawing_is_a_pass_of_the_generator():
    assert generation_flop(DCGAN) == GENERATOR


# 16×20 pixels of 3 channels; conv 5×5 → 12×16, pool → 6×8, conv → 2×4, pool2 → 1×2×4.
SIZES = {"image_shape": (16, 20, 3), "num_classes": 5, "encoder_width": 2, "width": 2}
STACK = StackConfig(**SIZES, cut_points=("pool2",))
CONV1 = 2 * (12 * 16) * (25 * 3 * 2)
CONV2 = 2 * (2 * 4) * (25 * 2 * 4)
FC3, LABEL = 2 * (1 * 2 * 4) * 8, 2 * 8 * 5

# Noise 16 → 2 → 2 → a map of 1×2×4, joined by pool2's; doubled, 4 more, doubled, 4 more.
MAPS = 2 * 25 * (2 * 8 * 4 + 8 * 4 * 2 + 48 * 2 * 2 + 192 * 2 * 3)
IMAGE_GENERATOR = 2 * (16 * 2 + 2 * 2 + 2 * 8) + MAPS
# Halved three times, to 2×3×4; dense to 4, then to a logit and a guess of the noise.
HALVINGS = 2 * 25 * (80 * 3 * 1 + 20 * 1 * 2 + 6 * 2 * 4)
IMAGE_DISCRIMINATOR = HALVINGS + 2 * (24 * 4 + 4 * 1 + 4 * 16)

# Noise 50 → 2 → 2, joined by 5 classes → 1×2×4; four convolutions that keep the size.
LABEL_GENERATOR = 2 * (50 * 2 + 2 * 2 + 7 * 8) + 2 * 25 * 2 * (4 * 4 + 4 * 2 + 2 * 2 + 2 * 4)
LABEL_DISCRIMINATOR = 2 * (8 * 4 + 4 * 1 + 4 * 50)


def test_the_encoder_is_trained_by_all_its_layers():
    assert encoder_update_flop(STACK) == 3 * (CONV1 + CONV2 + FC3 + LABEL)


@pytest.mark.parametrize("steps", [1, 5])
def test_a_level_of_images_looks_as_far_as_its_condition(steps):
    bottom, _ = stack_levels(STACK)
    game = (1 + 3 * steps) * IMAGE_GENERATOR + (6 + 2 * steps) * IMAGE_DISCRIMINATOR
    seen = CONV1 + CONV2
    expected = game + seen + steps * 2 * seen
    assert stack_update_flop(STACK, [bottom], generator_steps=steps) == expected


def test_a_level_of_labels_has_the_encoder_judge_what_it_made():
    _, top = stack_levels(STACK)
    game = 4 * LABEL_GENERATOR + 8 * LABEL_DISCRIMINATOR
    expected = game + (CONV1 + CONV2) + 2 * (FC3 + LABEL)
    assert stack_update_flop(STACK, [top]) == expected


def test_levels_trained_together_look_once_at_the_real_images():
    stack = StackConfig(**SIZES, cut_points=("pool1", "fc3"))
    levels = stack_levels(stack)
    apart = sum(stack_update_flop(stack, [level]) for level in levels)
    looks = [CONV1, CONV1 + CONV2 + FC3, CONV1 + CONV2 + FC3]
    assert stack_update_flop(stack, levels) == apart - sum(looks[:2])


def test_drawing_passes_all_levels_of_a_stack():
    assert generation_flop(STACK) == IMAGE_GENERATOR + LABEL_GENERATOR
