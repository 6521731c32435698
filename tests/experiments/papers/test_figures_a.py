"""`elicit experiment figures-a` with a teacher that compiles in no time, on images of 24×20."""

import shutil
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

import experiments.papers.figures_a
import experiments.synthesis.command
import experiments.training.run
from experiments.pages.saved_strips import read_strips
from experiments.pages.strips import DIFFERENCE_GAIN, amplified
from experiments.papers import table_a
from experiments.papers.engine.experiment import Source
from experiments.papers.engine.plan import place
from experiments.papers.figures_a import (
    COLUMNS,
    PRESETS,
    RULES,
    FiguresASettings,
    make_plan,
)
from experiments.papers.registry import read_results
from tests.experiments.pages.pictures import decoded
from tests.experiments.pages.reports import assert_is_report
from tests.experiments.papers.written_results import piece, table
from train.data.image_data import ImageData
from train.data.load import load_images
from train.recipes.train_options import TrainConfig
from train.storage.strict_json import read_sealed

IMAGES, SHOWN = 12, 3
SHAPE = (24, 20, 3)
COMMAND = ("experiment", "figures-a", "--preset", "smoke", "--out")
CHANGING = ["figures.md", "report.html", "result.json"]


class Finished(NamedTuple):
    """Results of all rules, those of the same command with --only, and the originals."""

    out: Path
    only: Path
    data: Path


@pytest.fixture(scope="module", autouse=True)
def _smaller_than_smoke(finished_data, tiny_networks, blank_pages):
    del blank_pages
    tiny = FiguresASettings(
        dataset=str(finished_data),
        model=tiny_networks[0],
        train=TrainConfig(epochs=1, batch_size=8, flip=False, pad_px=0),
        images=IMAGES,
        steps=3,
        batch_size=8,
    )

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(PRESETS, "smoke", tiny)
        patch.setattr(experiments.papers.figures_a, "SHOWN_IMAGES", SHOWN)
        for module in (experiments.training.run, experiments.synthesis.command):
            patch.setattr(module, "check_batch_fits", lambda *_: None)
        yield


@pytest.fixture(scope="module")
def finished_data(tmp_path_factory, make_set) -> Path:
    counts = {"train": 24, "test": 15}
    return make_set(tmp_path_factory.mktemp("data") / "made_up", shape=SHAPE, counts=counts)


@pytest.fixture(scope="module")
def finished(_smaller_than_smoke, finished_data, tmp_path_factory, elicit) -> Finished:
    out = tmp_path_factory.mktemp("figures-a") / "out"
    assert elicit(*COMMAND, out, "--only", "momentum,0") == 0
    only = out.with_name("only")
    shutil.copytree(out, only)
    assert elicit(*COMMAND, out) == 0
    return Finished(out, only, finished_data)


@pytest.fixture
def out(finished, tmp_path) -> Path:
    """A copy of the finished figures."""
    shutil.copytree(finished.out, tmp_path / "out")
    return tmp_path / "out"


def made_by(out: Path, slug: str) -> ImageData:
    return load_images(piece(out, slug))


@pytest.mark.slow
def test_every_rule_starts_from_the_same_images_and_targets(finished):
    expected = load_images(finished.data, "test")
    sets = {slug: made_by(finished.out, slug) for slug in RULES}
    assert list(read_results(finished.out)[1].by_row) == list(RULES)
    for made in sets.values():
        assert made.source_ids == expected.ids[:IMAGES]
        np.testing.assert_array_equal(made.targets, sets["sgd"].targets)
    assert len({made.images.tobytes() for made in sets.values()}) == len(RULES)


@pytest.mark.slow
@pytest.mark.parametrize("slug", RULES)
def test_numbers_are_those_of_the_sets(finished, slug):
    record = dict(read_results(finished.out)[1].by_row[slug])
    shift = record["saturation"] - record["saturation_of_originals"]
    assert record.pop("saturation_shift") == shift
    assert record == read_sealed(piece(finished.out, slug) / "summary.json")


@pytest.mark.slow
def test_the_table_holds_every_rule_s_numbers(finished):
    rows, found = table(finished.out / "figures.md"), read_results(finished.out)[1].by_row
    assert list(rows) == ["rule", "originals", *(rule.name for rule in RULES.values())]
    assert {len(row) for row in rows.values()} == {len(COLUMNS)}
    for slug, rule in RULES.items():
        assert rows[rule.name][0] == f"{found[slug]['kl_mean']:.4f}"
        assert rows[rule.name][-1] == f"{found[slug]['saturation_shift']:+.4f}"
    assert_is_report(finished.out / "report.html")
    page = (finished.out / "report.html").read_text()
    assert page.count("data:image/png") == SHOWN * (1 + len(RULES))
    assert all(rule.name in page for rule in RULES.values())


@pytest.mark.slow
def test_pictures_show_the_first_images_of_the_sets(finished):
    originals = load_images(finished.data, "test").images[:SHOWN]
    made = {slug: made_by(finished.out, slug) for slug in RULES}
    (rules,) = read_strips(finished.out / "figures", "rules")
    outputs = read_strips(finished.out / "figures", "outputs")
    assert len(outputs) == len(RULES)
    height, width, _ = SHAPE
    for number, strip in enumerate(rules.strips):
        shown = decoded(strip.png)[:: 64 // width, :: 64 // width]
        images = [originals[number], *(each.images[number] for each in made.values())]
        for column, image in enumerate(images):
            left = column * (width + 1)
            np.testing.assert_array_equal(shown[:height, left : left + width], image)
            difference = amplified(image, originals[number], DIFFERENCE_GAIN)
            below = shown[height + 1 :, left : left + width]
            np.testing.assert_array_equal(below, difference)
    for (slug, rule), group in zip(RULES.items(), outputs, strict=True):
        assert group.caption.startswith(f"{rule.name}.")
        assert len(group.strips) == SHOWN
        likeliest = int(made[slug].targets[0].argmax())
        share = made[slug].targets[0][likeliest]
        name = made[slug].class_names[likeliest]
        assert group.strips[0].notes[0].startswith(f"asked {name}: {share:.1%}")


@pytest.mark.slow
def test_one_rule_alone_has_pages_that_name_the_others_as_missing(finished):
    only = finished.only
    assert list(read_results(only)[1].by_row) == ["momentum"]
    assert list(table(only / "figures.md")) == ["rule", "originals", "momentum"]
    assert sorted(path.name for path in (only / "figures").iterdir()) == [
        *(f"outputs-0-{number:02d}.png" for number in range(SHOWN)),
        "outputs.json",
        *(f"rules-0-{number:02d}.png" for number in range(SHOWN)),
        "rules.json",
    ]
    missing = "Still missing (row, seed): sgd,0, momentum-as-printed,0, momentum-low-pass-10,0."
    assert missing in (only / "figures.md").read_text()
    assert missing in (only / "report.html").read_text()
    assert "missing" not in (finished.out / "figures.md").read_text()


@pytest.mark.slow
def test_pages_are_made_again_from_result_and_figures_alone(out):
    pages = {name: (out / name).read_bytes() for name in ("report.html", "figures.md")}
    shutil.rmtree(out / "pieces")
    for name in pages:
        (out / name).unlink()
    experiment, result = read_results(out)
    experiment.write_pages(out, result)
    assert {name: (out / name).read_bytes() for name in pages} == pages
    (out / "figures" / "rules.json").unlink()
    with pytest.raises(ValueError, match=r"rules\.json, which is missing; repeat the command"):
        experiment.write_pages(out, result)


@pytest.mark.slow
def test_a_repeated_command_ends_with_the_same_bytes(out, elicit, contents):
    before = contents(out)
    (directory,) = (out / "pieces").glob("sgd-*")
    for name in ("manifest.json", "report.html"):  # as if killed there
        (directory / name).unlink()
    shutil.rmtree(out / "figures")
    (out / "result.json").unlink()
    assert elicit(*COMMAND, out) == 0
    after = contents(out)
    assert after.keys() == before.keys()
    assert [name for name in after if after[name] != before[name]] in ([], CHANGING)


def test_the_teacher_is_table_a_s():
    source = Source("cifar10", Path("tfds"), ("train", "test"))
    for preset, settings in table_a.PRESETS.items():
        if preset == "smoke":  # which is another one in these tests
            continue
        theirs = place(table_a.make_plan(settings, source, 3), Path("pieces"), {})
        ours = place(make_plan(PRESETS[preset], source, 3), Path("pieces"), {})
        assert ours["teacher"] == theirs["teacher"]
        assert ours["sgd"].needs == ("teacher",)
