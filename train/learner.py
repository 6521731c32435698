"""What the training loop trains, an initial state and an update as pure functions, and how long."""

from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, runtime_checkable

from jaxtyping import Array, Key

from imgopt.errors import InputError


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


@dataclass(frozen=True)
class Budget:
    """How long to train.

    Attributes:
        batch_size: Examples in a step. Examples after the last full batch of an epoch are not used.
        epochs: Passes over the training set.
        steps: Updates in all, instead of `epochs`. The last epoch is then cut short.
    """

    batch_size: int
    epochs: int
    steps: int | None = None

    def __post_init__(self) -> None:
        """Raises InputError for a number outside its range."""
        for name, value in vars(self).items():
            if value is not None and value < 1:
                raise InputError(f"{name} must be at least 1, got {value}")

    def steps_per_epoch(self, count: int, *, of: str = "the training set") -> int:
        """Number of full batches in `count` examples.

        Args:
            count: Number of examples.
            of: Name of the examples in the error message.

        Raises:
            InputError: There is no full batch.
        """
        if count < self.batch_size:
            hint = f"; lower --batch-size to at most {count}" if count else ""
            raise InputError(
                f"{of} has {count} images, less than one batch of {self.batch_size}{hint}"
            )
        return count // self.batch_size

    def total_steps(self, count: int) -> int:
        """Number of updates in all, for a training set of `count` examples."""
        return self.steps or self.steps_per_epoch(count) * self.epochs
