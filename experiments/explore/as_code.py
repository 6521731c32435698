"""The command and the Python code that make the image on the page again, byte for byte."""

import shlex
import textwrap
from typing import Any

import numpy as np

from experiments.explore.subject import Subject
from experiments.explore.updates import OptimisationRequest
from experiments.options.explore import ClassifierOptions
from experiments.options.synthesis import RuleConfig, parse_options
from imgopt import ranked_targets
from imgopt.errors import InputError

IMAGE_FILE = "image.png"
MADE_SET = "elicited"


def command_text(subject: Subject, request: OptimisationRequest, *, rule: RuleConfig) -> str:
    """The command `elicit synthesize` that makes a set of the same one image.

    Args:
        subject: the classifier and its data set.
        request: the image and the target.
        rule: the rule, with as many steps as the image has taken.

    Raises:
        InputError: the image was uploaded, and so is in no data set.
    """
    picture, options = request.picture, subject.options
    if picture.file_name is not None:
        raise InputError(
            "an uploaded picture is in no data set; copy the Python, or make a set of your "
            "pictures by elicit data import"
        )
    place = [] if options.data_dir is None else ["--data-dir", str(options.data_dir)]
    words = [
        *("elicit", "synthesize", "--classifier", str(options.classifier)),
        *("--data", options.data, *place, "--split", options.split),
        *("--start", str(picture.number), "--stop", str(picture.number + 1)),
        *_target_words(request.target, subject.class_names),
        *_rule_words(rule),
        *("--out", MADE_SET),
    ]
    return shlex.join(words)


def _target_words(target: np.ndarray, class_names: tuple[str, ...]) -> list[str]:
    """Options that give exactly this target."""
    k = len(target)
    if (target == np.float32(1 / k)).all():
        return ["--targets", "uniform"]
    order = np.argsort(-target, kind="stable")
    values = [_decimal(target[label]) for label in order]
    above_0 = int((target > 0).sum())
    for listed in (above_0, k):  # all classes, if rounding would leave the others a little
        ranking, masses = order[:listed].tolist(), values[:listed]
        numbers = [float(mass) for mass in masses]
        made = ranked_targets(1, ranking=ranking, masses=numbers, num_classes=k)
        if (np.asarray(made)[0] == target).all():
            break
    names = [class_names[label] for label in ranking]
    return ["--targets", "ranked", "--ranking", *names, "--masses", *masses]


def _decimal(value: Any) -> str:
    """The shortest decimal number that float32 rounds to this value."""
    return np.format_float_positional(value, trim="0")


def _rule_words(rule: RuleConfig) -> list[str]:
    """The options that differ from their defaults."""
    usual, words = RuleConfig(), []
    for name in ("rule", "rule_options", "pixel_map", "filter", "radius", "sigma", "steps"):
        value = getattr(rule, name)
        if value != getattr(usual, name):
            values = value if isinstance(value, tuple) else (value,)
            words += [f"--{name.replace('_', '-')}", *map(str, values)]
    return (
        words if rule.tolerance == usual.tolerance else [*words, "--tolerance", str(rule.tolerance)]
    )


def python_text(subject: Subject, request: OptimisationRequest, *, rule: RuleConfig) -> str:
    """Python code that writes the same image to a file.

    Args:
        subject: the classifier and its data set.
        request: the image and the target.
        rule: the rule, with as many steps as the image has taken.
    """
    picture = request.picture
    numbers = textwrap.wrap(", ".join(map(_decimal, request.target)), 80)
    first_lines, imports = _start_lines(subject, request)
    made = "pixels[0, :, :, 0]" if subject.image_shape[2] == 1 else "pixels[0]"
    return "\n".join(
        [
            *(["from pathlib import Path", ""] if picture.file_name else []),
            "import numpy as np",
            "from PIL import Image",
            "",
            "import imgopt",
            "from experiments.classifier.source import find_classifier",
            *imports,
            "",
            *first_lines,
            f"classifier = find_classifier({str(subject.options.classifier)!r}, "
            'precision="float32")',
            "target = np.array(",
            f"    [[{(chr(10) + ' ' * 6).join(numbers)}]], np.float32",
            ")",
            "result = imgopt.synthesize(",
            "    classifier.classify,",
            "    imgopt.to_float(start),",
            "    target,",
            f"    indices=[{picture.number}],",
            *(f"    {name}={value}," for name, value in _arguments(rule).items()),
            ")",
            "pixels = np.asarray(imgopt.to_uint8(result.images))",
            f"Image.fromarray({made}).save({IMAGE_FILE!r})",
            "",
        ]
    )


def _start_lines(subject: Subject, request: OptimisationRequest) -> tuple[list[str], list[str]]:
    """Lines that read the original, and the lines that import what they need."""
    picture = request.picture
    if picture.file_name is not None:
        return (
            [
                f"picture = Path({picture.file_name!r})",
                f"start = picture_of_shape(picture, {subject.image_shape})[None]",
            ],
            ["from experiments.explore.pictures import picture_of_shape"],
        )
    options: ClassifierOptions = subject.options
    place = "" if options.data_dir is None else f", data_dir={str(options.data_dir)!r}"
    opened = f"open_images({options.data!r}, {options.split!r}{place})"
    return (
        [f"start = {opened}.read({picture.number}, {picture.number + 1}).images"],
        ["from train.data.load import open_images"],
    )


def _arguments(rule: RuleConfig) -> dict[str, Any]:
    """Arguments of `imgopt.synthesize` as code."""
    usual = RuleConfig()
    arguments: dict[str, Any] = {"steps": rule.steps, "tolerance": rule.tolerance}
    if (rule.rule, rule.rule_options) != (usual.rule, usual.rule_options):
        given = [f"{name}={value!r}" for name, value in parse_options(rule.rule_options).items()]
        arguments["optimizer"] = f"imgopt.rule_by_name({', '.join([repr(rule.rule), *given])})"
    if rule.pixel_map != usual.pixel_map:
        arguments["pixel_map"] = f"imgopt.{rule.pixel_map}_map()"
    if rule.filter == "low-pass":
        arguments["image_filter"] = f"imgopt.low_pass({rule.radius})"
    if rule.filter == "gaussian":
        arguments["image_filter"] = f"imgopt.gaussian_low_pass({rule.sigma})"
    return arguments
