"""The training loop, on learners without networks: budgets, groups, pauses, skipped steps."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from imgopt.errors import InputError
from train import loop
from train.learner import TrainState
from train.loop import FitOptions, Paused, Snapshot, fit
from train.nonfinite import NotFinite
from train.recipes.train_options import Budget, NonFiniteConfig

pytestmark = pytest.mark.usefixtures("compiled_as_users_do")

KEY = jax.random.key(3)
RANDOM = np.random.default_rng(1)
DATA = {"x": RANDOM.normal(size=(23, 2)).astype(np.float32), "row": np.arange(23)}
GROUPS = {
    "even": np.arange(0, 23, 2),  # 12 rows: three batches of 4
    "odd": np.arange(1, 23, 2),  # 11 rows: two batches, and three rows are left
}
BUDGET = Budget(batch_size=4, epochs=3)


@dataclass(frozen=True)
class Walker:
    """Moves a point towards the batch's mean, by a random step; counts how often each row came."""

    rate: float = 0.1

    def initial(self, key):
        return TrainState({"w": jax.random.normal(key, (2,)), "seen": jnp.zeros(23)}, jnp.int32(0))

    def update(self, key, state, batch, constants):
        w, seen = state.variables["w"], state.variables["seen"]
        step = self.rate * jax.random.uniform(key)
        w = w + step * (batch["x"].mean(0) - w) + (0 if constants is None else constants)
        seen = seen.at[batch["row"]].add(1)
        return TrainState({"w": w, "seen": seen}, state.opt_state + 1), {"step": step, "w0": w[0]}


def run(
    key=KEY, *, budget=BUDGET, learner=None, data=None, resume=None, after_call=None, **options
):
    """Results of all epochs, each fetched before the next epoch overwrites its memory."""
    epochs = fit(
        key, learner or Walker(), DATA if data is None else data, budget, FitOptions(**options),
        resume=resume, after_call=after_call,
    )  # fmt: skip
    return [jax.device_get(result) for result in epochs]


def after(result):
    return Snapshot(result.step, result.state)


def assert_same_bits(found, expected):
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("budget", "steps"),
    [
        (Budget(4, 3), [5, 10, 15]),
        (Budget(4, 3, steps=10), [5, 10]),
        (Budget(4, 1, steps=12), [5, 10, 12]),
        (Budget(23, 2), [1, 2]),
        (Budget(1, 1, steps=1), [1]),
    ],
)
def test_budgets_in_epochs_and_in_steps(budget, steps):
    results = run(budget=budget)
    assert [result.step for result in results] == steps
    assert [result.epoch for result in results] == list(range(1, len(steps) + 1))
    assert int(results[-1].state.opt_state) == steps[-1] == budget.total_steps(23)
    assert results[-1].state.variables["seen"].sum() == steps[-1] * budget.batch_size


def test_no_image_comes_twice_in_an_epoch():
    for epoch, result in enumerate(run(), 1):
        assert result.state.variables["seen"].max() <= epoch


def test_means_are_over_the_steps_taken():
    whole, cut = run(budget=Budget(4, 1)), run(budget=Budget(4, 1, steps=3))
    steps = [0.1 * float(jax.random.uniform(jax.random.fold_in(jax.random.fold_in(KEY, 2), i)))
             for i in range(5)]  # fmt: skip
    assert float(whole[0].means["step"]) == pytest.approx(np.mean(steps), rel=1e-6)
    assert float(cut[0].means["step"]) == pytest.approx(np.mean(steps[:3]), rel=1e-6)


@pytest.mark.parametrize("groups", [None, GROUPS], ids=["one", "groups"])
@pytest.mark.parametrize("budget", [BUDGET, Budget(4, 1, steps=7)], ids=["epochs", "steps"])
def test_resumed_after_an_epoch_it_ends_with_the_same_bits(groups, budget):
    undisturbed = run(groups=groups, budget=budget)
    for index, result in enumerate(undisturbed):
        resumed = run(groups=groups, budget=budget, resume=after(result), steps_per_call=2)
        assert_same_bits(resumed, undisturbed[index + 1 :])


def paused(step, *, budget=BUDGET, data=DATA, resume=None, **options):
    """Results before the first device call that ends at or after `step`, and the snapshot."""
    found = []
    epochs = fit(
        KEY, Walker(), data, budget, FitOptions(**options),
        resume=resume, after_call=lambda done: done >= step,
    )  # fmt: skip
    with pytest.raises(Paused, match="paused after step") as caught:
        found.extend(map(jax.device_get, epochs))
    return found, jax.device_get(caught.value.snapshot)


@pytest.mark.parametrize("groups", [None, GROUPS], ids=["one", "groups"])
@pytest.mark.parametrize("budget", [BUDGET, Budget(4, 1, steps=8)], ids=["epochs", "steps"])
def test_paused_within_an_epoch_it_ends_with_the_same_bits_and_means(groups, budget):
    undisturbed = run(groups=groups, budget=budget)
    ends = [result.step for result in undisturbed]
    places = [step for step in range(1, ends[-1]) if step not in ends]
    assert len(places) >= 3
    for step in places:
        found, snapshot = paused(step, groups=groups, budget=budget, steps_per_call=1)
        assert snapshot.step == step
        assert len(snapshot.scalars["step"]) == step - max([0, *(e for e in ends if e < step)])
        rest = run(groups=groups, budget=budget, resume=snapshot, steps_per_call=2)
        assert_same_bits([*found, *rest], undisturbed)


def test_paused_twice_within_an_epoch():
    _, first = paused(6, steps_per_call=1)
    _, second = paused(8, steps_per_call=1, resume=first)
    assert (second.step, len(second.scalars["step"])) == (8, 3)
    assert_same_bits(run(resume=second), run()[1:])


def test_at_an_epoch_s_end_the_caller_has_its_say():
    results = run(budget=Budget(23, 3), after_call=lambda _: True)  # one step an epoch
    assert [result.step for result in results] == [1, 2, 3]


def test_a_call_takes_as_many_steps_as_take_a_second(monkeypatch):
    now, costs = [0.0], iter([9.0, 0.1, 0.5, 40.0, 1e-9, 0.0])
    monkeypatch.setattr(loop.time, "monotonic", lambda: now[0])

    def program(state, *_):
        now[0] += next(costs)
        return state, {}

    caller, taken = loop._StepCaller(program, at_most=20), []
    for _ in range(6):
        taken.append(caller.steps)
        caller.take_steps(loop.TrainState({}, ()), None, 0, caller.steps)
    # Compilation is in the first one: 9 s; then 1 in 0.1 s, 10 in 0.5 s, 20 in 40 s.
    assert taken == [1, 1, 10, 20, 1, 20]


def test_several_processes_take_the_same_steps_whatever_their_clocks_say(monkeypatch):
    monkeypatch.setattr(loop.jax, "process_count", lambda: 2)
    caller = loop._StepCaller(lambda state, *_: (state, {}), at_most=20)
    caller.take_steps(loop.TrainState({}, ()), None, 0, 20)
    assert caller.steps == 20


def test_each_group_is_trained_as_it_would_be_alone():
    groups = {"first": np.arange(11), "last": np.arange(12, 23)}
    together = run(groups=groups)
    for number, rows in enumerate(groups.values()):
        own = {name: column[rows] for name, column in DATA.items()}
        alone = run(jax.random.fold_in(KEY, number), data=own)
        for one, other in zip(together, alone, strict=True):
            mine = jax.tree.map(lambda leaf, n=number: leaf[n], one.state.variables)
            np.testing.assert_allclose(mine["w"], other.state.variables["w"], rtol=1e-6)
            assert_same_bits(mine["seen"], other.state.variables["seen"])


def test_a_group_never_sees_another_groups_rows():
    seen = run(groups=GROUPS)[-1].state.variables["seen"]
    assert seen.shape == (2, 23)
    for number, rows in enumerate(GROUPS.values()):
        others = np.setdiff1d(np.arange(23), rows)
        assert seen[number, others].sum() == 0
        assert seen[number].sum() == 3 * 2 * 4


def test_constants_reach_every_group():
    plain, shifted = run(groups=GROUPS), run(groups=GROUPS, constants=np.float32(0.5))
    first = [r[0].means["w0"] for r in (plain, shifted)]
    assert (first[1] > first[0] + 0.4).all()


def broken_data(row=5):
    x = DATA["x"].copy()
    x[row] = np.inf
    return {**DATA, "x": x}


@pytest.mark.parametrize(("groups", "whose"), [(None, ""), (GROUPS, " of odd")])
def test_what_is_not_finite_is_named_with_its_group_and_rows(groups, whose):
    message = rf"not finite at step \d+ \(epoch \d\): the w0{whose};"
    with pytest.raises(NotFinite, match=message) as caught:
        run(groups=groups, data=broken_data())
    assert 5 in caught.value.rows
    assert len(set(caught.value.rows.tolist())) == 4
    assert groups is None or set(caught.value.rows.tolist()) <= set(GROUPS["odd"].tolist())


def rows_of(step):
    """Rows of a step's batch, by the definition in the docstring of `train.loop`."""
    order = jax.random.permutation(jax.random.fold_in(jax.random.fold_in(KEY, 1), step // 5), 23)
    return np.asarray(order)[(step % 5) * 4 : (step % 5 + 1) * 4]


def by_hand():
    """Final state of the walk in plain Python, without the steps whose batch has row 5."""
    learner, state = Walker(), Walker().initial(jax.random.fold_in(KEY, 0))
    for step in range(15):
        rows = rows_of(step)
        if 5 not in rows:
            batch = {name: column[rows] for name, column in DATA.items()}
            key = jax.random.fold_in(jax.random.fold_in(KEY, 2), step)
            state, _ = jax.jit(learner.update)(key, state, batch, None)
    return state


@pytest.mark.parametrize("steps_per_call", [1, 20])
def test_a_skipped_step_leaves_no_trace_in_the_state(steps_per_call):
    results = run(data=broken_data(), max_skipped=3, steps_per_call=steps_per_call)
    assert [result.skipped for result in results] == [1, 2, 3]
    last = results[-1]
    assert int(last.state.opt_state) == 12  # 15 steps but three
    assert last.state.variables["seen"][5] == 0
    assert last.state.variables["seen"].sum() == 12 * 4
    np.testing.assert_allclose(last.state.variables["w"], by_hand().variables["w"], rtol=1e-6)
    assert np.isfinite([float(result.means["w0"]) for result in results]).all()
    assert set(last.means) == {"step", "w0"}


def test_where_nothing_is_skipped_the_bits_are_those_of_the_plain_loop():
    plain, skipping = run(), run(max_skipped=1)
    assert [result.skipped for result in skipping] == [0, 0, 0]
    assert_same_bits([r._replace(skipped=None) for r in skipping], plain)


def test_only_the_group_that_is_not_finite_skips_the_step():
    plain = run(groups=GROUPS)[-1].state.variables
    found = run(groups=GROUPS, data=broken_data(), max_skipped=3)[-1].state.variables
    assert_same_bits(*(jax.tree.map(lambda leaf: leaf[0], each) for each in (found, plain)))
    assert found["seen"][1, 5] == 0
    assert 0 < plain["seen"][1].sum() - found["seen"][1].sum() <= 3 * 4
    assert np.isfinite(found["w"]).all()


def test_one_step_too_many_stops_it():
    with pytest.raises(NotFinite, match=r"\(epoch 3\): the w0 \(skipped before it: 2\);") as caught:
        run(data=broken_data(), max_skipped=2)
    assert 5 in caught.value.rows


@dataclass(frozen=True)
class Jumper(Walker):
    """The state becomes non-finite at an example; the scalars show it one step later."""

    def update(self, key, state, batch, constants):
        after, found = super().update(key, state, batch, constants)
        return after, {"w0": state.variables["w"][0], "step": found["step"]}


@pytest.mark.parametrize("row", range(0, 23, 2))
def test_a_state_that_breaks_stops_it_at_that_very_step(row):
    step = next(step for step in range(15) if row in rows_of(step))
    message = rf"not finite at step {step} \(epoch {step // 5 + 1}\): the update;"
    with pytest.raises(NotFinite, match=message) as caught:
        run(learner=Jumper(), data=broken_data(row))
    assert caught.value.rows.tolist() == rows_of(step).tolist()


def test_a_state_that_breaks_is_a_broken_step_too():
    found = run(learner=Jumper(), data=broken_data(), max_skipped=3)[-1]
    assert found.skipped == 3
    np.testing.assert_allclose(found.state.variables["w"], by_hand().variables["w"], rtol=1e-6)
    with pytest.raises(NotFinite, match=r"the update \(skipped before it: 1\);"):
        run(learner=Jumper(), data=broken_data(), max_skipped=1)


@pytest.mark.parametrize("step", [3, 7, 8])
def test_paused_it_goes_on_counting_what_it_skipped(step):
    options = {"data": broken_data(), "max_skipped": 3}
    undisturbed = run(**options)
    found, snapshot = paused(step, steps_per_call=1, **options)
    assert_same_bits([*found, *run(resume=snapshot, **options)], undisturbed)
    with pytest.raises(NotFinite, match="skipped before it: 2"):
        run(resume=snapshot, data=broken_data(), max_skipped=2)


def test_an_epoch_without_a_finite_step_stops_it():
    with pytest.raises(FloatingPointError, match="not a single step of epoch 1 was finite"):
        run(data={**DATA, "x": DATA["x"] * np.inf}, max_skipped=100)


def test_the_number_of_steps_to_skip_is_at_least_1():
    with pytest.raises(ValueError, match="max_skipped must be at least 1, got 0"):
        NonFiniteConfig(max_skipped=0)
    assert NonFiniteConfig().allowed is None
    assert NonFiniteConfig("skip", 4).allowed == 4


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("groups", [None, GROUPS], ids=["one", "groups"])
def test_a_key_of_the_old_style_trains_alike(groups):
    assert_same_bits(run(jax.random.PRNGKey(3), groups=groups), run(KEY, groups=groups))


@dataclass(frozen=True)
class Counted(Walker):
    """Walks on by the number of updates in all, and refuses data without rows' numbers."""

    def check(self, data):
        if "row" not in data:
            raise InputError("no rows")

    def constants(self, total_steps):
        return np.float32(total_steps)


def test_a_learner_makes_its_constants_unless_they_are_given():
    own = run(learner=Counted())
    assert_same_bits(own, run(constants=np.float32(15)))
    assert_same_bits(run(learner=Counted(), constants=np.float32(2)), run(constants=np.float32(2)))


def test_a_learner_refuses_data_before_anything_is_compiled(compilations):
    with compilations() as compiled, pytest.raises(InputError, match="no rows"):
        run(learner=Counted(0.3), data={"x": DATA["x"]})
    assert not compiled


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({**DATA, "x": DATA["x"][:20]}, "got 23 row, 20 x"),
        ({**DATA, "x": np.float32(1)}, "got 23 row, 0 x"),
        ({}, "got none"),
    ],
)
def test_arrays_without_a_row_for_each_example_are_refused(data, message):
    with pytest.raises(InputError, match=f"one row for each example, {message}"):
        run(data=data)


def test_a_group_smaller_than_a_batch_is_refused():
    with pytest.raises(ValueError, match="has 11 images, less than one batch of 12"):
        run(groups=GROUPS, budget=Budget(12, 1))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ((0, 1), "batch_size must be at least 1, got 0"),
        ((1, 0), "epochs must be at least 1, got 0"),
        ((1, 1, 0), "steps must be at least 1, got 0"),
    ],
)
def test_budgets_outside_their_range_are_refused(values, message):
    with pytest.raises(ValueError, match=message):
        Budget(*values)
