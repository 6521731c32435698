"""Shards of others: what they unpack to is known from their headers, and refused beforehand."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from array_record.python import array_record_module  # pyright: ignore[reportAttributeAccessIssue]

import train.runtime.memory
from train.data.array_records import _chunks, count_records, iter_records

MIB = 2**20


def write(path: Path, records: Sequence[bytes], options: str = "group_size:1") -> Path:
    writer = array_record_module.ArrayRecordWriter(str(path), options)
    for record in records:
        writer.write(record)
    writer.close()
    return path


def room_of(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train.runtime.memory, "host_room_bytes", lambda: size)


@pytest.mark.parametrize("compression", ["uncompressed", "brotli", "zstd", "snappy"])
@pytest.mark.parametrize("group", [1, 7, 1000])
@pytest.mark.parametrize("largest", [1, 100, 5_000, 200_000])  # far over a block's 64 KiB
def test_headers_claim_what_the_records_are(largest, group, compression, tmp_path):
    random = np.random.default_rng([largest, group])
    records = [random.bytes(size) for size in random.integers(0, largest, 300, endpoint=True)]
    path = write(tmp_path / "shard", records, f"group_size:{group},{compression}")
    chunks = [c for c in _chunks(path, path.stat().st_size) if c.records]
    *groups, _, _ = chunks  # ArrayRecord's index, and where that lies
    parts = [records[at : at + group] for at in range(0, len(records), group)]
    assert [chunk.records for chunk in groups] == [len(part) for part in parts]
    assert [chunk.unpacked_bytes for chunk in groups] == [sum(map(len, part)) for part in parts]


def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path, monkeypatch):
    path = write(tmp_path / "bomb", [bytes(64 * MIB)])
    assert path.stat().st_size < MIB
    room_of(63 * MIB, monkeypatch)
    with pytest.raises(ValueError, match=r"reading .*bomb would take 64 MiB of memory, and this"):
        next(iter_records(path))
    write(path, [bytes(62 * MIB)])
    assert count_records(path) == 1


def test_a_bomb_of_records_of_nothing_is_refused_too(tmp_path, monkeypatch):
    path = write(tmp_path / "bomb", [b""] * 200_000, "group_size:200000")
    assert path.stat().st_size < MIB
    room_of(MIB, monkeypatch)
    with pytest.raises(ValueError, match=r"reading .*bomb would take 1.53 MiB of memory"):
        count_records(path)


def test_a_large_file_of_small_records_is_read_in_little_memory(tmp_path, monkeypatch):
    path = write(tmp_path / "shard", [bytes(2_000)] * 3_000)
    room_of(MIB, monkeypatch)
    assert sum(map(len, iter_records(path))) == 3_000


def test_transposed_records_are_refused(tmp_path):
    path = write(tmp_path / "shard", [b"\x0a\x03abc"] * 5, "group_size:5,transpose:true")
    with pytest.raises(ValueError, match=r"got others \(kind 116\) in .*shard, which is"):
        count_records(path)
