"""A grid of images: every pixel where it belongs."""

import io

import numpy as np
import PIL.Image
import pytest

from experiments.pages.sample_grid import GAP_PX, sample_grid

ROWS, COLUMNS, HEIGHT, WIDTH = 2, 3, 5, 4


def grid_images(channels: int = 3) -> np.ndarray:
    shape = (ROWS, COLUMNS, HEIGHT, WIDTH, channels)
    return np.random.default_rng(0).integers(0, 255, shape, dtype=np.uint8)


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("scale", [1, 2, 3])
def test_every_image_lies_in_its_place_on_white(channels, scale):
    images = grid_images(channels)
    with PIL.Image.open(io.BytesIO(sample_grid(images, scale=scale))) as image:
        assert image.format == "PNG"
        sheet = np.array(image).reshape(image.height, image.width, channels)
    height, width = HEIGHT * scale + GAP_PX, WIDTH * scale + GAP_PX
    assert sheet.shape == (ROWS * height - GAP_PX, COLUMNS * width - GAP_PX, channels)
    for row in range(ROWS):
        for column in range(COLUMNS):
            place = sheet[row * height :, column * width :][: height - GAP_PX, : width - GAP_PX]
            np.testing.assert_array_equal(place[::scale, ::scale], images[row, column])
            np.testing.assert_array_equal(
                place, np.kron(images[row, column], np.ones((scale, scale, 1), np.uint8))
            )
            sheet[row * height :, column * width :][: height - GAP_PX, : width - GAP_PX] = 255
    assert (sheet == 255).all()


def test_equal_images_give_equal_bytes():
    assert sample_grid(grid_images()) == sample_grid(grid_images())


@pytest.mark.parametrize(
    ("images", "scale", "message"),
    [
        (grid_images(2), 2, r"1, 3 or 4\).*uint8 \(2, 3, 5, 4, 2\)"),
        (grid_images()[0], 2, r"rows, columns.*uint8 \(3, 5, 4, 3\)"),
        (grid_images().astype(np.float32), 2, "expected images as uint8.*float32"),
        (grid_images()[:0], 2, r"at least one.*\(0, 3, 5, 4, 3\)"),
        (grid_images(), 0, "scale must be at least 1, got 0"),
    ],
)
def test_wrong_input_is_refused(images, scale, message):
    with pytest.raises(ValueError, match=message):
        sample_grid(images, scale=scale)
