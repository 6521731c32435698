"""The arms of does-it-help: what a control shares with its arm, and how long each trains."""

from dataclasses import replace
from pathlib import Path

import pytest

from experiments.options.data import SubsetConfig
from experiments.options.synthesis import ViewConfig
from experiments.papers.does_it_help.arms import ARMS, BASE, with_controls
from experiments.papers.does_it_help.plan import (
    NEGLECTED,
    HelpSettings,
    base_training,
    make_lengths,
    make_plan,
)
from experiments.papers.engine.plan import needed, place
from train.recipes.train_options import TrainConfig

PER_CLASS, EPOCHS = 6, 4


@pytest.fixture(scope="module")
def settings(data, tiny_networks):
    del tiny_networks
    return HelpSettings(
        dataset=str(data),
        data_dir=None,
        num_classes=3,
        per_class=PER_CLASS,
        model="tiny",
        width=1.0,
        train=base_training(TrainConfig(epochs=EPOCHS, batch_size=6), 3 * PER_CLASS),
        teachers=2,
        updates=2,
        view=ViewConfig(("flip", "crop")),
        gan={"epochs": 2, "width": 2},
    )


@pytest.fixture(scope="module")
def lengths(settings):
    return make_lengths(settings, tuple(ARMS))


@pytest.fixture(scope="module")
def pieces(settings, lengths):
    plan = make_plan(settings, lengths, dict.fromkeys(ARMS, (3, 4)))
    return place(plan, Path("pieces"), {})


def training(pieces, lengths, slug, *, seed=3, budget="steps"):
    return pieces[f"{slug}-{lengths.steps[budget][slug]}-seed-{seed}"].config


def made_arms():
    return [slug for slug, arm in ARMS.items() if arm.made and not arm.labels_only]


def test_arms_of_made_images_have_controls_that_stand_before_them():
    places = {slug: place for place, slug in enumerate(ARMS)}
    assert set(made_arms()) <= {slug for slug, arm in ARMS.items() if arm.control}
    for slug, arm in ARMS.items():
        if arm.control:
            assert places[arm.control] < places[slug]
            assert not ARMS[arm.control].is_main or arm.is_main or arm.control == BASE


@pytest.mark.parametrize("slug", [s for s, arm in ARMS.items() if arm.control not in (None, BASE)])
def test_a_matched_control_differs_in_the_pixels_alone(pieces, lengths, slug):
    arm, control = (training(pieces, lengths, each) for each in (slug, ARMS[slug].control))
    assert (arm.labels_only, control.labels_only) == (False, True)
    assert replace(control, labels_only=False, out=arm.out) == arm
    for budget in lengths.steps:
        steps = lengths.steps[budget]
        assert steps[slug] == steps[ARMS[slug].control]


def test_equal_steps_and_equal_compute(lengths, settings):
    steps = EPOCHS * (3 * PER_CLASS // 6)
    assert settings.train.steps == steps
    assert set(lengths.steps["steps"].values()) == {steps}
    compute = {slug: lengths.flop[slug] * lengths.steps["compute"][slug] for slug in ARMS}
    most = steps * max(lengths.flop.values())
    for slug, spent in compute.items():  # to half an update, and what is neglected
        assert abs(spent - most) <= lengths.flop[slug] / 2 + NEGLECTED * most
    assert lengths.flop["two-views"] > 1.5 * lengths.flop[BASE]
    assert lengths.flop["teacher"] > lengths.flop["two-views"]


def test_every_seed_has_images_and_teachers_of_its_own(pieces, lengths):
    for slug in ARMS:
        one, other = (
            needed(pieces, [f"{slug}-{lengths.steps['steps'][slug]}-seed-{seed}"])
            for seed in (3, 4)
        )
        assert not {piece.name for piece in one} & {piece.name for piece in other}
    keys = {pieces[f"teacher-{number}-{seed}"].config.key for number in (0, 1) for seed in (3, 4)}
    assert len(keys | {3, 4}) == 6
    assert training(pieces, lengths, "teacher").teacher == tuple(
        pieces[f"teacher-{number}-3"].directory for number in (0, 1)
    )


def test_all_arms_of_a_seed_train_on_one_subset(pieces, lengths):
    base = training(pieces, lengths, BASE).data
    for slug, arm in ARMS.items():
        assert (training(pieces, lengths, slug).data == base) != arm.has_more_images
    sizes = [pieces[f"{name}-3"].config for name in ("subset", "larger")]
    assert all(isinstance(size, SubsetConfig) for size in sizes)
    assert [size.per_class for size in sizes] == [PER_CLASS, 2 * PER_CLASS]
    assert {(size.split, size.key, size.test_per_class) for size in sizes} == {(("train",), 3, 0)}


def test_arms_bring_their_controls():
    assert with_controls(("survives-cutmix",)) == (BASE, "teacher-cutmix", "survives-cutmix")
    assert with_controls(()) == (BASE,)
    assert with_controls(tuple(ARMS)) == tuple(ARMS)
