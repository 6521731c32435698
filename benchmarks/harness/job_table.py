"""The jobs by name, with the models and batch sizes that each is timed at by default."""

from collections.abc import Callable
from typing import NamedTuple

from harness import jobs
from harness.jobs import Case, Job
from train.models import NetworkName


class Kind(NamedTuple):
    """A kind of job and its default sizes.

    Attributes:
        prepare: makes a job from a case.
        models: classifiers to time; (None,) if the job has no classifier.
        batch_sizes: batch sizes to time, by platform; None if the job has no batches.
    """

    prepare: Callable[[Case], Job]
    models: tuple[NetworkName | None, ...]
    batch_sizes: dict[str, tuple[int, ...]] | None = None


SYNTHESIS_BATCHES = {"cpu": (64, 256), "gpu": (512, 4096, 50_000)}
GAN_BATCHES = {"cpu": (64,), "gpu": (64, 512)}
JOBS: dict[str, Kind] = {
    "synthesis-step": Kind(jobs.synthesis_step, ("vgg16", "kono-cnn"), SYNTHESIS_BATCHES),
    "synthesis": Kind(
        jobs.whole_synthesis, ("kono-cnn",), {"cpu": (64,), "gpu": (512, 4096, 50_000)}
    ),
    "training-step": Kind(
        jobs.training_step, ("vgg16", "kono-cnn"), {"cpu": (128,), "gpu": (128, 512)}
    ),
    "dcgan-step": Kind(jobs.dcgan_step, (None,), GAN_BATCHES),
    "dcgan-per-class-step": Kind(jobs.dcgan_per_class_step, (None,), GAN_BATCHES),
    "sgan-step": Kind(jobs.sgan_step, (None,), {"cpu": (100,), "gpu": (100, 512)}),
    "data-input": Kind(jobs.data_input, (None,)),
    "set-writing": Kind(jobs.set_writing, (None,)),
}  # fmt: skip
