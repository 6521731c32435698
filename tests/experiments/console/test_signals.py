"""A signal at a chosen step of a training: the resumed training gives the same bits and lines."""

import gc
import json
import signal
import threading
import time

import pytest

from experiments.console.signals import Stopped, stopping_on_signals
from train.storage.checkpoints import latest_checkpoint

STEPS, TOTAL = 4, 24  # in an epoch, and in all


@pytest.mark.parametrize(
    ("step", "number"),
    [
        (1, signal.SIGTERM),
        (STEPS, signal.SIGINT),
        (2 * STEPS + 3, signal.SIGINT),
        (TOTAL - 1, signal.SIGTERM),
        (TOTAL, signal.SIGTERM),
    ],
)
def test_training_stops_after_the_step_at_hand_and_goes_on(
    step, number, training, run, tmp_path, elicit, signal_at, capsys
):
    out = tmp_path / "run"
    before = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)}
    signal_at(step, number)
    assert elicit(*training, "--out", out) == 128 + number
    assert {each: signal.getsignal(each) for each in before} == before
    assert capsys.readouterr().err.splitlines()[-1] == (
        f"elicit classifier train: stopped by {number.name} after step {step}; the same command "
        "goes on from there"
    )
    assert latest_checkpoint(out / "checkpoints").step == step
    assert len((out / "metrics.jsonl").read_text().splitlines()) == step // STEPS
    assert not (out / "result.json").exists()
    assert elicit(*training, "--out", out) == 0
    assert (out / "metrics.jsonl").read_bytes() == (run / "metrics.jsonl").read_bytes()
    found, wanted = (json.loads((place / "result.json").read_text()) for place in (out, run))
    assert found["classifier_sha256"] == wanted["classifier_sha256"]


def test_in_another_thread_there_are_no_handlers_to_install():
    before, found = signal.getsignal(signal.SIGINT), []

    def look():
        with stopping_on_signals():
            found.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert found == [before]


@pytest.mark.parametrize("is_cause", [True, False])
def test_an_error_that_c_code_raises_in_place_of_the_signal_s_stops_too(is_cause):
    @stopping_on_signals()
    def receive_in_c():
        try:
            signal.raise_signal(signal.SIGTERM)
        except Stopped as stop:
            error = SystemError("returned a result with an exception set")
            raise error from (stop if is_cause else None)

    with pytest.raises(Stopped, match="stopped by SIGTERM"):
        receive_in_c()


def test_any_other_error_stays_what_it_is():
    with pytest.raises(ValueError, match="mine"), stopping_on_signals():
        raise ValueError("mine")


@pytest.fixture
def sigint_heeded():
    """SIGINT is not ignored, as it is in a shell's background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("sigint_heeded")
def test_a_signal_in_a_callback_of_the_garbage_collector_stops_the_command():
    def callback(phase, info):
        del info
        if phase == "start" and not sent:
            sent.append(phase)
            signal.raise_signal(signal.SIGINT)  # Python ignores what is raised here

    def work():
        gc.callbacks.append(callback)
        gc.collect()
        for _ in range(500):
            time.sleep(0.01)
        pytest.fail("the signal was lost")

    sent = []
    try:
        with pytest.raises(Stopped, match="SIGINT"), stopping_on_signals():
            work()
    finally:
        gc.callbacks.remove(callback)
    assert sent
