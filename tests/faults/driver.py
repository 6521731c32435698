"""The parent of the processes that are killed: it imports everything once and forks for each job.

It reads a job a line from standard input, as JSON, and answers with the child's process id and, at
its end, its exit status (negative: the signal). Importing is most of what a tiny command does, and
a fork is safe as long as JAX has no threads, which it starts with its first computation.
"""

import ctypes
import json
import os
import resource
import sys
from pathlib import Path
from typing import Any

import jax
import tyro  # noqa: F401 - imported late by the command line, and by no job here
from crash_points import CrashPoints

import experiments.classifier.train
import experiments.gan.train
import experiments.papers.table_a
import experiments.synthesis.command
import experiments.training.session
from experiments.cli import main
from train.models.networks import NETWORKS, Architecture

CAPABILITIES_VERSION = 0x20080522  # this and the next two of Linux' capability.h
CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH = 1, 2


def make_tiny() -> None:
    """Makes every epoch save a checkpoint, and installs a network that compiles quickly."""
    experiments.training.session.CHECKPOINT_EVERY_SECONDS = -1.0
    NETWORKS["vgg-small"] = Architecture((6, "M"))


def run(job: dict[str, Any]) -> None:
    """Becomes the process of a job, and ends."""
    os.chdir(job["directory"])
    log = os.open(job["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    for descriptor in (1, 2):
        os.dup2(log, descriptor)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    sys.argv = ["elicit", *job["words"]]
    if job["steps"] is not None:
        CrashPoints(Path(job["out"]), kill_at=job["kill_at"], listed_in=Path(job["steps"]))
    if job["file_bytes"] is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (job["file_bytes"],) * 2)
    if job["heeds_permissions"]:
        heed_permissions()
    # A GAN's step then compiles in half the time, and runs slower.
    jax.config.update("jax_disable_most_optimizations", job["words"][0] == "gan")
    status = main(job["words"])
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)  # as the end of the interpreter would, but without the parent's leftovers


def heed_permissions() -> None:
    """Makes permission bits count for this process, even for root."""
    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(CAPABILITIES_VERSION, 0)
    words = (ctypes.c_uint32 * 6)()  # effective, permitted, inheritable; twice 32 bits of each
    if libc.capget(header, words):
        raise OSError(ctypes.get_errno(), "could not read the capabilities")
    words[0] &= ~(1 << CAP_DAC_OVERRIDE | 1 << CAP_DAC_READ_SEARCH)
    if libc.capset(header, words):
        raise OSError(ctypes.get_errno(), "could not drop capabilities")


def serve() -> None:
    """Does the jobs one after another until standard input ends."""
    make_tiny()
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            run(json.loads(line))
        print(child, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


if __name__ == "__main__":
    serve()
