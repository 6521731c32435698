"""Reads a pickle of plain values and arrays of bytes, such as the batches of CIFAR-10.

Nothing is imported or called, as `pickle` would: of its operations only those are known here that
put such values together, and an array is known by the calls that numpy pickles it as. What is read
takes memory in proportion to the pickle, whatever it says.
"""

import math
import pickletools
import warnings
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from imgopt.errors import InputError

OPERATIONS_LIMIT = 1_000_000
"""A batch of CIFAR-10 has 40,000; an operation of one byte may make a value of 64."""


class _Global(NamedTuple):
    """A function or class that the pickle names."""

    name: str


class _DType:
    """Stands for `numpy.dtype`; what is set of it afterwards is a byte order, which u1 has not."""

    def __init__(self, name: Any, *_: Any) -> None:
        self.is_bytes = name in ("u1", b"u1")


class _Array:
    """Stands for an array until its content is set."""

    content: np.ndarray | None = None

    def set(self, state: Any) -> None:
        """Takes what `numpy.ndarray.__reduce__` calls the state."""
        _, shape, dtype, is_fortran, content = state
        if not isinstance(dtype, _DType) or not dtype.is_bytes or is_fortran:
            raise InputError("an array is not of bytes in C's order")
        if not all(type(size) is int and size >= 0 for size in shape):
            raise InputError(f"an array has the shape {shape!r:.60}")
        if not isinstance(content, bytes) or math.prod(shape) != len(content):
            raise InputError("an array's content is not of its shape")
        self.content = np.frombuffer(content, np.uint8).reshape(shape)


def _new_array(kind: Any, shape: Any, letter: Any) -> _Array:
    """Stands for `_reconstruct`, which makes an empty array to be filled."""
    if kind != _Global("numpy.ndarray") or shape != (0,) or letter not in (b"b", "b"):
        raise InputError("an array begins in another way than numpy's")
    return _Array()


def _latin1_encode(text: str, encoding: str) -> bytes:
    """Stands for `_codecs.encode`, by which Python 3 pickles bytes for Python 2."""
    if encoding != "latin1":
        raise InputError(f"the encoding {encoding!r:.60} is not admitted")
    return text.encode("latin1")


CALLABLE: Mapping[str, Callable[..., Any]] = {
    "numpy.core.multiarray._reconstruct": _new_array,
    "numpy._core.multiarray._reconstruct": _new_array,  # numpy renamed its core
    "numpy.dtype": _DType,
    "_codecs.encode": _latin1_encode,
}
ADMITTED = {*CALLABLE, "numpy.ndarray"}


def read_plain_pickle(content: bytes) -> Any:
    """Reads a pickle of any protocol; text of Python 2 becomes bytes.

    Args:
        content: the pickle.

    Returns:
        Its value, of None, bool, int, float, str, bytes, tuples, lists, dicts and uint8 arrays.

    Raises:
        InputError: the pickle is damaged, or does something else than to describe such a value.
    """
    try:
        with warnings.catch_warnings():
            # Python 2's text is written with escapes, and damaged ones are warned of.
            warnings.simplefilter("ignore", DeprecationWarning)
            return _run(content)
    except (LookupError, TypeError, AttributeError, OverflowError) as error:
        raise InputError(f"a damaged pickle ({error})") from error


def _run(content: bytes) -> Any:
    machine = _Machine()
    for number, (operation, argument, _) in enumerate(pickletools.genops(content)):
        if number >= OPERATIONS_LIMIT:
            raise InputError(f"it has more than {OPERATIONS_LIMIT:,} operations")
        if operation.name == "STOP":
            break
        machine.step(operation.name, argument)
    return _finished(machine.pop())


class _Machine:
    """The stack that a pickle's operations work on, its marks, and its memory."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memory: dict[int, Any] = {}

    def step(self, name: str, argument: Any) -> None:
        """Does one operation."""
        if name in _PUSHED:
            self.stack.append(_PUSHED[name](argument))
        elif name in _OPERATIONS:
            _OPERATIONS[name](self, argument)
        elif name not in _IGNORED:
            raise InputError(f"the operation {name} is not admitted")

    def pop(self) -> Any:
        """Takes the topmost value, but never one below the last mark."""
        if len(self.stack) <= (self.marks[-1] if self.marks else 0):
            raise InputError("a damaged pickle (it takes more than it has put)")
        return self.stack.pop()

    def pop_marked(self) -> list[Any]:
        """Takes all that was put since the last mark."""
        mark = self.marks.pop()
        taken = self.stack[mark:]
        del self.stack[mark:]
        return taken

    def push_tuple(self, size: int) -> None:
        """Makes a tuple of the topmost values."""
        taken = [self.pop() for _ in range(size)]
        self.stack.append(tuple(reversed(taken)))

    def push_global(self, name: str) -> None:
        """Takes note of a function or class by its name."""
        if name not in ADMITTED:
            raise InputError(f"{name} is not admitted")
        self.stack.append(_Global(name))

    def extend(self, items: list[Any]) -> None:
        """Appends to the list on top."""
        target = self.stack[-1]
        if not isinstance(target, list):
            raise InputError("a damaged pickle (it appends to what is no list)")
        target.extend(items)

    def update(self, items: list[Any]) -> None:
        """Sets names and values, one after the other, in the dict on top."""
        # A tuple of tuples of ... would take forever to hash.
        if not all(isinstance(name, str | bytes) for name in items[::2]):
            raise InputError("the name of a value is not text")
        self.stack[-1].update(zip(items[::2], map(_finished, items[1::2]), strict=True))

    def call(self) -> None:
        """Does as the calls of `CALLABLE` would."""
        arguments, function = self.pop(), self.pop()
        if not isinstance(function, _Global) or function.name not in CALLABLE:
            raise InputError("a pickle that calls what is no function")
        self.stack.append(CALLABLE[function.name](*arguments))

    def set_state(self) -> None:
        """Fills the array on top."""
        state, target = self.pop(), self.stack[-1]
        if isinstance(target, _Array):
            target.set(state)
        elif not isinstance(target, _DType):
            raise InputError("a pickle that sets the state of what is no array")


def _finished(value: Any) -> Any:
    """A value as it leaves the pickle: an array as numpy's."""
    return value.content if isinstance(value, _Array) else value


def _dict_of(items: list[Any]) -> dict[Any, Any]:
    machine = _Machine()
    machine.stack.append({})
    machine.update(items)
    return machine.pop()


_IGNORED = {"PROTO", "FRAME"}
_PUSHED: Mapping[str, Callable[[Any], Any]] = {
    **dict.fromkeys(
        ("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT",
         "BINBYTES", "SHORT_BINBYTES", "BINBYTES8",
         "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
        lambda argument: argument,
    ),
    **dict.fromkeys(
        ("STRING", "BINSTRING", "SHORT_BINSTRING"), lambda argument: argument.encode("latin1")
    ),
    "NONE": lambda _: None,
    "NEWTRUE": lambda _: True,
    "NEWFALSE": lambda _: False,
    "EMPTY_LIST": lambda _: [],
    "EMPTY_DICT": lambda _: {},
    "EMPTY_TUPLE": lambda _: (),
}  # fmt: skip
_OPERATIONS: Mapping[str, Callable[[_Machine, Any], Any]] = {
    "MARK": lambda machine, _: machine.marks.append(len(machine.stack)),
    "TUPLE": lambda machine, _: machine.stack.append(tuple(machine.pop_marked())),
    "TUPLE1": lambda machine, _: machine.push_tuple(1),
    "TUPLE2": lambda machine, _: machine.push_tuple(2),
    "TUPLE3": lambda machine, _: machine.push_tuple(3),
    "LIST": lambda machine, _: machine.stack.append(machine.pop_marked()),
    "DICT": lambda machine, _: machine.stack.append(_dict_of(machine.pop_marked())),
    "APPEND": lambda machine, _: machine.extend([machine.pop()]),
    "APPENDS": lambda machine, _: machine.extend(machine.pop_marked()),
    "SETITEM": lambda machine, _: machine.update([machine.pop(), machine.pop()][::-1]),
    "SETITEMS": lambda machine, _: machine.update(machine.pop_marked()),
    **dict.fromkeys(
        ("PUT", "BINPUT", "LONG_BINPUT"),
        lambda machine, number: machine.memory.update({number: machine.stack[-1]}),
    ),
    "MEMOIZE": lambda machine, _: machine.memory.update({len(machine.memory): machine.stack[-1]}),
    **dict.fromkeys(
        ("GET", "BINGET", "LONG_BINGET"),
        lambda machine, number: machine.stack.append(machine.memory[number]),
    ),
    "GLOBAL": lambda machine, name: machine.push_global(name.replace(" ", ".")),
    "STACK_GLOBAL": lambda machine, _: machine.push_global(
        ".".join([machine.pop(), machine.pop()][::-1])
    ),
    "REDUCE": lambda machine, _: machine.call(),
    "BUILD": lambda machine, _: machine.set_state(),
}
