"""The programs that the commands run on a device, lowered for any devices."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from harness.untrained import IMAGE_SHAPE, NUM_CLASSES, describe_classifier

import gans
import imgopt
from gans.encoder_training import EncoderLearner
from gans.options.training import EncoderConfig
from gans.pairs import build_encoder
from gans.sampling import GanSpec, expected_variables, generate
from train.classifier_training import ClassifierLearner
from train.classifiers import Classifier, classify_function
from train.evaluation import lower_predict
from train.loop import FitOptions, lower_training
from train.recipes.train_options import Budget, Precision, TrainConfig
from train.training_sets import TrainData

EXAMPLES = 50_000
"""Images of the training set, as CIFAR-10 has."""

Lowered = jax.stages.Lowered
Devices = Sequence[jax.Device]


class Case(NamedTuple):
    """A job at one size, for some chips.

    Attributes:
        job: a key of `JOBS`.
        model: name of the classifier, for jobs that have one.
        precision: precision of the computation.
        batch_size: images a chip computes at a time.
        chip: a key of `chips.CHIPS`.
        chips: how many of them share a batch.
        width: factor on the channels.
    """

    job: str
    model: str = ""
    precision: Precision = "float32"
    batch_size: int = 128
    chip: str = "v5e"
    chips: int = 1
    width: float = 1.0

    @property
    def name(self) -> str:
        """The case as text, unlike any other's."""
        job = f"{self.job} {self.model}".strip()
        return f"{job}, {self.precision}, {self.batch_size} × {self.chips} {self.chip}"

    @property
    def images(self) -> int:
        """Images in a batch of all chips."""
        return self.batch_size * self.chips


def lower(case: Case, devices: Devices) -> dict[str, Lowered]:
    """Lowers the programs of a case, by name."""
    return JOBS[case.job](case, devices)


def _classifier(case: Case, precision: Precision) -> Any:
    """A classifier whose variables are all 0: only their shapes matter."""
    spec = describe_classifier(case.model, width=case.width)
    network, images = spec.build(), jax.ShapeDtypeStruct((1, *IMAGE_SHAPE), jnp.float32)
    shapes = jax.eval_shape(lambda x: network.init(jax.random.key(0), x, train=False), images)
    variables = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)
    return classify_function(Classifier(spec, variables), precision=precision)


def _synthesis(case: Case, devices: Devices, **options: Any) -> dict[str, Lowered]:
    """`elicit synthesize`; what measures is in float32."""
    found = imgopt.lower_synthesis(
        _classifier(case, case.precision),
        (case.images, *IMAGE_SHAPE),
        devices=devices,
        measure=_classifier(case, "float32"),
        **options,
    )
    return dict(found._asdict())


def _paper_synthesis(case: Case, devices: Devices) -> dict[str, Lowered]:
    """Paper A's synthesis, by gradient descent; only the updates differ from the default's."""
    return {"updates": _synthesis(case, devices, optimizer=imgopt.sgd())["updates"]}


def _training(
    case: Case, devices: Devices, learner: Any, data: Any, **options: Any
) -> dict[str, Lowered]:
    """Any training; the first state and the batches are drawn on the device too."""
    found = lower_training(
        learner, data, Budget(case.images, 1), FitOptions(**options), devices=devices
    )
    return dict(found._asdict())


def _classifier_training(case: Case, devices: Devices) -> dict[str, Lowered]:
    config = TrainConfig(batch_size=case.images, precision=case.precision).step_config
    learner = ClassifierLearner(describe_classifier(case.model, width=case.width), config)
    data = TrainData(
        *_gan_data(),
        jax.ShapeDtypeStruct((EXAMPLES, NUM_CLASSES), jnp.float32),
        jax.ShapeDtypeStruct((EXAMPLES,), jnp.bool_),
    )
    return _training(case, devices, learner, data)


def _gan_data() -> gans.GanData:
    return gans.GanData(
        jax.ShapeDtypeStruct((EXAMPLES, *IMAGE_SHAPE), jnp.uint8),
        jax.ShapeDtypeStruct((EXAMPLES,), jnp.int32),
    )


def _predict(case: Case, devices: Devices) -> dict[str, Lowered]:
    """`classifier evaluate`, `gan evaluate` and `select`."""
    shape = (case.batch_size, *IMAGE_SHAPE)
    return {"predict": lower_predict(_classifier(case, "float32"), shape, devices=devices)}


def _gan_training(case: Case, devices: Devices, *pairs: Any, **options: Any) -> dict[str, Lowered]:
    config = gans.GameConfig()
    if len(pairs) > 1:
        config = gans.GameConfig(generator_steps="adaptive", averaging=0.999)
    learner = gans.GanLearner(pairs, config, learning_rate=2e-4)
    return _training(case, devices, learner, _gan_data(), **options)


def _dcgan_config(case: Case, num_classes: int | None) -> gans.DcganConfig:
    return gans.DcganConfig(num_classes=num_classes, width=round(64 * case.width))


def _conditional_dcgan(case: Case, devices: Devices) -> dict[str, Lowered]:
    pair = gans.DcganPair(_dcgan_config(case, NUM_CLASSES), precision=case.precision)
    return _gan_training(case, devices, pair)


def _dcgan_per_class(case: Case, devices: Devices) -> dict[str, Lowered]:
    pair = gans.DcganPair(_dcgan_config(case, None), precision=case.precision)
    rows = np.split(np.arange(EXAMPLES), NUM_CLASSES)
    groups = {str(label): each for label, each in enumerate(rows)}
    return _gan_training(case, devices, pair, groups=groups)


def _stack(case: Case) -> tuple[gans.StackConfig, list[gans.LevelPair]]:
    config = gans.StackConfig(width=round(128 * case.width), encoder_width=round(64 * case.width))
    pairs = [
        gans.LevelPair(config, level, gans.LossWeights(), precision=case.precision)
        for level in gans.stack_levels(config)
    ]
    return config, pairs


def _encoder(config: gans.StackConfig) -> Any:
    network, images = build_encoder(config), jax.ShapeDtypeStruct((1, *IMAGE_SHAPE), jnp.float32)
    return dict(jax.eval_shape(lambda x: network.init(jax.random.key(0), x), images))


def _level(number: int) -> Callable[[Case, Devices], dict[str, Lowered]]:
    def lower_level(case: Case, devices: Devices) -> dict[str, Lowered]:
        config, pairs = _stack(case)
        return _gan_training(case, devices, pairs[number], constants=_encoder(config))

    return lower_level


def _joint_levels(case: Case, devices: Devices) -> dict[str, Lowered]:
    config, pairs = _stack(case)
    return _gan_training(case, devices, *pairs, constants=_encoder(config))


def _encoder_training(case: Case, devices: Devices) -> dict[str, Lowered]:
    learner = EncoderLearner(_stack(case)[0], EncoderConfig(), precision=case.precision)
    return _training(case, devices, learner, _gan_data())


def _sampling(model: str) -> Callable[[Case, Devices], dict[str, Lowered]]:
    def lower_sampling(case: Case, devices: Devices) -> dict[str, Lowered]:
        config = _dcgan_config(case, NUM_CLASSES) if model == "dcgan" else _stack(case)[0]
        names = tuple(map(str, range(NUM_CLASSES)))
        layout = jax.sharding.SingleDeviceSharding(devices[0])
        given = jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=layout),
            (
                expected_variables(GanSpec(model, names, config)),
                jax.eval_shape(lambda: jax.random.split(jax.random.key(0), case.batch_size)),
                jax.ShapeDtypeStruct((case.batch_size,), jnp.int32),
            ),
        )
        return {"generate": generate.lower(config, *given)}

    return lower_sampling


JOBS: dict[str, Callable[[Case, Devices], dict[str, Lowered]]] = {
    "synthesize": _synthesis,
    "synthesize by gradient descent": _paper_synthesis,
    "train": _classifier_training,
    "predict": _predict,
    "conditional DCGAN": _conditional_dcgan,
    "DCGAN a class": _dcgan_per_class,
    "Stacked GAN, images": _level(0),
    "Stacked GAN, features": _level(1),
    "Stacked GAN, joint": _joint_levels,
    "Stacked GAN, encoder": _encoder_training,
    "sample DCGAN": _sampling("dcgan"),
    "sample Stacked GAN": _sampling("sgan"),
}
"""What lowers the programs of each job."""

NETWORK_JOBS = ("synthesize", "synthesize by gradient descent", "train", "predict")
"""Jobs that have a classifier."""

ONE_DEVICE_JOBS = ("predict", "sample DCGAN", "sample Stacked GAN")
"""Jobs whose programs run on one device, however many there are."""
