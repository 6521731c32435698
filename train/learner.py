"""What the training loop trains, an initial state and an update as pure functions, and how long."""

from typing import Any, NamedTuple, Protocol, runtime_checkable

from jaxtyping import Array, Key


class TrainState(NamedTuple):
    """Everything that changes in training: the variables by name, and the optimisers' states."""

    variables: dict[str, Any]
    opt_state: Any


@runtime_checkable  # for tests, which check annotations
class Learner(Protocol):
    """What is trained, as two pure functions. Equal learners share one compiled program.

    A learner is hashable by value. Arrays that it needs but does not change are its constants.

    It may have two more methods, which `train.fit` calls before it compiles anything:
    `check(data)` raises InputError for a training set that it cannot learn from, and
    `constants(total_steps)` makes the constants that the options of `fit` leave out.
    """

    def initial(self, key: Key[Array, ""]) -> TrainState:
        """Draws the initial variables and makes the optimisers' initial states."""
        ...

    def update(
        self, key: Key[Array, ""], state: TrainState, batch: Any, constants: Any
    ) -> tuple[TrainState, dict[str, Array]]:
        """Makes one step on one batch: the new state, and scalars to average over an epoch."""
        ...

    def __hash__(self) -> int: ...


def check_data(learner: Learner, data: Any) -> None:
    """Raises InputError for a training set that the learner refuses, if it checks any."""
    check = getattr(learner, "check", None)
    if check is not None:
        check(data)


def given_or_own(constants: Any, learner: Learner, total_steps: int) -> Any:
    """The constants that are given, or else those that the learner makes itself, if it does.

    Args:
        constants: What the options of the training give; None for nothing.
        learner: What is trained.
        total_steps: Number of updates in all.
    """
    make = getattr(learner, "constants", None)
    return make(total_steps) if make and constants is None else constants
