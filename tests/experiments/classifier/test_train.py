"""`elicit classifier train` and `evaluate`: resuming, replaced images, exact evaluation."""

import json
import re
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import experiments.classifier.train
import experiments.training.session
from imgopt import to_float
from tests.experiments.pages.reports import assert_is_report
from train.classifiers import classify_function, digest, load_classifier
from train.data.load import load_images
from train.evaluation import evaluate
from train.storage.checkpoints import latest_checkpoint

EPOCHS = 6
STEPS = 4  # an epoch: 48 images in batches of 12


def read(run: Path, name: str = "result.json"):
    def refuse(constant):
        raise AssertionError(f"{name} holds {constant}, which is not JSON")

    return json.loads((run / name).read_text(), parse_constant=refuse)


# ---- one undisturbed run's result


@pytest.mark.parametrize("epoch", [1, 2, EPOCHS])
def test_an_interrupted_training_ends_as_if_it_had_not_been(
    epoch, training, run, tmp_path, elicit, monkeypatch
):
    """The interrupt comes after a checkpoint: before the next epoch, or before the result."""
    monkeypatch.setattr(experiments.training.session, "CHECKPOINT_EVERY_SECONDS", 0)
    original = experiments.training.session.save_checkpoint

    def save_and_interrupt(directory, step, state):
        original(directory, step, state)
        if step == epoch * STEPS:
            raise KeyboardInterrupt

    out = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(experiments.training.session, "save_checkpoint", save_and_interrupt)
        assert elicit(*training, "--out", out) == 130
    assert not (out / "result.json").exists()
    with (out / "metrics.jsonl").open("a") as metrics:  # of an epoch that was not saved
        metrics.write('{"epoch": 99, "train_loss": 1.0}\n{"epo')
    assert elicit(*training, "--out", out) == 0
    assert (out / "metrics.jsonl").read_bytes() == (run / "metrics.jsonl").read_bytes()
    assert read(out)["classifier_sha256"] == read(run)["classifier_sha256"]
    assert digest(load_classifier(out)) == read(run)["classifier_sha256"]
    assert read(out)["test_accuracy"] == read(run)["test_accuracy"]


def test_a_complete_run_is_left_as_it_is(training, run, elicit, contents, monkeypatch, capsys):
    before = contents(run)
    monkeypatch.delattr(experiments.training.session, "fit")
    assert elicit(*training, "--out", run) == 0
    assert "complete; nothing to do" in capsys.readouterr().out
    assert contents(run) == before


def test_the_key_decides(training, run, tmp_path, elicit):
    assert elicit(*training, "--out", tmp_path / "run", "--key", 1) == 0
    assert read(tmp_path / "run")["classifier_sha256"] != read(run)["classifier_sha256"]


def test_the_result_is_of_the_last_epoch(run):
    result = read(run)
    metrics = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in metrics] == list(range(1, EPOCHS + 1))
    assert {name: result[name] for name in metrics[-1]} == metrics[-1]
    assert result["test_images"] == 21
    assert metrics[-1]["train_loss"] < metrics[0]["train_loss"]
    assert {"device", "versions", "command"} <= result.keys()


# ---- replacement


def trained_on(training, out, elicit, monkeypatch, *words):
    """Training set and classifier's spec, as they are when the training begins."""
    seen = []

    def look(_key, learner, train_data, *_words, **_options):
        seen.append((train_data, learner.spec))
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(experiments.training.session, "fit", look)
        assert elicit(*training, *words, "--out", out) == 130
    return seen[0]


def test_exactly_the_fraction_is_replaced_in_place(
    data, training, tmp_path, elicit, by_own, monkeypatch
):
    replacements = by_own(
        "--stop",
        30,
        "--steps",
        3,
        "--rule",
        "sgd",
        "--tolerance",
        "None",
        "--rule-options",
        "learning_rate=5.0",
    )
    words = ["--loss", "mixed", "--replace", replacements, "--fraction", 0.3, "--epochs", 1]
    used, _ = trained_on(training, tmp_path / "mixed", elicit, monkeypatch, *words)
    assert elicit(*training, *words, "--out", tmp_path / "mixed") == 0
    originals, made = load_images(data), load_images(replacements)
    assert used.is_generated.sum() == round(0.3 * 48)
    assert not used.is_generated[30:].any()  # the set covers the first 30 alone
    assert 0 < used.is_generated[:24].sum() < round(0.3 * 48)  # drawn, not the first ones
    expected = originals.images.copy()
    rows = np.flatnonzero(used.is_generated)
    expected[rows] = made.images[rows]
    np.testing.assert_array_equal(used.images, expected)
    np.testing.assert_array_equal(used.teacher_outputs[rows], made.outputs[rows])
    np.testing.assert_array_equal(used.labels, originals.labels)
    replaced = read(tmp_path / "mixed", "config.json")["replace"]
    assert replaced["fraction"] == 0.3
    assert re.fullmatch("[0-9a-f]{64}", replaced["sha256"])
    assert np.isfinite(read(tmp_path / "mixed")["train_loss"])


# ---- extra sets


def test_extra_sets_are_trained_on_beside_replaced_images(
    training, run, tmp_path, elicit, make_set, made, monkeypatch
):
    extra = make_set(tmp_path / "extra", counts={"test": 3, "other": 1, "train": 9})
    words = ["--replace", made, "--fraction", 0.2, "--extra", extra, "--extra", made]
    used, spec = trained_on(training, tmp_path / "out", elicit, monkeypatch, *words)
    plain, plain_spec = trained_on(training, tmp_path / "plain", elicit, monkeypatch, *words[:4])
    assert len(used.labels) == 48 + 9 + 10
    for column, real in zip(*map(jax.tree.leaves, (used, plain)), strict=True):
        np.testing.assert_array_equal(column[:48], real)
    assert 0 < plain.is_generated.sum() == used.is_generated[:48].sum()
    np.testing.assert_array_equal(used.images[48:57], load_images(extra).images)
    np.testing.assert_array_equal(used.images[57:], load_images(made).images)
    assert spec == plain_spec == load_classifier(run).spec  # normalised by the real images
    config = read(tmp_path / "out", "config.json")
    assert [len(entry["sha256"]) for entry in config["extra"]] == [64, 64]
    assert read(tmp_path / "plain", "config.json")["extra"] == []


def test_extra_sets_are_part_of_what_a_run_is(training, run, made, elicit, contents, capsys):
    before = contents(run)
    assert elicit(*training, "--extra", made, "--out", run) == 2
    assert "run of another configuration: extra was []" in capsys.readouterr().err
    assert contents(run) == before


@pytest.mark.filterwarnings("default:.* made of test images")
def test_extra_images_made_of_test_images_are_warned_of(
    data, training, tmp_path, elicit, monkeypatch, capsys
):
    out = tmp_path / "leak"
    words = ("--crop-px", 12, "--split", "test[:5]", "--out", out)
    assert elicit("augment", "--data", data, *words) == 0
    trained_on(training, tmp_path / "run", elicit, monkeypatch, "--extra", out)
    assert re.search("warning: 5 of 5 images of .*leak.* made of test", capsys.readouterr().err)


def test_the_help_says_how_to_give_several(elicit, capsys):
    assert elicit("classifier", "train", "--help") == 0
    assert "--extra A --extra B" in re.sub(r"[│\s]+", " ", capsys.readouterr().out)


# ---- evaluation


def test_the_evaluation_is_exact(run, data, tmp_path, elicit, capsys):
    shutil.copytree(run, tmp_path / "run")
    # 21 images in batches of 8: the last one is padded.
    assert elicit("classifier", "evaluate", tmp_path / "run", "--batch-size", 8) == 0
    found = read(tmp_path / "run", f"evaluation-{data.name}-test.json")
    test = load_images(data, "test")
    logits = np.asarray(classify_function(load_classifier(run))(to_float(test.images)), np.float64)
    predicted = logits.argmax(1)
    confusion = np.zeros((3, 3), int)
    for true, said in zip(test.labels, predicted, strict=True):
        confusion[true, said] += 1
    right = int((predicted == test.labels).sum())
    assert found["accuracy"] == right / 21
    assert found["confusion"] == confusion.tolist()
    assert found["images"] == sum(found["bin_counts"]) == 21
    assert None in found["bin_accuracy"]  # an empty bin
    log_sums = np.log(np.exp(logits).sum(1))
    expected = (log_sums - logits[np.arange(21), test.labels]).mean()
    assert found["loss"] == pytest.approx(expected, abs=1e-5)
    assert f"({right} of 21 images)" in capsys.readouterr().out
    assert read(run)["test_accuracy"] == right / 21
    for path in (run / "report.html", *(tmp_path / "run").glob("evaluation-*.html")):
        page = assert_is_report(path)
        assert f"{right / 21:.1%} (95% interval" in "".join(page.by_class["verdict"])


@pytest.mark.parametrize("split", ["train", "test[:5]"])
def test_another_split_is_measured_on_request(split, run, tmp_path, elicit, capsys):
    shutil.copytree(run, tmp_path / "run")
    assert elicit("classifier", "evaluate", tmp_path / "run", "--split", split) == 0
    count = {"train": 48, "test[:5]": 5}[split]
    assert f" of {count} images)" in capsys.readouterr().out


def test_another_set_is_measured_too(data, training, make_set, tmp_path, elicit, capsys):
    other = make_set(tmp_path / "other", counts={"test": 9})
    out = tmp_path / "run"
    assert elicit(*training, "--epochs", 1, "--test-also", other, "--out", out) == 0
    classify = classify_function(load_classifier(out))
    for name, place in {"": data, "other_": other}.items():
        test = load_images(place, "test")
        expected = evaluate(classify, test.images, test.labels)
        assert read(out)[f"{name}test_accuracy"] == expected.accuracy
        assert read(out)[f"{name}test_images"] == len(test.labels)
    assert f"on 9 images of {other}" in capsys.readouterr().out
    assert elicit(*training, "--epochs", 1, "--test-also", data, "--out", out) == 2
    assert "test_also" in capsys.readouterr().err


# ---- a loss that is no longer finite


def test_a_diverging_training_stops_and_keeps_the_last_checkpoint(
    training, tmp_path, elicit, monkeypatch, capsys
):
    monkeypatch.setattr(experiments.training.session, "CHECKPOINT_EVERY_SECONDS", 0)
    out = tmp_path / "run"
    # The decay turns the parameters round at every step, the further the more the rate has risen.
    words = ["--weight-decay", 1000, "--warmup-fraction", 0.5]
    assert elicit(*training, *words, "--out", out) == 1
    complaint = capsys.readouterr().err
    found = re.search(r"not finite at step (\d+) \(epoch (\d+)\)", complaint)
    step, epoch = map(int, found.groups())
    assert epoch == step // 4 + 1
    assert epoch > 1
    assert ": the update; a lower --learning-rate" in complaint
    assert "Traceback" not in complaint
    batch = re.search(r"The examples of its batch: (.*)\n", complaint).group(1).split(", ")
    assert len(set(batch)) == 12
    assert set(batch) <= {f"train_{row:03d}" for row in range(48)}
    assert latest_checkpoint(out / "checkpoints").step == (epoch - 1) * STEPS
    assert len((out / "metrics.jsonl").read_text().splitlines()) == epoch - 1
    assert load_classifier(out).spec.class_names == ("ant", "bee", "cow")
    assert not (out / "result.json").exists()


def test_so_many_steps_are_skipped_and_no_more(training, tmp_path, elicit, capsys):
    out = tmp_path / "run"
    words = ["--weight-decay", 1000, "--warmup-fraction", 0.5]
    words += ["--on-nonfinite", "skip", "--max-skipped", 2]
    assert elicit(*training, *words, "--out", out) == 1
    assert "(skipped before it: 2); a lower --learning-rate" in capsys.readouterr().err
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert len(lines) >= 1
    assert all(0 <= line["skipped"] <= 2 for line in lines)
    assert np.isfinite([line["train_loss"] for line in lines]).all()
    asked = {"on_nonfinite": "skip", "max_skipped": 2}
    assert read(out, "config.json")["train"]["nonfinite"] == asked


def test_an_output_that_is_not_finite_is_no_accuracy():
    images = np.full((3, 2, 2, 1), 255, np.uint8)
    images[1] = 0

    def classify(images):
        return jnp.log(images.mean((1, 2, 3)))[:, None] * jnp.array([[1.0, -1.0]])

    with pytest.raises(FloatingPointError, match="not finite for 1 of 3 images"):
        evaluate(classify, images, np.zeros(3, np.int32))
