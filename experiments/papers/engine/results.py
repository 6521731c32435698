"""The results of an experiment: what they depend on, and what `result.json` holds."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax

from experiments.options.papers import PresetConfig
from experiments.papers.engine.experiment import (
    ArmResult,
    Experiment,
    ExperimentResult,
    PresetExperiment,
    Source,
    settings_of,
)
from experiments.papers.engine.make_pieces import is_done
from experiments.papers.engine.plan import Arm, Piece, Plan, Row, needed
from imgopt.errors import InputError
from train.data.load import data_digest, open_images
from train.storage.runs import (
    CONFIG_FILE,
    as_json,
    differences,
    environment,
    read_result,
    write_result,
)
from train.storage.strict_json import read_sealed

MACHINE_FIELDS = ("device_kind", "versions")
"""Fields of an identity that describe the machine; results can be merged only if these agree."""

TRAINING_FIELDS = (
    "classifier_sha256", "device", "epoch", "step", "test_accuracy", "test_images", "timing",
    "train_images",
)  # fmt: skip
"""Fields of a training's result that an experiment's result keeps."""

OTHER_TEST_FIELDS = ("other_test_accuracy", "other_test_images")
"""Such fields of a second test, where there is one."""


def training_record(run: Path) -> dict[str, object]:
    """Accuracy, length and digest of a finished run of `elicit classifier train`.

    Args:
        run: directory of the run.
    """
    result = read_result(run)
    kept = (*TRAINING_FIELDS, *(name for name in OTHER_TEST_FIELDS if name in result))
    return {name: result[name] for name in kept}


def machine_identity() -> dict[str, Any]:
    """Kind of device, and versions of the packages that decide the numbers."""
    versions = environment()["versions"]
    return {
        "device_kind": jax.devices()[0].device_kind,
        "versions": {name: versions[name] for name in ("elicit", "jax", "jaxlib", "flax", "optax")},
    }


def preset_identity(
    experiment: PresetExperiment, config: PresetConfig, source: Source
) -> dict[str, Any]:
    """Everything that the results of a preset depend on; the data by digest, not by place.

    Args:
        experiment: the experiment.
        config: options with preset, precision and key.
        source: the data.

    Raises:
        InputError: the data are missing or damaged.
    """
    digests = {
        split: data_digest(open_images(source.dataset, split, data_dir=source.data_dir))
        for split in source.splits
    }
    return {
        "experiment": experiment.name,
        "preset": config.preset,
        **({} if config.precision == "float32" else {"precision": config.precision}),
        "settings": as_json(settings_of(experiment, config)),
        "data": {"name": source.dataset, "sha256": digests},
        "key": config.key,
        **machine_identity(),
    }


def write_results(
    experiment: Experiment,
    out: Path,
    plan: Plan,
    pieces: Mapping[str, Piece],
    identity: Mapping[str, Any],
) -> ExperimentResult:
    """Writes `result.json` with all arms that are finished, whichever call asked for them.

    Args:
        experiment: the experiment.
        out: directory of the results.
        plan: the plan.
        pieces: all pieces of the plan, by name.
        identity: everything that the results depend on.

    Returns:
        The results, with their fields in the order in which `elicit report` reads them.
    """
    done = [arm for arm in plan.arms if is_done(pieces[arm.piece])]
    arms = [{**arm._asdict(), **experiment.record(pieces[arm.piece].directory)} for arm in done]
    used = needed(pieces, [arm.piece for arm in done])
    finished = {piece.name: piece.directory for piece in used if is_done(piece)}
    kind = identity["device_kind"]
    result = {
        **environment(),
        **identity,
        "device": ", ".join(dict.fromkeys(arm.get("device", kind) for arm in arms)),
        "rows": [row._asdict() for row in plan.rows],
        "arms": arms,
        "missing": missing_arms(plan, pieces),
        "pieces": {piece.name: piece.digest for piece in used},
        **experiment.describe(finished),
    }
    # The pages are made from the result whenever the command is repeated, so it lists no digests
    # of them.
    write_result(out, result, of=(CONFIG_FILE,))
    return parse_result(read_result(out))


def parse_result(content: dict[str, Any]) -> ExperimentResult:
    """Reads the results of an experiment.

    Args:
        content: content of `result.json`.

    Raises:
        LookupError, TypeError, AttributeError: a field is missing or of another type.
    """
    names = Arm._fields
    arms = (
        ArmResult(
            **{name: arm[name] for name in names},
            record={name: value for name, value in arm.items() if name not in names},
        )
        for arm in content["arms"]
    )
    return ExperimentResult(
        rows=tuple(Row(**row) for row in content["rows"]),
        arms=tuple(arms),
        missing=tuple(content["missing"]),
        settings=content["settings"],
        content=content,
    )


def missing_arms(plan: Plan, pieces: Mapping[str, Piece]) -> list[str]:
    """Row and seed of every arm that is not finished.

    Args:
        plan: the plan.
        pieces: all pieces of the plan, by name.
    """
    missing = (arm for arm in plan.arms if not is_done(pieces[arm.piece]))
    return list(dict.fromkeys(f"{arm.row},{arm.seed}" for arm in missing))


def common_machine(places: Sequence[Path], identity: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of `MACHINE_FIELDS` that directories of results have in common.

    Args:
        places: directories of results to merge.
        identity: everything that the merged results depend on.

    Raises:
        InputError: a directory holds no results of this experiment, or they differ; the message
            names what differs.
    """
    found: dict[Path, Any] = {}
    for directory in places:
        if not (directory / CONFIG_FILE).is_file():
            raise InputError(
                f"expected results of an experiment to merge, got {directory}; give the --out of "
                "an earlier call"
            )
        found[directory] = read_sealed(directory / CONFIG_FILE)
    first = next(iter(found.values()))
    common = {name: first.get(name) for name in MACHINE_FIELDS}
    for directory, own in found.items():
        differing = differences(own, {**identity, **common})
        if differing:
            raise InputError(f"{directory} cannot be merged: {'; '.join(differing)}")
    return common
