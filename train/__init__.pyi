from train.classifier_training import ClassifierLearner, TrainConfig
from train.classifiers import (
    Classifier,
    ClassifierSpec,
    Teacher,
    channel_statistics,
    classify_function,
    feature_function,
    load_classifier,
    save_classifier,
)
from train.data.load import ImageData, load_images
from train.evaluation import Evaluation, evaluate, extract_features, predict
from train.learner import Learner, TrainState
from train.loop import Budget, EpochResult, FitOptions, fit
from train.losses import cross_entropy, mixed_soft_label_loss, soft_cross_entropy
from train.models.networks import register_network
from train.recipes.options import Recipe, TrainingSynthesis
from train.storage.checkpoints import latest_checkpoint, save_checkpoint
from train.training_sets import (
    TrainData,
    add_images,
    add_second_views,
    original_data,
    replace_images,
)

__all__ = [
    "Budget",
    "Classifier",
    "ClassifierLearner",
    "ClassifierSpec",
    "EpochResult",
    "Evaluation",
    "FitOptions",
    "ImageData",
    "Learner",
    "Recipe",
    "Teacher",
    "TrainConfig",
    "TrainData",
    "TrainState",
    "TrainingSynthesis",
    "add_images",
    "add_second_views",
    "channel_statistics",
    "classify_function",
    "cross_entropy",
    "evaluate",
    "extract_features",
    "feature_function",
    "fit",
    "latest_checkpoint",
    "load_classifier",
    "load_images",
    "mixed_soft_label_loss",
    "original_data",
    "predict",
    "register_network",
    "replace_images",
    "save_checkpoint",
    "save_classifier",
    "soft_cross_entropy",
]
