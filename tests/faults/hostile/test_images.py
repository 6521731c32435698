"""Images of others: only whole PNG or JPEG files of the set's size are decoded."""

import io
import struct
import zlib
from pathlib import Path

import pytest
from PIL import Image

from tests.train.data.small_sets import change_second_example, write_small_set
from train.data.load import load_images, open_images
from train.data.spec import ImageSetSpec

SHAPE = (7, 5, 3)
SHARD = "tiny-train.array_record-00000"


def write_with(directory: Path, *, second: bytes, states_size: bool = True) -> Path:
    """Writes a set of three images without a manifest; the second image is given."""
    write_small_set(directory, ImageSetSpec("tiny", ("ant", "bee"), SHAPE), {"train": (3,)})
    (directory / "manifest.json").unlink()

    def change(features):
        features["image"].bytes_list.value[0] = second

    change_second_example(directory / SHARD, directory / SHARD, change)
    if not states_size:
        path = directory / "features.json"
        text = path.read_text()
        for size in SHAPE[:2]:
            text = text.replace(f'"{size}"', '"-1"', 1)
        path.write_text(text)
    return directory


def encoded(kind: str, size: tuple[int, int] = (5, 7), mode: str = "RGB") -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, size).save(buffer, kind)
    return buffer.getvalue()


def chunk(name: bytes, content: bytes) -> bytes:
    checksum = struct.pack(">I", zlib.crc32(name + content))
    return struct.pack(">I", len(content)) + name + content + checksum


def png_of(width: int, height: int, rows: bytes) -> bytes:
    """Makes a PNG with a size in its header and any rows."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + data


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_png_and_jpeg_are_read(kind, tmp_path):
    data = load_images(write_with(tmp_path / "set", second=encoded(kind)))
    assert data.images.shape == (3, *SHAPE)
    assert not data.images[1].any()


@pytest.mark.parametrize("kind", ["GIF", "BMP", "TIFF", "WEBP", "PPM", "ICO"])
def test_other_formats_are_not(kind, tmp_path):
    directory = write_with(tmp_path / "set", second=encoded(kind))
    with pytest.raises(ValueError, match=f"got a broken one in .*{SHARD}.*cannot identify"):
        load_images(directory)


@pytest.mark.parametrize("states_size", [True, False])
@pytest.mark.parametrize("size", [(5, 8), (7, 5), (8000, 8000)])
def test_an_image_of_another_size_is_not_decoded(size, states_size, tmp_path):
    """The image has no pixels, so decoding it would give another message."""
    directory = write_with(tmp_path / "set", second=png_of(*size, b""), states_size=states_size)
    width, height = size
    message = rf"expected images of one size, got .* and \({height}, {width}, 3\) .* {SHARD}"
    with pytest.raises(ValueError, match=message):
        load_images(directory)


@pytest.mark.filterwarnings("ignore:Image size")  # Pillow warns of the first, then raises
@pytest.mark.parametrize("size", [(9000, 10_000), (30_000, 30_000), (2**31 - 1, 2**31 - 1)])
def test_a_bomb_is_refused_by_its_header(size, tmp_path):
    directory = write_with(tmp_path / "set", second=png_of(*size, b"\0" * 9), states_size=False)
    with pytest.raises(ValueError, match=f"{SHARD}"):
        load_images(directory)


def test_a_first_image_that_is_huge_is_refused_too(tmp_path, monkeypatch):
    monkeypatch.setattr("train.data.read_split.PIXELS_LIMIT", 34)
    directory = write_with(tmp_path / "set", second=encoded("PNG"), states_size=False)
    with pytest.raises(ValueError, match=rf"at most 34 pixels, got 7×5 .*{SHARD}; scale"):
        open_images(directory)


@pytest.mark.parametrize("count", [0, 4, 20, 40, 60])
def test_a_cut_image_is_named(count, tmp_path):
    whole = png_of(5, 7, b"".join(b"\0" + bytes(range(15)) for _ in range(7)))
    assert load_images(write_with(tmp_path / "whole", second=whole)).images[1].any()
    directory = write_with(tmp_path / "set", second=whole[:count])
    with pytest.raises(ValueError, match=f"got a broken one in .*{SHARD}"):
        load_images(directory)
