"""A tiny data set, a classifier trained on it and a set synthesised from it, made once for all."""

import os
import re
import shlex
import shutil
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import experiments.classifier.train
import experiments.gan.train
import experiments.synthesis.command
import train.loop
from experiments.cli import main
from experiments.console.progress import Progress
from experiments.data.resumable_set import Columns
from tests.experiments.bad_files import CALLABLES, namesakes, write_damaged, write_targets
from train.data.load import load_images
from train.data.spec import ImageSetSpec
from train.data.write import commit, write_shard
from train.models.networks import NETWORKS, Architecture

CLASSES = ("ant", "bee", "cow")
COUNTS = {"train": 48, "test": 21}


def made_up_images(labels: np.ndarray, shape: tuple[int, int, int], seed: int) -> np.ndarray:
    """Noise with a bright stripe whose place and colour tell the class; some pixels at the ends."""
    random = np.random.default_rng(seed)
    images = random.integers(0, 120, (len(labels), *shape), np.uint8)
    for image, label in zip(images, labels, strict=True):
        image[3 * label : 3 * label + 4, :, label % 3] += 130
    images[:, 0, 0], images[:, -1, 0] = 0, 255
    return images


def write_set(
    directory: Path,
    *,
    class_names: tuple[str, ...] = CLASSES,
    shape: tuple[int, int, int] = (16, 16, 3),
    counts: Mapping[str, int] = COUNTS,
    shards: int = 1,
) -> Path:
    splits = {}
    for seed, (split, count) in enumerate(counts.items()):
        labels = np.random.default_rng(seed + 10).permutation(count) % len(class_names)
        splits[split] = {
            "id": [f"{split}_{i:03d}" for i in range(count)],
            "image": made_up_images(labels, shape, seed),
            "label": labels,
        }
    return write_columns(directory, splits, class_names=class_names, shards=shards)


def write_columns(
    directory: Path,
    splits: Mapping[str, Columns],
    *,
    class_names: tuple[str, ...] = CLASSES,
    shards: int = 1,
) -> Path:
    """Writes a set of these images, which are dealt out to the shards in turn."""
    first = next(iter(splits.values()))
    spec = ImageSetSpec(
        "made_up", class_names, first["image"].shape[1:], splits=tuple(splits),
        extras=tuple(name for name in first if name not in ("id", "image", "label")),
    )  # fmt: skip
    records = {
        split: [
            write_shard(
                directory, spec, split=split, index=index,
                columns={name: column[index::shards] for name, column in columns.items()},
            )
            for index in range(shards)
        ]
        for split, columns in splits.items()
    }  # fmt: skip
    commit(directory, spec, records, manifest={"made_up": True})
    return directory


def bytes_below(directory: Path) -> dict[str, bytes]:
    """The content of every file below a directory; a directory counts as one without content.

    But for the options of the last command, which name its data by a path.
    """
    return {
        str(path.relative_to(directory)): path.read_bytes() if path.is_file() else b""
        for path in sorted(directory.rglob("*"))
        if path.name != "options.json"
    }


def run_command(*words: Any) -> int:
    """The exit status of a command, also where tyro or argparse leave by SystemExit."""
    try:
        return main([str(word) for word in words])
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else 1


HERE = Path(__file__).parent
VGG_SMALL = NETWORKS["vgg-small"]
QUICK_NETWORK = Architecture((256, *"MMMM"))

WRITE_RUN_REPORT = experiments.classifier.train.write_run_report
WRITE_SET_REPORT = experiments.synthesis.command.write_set_report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Commands of these tests train one convolution as "vgg-small"; it compiles in no time.

    This is called for all tests, also those of other folders. A module may have a network of its
    own in that place.

    As in vgg-small, the features are 0.05 · 256 numbers and sides are multiples of 16. A fixture
    would not do: those of the session, which train, come before all others.
    """
    is_here = HERE in item.path.parents
    if is_here and NETWORKS["vgg-small"] is VGG_SMALL:
        NETWORKS["vgg-small"] = QUICK_NETWORK
    elif not is_here and NETWORKS["vgg-small"] is QUICK_NETWORK:
        NETWORKS["vgg-small"] = VGG_SMALL
    return (yield)


@pytest.fixture(scope="session")
def contents() -> Callable[[Path], dict[str, bytes]]:
    return bytes_below


@pytest.fixture(scope="session")
def elicit() -> Callable[..., int]:
    return run_command


@pytest.fixture(scope="session")
def make_set() -> Callable[..., Path]:
    return write_set


@pytest.fixture(scope="session")
def data(tmp_path_factory) -> Path:
    """48 training and 21 test images of three classes, 16×16×3."""
    return write_set(tmp_path_factory.mktemp("data") / "made_up")


@pytest.fixture(scope="session")
def training(data) -> list[Any]:
    """The words of a command that trains, but for --out."""
    words = "--model vgg-small --width 0.05 --epochs 6 --batch-size 12 --learning-rate 0.02"
    return ["classifier", "train", "--data", data, *words.split()]


@pytest.fixture(scope="session")
def run(tmp_path_factory, training) -> Path:
    """A trained classifier."""
    out = tmp_path_factory.mktemp("runs") / "teacher"
    with pytest.MonkeyPatch.context() as patch:  # the first to ask may use `blank_pages`
        patch.setattr(experiments.classifier.train, "write_run_report", WRITE_RUN_REPORT)
        assert run_command(*training, "--out", out) == 0
    return out


@pytest.fixture(scope="session")
def synthesis(data, run) -> list[Any]:
    """The words of a command that synthesises in shards of 4, but for --out and the range."""
    words = "--batch-size 4 --batches-per-shard 1 --steps 5 --rule sgd"
    words += " --tolerance None --rule-options learning_rate=3.0"
    return ["synthesize", "--classifier", run, "--data", data, *words.split()]


@pytest.fixture(scope="session")
def made(tmp_path_factory, synthesis) -> Path:
    """A set synthesised from the first 10 training images: two full shards and one of 2."""
    out = tmp_path_factory.mktemp("sets") / "made"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(experiments.synthesis.command, "write_set_report", WRITE_SET_REPORT)
        assert run_command(*synthesis, "--out", out, "--stop", 10) == 0
    return out


PROGRAMS = (
    "imgopt.job._begin",
    "imgopt.job._update",
    "train.loop._make_run_steps",
    "train.loop._make_initial",
    "train.evaluation._log_probabilities",
    "train.evaluation._features",
    "experiments.gan.stages.sample",
    "experiments.gan.sample.sample",
)
"""Functions without which no command compiles anything."""


@pytest.fixture
def check_refusal(unchecked, capfd) -> Callable[[Sequence[Any], str, Path], None]:
    """Checks that a command is refused: status 2, one message, nothing compiled or written."""
    del unchecked

    def check(words: Sequence[Any], message: str, place: Path) -> None:
        before = bytes_below(place)
        capfd.readouterr()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("sys.dont_write_bytecode", True)  # of the user's modules
            for program in PROGRAMS:
                patch.setattr(program, None)
            assert run_command(*words) == 2
        printed, complaint = capfd.readouterr()
        assert printed == ""
        plain = " ".join(complaint.split())
        assert re.search(message, plain), plain
        assert "Traceback" not in complaint
        assert len(re.findall(r"(?m)^elicit.*: error: ", complaint)) == 1
        assert bytes_below(place) == before

    return check


@pytest.fixture(scope="session")
def root(tmp_path_factory, data, run, made) -> Path:
    """A directory with everything that the cases of wrong input name."""
    root = tmp_path_factory.mktemp("bad_input")
    for source, name in ((data, "data"), (run, "run"), (made, "made")):
        shutil.copytree(source, root / name)
    classes = {"one": ("ant",), "other": ("ant", "bee", "dog"), "four": (*CLASSES, "dog")}
    for name, class_names in classes.items():
        write_set(root / name, class_names=class_names)
    shapes = {"small": (14, 14, 3), "odd": (20, 16, 3), "medium": (24, 24, 3), "large": (32, 32, 3)}
    for name, shape in shapes.items():
        write_set(root / name, shape=shape)
    write_set(root / "few", counts={"train": 25, "test": 3})
    write_set(root / "fewer", counts={"train": 3, "test": 9})
    splits = {split: namesakes(load_images(data, split)) for split in COUNTS}
    write_columns(root / "namesakes", splits)
    (root / "plain").mkdir()
    (root / "plain" / "note.txt").write_text("mine")
    (root / "file").write_text("a file")
    (root / "callables.py").write_text(CALLABLES)
    (root / "misspelt.py").write_text("def classify(:\n")
    (root / "failing.py").write_text("raise RuntimeError('no licence')\n")
    write_targets(root)
    write_damaged(root)
    return root


@pytest.fixture
def check_wrong_input(root, check_refusal, monkeypatch) -> Callable[[str, str], None]:
    """Checks that a command given in the directory `root` is refused."""
    monkeypatch.chdir(root)
    return lambda words, message: check_refusal(shlex.split(words), message, root)


def blank_page(path: Path, *_: Any, **__: Any) -> None:
    """A page that is drawn in no time."""
    path = path if path.suffix == ".html" else path / "report.html"
    path.write_text("a page")


@pytest.fixture(scope="module")
def blank_pages() -> Iterator[None]:
    """So are those of all runs and synthesised sets."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(experiments.classifier.train, "write_run_report", blank_page)
        patch.setattr(experiments.gan.train, "write_gan_report", blank_page)
        patch.setattr(experiments.synthesis.command, "write_set_report", blank_page)
        yield


@pytest.fixture
def signal_at(monkeypatch) -> Iterator[Callable[..., None]]:
    """Sends a signal to this process after a step of a training, once for each progress bar.

    Every call to the device is one step.
    """
    monkeypatch.setattr(train.loop, "SECONDS_PER_CALL", 0)
    original, sent = Progress.update_to, set()

    def arrange(step: int, number: int, *, of: str = "") -> None:
        def update_to(self: Progress, done: int) -> None:
            original(self, done)
            if done == step and of in self._label and self._label not in sent:
                sent.add(self._label)
                os.kill(os.getpid(), number)

        monkeypatch.setattr(Progress, "update_to", update_to)

    # Shells have what they start in the background ignore SIGINT.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield arrange
    signal.signal(signal.SIGINT, before)


OWN_CLASSIFIERS = """
import jax.numpy as jnp
import numpy as np

WEIGHTS = np.random.default_rng(0).normal(size=(16 * 16 * 3, 3)).astype(np.float32) / 9


def linear(images):
    return (images.reshape(len(images), -1) - 0.5) @ jnp.asarray(WEIGHTS)
"""


@pytest.fixture
def own_classifier(tmp_path, monkeypatch) -> str:
    """A user's callable in the working directory; it compiles in no time."""
    directory = tmp_path / "mine"
    directory.mkdir()
    (directory / "own_classifiers.py").write_text(OWN_CLASSIFIERS)
    monkeypatch.chdir(directory)
    return "own_classifiers:linear"


@pytest.fixture
def no_report(monkeypatch) -> None:
    """Leaves the report of a synthesised set out, which takes longer than all else."""
    monkeypatch.setattr(experiments.synthesis.command, "write_set_report", lambda *_: None)


@pytest.fixture
def by_own(data, own_classifier, no_report, tmp_path) -> Callable[..., Path]:
    """Synthesises 8 images with the user's callable, without a report, and gives the set."""
    del no_report

    def synthesize(*words: Any, status: int = 0) -> Path:
        out = tmp_path / f"set-{len(list(tmp_path.iterdir()))}"
        given = ["--classifier", own_classifier, "--data", data, "--out", out, "--stop", 8]
        assert run_command("synthesize", *given, "--batch-size", 8, *words) == status
        return out

    return synthesize
