"""The jobs as PyTorch does them, and the modes in which each can run."""

from collections.abc import Callable
from typing import Any, NamedTuple

from harness.jobs import Job
from harness.timing import Call

from peers import classifiers, files, gan_training, pytorch


class Peer(NamedTuple):
    """PyTorch's version of a job.

    Attributes:
        start: takes a job and a mode and returns the call to time.
        modes: modes to try, of which the fastest is used; None for those of `pytorch.modes`.
    """

    start: Callable[[Job, str], Call]
    modes: tuple[str, ...] | None = None


PEERS = {
    "synthesis-step": Peer(classifiers.synthesis_step),
    "synthesis": Peer(classifiers.whole_synthesis),
    "training-step": Peer(classifiers.training_step),
    "dcgan-step": Peer(gan_training.dcgan_step),
    "dcgan-per-class-step": Peer(gan_training.dcgan_step),
    "sgan-step": Peer(gan_training.sgan_step),
    "data-input": Peer(files.data_input, (files.IN_PROCESS, files.IN_WORKERS)),
    "set-writing": Peer(files.set_writing, tuple(files.WRITING)),
}


def modes(job: str) -> tuple[str, ...]:
    """Modes in which a job can run."""
    return PEERS[job].modes or pytorch.modes()


def start(job: Job, mode: str) -> Call:
    """Moves what a job needs to the device and returns a call that waits until it is done."""
    call = PEERS[job.case.job].start(job, mode)

    def call_and_wait() -> Any:
        result = call()
        pytorch.wait()
        return result

    return call_and_wait
