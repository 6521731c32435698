"""`elicit gan sample`: interrupted samplings go on, and memory does not grow with the set."""

import importlib
import tracemalloc

import pytest

import experiments.gan.rounds
import experiments.gan.sample
from gans.sampling import sample
from tests.experiments.made_up_gans import write_sampled_gan


@pytest.fixture
def small_shards(monkeypatch):
    """Shards of 7, which no round's number of images is a multiple of."""
    monkeypatch.setattr(experiments.gan.rounds, "SHARD_IMAGES", 7)


WAYS = {
    "all": ("--per-class", 9),
    "judged": ("--per-class", 9, "--classifier", "OWN"),
    "selected": ("--per-class", 6, "--keep", "both", "--classifier", "OWN"),
}


@pytest.mark.slow
@pytest.mark.usefixtures("small_shards")
@pytest.mark.parametrize(
    ("way", "place", "call"),
    [
        *((way, "data.resumable_set.write_shard", 2) for way in WAYS),
        ("all", "data.resumable_set.write_shard", 0),
        ("selected", "data.resumable_set.write_sealed", 2),
        ("all", "data.resumable_set.commit", 0),
        ("judged", "gan.sample.write_pages", 0),
    ],
)
def test_an_interrupted_sampling_goes_on_to_the_same_bytes(
    draw, own_classifier, contents, tmp_path, monkeypatch, capsys, way, place, call
):
    words = ["--batch-size", 2, *(own_classifier if w == "OWN" else w for w in WAYS[way])]
    drawn = []
    count = lambda *given, **options: drawn.append(1) or sample(*given, **options)  # noqa: E731
    monkeypatch.setattr(experiments.gan.sample, "sample", count)
    whole, draws = contents(draw(*words, name="whole")), len(drawn)
    assert sum("array_record" in name for name in whole) > 3
    name, _, function = place.rpartition(".")
    module = importlib.import_module(f"experiments.{name}")
    original, calls = getattr(module, function), []

    def interrupt(*given, **options):
        calls.append(1)
        if len(calls) > call:
            raise KeyboardInterrupt
        return original(*given, **options)

    with monkeypatch.context() as patch:
        patch.setattr(module, function, interrupt)
        draw(*words, status=130)
    assert "the same command goes on" in capsys.readouterr().err
    assert list((tmp_path / "made").glob("*.note.json")) or not call
    drawn.clear()
    assert contents(draw(*words)) == whole
    assert (len(drawn) < draws) == (function != "write_shard" or call > 0)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["made", "mine", "whole"]


def test_memory_does_not_grow_with_the_set(tmp_path, elicit, monkeypatch):
    monkeypatch.setattr(experiments.gan.rounds, "SHARD_IMAGES", 8)
    monkeypatch.setattr(experiments.gan.sample, "write_pages", lambda *_, **__: None)
    gan, peaks = write_sampled_gan(tmp_path / "gan", image_size=64), {}
    for count in (3, 8, 32):
        words = ("--gan", gan, "--batch-size", 4, "--per-class", count, "--out")
        if count > 3:  # the first one compiles
            tracemalloc.start()
        assert elicit("gan", "sample", *words, tmp_path / str(count)) == 0
        peaks[count] = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peaks[32] - peaks[8] < 0.25 * 3 * (32 - 8) * 64 * 64 * 3
