"""Runs a function in a process of its own, whose peak memory is then that of the function."""

import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import Any


def in_new_process(function: Callable, *arguments: Any) -> Any:
    """Calls a function of a module in a fresh process; raises what it raises."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()
