"""Fixtures for all tests: checked annotations, PyTorch's reference vectors, CIFAR-10."""

import contextlib
import gc
import os
import re
from pathlib import Path
from typing import Any

import jaxtyping
import pytest

# Before anything imports JAX, and for the processes that tests start: nothing is promoted silently.
os.environ["JAX_NUMPY_RANK_PROMOTION"] = "raise"
os.environ["JAX_NUMPY_DTYPE_PROMOTION"] = "strict"

# Compiling takes most of the tests' time, so XLA optimises little, here and in processes that tests
# start; see also QUICK_COMPILATION. Set it to 0, as `make soak` does, and all is compiled as users
# compile.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")

# Commands keep no compiled programs but in a directory of the tests: see `pytest_configure`.
os.environ["ELICIT_COMPILATION_CACHE"] = "off"

# `make test-all` checks every annotation of shape and type on call. The hook must stand before
# anything imports the packages, and makes importing them slow.
# PEP 484's tower lets an int pass where a float is asked for, as type checkers do.
if os.environ.get("ELICIT_CHECK_ANNOTATIONS") == "1":
    jaxtyping.install_import_hook(
        ["imgopt", "train", "gans"],
        "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))",
    )

import jax
import numpy as np
from jax._src import compiler

from experiments.console.compilation import keep_compiled

MAPPINGS = Path("/proc/self/maps")
MOST_MAPPINGS = 25_000

COMPILED = Path(__file__).parents[1] / ".pytest_cache" / "compiled"
"""Compiled programs of this and earlier test runs: with them a run takes about half the time."""

QUICK_COMPILATION = {
    "xla_cpu_use_fusion_emitters": False,  # LLVM builds the loops; it is twice as fast as MLIR
    "xla_cpu_parallel_codegen_split_count": 1,  # every core has tests of its own
}
"""XLA's options in this process where it optimises little."""

compile_options = compiler.get_compile_options


def quick_compile_options(*args: Any, **options: Any) -> Any:
    """JAX's options for XLA and QUICK_COMPILATION; JAX has no public way to set them for all."""
    found = compile_options(*args, **options)
    if jax.config.read("jax_disable_most_optimizations"):
        found.env_option_overrides = [*found.env_option_overrides, *QUICK_COMPILATION.items()]
    return found


def pytest_configure():
    """Keeps compiled programs of test processes alone: one that is killed could leave a part."""
    keep_compiled(COMPILED)
    compiler.get_compile_options = quick_compile_options


@pytest.fixture(autouse=True, scope="module")
def few_programs():
    """Drops compiled programs that are kept, before Linux gives this process no more mappings.

    A program of the CPU takes several; at 65,530 of them the next compilation is a segmentation
    fault.
    """
    yield
    if MAPPINGS.is_file() and MAPPINGS.read_text().count("\n") > MOST_MAPPINGS:
        jax.clear_caches()
        gc.collect()


@pytest.fixture
def unchecked():
    """Runs a test as users run the library, with annotations that nobody checks."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture
def compilations(caplog):
    """A context manager giving the names of all functions that JAX compiles inside it."""

    @contextlib.contextmanager
    def record():
        names = []
        caplog.clear()
        with jax.log_compiles():
            yield names
        names += re.findall(r"Finished XLA compilation of jit\((.*)\) in", caplog.text)

    return record


@pytest.fixture(scope="module")
def compiled_as_users_do():
    """Lets XLA optimise as it does for users: for tests of bits, references and whole programs."""
    before = jax.config.read("jax_disable_most_optimizations")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAX_DISABLE_MOST_OPTIMIZATIONS", "0")
        _set_optimizations(disabled=False)
        yield
    _set_optimizations(disabled=before)


def _set_optimizations(*, disabled: bool) -> None:
    """Drops compiled programs too: the bits of one kind of program are not those of the other."""
    jax.clear_caches()
    jax.config.update("jax_disable_most_optimizations", disabled)


@pytest.fixture(scope="module")
def tiny_networks():
    """Two more architectures, quick to compile: "tiny" with batch norm and "plain" without."""
    from train.models.networks import NETWORKS, Architecture

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(NETWORKS, "tiny", Architecture((6, "M")))
        patch.setitem(NETWORKS, "plain", Architecture((6, "M"), hidden=(5,), batch_norm=False))
        yield ("tiny", "plain")


@pytest.fixture(scope="session")
def vectors():
    """Synthesis, losses and layers as PyTorch computes them in float64."""
    with np.load(Path(__file__).parent / "references" / "pytorch.npz") as arrays:
        return dict(arrays)


@pytest.fixture(scope="session")
def cifar10_dir():
    """The TFDS data directory in ELICIT_TEST_DATA; without it the test is skipped."""
    place = os.environ.get("ELICIT_TEST_DATA")
    if not place or not (Path(place) / "cifar10").exists():
        pytest.skip("ELICIT_TEST_DATA names no directory with cifar10 in it")
    return Path(place)
