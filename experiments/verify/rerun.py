"""Repeats parts of an experiment from their keys, and compares them with the stored results.

One batch of a synthesised set is made again, some images of a set sampled from a GAN, and the first
epoch of a training, by the code of the commands that made them. On the same kind of device with the
same versions the bits must agree; otherwise the numbers must agree within tolerances.
"""

import contextlib
import io
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.classifier.train import repeat_first_epoch
from experiments.data.resumable_set import Columns
from experiments.options.classifier import ClassifierTrainConfig
from experiments.options.gan import GanSampleConfig
from experiments.options.papers import PIECES, PresetConfig
from experiments.options.synthesis import SynthesizeConfig
from experiments.papers.engine.experiment import PresetExperiment, settings_of
from experiments.papers.engine.plan import Piece, place
from experiments.papers.engine.results import MACHINE_FIELDS, preset_identity
from experiments.papers.registry import read_results
from experiments.synthesis.command import synthesize_set
from gans.sampling import image_keys, load_gan, sample
from imgopt.errors import InputError
from train.data.image_data import join_images
from train.data.load import open_images, read_extras
from train.data.verify import read_manifest
from train.storage.runs import CONFIG_FILE, differences, read_metrics
from train.storage.strict_json import read_sealed

SAMPLES = 8
"""Samples of a GAN's set that are drawn again, in one compiled batch."""

TOLERANCES = {
    "image": 0.5,
    "output": 0.005,
    "kl": 0.02,
    "max_error": 0.005,
    "steps": 1.0,
    "train_loss": 0.1,
    "train_accuracy": 0.05,
    "test_loss": 1.0,
    "test_accuracy": 0.2,
}
"""Mean |difference| allowed on another kind of device or with other versions; values not named here
must be equal. Images are in grey levels, losses and KL in nats.

Devices add in different orders, and GPUs multiply with 10 bits of fraction (TF32), a relative error
of 1e-3. With errors of that size in every parameter of the classifier, 64 digits after 100 updates
with momentum differed by 0.1 grey levels, 4e-4 in the output and 3e-3 nats; the tolerances are
about five times larger. A training amplifies such errors with every update. Averages over an epoch
still agree within some percent; a test after the first epoch may not, so its tolerance finds gross
faults only.
"""


class RepeatedPart(NamedTuple):
    """A part of a piece, as stored and as repeated.

    Attributes:
        what: the part in words.
        stored: stored columns by name.
        repeated: repeated columns by name.
    """

    what: str
    stored: Mapping[str, Any]
    repeated: Mapping[str, Any]


def rerun(
    directory: Path,
    count: int,
    *,
    pieces: Path | None = None,
    data_dir: Path | None = None,
    key: int = 0,
) -> list[str]:
    """Repeats parts of randomly drawn pieces, and prints a line for each.

    Args:
        directory: directory of an experiment's results, whose pieces are undamaged.
        count: number of pieces, at least 1.
        pieces: directory of the pieces; `pieces` in the results by default.
        data_dir: TFDS's data directory, for a data set given by name.
        key: seed with which pieces, batches and samples are drawn.

    Returns:
        A line for each piece that differs.

    Raises:
        InputError: the directory holds no results of an experiment; or they cannot be repeated
            here, since settings or data differ; or no piece is finished that could be repeated.
        FloatingPointError: a repeated result is not finite.
    """
    placed, is_alike = _placed(directory, pieces or directory / PIECES, data_dir)
    candidates = [piece for piece in placed if type(piece.config) in _REPEATS]
    if not candidates:
        raise InputError(
            f"expected a finished synthesis, training or sample of a GAN to repeat, got none in "
            f"{directory}; go on with the experiment first"
        )
    print(_how(is_alike, count, len(candidates)))
    differing = []
    for number in np.random.default_rng(key).permutation(len(candidates))[:count].tolist():
        config = candidates[number].config
        part = _REPEATS[type(config)](config, np.random.default_rng([key, number]))
        verdict, is_well = compare(part, is_alike=is_alike)
        line = f"{config.out}: {part.what}: {verdict}"
        print(line, flush=True)
        if not is_well:
            differing.append(line)
    return differing


def _how(is_alike: bool, count: int, available: int) -> str:
    """Says in one line what is repeated, and how it is compared."""
    of = f"{count} of {available} pieces" if count < available else f"all {available} pieces"
    too_many = f" ({count} were asked for)" if count > available else ""
    compared = (
        "bit by bit: the kind of device and the versions are those recorded"
        if is_alike
        else "within tolerances: the kind of device or the versions are not those recorded"
    )
    return f"repeating a part of {of}{too_many}, compared {compared}"


def _placed(directory: Path, root: Path, data_dir: Path | None) -> tuple[list[Piece], bool]:
    """The pieces of results, and whether device and versions are those recorded."""
    experiment, result = read_results(directory)
    if not isinstance(experiment, PresetExperiment):
        raise InputError(
            f"{directory} cannot be repeated: results of {experiment.name} do not say where its "
            "data and its GAN lie; repeat the command that made them with another --out, and "
            "compare the two with elicit report"
        )
    recorded = read_sealed(directory / CONFIG_FILE)
    preset, key = recorded["preset"], recorded["key"]
    if preset not in experiment.presets:
        raise InputError(f"{directory} cannot be repeated here: there is no preset {preset} now")
    precision = recorded.get("precision", "float32")
    config = PresetConfig(
        out=directory, preset=preset, data_dir=data_dir, key=key, precision=precision
    )
    settings = settings_of(experiment, config)
    source = experiment.source(settings, data_dir)
    here = preset_identity(experiment, config, source)
    is_alike = _check_alike(directory, recorded, here)
    surroundings = {name: recorded[name] for name in ("data", *MACHINE_FIELDS)}
    placed = place(experiment.plan(settings, source, key), root, surroundings)
    named = result.content["pieces"]
    changed = [name for name in named if name not in placed or placed[name].digest != named[name]]
    if changed:
        raise InputError(
            f"{directory} cannot be repeated here: {', '.join(changed)} would now be made with "
            "other options; take the version of elicit that made it"
        )
    return [placed[name] for name in named], is_alike


def _check_alike(directory: Path, recorded: dict[str, Any], here: dict[str, Any]) -> bool:
    """Returns whether device and versions are those recorded.

    Raises:
        InputError: anything else differs.
    """
    machine = {name: recorded[name] for name in MACHINE_FIELDS}
    differing = differences(recorded, {**here, **machine})
    if differing:
        raise InputError(
            f"{directory} cannot be repeated here: {'; '.join(differing)}. Take the data and the "
            "version of elicit that made it"
        )
    return all(here[name] == machine[name] for name in MACHINE_FIELDS)


def compare(part: RepeatedPart, *, is_alike: bool) -> tuple[str, bool]:
    """Compares a part as stored and as repeated.

    Args:
        part: the part.
        is_alike: whether the bits must agree; otherwise numbers must agree within `TOLERANCES`.

    Returns:
        The verdict in words, and whether the part agrees.
    """
    names = sorted({*part.stored, *part.repeated})
    found = {name: _difference(part.stored.get(name), part.repeated.get(name)) for name in names}
    found = {name: difference for name, difference in found.items() if difference is not None}
    if not found:
        return "equal", True
    is_well = not is_alike and all(
        difference.mean <= TOLERANCES.get(name, 0) for name, difference in found.items()
    )
    words = ", ".join(f"{name} {difference.words}" for name, difference in found.items())
    return f"{'equal within tolerance' if is_well else 'differs'}: {words}", is_well


class _Difference(NamedTuple):
    """Mean and largest |difference| of two columns; infinite if they cannot be subtracted."""

    mean: float
    largest: float

    @property
    def words(self) -> str:
        """The difference as text, such as "by 0.2 on average, 3 at most"."""
        if self.mean == self.largest:
            return f"by {self.mean:g}" if np.isfinite(self.mean) else "is another"
        return f"by {self.mean:.2g} on average, {self.largest:.2g} at most"


def _difference(stored: Any, repeated: Any) -> _Difference | None:
    """The difference of two columns; None if they are equal."""
    a, b = np.asarray(stored), np.asarray(repeated)
    if a.shape == b.shape and (a == b).all():
        return None
    if a.shape != b.shape or not (np.can_cast(a.dtype, float) and np.can_cast(b.dtype, float)):
        return _Difference(np.inf, np.inf)
    distance = np.abs(a.astype(float) - b.astype(float))
    return _Difference(float(distance.mean()), float(distance.max()))


def _repeat_batch(config: SynthesizeConfig, draw: np.random.Generator) -> RepeatedPart:
    """Repeats one batch of a synthesised set by the command itself, on the batch's originals."""
    manifest = read_manifest(config.out) or {}
    count, size = manifest["stop"] - config.start, manifest["batch_size"]  # where it was chosen too
    first = int(draw.integers(-(-count // size))) * size
    first = max(min(first, count - size), 0)  # a whole batch, unless the set is less
    last = min(first + size, count)
    what = f"the batch of images {first:,} to {last - 1:,} of {count:,}"
    with tempfile.TemporaryDirectory() as scratch, contextlib.redirect_stdout(io.StringIO()):
        again = replace(
            config,
            out=Path(scratch) / config.out.name,
            batch_size=size,
            start=config.start + first,
            stop=config.start + last,
        )
        synthesize_set(again, label=config.out.name)
        repeated = _columns(again.out, 0, len(open_images(again.out)))
    ids = list(open_images(config.out).iter_ids())
    # Images that were not finite are left out, so places in the set and in the split differ.
    begin = ids.index(repeated["id"][0]) if repeated["id"][0] in ids else 0
    return RepeatedPart(what, _columns(config.out, begin, begin + len(repeated["id"])), repeated)


def _columns(directory: Path, first: int, last: int) -> Columns:
    """The columns of a range of images in a synthesised set."""
    stored = open_images(directory)
    last = min(last, len(stored))
    data = stored.read(first, last)
    measures = read_extras(directory, ("kl", "max_error", "steps"))
    return {
        "id": data.ids,
        "image": data.images,
        "label": data.labels,
        "target": data.targets,
        "output": data.outputs,
        **{name: column[first:last] for name, column in measures.items()},
    }


def _repeat_samples(config: GanSampleConfig, draw: np.random.Generator) -> RepeatedPart:
    """Draws some images of a GAN's set again, by the numbers at the end of their ids."""
    gan, stored = load_gan(config.gan), open_images(config.out)
    rows = draw.permutation(len(stored))[:SAMPLES].tolist()
    chosen = join_images([stored.read(row, row + 1) for row in sorted(rows)])
    numbers = [np.array([int(name.rpartition("_")[2])]) for name in chosen.ids]
    root = jax.random.key(config.key)
    keys = [
        image_keys(root, label, number)
        for label, number in zip(chosen.labels.tolist(), numbers, strict=True)
    ]
    made = sample(gan, jnp.concatenate(keys), chosen.labels, batch_size=config.images_at_once)
    what = f"{len(rows)} of {len(stored):,} samples ({', '.join(chosen.ids)})"
    return RepeatedPart(what, {"image": chosen.images}, {"image": made})


def _repeat_epoch(config: ClassifierTrainConfig, draw: np.random.Generator) -> RepeatedPart:
    """Repeats the first epoch of a training, and compares its line of metrics."""
    del draw  # a later epoch would need those before it
    return RepeatedPart("the first epoch", read_metrics(config.out)[0], repeat_first_epoch(config))


_REPEATS: dict[type, Callable[[Any, np.random.Generator], RepeatedPart]] = {
    ClassifierTrainConfig: _repeat_epoch,
    GanSampleConfig: _repeat_samples,
    SynthesizeConfig: _repeat_batch,
}
