"""`elicit experiment figures-b` on real subsets and cuts, with stand-ins for GANs and selectors."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from experiments.gan.select_report import Outcome, write_pages
from experiments.options.classifier import ClassifierTrainConfig
from experiments.options.gan import GanSampleConfig, GanTrainConfig
from experiments.pages.saved_strips import read_strips
from experiments.papers.engine.make_pieces import MAKERS
from experiments.papers.figures_b import SETS
from experiments.papers.registry import read_results
from experiments.papers.table_b import PRESETS
from gans.selection import Tally
from tests.experiments.pages.pictures import decoded
from tests.experiments.pages.reports import assert_is_report
from tests.experiments.papers.written_results import piece, table
from train.data.load import load_images
from train.data.spec import ImageSetSpec
from train.data.write import commit, write_shard
from train.storage.strict_json import write_json

SHAPE = (24, 20, 3)
CLASSES = ("ant", "bee", "cow")
PER_CLASS = 4
TRIED = {
    "dcgan-tp": (10, 80, 8),
    "dcgan-fp": (6, 20, 16),
    "sgan-tp": (5, 4, 8),
    "sgan-fp": (9, 9, 9),
}
AGREED = {"dcgan-tp": (4, 0, 6), "dcgan-fp": (2, 0, 12), "sgan-tp": (4, 4, 4), "sgan-fp": (5, 5, 5)}
"""By class; of the DCGAN's no bee is a true positive."""

COMMAND = ("experiment", "figures-b", "--preset", "smoke", "--out")


class Finished(NamedTuple):
    """Results of all sets, and those of the same command with --only."""

    out: Path
    only: Path


def end_run(config: ClassifierTrainConfig | GanTrainConfig, _: str) -> None:
    """A training that does nothing."""
    config.out.mkdir(parents=True)
    write_json(config.out / "result.json", {})


def sample(config: GanSampleConfig, _: str) -> None:
    """Images whose level tells set, class and number, judged as `TRIED` and `AGREED` have it."""
    slug = config.out.name.rpartition("-")[0]
    tried, agreed = np.array(TRIED[slug]), np.array(AGREED[slug])
    confusion = np.diag(agreed)
    confusion[range(3), [1, 2, 0]] = tried - agreed
    accepted = np.stack([agreed, tried - agreed], axis=1)
    kept = np.minimum(accepted, config.per_class) * [config.keep == "tp", config.keep == "fp"]
    labels = np.repeat(range(3), kept.sum(1))
    levels = 50 * list(TRIED).index(slug) + 10 * labels + np.arange(len(labels)) % 4
    spec = ImageSetSpec("sampled", CLASSES, SHAPE, extras=("predicted", "confidence"))
    columns = {
        "id": [f"{slug}_{number}" for number in range(len(labels))],
        "image": np.broadcast_to(levels[:, None, None, None], (len(labels), *SHAPE)).astype("u1"),
        "label": labels,
        "predicted": (labels + (config.keep == "fp")).astype(np.int32) % 3,
        "confidence": np.ones(len(labels), np.float32),
    }
    shard = write_shard(config.out, spec, split="train", index=0, columns=columns)
    commit(config.out, spec, {"train": [shard]}, manifest={"classifier": "made up"})
    tally = Tally(confusion.astype(np.int64), accepted.astype(np.int64))
    outcome = Outcome(CLASSES, (0, 1, 2), config.keep, config.per_class, tally, kept)
    write_pages(config.out, title="Stand-ins", made="made up", outcome=outcome, footer={})


@pytest.fixture(scope="module", autouse=True)
def _stand_ins(tmp_path_factory, make_set):
    counts = {"train": 30, "test": 6}
    place = make_set(tmp_path_factory.mktemp("data") / "made_up", shape=SHAPE, counts=counts)
    smoke = replace(
        PRESETS["smoke"], dataset=str(place), per_class=PER_CLASS, test_per_class=2, crop_px=12
    )
    makers = {ClassifierTrainConfig: end_run, GanTrainConfig: end_run, GanSampleConfig: sample}
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(PRESETS, "smoke", smoke)
        for kind, make in makers.items():
            command = MAKERS[kind]._replace(make=make)
            patch.setitem(MAKERS, kind, command)
        yield


@pytest.fixture(scope="module")
def finished(_stand_ins, tmp_path_factory, elicit) -> Finished:
    out = tmp_path_factory.mktemp("figures-b") / "out"
    assert elicit(*COMMAND, out, "--only", "geometric,*") == 0
    only = out.with_name("only")
    shutil.copytree(out, only)
    assert elicit(*COMMAND, out) == 0
    return Finished(out, only)


def test_only_what_the_sets_need_is_made(finished):
    made = {path.name.rpartition("-")[0] for path in (finished.out / "pieces").iterdir()}
    assert made == {"real", "selector", "dcgan", "sgan", *SETS}
    only = {path.name.rpartition("-")[0] for path in (finished.only / "pieces").iterdir()}
    assert only == {"real", "geometric"}


def test_arms_hold_what_lies_in_the_sets(finished):
    found = read_results(finished.out)[1].by_row
    assert list(found) == ["geometric", "dcgan-tp", "dcgan-fp", "sgan-tp", "sgan-fp"]
    for slug, arm in found.items():
        labels = load_images(piece(finished.out, slug)).labels
        counts = {name: int((labels == label).sum()) for label, name in enumerate(CLASSES)}
        assert arm["images_by_class"] == counts
        assert arm["images"] == sum(counts.values())
        if slug != "geometric":
            assert arm["classes"]["cow"]["tried"] == TRIED[slug][2]
    assert found["geometric"]["images_by_class"] == dict.fromkeys(CLASSES, PER_CLASS)
    assert found["dcgan-tp"]["images_by_class"]["bee"] == 0


def test_the_table_has_images_tries_and_shares_by_class(finished):
    rows = table(finished.out / "figures.md")
    # Of the two sets of a GAN the one for which more images of the class were tried.
    assert rows["ant"] == ["4", "4", "4", "4", "4", "10", "40.0%", "9", "55.6%"]
    assert rows["bee"] == ["4", "0", "4", "4", "4", "80", "0.0%", "9", "55.6%"]
    assert rows["cow"] == ["4", "4", "4", "4", "4", "16", "75.0%", "9", "55.6%"]
    assert rows["all"][-4:] == ["106", f"{(0.4 + 0 + 0.75) / 3:.1%}", "27", "55.6%"]
    assert rows["class"][:2] == ["geometric, images", "DCGAN TP, images"]
    page = assert_is_report(finished.out / "report.html")
    assert len(page.attributes("img")) == 3 * len(SETS) - 1  # a GAN has no bee
    markdown = (finished.out / "figures.md").read_text()
    assert "![SGAN FP: cow](figures/classes-2-04.png) SGAN FP" in markdown
    assert [each["role"] for each in page.attributes("svg") if "role" in each] == ["img"]


def test_strips_show_the_first_images_class_by_class(finished):
    groups = read_strips(finished.out / "figures", "classes")
    assert [group.caption for group in groups] == [f"Images of {name}." for name in CLASSES]
    for label, group in enumerate(groups):
        made = {name: load_images(piece(finished.out, slug)) for slug, name in SETS.items()}
        own = {name: data.images[data.labels == label][:3] for name, data in made.items()}
        assert [strip.label for strip in group.strips] == [n for n in own if len(own[n])]
        for strip in group.strips:
            shown = decoded(strip.png)[:: 64 // SHAPE[1], :: 64 // SHAPE[1]]
            for number, image in enumerate(own[strip.label]):
                left = number * (SHAPE[1] + 1)
                np.testing.assert_array_equal(shown[:, left : left + SHAPE[1]], image)


def test_one_set_alone_has_pages_without_the_gans(finished):
    only = finished.only
    assert list(read_results(only)[1].by_row) == ["geometric"]
    assert table(only / "figures.md")["ant"] == ["4"]
    files = sorted(path.name for path in (only / "figures").iterdir())
    assert files == [*(f"classes-{label}-00.png" for label in range(3)), "classes.json"]
    assert "dcgan-tp,0, dcgan-fp,0, sgan-tp,0, sgan-fp,0." in (only / "figures.md").read_text()
    assert "<svg" not in (only / "report.html").read_text()
