"""Images that do not stay finite: left out, counted, and no harm to any other."""

import json

import numpy as np
import pytest

import experiments.data.resumable_set
import experiments.synthesis.command
from tests.experiments.conftest import write_columns
from train.data.load import load_images

SHARDS = [f"synthesised-train.array_record-{i:05d}" for i in range(3)]
NOTE = "synthesised-train-00001.note.json"
COUNT = 10
BRIGHT = (1, 6)  # of the originals; for them the classifier knows no answer

CLASSIFIERS = """
import jax.numpy as jnp

def finite(images):
    return 9 * images.mean((1, 2))

def broken(images):
    return finite(images) + jnp.where(images.mean((1, 2, 3)) > 0.9, jnp.nan, 0)[:, None]
"""

pytestmark = pytest.mark.filterwarnings(
    "default:.* images are not finite or have no finite", "default:(.* is damaged; )?made again"
)


@pytest.fixture
def originals(tmp_path, monkeypatch):
    """Ten images, of which those in `BRIGHT` are white."""
    (tmp_path / "nan_classifiers.py").write_text(CLASSIFIERS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.dont_write_bytecode", True)
    monkeypatch.setattr(
        experiments.synthesis.command, "write_set_report", lambda path, *_: path.touch()
    )
    return write_originals(tmp_path / "originals", BRIGHT)


def write_originals(directory, bright):
    images = np.random.default_rng(0).integers(20, 200, (COUNT, 6, 8, 3), np.uint8)
    images[list(bright)] = 255
    columns = {
        "id": [f"train_{i}" for i in range(COUNT)],
        "image": images,
        "label": np.arange(COUNT) % 3,
    }
    return write_columns(directory, {"train": columns})


@pytest.fixture
def make(originals, tmp_path, elicit):
    """Synthesises in shards of two batches of 2, and gives the set."""

    def synthesize(name, *words, classifier="broken", status=0, dataset=originals):
        out = tmp_path / name
        given = ["--classifier", f"nan_classifiers:{classifier}", "--data", dataset]
        sizes = ["--batch-size", 2, "--batches-per-shard", 2, "--steps", 3]
        sizes += ["--rule", "sgd", "--tolerance", "None", "--rule-options", "learning_rate=9.0"]
        assert elicit("synthesize", *given, *sizes, "--out", out, *words) == status
        return out

    return synthesize


def read(directory, name):
    return json.loads((directory / name).read_text())


def test_they_are_left_out_and_named(make, capsys):
    out = make("set")
    said = capsys.readouterr()
    assert (
        "warning: 2 of 10 images are not finite or have no finite output, and are left out: those "
        "of train_1, train_6; a lower learning_rate may help"
    ) in said.err
    assert "images                   8, 2 left out, 10 made at " in said.out
    manifest = read(out, "manifest.json")
    assert manifest["left_out"] == {"images": 2, "source_ids": ["train_1", "train_6"]}
    assert [shard["num_examples"] for shard in manifest["shards"]] == [3, 3, 2]
    summary = read(out, "summary.json")
    assert (summary["images"], summary["left_out"]) == (8, 2)


def test_the_others_are_what_they_would_be_beside_healthy_ones(make, originals, tmp_path):
    dark = write_originals(tmp_path / "dark", ())
    found, whole = load_images(make("set")), load_images(make("whole", dataset=dark))
    rows = [row for row in range(COUNT) if row not in BRIGHT]
    assert found.ids == tuple(f"synthesised_train_{row}" for row in rows)
    assert found.source_ids == tuple(f"train_{row}" for row in rows)
    for name in ("images", "labels", "targets", "outputs"):
        np.testing.assert_array_equal(getattr(found, name), getattr(whole, name)[rows])
    assert (found.images != load_images(originals).images[rows]).any()


def test_a_set_that_lacks_none_says_nothing_of_it(make, capsys):
    out = make("set", classifier="finite")
    assert "left" not in capsys.readouterr().out
    assert "left_out" not in read(out, "manifest.json").keys() | read(out, "summary.json").keys()
    assert not list(out.glob("*.note.json"))


def test_the_summary_pairs_images_with_their_own_originals(make, originals):
    out = make("set")
    made, source = load_images(out), load_images(originals)
    own = source.images[[int(name.removeprefix("train_")) for name in made.source_ids]]
    change = abs(np.float64(made.images) - own).mean()
    assert read(out, "summary.json")["mean_change_levels"] == pytest.approx(change, rel=1e-5)


# ---- the same bytes


@pytest.mark.slow
@pytest.mark.parametrize("stops", [(7, 10), (3, 6, 9, 10), (10, 10)])
def test_a_set_that_grows_is_the_set_of_one_run(stops, make, contents):
    whole = make("whole")
    for stop in stops:
        out = make("set", "--stop", stop)
    assert contents(out) == contents(whole)


def test_a_set_that_lacks_its_last_image_does_not_shrink_either(make, contents, capsys):
    out = make("set", "--stop", 7)
    before = contents(out)
    make("set", "--stop", 6, status=2)
    assert "already holds more images than are asked for" in capsys.readouterr().err
    assert contents(out) == before


def test_a_complete_set_is_left_as_it_is(make, contents, monkeypatch, capsys):
    before = contents(make("set"))
    monkeypatch.delattr(experiments.data.resumable_set, "write_shard")
    assert contents(make("set")) == before
    assert "8, 2 left out, all there already" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.unlink(),
        lambda path: path.write_text("{"),
        lambda path: path.write_text("[]"),
        lambda path: path.write_text('{"shard": 1}'),
        lambda path: path.write_text(path.read_text().replace('sha256": "', 'sha256": "0')),
        lambda path: path.with_name(SHARDS[1]).unlink(),
    ],
)  # fmt: skip
def test_without_its_note_a_shard_is_made_again(damage, make, contents):
    out = make("set")
    before = contents(out)
    damage(out / NOTE)
    assert contents(make("set")) == before


# ---- none left


@pytest.mark.parametrize(
    ("bright", "named"), [((4, 5, 6, 7), "train_4 to that of train_7"), (range(10), "train_0 to")]
)
def test_a_shard_of_which_none_is_left_stops_it(bright, named, make, tmp_path, capsys):
    data = write_originals(tmp_path / "brighter", bright)
    out = make("set", dataset=data, status=1)
    complaint = capsys.readouterr().err
    assert f"error: not one of the 4 images from that of {named}" in complaint
    assert "Traceback" not in complaint
    assert not (out / "manifest.json").exists()
    assert (out / SHARDS[0]).exists() == (0 not in bright)
