"""Plans: what a piece's place depends on, and what it is made from."""

import dataclasses
from pathlib import Path

import pytest

from experiments.papers.engine.experiment import Source
from experiments.papers.engine.plan import Piece, Plan, needed, place
from experiments.papers.table_a import PRESETS as PRESETS_A
from experiments.papers.table_a import make_plan as plan_a
from experiments.papers.table_b import PRESETS as PRESETS_B
from experiments.papers.table_b import make_plan as plan_b

SOURCE = Source("cifar10", Path("data"), ("train", "test"))
SURROUNDINGS = {"jax": "1.2.3"}


def placed_a(root="pieces", *, source=SOURCE, surroundings=SURROUNDINGS, key=0, **changed):
    settings = dataclasses.replace(PRESETS_A["paper"], **changed)
    return place(plan_a(settings, source, key), Path(root), surroundings)


def names_with_other_digests(left: dict[str, Piece], right: dict[str, Piece]) -> set[str]:
    return {name for name in left if left[name].digest != right[name].digest}


def test_a_digest_does_not_depend_on_places():
    here, there = placed_a(), placed_a("there", source=SOURCE._replace(data_dir=Path("elsewhere")))
    assert not names_with_other_digests(here, there)
    for name, piece in here.items():
        assert piece.directory == Path("pieces") / f"{name}-{piece.digest[:12]}"
        assert there[name].directory == Path("there") / piece.directory.name


def test_an_option_changes_what_depends_on_it_alone():
    here = placed_a()
    plain = {f"{slug}-seed-{seed}" for slug in ("replaced-0", "smoothing") for seed in range(1, 6)}
    assert names_with_other_digests(here, placed_a(batch_size=7)) == {*here} - plain - {"teacher"}
    for everything in (
        {"width": 0.5},
        {"source": SOURCE._replace(dataset="another")},
        {"surroundings": {"jax": "1.2.4"}},
    ):
        assert names_with_other_digests(here, placed_a(**everything)) == {*here}


def test_a_training_points_to_the_pieces_that_it_is_made_from():
    placed = placed_a()
    replaced = placed["replaced-30-seed-2"]
    assert replaced.needs == ("images",)
    assert replaced.config.replace == placed["images"].directory
    assert replaced.config.key == 2
    assert placed["images"].config.classifier == str(placed["teacher"].directory)
    names = [piece.name for piece in needed(placed, ["replaced-30-seed-2"])]
    assert names == ["teacher", "images", "replaced-30-seed-2"]
    assert [piece.name for piece in needed(placed, ["replaced-0-seed-2"])] == ["replaced-0-seed-2"]


@pytest.mark.parametrize(
    ("make_plan", "presets", "rows", "budgets"),
    [(plan_a, PRESETS_A, 8, 1), (plan_b, PRESETS_B, 19, 2)],
    ids=["table-a", "table-b"],
)
def test_every_row_is_measured_by_each_budget_from_every_seed(make_plan, presets, rows, budgets):
    for preset in ("paper", "reduced"):
        plan: Plan = make_plan(presets[preset], SOURCE, 10)
        seeds = range(11, 11 + presets[preset].seeds)
        assert len(plan.rows) == rows
        assert len(plan.arms) == len(set(plan.arms)) == rows * len(seeds) * budgets
        assert {arm.seed for arm in plan.arms} == set(seeds)
        assert {arm.row for arm in plan.arms} == {row.slug for row in plan.rows}
        placed = place(plan, Path("pieces"), SURROUNDINGS)
        assert all(placed[arm.piece].config.key == arm.seed for arm in plan.arms)


def test_controls_of_table_a_differ_in_one_thing_each():
    placed = placed_a()
    replaced, outputs, plain, smoothing = (
        placed[f"{slug}-seed-4"].config
        for slug in ("replaced-30", "outputs", "replaced-0", "smoothing")
    )
    assert dataclasses.replace(outputs, labels_only=False, out=replaced.out) == replaced
    recipe = smoothing.train.recipe
    assert dataclasses.replace(
        smoothing, train=dataclasses.replace(smoothing.train, recipe=plain.train.recipe)
    ) == dataclasses.replace(plain, out=smoothing.out)
    # As much is taken from the own class: half of 0.1 of 30% of the images.
    assert recipe.label_smoothing * 9 / 10 == pytest.approx(0.3 * 0.1 / 2)
    names = [row.slug for row in plan_a(PRESETS_A["paper"], SOURCE, 0).rows]
    without = dataclasses.replace(PRESETS_A["paper"], control_percentage=None)
    assert [row.slug for row in plan_a(without, SOURCE, 0).rows] == names[:-2]


def test_rows_of_table_b_are_trained_on_what_they_say():
    settings = PRESETS_B["paper"]
    placed = place(plan_b(settings, SOURCE, 0), Path("pieces"), SURROUNDINGS)
    beside = {
        "real": [],
        "geometric": ["geometric"],
        "dcgan-fp": ["dcgan-fp"],
        "sgan-tp-geometric": ["sgan-tp", "geometric"],
        "sgan-fp-tp-geometric": ["sgan-fp-half", "sgan-tp-half", "geometric"],
        "dcgan-random": ["dcgan-random"],
        "sgan-tp-all": ["sgan-tp-all"],
        "more-real": ["more-real"],
    }
    for row, sets in beside.items():
        for budget, steps in {"epochs": None, "steps": 10_000 // 128 * 60}.items():
            training = placed[f"{row}-{budget}-seed-1"].config
            assert training.extra == tuple(placed[name].directory for name in sets)
            assert training.data == training.test_also == str(placed["real"].directory)
            assert training.test_data == SOURCE.dataset  # the whole test split
            assert (training.train.epochs, training.train.steps) == (60, steps)
    tp, half, by_all = (placed[f"sgan-{kind}"].config for kind in ("tp", "tp-half", "tp-all"))
    assert (tp.keep, tp.per_class, half.per_class) == ("tp", 500, 250)
    assert tp.classifier == str(placed["selector"].directory)
    assert by_all.classifier == str(placed["selector-all"].directory)
    more = placed["more-real"].config
    drawn = [placed[name].config for name in ("real", "more-real")]
    assert all(subset.split == ("train",) for subset in drawn)  # no training on test images
    assert (more.per_class, more.test_per_class, more.skip_per_class) == (500, 0, 600)
