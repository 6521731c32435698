"""`elicit synthesize`: one undisturbed run's bytes whatever happens on the way, and what they say.

The sets are read with TFDS alone, and their numbers are compared with NumPy's.
"""

import dataclasses
import json
import shutil
import tracemalloc
from collections import Counter
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow_datasets as tfds

import experiments.data.resumable_set
import experiments.synthesis.command
import experiments.synthesis.summary
import imgopt
import train.data.array_records
import train.data.image_data
from train.classifiers import classify_function, digest, load_classifier
from train.data.load import load_images

SHARDS = [f"synthesised-train.array_record-{i:05d}" for i in range(3)]


def read(directory: Path) -> dict[str, np.ndarray]:
    """A set's columns, by TFDS alone."""
    source: Any = tfds.builder_from_directory(directory).as_data_source("train")
    return {name: np.stack([row[name] for row in source]) for name in source[0]}


def softmax(logits: np.ndarray) -> np.ndarray:
    exponentials = np.exp(logits - logits.max(1, keepdims=True))
    return exponentials / exponentials.sum(1, keepdims=True)


# ---- one undisturbed run's bytes


@pytest.mark.slow
def test_a_set_that_grows_is_the_set_of_one_run(synthesis, made, tmp_path, elicit, contents):
    for stop in (1, 3, 9, 10):  # within a shard of 4, over two of them, and within the last
        assert elicit(*synthesis, "--out", tmp_path / "set", "--stop", stop) == 0
        assert len(read(tmp_path / "set")["id"]) == stop
    assert contents(tmp_path / "set") == contents(made)


@pytest.mark.parametrize(("words", "size"), [((), 8), (("--stop", 3), 3), (("--batch-size", 2), 2)])
def test_a_batch_is_not_larger_than_what_there_is_to_do(words, size, by_own, monkeypatch):
    sizes, original = set(), imgopt.synthesize_in_batches

    def record(*arrays, batch_size, **options):
        sizes.add(batch_size)
        return original(*arrays, batch_size=batch_size, **options)

    monkeypatch.setattr(imgopt, "synthesize_in_batches", record)
    out = by_own("--batch-size", 256, "--steps", 1, *words)
    assert sizes == {size}
    asked = 2 if "--batch-size" in words else 256
    assert json.loads((out / "config.json").read_text())["batch_size"] == asked


def test_targets_that_do_not_fit_in_memory_are_refused(
    data, own_classifier, tmp_path, check_refusal, monkeypatch
):
    monkeypatch.setattr("train.runtime.memory.machine_memory_bytes", lambda: 1000)
    words = ("synthesize", "--classifier", own_classifier, "--data", data, "--out", "out")
    message = r"targets of 48 images and 3 classes would take 1\.69 KiB .*by --start and --stop"
    check_refusal(words, message, tmp_path)


def test_a_later_range_holds_the_same_images(synthesis, made, tmp_path, elicit):
    assert elicit(*synthesis, "--out", tmp_path / "set", "--start", 5, "--stop", 10) == 0
    whole, part = read(made), read(tmp_path / "set")
    assert set(whole) == set(part)
    for name, column in part.items():
        np.testing.assert_array_equal(column, whole[name][5:])


@pytest.mark.slow
@pytest.mark.parametrize("place", ["write_shard", "commit", "summarise", "print_summary"])
def test_an_interrupted_run_goes_on(
    place, synthesis, made, tmp_path, elicit, contents, monkeypatch, capsys
):
    writes = place in ("write_shard", "commit")
    module = experiments.data.resumable_set if writes else experiments.synthesis.command
    original = getattr(module, place)

    def interrupt(*words, **options):
        if options.get("index", 1) == 1:  # of shards the second, of the others the only call
            raise KeyboardInterrupt
        return original(*words, **options)

    command = [*synthesis, "--out", tmp_path / "set", "--stop", 10]
    with monkeypatch.context() as patch:
        patch.setattr(module, place, interrupt)
        assert elicit(*command) == 130
    assert "the same command goes on" in capsys.readouterr().err
    assert (tmp_path / "set" / SHARDS[0]).read_bytes() == (made / SHARDS[0]).read_bytes()
    if writes:
        with pytest.raises(ValueError, match=r"dataset_info\.json"):
            load_images(tmp_path / "set")
    assert elicit(*command) == 0
    assert contents(tmp_path / "set") == contents(made)


def test_a_complete_set_is_left_as_it_is(synthesis, made, elicit, contents, monkeypatch, capsys):
    before = contents(made)
    monkeypatch.delattr(experiments.data.resumable_set, "write_shard")
    assert elicit(*synthesis, "--out", made, "--stop", 10) == 0
    assert contents(made) == before
    assert "10, all there already" in capsys.readouterr().out


@pytest.mark.parametrize("stop", [9, 8, 3])
def test_a_set_does_not_shrink(stop, synthesis, made, elicit, contents, capsys):
    before = contents(made)
    assert elicit(*synthesis, "--out", made, "--stop", stop) == 2
    assert "already holds more images than are asked for" in capsys.readouterr().err
    assert contents(made) == before


# ---- what the bytes say


def test_the_numbers_hold_for_the_images_in_the_files(made, run, data):
    columns = read(made)
    logits = classify_function(load_classifier(run))(imgopt.to_float(columns["image"]))
    target, output = (np.float64(columns[name]) for name in ("target", "output"))
    np.testing.assert_allclose(output, softmax(np.asarray(logits)), atol=1e-5)
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.where(target > 0, target * np.log(target / output), 0)
    np.testing.assert_allclose(columns["kl"], terms.sum(1), atol=1e-5)
    np.testing.assert_allclose(columns["max_error"], abs(output - target).max(1), atol=1e-6)
    assert (columns["steps"] == 5).all()
    originals = load_images(data, "train")
    source_ids = [name.decode() for name in columns["source_id"]]
    assert source_ids == list(originals.ids[:10])
    assert [name.decode() for name in columns["id"]] == [f"synthesised_{i}" for i in source_ids]
    np.testing.assert_array_equal(columns["label"], originals.labels[:10])
    assert (columns["image"] != originals.images[:10]).any((1, 2, 3)).all()


def test_the_manifest_says_how_the_set_was_made(made, run, data):
    manifest = json.loads((made / "manifest.json").read_text())
    assert manifest["classifier"] == {"sha256": digest(load_classifier(run))}
    assert manifest["key"] == 0
    assert (manifest["start"], manifest["stop"], manifest["batch_size"]) == (0, 10, 4)
    assert manifest["rule"]["rule"] == {"name": "sgd", "learning_rate": 3.0}
    assert manifest["rule"]["steps"] == 5
    assert manifest["target"] == {"kind": "two-class", "own": 0.9}
    assert manifest["dataset"]["name"] == data.name
    assert {"jax", "elicit", "numpy"} <= set(manifest["versions"])
    assert [shard["file"] for shard in manifest["shards"]] == SHARDS
    assert [shard["num_examples"] for shard in manifest["shards"]] == [4, 4, 2]
    for shard in manifest["shards"]:
        assert shard["sha256"] == sha256((made / shard["file"]).read_bytes()).hexdigest()


def test_the_summary_is_numpy_s(made, data):
    summary = json.loads((made / "summary.json").read_text())
    columns = read(made)
    images, originals = np.float64(columns["image"]), np.float64(load_images(data).images[:10])
    spectrum = abs(np.fft.fft2(images, axes=(1, 2))) ** 2 / (16 * 16)
    frequency = np.fft.fftfreq(16, 1 / 16)
    beyond = np.hypot(frequency[:, None], frequency[None]) >= 10
    # The arctan map's slope sin²(πx)/π is below 1e-5 at the ends alone.
    expected = {
        "images": 10,
        "kl_mean": columns["kl"].mean(),
        "kl_p95": np.percentile(columns["kl"], 95),
        "max_error_mean": columns["max_error"].mean(),
        "max_error_p95": np.percentile(columns["max_error"], 95),
        "steps_mean": 5,
        "ranking_as_asked": np.mean(
            [
                all(p[i] > p[j] for i in range(3) for j in range(3) if t[i] > t[j])
                for p, t in zip(columns["output"], columns["target"], strict=True)
            ]
        ),
        "mean_change_levels": abs(images - originals).mean(),
        "high_frequency_energy": spectrum[:, beyond].sum((1, 2)).mean() / 3 / (16 * 16),
        "saturation": (images.max(3) - images.min(3)).mean() / 255,
        "saturation_of_originals": (originals.max(3) - originals.min(3)).mean() / 255,
        "frozen_pixels": np.isin(originals, [0, 255]).mean(),
    }
    assert {name: summary[name] for name in expected} == pytest.approx(expected, rel=1e-5)


@pytest.mark.usefixtures("no_report")
def test_the_summary_by_parts_is_that_of_all_at_once(
    made, synthesis, tmp_path, elicit, monkeypatch
):
    """Parts of 3 images lie across the shards of 4."""
    shutil.copytree(made, tmp_path / "set")
    (tmp_path / "set" / "summary.json").unlink()
    monkeypatch.setattr(experiments.synthesis.summary, "MEASURED_BYTES", 3 * 768)
    assert elicit(*synthesis, "--out", tmp_path / "set", "--stop", 10) == 0
    found, wanted = (
        json.loads((place / "summary.json").read_text()) for place in (tmp_path / "set", made)
    )
    assert found.pop("sha256")
    assert wanted.pop("sha256")
    assert found.keys() == wanted.keys()
    # A part of another size is another compiled program, which may round another way.
    assert found == pytest.approx(wanted, rel=1e-5)


MEANS = "classify = lambda images: 9 * images.mean((1, 2))\n"


@pytest.mark.slow
@pytest.mark.usefixtures("no_report")
def test_memory_does_not_grow_with_the_set(make_set, tmp_path, elicit, monkeypatch):
    """Originals that are too large to be held in memory are read a few shards of 8 at a time."""
    monkeypatch.setattr(train.data.image_data, "MEMORY_SHARE", 0)
    (tmp_path / "means.py").write_text(MEANS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.dont_write_bytecode", True)
    for module, name in (
        (train.data.array_records, "RECORDS_AT_ONCE"),
        (train.data.image_data, "PART_IMAGES"),
    ):
        monkeypatch.setattr(module, name, 8)
    monkeypatch.setattr(experiments.synthesis.summary, "MEASURED_BYTES", 8 * 768)
    shape, peaks = (96, 128, 3), {}
    data = make_set(tmp_path / "data", shape=shape, counts={"train": 72})
    given = ("--classifier", "means:classify", "--data", data, "--steps", 1, "--rule", "sgd")
    sizes = ("--batch-size", 8, "--batches-per-shard", 1, "--split")
    for count in (8, 24, 72):
        words = (*given, *sizes, f"train[:{count}]", "--out", tmp_path / str(count))
        if count > 8:  # the first one compiles
            tracemalloc.start()
        assert elicit("synthesize", *words) == 0
        peaks[count] = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peaks[72] - peaks[24] < 0.5 * (72 - 24) * np.prod(shape)


@pytest.mark.slow
@pytest.mark.usefixtures("no_report")
@pytest.mark.parametrize(("share", "times"), [(1, 1), (0, 3)])
def test_originals_that_fit_in_memory_are_decoded_once(
    share, times, synthesis, data, tmp_path, elicit, monkeypatch
):
    """Else for their digest, for the synthesis and for the summary; here 48 images, all used."""
    decoded, original = Counter(), experiments.synthesis.command.open_images

    def open_counting(place, *words, **options):
        reader = original(place, *words, **options)

        def read(start, stop):
            decoded[Path(place)] += stop - start
            return reader.read(start, stop)

        return dataclasses.replace(reader, read=read)

    monkeypatch.setattr(experiments.synthesis.command, "open_images", open_counting)
    monkeypatch.setattr(train.data.image_data, "MEMORY_SHARE", share)
    out = tmp_path / "set"
    assert elicit(*synthesis, "--batches-per-shard", 6, "--steps", 1, "--out", out) == 0
    checked = 1 - share  # the classifier is first tried on one image
    assert decoded[data] == times * 48 + checked
    assert decoded[out] == 48


@pytest.mark.slow
def test_a_summary_stands_on_the_screen(made, synthesis, tmp_path, elicit, capsys):
    assert elicit(*synthesis, "--out", tmp_path / "set", "--stop", 10) == 0
    printed = capsys.readouterr().out
    summary = json.loads((made / "summary.json").read_text())
    for text in (
        "10 made at ",
        " images/s",
        f"mean {summary['kl_mean']:.4f}, 95th percentile {summary['kl_p95']:.4f} nats",
        f"whole ranking as asked   {summary['ranking_as_asked']:.1%}",
        f"frozen pixels            {summary['frozen_pixels']:.1%}",
    ):
        assert text in printed
    assert printed.endswith(f"image set: {tmp_path / 'set'}\n")


# ---- targets


def test_two_class_targets_give_own_to_the_label_and_the_rest_to_one_other(by_own):
    columns = read(by_own("--steps", 0, "--own", 0.7))
    rows = columns["target"]
    np.testing.assert_allclose(rows[np.arange(8), columns["label"]], 0.7, rtol=1e-6)
    np.testing.assert_allclose(np.sort(rows, 1), np.tile([0, 0.3, 0.7], (8, 1)), atol=1e-6)
    assert len({row.argsort()[1] for row in rows}) > 1
    other_key = read(by_own("--steps", 0, "--own", 0.7, "--key", 5))
    assert (other_key["target"] != rows).any()


@pytest.mark.parametrize(
    ("words", "row"),
    [
        ("--targets uniform", [1 / 3, 1 / 3, 1 / 3]),
        ("--targets ranked --ranking cow ant --masses 0.6 0.3", [0.3, 0.1, 0.6]),
        ("--targets ranked --ranking 1 --masses 0.5", [0.25, 0.5, 0.25]),
    ],
)
def test_targets_that_are_the_same_for_all(words, row, by_own):
    rows = read(by_own("--steps", 0, *words.split()))["target"]
    np.testing.assert_allclose(rows, np.tile(row, (8, 1)), rtol=1e-6)


def test_a_file_may_hold_the_range_or_the_whole_split(by_own, tmp_path):
    matrix = np.random.default_rng(3).dirichlet(np.ones(3), 48)
    rows = {"whole": matrix, "range": matrix[5:8]}
    for name, part in rows.items():
        np.save(tmp_path / f"{name}.npy", part)
        words = ("--targets", "file", "--targets-file", tmp_path / f"{name}.npy", "--start", 5)
        found = read(by_own("--steps", 0, *words))["target"]
        np.testing.assert_allclose(found, matrix[5:8], rtol=1e-6)


# ---- rules, maps, filters, stopping, precision

RULES = {
    "by default": "--margin 1e-3",
    "polyak": "--rule polyak --rule-options scale=0.25",
    "sgd": "--rule sgd --rule-options learning_rate=5.0",
    "momentum": "--rule momentum --rule-options learning_rate=2.0",
    "momentum as printed": "--rule momentum --rule-options form=printed learning_rate=1.5",
    "adam": "--rule adam --rule-options learning_rate=0.02",
    "tanh": "--rule sgd --pixel-map tanh --rule-options learning_rate=0.3",
    "sigmoid": "--rule sgd --pixel-map sigmoid --margin 1e-4 --rule-options learning_rate=1.0",
    "low-pass": "--rule momentum --filter low-pass --radius 5 --rule-options learning_rate=2.0",
    "gaussian": "--rule momentum --filter gaussian --sigma 0.7 --rule-options learning_rate=2.0",
}


@pytest.mark.slow
@pytest.mark.parametrize("words", RULES.values(), ids=RULES.keys())
def test_every_rule_map_and_filter_brings_the_outputs_closer(words, by_own):
    before = read(by_own("--steps", 0, *words.split()))["kl"]
    after = by_own("--steps", 12, *words.split())
    assert (read(after)["kl"] < 0.8 * before).all()
    recorded = json.loads((after / "manifest.json").read_text())["rule"]
    for word in words.split():
        if "=" in word:
            name, _, value = word.partition("=")
            assert str(recorded["rule"][name]) == value
    assert recorded["rule"]["name"] in ("polyak-lbfgs", "polyak", "sgd", "momentum", "adam")


@pytest.mark.slow
def test_the_two_forms_of_momentum_differ_by_the_rate_in_the_first_step(by_own):
    # A, eq. 7: with γ in both lines, the first step at γ is that of the other form at γ².
    words = "--steps 1 --rule momentum --rule-options"
    printed = by_own(*words.split(), "learning_rate=0.5", "form=printed")
    pytorch = by_own(*words.split(), "learning_rate=0.25")
    np.testing.assert_array_equal(read(printed)["image"], read(pytorch)["image"])
    assert (read(printed)["image"] != read(by_own("--steps", 0))["image"]).any()


@pytest.mark.slow
def test_a_filtered_set_holds_filtered_images(by_own):
    words = ("--steps", 2, "--rule", "sgd")
    images = read(by_own(*words, "--filter", "low-pass", "--radius", 3))["image"]
    filtered = imgopt.to_uint8(imgopt.low_pass(3.0)(imgopt.to_float(images)))
    assert abs(np.int32(filtered) - images).mean() < 1
    unfiltered = read(by_own(*words))["image"]
    assert abs(np.int32(unfiltered) - images).mean() > 10


@pytest.mark.parametrize("criterion", ["kl", "max_error"])
def test_with_a_tolerance_images_stop_when_they_are_there(criterion, by_own):
    words = (
        f"--rule sgd --steps 60 --rule-options learning_rate=5.0 --criterion {criterion}".split()
    )
    columns = read(by_own(*words, "--tolerance", 0.03))
    assert columns["steps"].max() < 60
    assert len(set(columns["steps"].tolist())) > 1
    # The criterion held before rounding to 8 bits, which moves it a little.
    assert (columns[criterion] < 0.035).all()


@pytest.mark.slow
def test_in_bfloat16_the_outputs_are_measured_in_float32(synthesis, run, made, tmp_path, elicit):
    words = ["--precision", "bfloat16", "--stop", 4, "--out", tmp_path / "set"]
    assert elicit(*synthesis, *words) == 0
    columns = read(tmp_path / "set")
    logits = classify_function(load_classifier(run))(imgopt.to_float(columns["image"]))
    expected = softmax(np.asarray(logits))
    np.testing.assert_allclose(columns["output"], expected, atol=1e-5)
    assert (columns["image"] != read(made)["image"][:4]).any()
    assert (columns["kl"] < 1.2 * read(made)["kl"][:4] + 0.05).all()


def test_no_steps_give_the_originals_back(by_own, data):
    np.testing.assert_array_equal(read(by_own("--steps", 0))["image"], load_images(data).images[:8])
