"""Acceptance of a GAN's samples in training: the share that a classifier takes for their class.

It shows when to stop: a GAN trained on few images gets worse again once its discriminator knows
them all. The samples' noise is the same at every epoch, so that epochs differ by nothing else.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float64, Key, UInt8

from experiments.gan.selector import Classified
from experiments.pages.statistics import share_of
from gans.sampling import Gan, GanSpec, image_keys, sample
from gans.selection import KINDS, tally

MOST_AT_ONCE = 256
"""Most samples in a compiled batch."""


@dataclass(frozen=True)
class AcceptanceMeter:
    """Measures the acceptance of each class.

    Attributes:
        key: key of the samples.
        spec: the GAN.
        classify: the classifier, see `experiments.gan.selector.classify_by`.
        every: epochs from one measurement to the next.
        images: samples of each class.
    """

    key: Key[Array, ""]
    spec: GanSpec
    classify: Callable[[UInt8[np.ndarray, "n h w c"]], Classified]
    every: int
    images: int

    def is_due(self, epoch: int, *, epochs: int) -> bool:
        """Whether to measure after this epoch of so many."""
        return epoch % self.every == 0 or epoch == epochs

    def measure(self, generators: dict[str, Any]) -> Float64[np.ndarray, " k"]:
        """Share of each class's samples that the classifier takes for that class, in [0, 1].

        Args:
            generators: variables of all generators, as `gans.Gan` takes them.

        Raises:
            FloatingPointError: a sample or the classifier's output is not finite.
        """
        classes, numbers = self.spec.num_classes, np.arange(self.images)
        keys = [image_keys(self.key, label, numbers) for label in range(classes)]
        labels = np.repeat(np.arange(classes), self.images)
        images = sample(
            Gan(self.spec, generators),
            jax.numpy.concatenate(keys),
            labels,
            batch_size=min(MOST_AT_ONCE, self.images),
        )
        predictions, accepted = self.classify(images)
        found = tally(labels, predictions.predicted, accepted, num_classes=classes)
        return found.accepted[:, KINDS.index("tp")] / self.images


class Measured(NamedTuple):
    """A share of accepted samples, with its 95% interval.

    Attributes:
        stage: stage of the training.
        epoch: epoch of the stage.
        share: share of the samples, in [0, 1].
        low: lower end of Wilson's interval.
        high: upper end.
        images: number of samples.
    """

    stage: str
    epoch: int
    share: float
    low: float
    high: float
    images: int

    @property
    def words(self) -> str:
        """Share and interval, such as "31.0% [28.2%, 33.9%]"."""
        return f"{self.share:.1%} [{self.low:.1%}, {self.high:.1%}]"


def acceptance_line(shares: Float64[np.ndarray, " k"]) -> dict[str, Any]:
    """Fields of a line of `metrics.jsonl`: the share of all samples, and of each class."""
    return {"acceptance": float(shares.mean()), "by_class": {"acceptance": shares.tolist()}}


def measured_lines(metrics: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Lines of `metrics.jsonl` with a measurement."""
    return [line for line in metrics if "acceptance" in line]


def best_epoch(
    metrics: Sequence[Mapping[str, Any]], *, images: int, label: int | None = None
) -> Measured:
    """The measured epoch with the largest acceptance; of several, the first.

    The best of many measurements lies above its own true value, by about half of its interval's
    width if the epochs are alike.

    Args:
        metrics: lines with a measurement, at least one.
        images: number of samples of each class.
        label: a class; all classes together if None.
    """
    shares = [_share(line, label) for line in metrics]
    return measured(metrics[int(np.argmax(shares))], images=images, label=label)


def measured(line: Mapping[str, Any], *, images: int, label: int | None = None) -> Measured:
    """Reads a measurement, and computes Wilson's 95% interval.

    Args:
        line: a line with a measurement.
        images: number of samples of each class.
        label: a class; all classes together if None.
    """
    share = _share(line, label)
    count = images * (len(line["by_class"]["acceptance"]) if label is None else 1)
    found = share_of(round(share * count), count)
    return Measured(line["stage"], line["epoch"], share, found.low, found.high, count)


def _share(line: Mapping[str, Any], label: int | None) -> float:
    return line["acceptance"] if label is None else line["by_class"]["acceptance"][label]
