"""One job of several processes on one or more machines: connects and disconnects them.

`jax.distributed` connects them, only if an option asks for it: a login node of a cluster looks like
the cluster. The other processes register with process 0, so it is the last to leave.
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
from train.runtime.processes import is_first_process, wait_for_live

HEARTBEAT_SECONDS = 30
"""Silence after which a process counts as ended; JAX's own default is 100."""

LEAVING_SECONDS = 10
"""Time that process 0 gives the others to stop first, when it stops early."""

CONNECTION_SECONDS = 300
"""Time that processes wait for the last one to start."""

NO_CLUSTER = "should be defined"
"""Part of JAX's message if it finds neither options nor a cluster."""


@dataclass(frozen=True)
class DistributedConfig:
    """Several processes that do one job, each started with the same command."""

    distributed: Literal["off", "auto", "on"] = "off"
    """on: JAX finds the other processes by Slurm, GKE or a TPU pod, or by the three options below;
    auto: the same, but without a cluster the process runs alone."""
    coordinator: str | None = None
    """Address of process 0, as host:port with a free port; without a cluster."""
    processes: int | None = None
    """Number of processes; without a cluster."""
    process: int | None = None
    """Number of this process, from 0; without a cluster."""

    def __post_init__(self) -> None:
        """Raises InputError for options that do not fit together."""
        given = {name: getattr(self, name) for name in ("coordinator", "processes", "process")}
        lacking = [f"--{name}" for name, value in given.items() if value is None]
        if lacking and len(lacking) < len(given):
            raise InputError(f"{' and '.join(lacking)} must be given too, without a cluster")
        if not lacking and self.distributed == "off":
            raise InputError("--coordinator, --processes and --process need --distributed on")
        if self.coordinator is not None and not self.coordinator.rpartition(":")[2].isdecimal():
            raise InputError(f"coordinator must be such as host:1234, got {self.coordinator!r}")
        processes, process = self.processes, self.process
        if processes is not None and process is not None and not 0 <= process < processes:
            raise InputError(
                f"process must be at least 0 and below the {processes} processes, got {process}"
            )


@contextlib.contextmanager
def connected(config: DistributedConfig) -> Iterator[None]:
    """Connects this process with the others of its job, and disconnects it at the end.

    After an error it stays connected: call `leave_at_once`.

    Args:
        config: the options.

    Raises:
        InputError: there is no cluster, or the processes cannot connect.
    """
    if config.distributed == "off" or not _connect(config):
        yield
        return
    print(f"process {jax.process_index()} of {jax.process_count()}", flush=True)
    yield
    wait_for_live()
    _outlast_the_others()
    jax.distributed.shutdown()


def leave_at_once(status: int, *, has_lost_another: bool = False) -> None:
    """Ends this process, if it is one of several, with a short wait for the others.

    At Python's normal end JAX would wait for processes that may be waiting for this one.

    Args:
        status: the exit status.
        has_lost_another: whether it ends because another process is lost; then it does not say
            goodbye, since process 0 may be gone.
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


def _connect(config: DistributedConfig) -> bool:
    """Connects; gives False if there is no cluster and none is needed."""
    # If another process ends, only its work is missing, so we go on. We handle signals ourselves.
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
            raise InputError(f"the processes of the job could not connect: {error}") from error
        if config.distributed == "auto":
            return False
        raise InputError(
            "--distributed on found no cluster (Slurm, GKE, a TPU pod); without one, give "
            "--coordinator HOST:PORT --processes N --process I"
        ) from error
    return True


def _outlast_the_others() -> None:
    """In process 0, waits until the others have left.

    They are registered with it, and would take its end for an error.
    """
    if is_first_process():
        with (
            contextlib.suppress(multihost_utils.ProcessFailureError),
            multihost_utils.live_devices(jax.devices()),
        ):
            pass
