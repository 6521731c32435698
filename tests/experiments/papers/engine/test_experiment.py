"""Running an experiment in parts, at once, again, and after damage: table-a, made tiny."""

import json
import math
import shutil
import signal
import statistics
from pathlib import Path
from typing import Any

import pytest
import scipy.stats

import experiments.papers.engine.make_pieces
import experiments.papers.table_a
from experiments.options.classifier import ClassifierTrainConfig
from experiments.options.gan import GanTrainConfig
from experiments.options.papers import PresetConfig
from experiments.options.synthesis import RuleConfig, SynthesizeConfig
from experiments.papers.engine.experiment import settings_of
from experiments.papers.engine.plan import place
from experiments.papers.engine.results import parse_result
from experiments.papers.table_a import TABLE_A, TableASettings
from experiments.papers.table_b import TABLE_B
from tests.experiments.bad_files import flip_byte
from tests.experiments.damages import DAMAGES
from tests.experiments.pages.reports import assert_is_report
from tests.experiments.papers.written_results import arms, piece, table, timeless
from tests.soaking import SOAK
from train.recipes.train_options import TrainConfig
from train.storage.strict_json import read_json

SEEDS = (1, 2)
PERCENTAGES = (0, 50)
NAMES = {f"replaced-{percentage}-seed-{seed}" for percentage in PERCENTAGES for seed in SEEDS}


@pytest.fixture(scope="module", autouse=True)
def tiny(data, tiny_networks, blank_pages):
    """In place of smoke: 48 images, and a network that compiles in no time; no reports of runs."""
    del blank_pages
    settings = TableASettings(
        dataset=str(data),
        model=tiny_networks[0],
        train=TrainConfig(epochs=2, batch_size=12, learning_rate=0.005, pad_px=1),
        rule=RuleConfig(steps=2),
        percentages=PERCENTAGES,
        control_percentage=None,
        seeds=len(SEEDS),
        batch_size=24,
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(experiments.papers.table_a.PRESETS, "smoke", settings)
        yield


COMMAND = ("experiment", "table-a", "--preset", "smoke")


@pytest.fixture(scope="module")
def finished(tmp_path_factory, elicit) -> Path:
    out = tmp_path_factory.mktemp("tables") / "table"
    assert elicit(*COMMAND, "--out", out) == 0
    return out


@pytest.fixture
def copied(finished, tmp_path) -> Path:
    """A copy of the finished table, to do harm to."""
    shutil.copytree(finished, tmp_path / "copied")
    return tmp_path / "copied"


@pytest.fixture
def nothing_is_made(monkeypatch):
    makers = experiments.papers.engine.make_pieces.MAKERS
    for kind, command in makers.items():
        monkeypatch.setitem(makers, kind, command._replace(make=None))


def test_the_result_tells_what_every_training_came_to(finished):
    result = read_json(finished / "result.json")
    assert {(arm["row"], arm["seed"]) for arm in result["arms"]} == {
        (str(percentage), seed) for percentage in PERCENTAGES for seed in SEEDS
    }
    for arm in result["arms"]:
        own = read_json(piece(finished, arm["piece"]) / "result.json")
        assert arm["test_accuracy"] == own["test_accuracy"]
        assert arm["train_images"] == 48
        assert own["key"] if "key" in own else arm["seed"]
    assert result["missing"] == []
    assert set(result["pieces"]) == {"teacher", "images", *NAMES}
    assert {"key", "versions", "device", "command", "data", "settings"} <= set(result)
    replaced = read_json(piece(finished, "replaced-50-seed-1") / "config.json")
    assert replaced["replace"]["fraction"] == 0.5
    assert replaced["train"]["loss"] == "mixed"


def test_the_table_has_the_papers_column_and_the_paired_difference(finished):
    found = {
        row: [100 * arm["test_accuracy"] for arm in own] for row, own in arms(finished).items()
    }
    rows = table(finished / "table.md")
    for row, paper in (("0", "92.476"), ("50", "92.222")):
        values = rows[f"{row}% replaced"]
        mean, deviation = statistics.mean(found[row]), statistics.stdev(found[row])
        assert values[:4] == ["48", "2", f"{mean:.2f} ± {deviation:.2f}", paper]
    pairs = [b - a for a, b in zip(found["0"], found["50"], strict=True)]
    mean, deviation = statistics.mean(pairs), statistics.stdev(pairs)
    half = scipy.stats.t.ppf(0.975, 1) * deviation / math.sqrt(2)
    assert rows["0% replaced"][4] == "–"
    assert rows["50% replaced"][4] == (
        f"{mean:+.2f} ± {deviation:.2f} [{mean - half:+.2f}, {mean + half:+.2f}]"
    )
    assert_is_report(finished / "report.html")
    page = (finished / "report.html").read_text()
    assert all(cell in page for cell in rows["50% replaced"])
    assert (finished / "figures" / "epochs.svg").is_file()


def test_a_second_test_set_has_a_column_of_its_own(finished, tmp_path):
    content = read_json(finished / "result.json")
    for arm in content["arms"]:
        arm |= {"other_test_accuracy": (arm["seed"] + 4) / 10, "other_test_images": 9}
    TABLE_A.write_pages(tmp_path, parse_result(content))
    rows = table(tmp_path / "table.md")
    assert rows["training set"][3] == "on 9 others, %"
    assert [rows[f"{row}% replaced"][3] for row in PERCENTAGES] == ["55.00 ± 7.07"] * 2


@pytest.mark.usefixtures("nothing_is_made")
def test_a_finished_one_is_not_made_again(copied, elicit):
    before = timeless(copied)
    assert elicit(*COMMAND, "--out", copied) == 0
    assert timeless(copied) == before


def test_parts_come_to_the_same_as_the_whole(finished, tmp_path, elicit):
    out = tmp_path / "parts"
    assert elicit(*COMMAND, "--out", out, "--only", "0,2") == 0
    assert {path.name[:-13] for path in (out / "pieces").iterdir()} == {"replaced-0-seed-2"}
    partial = read_json(out / "result.json")
    assert [(arm["row"], arm["seed"]) for arm in partial["arms"]] == [("0", 2)]
    assert partial["missing"] == ["0,1", "50,1", "50,2"]
    _, row = table(out / "table.md").items()
    assert (row[0], row[1][:2], row[1][3:]) == ("0% replaced", ["48", "1"], ["92.476", "–"])
    assert "Still missing (row, seed): 0,1, 50,1, 50,2." in (out / "table.md").read_text()
    assert elicit(*COMMAND, "--out", out, "--only", "*,1") == 0
    assert read_json(out / "result.json")["missing"] == ["50,2"]
    assert elicit(*COMMAND, "--out", out) == 0
    assert timeless(out) == timeless(finished)


@pytest.mark.slow
def test_a_signal_stops_it_within_a_training_and_it_goes_on(
    finished, tmp_path, elicit, signal_at, capsys
):
    out = tmp_path / "table"
    for step, of in ((3, "teacher"), (5, "replaced-50-seed-1")):
        signal_at(step, signal.SIGTERM, of=of)
        assert elicit(*COMMAND, "--out", out) == 128 + signal.SIGTERM
        assert capsys.readouterr().err.splitlines()[-1] == (
            f"elicit experiment table-a: stopped by SIGTERM after step {step}; the same command "
            "goes on from there"
        )
        stopped = piece(out, of)
        assert (stopped / "checkpoints" / f"{step}.json").is_file()
        assert not (stopped / "result.json").exists()
    assert elicit(*COMMAND, "--out", out) == 0
    assert timeless(out) == timeless(finished)


@pytest.fixture(scope="module")
def shards(tmp_path_factory, elicit) -> list[Path]:
    root = tmp_path_factory.mktemp("shards")
    places = [root / "first", root / "second"]
    for number, shard in enumerate(places, 1):
        assert elicit(*COMMAND, "--out", shard, "--shard", f"{number}/2") == 0
        assert len(read_json(shard / "result.json")["arms"]) == 2
    return places


def test_shards_are_merged_into_the_whole(finished, shards, tmp_path, elicit):
    out = tmp_path / "merged"
    assert elicit(*COMMAND, "--out", out, "--merge", *shards) == 0
    assert timeless(out) == timeless(finished)


def test_a_merger_names_what_is_missing_and_keeps_what_is_there(shards, tmp_path, elicit, capsys):
    out = tmp_path / "merged"
    assert elicit(*COMMAND, "--out", out, "--merge", shards[0]) == 2
    message = capsys.readouterr().err
    missing = read_json(shards[0] / "result.json")["missing"]
    assert f"got none of {' '.join(missing)}; run them with --only" in message
    assert elicit(*COMMAND, "--out", out, "--merge", shards[1]) == 0
    assert read_json(out / "result.json")["missing"] == []


def test_results_of_different_versions_are_not_merged(shards, tmp_path, elicit, capsys):
    other = tmp_path / "other"
    shutil.copytree(shards[1], other)
    config = read_json(other / "config.json")
    del config["sha256"]
    config["versions"]["jax"] = "0.0.1"
    (other / "config.json").write_text(json.dumps(config))
    assert elicit(*COMMAND, "--out", tmp_path / "merged", "--merge", shards[0], other) == 2
    assert f"{other} cannot be merged: versions.jax was '0.0.1', now" in capsys.readouterr().err
    assert not (tmp_path / "merged").exists()


def test_a_damaged_piece_is_not_merged(shards, tmp_path, elicit, capsys):
    other = tmp_path / "other"
    shutil.copytree(shards[1], other)
    name = read_json(other / "result.json")["arms"][0]["piece"]
    victim = next(path for path in (piece(other, name) / "checkpoints").rglob("d/*"))
    flip_byte(victim)
    assert elicit(*COMMAND, "--out", tmp_path / "merged", "--merge", shards[0], other) == 2
    message = capsys.readouterr().err
    assert f"expected a whole {name} to merge" in message
    assert victim.name in message


@pytest.mark.slow
@pytest.mark.filterwarnings("default:.*is damaged", "default:made again")
@pytest.mark.parametrize("kind", ["checkpoint", "manifest"])
def test_a_damaged_piece_is_named_and_made_again(kind, copied, finished, elicit, capsys):
    if kind == "checkpoint":  # of the teacher, which is needed again
        shutil.rmtree(piece(copied, "replaced-50-seed-2"))
        shutil.rmtree(piece(copied, "images"))
        victim = next((piece(copied, "teacher") / "checkpoints").rglob("d/*"))
        flip_byte(victim)
    else:  # nothing else is missing
        victim = piece(copied, "images") / "manifest.json"
        victim.unlink()
    assert elicit(*COMMAND, "--out", copied) == 0
    message = capsys.readouterr().err
    assert "is damaged" in message
    assert victim.name in message
    assert timeless(copied) == timeless(finished)


OWN_FILES = ("config.json", "result.json", "table.md", "report.html", "figures/epochs.svg")
MADE_ANEW = ("table.md", "report.html", "figures/epochs.svg")
"""From the results, whenever the command is repeated; nothing is read from them."""


CHECKPOINT = "checkpoints/8/**/*" if SOAK else "checkpoints/8/d/*"


def files_of_pieces() -> list[tuple[str, str]]:
    """A training's and a set's: the piece, and a pattern for its file."""
    run = ("*.json", "metrics.jsonl", "checkpoints/*.json", CHECKPOINT)
    images = ("*.array_record-*", "label.labels.txt", "*.json")
    return [("replaced-50-seed-2", file) for file in run] + [("images", file) for file in images]


def failure_of(copy: Path, file: Path, damage: str, wanted: Any, elicit, capsys) -> str | None:
    """What breaks the law of `tests/experiments/test_damage.py` in a copy of the finished table."""
    DAMAGES[damage](file)
    name = file.relative_to(copy).as_posix()
    if name not in MADE_ANEW:
        status, said = elicit("verify", copy), capsys.readouterr().err
        if (status != 2 or file.name not in said) and damage not in ("removed", "a directory"):
            return f"verify: {status}, {said}"
    status, said = elicit(*COMMAND, "--out", copy), capsys.readouterr().err
    if status == 2:
        return None if file.name in said and "Traceback" not in said else f"refused: {said}"
    if status != 0 or timeless(copy) != wanted:
        return f"repeated: {status}, {said}"
    status = elicit("verify", copy)
    if status != 0:
        return f"damage is left: {capsys.readouterr().err}"
    is_told = file.name in said or name in (*MADE_ANEW, "result.json") or damage == "removed"
    return None if is_told else f"silent: {said}"


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_of_its_own_files_is_named_or_undone(damage, finished, tmp_path, elicit, capsys):
    failures = []
    for number, file in enumerate(OWN_FILES):
        copy = tmp_path / str(number)
        shutil.copytree(finished, copy)
        failure = failure_of(copy, copy / file, damage, timeless(finished), elicit, capsys)
        failures += [f"{file}: {failure}"] if failure else []
    assert failures == []


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("damage", DAMAGES if SOAK else ["flip 0"])
@pytest.mark.parametrize(("name", "pattern"), files_of_pieces())
def test_damage_of_its_pieces_is_named_or_undone(
    name, pattern, damage, finished, tmp_path, elicit, capsys
):
    failures, files = [], [p for p in piece(finished, name).glob(pattern) if p.is_file()]
    for number, file in enumerate(sorted(files)):
        copy = tmp_path / str(number)
        shutil.copytree(finished, copy)
        victim = copy / file.relative_to(finished)
        failure = failure_of(copy, victim, damage, timeless(finished), elicit, capsys)
        failures += [f"{file.name}: {failure}"] if failure else []
    assert files
    assert failures == []


def test_a_precision_reaches_every_network():
    config = PresetConfig(out=Path(), preset="reduced", precision="bfloat16")
    for experiment in (TABLE_A, TABLE_B):
        settings = settings_of(experiment, config)
        plan = experiment.plan(settings, experiment.source(settings, None), 0)
        for placed in place(plan, Path(), {}).values():
            if isinstance(placed.config, ClassifierTrainConfig):
                assert placed.config.train.precision == "bfloat16"
            elif isinstance(placed.config, GanTrainConfig | SynthesizeConfig):
                assert placed.config.precision == "bfloat16"


BAD_INPUT = {
    "--only 0": "--only must be ROW,SEED, got '0'; expected a row among 0, 50, and a seed among 1",
    "--only 10,1": "got '10,1'; expected a row among 0, 50",
    "--only 0,3": "got '0,3'",
    "--shard 0/2": "--shard must be NUMBER/COUNT, such as 2/8 of eight shares, got '0/2'",
    "--shard 3/2": "got '3/2'",
    "--shard 2": "got '2'",
    "--shard 1/5": "--shard 1/5 shares 4 measurements (a row with a seed) among 5",
    "--merge absent": "expected results of an experiment to merge, got absent",
    "--merge absent --shard 1/2": "--merge runs nothing, so it takes no --only, --shard or",
    "--preset paper": "--preset paper reads cifar10 and needs --data-dir DIR",
    f"--key {2**32}": f"key must be at least 0 and below 2**32, got {2**32}",
    f"--key {2**32 - 1}": f"key must be at least 0 and below 2**32, got {2**32}",
}


@pytest.mark.parametrize("words", BAD_INPUT)
@pytest.mark.usefixtures("nothing_is_made")
def test_wrong_input_is_refused_before_anything(words, tmp_path, elicit, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert elicit(*COMMAND, *words.split(), "--out", "out") == 2
    assert BAD_INPUT[words] in capsys.readouterr().err
    assert not any(tmp_path.iterdir())


def test_another_configuration_is_refused(finished, elicit, capsys, contents):
    before = contents(finished)
    assert elicit(*COMMAND, "--key", 5, "--out", finished) == 2
    assert "holds a run of another configuration: key was 0, now 5" in capsys.readouterr().err
    assert contents(finished) == before
