"""One job of several processes, on one host or many: how they find each other, and how they part.

`jax.distributed` connects them. It is never started unasked: a login node of a cluster looks like
the cluster. Process 0 is where the others register, so it is the last to leave.
"""

import contextlib
import os
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import jax
from jax.experimental import multihost_utils

from imgopt.errors import InputError
from train.runtime.processes import is_first_process, meet

HEARTBEAT_SECONDS = 30
"""A process that is silent for so long has ended, for all others; JAX's own default is 100."""

LEAVING_SECONDS = 10
"""So long the first process, when it stops early, lets the others stop before it."""

CONNECTION_SECONDS = 300
"""So long the first of the processes wait for the last to start."""

NO_CLUSTER = "should be defined"
"""In what JAX says where it finds neither options nor a cluster."""


@dataclass(frozen=True)
class HostsConfig:
    """Several processes that do one job, each started with the same command."""

    distributed: Literal["off", "auto", "on"] = "off"
    """on: with Slurm, GKE or a TPU pod, which JAX finds by itself, or else with the three options
    below; auto: likewise, but one process alone where there is no cluster."""
    coordinator: str | None = None
    """Address of process 0, as host:port with a free port, on plain hosts."""
    processes: int | None = None
    """How many there are, on plain hosts."""
    process: int | None = None
    """Number of this one, from 0, on plain hosts."""

    def __post_init__(self) -> None:
        """Raises InputError for options that do not go together."""
        given = {name: getattr(self, name) for name in ("coordinator", "processes", "process")}
        lacking = [f"--{name}" for name, value in given.items() if value is None]
        if lacking and len(lacking) < len(given):
            raise InputError(f"{' and '.join(lacking)} must be given too, on plain hosts")
        if not lacking and self.distributed == "off":
            raise InputError("--coordinator, --processes and --process need --distributed on")
        if self.coordinator is not None and not self.coordinator.rpartition(":")[2].isdecimal():
            raise InputError(f"coordinator must be such as host:1234, got {self.coordinator!r}")
        if self.processes is not None and self.process is not None:
            self._check_number(self.processes, self.process)

    def _check_number(self, processes: int, process: int) -> None:
        if not 0 <= process < processes:
            raise InputError(
                f"process must be at least 0 and below the {processes} processes, got {process}"
            )


@contextlib.contextmanager
def connected(config: HostsConfig) -> Iterator[None]:
    """Connects this process with the others of its job, and parts from them at the end.

    After an error it does not: call `leave_at_once`.

    Args:
        config: how.

    Raises:
        InputError: there is no cluster, or the processes do not come together.
    """
    if config.distributed == "off" or not _connect(config):
        yield
        return
    print(f"process {jax.process_index()} of {jax.process_count()}", flush=True)
    yield
    meet()
    _outlast_the_others()
    jax.distributed.shutdown()


def leave_at_once(status: int, *, has_lost_another: bool = False) -> None:
    """Ends this process, if it is one of several, and hardly waits for the others.

    Python's own end would have JAX wait for processes that may wait for this one.

    Args:
        status: of the process.
        has_lost_another: whether that is why it ends; there may then be nobody to take leave of.
    """
    if not jax.distributed.is_initialized():
        return
    sys.stdout.flush()
    sys.stderr.flush()
    if is_first_process():
        waiting = threading.Thread(target=_outlast_the_others, daemon=True)
        waiting.start()
        waiting.join(LEAVING_SECONDS)
    elif not has_lost_another:
        jax.distributed.shutdown()
    os._exit(status)


def _connect(config: HostsConfig) -> bool:
    """Connects; gives False where there is nobody to connect with, and that is no error."""
    # The end of another process must not be ours: its work is then missing, ours is not. And
    # signals are ours too.
    jax.config.update("jax_enable_recoverability", True)
    jax.config.update("jax_enable_preemption_service", False)
    try:
        jax.distributed.initialize(
            config.coordinator,
            config.processes,
            config.process,
            initialization_timeout=CONNECTION_SECONDS,
            heartbeat_timeout_seconds=HEARTBEAT_SECONDS,
        )
    except (ValueError, RuntimeError) as error:
        if NO_CLUSTER not in str(error):
            raise InputError(f"the processes of the job did not come together: {error}") from error
        if config.distributed == "auto":
            return False
        raise InputError(
            "--distributed on found no cluster (Slurm, GKE, a TPU pod); on plain hosts give "
            "--coordinator HOST:PORT --processes N --process I"
        ) from error
    return True


def _outlast_the_others() -> None:
    """In the first process, with which all are registered, waits until they have left.

    They would take the end of its service for an error.
    """
    if is_first_process():
        with (
            contextlib.suppress(multihost_utils.ProcessFailureError),
            multihost_utils.live_devices(jax.devices()),
        ):
            pass
