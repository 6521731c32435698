"""Uploads are decoded as the untrusted files that they are."""

import io

import numpy as np
import PIL.Image
import pytest

from experiments.explore.pictures import KEPT_UPLOADS, Uploads, fit_picture, pick
from imgopt.errors import InputError
from train.data.load import load_images
from train.data.write import encode_png

SHAPE = (16, 16, 3)


def a_hundred_megapixels() -> bytes:
    file = io.BytesIO()
    PIL.Image.new("1", (10_000, 10_001)).save(file, "PNG")
    return file.getvalue()


BAD = {
    "empty": (b"", "empty file"),
    "text": (b"a picture, honestly", "no PNG"),
    "a program": (b"<svg onload='alert(1)'/>", "no PNG"),
    "half a picture": (None, "damaged"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_file_that_is_no_picture_is_refused_in_one_line(name, picture_file):
    content, words = BAD[name]
    content = picture_file()[:600] if content is None else content
    with pytest.raises(InputError, match=words) as caught:
        fit_picture(content, SHAPE)
    assert "\n" not in str(caught.value)


def test_a_hundred_megapixels_are_refused_before_they_are_decoded():
    with pytest.raises(InputError, match="more than 89,478,485 pixels"):
        fit_picture(a_hundred_megapixels(), SHAPE)


@pytest.mark.parametrize("shape", [(16, 16, 3), (12, 20, 3), (20, 12, 1), (7, 7, 1)])
@pytest.mark.parametrize("size", [(40, 30), (5, 9), (16, 16)])
def test_pictures_of_any_size_take_the_classifiers_shape(shape, size, picture_file):
    found = fit_picture(picture_file(size=size), shape)
    assert found.shape == shape
    assert found.dtype == np.uint8


@pytest.mark.parametrize("mode", ["L", "1", "LA", "P", "RGBA", "I;16"])
def test_grey_and_other_pictures_become_three_channels(mode, picture_file):
    content = picture_file("RGB")
    if mode == "I;16":
        grey = np.asarray(PIL.Image.open(io.BytesIO(content)).convert("L")).astype(np.uint16)
        file = io.BytesIO()
        PIL.Image.fromarray(grey * 257).save(file, "PNG")
        content = file.getvalue()
    else:
        content = picture_file(mode)
    found = fit_picture(content, SHAPE)
    assert found.shape == SHAPE
    if mode in ("L", "1", "LA", "I;16"):
        assert (found[..., 0] == found[..., 2]).all()


def test_a_picture_of_the_right_size_keeps_its_pixels(picture_file):
    content = picture_file(size=(16, 16))
    wanted = np.asarray(PIL.Image.open(io.BytesIO(content)))
    assert (fit_picture(content, SHAPE) == wanted).all()


def test_a_classifier_of_four_channels_takes_no_uploads(picture_file):
    with pytest.raises(InputError, match="takes 4"):
        fit_picture(picture_file(), (16, 16, 4))


def test_the_oldest_uploads_are_forgotten(subject, picture_file):
    uploads = Uploads()
    names = [
        uploads.add(subject, picture_file(size=(3, 3 + i)), "x.png")
        for i in range(KEPT_UPLOADS + 1)
    ]
    assert uploads.get(names[-1]).file_name == "x.png"
    with pytest.raises(InputError, match="no longer kept"):
        uploads.get(names[0])


def test_images_are_picked_by_their_number(subject, data):
    found = load_images(data)
    picked = pick(subject, 5)
    assert (picked.pixels == found.images[5]).all()
    assert picked.label == found.labels[5]
    for index in (-1, len(found.images)):
        with pytest.raises(InputError, match=f"0 to 47.*{index}"):
            pick(subject, index)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_png_keeps_every_pixel(channels):
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, channels), np.uint8)
    found = np.asarray(PIL.Image.open(io.BytesIO(encode_png(pixels))))
    assert (found.reshape(pixels.shape) == pixels).all()
