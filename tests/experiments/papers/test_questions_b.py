"""`elicit experiment questions-b`: what each question's rows are made of."""

from dataclasses import replace
from pathlib import Path

import pytest

from experiments.papers.engine.experiment import Source
from experiments.papers.engine.plan import needed, place
from experiments.papers.questions_b import PRESETS, TITLES, make_plan
from experiments.papers.table_b import PRESETS as PRESETS_B
from experiments.papers.table_b import make_plan as plan_b

SOURCE = Source("cifar10", Path("data"), ("train", "test"))


def plan_of(question, preset="paper"):
    return make_plan(replace(PRESETS[preset], question=question), SOURCE, 0)


def placed(question):
    return place(plan_of(question), Path("pieces"), {})


def rows(question):
    """For each row of the first seed: names of the added sets, and the training."""
    pieces = placed(question)
    found = {}
    for arm in plan_of(question).arms:
        if arm.seed == 1:
            config = pieces[arm.piece].config
            names = {piece.directory: name for name, piece in pieces.items()}
            found[arm.row] = [names[extra] for extra in config.extra], config
    return found


@pytest.mark.parametrize("question", TITLES)
@pytest.mark.parametrize("preset", PRESETS)
def test_every_row_is_measured_from_every_seed_in_as_many_steps(question, preset):
    plan = plan_of(question, preset)
    pieces = place(plan, Path("pieces"), {})
    seeds = PRESETS[preset].seeds
    assert len(plan.arms) == len(set(plan.arms)) == len(plan.rows) * seeds
    for table in {arm.budget for arm in plan.arms}:
        configs = [pieces[arm.piece].config for arm in plan.arms if arm.budget == table]
        assert len({config.train.budget.steps for config in configs}) == 1
    real = [row.slug for row in plan.rows if row.slug.startswith("real")]
    assert len(real) == len({arm.budget for arm in plan.arms})


def test_samples_are_true_positives_in_growing_number():
    added = {slug: names for slug, (names, _) in rows("samples").items()}
    counts = (125, 250, 500, 1000, 2000)
    assert added == {"real": [], **{f"dcgan-tp-{n}": [f"dcgan-tp-{n}"] for n in counts}}
    for count in counts:
        config = placed("samples")[f"dcgan-tp-{count}"].config
        assert (config.per_class, config.keep) == (count, "tp")


def test_mixtures_have_as_many_images_in_all():
    pieces = placed("ratio")
    found = {slug: names for slug, (names, _) in rows("ratio").items()}
    assert found.pop("real") == []
    for slug, names in found.items():
        counts = {name.rpartition("-")[0]: pieces[name].config.per_class for name in names}
        share = int(slug.removeprefix("share-"))
        assert counts.get("dcgan-tp", 0) == 5 * share
        assert sum(counts.values()) == 500
        assert set(counts) <= {"dcgan-tp", "geometric"}


def test_fewer_images_have_gans_and_classifiers_of_their_own():
    pieces, plan = placed("images"), plan_of("images")
    for count in (50, 100, 200, 500):
        (arm,) = (a for a in plan.arms if (a.row, a.seed) == (f"dcgan-tp-{count}", 1))
        assert arm.budget == f"With {count} real images of each class"
        used = {piece.name: piece.config for piece in needed(pieces, [arm.piece])}
        suffix = "" if count == 500 else f"-{count}"
        assert set(used) == {
            arm.piece, *(f"{name}{suffix}" for name in ("real", "selector", "dcgan", "dcgan-tp"))
        }  # fmt: skip
        assert used[f"real{suffix}"].per_class == used[f"dcgan-tp{suffix}"].per_class == count
        assert used[f"dcgan{suffix}"].data == str(pieces[f"real{suffix}"].directory)


def test_stacks_have_two_to_four_levels():
    pieces = placed("levels")
    cuts = [pieces[f"sgan-of-{levels}"].config.cut_points for levels in (2, 3, 4)]
    assert [len(own) + 1 for own in cuts] == [2, 3, 4]
    assert cuts[0] == ("pool2",)  # the paper's
    for slug, (names, _) in rows("levels").items():
        assert names == ([] if slug == "real" else [slug])


def test_pieces_that_table_b_has_too_are_made_once():
    theirs = place(plan_b(PRESETS_B["paper"], SOURCE, 0), Path("pieces"), {})
    shared = ("real", "selector", "dcgan", "geometric", "dcgan-tp")
    for question in TITLES:
        ours = placed(question)
        assert [ours[name].digest for name in shared] == [theirs[name].digest for name in shared]
