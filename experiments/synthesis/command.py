"""The command `elicit synthesize`: paper A's job over a split or a range of it.

The result is an image set, written shard by shard. A shard holds a fixed range of the split's
images, so the same command continues after any stop, and a larger --stop extends a finished set;
the bytes are always those of one undisturbed run. Several processes share the shards among them,
and the first process commits the set. An image that does not stay finite is left out of the set
and disturbs no other.

The originals are decoded once if they fit in memory (see `train.data.image_data`). Otherwise they
are read a few shards at a time. The set is summarised a few shards at a time.
"""

import functools
import time
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

import imgopt
from experiments.console.compilation import counted_compilations
from experiments.console.progress import say
from experiments.data.resumable_set import (
    SPLIT,
    ResumableSet,
    begun_identity,
    dataset_identity,
)
from experiments.options.synthesis import SynthesizeConfig
from experiments.pages.html import digest_words, provenance
from experiments.synthesis.attack_options import attack_options, attack_targets
from experiments.synthesis.classifiers import find_classifiers
from experiments.synthesis.make_shards import (
    SynthesisJob,
    find_shards,
    left_out_of,
    make_shards,
)
from experiments.synthesis.report import ElicitedSet, ShownImages, write_set_report
from experiments.synthesis.rule_options import synthesis_options
from experiments.synthesis.summary import (
    SetSummary,
    pairs_in_parts,
    print_summary,
    summarise,
)
from experiments.synthesis.target_options import describe_targets, make_targets
from experiments.synthesis.view_options import make_views
from experiments.training.tracking import check_tracker, tracking
from imgopt.errors import InputError
from train.classifiers import check_precision
from train.data.image_data import decode_once
from train.data.load import open_images, read_extras
from train.data.spec import ImageSetSpec
from train.runtime.memory import (
    Estimate,
    Footprint,
    check_batch_fits,
    check_machine_memory,
    choose_batch_size,
    explaining_out_of_memory,
    footprint,
)
from train.runtime.processes import (
    START_AGAIN,
    LostProcessError,
    first_process_first,
    is_first_process,
    wait_for_all,
    wait_for_live,
)
from train.storage.runs import as_json, environment
from train.storage.strict_json import write_sealed

FEATURES = ("target", "output", "kl", "max_error", "steps", "source_id", "source_sha256")
"""Features of a synthesised image besides id, image and label."""

TARGET_COPIES = 3
"""Arrays of the targets' size, in float32, that are in memory while they are drawn and checked."""

MOST_IMAGES = 2048
"""Largest batch that is chosen: it fills a TPU or a GPU with images of 32×32 pixels."""

MOST_IMAGES_ON_CPUS = 256
"""Largest batch that is chosen on a CPU, which more images do not make faster."""

NAMED_IMAGES = 5
"""Most images left out that are named on the screen. The manifest names all."""


class SynthesisResult(NamedTuple):
    """What one call of the command did. Times are not in the set, whose bytes never differ.

    Attributes:
        summary: measures of the whole set, as in its `summary.json`; None in all processes but the
            first.
        images: number of images that this process made in this call.
        seconds: time that they took, compilation included.
    """

    summary: SetSummary | None
    images: int
    seconds: float


def synthesize_set(config: SynthesizeConfig, *, label: str = "synthesis") -> SynthesisResult:
    """Runs the command.

    Args:
        config: what to make.
        label: text in front of the progress.

    Raises:
        InputError: an option does not fit, found before anything is compiled or written.
        FloatingPointError: no image of a shard is finite.
        LostProcessError: another process of the job has ended before its shards were made.

    Warns:
        UserWarning: some images are not finite and are left out. The manifest holds their number
            and the ids of their originals.
    """
    job = _check(config)
    estimate = functools.cache(functools.partial(_footprint, job))
    with counted_compilations() as compiled:
        with first_process_first():
            config, job = _with_batch_size(config, job, estimate)
            image_set = ResumableSet(config.out, _spec(job), _identity(config, job))
            image_set.begin(check=functools.partial(check_batch_fits, estimate, job.batch_size))
        with explaining_out_of_memory(estimate, job.batch_size):
            result = _make_missing(config, job, image_set, label=label)
    if compiled.programs:
        print(f"compilation: {compiled.programs} programs, {compiled.seconds:.1f} s")
    return result


def _with_batch_size(
    config: SynthesizeConfig, job: SynthesisJob, estimate: Estimate
) -> tuple[SynthesizeConfig, SynthesisJob]:
    """Gives both their batch size: the one asked for, the one of the set begun, or a chosen one."""
    batch_size = config.batch_size
    if batch_size is None:
        on_cpu = jax.default_backend() == "cpu"
        most = MOST_IMAGES_ON_CPUS if on_cpu else MOST_IMAGES
        begun = begun_identity(config.out)
        if begun is None:
            batch_size = choose_batch_size(estimate, images=len(job.rows), most=most)
            say(f"batches of {batch_size} images (--batch-size)")
        else:
            batch_size = begun.get("batch_size", most)
    # A job of less than a batch is one short shard, which is made anew when the set grows. So the
    # bytes are those of a job that had the larger end at once.
    job = replace(job, batch_size=min(batch_size, len(job.rows)))
    return replace(config, batch_size=batch_size), job


def _make_missing(
    config: SynthesizeConfig, job: SynthesisJob, image_set: ResumableSet, *, label: str
) -> SynthesisResult:
    """Makes this process's share of the missing shards; the first process then commits the set."""
    wanted = job.shard_rows()
    shards = find_shards(image_set, wanted)
    missing = {index: rows for index, rows in wanted.items() if index not in shards}
    wait_for_all()  # until every process has seen what is missing
    own = dict(list(missing.items())[jax.process_index() :: jax.process_count()])
    seconds = 0.0
    if missing:
        if is_first_process():
            image_set.uncommit(shards.values())
        began = time.monotonic()
        tracker = config.track if is_first_process() else None
        with tracking(tracker, config.out, as_json(config)) as track:
            shards |= make_shards(job, image_set, own, label=label, track=track)
        seconds = time.monotonic() - began
    images = sum(map(len, own.values()))
    if jax.process_count() > 1:
        print(f"process {jax.process_index()} made {len(own)} shards")
        _check_complete(wait_for_live(), [image_set.shard_path(SPLIT, index) for index in missing])
        if not is_first_process():
            return SynthesisResult(None, images, seconds)
        shards = find_shards(image_set, wanted)
    left_out = [name for index in wanted for name in left_out_of(shards[index])]
    results: dict[str, object] = {"stop": job.rows.stop}
    if left_out:
        _warn_of_left_out(left_out, total=len(job.rows))
        results["left_out"] = {"images": len(left_out), "source_ids": left_out}
    image_set.commit({SPLIT: [shards[index] for index in wanted]}, **results)
    image_set.finish(keep_note=lambda shard: bool(left_out_of(shard)))
    summary = _summarise(config, job, image_set, left_out=len(left_out))
    print_summary(summary, made=images, seconds=seconds)
    print(f"image set: {image_set.directory}")
    return SynthesisResult(summary, images, seconds)


def _check_complete(lost: Sequence[int], shards: Sequence[Path]) -> None:
    """Raises LostProcessError if a process has ended before all of its shards were there."""
    absent = sum(not shard.is_file() for shard in shards)
    if absent:
        names = ", ".join(f"process {number}" for number in lost)
        raise LostProcessError(
            f"{names or 'another process'} ended before its work was done: {absent} of "
            f"{len(shards)} shards are not there. {START_AGAIN}"
        )


def _warn_of_left_out(left_out: Sequence[str], *, total: int) -> None:
    named = ", ".join(left_out[:NAMED_IMAGES])
    more = f" and {len(left_out) - NAMED_IMAGES:,} more" if len(left_out) > NAMED_IMAGES else ""
    warnings.warn(
        f"{len(left_out):,} of {total:,} images are not finite or have no finite output, and are "
        f"left out: those of {named}{more}; a lower learning_rate may help",
        stacklevel=2,
    )


def _check(config: SynthesizeConfig) -> SynthesisJob:
    """Finds and checks everything that the job needs."""
    check_tracker(config.track)
    imgopt.check_device_count(config.devices)
    check_precision(config.precision)
    say(f"reading {' '.join(config.classifiers)} and {config.data}")
    source = find_classifiers(config.classifiers, precision=config.precision)
    originals = open_images(config.data, config.split, data_dir=config.data_dir)
    source.check_takes(originals.class_names, originals.image_shape)
    stop = len(originals) if config.stop is None else config.stop
    if not 0 <= config.start < stop <= len(originals):
        raise InputError(
            f"--start {config.start} and --stop {stop} must be 0 <= start < stop <= "
            f"{len(originals)}, the number of images of split {config.split}"
        )
    check_machine_memory(
        TARGET_COPIES * (stop - config.start) * len(originals.class_names) * 4,
        of=f"targets of {stop - config.start:,} images and {len(originals.class_names):,} classes",
        remedy="make the set in parts, by --start and --stop",
    )
    known: dict[str, int] = {"start": config.start, "stop": stop, "key": config.key}
    options = synthesis_options(config.rule)
    if config.attack.is_attack:
        options = attack_options(config.attack, seed=config.key)
    if config.attack.makes_targets:
        targets = attack_targets(config.attack, originals, **known)
    else:
        targets = make_targets(config.target, originals, **known)
    views = make_views(config.view, originals.image_shape, seed=config.key)
    options = replace(options, views=views)
    originals = decode_once(originals)
    first = imgopt.to_float(originals.read(config.start, config.start + 1).images)
    imgopt.check_inputs(source.classify, first, targets[:1])
    return SynthesisJob(
        source=source,
        originals=originals,
        rows=range(config.start, stop),
        targets=targets,
        options=options,
        batch_size=stop - config.start,  # until it is chosen
        batches_per_shard=config.batches_per_shard,
        devices=config.devices,
    )


def _spec(job: SynthesisJob) -> ImageSetSpec:
    return ImageSetSpec(
        name="synthesised",
        class_names=job.originals.class_names,
        image_shape=job.originals.image_shape,
        extras=(*FEATURES, *job.view_features),
        description="Images optimised until a classifier's whole output is the target (elicit).",
    )


def _footprint(job: SynthesisJob, batch_size: int) -> Footprint:
    """Compiles the updates, and gives the memory that they need. The job reuses the program."""
    say("compiling the updates")
    compiled_in = ("optimizer", "pixel_map", "image_filter", "criterion", "views", "loss")
    one_image = jax.ShapeDtypeStruct((1, *job.originals.image_shape), np.float32)
    program = imgopt.compile_updates(
        job.source.classify,
        (batch_size * job.devices, *job.originals.image_shape),
        devices=job.devices,
        **{name: getattr(job.options, name) for name in compiled_in},
    )
    return footprint(
        program,
        batch_size=batch_size,
        fixed=imgopt.split_classifier(job.source.classify, one_image).arrays,
        devices=job.devices,
    )


def _identity(config: SynthesizeConfig, job: SynthesisJob) -> dict[str, object]:
    """Everything that the set's bytes depend on, except for its end."""
    return {
        "classifier": job.source.identify(job.originals.image_shape),
        "dataset": dataset_identity(config.data, config.split, job.originals),
        "features": (*FEATURES, *job.view_features),
        "start": job.rows.start,
        **_describe_goal(config),
        **({"views": config.view.describe()} if job.options.views else {}),
        "batch_size": config.batch_size,
        "batches_per_shard": config.batches_per_shard,
        "precision": config.precision,
        "key": config.key,
        "device_kind": jax.devices()[0].device_kind,
        "jax": jax.__version__,
    }


def _describe_goal(config: SynthesizeConfig) -> dict[str, object]:
    """What the images are to reach, and how: targets and rule, or an attack."""
    target = {} if config.attack.makes_targets else {"target": describe_targets(config.target)}
    if config.attack.is_attack:
        return {**target, "attack": config.attack.describe()}
    return {**target, "rule": config.rule.describe()}


def _summarise(
    config: SynthesizeConfig, job: SynthesisJob, image_set: ResumableSet, *, left_out: int
) -> SetSummary:
    """Measures the whole set, and writes `summary.json` and the report."""
    directory = image_set.directory
    columns = read_extras(directory, ("kl", "max_error", "steps", *job.view_features))
    reader = open_images(directory)
    shown = ShownImages(reader.labels, columns["kl"])
    summary = summarise(
        shown.watch(pairs_in_parts(reader, job.originals, job.rows)),
        columns,
        job.options.pixel_map,
        left_out=left_out,
        is_attack=job.options.loss is not None,  # but that of the whole output
    )
    write_sealed(directory / "summary.json", summary.as_json())
    kl = {"all images": columns["kl"], "random views": columns.get("view_kl")}
    data = image_set.identity["dataset"]
    how = (
        f"attack {config.attack.attack}" if config.attack.is_attack else f"rule {config.rule.rule}"
    )
    made = ElicitedSet(
        title=f"Images from {data['name']}, {config.split}: {how}, key {config.key}",
        summary=summary,
        kl={name: values for name, values in kl.items() if values is not None},
        shown=shown.firsts,
        worst=shown.worst,
        budget=f"by the {how}, with {summary.steps_mean:.0f} updates on average",
        footer=provenance(
            {**environment(), "key": config.key},
            data=f"{data['name']}, {config.split} from {job.rows.start} to {job.rows.stop}, "
            f"{digest_words(data['sha256'])}",
            classifier="; ".join(
                f"{Path(each.name).name}, {digest_words(each.sha256)}"
                for each in job.source.sources
            ),
        ),
    )
    write_set_report(directory / "report.html", made)
    return summary
