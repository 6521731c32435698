"""`elicit synthesize --attack`: what it writes, and what it refuses."""

import json

import numpy as np
import pytest

from train.data.load import load_images, read_extras

PGD = ("--attack", "pgd", "--attack-steps", 3)
SMALLEST = ("--attack", "smallest", "--searches", 4, "--search-updates", 8)


def summary_of(directory):
    return json.loads((directory / "summary.json").read_text())


def is_first(images):
    likeliest = np.take_along_axis(images.targets, images.outputs.argmax(1)[:, None], 1)[:, 0]
    return likeliest == images.targets.max(1)


def changes(images, data):
    originals = load_images(data).images[: len(images.images)]
    return images.images.astype(int) - originals.astype(int)


def test_an_attacked_set_is_a_set_like_any_other(by_own, data, capsys):
    out = by_own(*PGD, "--radius-levels", 20)
    images, summary = load_images(out), summary_of(out)
    printed = capsys.readouterr().out
    originals = load_images(data)
    assert images.source_ids == originals.ids[:8]
    assert 10 < np.abs(changes(images, data)).max() <= 20
    excluded = (np.asarray(images.targets) == 0).nonzero()
    np.testing.assert_array_equal(excluded, [np.arange(8), images.labels])
    np.testing.assert_allclose(images.targets.sum(1), 1, rtol=1e-6)
    assert summary["first_class_as_asked"] == pytest.approx(is_first(images).mean())
    assert f"first class as asked     {is_first(images).mean():.1%}" in printed
    assert (read_extras(out, ("steps",))["steps"] == 4).all()
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["attack"] == {
        "name": "pgd", "goal": "untargeted", "norm": "linf", "radius_levels": 20.0,
        "step_levels": None, "attack_steps": 3, "start_at_image": False,
    }  # fmt: skip
    assert not {"rule", "target"} & set(manifest)


def test_a_set_that_is_no_attack_does_not_speak_of_the_first_class(made):
    assert "first_class_as_asked" not in summary_of(made)
    assert "attack" not in json.loads((made / "manifest.json").read_text())


def test_goals_say_what_the_targets_are(by_own):
    images = load_images(by_own("--attack", "fgsm", "--goal", "targeted"))
    assert (images.targets.max(1) == 1).all()
    assert (images.targets.argmax(1) != images.labels).all()
    images = load_images(by_own("--attack", "fgsm", "--goal", "targeted", "--target-class", "cow"))
    np.testing.assert_array_equal(images.targets, np.tile([0, 0, 1], (8, 1)))
    given = ("--attack", "fgsm", "--goal", "output", "--own", 0.7)
    out = by_own(*given)
    images = load_images(out)
    np.testing.assert_allclose(images.targets[range(8), images.labels], 0.7, rtol=1e-6)
    manifest = json.loads((out / "manifest.json").read_text())
    assert (manifest["target"]["own"], manifest["attack"]["goal"]) == (0.7, "output")


@pytest.mark.parametrize("goal", ["untargeted", "targeted"])
def test_the_smallest_perturbation_reaches_its_class_with_less(goal, by_own, data):
    smallest = load_images(by_own(*SMALLEST, "--goal", goal))
    assert is_first(smallest).all()
    fixed = load_images(by_own("--attack", "fgsm", "--radius-levels", 20))
    lengths = [np.linalg.norm(changes(each, data).ravel()) for each in (smallest, fixed)]
    assert 0 < lengths[0] < lengths[1]


@pytest.mark.slow
def test_a_random_start_hangs_on_the_image_and_key_alone(by_own):
    whole = load_images(by_own(*PGD)).images
    other = load_images(by_own(*PGD, "--start", 5, "--batch-size", 2)).images
    np.testing.assert_array_equal(other, whole[5:])
    assert (load_images(by_own(*PGD, "--key", 1)).images != whole).any()


@pytest.mark.slow
def test_an_attack_may_have_views(by_own):
    out = by_own(*PGD, "--norm", "l2", "--augmentations", "flip", "--views", 2)
    assert {"view_kl_mean", "first_class_as_asked"} <= set(summary_of(out))


REFUSED = {
    "a rule": ("--attack pgd --rule adam", "--rule adam has no effect with --attack pgd"),
    "steps of a rule": ("--attack pgd --steps 5", "--steps 5 has no effect with --attack pgd"),
    "targets": ("--attack fgsm --own 0.5", "--own 0.5 has no effect with --attack.*goal output"),
    "a radius of nothing": ("--radius-levels 4", "--radius-levels 4.0 has no effect without --at"),
    "no radius": ("--attack pgd --radius-levels 0", "radius_levels must be above 0.*got 0.0"),
    "endless": ("--attack pgd --step-levels inf", "step_levels must be above 0 and finite.*inf"),
    "no steps": ("--attack pgd --attack-steps 0", "attack_steps must be at least 1 and.*got 0"),
    "too many steps": ("--attack pgd --attack-steps 3000000000", "attack_steps.*got 3000000000"),
    "too many searches": ("--attack smallest --searches 300000000", "times search_updates.*20"),
    "no searches": ("--attack smallest --searches 0", "searches must be an integer.*got 0"),
    "a ball for smallest": (
        "--attack smallest --norm l2", "--norm l2 has no effect without --attack fgsm"
    ),
    "steps of fgsm": ("--attack fgsm --attack-steps 5", "--attack-steps 5 has no effect without"),
    "a class of no goal": ("--attack fgsm --target-class bee", "without --goal targeted"),
    "an unknown class": (
        "--attack fgsm --goal targeted --target-class dog", "unknown class 'dog'.*ant, bee, cow"
    ),
    "a goal of nothing": ("--goal targeted", "--goal targeted has no effect without --attack"),
    "an unknown attack": ("--attack bim", "fgsm, pgd, smallest, got 'bim'"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_fit_is_refused(case, own_classifier, data, tmp_path, check_refusal):
    words, message = REFUSED[case]
    given = ("--classifier", own_classifier, "--data", data, "--out", tmp_path / "new")
    check_refusal(("synthesize", *given, *words.split()), message, tmp_path)
