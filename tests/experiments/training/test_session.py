"""A training in a run's directory: metrics before checkpoints, resumed to the same bits."""

from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import experiments.training.session
from experiments.training.session import Session, StartPoint, Training, restore, train_epochs
from train.loop import Budget, TrainState
from train.storage.checkpoints import latest_checkpoint
from train.storage.runs import append_metrics, metrics_bytes

DATA = {"x": np.arange(12, dtype=np.float32)}


@dataclass(frozen=True)
class Averager:
    """Moves a number towards the batch's mean, by a random step."""

    def initial(self, key):
        return TrainState({"w": jax.random.normal(key, (1,))}, jnp.int32(0))

    def update(self, key, state, batch, constants):
        assert constants is None
        w = state.variables["w"]
        w = w + jax.random.uniform(key) * (batch["x"].mean() - w)
        return TrainState({"w": w}, state.opt_state + 1), {"w": w[0]}


TRAINING = Training(jax.random.key(3), Averager(), DATA, Budget(4, epochs=3))
STEPS = 3  # in an epoch


@pytest.fixture(autouse=True)
def save_every_epoch(monkeypatch):
    monkeypatch.setattr(experiments.training.session, "CHECKPOINT_EVERY_SECONDS", -1)


def run(out, *, stop_after=None):
    """Trains in `out`, and fails after the line of epoch `stop_after`."""
    out.mkdir(exist_ok=True)
    session = Session(out, out / "checkpoints", "training", [f"id_{i}" for i in range(12)])
    epochs = []

    def on_epoch(result):
        saved = latest_checkpoint(session.checkpoints)
        assert (saved.step if saved else 0) == (result.epoch - 1) * STEPS
        append_metrics(out, {"epoch": result.epoch, "w": float(result.means["w"])})
        epochs.append(result.epoch)
        if result.epoch == stop_after:
            raise RuntimeError("failed")

    start = restore(out, session.checkpoints, TRAINING.learner) or StartPoint()
    return epochs, train_epochs(session, TRAINING, on_epoch, start=start)


def test_every_epoch_s_checkpoint_is_saved_after_its_line(tmp_path):
    epochs, (state, metrics) = run(tmp_path / "run")
    assert epochs == [1, 2, 3]
    assert TRAINING.total_steps == 3 * STEPS
    saved = latest_checkpoint(tmp_path / "run" / "checkpoints").state
    assert int(saved["step"]) == 3 * STEPS
    np.testing.assert_array_equal(saved["variables"]["w"], state.variables["w"])
    assert metrics == metrics_bytes(tmp_path / "run") == saved["metrics"].tobytes()[1:]


def test_resumed_after_a_failure_it_ends_with_the_same_bits(tmp_path):
    _, expected = run(tmp_path / "undisturbed")
    with pytest.raises(RuntimeError, match="failed"):
        run(tmp_path / "run", stop_after=2)
    epochs, found = run(tmp_path / "run")
    assert epochs == [2, 3]
    assert found.metrics == expected.metrics
    np.testing.assert_array_equal(found.state.variables["w"], expected.state.variables["w"])


def test_a_finished_training_is_not_trained_again(tmp_path):
    _, expected = run(tmp_path / "run")
    append_metrics(tmp_path / "run", {"epoch": 99})
    epochs, found = run(tmp_path / "run")
    assert epochs == []
    assert found.metrics == expected.metrics
    np.testing.assert_array_equal(found.state.variables["w"], expected.state.variables["w"])


def test_the_number_of_epochs_counts_a_short_one():
    assert replace(TRAINING, budget=Budget(4, 1, steps=7)).epochs == 3
    assert replace(TRAINING, budget=Budget(4, 1, steps=6)).epochs == 2
