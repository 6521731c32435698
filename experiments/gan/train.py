"""The command `elicit gan train`: a run directory with a trained DCGAN or Stacked GAN.

A DCGAN is trained in one stage. A Stacked GAN takes several: its encoder, each level by itself from
the labels down to the image, and optionally all levels jointly. The same command, given again,
resumes the run from the last undamaged checkpoint of its stage.
"""

import functools
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.console.progress import say
from experiments.gan.acceptance import AcceptanceMeter, best_epoch, measured_lines
from experiments.gan.networks import gan_sizes, network_pairs
from experiments.gan.selector import Selector, classify_by, find_selector
from experiments.gan.stages import Stages
from experiments.gan.train_report import TrainedGan, write_gan_report
from experiments.options.gan import GanTrainConfig
from experiments.pages.html import digest_words, provenance
from experiments.training.run import (
    TrainingRun,
    check_device_options,
    identity_of,
    run_training,
    steps_footprint,
)
from experiments.training.session import Training
from experiments.training.tracking import check_tracker, tracking
from gans.dcgan import DcganConfig
from gans.encoder_training import EncoderLearner
from gans.game import GanLearner, trained_generators
from gans.options.selection import Thresholds
from gans.pairs import GanData, Variables
from gans.sampling import GENERATOR, SPEC_FILE, Gan, GanSpec, gan_digest
from gans.stacked import StackConfig
from train.data.image_data import ImageData
from train.data.load import data_digest, load_images
from train.loop import FitOptions
from train.recipes.train_options import Budget
from train.runtime.processes import is_first_process
from train.storage.checkpoints import CHECKPOINTS, save_checkpoint
from train.storage.runs import CONFIG_FILE, METRICS_FILE, as_json, read_metrics

PARTS = (CONFIG_FILE, SPEC_FILE, METRICS_FILE, CHECKPOINTS, GENERATOR, "report.html")
"""Files and directories of a run whose digests stand in its result. The sample sheets are left out:
a lost one could only be drawn again by a new training, and only the report uses them."""


ACCEPTANCE_STREAM = 1001
"""Folded into the run's key for the samples whose acceptance is measured; see `SHEET_STREAM`."""

ClassRows = dict[str, np.ndarray] | None
"""Rows of each class, if each class has a GAN of its own."""


def train_gan(config: GanTrainConfig, *, label: str = "GAN") -> None:
    """Runs the command.

    Args:
        config: What to train.
        label: Text in front of the progress.

    Raises:
        InputError: Options, data, run and device do not fit together. It is raised before anything
            is written.
        FloatingPointError: A loss or a parameter is no longer finite, or a discriminator has won.
        LostProcessError: Another process of the job has ended.
    """
    check_tracker(config.track)
    say(f"reading {config.data}")
    data = load_images(config.data, config.split, data_dir=config.data_dir)
    sizes = gan_sizes(config, data.images.shape[1:], num_classes=len(data.class_names))
    spec = GanSpec(config.model, data.class_names, sizes)
    selector = _selector(config, spec)
    options = FitOptions(
        groups=_class_rows(config, data),
        max_skipped=config.nonfinite.allowed,
        devices=config.devices,
    )
    check_device_options(
        config.devices, batch_size=config.budget.batch_size, precision=config.precision
    )
    run_training(
        TrainingRun(
            config.out,
            identity=_identity(config, data, selector),
            spec_file=SPEC_FILE,
            spec=as_json(spec._asdict()),
            files=PARTS,
            estimate=lambda batch_size: steps_footprint(
                _largest_stage(config, spec, data, options), batch_size
            ),
            batch_size=config.budget.batch_size,
        ),
        train=lambda: _train(
            config, spec, data, options, meter=_meter(config, spec, selector), label=label
        ),
        summarise=functools.partial(_summarise, config, data),
        report=functools.partial(_report, config),
    )


def _train(
    config: GanTrainConfig,
    spec: GanSpec,
    data: ImageData,
    options: FitOptions,
    *,
    meter: AcceptanceMeter | None,
    label: str,
) -> Gan:
    """Trains all stages."""
    tracker = config.track if is_first_process() else None
    with tracking(tracker, config.out, as_json(config)) as track:
        stages = Stages(
            config.out,
            jax.random.key(config.key),
            _on_device(data),
            data.ids,
            spec,
            options,
            grids=config.grids,
            label=label,
            acceptance=meter,
            track=track,
        )
        if isinstance(spec.config, DcganConfig):
            generators = _train_dcgan(config, spec.config, stages)
        else:
            generators = _train_stack(config, spec.config, stages)
    stages.finish()
    return Gan(spec, generators)


def _selector(config: GanTrainConfig, spec: GanSpec) -> Selector | None:
    """The classifier that tells which samples are accepted; refuses one for other images."""
    if config.acceptance.classifier is None:
        return None
    return find_selector(
        config.acceptance.classifier,
        Thresholds(),
        train_data=None,
        class_names=spec.class_names,
        image_shape=spec.image_shape,
        of="GAN",
    )


def _meter(
    config: GanTrainConfig, spec: GanSpec, selector: Selector | None
) -> AcceptanceMeter | None:
    if selector is None:
        return None
    images = config.acceptance.acceptance_images
    return AcceptanceMeter(
        jax.random.fold_in(jax.random.key(config.key), ACCEPTANCE_STREAM),
        spec,
        classify_by(selector, most_images=images * spec.num_classes),
        every=config.acceptance.acceptance_every,
        images=images,
    )


def _on_device(data: ImageData) -> GanData:
    return GanData(jnp.asarray(data.images), jnp.asarray(data.labels))


def _largest_stage(
    config: GanTrainConfig, spec: GanSpec, data: ImageData, options: FitOptions
) -> Training:
    """The stage whose steps need the most memory; its constants are only shapes."""
    pairs = network_pairs(config, spec.config)
    if isinstance(spec.config, StackConfig):
        pairs = pairs[: None if config.joint_epochs else 1]
        encoder = EncoderLearner(spec.config, config.encoder, config.precision)
        constants = jax.eval_shape(encoder.initial, jax.random.key(0)).variables
        options = replace(options, constants=constants)
    learner = GanLearner(pairs, config.game, config.rate)
    key = jax.random.key(config.key)
    return Training(key, learner, _on_device(data), config.budget, options)


def _class_rows(config: GanTrainConfig, data: ImageData) -> ClassRows:
    """Rows of each class, if each has a GAN; refuses a training set smaller than a batch."""
    if not config.one_per_class:
        config.budget.steps_per_epoch(len(data.labels))
        return None
    rows = {}
    for label, name in enumerate(data.class_names):
        rows[name] = np.flatnonzero(data.labels == label)
        config.budget.steps_per_epoch(len(rows[name]), of=f"class {name}")
    return rows


def _identity(
    config: GanTrainConfig, data: ImageData, selector: Selector | None
) -> dict[str, object]:
    """Everything that the result depends on; data are identified by digest, not by place."""
    options = as_json(config)
    if selector is not None:
        options["acceptance"]["classifier"] = selector.source.identify(selector.image_shape)
    for name in ("data", "data_dir", "out", "split", "devices", "track"):
        options.pop(name, None)  # devices and track are only there if they are given
    options["dataset"] = {
        "name": Path(config.data).name,
        "split": config.split,
        "sha256": data_digest(data),
    }
    return identity_of(options, devices=config.devices)


def _train_dcgan(config: GanTrainConfig, sizes: DcganConfig, stages: Stages) -> Variables:
    learner = GanLearner(network_pairs(config, sizes), config.game, config.rate)
    state = stages.train("gan", learner, config.budget, preview=trained_generators)
    return trained_generators(state.variables)


def _train_stack(config: GanTrainConfig, sizes: StackConfig, stages: Stages) -> Variables:
    encoder_budget = Budget(config.budget.batch_size, config.encoder.encoder_epochs)
    encoder = stages.train(
        "encoder", EncoderLearner(sizes, config.encoder, config.precision), encoder_budget
    ).variables
    pairs = network_pairs(config, sizes)
    finished: dict[str, Variables] = {side: {} for side in ("generators", "discriminators")}
    generators: Variables = {}
    for pair in reversed(pairs):
        learner = GanLearner((pair,), config.game, config.rate)
        is_bottom = pair is pairs[0]
        above = dict(generators)
        state = stages.train(
            f"level-{pair.target}", learner, config.budget, constants=encoder,
            preview=(lambda v, above=above: above | trained_generators(v)) if is_bottom else None,
        )  # fmt: skip
        generators |= trained_generators(state.variables)
        for side, networks in finished.items():
            networks |= state.variables[side]
    if config.joint_epochs:
        learner = GanLearner(pairs, config.game, config.rate)
        state = stages.train(
            "joint", learner, Budget(config.budget.batch_size, config.joint_epochs),
            constants=encoder, begin=learner.state_of(**finished), preview=trained_generators,
        )  # fmt: skip
        generators = trained_generators(state.variables)
    return generators


def _summarise(config: GanTrainConfig, data: ImageData, gan: Gan) -> dict[str, object]:
    """Saves the generators, and gives the fields of `result.json`."""
    gan = Gan(gan.spec, jax.device_get(gan.variables))
    metrics = read_metrics(config.out)
    save_checkpoint(config.out / GENERATOR, metrics[-1]["step"], gan.variables)
    parameters = [networks["params"] for networks in gan.variables.values()]
    measured = measured_lines(metrics)
    images = config.acceptance.acceptance_images
    return {
        **({"best": best_epoch(measured, images=images)._asdict()} if measured else {}),
        "gan_sha256": gan_digest(gan),
        "training_images": len(data.labels),
        "last": {line["stage"]: line for line in metrics},
        "parameters_of_generators": sum(np.size(p) for p in jax.tree.leaves(parameters)),
        "key": config.key,
    }


def _report(config: GanTrainConfig, gan: Gan, result: dict[str, Any]) -> None:
    """Writes the report."""
    data, classifier = Path(config.data).name, config.acceptance.classifier
    trained = TrainedGan(
        data=data,
        key=config.key,
        spec=gan.spec,
        metrics=read_metrics(config.out),
        training_images=result["training_images"],
        parameters=result["parameters_of_generators"],
        acceptance_images=config.acceptance.acceptance_images,
        footer=provenance(
            result,
            data=f"{data}, {config.split}, {result['training_images']:,} images",
            classifier=classifier or "none",
        )
        | {"GAN": digest_words(result["gan_sha256"])},
    )
    write_gan_report(config.out, trained)
