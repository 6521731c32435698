"""Cost of an experiment: every kind of piece, and what is printed."""

import dataclasses
import re
from pathlib import Path
from types import SimpleNamespace

import pytest

from experiments.data.subset import make_subset
from experiments.options.classifier import ClassifierTrainConfig
from experiments.options.data import AugmentConfig, SubsetConfig
from experiments.options.gan import GanSampleConfig, GanTrainConfig
from experiments.options.synthesis import RuleConfig, SynthesizeConfig, ViewConfig
from experiments.papers.engine import cost
from experiments.papers.engine.cost import (
    duration,
    forward_flop,
    gan_flop,
    generation_flop,
    gradient_flop,
    measure_speed,
    piece_flop,
    print_costs,
    training_flop,
)
from experiments.papers.engine.plan import Arm, Piece, Plan, Row, place
from experiments.papers.engine.set_sizes import SetSize, SetSizes, count_images
from gans.dcgan import DcganConfig
from gans.options.training import EncoderConfig, GameConfig
from train.recipes.options import Recipe, TrainingSynthesis
from train.recipes.train_options import TrainConfig

# The data have 48 and 21 images of 3 classes, 16×16×3.
DCGAN = DcganConfig(image_size=16, num_classes=3, width=2)


@pytest.fixture
def pieces(data, tmp_path, tiny_networks):
    """Pieces of every kind; none is there."""
    del tiny_networks

    def training(at, out, *extra, **options):
        return ClassifierTrainConfig(
            data=str(at("real")), out=out, model="plain", extra=tuple(map(at, extra)),
            train=TrainConfig(batch_size=7, **options),
        )  # fmt: skip

    def sampling(at, out, **options):
        return GanSampleConfig(gan=str(at("gan")), out=out, per_class=5, **options)

    def gan(at, out, **options):
        return GanTrainConfig(str(at("real")), out, width=2, batch_size=4, **options)

    def stack(at, out, **options):
        encoder = EncoderConfig(encoder_epochs=3)
        return gan(at, out, model="sgan", encoder_width=2, epochs=2, encoder=encoder, **options)

    by_name = {
        "teacher": lambda _, out: ClassifierTrainConfig(
            data=str(data), split="train[:30]", out=out, model="plain",
            train=TrainConfig(epochs=2, batch_size=8),
        ),
        "images": lambda at, out: SynthesizeConfig(
            classifier=str(at("teacher")), data=str(data), out=out, start=3, stop=40,
            rule=RuleConfig(steps=4),
        ),
        "real": lambda _, out: SubsetConfig(
            data=str(data), out=out, per_class=10, test_per_class=4
        ),
        "cropped": lambda at, out: AugmentConfig(data=str(at("real")), out=out, copies=2),
        "selector": lambda at, out: training(at, out, epochs=2),
        "gan": lambda at, out: gan(at, out, epochs=3, game=GameConfig("3")),
        "gans": lambda at, out: gan(at, out, epochs=3, one_per_class=True),
        "stack": stack,
        "joint": lambda at, out: stack(at, out, joint_epochs=5),
        "drawn": sampling,
        "both": lambda at, out: sampling(
            at, out, classifier=str(at("selector")), keep="both", classes=("ant", "cow")
        ),
        "more": lambda at, out: training(at, out, "cropped", "drawn", epochs=2),
        "steps": lambda at, out: training(at, out, "cropped", "both", steps=25),
        "untested": lambda _, out: ClassifierTrainConfig(
            data=str(data), test_split="", out=out, model="plain",
            train=TrainConfig(epochs=1, batch_size=8),
        ),
    }  # fmt: skip
    return place(Plan((), (), by_name), tmp_path / "pieces", {})


# Updates, and passes over test images. Batches of 7 in 30 images: 4; in 30 + 60 + 15: 15; in
# 30 + 60 + 20: 15, so that 25 are 2 epochs.
TRAININGS = {
    "teacher": (2 * 3, 2 * 21),
    "selector": (2 * 4, 2 * 12),
    "more": (2 * 15, 2 * 12),
    "steps": (25, 2 * 12),
    "untested": (6, 0),
}


def update_and_forward(pieces, name):
    """FLOP of an update of a classifier, and of its output for an image."""
    config = pieces[name].config
    sizes = SetSizes(pieces)
    return training_flop(config, sizes), forward_flop(cost._spec_of(config, sizes.source(config)))


@pytest.mark.parametrize("name", TRAININGS)
def test_a_training_is_all_its_updates_and_tests(name, pieces):
    update, forward = update_and_forward(pieces, name)
    updates, tested = TRAININGS[name]
    found = piece_flop(pieces[name].config, SetSizes(pieces))
    assert found == updates * update + tested * forward


def test_a_recipe_costs_what_it_adds(pieces):
    sizes, teacher = SetSizes(pieces), pieces["teacher"].config
    plain = dataclasses.replace(teacher, data=str(pieces["images"].directory), split="train")
    spec = cost._spec_of(plain, sizes.source(plain))

    def update(*, recipe=None, **options):
        train = dataclasses.replace(plain.train, recipe=recipe or Recipe())
        return training_flop(dataclasses.replace(plain, train=train, **options), sizes)

    once, forward = update(), 8 * forward_flop(spec)
    asked = update(teacher=(teacher.out,))
    assert asked - once == pytest.approx(forward, rel=0.05)
    assert update(teacher=(teacher.out,) * 2) - asked == pytest.approx(forward, rel=0.05)
    twice = update(add=pieces["images"].directory, add_as="second-view")
    assert twice == pytest.approx(2 * once, rel=0.05)
    assert update(add=pieces["images"].directory) == once
    made = TrainingSynthesis(synthesize_every=4, synthesize_updates=3)
    expected = (3 * once + twice + 8 * 3 * gradient_flop(spec)) / 4
    assert update(recipe=Recipe(synthesis=made)) == pytest.approx(expected, rel=0.01)


def test_rare_tests_cost_less(pieces):
    config, sizes = pieces["teacher"].config, SetSizes(pieces)
    once = dataclasses.replace(config, test_every=2)
    _, forward = update_and_forward(pieces, "teacher")
    assert piece_flop(config, sizes) - piece_flop(once, sizes) == 21 * forward


def test_a_second_test_costs_its_images(pieces):
    config, sizes = pieces["teacher"].config, SetSizes(pieces)
    more = dataclasses.replace(config, test_also=config.data)
    _, forward = update_and_forward(pieces, "teacher")
    assert piece_flop(more, sizes) - piece_flop(config, sizes) == 21 * forward


def test_synthesis_is_a_gradient_an_update_and_a_last_look(pieces):
    data = SetSizes(pieces).source(pieces["teacher"].config)
    spec = cost._spec_of(pieces["teacher"].config, data)
    expected = 37 * (4 * gradient_flop(spec) + forward_flop(spec))
    assert piece_flop(pieces["images"].config, SetSizes(pieces)) == expected
    assert 2 * forward_flop(spec) < gradient_flop(spec) < 3 * forward_flop(spec)


def test_synthesis_with_views_and_two_classifiers_costs_as_many_times_more(pieces):
    spec = cost._spec_of(
        pieces["teacher"].config, SetSizes(pieces).source(pieces["teacher"].config)
    )
    teacher = pieces["images"].config.classifier
    config = dataclasses.replace(
        pieces["images"].config,
        classifier=(teacher, teacher),
        view=ViewConfig(augmentations=("flip",), views=3),
    )
    expected = 37 * 2 * (4 * 3 * gradient_flop(spec) + (1 + 3) * forward_flop(spec))
    assert piece_flop(config, SetSizes(pieces)) == expected


def test_a_sample_is_a_pass_of_the_generator_and_of_the_classifier(pieces):
    _, forward = update_and_forward(pieces, "selector")
    draw = generation_flop(DCGAN)
    assert piece_flop(pieces["drawn"].config, SetSizes(pieces)) == 3 * 5 * draw
    assert piece_flop(pieces["both"].config, SetSizes(pieces)) == 2 * 2 * 5 * (draw + forward)


SIZE = SetSize(30, ("ant", "bee", "cow"), (16, 16, 3))


def of_gan(config, **options):
    """FLOP of a training of a GAN with changed options."""
    return gan_flop(dataclasses.replace(config, **options), SIZE)


@pytest.mark.slow
def test_a_gan_costs_by_its_epochs(pieces):
    config = pieces["gan"].config
    assert piece_flop(config, SetSizes(pieces)) == of_gan(config)
    assert of_gan(config, epochs=6) == 2 * of_gan(config)


@pytest.mark.slow
def test_further_generator_steps_cost_the_same_each(pieces):
    config = pieces["gan"].config
    one, two, three, five, seven, adaptive = (
        of_gan(config, game=GameConfig(steps)) for steps in ("1", "2", "3", "5", "7", "adaptive")
    )
    assert 0 < two - one < one
    assert (three - one, five - one, seven - one) == tuple(n * (two - one) for n in (2, 4, 6))
    assert adaptive == one


def test_gans_of_all_classes_cost_what_each_costs_alone(pieces):
    config = pieces["gans"].config
    alone = dataclasses.replace(config, one_per_class=True)
    one = gan_flop(alone, SIZE._replace(class_names=("ant",), images=10))
    assert piece_flop(config, SetSizes(pieces)) == 3 * one


@pytest.mark.slow
def test_the_stages_of_a_stack_add_up(pieces):
    config = pieces["stack"].config
    assert piece_flop(config, SetSizes(pieces)) == of_gan(config)
    # 2 epochs a level and 3 of the encoder; then 5 joint ones.
    encoder = of_gan(config, encoder=EncoderConfig(encoder_epochs=4)) - of_gan(config)
    levels = (of_gan(config) - 3 * encoder) / 2
    joint = (piece_flop(pieces["joint"].config, SetSizes(pieces)) - of_gan(config)) / 5
    assert encoder > 0
    # Together, the levels pass the real images through the encoder once instead of twice.
    assert levels - encoder < joint < levels


def test_a_set_that_is_there_is_counted_instead_of_what_was_asked_for(pieces, make_set):
    smaller = make_set(pieces["drawn"].directory, counts={"train": 6})
    (smaller / "report.html").touch()
    found = piece_flop(pieces["more"].config, SetSizes(pieces))
    update, forward = update_and_forward(pieces, "more")
    assert found == 2 * ((30 + 60 + 6) // 7) * update + 2 * 12 * forward


def test_sets_have_the_sizes_that_their_commands_give_them(pieces):
    sizes = SetSizes(pieces)
    before = [sizes.of(pieces["real"].directory, split) for split in ("train", "test")]
    make_subset(pieces["real"].config)
    sizes = SetSizes(pieces)
    assert [sizes.of(pieces["real"].directory, split) for split in ("train", "test")] == before
    assert before[0] == (30, ("ant", "bee", "cow"), (16, 16, 3))


@pytest.mark.parametrize(
    ("split", "count"),
    [("train", 41), ("test", 7), ("train[:10]", 10), ("train[30:]", 11), ("train[:10%]+test", 11)],
)
def test_parts_of_splits_are_counted_as_tfds_does(split, count):
    assert count_images(split, {"train": 41, "test": 7}) == count


def test_a_set_smaller_than_a_batch_is_found(pieces):
    small = pieces["untested"].config
    config = ClassifierTrainConfig(small.data, small.out, "plain", train=TrainConfig(batch_size=49))
    with pytest.raises(ValueError, match="48 images, less than one batch of 49"):
        piece_flop(config, SetSizes(pieces))


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.04, "0.0 s"), (1, "1.0 s"), (59, "59 s"), (90, "1.5 min"), (3600, "1.0 h"),
     (5 * 3600 + 1800, "5.5 h"), (12.4 * 86400, "12 days")],
)  # fmt: skip
def test_times_are_told_in_their_largest_unit(seconds, words):
    assert duration(seconds) == words


def test_the_speed_is_that_of_the_steps_between_two_looks_at_the_clock(pieces, monkeypatch):
    clock = iter([100.0, 100.5, 102.0])  # two calls until 2 s have passed
    monkeypatch.setattr(cost, "time", SimpleNamespace(perf_counter=lambda: next(clock)))
    sizes = SetSizes(pieces)
    config = pieces["selector"].config
    steps = cost.CPU_STEPS if cost.jax.default_backend() == "cpu" else cost.STEPS_PER_CALL
    found = measure_speed(config, sizes.source(config))
    assert found == pytest.approx(2 * steps * training_flop(config, sizes) / 2.0)


@pytest.fixture
def plan():
    arms = [Arm("0", 1, "epochs", "untested"), Arm("9", 2, "steps", "teacher")]
    return Plan((Row("0", "none"), Row("9", "some")), tuple(arms), {})


def test_what_is_missing_is_printed_with_its_cost(plan, pieces, capsys, monkeypatch):
    found = piece_flop(pieces["untested"].config, SetSizes(pieces))
    monkeypatch.setattr(cost, "measure_speed", lambda *_: found / 1.4)
    teacher: Piece = pieces["teacher"]
    teacher.directory.mkdir(parents=True)
    (teacher.directory / "result.json").touch()
    print_costs(plan, pieces, plan.arms)
    printed = capsys.readouterr().out
    assert "2 of 2 measurements" in printed
    assert re.search(r"^  0, 1, epochs$", printed, re.M)
    assert re.search(r"^  9, 2, steps: done already$", printed, re.M)
    flop = f"{found:.2e}".replace("+", r"\+")
    assert re.search(rf"^untested +{flop}  1\.4 s$", printed, re.M)
    assert re.search(rf"^in all +{flop}  1\.4 s$", printed, re.M)
    assert not re.search("^teacher ", printed, re.M)
    assert "estimates" in printed


@pytest.mark.parametrize(
    ("piece", "to_make"), [("teacher", "nothing;"), ("cropped", "real, cropped;")]
)
def test_nothing_is_timed_where_nothing_is_computed(piece, to_make, pieces, capsys, monkeypatch):
    monkeypatch.setattr(cost, "measure_speed", lambda *_: pytest.fail("timed"))
    monkeypatch.setattr(cost, "is_done", lambda piece: piece.name == "teacher")
    arm = Arm("9", 1, "", piece)
    print_costs(Plan((), (arm,), {}), pieces, [arm])
    assert f"to be made: {to_make}" in capsys.readouterr().out


def test_a_dry_run_writes_nothing(elicit, tmp_path: Path, capsys, monkeypatch):
    monkeypatch.setattr(cost, "measure_speed", lambda *_: 1e9)
    out = tmp_path / "out"
    words = ["experiment", "table-a", "--preset", "smoke", "--out", out, "--dry-run"]
    assert elicit(*words, "--only", "30,2") == 0
    assert not out.exists()
    printed = capsys.readouterr().out
    made = re.findall(r"^([a-z]\S+) +\d\.\d\de", printed, re.M)
    assert made == ["teacher", "images", "replaced-30-seed-2"]
