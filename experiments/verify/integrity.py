"""Checks whether everything below a directory is as it was written.

Image sets are compared with their manifests, checkpoints with their digests, JSON files with the
digests that they hold, runs with the digests in their results, trained classifiers and GANs with
their results, and the results of experiments with their pieces. The check changes no file, and goes
on after every damage.

Pages and pictures of image sets and experiments, and a GAN's sheets of samples, have no digests:
nothing is read from them, and all except the sheets can be made again.
"""

import contextlib
import functools
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import gans.sampling
import train.classifiers
from experiments.options.papers import PIECES
from experiments.papers.engine.plan import DIGEST_LETTERS
from experiments.papers.registry import read_results
from gans.sampling import GENERATOR, load_gan
from imgopt.errors import InputError, is_own_fault
from train.classifiers import load_classifier
from train.data.load import list_splits
from train.data.verify import MANIFEST_FILE, SHARDS, read_manifest, verify
from train.storage.checkpoints import CHECKPOINTS, damaged_checkpoints
from train.storage.runs import (
    CONFIG_FILE,
    FILES,
    METRICS_FILE,
    RESULT_FILE,
    differences,
    environment,
    read_metrics,
    read_result,
    result_problems,
)
from train.storage.strict_json import read_json, read_sealed

JSON_FILES, EXPERIMENTS = "JSON files", "experiments"
"""Names of two kinds of things that are checked."""


class Findings(NamedTuple):
    """The results of a check.

    Attributes:
        counts: numbers of checked things by their kind.
        unchecked: directories with shards or a result, but without digests.
        alone: results that were kept without the files that they belong to, so that they could only
            be read: directories with a result, and files of other names.
        problems: one line for each problem, which names the file.
    """

    counts: dict[str, int]
    unchecked: list[Path]
    alone: list[Path]
    problems: list[str]


class _Check(NamedTuple):
    """The check of one kind of thing.

    Attributes:
        kind: name of the kind, in the plural.
        applies: says whether a path is such a thing; must not raise.
        problems: lists the problems, one line each; may raise anything.
    """

    kind: str
    applies: Callable[[Path], bool]
    problems: Callable[[Path], list[str]]


def check_below(directory: Path, *, pieces: Path | None = None) -> Findings:
    """Checks a directory and everything below it.

    Args:
        directory: a run, an image set, results of an experiment, or a folder of these.
        pieces: directory of the experiments' pieces, if it is not `pieces` in their results; only
            the pieces that the results name are checked.

    Raises:
        InputError: there is no such directory, or nothing in it to check, or pieces are given
            without an experiment.
    """
    if not directory.is_dir():
        raise InputError(
            f"expected a directory to verify, got {directory}, which is none; check the path"
        )
    places = [directory]
    if pieces is not None:
        places += _pieces_elsewhere(directory, pieces)
    paths = list(dict.fromkeys(path for place in places for path in (place, *_below(place))))
    counts, problems = {}, {}
    for check in _checks(pieces):
        things = [path for path in paths if check.applies(path)]
        counts[check.kind] = len(things)
        problems |= dict.fromkeys(line for path in things for line in _guarded(check, path))
    alone = [] if pieces is not None else [_shown(path) for path in paths if _is_lone_result(path)]
    if not (problems or alone):
        _check_enough(directory, counts, pieces)
    unchecked = [path for path in paths if _has_shards_alone(path) or _has_bare_result(path)]
    unchecked = [path for path in unchecked if path not in alone]
    return Findings(counts, unchecked, alone, list(problems))


def pieces_named(directory: Path, *, pieces: Path | None = None) -> dict[str, Path]:
    """The directories of the pieces from which results were made, by name.

    Args:
        directory: directory of the results.
        pieces: directory of the pieces; `pieces` in the results by default.

    Raises:
        InputError: the results name no pieces.
    """
    root = pieces or directory / PIECES
    named = read_result(directory).get("pieces")
    if not isinstance(named, dict) or not all(isinstance(text, str) for text in named.values()):
        raise InputError(
            f"expected digests of pieces in {directory / RESULT_FILE}, got {named!r}; "
            "repeat the experiment"
        )
    return {name: root / f"{name}-{text[:DIGEST_LETTERS]}" for name, text in named.items()}


def _checks(pieces: Path | None) -> tuple[_Check, ...]:
    experiment = functools.partial(_experiment_problems, pieces)
    is_classifier = functools.partial(_is_run, train.classifiers.SPEC_FILE, "parameters")
    is_gan = functools.partial(_is_run, gans.sampling.SPEC_FILE, "parameters_of_generators")
    return (
        _Check(JSON_FILES, _is_json, _json_problems),
        _Check("image sets", lambda path: (path / MANIFEST_FILE).is_file(), _set_problems),
        _Check("directories of checkpoints", _holds_checkpoints, damaged_checkpoints),
        _Check("results with their files", _is_finished, result_problems),
        _Check("classifiers", is_classifier, _classifier_problems),
        _Check("GANs", is_gan, _gan_problems),
        _Check(EXPERIMENTS, _is_experiment, experiment),
    )


def _check_enough(directory: Path, counts: Mapping[str, int], pieces: Path | None) -> None:
    """Raises InputError if there was nothing to check; JSON files alone do not count."""
    if not any(count for kind, count in counts.items() if kind != JSON_FILES):
        raise InputError(
            f"expected something to verify in {directory}, got no finished image set, run or "
            "experiment there or below"
        )
    if pieces is not None and not counts[EXPERIMENTS]:
        raise InputError(
            f"--pieces {pieces} is for the results of experiments, got none in {directory}; leave "
            "it out"
        )


def _guarded(check: _Check, path: Path) -> list[str]:
    try:
        lines = check.problems(path)
    except InputError as error:
        lines = [str(error)]
    except FileNotFoundError as error:
        lines = [f"{error.filename} is missing"]
    except Exception as error:  # damaged bytes raise errors of many kinds in libraries
        if is_own_fault(error) and not isinstance(error, LookupError):  # of a missing field
            raise
        lines = [f"it cannot be read ({type(error).__name__}: {error})"]
    return [line if str(path) in line else f"{path}: {line}" for line in lines]


def _below(directory: Path) -> list[Path]:
    return sorted(directory.rglob("*"))


def _pieces_elsewhere(directory: Path, pieces: Path) -> Iterator[Path]:
    """The pieces that results in or below a directory name."""
    for results in filter(_is_experiment, (directory, *_below(directory))):
        with contextlib.suppress(InputError):  # reported when the results are checked
            yield from pieces_named(results, pieces=pieces).values()


def _read_object(path: Path) -> Mapping[str, Any]:
    """Reads a JSON object; returns an empty one if there is no file or no object in it."""
    try:
        value = read_json(path)
    except (InputError, OSError):
        return {}
    return value if isinstance(value, dict) else {}


def _is_run(spec_file: str, field: str, path: Path) -> bool:
    """Whether a path is a finished run, by its files or by its result, as either may be damaged."""
    by_files = all((path / name).is_file() for name in (CONFIG_FILE, spec_file, RESULT_FILE))
    return by_files or field in _read_object(path / RESULT_FILE)


def _is_experiment(path: Path) -> bool:
    return "experiment" in _read_object(path / RESULT_FILE)


def _is_lone_result(path: Path) -> bool:
    """Whether a JSON file is the result of a command, kept without the files that it belongs to."""
    others = (CONFIG_FILE, PIECES, MANIFEST_FILE)
    return (
        _is_json(path)
        and not any((path.parent / name).exists() for name in others)
        and environment().keys() <= _read_object(path).keys()
    )


def _shown(result: Path) -> Path:
    """The path that names a result: its directory, or its file if that is not `result.json`."""
    return result.parent if result.name == RESULT_FILE else result


def _is_alone(results: Path, pieces: Path | None) -> bool:
    """Whether an experiment's result was kept without its configuration and its pieces."""
    is_there = (results / CONFIG_FILE).exists() or (results / PIECES).exists()
    return pieces is None and not is_there


def _is_finished(path: Path) -> bool:
    """Whether a result lies beside the files of its run; it may have been kept without them."""
    return (path / RESULT_FILE).is_file() and (
        (path / CONFIG_FILE).is_file()
        or any((path / name).is_dir() for name in (CHECKPOINTS, GENERATOR))
    )


def _holds_checkpoints(path: Path) -> bool:
    """Whether a path holds checkpoints; each stage of a GAN has its own, below the run."""
    has_name = path.name in (CHECKPOINTS, GENERATOR) or path.parent.name == CHECKPOINTS
    return has_name and any(map(_is_digest_file, path.glob("*.json")))


def _is_digest_file(path: Path) -> bool:
    """Whether a JSON file holds the digests of a checkpoint, by its name."""
    return path.stem.isdecimal()


def _has_shards_alone(path: Path) -> bool:
    return not (path / MANIFEST_FILE).is_file() and next(path.glob(SHARDS), None) is not None


def _has_bare_result(path: Path) -> bool:
    result = _read_object(path / RESULT_FILE)
    return bool(result) and FILES not in result


def _is_json(path: Path) -> bool:
    """Whether a path is a JSON file that is checked by itself; digests of checkpoints are not."""
    has_name = path.name == METRICS_FILE or path.suffix == ".json"
    return has_name and path.is_file() and not _is_digest_file(path)


def _json_problems(path: Path) -> list[str]:
    if path.name == METRICS_FILE:
        read_metrics(path.parent)
    else:
        read_sealed(path)
    return []


def _set_problems(directory: Path) -> list[str]:
    """Compares shards with the manifest, and the manifest with what TFDS will read."""
    problems = [str(directory / line) for line in verify(directory)]
    recorded: dict[str, int] = {}
    for shard in (read_manifest(directory) or {})["shards"]:
        recorded[shard["split"]] = recorded.get(shard["split"], 0) + shard["num_examples"]
    listed = list_splits(directory.absolute())  # a relative name may be that of a data set
    differing = differences(recorded, listed)
    if differing:
        problems.append(f"{directory / MANIFEST_FILE}: other images listed: {'; '.join(differing)}")
    return problems


def _classifier_problems(run: Path) -> list[str]:
    """Compares the classifier with its digest, and the result with the metrics."""
    result = read_result(run)
    problems = _differing(run / RESULT_FILE, result, _metrics(run)[-1], METRICS_FILE)
    if not damaged_checkpoints(run / CHECKPOINTS):
        load_classifier(run)  # raises if the classifier differs from the result
    return problems


def _gan_problems(run: Path) -> list[str]:
    """Compares the generators with their digest, and the result with the metrics."""
    result = read_result(run)
    last = {"last": {line["stage"]: line for line in _metrics(run)}}
    problems = _differing(run / RESULT_FILE, result, last, METRICS_FILE)
    if not damaged_checkpoints(run / GENERATOR):
        load_gan(run)  # raises if the GAN differs from the result
    return problems


def _metrics(run: Path) -> list[dict[str, Any]]:
    """Reads the metrics of a finished run, which has at least one line."""
    lines = read_metrics(run)
    if not lines:
        raise InputError(f"expected a line for each epoch in {run / METRICS_FILE}, got none")
    return lines


def _differing(
    path: Path, result: Mapping[str, Any], wanted: Mapping[str, Any], of: str
) -> list[str]:
    """One line if fields of a file's content differ from those wanted, which `of` holds."""
    lines = differences({name: result.get(name) for name in wanted}, dict(wanted))
    return [f"{path} does not agree with {of}: {'; '.join(lines)}"] if lines else []


def _experiment_problems(pieces: Path | None, directory: Path) -> list[str]:
    """Compares the results with the configuration, and with the pieces.

    Results that were kept alone are only read.
    """
    experiment, result = read_results(directory)
    if _is_alone(directory, pieces):
        return []
    path = directory / RESULT_FILE
    content = result.content
    problems = _differing(path, content, read_sealed(directory / CONFIG_FILE), CONFIG_FILE)
    places = pieces_named(directory, pieces=pieces)
    there = {name: place for name, place in places.items() if _is_complete(place)}
    root = pieces or directory / PIECES
    if places and not there:
        return [*problems, f"{root} has none of the pieces that {path} names; give --pieces DIR"]
    absent = [place for name, place in places.items() if name not in there]
    problems += [f"{place}: no finished piece is there; make it again" for place in absent]
    problems += _differing(path, content, experiment.describe(there), str(root))
    for arm in result.arms:
        if arm.piece in there:
            record = experiment.record(there[arm.piece])
            problems += _differing(path, arm.record, record, str(there[arm.piece]))
    return problems


def _is_complete(piece: Path) -> bool:
    return any((piece / name).is_file() for name in (MANIFEST_FILE, RESULT_FILE))
