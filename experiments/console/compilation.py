"""Counts compiled programs and the time for them, and caches them in a directory."""

import contextlib
import hashlib
import os
import platform
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import jax

from imgopt.errors import InputError
from train.runtime.memory import peak_bytes

COMPILED = "/jax/core/compile/backend_compile_duration"
"""JAX's event for each program that is compiled or taken from the cache."""

TAKEN_FROM_CACHE = "/jax/compilation_cache/cache_hits"

CPUINFO = Path("/proc/cpuinfo")

CACHE_VARIABLE = "ELICIT_COMPILATION_CACHE"
"""Environment variable that names the directory for compiled programs; "off": none are kept."""

MOST_BYTES = 2 * 2**30
"""Size that the directory of a kind of machine may have when a command starts."""


@dataclass
class Compilations:
    """Counts of compiled programs so far.

    Attributes:
        programs: number of programs.
        from_cache: number of them that came from the cache.
        seconds: time in XLA or for reading the cache, without tracing in Python.
    """

    programs: int = 0
    from_cache: int = 0
    seconds: float = 0.0


@contextlib.contextmanager
def counted_compilations() -> Iterator[Compilations]:
    """Counts the programs that are compiled inside the context."""
    counted = Compilations()

    def note_duration(event: str, duration_secs: float, **_: Any) -> None:
        if event == COMPILED:
            counted.programs += 1
            counted.seconds += duration_secs

    def note_event(event: str, **_: Any) -> None:
        counted.from_cache += event == TAKEN_FROM_CACHE

    jax.monitoring.register_event_duration_secs_listener(note_duration)
    jax.monitoring.register_event_listener(note_event)
    try:
        yield counted
    finally:
        jax.monitoring.unregister_event_duration_listener(note_duration)
        jax.monitoring.unregister_event_listener(note_event)


def timing(began: float, compiled: Compilations) -> dict[str, float]:
    """Gives the fields of a result for time and memory; times are those of the last session.

    Args:
        began: `time.monotonic()` at the beginning of the session.
        compiled: counts since then.
    """
    return {
        "seconds_of_last_session": round(time.monotonic() - began, 1),
        "compilation_seconds_of_last_session": round(compiled.seconds, 1),
        "peak_memory_mib": round(peak_bytes() / 2**20),
    }


def keep_compiled_as_set() -> None:
    """Makes JAX cache compiled programs where the environment variable says, else below the home.

    Raises:
        InputError: other users may write to the directory that the variable names.
    """
    named = os.environ.get(CACHE_VARIABLE)
    if named is not None:
        if named not in ("", "off"):
            keep_compiled(Path(named))
        return
    try:
        own = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        keep_compiled(Path(own) / "elicit" / "compiled")
    except InputError as error:
        warnings.warn(f"compiled programs are not kept: {error}", stacklevel=2)
    except (OSError, RuntimeError):
        pass  # no home, or one that cannot be written to, as in containers, is nothing to say


def keep_compiled(directory: Path) -> None:
    """Makes JAX cache compiled programs in a directory.

    Code for one processor can crash another, and JAX's own key does not tell all processors apart.
    So each kind of machine has a directory of its own inside, and machines may share a home.
    Programs that were not used for the longest time are deleted first if a kind's directory is
    larger than `MOST_BYTES`.

    Args:
        directory: the cache; made if missing, for its owner only.

    Raises:
        InputError: other users may write to it, and could so make this process run their code.
    """
    for place in (directory, directory / _machine()):
        place.mkdir(parents=True, exist_ok=True, mode=0o700)
        status = place.stat()
        if status.st_uid != os.getuid() or status.st_mode & 0o022:
            raise InputError(
                f"{place} must be yours, and writable by you alone: what lies there is run as "
                f"code. Try: chmod go-w {place}, or name another directory"
            )
    _delete_oldest(place)
    jax.config.update("jax_compilation_cache_dir", str(place))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)


def _delete_oldest(directory: Path) -> None:
    """Deletes the files that were not used for longest, until the rest fits."""
    files = []
    for path in directory.iterdir():
        with contextlib.suppress(FileNotFoundError):  # another process may delete, too
            status = path.stat()
            files.append((max(status.st_atime, status.st_mtime), status.st_size, path))
    size = sum(each[1] for each in files)
    for _, own, path in sorted(files):
        if size <= MOST_BYTES:
            return
        path.unlink(missing_ok=True)
        size -= own


def _machine() -> str:
    """Gives a name that is equal for machines that can run each other's compiled code."""
    fields = ("model name", "flags", "Features", "CPU part")  # on x86, and the last two on ARM
    lines = CPUINFO.read_text().splitlines() if CPUINFO.is_file() else [platform.node()]
    processor = sorted({line for line in lines if line.startswith(fields)}) or lines
    what = [platform.system(), platform.machine(), metadata.version("jaxlib"), *processor]
    return hashlib.sha256("\n".join(what).encode()).hexdigest()[:16]
