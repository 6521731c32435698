"""The peers by job, and the ways to run each."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch_classifiers
import torch_files
import torch_games
import torch_setup
from jobs import Job
from timing import Call


class Peer(NamedTuple):
    """How a job is done in PyTorch.

    Attributes:
        start: makes the call of a job in one of the modes.
        modes: of which the quickest is to be taken; None: those of `torch_setup.modes`.
    """

    start: Callable[[Job, str], Call]
    modes: tuple[str, ...] | None = None


PEERS = {
    "synthesis-step": Peer(torch_classifiers.synthesis_step),
    "synthesis": Peer(torch_classifiers.whole_synthesis),
    "training-step": Peer(torch_classifiers.training_step),
    "dcgan-step": Peer(torch_games.dcgan_step),
    "dcgan-per-class-step": Peer(torch_games.dcgan_step),
    "sgan-step": Peer(torch_games.sgan_step),
    "data-input": Peer(torch_files.data_input, (torch_files.IN_PROCESS, torch_files.IN_WORKERS)),
    "set-writing": Peer(torch_files.set_writing, tuple(torch_files.WRITING)),
}


def modes(job: str) -> tuple[str, ...]:
    """The ways to run a job."""
    return PEERS[job].modes or torch_setup.modes()


def start(job: Job, mode: str) -> Call:
    """Makes a job's call, everything that it needs on the device."""
    call = PEERS[job.case.job].start(job, mode)

    def to_the_end() -> Any:
        result = call()
        torch_setup.wait()
        return result

    return to_the_end
