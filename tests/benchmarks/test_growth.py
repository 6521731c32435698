"""The script `growth.py`: its points, its arithmetic, and continuing after an interruption."""

import json
from dataclasses import asdict

import growth
import pytest

pytestmark = pytest.mark.slow


def found(point, version="1"):
    """A made-up measurement: time grows as the square of the place, memory in proportion to it."""
    place = asdict(point)[point.axis]
    return {
        "seconds": [place**2 * factor for factor in (1.0, 2.0, 9.0)],
        "planned_bytes": place * 2**20,
        "peak_bytes": 5 * 2**20,
        "compilation_seconds": 0.25,
        "environment": {"device": "a device", "versions": {"jax": version}},
    }


@pytest.mark.parametrize("scale", ["smoke", "cpu", "gpu"])
def test_along_an_axis_nothing_else_changes(scale):
    points = [asdict(point) for point in growth.points(growth.SCALES[scale])]
    assert len({json.dumps(point) for point in points}) == len(points)
    assert {point["axis"] for point in points} == set(growth.AXES)
    for axis in growth.AXES:
        along = [point for point in points if point["axis"] == axis]
        for point in along:
            assert point["repeats"] >= 3
            assert bool(point["classes"]) == (axis == "classes")
            assert not point["images"] % point["batch_size"] or point["classes"]
            assert not point["batch_size"] % point["devices"]
            if axis == "batch_size":
                assert point["images"] == point["batch_size"]
                del point["images"]
            del point[axis]
        assert all(point == along[0] for point in along)


def test_interrupted_measurements_continue(tmp_path, monkeypatch):
    calls = []

    def measure(point):
        calls.append(point)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return found(point)

    scale = growth.SCALES["smoke"]
    monkeypatch.setattr(growth, "in_new_process", lambda _, point: measure(point))
    with pytest.raises(KeyboardInterrupt):
        growth.measure_all(scale, tmp_path / "growth.json")
    records = growth.measure_all(scale, tmp_path / "growth.json")
    points = list(growth.points(scale))
    assert [record["point"] for record in records] == [asdict(point) for point in points]
    assert calls == [*points[:4], *points[3:]]


def test_results_of_other_versions_are_not_mixed(tmp_path, monkeypatch, capsys):
    config = growth.GrowthConfig(tmp_path, scale="smoke")
    point = next(growth.points(growth.SCALES["smoke"]))
    record = {"point": asdict(point), **found(point, version="0")}
    (tmp_path / "growth.json").write_text(json.dumps([record]))
    monkeypatch.setattr(growth, "in_new_process", lambda _, point: found(point))
    assert growth.main(config) == 2
    assert "results of other versions: {'jax': '0'}" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["growth.json"]


def test_table_and_picture_show_every_point(tmp_path, monkeypatch, capsys):
    def measure(point):
        return {"skipped": "only one there"} if point.devices > 1 else found(point)

    monkeypatch.setattr(growth, "in_new_process", lambda _, point: measure(point))
    assert growth.main(growth.GrowthConfig(tmp_path, scale="smoke")) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'growth.md'}\n"
    table = (tmp_path / "growth.md").read_text()
    assert "| 16 | 3 | 512 | 256 | 2.3e+03 | 16.0 | 5.0 | 0.2 |  |" in table
    assert "| 2 | 0 | only one there | | | | | | |" in table
    assert "Time grows as the power 2.00, planned memory as the power 1.00." in table
    assert all(f"## Against {label}" in table for label in growth.AXES.values())
    picture = (tmp_path / "growth.svg").read_text()
    assert picture.startswith("<?xml")
