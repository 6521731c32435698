"""Progress: timed lines in a log, a bar on a terminal that leaves no text."""

import io
import re

import pytest

from experiments.console import progress
from experiments.console.progress import Progress, say

LINE = r"\[ *\d+\.\d s\] job: {}/7 images\n"


@pytest.fixture
def clock(monkeypatch):
    """A clock that the test sets by `clock.append`."""
    times = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: times[-1])
    return times


def test_a_line_every_so_often_and_one_at_the_end(clock, capsys):
    with Progress("job", total=7, unit="images") as shown:
        for done, now in ((1, 101.0), (2, 109.9), (3, 110.0), (4, 111.0), (6, 131.5), (7, 131.6)):
            clock.append(now)
            shown.update_to(done)
    lines = capsys.readouterr().err
    assert re.fullmatch("".join(map(LINE.format, (3, 6, 7))), lines)
    assert [float(s) for s in re.findall(r"\[ *(\S+) s\]", lines)] == [10.0, 31.5, 31.6]


def test_work_of_no_time_still_says_that_it_is_done(capsys):
    with Progress("job", total=7, unit="images", done=2) as shown:
        shown.update_to(7)
    assert re.fullmatch(LINE.format(7), capsys.readouterr().err)


def test_no_line_claims_the_end_after_an_error(capsys):
    shown = Progress("job", total=7, unit="images")
    shown.update_to(3)
    shown.__exit__(KeyboardInterrupt, KeyboardInterrupt(), None)
    assert capsys.readouterr().err == ""


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize("done", [0, 2])
def test_on_a_terminal_there_is_a_bar_and_one_line_at_the_end(monkeypatch, done):
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    with Progress("job", total=7, unit="images", done=done) as shown:
        assert shown._bar is not None
        assert shown._bar.n == done
        shown.update_to(5)
        assert shown._bar.n == 5
        shown.update_to(7)
        assert shown._bar.n == 7
    drawn = terminal.getvalue()
    assert f"{done}/7" in drawn
    assert drawn.count(" s] job") == 1
    assert re.search(LINE.format(7) + r"\Z", drawn)


def test_a_line_says_how_good_it_is_so_far(monkeypatch, capsys):
    with Progress("job", total=7, unit="images") as shown:
        shown.detail = "loss 0.412"
        shown.update_to(3)
        shown.update_to(7)
    assert re.fullmatch(LINE.format(7)[:-1] + ", loss 0.412\n", capsys.readouterr().err)
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    with Progress("job", total=7, unit="images") as shown:
        assert re.search(r"\b0/7\b.*compiling", terminal.getvalue())
        shown.detail = "mean KL 0.01"
        shown.update_to(7)
    assert "job: 7/7 images, mean KL 0.01" in terminal.getvalue()


def test_what_comes_before_is_said_on_a_terminal_only(monkeypatch, capsys):
    say("reading digits")
    assert capsys.readouterr().err == ""
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    say("reading digits")
    assert re.fullmatch(r"\[ *\d+\.\d s\] reading digits\n", terminal.getvalue())
