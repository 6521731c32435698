"""One job of several processes on one or more machines: connects and disconnects them.

`jax.distributed` connects them, only if an option asks for it: a login node of a cluster looks like
the cluster. The other processes register with process 0, so it is the last to leave.
"""

import contextlib
import os
import sys
import threading
from collections.abc import Iterator

import jax
from jax.experimental import multihost_utils

from experiments.console.distributed_options import DistributedConfig
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
