"""The official files of CIFAR are read; nothing else is unpickled."""

import os
import pickle

import numpy as np
import pytest

from experiments.data.cifar_files import CIFAR10, CIFAR100, CifarImages, load_pickle, read_cifar
from imgopt.errors import InputError
from tests.experiments.data.small_cifar import (
    BATCHES,
    FILES,
    FINE_NAMES,
    NAMES,
    RELEASES,
    batch,
    binary_files,
    fine_batch,
    fine_binary_files,
    fine_python_files,
    python_files,
    trust,
    write_archive,
    write_folder,
)
from train.storage.files import sha256_of


def assert_same(one: CifarImages, other: CifarImages) -> None:
    assert one.class_names == other.class_names
    for split, images in other.splits.items():
        np.testing.assert_array_equal(one.splits[split].pixels, images.pixels)
        np.testing.assert_array_equal(one.splits[split].labels, images.labels)


SOURCES = ["python archive", "python folder", "binary archive", "binary folder"]


@pytest.mark.parametrize("source", SOURCES)
def test_all_forms_hold_the_same(source, cifar10):
    found = read_cifar("cifar10", cifar10[source])
    assert found.class_names == tuple(NAMES)
    for split, numbers in (("train", range(5)), ("test", (5,))):
        pixels = np.concatenate([batch(i)[b"data"] for i in numbers])
        labels = np.concatenate([batch(i)[b"labels"] for i in numbers])
        np.testing.assert_array_equal(found.splits[split].pixels, pixels)
        np.testing.assert_array_equal(found.splits[split].labels, labels)


def test_the_source_tells_what_was_read(cifar10):
    of_archive = read_cifar("cifar10", cifar10["binary archive"]).source
    assert of_archive["source"].endswith("/cifar-10-binary.tar.gz")
    assert of_archive["archive_sha256"] == sha256_of(cifar10["binary archive"])
    of_folder = read_cifar("cifar10", cifar10["python folder"]).source
    assert of_folder["source"].endswith("/cifar-10-python.tar.gz")
    assert of_folder["file_sha256"].keys() == CIFAR10.python.md5.keys()


# --- pickles --------------------------------------------------------------------------------------


class Hostile:
    def __reduce__(self):
        return (os.mkdir, ("hostile",))


def test_a_pickle_of_others_is_refused_by_name_and_never_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    contents = {**python_files(), "data_batch_3": pickle.dumps(Hostile(), protocol=2)}
    folder = write_folder(tmp_path / "in" / CIFAR10.python.folder, contents)
    archive = write_archive(tmp_path / "in" / "a.tar.gz", CIFAR10.python, contents)
    trust(monkeypatch)
    for path in (folder, archive):
        with pytest.raises(InputError, match=r"official data_batch_3 with the MD5 .* not unpickl"):
            read_cifar("cifar10", path)
    assert [path.name for path in tmp_path.iterdir()] == ["in"]
    pickle.loads(contents["data_batch_3"])  # noqa: S301 -- this is what would have happened
    assert (tmp_path / "hostile").is_dir()


@pytest.mark.parametrize("name", [*BATCHES, "batches.meta"])
def test_nothing_is_unpickled_before_every_file_is_compared(name, cifar10, monkeypatch):
    monkeypatch.setattr(pickle, "loads", lambda *_, **__: pytest.fail("a pickle was loaded"))
    path = cifar10["python folder"] / name
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(InputError, match=f"official {name} with the MD5"):
        read_cifar("cifar10", path.parent)


# What cPickle of Python 2 with numpy 1 wrote, as in the official archive: {'data': uint8 [[1, 2]]}.
PYTHON2_PICKLE = (
    b"\x80\x02}q\x01U\x04dataq\x02cnumpy.core.multiarray\n_reconstruct\nq\x03cnumpy\nndarray\n"
    b"q\x04K\x00\x85U\x01b\x87Rq\x05(K\x01K\x01K\x02\x86cnumpy\ndtype\nq\x06U\x02u1K\x00K\x01\x87R"
    b"q\x07(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89U\x02\x01\x02tbs."
)


def test_a_pickle_of_python_2_is_read():
    np.testing.assert_array_equal(load_pickle(PYTHON2_PICKLE)[b"data"], [[1, 2]])


# --- archives and folders -------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["python", "binary"])
@pytest.mark.parametrize("change", [lambda c: c[: len(c) // 2], lambda c: c + b"x", lambda _: b""])
def test_a_damaged_archive_is_refused(change, form, cifar10):
    path = cifar10[f"{form} archive"]
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(InputError, match=rf"CIFAR-10 .*{path.name}.*got \w+ for .*{path.name}"):
        read_cifar("cifar10", path)


@pytest.mark.parametrize(
    ("source", "name"),
    [("python folder", "data_batch_2"), ("binary folder", "test_batch.bin")],
)
def test_a_missing_file_is_named(source, name, cifar10):
    (cifar10[source] / name).unlink()
    with pytest.raises(InputError, match=rf"expected {name} in .*, got a folder without"):
        read_cifar("cifar10", cifar10[source])


PACKED = {
    "plain tar": ("", "w"),
    "./ members": ("./", "w:gz"),
    "xz": ("", "w:xz"),
    "deeper": ("a/b/", "w"),
}


@pytest.mark.parametrize(("before", "mode"), PACKED.values(), ids=PACKED)
@pytest.mark.parametrize("form", ["python", "binary"])
def test_an_archive_that_was_packed_again_holds_the_same(form, before, mode, cifar10, tmp_path):
    archive = tmp_path / "any_name"
    write_archive(archive, RELEASES[form], FILES[form](), before=before, mode=mode)
    assert_same(read_cifar("cifar10", archive), read_cifar("cifar10", cifar10[f"{form} folder"]))


@pytest.mark.parametrize("place", [".", "cifar-10-batches-py-target", "a/b"])
def test_a_folder_is_found_where_torchvision_and_keras_leave_it(place, tmp_path, monkeypatch):
    trust(monkeypatch)
    folder = write_folder(tmp_path / "data" / place / CIFAR10.python.folder, python_files())
    top = tmp_path / "data" / ("a" if place == "a/b" else "")
    assert_same(read_cifar("cifar10", top), read_cifar("cifar10", folder))


def test_an_archive_is_found_in_its_folder(cifar10, tmp_path):
    (tmp_path / "only").mkdir()
    archive = cifar10["binary archive"].rename(tmp_path / "only" / CIFAR10.binary.archive)
    assert_same(read_cifar("cifar10", archive.parent), read_cifar("cifar10", archive))


def test_all_forms_of_cifar100_hold_the_fine_labels(tmp_path, monkeypatch):
    trust(monkeypatch)
    forms = {"python": fine_python_files, "binary": fine_binary_files}
    for form, files in forms.items():
        release = getattr(CIFAR100, form)
        folder = write_folder(tmp_path / release.folder, files())
        archive = write_archive(tmp_path / release.archive, release, files())
        for path in (folder, archive):
            found = read_cifar("cifar100", path)
            assert found.class_names == tuple(FINE_NAMES)
            for number, split in enumerate(("train", "test")):
                wanted = fine_batch(number)
                np.testing.assert_array_equal(found.splits[split].pixels, wanted[b"data"])
                np.testing.assert_array_equal(found.splits[split].labels, wanted[b"fine_labels"])
        with pytest.raises(InputError, match="CIFAR-10 "):
            read_cifar("cifar10", archive)
        with pytest.raises(InputError, match="a folder with"):
            read_cifar("cifar10", folder)


def test_another_folder_and_no_file_at_all_say_what_to_give(tmp_path):
    with pytest.raises(InputError, match=r"batches\.meta \(in cifar-10-batches-py\) or .*txt"):
        read_cifar("cifar10", tmp_path)
    with pytest.raises(InputError, match="none, which does not exist"):
        read_cifar("cifar10", tmp_path / "none")


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("data_batch_2.bin", lambda c: c[:-1], r"36,876 bytes \(12 images of 3,073\), got 36,875"),
        ("data_batch_2.bin", lambda c: c + c[:3073], r"got 39,949 in data_batch_2\.bin of .*-bin"),
        ("test_batch.bin", lambda _: b"", r"got 0 in test_batch\.bin of .*-bin"),
        ("test_batch.bin", lambda c: b"\x0a" + c[1:], r"labels in \[0, 10\), got 10 in test_b"),
        (
            "batches.meta.txt",
            lambda _: b"ant\nbee\n",
            r"10 distinct names .*'ant', 'bee'.* in",
        ),
        ("batches.meta.txt", lambda c: c + b"bird", r"10 distinct names .* batches\.meta\.txt of"),
        (
            "batches.meta.txt",
            lambda _: b"\xff",
            r"distinct names of classes in ASCII, got .*meta\.txt",
        ),
    ],
)
def test_a_binary_file_of_another_content_is_named(name, change, message, cifar10):
    path = cifar10["binary folder"] / name
    path.write_bytes(change(binary_files()[name]))
    with pytest.raises(InputError, match=message):
        read_cifar("cifar10", path.parent)
