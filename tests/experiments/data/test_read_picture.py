"""Pictures of users: Pillow and bytes written here make them, and the pixels are known."""

import io
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms, PngImagePlugin

from experiments.data.read_picture import NotRead, ReadPicture, read_picture, square

SMOOTH = np.stack([*np.meshgrid(np.arange(60) * 4, np.arange(40) * 4), np.full((40, 60), 90)], -1)
SMOOTH = SMOOTH.astype(np.uint8)
"""A picture of 60 × 40 pixels without edges, which a JPEG keeps well."""


def read(path: Path, size: int = 8) -> ReadPicture:
    found = read_picture(path, size=size)
    assert isinstance(found, ReadPicture), found
    return found


def reason(path: Path) -> str:
    found = read_picture(path, size=8)
    assert isinstance(found, NotRead)
    return found.reason


def square_of(content: bytes, size: int) -> np.ndarray:
    with Image.open(io.BytesIO(content)) as image:
        return square(image, size=size).pixels


# Formats


@pytest.mark.parametrize(
    ("name", "mode"),
    [
        ("a.png", "RGB"), ("a.png", "P"), ("a.png", "RGBA"), ("a.jpg", "RGB"), ("A.JPG", "CMYK"),
        ("a.webp", "RGB"), ("a.bmp", "RGB"), ("a.tif", "RGB"), ("a.tiff", "CMYK"), ("a.gif", "RGB"),
    ],
)  # fmt: skip
def test_a_format_gives_the_pixels_that_were_saved(name, mode, tmp_path):
    Image.fromarray(SMOOTH).convert(mode).save(tmp_path / name)
    found, wanted = read(tmp_path / name, 40), square(Image.fromarray(SMOOTH), size=40)
    assert np.abs(found.pixels.astype(int) - wanted.pixels).mean() < 20  # of the web palette
    assert found.remarks == ()


@pytest.mark.parametrize(("name", "mode"), [("a.png", "1"), ("a.tif", "1"), ("a.jpg", "L")])
def test_grey_and_black_and_white(name, mode, tmp_path):
    Image.fromarray(SMOOTH).convert(mode).save(tmp_path / name)
    pixels = read(tmp_path / name).pixels
    assert (pixels == pixels[:, :, :1]).all()
    assert pixels.std() > 20


@pytest.mark.parametrize("name", ["a.gif", "a.png", "a.webp", "a.tif"])
def test_of_an_animation_the_first_frame_is_taken_and_it_is_said(name, tmp_path):
    first, second = Image.new("RGB", (8, 8), "red"), Image.new("RGB", (8, 8), "blue")
    first.save(tmp_path / name, save_all=True, append_images=[second], lossless=True)
    found = read(tmp_path / name)
    np.testing.assert_array_equal(found.pixels, np.full((8, 8, 3), [255, 0, 0]))
    assert found.remarks == ("animated; its first frame is taken",)


def test_the_preview_in_a_photograph_is_no_animation(tmp_path):
    photograph, preview = Image.new("RGB", (80, 80), "red"), Image.new("RGB", (8, 8), "blue")
    photograph.save(tmp_path / "a.jpg", "MPO", save_all=True, append_images=[preview])
    found = read(tmp_path / "a.jpg")
    assert found.pixels.reshape(-1, 3).max(0).tolist() == [254, 0, 0]
    assert found.remarks == ()


@pytest.mark.parametrize("size", [32, 400])
def test_a_large_photograph_is_like_the_one_decoded_in_full(size, tmp_path):
    rng = np.random.default_rng(0)
    noise = Image.fromarray(rng.integers(0, 256, (300, 400, 3), np.uint8)).resize((1600, 1200))
    noise.save(tmp_path / "a.jpg", quality=95, subsampling=0)
    noise.save(tmp_path / "a.png")
    whole, scaled = read(tmp_path / "a.png", size).pixels, read(tmp_path / "a.jpg", size).pixels
    assert np.abs(scaled.astype(int) - whole).mean() < 3


# Metadata

ORIENTATION = (0x0112, 3, 1, struct.pack("<HH", 6, 0))
AFTER_TAGS = 8 + 2 + 2 * 12 + 4

TAGS = {
    "resolution as text": (0x011A, 2, 4, b"72\0\0"),
    "resolution as bytes": (0x011A, 7, 4, b"\x48\0\0\0"),
    "resolution divided by zero": (0x011A, 5, 1, struct.pack("<I", AFTER_TAGS)),
    "unit as rational": (0x0128, 5, 1, struct.pack("<I", AFTER_TAGS)),
    "unit as text": (0x0128, 2, 2, b"2\0\0\0"),
    "maker as number": (0x010F, 3, 1, struct.pack("<HH", 7, 0)),
    "model as rational": (0x0110, 5, 1, struct.pack("<I", AFTER_TAGS)),
    "model beyond the end": (0x0110, 2, 2000, struct.pack("<I", 60_000)),
    "place at nowhere": (0x8825, 4, 1, struct.pack("<I", 0)),
    "type unknown": (0x0110, 99, 1, b"\0\0\0\0"),
}
"""Malformed tags of EXIF: number, type, count and value."""


def exif(*tags: tuple[int, int, int, bytes]) -> bytes:
    entries = b"".join(struct.pack("<HHI", *tag[:3]) + tag[3] for tag in sorted(tags))
    head = b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<H", len(tags))
    return head + entries + bytes(4) + struct.pack("<II", 72, 0)


def photograph(path: Path, metadata: bytes) -> Path:
    buffer = io.BytesIO()
    Image.fromarray(SMOOTH).save(buffer, "JPEG", quality=95)
    jpeg = buffer.getvalue()
    segment = b"\xff\xe1" + struct.pack(">H", len(metadata) + 2) + metadata
    path.write_bytes(jpeg[:2] + segment + jpeg[2:])
    return path


@pytest.mark.parametrize("name", TAGS)
def test_a_malformed_tag_does_not_hide_the_orientation(name, tmp_path):
    found = read(photograph(tmp_path / "a.jpg", exif(ORIENTATION, TAGS[name])))
    upright = read(photograph(tmp_path / "b.jpg", exif())).pixels
    np.testing.assert_allclose(found.pixels.astype(int), np.rot90(upright, -1), atol=8)
    assert found.remarks == ()


def test_an_orientation_with_two_values_and_broken_exif(tmp_path):
    upright = read(photograph(tmp_path / "b.jpg", exif())).pixels
    twice = (0x0112, 3, 2, struct.pack("<HH", 6, 6))
    found = read(photograph(tmp_path / "a.jpg", exif(twice))).pixels
    np.testing.assert_allclose(found.astype(int), np.rot90(upright, -1), atol=8)
    broken = read(photograph(tmp_path / "a.jpg", b"Exif\0\0no such byte order"))
    np.testing.assert_array_equal(broken.pixels, upright)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.webp"])
def test_every_orientation_is_turned_upright(name, orientation, tmp_path):
    upright = np.arange(4 * 4 * 3).reshape(4, 4, 3).astype(np.uint8)
    stored = {
        1: upright, 2: upright[:, ::-1], 3: upright[::-1, ::-1], 4: upright[::-1],
        5: upright.transpose(1, 0, 2), 6: np.rot90(upright),
        7: upright[::-1, ::-1].transpose(1, 0, 2), 8: np.rot90(upright, -1),
    }  # fmt: skip
    tags = Image.Exif()
    tags[0x0112] = orientation
    image = Image.fromarray(np.ascontiguousarray(stored[orientation]))
    image.save(tmp_path / name, exif=tags, lossless=True, exact=True)
    np.testing.assert_array_equal(read(tmp_path / name, 4).pixels, upright)


# Levels and transparency


def png(depth: int, values: list[int], clear: list[int]) -> bytes:
    """A PNG of one row, grey or of colours, with a transparent level or colour."""

    def chunk(name: bytes, content: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(name + content))
        return struct.pack(">I", len(content)) + name + content + check

    bits = "".join(format(value, f"0{depth}b") for value in values)
    row = int(bits.ljust(-(-len(bits) // 8) * 8, "0"), 2).to_bytes(-(-len(bits) // 8), "big")
    colour_type = {1: 0, 3: 2}[len(clear)]
    width = len(values) // len(clear)
    return b"".join(
        [
            b"\x89PNG\r\n\x1a\n",
            chunk(b"IHDR", struct.pack(">IIBBBBB", width, width, depth, colour_type, 0, 0, 0)),
            chunk(b"tRNS", struct.pack(f">{len(clear)}H", *clear)),
            chunk(b"IDAT", zlib.compress((b"\0" + row) * width)),
            chunk(b"IEND", b""),
        ]
    )


@pytest.mark.parametrize("depth", [2, 4, 16])
@pytest.mark.parametrize("clear", range(4))
def test_grey_of_any_depth_equals_its_twin_of_8_bits(depth, clear):
    levels, top = [0, 1, 2, 3], 2**depth - 1
    deep = png(depth, [level * top // 3 for level in levels], [clear * top // 3])
    twin = png(8, [level * 85 for level in levels], [clear * 85])
    np.testing.assert_array_equal(square_of(deep, 4), square_of(twin, 4))
    assert (square_of(twin, 4)[0, clear] == 255).all()


def test_colours_of_16_bits_equal_their_twins_of_8_bits():
    colours = [0x12, 0x34, 0x56, 0x78, 0x9A, 0xBC]
    twin = square_of(png(8, colours, colours[:3]), 2)
    assert twin[0].tolist() == [[255, 255, 255], [0x78, 0x9A, 0xBC]]
    for low in (0x00, 0x77):
        deep = [colour * 256 + low for colour in colours]
        np.testing.assert_array_equal(square_of(png(16, deep, deep[:3]), 2), twin)


def test_transparent_parts_are_white_and_16_bits_become_8(tmp_path):
    clear = Image.new("RGBA", (4, 4), (10, 20, 30, 0))
    np.testing.assert_array_equal(square(clear, size=4).pixels, np.full((4, 4, 3), 255))
    for name in ("a.png", "a.tif"):
        Image.fromarray(np.full((4, 4), 128 * 257, np.uint16)).save(tmp_path / name)
        np.testing.assert_array_equal(read(tmp_path / name, 4).pixels, np.full((4, 4, 3), 128))


@pytest.mark.parametrize("dtype", [np.int32, np.float32])
def test_levels_without_a_known_range_are_refused(dtype, tmp_path):
    Image.fromarray(np.ones((4, 4), dtype)).save(tmp_path / "a.tif")
    assert "32 bits" in reason(tmp_path / "a.tif")


# Colour profiles


SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def profile_of_swapped_colours() -> bytes:
    """The profile of sRGB with red and green exchanged."""
    return SRGB.replace(b"rXYZ", b"tmp_").replace(b"gXYZ", b"rXYZ").replace(b"tmp_", b"gXYZ")


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "L"])
def test_colours_are_converted_to_srgb(mode, tmp_path):
    colours = Image.new("RGB", (4, 4), (200, 60, 90)).convert(mode)
    colours.save(tmp_path / "a.png", icc_profile=profile_of_swapped_colours())
    colours.save(
        tmp_path / "b.png",
        icc_profile=SRGB,
    )
    swapped, same = read(tmp_path / "a.png", 4), read(tmp_path / "b.png", 4)
    np.testing.assert_array_equal(same.pixels, np.asarray(colours.convert("RGB")))
    np.testing.assert_allclose(swapped.pixels.astype(int), same.pixels[:, :, [1, 0, 2]], atol=2)
    assert swapped.remarks == same.remarks == ()


@pytest.mark.parametrize(
    ("profile", "mode", "remark"),
    [(b"broken", "RGB", "is broken"), (None, "CMYK", "is for RGB and not for CMYK")],
)
def test_a_profile_that_does_not_help_is_ignored_and_it_is_said(profile, mode, remark, tmp_path):
    image = Image.new("RGB", (8, 8), (200, 60, 90)).convert(mode)
    image.save(tmp_path / "a.tif", icc_profile=profile or profile_of_swapped_colours())
    found = read(tmp_path / "a.tif")
    np.testing.assert_array_equal(found.pixels, np.asarray(image.convert("RGB")))
    assert remark in found.remarks[0]


def test_large_texts_and_profiles_of_a_png_are_read(tmp_path):
    texts = PngImagePlugin.PngInfo()
    texts.add_text("workflow", "x" * 2**21, zip=True)
    Image.fromarray(SMOOTH).save(tmp_path / "a.png", pnginfo=texts, icc_profile=bytes(2**21))
    found, limit = read(tmp_path / "a.png"), PngImagePlugin.MAX_TEXT_CHUNK
    np.testing.assert_array_equal(found.pixels, square(Image.fromarray(SMOOTH), size=8).pixels)
    assert limit == 2**20


# Files that are no pictures


def test_what_is_no_picture_has_a_reason(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "link.png").symlink_to("nowhere")
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.png").write_text("no picture")
    Image.fromarray(SMOOTH).save(tmp_path / "cut.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "cut.png").read_bytes()[:100])
    assert {path.stem: reason(path) for path in tmp_path.iterdir() if path.stem != "cut"} == {
        "pipe": "a pipe, socket or device",
        "folder": "a folder in the folder of a class",
        "link": "a link to a file that does not exist",
        "empty": "an empty file",
        "text": "no PNG, JPEG, WebP, BMP, TIFF or GIF",
    }
    assert reason(tmp_path / "cut.png").startswith("damaged (")


@pytest.mark.parametrize(
    ("error", "words"), [(MemoryError(), "memory"), (RuntimeError("odd"), "damaged (odd)")]
)
def test_whatever_pillow_raises_is_a_reason(error, words, tmp_path, monkeypatch):
    def fail(*_args, **_options):
        raise error

    Image.fromarray(SMOOTH).save(tmp_path / "a.png")
    monkeypatch.setattr(PngImagePlugin.PngImageFile, "load", fail)
    assert words in reason(tmp_path / "a.png")


def test_a_decompression_bomb_is_not_read(tmp_path, monkeypatch):
    for name, side in (("bomb.png", 50), ("huge.png", 80)):
        Image.new("L", (side, side)).save(tmp_path / name)
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 2450)
        assert reason(tmp_path / name) == "more than 2,450 pixels"


# Shapes


def test_a_picture_is_cropped_padded_or_squashed():
    wide = np.zeros((10, 30, 3), np.uint8)
    wide[:, 10:20] = 200
    cropped = square(Image.fromarray(wide), size=10, fit="crop").pixels
    np.testing.assert_array_equal(cropped, np.full((10, 10, 3), 200))
    padded = square(Image.fromarray(wide), size=30, fit="pad").pixels
    np.testing.assert_array_equal(padded[10:20], wide)
    assert (padded[:10] == 255).all()
    assert (padded[20:] == 255).all()
    squashed = square(Image.fromarray(wide.repeat(3, axis=0)), size=30, fit="squash").pixels
    np.testing.assert_array_equal(squashed, wide.repeat(3, axis=0))


@pytest.mark.parametrize("fit", ["crop", "pad", "squash"])
@pytest.mark.parametrize("size", [(1, 900), (900, 1), (1, 1), (3, 2)])
def test_any_shape_becomes_a_square(size, fit):
    assert square(Image.new("L", size), size=5, fit=fit).pixels.shape == (5, 5, 3)
