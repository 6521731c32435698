"""Training: image sets, classifiers, losses, the training loop, checkpoints."""

from train.classifier_training import ClassifierLearner, TrainConfig
from train.classifiers import Classifier, ClassifierSpec, classify_function, load_classifier
from train.data.load import ImageData, load_images
from train.evaluation import Evaluation, evaluate
from train.loop import Budget, FitOptions, fit
from train.losses import cross_entropy, mixed_soft_label_loss
from train.storage.checkpoints import latest_checkpoint, save_checkpoint
from train.training_sets import TrainData, replace_images

__all__ = [
    "Budget",
    "Classifier",
    "ClassifierLearner",
    "ClassifierSpec",
    "Evaluation",
    "FitOptions",
    "ImageData",
    "TrainConfig",
    "TrainData",
    "classify_function",
    "cross_entropy",
    "evaluate",
    "fit",
    "latest_checkpoint",
    "load_classifier",
    "load_images",
    "mixed_soft_label_loss",
    "replace_images",
    "save_checkpoint",
]
