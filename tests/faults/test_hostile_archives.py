"""Archives and matrices of others: nothing is called, and nothing grows beyond what was counted."""

import gzip
import io
import pickle
import resource
import tarfile
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest

from experiments.data import plain_pickle
from experiments.data import prepare_cifar10 as data_commands
from experiments.data.plain_pickle import read_plain_pickle
from experiments.data.prepare_cifar10 import CIFAR10_MEMBERS, CIFAR10_META, _read_cifar10
from experiments.synthesis.target_options import TargetConfig, make_targets
from train.data.image_data import ImageData, reader_of

HEAD = b"\x80\x02"
RECONSTRUCT = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\n"


def members() -> dict[str, bytes]:
    batch = {b"data": np.zeros((2, 3072), np.uint8), b"labels": [0, 1]}
    names = [name for split in CIFAR10_MEMBERS.values() for name in split]
    return {
        CIFAR10_META: pickle.dumps({b"label_names": [b"ant", b"bee"]}, protocol=2),
        **dict.fromkeys(names, pickle.dumps(batch, protocol=2)),
    }


def write_archive(path: Path, contents: dict[str, bytes], *extra: tarfile.TarInfo) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for info in extra:
            tar.addfile(info)
        for name, content in contents.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


@pytest.fixture
def measured():
    """Little time and little memory, whatever is asked for."""
    start, before = time.monotonic(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield
    assert time.monotonic() - start < 20
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2**19  # in KiB


# --- pickles --------------------------------------------------------------------------------------


@pytest.mark.usefixtures("measured")
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"cos\nsystem\n(S'true'\ntR.", "os.system is not admitted"),
        (b"\x80\x04\x8c\x02os\x8c\x06system\x93.", "os.system is not admitted"),
        (RECONSTRUCT + b"(I1000000000000\ntS'b'\ntR.", "a damaged pickle|another way"),
        (RECONSTRUCT + b"I1000000000000\n\x85U\x01b\x87R.", "begins in another way"),
        (b"cnumpy\nndarray\n(I1000000000000\ntR.", "calls what is no function"),
        (
            b"Nr\xff\xff\xff\x7f.",
            None,
        ),  # a memory of two thousand million places, of which one is used
        (b"(t" + b"2\x86" * 60 + b".", "the operation DUP is not admitted"),
        (b"}" + b")q\x00h\x00\x86q\x00h\x00" * 60 + b"\x86Ns.", "the name of a value is not text"),
        (b"B\xff\xff\xff\x7f.", "expected 2147483647 bytes"),
        (b"\x8e\xff\xff\xff\xff\xff\xff\xff\x7f.", "expected"),
        (b"}(i__builtin__\nlist\n.", "the operation INST is not admitted"),
        (b"Pid\n.", "the operation PERSID is not admitted"),
        (b"\x82\x01.", "the operation EXT1 is not admitted"),
        (b"K\x01", "exhausted before seeing STOP"),
        (b".", "takes more than it has put"),
        (b"(.", "takes more than it has put"),
        (b"K\x01]\x86b.", "no array|damaged"),
        (b"NK\x01a.", "no list"),
        (b"c_codecs\nencode\n(V" + b"a" * 9 + b"\nVrot13\ntR.", "'rot13' is not admitted"),
    ],
)
def test_a_pickle_only_describes(content, message):
    if message is None:
        assert read_plain_pickle(HEAD + content) is None
        return
    with pytest.raises(ValueError, match=message):
        read_plain_pickle(HEAD + content)


def test_values_of_a_byte_each_are_counted(monkeypatch):
    monkeypatch.setattr(plain_pickle, "OPERATIONS_LIMIT", 1000)
    with pytest.raises(ValueError, match="more than 1,000 operations"):
        read_plain_pickle(HEAD + b"]" * 1000 + b".")


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((2, 3), np.float32),
        np.zeros((2, 3), object),
        np.asfortranarray(np.zeros((2, 3), np.uint8)),
    ],
)
def test_arrays_are_of_bytes(array):
    with pytest.raises(ValueError, match="an array is not of bytes"):
        read_plain_pickle(pickle.dumps(array, protocol=2))


@pytest.mark.parametrize("protocol", range(5))
def test_plain_values_come_back(protocol):
    value = {
        b"a": [1, -5, 2**70, 1.5, None, True, False, "ü", b"\xff"],
        "b": {"c": ((), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4)), "d": {}, "e": []},
        b"f": np.arange(6, dtype=np.uint8).reshape(2, 3),
    }
    found = read_plain_pickle(pickle.dumps(value, protocol=protocol))
    np.testing.assert_array_equal(found.pop(b"f"), value.pop(b"f"))
    assert found == value


# --- archives -------------------------------------------------------------------------------------


def test_an_archive_is_read(tmp_path):
    splits, spec = _read_cifar10(write_archive(tmp_path / "a.tar.gz", members()))
    assert spec.class_names == ("ant", "bee")
    assert {split: len(columns["label"]) for split, columns in splits.items()} == {
        "train": 10, "test": 2
    }  # fmt: skip


@pytest.mark.usefixtures("measured")
@pytest.mark.parametrize("part", [b"ant", bytes(2000)], ids=["a class name", "an image"])
def test_what_the_checksum_at_the_very_end_alone_tells_of_is_noticed(part, tmp_path):
    path = write_archive(tmp_path / "archive.tar.gz", members())
    content = bytearray(gzip.compress(gzip.decompress(path.read_bytes()), compresslevel=0))
    path.write_bytes(content)
    _read_cifar10(path)
    content[content.index(part) + len(part) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"expected a whole .tar.gz archive, got .*CRC"):
        _read_cifar10(path)


def test_a_gzip_bomb_is_not_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr(data_commands, "ARCHIVE_LIMIT_BYTES", 2**22)
    bomb = tarfile.TarInfo("zeros")
    bomb.size = 2**40
    packed = io.BytesIO()
    with gzip.open(packed, "wb") as file:
        file.write(bomb.tobuf())
        for _ in range(64):
            file.write(bytes(2**20))
    (tmp_path / "a.tar.gz").write_bytes(packed.getvalue())
    with pytest.raises(ValueError, match=r"got .*a\.tar\.gz \(it holds more than 4 MiB\)"):
        _read_cifar10(tmp_path / "a.tar.gz")


def test_a_batch_too_large_is_left_out(tmp_path, monkeypatch):
    monkeypatch.setattr(data_commands, "MEMBER_LIMIT_BYTES", 1000)
    with pytest.raises(ValueError, match=r"expected .*data_batch_1.* in .*a\.tar\.gz"):
        _read_cifar10(write_archive(tmp_path / "a.tar.gz", members()))


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE])
def test_a_link_is_no_batch(kind, tmp_path):
    contents = members()
    info = tarfile.TarInfo(CIFAR10_META)
    info.type, info.linkname = kind, "/etc/passwd"
    del contents[CIFAR10_META]
    with pytest.raises(ValueError, match=rf"expected {CIFAR10_META} in .*a\.tar\.gz"):
        _read_cifar10(write_archive(tmp_path / "a.tar.gz", contents, info))


def test_names_that_lead_elsewhere_write_nothing(tmp_path):
    place = tmp_path / "in" / "here"
    place.mkdir(parents=True)
    names = ("../up", "/tmp/elicit-absolute", f"{CIFAR10_META}/../../up")  # noqa: S108 -- never made
    infos = [tarfile.TarInfo(name) for name in names]
    _read_cifar10(write_archive(place / "a.tar.gz", members(), *infos))
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a.tar.gz", "here", "in"]
    assert not Path("/tmp/elicit-absolute").exists()  # noqa: S108


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        (CIFAR10_META, [1], "TypeError"),
        (CIFAR10_META, {b"label_names": ["text"]}, "AttributeError"),
        (CIFAR10_META, {b"label_names": [b"ant", b"ant"]}, "distinct class names"),
        (CIFAR10_MEMBERS["test"][0], {b"labels": [0]}, "a batch without images"),
        (CIFAR10_MEMBERS["test"][0], {b"data": np.zeros((1, 9), np.uint8)}, "without images"),
        (
            CIFAR10_MEMBERS["test"][0],
            {b"data": np.zeros((1, 3072), np.uint8), b"labels": [[0]]},
            r"labels in \[0, 2\)",
        ),
    ],
)
def test_batches_of_another_make_are_named(name, value, message, tmp_path):
    contents = {**members(), name: pickle.dumps(value, protocol=2)}
    with pytest.raises(ValueError, match=rf"batches of CIFAR-10 in .*a\.tar\.gz.*{message}"):
        _read_cifar10(write_archive(tmp_path / "a.tar.gz", contents))


# --- matrices -------------------------------------------------------------------------------------

IMAGES = ImageData(
    np.zeros((4, 2, 2, 1), np.uint8), np.zeros(4, np.int32), tuple("abcd"), ("ant", "bee", "cow")
)


def npy(header: bytes, content: bytes = b"") -> bytes:
    header += b" " * (-(len(header) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + content


@pytest.mark.usefixtures("measured")
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (npy(b"{'descr': '<f8', 'fortran_order': False, 'shape': (10**15, 3)}"), "not a NumPy"),
        (npy(b"{'descr': '<f8', 'fortran_order': False, 'shape': (999999999999, 3)}"), "not a Num"),
        (npy(b"{'descr': '|O', 'fortran_order': False, 'shape': (4, 3)}", b"\0" * 96), "not a Num"),
        (npy(b"{'descr': '<U3', 'fortran_order': False, 'shape': (4, 3)}", b"\0" * 144), "numbers"),
        (npy(b"__import__('os').getpid()"), "not a NumPy"),
        (npy(b"(" * 2000), "not a NumPy"),
        (npy(b"{'descr': '<f8', 'fortran_order': False, 'shape': (-4, 3)}"), "not a NumPy"),
    ],
)
def test_a_matrix_that_claims_more_than_it_holds_is_refused(content, message, tmp_path):
    path = tmp_path / "targets.npy"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"targets\.npy (is|holds).*{message}"):
        make_targets(
            TargetConfig("file", targets_file=path), reader_of(IMAGES), start=0, stop=4, key=0
        )


def test_several_arrays_are_refused_whatever_they_unpack_to(tmp_path):
    path = tmp_path / "targets.npy"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.npy", bytes(2**20))
    with pytest.raises(ValueError, match=r"targets\.npy holds several arrays"):
        make_targets(
            TargetConfig("file", targets_file=path), reader_of(IMAGES), start=0, stop=4, key=0
        )


def test_rows_that_are_no_distributions_are_named_with_their_file(tmp_path):
    path = tmp_path / "targets.npy"
    np.save(path, np.full((4, 3), 0.5))
    with pytest.raises(ValueError, match=r"targets\.npy: targets must sum to 1; row 0"):
        make_targets(
            TargetConfig("file", targets_file=path), reader_of(IMAGES), start=0, stop=4, key=0
        )
