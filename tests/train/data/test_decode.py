"""Quick decoding: what it takes, it decodes as Pillow does; what it does not, it leaves alone."""

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from train.data.decode import decode_into
from train.data.read_split import PILLOW_MODES

SHAPE = (9, 6)
LEVELS = np.random.default_rng(0).integers(0, 256, (*SHAPE, 4), dtype=np.uint8)
LEVELS[2:7] = LEVELS[2:7, :1]  # lines, on which codecs' predictions differ


def encoded(kind, mode, **options):
    image = Image.fromarray(LEVELS, "RGBA") if mode == "RGBA" else Image.fromarray(LEVELS[..., :3])
    buffer = io.BytesIO()
    image.convert(mode).save(buffer, kind, **options)
    return buffer.getvalue()


FILES = {
    "PNG": (encoded("PNG", "RGB"), {3}),
    "PNG, grey": (encoded("PNG", "L"), {1}),
    "PNG, two levels": (encoded("PNG", "1"), {1}),
    "PNG, palette": (encoded("PNG", "P"), {3}),
    "PNG, palette of 4": (encoded("PNG", "P", bits=2), {3}),
    "PNG, one level transparent": (encoded("PNG", "P", transparency=3), {3}),
    "PNG, one colour transparent": (encoded("PNG", "RGB", transparency=(1, 2, 3)), {3}),
    "PNG, transparent": (encoded("PNG", "RGBA"), {4}),
    "PNG, grey and transparent": (encoded("PNG", "LA"), set()),
    "PNG, 16 bits": (encoded("PNG", "I;16"), set()),
    "PNG, with a profile": (encoded("PNG", "RGB", icc_profile=b"nothing known"), {3}),
    "JPEG": (encoded("JPEG", "RGB"), {3}),
    "JPEG, grey": (encoded("JPEG", "L"), {1, 3}),
    "JPEG, four colours": (encoded("JPEG", "CMYK"), set()),
    "JPEG, whole colours": (encoded("JPEG", "RGB", subsampling="4:4:4"), {3}),
    "JPEG, progressive": (encoded("JPEG", "RGB", progressive=True), {3}),
    "JPEG, red, green and blue": (encoded("JPEG", "RGB", keep_rgb=True), {3}),
    "GIF": (encoded("GIF", "RGB"), set()),
}
"""Contents, and the numbers of channels that they are decoded to quickly."""


def by_pillow(content, channels):
    with Image.open(io.BytesIO(content)) as image:
        pixels = np.asarray(image.convert(PILLOW_MODES[channels]))
    return pixels.reshape(*SHAPE, channels)


@pytest.mark.parametrize("channels", PILLOW_MODES)
@pytest.mark.parametrize("name", FILES)
def test_what_is_decoded_is_what_pillow_decodes(name, channels):
    (content, quick), pixels = FILES[name], np.empty((*SHAPE, channels), np.uint8)
    assert decode_into(content, pixels) == (channels in quick)
    if channels in quick:
        np.testing.assert_array_equal(pixels, by_pillow(content, channels))


@pytest.mark.parametrize("name", ["PNG", "JPEG"])
@pytest.mark.parametrize("shape", [(6, 9, 3), (9, 7, 3), (9, 5, 3), (10, 6, 3), (18, 3, 3)])
def test_an_image_of_another_size_is_left_alone(name, shape):
    assert not decode_into(FILES[name][0], np.empty(shape, np.uint8))


@given(data=st.data(), name=st.sampled_from(["PNG", "PNG, palette", "JPEG", "JPEG, progressive"]))
@settings(max_examples=300, deadline=None)
def test_damage_that_is_accepted_is_accepted_by_pillow_too(data, name):
    content = bytearray(FILES[name][0])
    place = data.draw(st.integers(0, len(content) - 1))
    match data.draw(st.sampled_from(["flip", "cut", "zeros", "double"])):
        case "flip":
            content[place] ^= data.draw(st.integers(1, 255))
        case "cut":
            del content[place:]
        case "zeros":
            content[place : place + 8] = bytes(8)
        case _:
            content[place:place] = content[place : place + 8]
    pixels = np.empty((*SHAPE, 3), np.uint8)
    if decode_into(bytes(content), pixels):
        np.testing.assert_array_equal(pixels, by_pillow(bytes(content), 3))
