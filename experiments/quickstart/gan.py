"""The command `elicit quickstart --gan`: trains a GAN on handwritten digits, and tests its images.

It draws a small data set and trains a small class-conditional DCGAN on it. The closed loop
(`experiments.papers.closed_loop`) then sorts the GAN's images by a classifier, and trains
classifiers with and without them. Each step is the ordinary command with a directory of its own, so
an interrupted quickstart goes on where it stopped.
"""

import time
from dataclasses import replace
from pathlib import Path

from experiments.data.subset import make_subset
from experiments.gan.stages import SAMPLES, SHEET_COLUMNS
from experiments.gan.train import train_gan
from experiments.gan.train_report import strip
from experiments.options.data import SubsetConfig
from experiments.options.gan import GanTrainConfig
from experiments.options.papers import ClosedLoopConfig, SameStepsConfig
from experiments.pages.html import Section, digest_words, write_report
from experiments.pages.strips import class_strips, sheet_strips
from experiments.papers.closed_loop import closed_loop, piece_count
from experiments.papers.closed_loop_pages import loop_facts, loop_sections, loop_verdict
from experiments.papers.engine.experiment import ExperimentResult
from experiments.papers.engine.result_pages import run_footer
from experiments.papers.registry import read_results
from gans.options.training import GameConfig
from train.data import DIGITS
from train.data.load import load_images
from train.models import NetworkName
from train.storage.runs import CONFIG_FILE, environment, open_run, read_result, write_result

PER_CLASS = 60
"""Digits of each class to train on, and to test on: so few that accuracies stay below 100%."""

GAN_WIDTH = 16
GAN_STEPS = 600
GAN_BATCH_SIZE = 32
GAN_LEARNING_RATE = 1e-3
"""Five times the usual rate of a DCGAN, since there are few steps."""

GAME = GameConfig(averaging=0.98)
"""Averages the generator over about 50 steps, since it changes much from step to step."""

TRIES = 600
"""Most images to try for each class and kind: a digit learnt well has few false positives."""

SHEETS = 6
"""Sheets of samples during the training."""

MODEL: NetworkName = "vgg-small"
WIDTH = 0.125
"""Width of the classifiers: enough for digits, and quick on two cores."""

TRAINING = SameStepsConfig(steps=100, batch_size=60, learning_rate=0.05, flip=False, pad_px=2)
"""Digits must not be mirrored. They fill the image, and a shift by 2 pixels keeps them whole."""

CAUTION = (
    "A few trainings of a small network on an easy task prove little; this page shows how the "
    "comparison is made."
)

CROP_PX = 28
"""Side of the cut square, of 32: a smaller one would cut off the stroke that makes a 7 of a 1."""


def quickstart_gan(out: Path, *, seeds: int, key: int) -> None:
    """Runs the command, and prints the report's path last.

    Args:
        out: directory of the run.
        seeds: trainings of each kind, at least 2.
        key: seed of everything random.

    Raises:
        InputError: the directory holds something else.
    """
    began = time.monotonic()
    open_run(out, {"gan": True, "seeds": seeds, "key": key})
    data, gan = out / "data", out / "gan"
    make_subset(
        SubsetConfig(data=DIGITS, out=data, per_class=PER_CLASS, test_per_class=PER_CLASS, key=key)
    )
    train_gan(
        GanTrainConfig(
            data=str(data),
            out=gan,
            width=GAN_WIDTH,
            steps=GAN_STEPS,
            batch_size=GAN_BATCH_SIZE,
            learning_rate=GAN_LEARNING_RATE,
            game=GAME,
            grids=SHEETS,
            key=key,
        ),
        label=f"step 1 of {1 + piece_count(seeds)}: training the GAN",
    )
    closed_loop(
        ClosedLoopConfig(
            data=str(data),
            gan=str(gan),
            out=out / "loop",
            per_class=PER_CLASS,
            seeds=seeds,
            model=MODEL,
            width=WIDTH,
            max_tries_per_class=TRIES,
            crop_px=CROP_PX,
            key=key,
            train=TRAINING,
        ),
        steps_before=1,
    )
    _, compared = read_results(out / "loop")
    _write_report(out, compared, key=key, seconds=time.monotonic() - began)
    result = {"gan": read_result(gan), "comparison": compared.content, "key": key, **environment()}
    write_result(out, result, of=(CONFIG_FILE,))  # the report holds times
    print(out / "report.html")


def _write_report(out: Path, compared: ExperimentResult, *, key: int, seconds: float) -> None:
    digits, verdict = read_result(out / "gan")["training_images"], loop_verdict(compared)
    first, *others = loop_sections(out / "loop", compared)
    write_report(
        out / "report.html",
        title=f"Do a GAN's images help? digits, key {key}",
        verdict=replace(
            verdict,
            made=f"A small GAN was trained on {digits:,} handwritten digits. {verdict.made}",
        ),
        facts=loop_facts(compared),
        sections=[replace(first, text=f"{first.text} {CAUTION}"), _gan_section(out), *others],
        footer={
            **run_footer(compared),
            **{name: environment()[name] for name in ("command", "device")},
            "GAN": digest_words(read_result(out / "gan")["gan_sha256"]),
            "time": f"{seconds:.0f} s in this session",
        },
    )


def _gan_section(out: Path) -> Section:
    """Real digits, samples of the GAN, and samples during the training."""
    real = load_images(out / "data")
    sheets, names = sorted((out / "gan" / SAMPLES).glob("*.png")), real.class_names
    return Section(
        title="What the GAN has learnt",
        strips=[
            class_strips(real.images, real.labels, names, caption="Real digits."),
            sheet_strips(
                sheets[-1].read_bytes(),
                names,
                caption="Digits of the GAN, not sorted.",
                columns=SHEET_COLUMNS,
            ),
            sheet_strips(
                strip(sheets), names, caption="The first digit of each class during the training."
            ),
        ],
    )
