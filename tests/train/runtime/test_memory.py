"""Memory: XLA's plan, the check of a batch, and the messages if it does not fit."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from train.classifier_training import ClassifierLearner
from train.classifiers import ClassifierSpec
from train.loop import STEPS_PER_CALL, FitOptions, compile_steps, fit
from train.recipes.train_options import Budget, TrainConfig
from train.runtime import memory
from train.runtime.memory import (
    FITTING_SHARE,
    Footprint,
    check_batch_fits,
    choose_batch_size,
    explaining_out_of_memory,
    footprint,
)
from train.training_sets import TrainData

MIB, GIB = 2**20, 2**30


@functools.partial(jax.jit, donate_argnums=1)
def multiply(kernel, rows):
    return jnp.sin(rows @ kernel)


def compiled(count):
    return multiply.lower(jnp.ones((64, 64)), jnp.ones((count, 64))).compile()


def test_a_footprint_counts_arguments_and_results_but_donated_ones_once():
    found = footprint(compiled(32), batch_size=32, fixed=jnp.ones((64, 64)))
    assert found.fixed_bytes == 64 * 64 * 4
    assert found.needed_bytes >= 64 * 64 * 4 + 32 * 64 * 4
    assert found.needed_bytes <= 64 * 64 * 4 + 3 * 32 * 64 * 4
    assert found.batch_size == 32


def test_what_lies_beside_the_program_is_needed_too():
    alone, beside = (footprint(compiled(32), batch_size=32, beside=x) for x in ((), np.ones(9)))
    assert beside.needed_bytes == alone.needed_bytes + 9 * 8
    assert beside.fixed_bytes == alone.fixed_bytes + 9 * 8


def test_what_is_not_fixed_grows_with_the_batch():
    fixed = jax.ShapeDtypeStruct((64, 64), jnp.float32)
    small, large = (footprint(compiled(n), batch_size=n, fixed=fixed) for n in (64, 256))
    grown = (large.needed_bytes - large.fixed_bytes) / (small.needed_bytes - small.fixed_bytes)
    assert grown == pytest.approx(4, rel=0.05)


def test_a_batch_that_fits_is_nothing_to_speak_of(monkeypatch):
    monkeypatch.setattr(memory, "device_memory_bytes", lambda: 4 * GIB)
    check_batch_fits(lambda n: Footprint(4 * GIB, GIB, n), 64)
    with pytest.raises(ValueError, match="batch of 64"):
        check_batch_fits(lambda n: Footprint(4 * GIB + 1, GIB, n), 64)


@pytest.mark.parametrize(
    ("found", "message"),
    [
        # 5 GiB are left for the batch; an image takes 1/4 GiB.
        (Footprint(11 * GIB, GIB, 40), "batch of 40 .*11 GiB.* has 6 GiB; about 20 would fit"),
        (Footprint(11 * GIB, 7 * GIB, 40), "has 6 GiB; not even one image would fit"),
        (Footprint(7 * GIB, 7 * GIB, 40), "not even one image would fit"),
        (Footprint(3 * 2**50, 0, 3), "3.07e[+]03 TiB"),
    ],
)
def test_a_batch_that_does_not_fit_is_named_with_what_would(found, message, monkeypatch):
    monkeypatch.setattr(memory, "device_memory_bytes", lambda: 6 * GIB)
    with pytest.raises(ValueError, match=message):
        check_batch_fits(lambda _: found, found.batch_size)


def test_a_cpu_that_is_divided_has_its_memory_once(monkeypatch):
    monkeypatch.setattr(memory, "device_memory_bytes", lambda: 6 * GIB)
    check_batch_fits(lambda n: Footprint(GIB, 0, n, devices=4), 64)
    with pytest.raises(ValueError, match=r"batch of 64 needs about 8 GiB.*about 48 would fit"):
        check_batch_fits(lambda n: Footprint(2 * GIB, 0, n, devices=4, step=4), 64)


def test_running_out_on_the_way_is_explained(monkeypatch):
    monkeypatch.setattr(memory, "device_memory_bytes", lambda: 6 * GIB)
    message = "out of memory: a batch of 64 needs .*about 32 would fit: lower --batch-size"
    with (
        pytest.raises(ValueError, match=message),
        explaining_out_of_memory(lambda n: Footprint(GIB, 0, n), 64),
    ):
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: out of memory")


@pytest.mark.parametrize("error", [jax.errors.JaxRuntimeError("INTERNAL: x"), KeyError("x")])
def test_other_errors_are_left_as_they_are(error):
    def refuse(_):
        raise AssertionError("nobody asked")

    with pytest.raises(type(error), match="x"), explaining_out_of_memory(refuse, 8):
        raise error


def test_devices_that_share_no_batch_need_no_multiple_of_their_number(monkeypatch):
    monkeypatch.setattr(memory, "device_memory_bytes", lambda: 3 * GIB)
    with pytest.raises(ValueError, match=r"has 3 GiB; about 3 would fit"):
        check_batch_fits(lambda n: Footprint(n * GIB // 4, 0, n, devices=4), 8)


# ---- a batch is chosen; a TPU's compiler refuses what does not fit


class Device:
    """A made-up device; records the batch sizes that it compiles.

    An image takes 1 MiB, all of them another 10.
    """

    def __init__(self, memory_mib, *, refuses_above=2**30, step=1):
        self.room, self.refuses_above, self.step = int(memory_mib * MIB), refuses_above, step
        self.compiled = []

    def estimate(self, batch_size):
        batch_size = max(batch_size // self.step, 1) * self.step
        self.compiled.append(batch_size)
        if batch_size > self.refuses_above:
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Ran out of memory on HBM\nmore")
        return Footprint((10 + batch_size) * MIB, 10 * MIB, batch_size, step=self.step)


@pytest.fixture
def device(monkeypatch):
    def make(memory_mib, **options):
        made = Device(memory_mib, **options)
        monkeypatch.setattr(memory, "device_memory_bytes", lambda: made.room)
        return made

    return make


@pytest.mark.parametrize("images", [1, 3, 100, 256, 5000])
@pytest.mark.parametrize("memory_mib", [12, 20, 130, 223, 224, 1000, 10_000])
@pytest.mark.parametrize("refuses_above", [1, 40, 2**30])
def test_a_chosen_batch_is_the_largest_power_of_two_that_takes_its_share(
    images, memory_mib, refuses_above, device
):
    here = device(memory_mib, refuses_above=refuses_above)
    chosen = choose_batch_size(here.estimate, images=images, most=256)
    runs = min(chosen, images)
    assert here.compiled[-1] == runs  # the program of the job
    assert runs <= refuses_above
    assert 10 + runs <= max(FITTING_SHARE * memory_mib, 11)
    assert chosen in (1, 2, 4, 8, 16, 32, 64, 128, 256)
    if FITTING_SHARE * memory_mib >= 10 + 256 and refuses_above > 256:
        assert (chosen, len(here.compiled)) == (256, 1)
    elif images == 5000 and chosen < 256:
        twice = 2 * chosen
        assert twice > refuses_above or 10 + twice > FITTING_SHARE * memory_mib


def test_where_not_one_image_fits_none_is_chosen(device):
    with pytest.raises(ValueError, match=r"a batch of 1 needs about 11 MiB .* not even one image"):
        choose_batch_size(device(10.5).estimate, images=9, most=8)
    here = device(99, refuses_above=0)
    with pytest.raises(ValueError, match=r"^not even one image would fit: .*Ran out .* HBM\)$"):
        choose_batch_size(here.estimate, images=9, most=8)


def test_a_batch_that_does_not_compile_is_named_with_what_would(device):
    here = device(130, refuses_above=110)
    with pytest.raises(ValueError, match=r"batch of 400 needs about 410 MiB .*about 120 would fit"):
        check_batch_fits(here.estimate, 400)
    assert here.compiled == [400, 200, 100]
    with pytest.raises(ValueError, match="about 63 would fit"):  # 64 were refused
        check_batch_fits(device(130, refuses_above=40).estimate, 256)
    with pytest.raises(ValueError, match="about 60 would fit"):
        check_batch_fits(device(130, refuses_above=40, step=4).estimate, 256)
    with pytest.raises(jax.errors.JaxRuntimeError, match="INTERNAL"):
        check_batch_fits(lambda _: _raise(jax.errors.JaxRuntimeError("INTERNAL: x")), 4)


def test_a_program_that_does_not_compile_on_the_way_is_explained(device):
    here = device(130, refuses_above=40)
    message = "out of memory: a batch of 64 needs about 74 MiB .*about 32 would fit"
    with pytest.raises(ValueError, match=message), explaining_out_of_memory(here.estimate, 64):
        here.estimate(64)


def _raise(error):
    raise error


def test_a_device_tells_its_limit(monkeypatch):
    class Device:
        def memory_stats(self):
            return {"bytes_limit": 123, "bytes_in_use": 7}

    monkeypatch.setattr(jax, "local_devices", lambda: [Device()])
    assert memory.device_memory_bytes() == 123


@pytest.mark.parametrize("has_meminfo", [True, False])
def test_a_cpu_has_what_the_operating_system_tells(has_meminfo, monkeypatch, tmp_path):
    meminfo = tmp_path / "meminfo"
    if has_meminfo:
        meminfo.write_text("MemTotal:  99 kB\nMemAvailable:    5 kB\nHugePages_Free:  0\n")
    monkeypatch.setattr(memory, "MEMINFO", meminfo)
    monkeypatch.setattr(memory.os, "sysconf", {"SC_PHYS_PAGES": 3, "SC_PAGE_SIZE": 4096}.get)
    assert memory.device_memory_bytes() == (5 * 1024 if has_meminfo else 3 * 4096)


@pytest.mark.slow
def test_training_steps_compiled_ahead_are_those_that_run(tiny_networks, compilations):
    spec = ClassifierSpec(tiny_networks[1], 1.0, ("a", "b"), (4, 6, 3), (0.5,) * 3, (0.25,) * 3)
    learner = ClassifierLearner(spec, TrainConfig(learning_rate=0.0125))
    data = TrainData(
        images=np.zeros((12, 4, 6, 3), np.uint8),
        labels=np.arange(12, dtype=np.int32) % 2,
        teacher_outputs=np.zeros((12, 2), np.float32),
        is_generated=np.zeros(12, bool),
    )
    groups = {"even": np.arange(0, 12, 2), "odd": np.arange(1, 12, 2)}
    with compilations() as names:
        for given in (None, groups):
            options = FitOptions(groups=given, constants=np.int32(3))
            program = compile_steps(learner, data, Budget(4, epochs=1), options)
            assert footprint(program, batch_size=4).needed_bytes > STEPS_PER_CALL * 4 * 4 * 6 * 3
            list(fit(jax.random.key(0), learner, data, Budget(4, epochs=1), options))
    assert names.count("run_steps") == 2
