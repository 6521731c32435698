"""JSON of others: a value without surprises, or one message that names the file."""

import json
import os

import pytest

import train.storage.strict_json
from train.data.spec import ShardRecord
from train.storage.runs import read_metrics
from train.storage.strict_json import read_json


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"a": NaN}', "NaN is no number in JSON"),
        (b"[-Infinity]", "-Infinity is no number"),
        (b"1e999", "1e999 is beyond a float's range"),
        (b"1" * 5000, "Exceeds the limit"),
        (b'{"a": 1, "b": 2, "a": 3}', "the name 'a' more than once"),
        (b"[" * 100_000 + b"]" * 100_000, "nested too deeply"),
        ('{"a": 1}'.encode("utf-16"), "utf-8"),
        (b'"\xff"', "utf-8"),
        (b"", "Expecting value"),
    ],
)
def test_json_beyond_the_limits_is_refused(content, message, tmp_path):
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(ValueError, match=f"expected JSON in .*/a.json, got.*({message})"):
        read_json(tmp_path / "a.json")


def test_a_large_file_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(train.storage.strict_json, "JSON_LIMIT_BYTES", 2**20)
    (tmp_path / "a.json").write_bytes(b" " * 2**20 + b"1")
    with pytest.raises(ValueError, match=r"a\.json.*larger than 1 MiB"):
        read_json(tmp_path / "a.json")


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_what_is_no_file_is_not_waited_for(make, tmp_path):
    make(tmp_path / "a.json")
    with pytest.raises(ValueError, match=r"a\.json.*it is no file"):
        read_json(tmp_path / "a.json")


def test_a_line_of_metrics_that_is_no_object_is_named(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"epoch": 1}\n[2]\n')
    with pytest.raises(ValueError, match=r"object in line 2 of .*metrics\.jsonl, got \[2\]"):
        read_metrics(tmp_path)
    for line in ('{"epoch": NaN}\n', '{"epoch"; 1}\n'):
        (tmp_path / "metrics.jsonl").write_text(line)
        with pytest.raises(ValueError, match=r"JSON in line 1 of .*metrics\.jsonl"):
            read_metrics(tmp_path)


def test_the_limit_has_room_for_as_many_shards_as_names_can_number():
    shard = "tiny-train.array_record-00000"
    entry = {"split": "train", **ShardRecord(shard, 1_000, 10_000_000, 64 * "0")._asdict()}
    size = len(json.dumps([entry], indent=2).encode()) + 4  # in an object: 2 blanks more a line
    assert 100_000 * size < train.storage.strict_json.JSON_LIMIT_BYTES
