"""Shares of one experiment that meet at a piece: one makes it, the other waits and uses it."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

import experiments.papers.engine.make_pieces
from experiments.options.data import SubsetConfig
from experiments.papers.engine.make_pieces import is_done, make_pieces
from experiments.papers.engine.plan import Piece
from train.data.verify import MANIFEST_FILE

LONGEST_SECONDS = 60


class Maker:
    """In place of a command: makes a piece's last file once it may, or fails in its first call."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.labels: list[str] = []
        self.begun, self.may_end = threading.Event(), threading.Event()
        self.fails = False

    def __call__(self, config: SubsetConfig, label: str) -> None:
        self.labels.append(label)
        self.calls.append(config.out.name)
        self.begun.set()
        assert self.may_end.wait(LONGEST_SECONDS)
        if self.fails and len(self.calls) == 1:
            raise ValueError("it went wrong")
        config.out.mkdir()
        (config.out / MANIFEST_FILE).write_text("{}")


@pytest.fixture
def maker(monkeypatch) -> Maker:
    maker = Maker()
    makers = experiments.papers.engine.make_pieces.MAKERS
    monkeypatch.setitem(makers, SubsetConfig, makers[SubsetConfig]._replace(make=maker))
    monkeypatch.setattr(experiments.papers.engine.make_pieces, "find_damage", lambda _: [])
    return maker


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as pool:
        yield pool


def pieces_at(root, *names) -> dict[str, Piece]:
    return {name: Piece(name, SubsetConfig("digits", root / name), name, ()) for name in names}


def wait_for(words: str, capsys) -> None:
    said, deadline = "", time.monotonic() + LONGEST_SECONDS
    while words not in said:
        assert time.monotonic() < deadline, said
        time.sleep(0.01)
        said += capsys.readouterr().err


@pytest.mark.parametrize("fails", [False, True])
def test_a_piece_that_two_shares_need_is_made_by_one(fails, tmp_path, maker, threads, capsys):
    maker.fails = fails
    pieces = pieces_at(tmp_path, "common", "first", "second")
    one = threads.submit(make_pieces, pieces, ["common", "first"])
    assert maker.begun.wait(LONGEST_SECONDS)
    other = threads.submit(make_pieces, pieces, ["common", "second"])
    wait_for(f"waiting for {tmp_path / 'common'}, written by process", capsys)
    assert maker.calls == ["common"]
    maker.may_end.set()
    other.result(LONGEST_SECONDS)
    if fails:
        with pytest.raises(ValueError, match="it went wrong"):
            one.result(LONGEST_SECONDS)
        assert maker.calls == ["common", "common", "second"]
    else:
        one.result(LONGEST_SECONDS)
        assert sorted(maker.calls) == ["common", "first", "second"]
    done = {name for name, piece in pieces.items() if is_done(piece)}
    assert done == set(maker.calls)
    assert {path.name for path in tmp_path.iterdir()} == done  # and no locks


def test_the_progress_counts_all_steps_those_of_an_interrupted_call_included(
    tmp_path, maker, capsys
):
    maker.may_end.set()
    pieces = pieces_at(tmp_path, "common", "first", "second")
    pieces = {name: piece._replace(needs=("common",) * (name != "common"))
              for name, piece in pieces.items()}  # fmt: skip
    make_pieces(pieces, ["first"], steps_before=1)
    make_pieces(pieces, ["first", "second"], steps_before=1)
    labels = ["step 2 of 3: common", "step 3 of 3: first", "step 4 of 4: second"]
    assert maker.labels == labels
    assert capsys.readouterr().out.splitlines() == labels
