"""Compiled programs: shared whenever they are equal, and run on several devices side by side.

`jax.jit` compiles again for every new function object: a fresh `optax.adam(0.1)`, a fresh lambda.
`Program` lowers such a function, which takes a fraction of a second, and lets the program's text
decide: an equal text is compiled once.

Devices that share a batch run the same program, each on its own rows. No communication between them
is compiled in, whatever operations the program has. By itself, XLA would gather all images for a
filter's FFT, and every update would wait until all devices know whether any image still moves.

Code of other libraries may rely on JAX's default promotion of types and ranks, which ours does not;
`standard_promotion` allows it while such code is traced. TPUs round the factors of products to
bfloat16 and pad the last axes of arrays; `full_precision` and `on_vectors` are for what cannot bear
it.
"""

import contextlib
import functools
import hashlib
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any, TypeGuard, TypeVar, cast

import jax
import optax
from jax.core import Tracer
from jax.flatten_util import ravel_pytree
from jax.sharding import (
    AxisType,
    Mesh,
    NamedSharding,
    PartitionSpec,
    Sharding,
    SingleDeviceSharding,
)

from imgopt.errors import InputError

KEPT_PROGRAMS = 256
"""Programs whose texts are remembered."""

KEPT_CALLS = 8
"""Last static arguments whose program is known without lowering it again."""

IMAGES_AXIS = "images"
"""Name of the only axis of a mesh of devices."""

Devices = int | Sequence[jax.Device]
"""Devices that share a batch: the number of this process's devices, or the devices themselves.

Programs can be compiled, but not run, for devices that are only described, as by
`jax.experimental.topologies`.
"""

Place = Mesh | jax.Device | None
"""Where a program runs: on several devices, on a certain one, or where JAX puts it."""

Tree = TypeVar("Tree")


class Program:
    """A jitted function(static, *arrays), which compiles equal programs once.

    Args:
        function: takes a hashable static value, then pytrees of arrays. The static value must hold
            no weights that may change: it is traced once.
        donate_argnums: as in `jax.jit`.
    """

    def __init__(self, function: Callable, *, donate_argnums: int | tuple[int, ...] = ()) -> None:
        functools.update_wrapper(self, function)
        self._function = function
        numbers = (donate_argnums,) if isinstance(donate_argnums, int) else donate_argnums
        self._donated = tuple(number - 1 for number in numbers)
        self._known: dict[Hashable, Any] = {}
        self._of_text: dict[Hashable, Any] = {}

    def __call__(self, static: Hashable, *arrays: Any) -> Any:
        """Calls the compiled function, or the function itself while JAX traces."""
        if any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(arrays)):
            return self._function(static, *arrays)
        return self._jitted(static, arrays)(*arrays)

    def lower(self, static: Hashable, *arrays: Any) -> jax.stages.Lowered:
        """Lowers the function, as `jax.jit` does; compiling the result compiles for all calls."""
        return self._jitted(static, arrays).lower(*arrays)

    def _jitted(self, static: Any, arrays: tuple) -> Any:
        """The jitted function of an equal program that came first, or a new one."""
        leaves, structure = jax.tree.flatten(arrays)
        key = (static, structure, tuple(map(_description, leaves)))
        if (jitted := self._known.get(key)) is None:
            # A function of its own, since JAX keeps what it has traced as long as the function.
            own = functools.wraps(self._function)(functools.partial(self._function, static))
            jitted = jax.jit(own, donate_argnums=self._donated)
            lowered = jitted.lower(*arrays)
            text = lowered.as_text()
            # Two host callbacks can have one text: the text holds a number of the callback only.
            if "callback" not in text:
                # The text does not show how the arrays are nested.
                nested = structure, jax.tree.structure(lowered.out_info)
                program = (hashlib.sha256(text.encode()).hexdigest(), *nested)
                jitted = _remember(self._of_text, program, jitted, KEPT_PROGRAMS)
            _remember(self._known, key, jitted, KEPT_CALLS)
        return jitted


def _description(leaf: Any) -> Hashable:
    return jax.typeof(leaf), getattr(leaf, "sharding", None)


def _remember(table: dict[Hashable, Any], key: Hashable, value: Any, kept: int) -> Any:
    """Enters a value unless there is one, forgets the oldest, returns the entry."""
    found = table.setdefault(key, value)
    if len(table) > kept:
        table.pop(next(iter(table)), None)
    return found


def check_device_count(devices: int) -> None:
    """Raises InputError unless this process has that many devices.

    Example:
        >>> check_device_count(1)
    """
    found = jax.local_devices()
    if not isinstance(devices, int) or not 1 <= devices <= len(found):
        raise InputError(
            f"devices must be at least 1 and at most {len(found)}, the number that this process "
            f"has ({found[0].device_kind}); got {devices}"
        )


def are_named(devices: Any) -> TypeGuard[Sequence[Any]]:
    """Whether the devices themselves are given, and not their number."""
    return isinstance(devices, list | tuple) and len(devices) > 0


def check_devices(devices: Devices, *, batch_size: int) -> None:
    """Raises InputError unless the devices are there and a batch divides by their number.

    Args:
        devices: the devices that share a batch.
        batch_size: number of images in a batch, at least 1.
    """
    if are_named(devices):
        count = len(devices)
    else:
        check_device_count(cast(int, devices))
        count = cast(int, devices)
    if batch_size % count:
        larger = batch_size + -batch_size % count
        raise InputError(
            f"the batch size must be a multiple of the {count} devices that share a batch, got "
            f"{batch_size}; take {larger}"
        )


def choose_place(devices: Devices, *, axis: str = IMAGES_AXIS) -> Place:
    """Chooses where a program runs: a mesh, a named device, or None for the number 1."""
    if are_named(devices) and len(devices) == 1:
        return devices[0]
    if devices == 1:
        return None
    chosen = list(devices) if are_named(devices) else jax.local_devices()[: cast(int, devices)]
    return jax.make_mesh((len(chosen),), (axis,), axis_types=(AxisType.Auto,), devices=chosen)


def platform_of(place: Place) -> str:
    """Name of the platform on which a program runs, such as "cpu", "cuda" or "tpu"."""
    if place is None:
        return jax.default_backend()
    return (place.devices.flat[0] if isinstance(place, Mesh) else place).platform


def sharding(place: Place, *, by_row: bool) -> Sharding | None:
    """The layout of arrays: split by row over a mesh (`by_row`), or whole on every device."""
    if place is None:
        return None
    if not isinstance(place, Mesh):
        return SingleDeviceSharding(place)
    return NamedSharding(place, PartitionSpec(*place.axis_names) if by_row else PartitionSpec())


def shapes_on(tree: Any, place: Place, *, by_row: bool) -> Any:
    """Shapes and types of arrays that lie as `sharding` says, for lowering a program."""
    layout = sharding(place, by_row=by_row)
    return jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=layout), tree
    )


def put(tree: Tree, place: Place, *, by_row: bool) -> Tree:
    """Puts arrays where a program runs, laid out as `sharding` says; by default they stay."""
    return tree if place is None else jax.device_put(tree, sharding(place, by_row=by_row))


def on_each_device(function: Callable[..., Tree], place: Place) -> Callable[..., Tree]:
    """Makes function(shared, *rows) run on every device of a mesh, each with its own rows.

    Args:
        function: takes arrays that all rows share, then pytrees of arrays with one row an image,
            and returns arrays with one row an image. Traced by JAX.
        place: the mesh; without one the function is returned as it is.
    """
    if not isinstance(place, Mesh):
        return function
    by_row, whole = PartitionSpec(IMAGES_AXIS), PartitionSpec()

    def run(shared: Any, *rows: Any) -> Tree:
        in_specs = (whole, *[by_row for _ in rows])
        # check_vma would refuse operations of a user's classifier for which JAX has no rule.
        mapped = jax.shard_map(
            function, mesh=place, in_specs=in_specs, out_specs=by_row, check_vma=False
        )
        return mapped(shared, *rows)

    return run


@contextlib.contextmanager
def standard_promotion() -> Iterator[None]:
    """Calls inside this context promote types and ranks as JAX does by default.

    Our own code works under jax_numpy_dtype_promotion="strict" and
    jax_numpy_rank_promotion="raise". Optax does not (Adam computes b1**count, a float to the power
    of an integer array), nor do Flax's normalisations in bfloat16 (their statistics are float32).
    """
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


@contextlib.contextmanager
def full_precision() -> Iterator[None]:
    """Products of float32 that are traced inside this context are computed in float32.

    By default TPUs round the factors to bfloat16, and NVIDIA GPUs to TF32. CPUs do neither.
    """
    with jax.default_matmul_precision("highest"):
        yield


def on_vectors(optimizer: optax.GradientTransformation) -> optax.GradientTransformationExtraArgs:
    """Gives an update rule its weights as one vector, so that its state holds vectors.

    An image's last axes, width and channel, are short; a TPU would pad a state of images to several
    times its size, and move all of that at every update. The rule gets `value` and `grad` too.
    """
    rule = optax.with_extra_args_support(optimizer)

    def init(params: Any) -> Any:
        return rule.init(ravel_pytree(params)[0])

    def update(updates: Any, state: Any, params: Any = None, **extra: Any) -> tuple[Any, Any]:
        vector, unravel = ravel_pytree(updates)
        change: Any
        weights, gradient = (ravel_pytree(tree)[0] for tree in (params, extra["grad"]))
        change, state = rule.update(vector, state, weights, value=extra["value"], grad=gradient)
        return unravel(change), state

    return optax.GradientTransformationExtraArgs(init, update)
