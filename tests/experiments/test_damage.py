"""Each file of each thing damaged in turn: it is named, or made again to the same bytes.

The law of a case, which is a thing, one of its files and a kind of damage: the command that made
the thing, repeated, either ends as if nothing had happened, and where a file was lost that holds
its digest elsewhere a warning names it; or it is refused with exit status 2 and a line that names
the file. `elicit verify` and whoever reads the thing find it too. Nothing leaves `main` as an
exception. With ELICIT_SOAK=1 every case is a whole repetition.
"""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import experiments.data.resumable_set
import experiments.gan.rounds
import experiments.gan.sample
import experiments.synthesis.command
import experiments.training.session
from tests.experiments.conftest import blank_page
from tests.experiments.damages import DAMAGES
from tests.soaking import SOAK
from train.models.networks import NETWORKS
from train.storage.checkpoints import damaged_checkpoints

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("default"),
    pytest.mark.usefixtures("tiny_files"),
]


RESUMABLE_SET = experiments.data.resumable_set.ResumableSet


class Thing(NamedTuple):
    """Something on disk, and what becomes of it.

    Attributes:
        directory: where it lies, whole; what is beside it in the parent belongs to it.
        repeat: words of the command that makes it, but for --out.
        wanted: what the command, repeated, ends with.
        is_finished: whether `elicit verify` has digests of all of it.
    """

    directory: Path
    repeat: list[Any]
    wanted: dict[str, Any]
    is_finished: bool


OPTIONS = {
    "classifier": "--model vgg-small --epochs 3 --batch-size 12 --learning-rate 0.005",
    "gan": "--batch-size 8 --width 2 --epochs 3",
    "synthesised": "--stop 10 --steps 1 --batch-size 4 --batches-per-shard 1",
}
VOLATILE = ("command", "device", "files", "sha256", "timing")
UNDIGESTED = ("report.html", "images.png", "samples", "figures", "options.json")
"""Files without digests: pictures and the last options, from which no result is read."""


def lasting(directory: Path) -> dict[str, Any]:
    """What lies in a directory, but for times and for Orbax's files, whose digests are checked."""
    found = {}
    for path in sorted(p for p in directory.rglob("*") if p.is_file()):
        name = path.relative_to(directory).as_posix()
        if name == "result.json":
            result = json.loads(path.read_text())
            found[name] = {field: v for field, v in result.items() if field not in VOLATILE}
        elif not name.startswith(("checkpoints/", "generator/", *UNDIGESTED)):
            found[name] = path.read_bytes()
    return found


def colours(images):
    """A classifier of one's own: its three logits are an image's mean channels."""
    return images.mean((1, 2))


@pytest.fixture(scope="module")
def tiny_files(tiny_networks, blank_pages):
    """A network that compiles in no time, pages that are drawn in none, and shards of 4 images."""
    del blank_pages
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(NETWORKS, "vgg-small", NETWORKS[tiny_networks[0]])
        patch.setattr(experiments.gan.sample, "write_pages", blank_page)
        patch.setattr(experiments.gan.rounds, "SHARD_IMAGES", 4)
        yield


def interrupting(module: Any, name: str, *, call: int) -> pytest.MonkeyPatch:
    """Has a function of a module interrupt the command once it has been called so many times."""
    original, calls, patch = getattr(module, name), [], pytest.MonkeyPatch()

    def interrupt(*words: Any, **options: Any) -> Any:
        result = original(*words, **options)
        calls.append(words)
        if len(calls) == call:
            raise KeyboardInterrupt
        return result

    patch.setattr(module, name, interrupt)
    return patch


@pytest.fixture(scope="module")
def make(tmp_path_factory, elicit):
    """Makes something whole, and something interrupted with two checkpoints or shards."""

    def make_both(name: str, words: list[Any], module: Any, function: str, call: int) -> list:
        whole, part = (tmp_path_factory.mktemp("things") / name for _ in range(2))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(experiments.training.session, "CHECKPOINT_EVERY_SECONDS", 0)
            assert elicit(*words, "--out", whole) == 0
            interruption = interrupting(module, function, call=call)
            assert elicit(*words, "--out", part) == 130
            interruption.undo()
        wanted = lasting(whole)
        return [Thing(whole, words, wanted, True), Thing(part, words, wanted, False)]

    return make_both


@pytest.fixture(scope="module")
def things(make, data, tmp_path_factory, elicit, make_set):
    """All things by name, each made when it is first asked for."""
    session = experiments.training.session
    words = {name: each.split() for name, each in OPTIONS.items()}
    made: dict[str, list[Thing]] = {}

    def plain_set() -> list[Thing]:
        directory = make_set(tmp_path_factory.mktemp("things") / "plain", shards=2)
        words = ["--per-class", "2", "--test-per-class", "1"]
        command = ["data", "subset", "--data", directory, *words]
        assert elicit(*command, "--out", directory.parent / "subset") == 0
        return [Thing(directory, command, lasting(directory.parent / "subset"), True)]

    makers: dict[str, Callable[[], list[Thing]]] = {
        "classifier": lambda: make(
            "run", ["classifier", "train", "--data", data, *words["classifier"]],
            session, "save_checkpoint", 2,
        ),
        "gan": lambda: make(
            "gan", ["gan", "train", "--data", data, *words["gan"]], session, "save_checkpoint", 2,
        ),
        "synthesised": lambda: make(
            "made",
            ["synthesize", "--classifier", f"{__name__}:colours", "--data", data,
             *words["synthesised"]],
            RESUMABLE_SET, "_write_note", 2,
        ),
        "sampled": lambda: make(
            "sampled",
            ["gan", "sample", "--gan", thing("gan").directory, "--per-class", 4,
             "--batch-size", 2],
            RESUMABLE_SET, "_write_note", 2,
        ),
        "plain": plain_set,
    }  # fmt: skip

    def thing(name: str) -> Thing:
        kind, _, state = name.partition(", ")
        if kind not in made:
            made[kind] = makers[kind]()
        return made[kind][state == "unfinished"]

    return thing


# By patterns, so that a failure names the kind of file.
FILES = {
    "classifier": ("config.json", "classifier.json", "metrics.jsonl", "result.json", "report.html",
                   "checkpoints/*.json", "checkpoints/[0-9]*/**/*"),
    "classifier, unfinished": ("config.json", "classifier.json", "metrics.jsonl",
                               "checkpoints/*.json", "checkpoints/[0-9]*/**/*"),
    "gan": ("config.json", "gan.json", "metrics.jsonl", "result.json", "report.html",
            "generator/*.json", "generator/[0-9]*/**/*", "checkpoints/gan/*.json",
            "checkpoints/gan/[0-9]*/**/*"),
    "gan, unfinished": ("config.json", "gan.json", "metrics.jsonl", "checkpoints/gan/*.json",
                        "checkpoints/gan/[0-9]*/**/*"),
    "synthesised": ("*.array_record-*", "label.labels.txt", "features.json", "dataset_info.json",
                    "manifest.json", "config.json", "summary.json"),
    "synthesised, unfinished": ("*.array_record-*", "config.json", "*.note.json"),
    "sampled": ("*.array_record-*", "label.labels.txt", "features.json", "dataset_info.json",
                "manifest.json", "config.json", "report.html"),
    "sampled, unfinished": ("*.array_record-*", "config.json", "*.note.json"),
    "plain": ("*.array_record-*", "label.labels.txt", "features.json", "dataset_info.json",
              "manifest.json"),
}  # fmt: skip

CASES = [(name, pattern) for name, patterns in FILES.items() for pattern in patterns]

HARMLESS = {
    # As after a kill between a file and its digests, or before the first one.
    ("unfinished", "removed"): (
        "*.note.json",
        "classifier.json",
        "gan.json",
        "[0-9]*.json",
    ),
    # Written anew by every repetition, and read by none.
    ("unfinished", ""): ("classifier.json", "gan.json"),
    # Without its manifest a set is as one of another hand, or unfinished; without its result a run.
    ("", "removed"): ("manifest.json", "result.json", "summary.json"),
    ("", "a directory"): ("manifest.json", "result.json"),
    ("synthesised", ""): ("summary.json",),
    ("sampled", ""): ("report.html",),
    ("sampled", "removed"): ("config.json",),  # the manifest holds the same
}


def cases(thing: Thing, pattern: str) -> Iterator[tuple[str, str]]:
    place = thing.directory
    for path in sorted(p for p in place.glob(pattern) if p.is_file()):
        for damage in DAMAGES:
            yield path.relative_to(place).as_posix(), damage


@pytest.mark.parametrize(("name", "pattern"), CASES)
def test_damage_is_named_or_undone(name, pattern, things, tmp_path, elicit, capsys):
    thing, failures, count = things(name), [], 0
    for file, damage in cases(thing, pattern):
        count += 1
        failure = _failure(name, thing, file, damage, tmp_path / str(count), elicit, capsys)
        if failure:
            failures.append(f"{file}, {damage}: {failure}")
    assert count >= len(DAMAGES)
    assert not failures, "\n".join(failures)


def _failure(name, thing, file, damage, tmp, elicit, capsys) -> str | None:
    """What breaks the law in a case."""
    # Of a checkpoint's digests and its files, none of which agree, the checkpoint may be named.
    names = {Path(file).name, file.removesuffix(".json") if Path(file).stem.isdecimal() else file}
    place = tmp / thing.directory.name
    shutil.copytree(thing.directory, place)
    DAMAGES[damage](place / file)
    is_named = lambda text: any(name in text for name in names)  # noqa: E731
    of_checkpoint = next((p for p in Path(file).parents if p.name.isdecimal()), None)
    if of_checkpoint is not None and not SOAK and damage != "flip 0":
        found = damaged_checkpoints(place / of_checkpoint.parent)
        return None if Path(file).name in str(found) else f"found: {found}"
    if thing.is_finished and not file.startswith(UNDIGESTED):
        status = elicit("verify", place)
        said = capsys.readouterr()
        if (status != 2 or not is_named(said.err)) and damage not in ("removed", "a directory"):
            return f"verify: {status}, {said.err}"
    out, words = place, thing.repeat
    if name == "plain":
        out = tmp / "subset"
        words = [place if word == thing.directory else word for word in words]
    try:
        status = elicit(*words, "--out", out)
    except Exception as error:
        return f"repeated: {error!r}"
    said = capsys.readouterr().err
    if status == 2:
        return None if is_named(said) and "Traceback" not in said else f"refused: {said}"
    if status != 0:
        return f"repeated: {status}, {said}"
    if lasting(out) != thing.wanted:
        differing = [n for n in thing.wanted if lasting(out).get(n) != thing.wanted[n]]
        return f"repeated, and other bytes in {differing}: {said}"
    left = [damaged_checkpoints(p) for p in out.rglob("*") if p.is_dir()]
    if any(left):
        return f"damage is left: {left}"
    return None if is_named(said) or _is_harmless(name, file, damage) else f"silent: {said}"


def _is_harmless(name: str, file: str, damage: str) -> bool:
    """Whether nothing was lost that has to be told."""
    last = Path(file)
    return any(
        state in name and kind in ("", damage) and any(map(last.match, files))
        for (state, kind), files in HARMLESS.items()
    )
