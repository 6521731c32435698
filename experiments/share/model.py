"""Trained networks for JAX alone: parameters as safetensors, and a program of `jax.export`.

The program takes the parameters as its first argument, so they can be trained further, and batches
of any size. It runs where JAX runs, without Elicit and Flax, on CPUs, CUDA's GPUs and TPUs.
"""

import contextlib
import dataclasses
import importlib.metadata
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from elicit_jax import DISTRIBUTION
from experiments.share.card import licence_words
from experiments.share.columns import import_extra, is_set, without_paths
from gans.sampling import SPEC_FILE as GAN_FILE
from gans.sampling import Gan, gan_digest, generate, image_keys, load_gan
from imgopt.errors import InputError
from train.classifiers import SPEC_FILE as CLASSIFIER_FILE
from train.classifiers import Classifier, classify_function, digest, load_classifier
from train.storage.files import building_directory, sha256_of
from train.storage.runs import CONFIG_FILE, RESULT_FILE, as_json, read_result
from train.storage.strict_json import read_sealed, write_sealed

PLATFORMS = ("cpu", "cuda", "tpu")
PARAMS_FILE = "params.safetensors"
PROGRAM_FILE = "program.jax_export"
MODEL_FILE = "model.json"
README_FILE = "README.md"

SEPARATOR = "/"
"""Stands between the parts of a parameter's name."""

RESULTS = ("test_accuracy", "test_images", "step", "epoch")
"""Fields of a run's result that say how good the network is."""


class ExportedModel(NamedTuple):
    """A trained network, and the function that its program computes.

    Attributes:
        kind: "classifier" or "GAN".
        variables: its arrays.
        function: function of the flat parameters and `inputs`.
        inputs: shapes and types of the other arguments, with a batch size that is symbolic.
        facts: what model.json says besides, as JSON types.
        usage: lines of Python that call the program.
        vjp_order: how often the program can be differentiated.
    """

    kind: str
    variables: dict[str, Any]
    function: Callable[..., Any]
    inputs: tuple[Any, ...]
    facts: dict[str, Any]
    usage: str
    vjp_order: int


def is_run(place: Path) -> bool:
    """Whether a directory is a run of a classifier or a GAN."""
    return any((place / name).is_file() for name in (CLASSIFIER_FILE, GAN_FILE))


def export_model(run: Path, out: Path, *, licence: str) -> None:
    """Writes the network of a run into a new directory.

    Args:
        run: a run of a classifier or a GAN.
        out: the directory.
        licence: licence of the images that it was trained on.

    Raises:
        InputError: the directory is no such run, or is damaged; `out` exists; or a package of the
            extra `share` is missing.
    """
    safetensors = import_extra("safetensors.numpy")
    import_extra("flatbuffers")  # which JAX needs to serialise a program
    model = _load(run)
    params = flat_params(model.variables)
    with building_directory(out) as place:
        safetensors.save_file(params, place / PARAMS_FILE)
        (place / PROGRAM_FILE).write_bytes(program(model))
        (place / README_FILE).write_text(_readme(model, licence), encoding="utf-8")
        files = {path.name: sha256_of(path) for path in sorted(place.iterdir())}
        told = {
            "kind": model.kind,
            **model.facts,
            "platforms": PLATFORMS,
            "licence_of_the_images": licence,
            "versions": _versions(),
            "trained": _training(run),
            "files": files,
        }
        write_sealed(place / MODEL_FILE, as_json(told))
    count = sum(array.size for array in params.values())
    print(f"{out}: a {model.kind} of {count:,} numbers, for {', '.join(PLATFORMS)}")


def _load(run: Path) -> ExportedModel:
    if (run / CLASSIFIER_FILE).is_file():
        return classifier_model(load_classifier(run))
    if (run / GAN_FILE).is_file():
        return gan_model(load_gan(run))
    found = "is an image set; export it with --to huggingface, folder or npz"
    raise InputError(
        f"expected a run of elicit classifier train or elicit gan train with --to jax, got {run}, "
        f"which {found if is_set(run) else 'is neither a run nor an image set; check the path'}"
    )


CLASSIFIER_USAGE = """\
images = jnp.zeros((8, {shape}), jnp.float32)  # in [0, 1]
logits = program(params, images)  # one row an image, one column a class; normalised inside
"""


def classifier_model(classifier: Classifier) -> ExportedModel:
    """A classifier, with the program classify(params, images) → logits, which has a gradient.

    Args:
        classifier: Trained classifier.
    """
    spec = classifier.spec
    apply = classify_function(classifier).func

    def classify(params: dict[str, Any], images: Any) -> Any:
        return apply(unflatten_dict(params, sep=SEPARATOR), images)

    images = jax.ShapeDtypeStruct((_batch(), *spec.image_shape), jnp.float32)
    facts = {
        "network": spec.network,
        "width": spec.width,
        "class_names": spec.class_names,
        "image_shape": spec.image_shape,
        "normalisation": {"inside": True, "mean": spec.mean, "std": spec.std},
        "arguments": ["params", "images: float32 (n, height, width, channels) in [0, 1]"],
        "result": "logits: float32 (n, classes)",
        "network_sha256": digest(classifier),
    }
    usage = CLASSIFIER_USAGE.format(shape=", ".join(map(str, spec.image_shape)))
    return ExportedModel("classifier", classifier.variables, classify, (images,), facts, usage, 1)


GAN_USAGE = """\
numbers = jnp.arange(8, dtype=jnp.int32)  # as many images as there are numbers
images = program(params, jnp.uint32(0), jnp.int32(1), numbers)  # by key 0, of class 1; uint8
"""


def gan_model(gan: Gan) -> ExportedModel:
    """A GAN, with the program sample(params, key, label, numbers) → images.

    They are the images of these numbers that `elicit gan sample --key KEY` draws for the class.

    Args:
        gan: trained GAN.
    """
    spec = gan.spec

    def sample(params: dict[str, Any], key: Any, label: Any, numbers: Any) -> Any:
        variables = unflatten_dict(params, sep=SEPARATOR)
        if spec.is_per_class:
            variables = jax.tree.map(lambda leaf: leaf[label], variables)
        keys = image_keys(jax.random.key(key), label, numbers)
        labels = jnp.broadcast_to(label, numbers.shape)
        return generate(spec.config, variables, keys, labels)[0]

    inputs = (
        jax.ShapeDtypeStruct((), jnp.uint32),
        jax.ShapeDtypeStruct((), jnp.int32),
        jax.ShapeDtypeStruct((_batch(),), jnp.int32),
    )
    facts = {
        "model": spec.model,
        "config": dataclasses.asdict(spec.config),
        "class_names": spec.class_names,
        "image_shape": spec.image_shape,
        "arguments": ["params", "key: uint32 ()", "label: int32 ()", "numbers: int32 (n)"],
        "result": "images: uint8 (n, height, width, channels)",
        "network_sha256": gan_digest(gan),
    }
    return ExportedModel("GAN", gan.variables, sample, inputs, facts, GAN_USAGE, 0)


def _batch() -> Any:
    """A batch size that is any number."""
    return jax.export.symbolic_shape("n")[0]


def flat_params(variables: dict[str, Any]) -> dict[str, np.ndarray]:
    """Arrays of a network by name, such as "params/Conv_0/kernel", as safetensors keeps them."""
    flat = flatten_dict(variables, sep=SEPARATOR)
    return {name: np.ascontiguousarray(flat[name]) for name in sorted(flat)}


def program(model: ExportedModel) -> bytes:
    """The program of a network for all of `PLATFORMS`, serialised. The same bytes every time.

    Args:
        model: the network.

    Raises:
        InputError: a network of the user's own cannot be exported.
    """
    shapes = {
        name: jax.ShapeDtypeStruct(array.shape, array.dtype)
        for name, array in flat_params(model.variables).items()
    }
    own = model.facts.get("network", "")
    try:
        with _without_places():
            exported = jax.export.export(jax.jit(model.function), platforms=PLATFORMS)(
                shapes, *model.inputs
            )
            return bytes(exported.serialize(vjp_order=model.vjp_order))
    except Exception as error:
        if ":" not in own:  # our networks can be exported
            raise
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise InputError(
            f"expected a network that JAX can export for batches of any size, got {own} "
            f"({reason}); let it take the size from x.shape[0], not from len(x), and compare "
            "nothing with it"
        ) from error


@contextlib.contextmanager
def _without_places() -> Iterator[None]:
    """Keeps the paths and lines of this machine's source files out of a program."""
    name = "jax_traceback_in_locations_limit"
    before = jax.config.values[name]
    jax.config.update(name, 0)
    try:
        yield
    finally:
        jax.config.update(name, before)


def _versions() -> dict[str, str]:
    packages = (DISTRIBUTION, "jax", "flax", "numpy", "safetensors")
    return {name: importlib.metadata.version(name) for name in packages}


def _training(run: Path) -> dict[str, Any]:
    """How the run was configured and what it reached, as far as its files say."""
    config = read_sealed(run / CONFIG_FILE) if (run / CONFIG_FILE).is_file() else {}
    result = read_result(run) if (run / RESULT_FILE).is_file() else {}
    reached = {name: result[name] for name in RESULTS if name in result}
    return {"config": without_paths(config), "result": reached}


README = """\
# A {kind}, for JAX

- `{params}`: its {count:,} numbers.
- `{program}`: a program of `jax.export` for {platforms}, batches of any size.
- `{model}`: classes, shapes, how it was trained, versions, digests.

It needs `pip install jax safetensors flatbuffers`, and neither Elicit nor Flax:

```python
import pathlib, jax, jax.export, jax.numpy as jnp
from safetensors.numpy import load_file
params = load_file("{params}")
program = jax.export.deserialize(bytearray(pathlib.Path("{program}").read_bytes())).call
{usage}```

Classes: {classes}.

{licence}

Exported by `elicit export RUN --to jax --out DIR` of Elicit.
"""


def _readme(model: ExportedModel, licence: str) -> str:
    return README.format(
        kind=model.kind,
        params=PARAMS_FILE,
        program=PROGRAM_FILE,
        model=MODEL_FILE,
        count=sum(array.size for array in jax.tree.leaves(model.variables)),
        platforms=", ".join(PLATFORMS),
        usage=model.usage,
        classes=", ".join(
            f"{label} {name}" for label, name in enumerate(model.facts["class_names"])
        ),
        licence=licence_words(licence),
    )
