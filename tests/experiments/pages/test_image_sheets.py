"""Grids of images: every pixel in its place."""

import io

import numpy as np
import PIL.Image
import pytest

from experiments.pages.image_sheets import GAP_PX, GRID_SCALE, sample_grid

ROWS, COLUMNS, GRID_HEIGHT, GRID_WIDTH = 2, 3, 5, 4


def grid_images(channels: int = 3) -> np.ndarray:
    shape = (ROWS, COLUMNS, GRID_HEIGHT, GRID_WIDTH, channels)
    return np.random.default_rng(0).integers(0, 255, shape, dtype=np.uint8)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_every_image_lies_in_its_place_on_white(channels):
    images, scale = grid_images(channels), GRID_SCALE
    with PIL.Image.open(io.BytesIO(sample_grid(images))) as image:
        assert image.format == "PNG"
        sheet = np.array(image).reshape(image.height, image.width, channels)
    height, width = GRID_HEIGHT * scale + GAP_PX, GRID_WIDTH * scale + GAP_PX
    assert sheet.shape == (ROWS * height - GAP_PX, COLUMNS * width - GAP_PX, channels)
    for row in range(ROWS):
        for column in range(COLUMNS):
            place = sheet[row * height :, column * width :][: height - GAP_PX, : width - GAP_PX]
            np.testing.assert_array_equal(
                place, np.kron(images[row, column], np.ones((scale, scale, 1), np.uint8))
            )
            sheet[row * height :, column * width :][: height - GAP_PX, : width - GAP_PX] = 255
    assert (sheet == 255).all()


def test_equal_images_give_equal_bytes():
    assert sample_grid(grid_images()) == sample_grid(grid_images())
