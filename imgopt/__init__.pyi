from imgopt.attacks import (
    excluded_log_probability,
    fgsm,
    identity_map,
    margin,
    pgd,
    smallest_perturbation,
)
from imgopt.classifier import Classify, as_fixed_batch, mean_classifier, split_classifier
from imgopt.errors import InputError
from imgopt.filters import Augmentation, ImageFilter, Views, crop, flip, gaussian_low_pass, low_pass
from imgopt.measures import (
    high_frequency_energy,
    mean_absolute_change,
    ranking_as_asked,
    saturation,
)
from imgopt.method import FROZEN_SLOPE, Loss, Options, State, Synthesis, Transform, transform
from imgopt.pixel_maps import PixelMap, arctan_map, sigmoid_map, slope, tanh_map, to_float, to_uint8
from imgopt.programs import check_device_count
from imgopt.rules import momentum_sgd, polyak, polyak_lbfgs, rule_by_name, sgd
from imgopt.synthesis import (
    check_inputs,
    compile_updates,
    iterate,
    lower_synthesis,
    synthesize,
    synthesize_in_batches,
)
from imgopt.targets import check_targets, ranked_targets, two_class_targets, uniform_targets

__all__ = [
    "FROZEN_SLOPE",
    "Augmentation",
    "Classify",
    "ImageFilter",
    "InputError",
    "Loss",
    "Options",
    "PixelMap",
    "State",
    "Synthesis",
    "Transform",
    "Views",
    "arctan_map",
    "as_fixed_batch",
    "check_device_count",
    "check_inputs",
    "check_targets",
    "compile_updates",
    "crop",
    "excluded_log_probability",
    "fgsm",
    "flip",
    "gaussian_low_pass",
    "high_frequency_energy",
    "identity_map",
    "iterate",
    "low_pass",
    "lower_synthesis",
    "margin",
    "mean_absolute_change",
    "mean_classifier",
    "momentum_sgd",
    "pgd",
    "polyak",
    "polyak_lbfgs",
    "ranked_targets",
    "ranking_as_asked",
    "rule_by_name",
    "saturation",
    "sgd",
    "sigmoid_map",
    "slope",
    "smallest_perturbation",
    "split_classifier",
    "synthesize",
    "synthesize_in_batches",
    "tanh_map",
    "to_float",
    "to_uint8",
    "transform",
    "two_class_targets",
    "uniform_targets",
]
