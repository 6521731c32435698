"""Whole descriptions and results, to be changed."""

from typing import Any

from gans.dcgan import DcganConfig
from train.classifiers import ClassifierSpec
from train.storage.runs import as_json

SPEC = ClassifierSpec("vgg-small", 0.5, ("a", "b"), (32, 32, 3), (0.5,) * 3, (0.2,) * 3)
GAN = {"model": "dcgan", "class_names": ["a", "b"], "config": as_json(DcganConfig(num_classes=2))}

RESULT: dict[str, Any] = {
    "experiment": "table-a", "preset": "smoke", "key": 0, "missing": [], "pieces": {},
    "rows": [{"slug": "0", "name": "0% replaced", "paper": 92.476, "is_control": False}],
    "arms": [
        {
            "row": "0", "seed": 1, "budget": "epochs", "piece": "p", "classifier_sha256": "0",
            "device": "cpu", "epoch": 2, "step": 20, "test_accuracy": 0.5, "test_images": 360,
            "train_images": 1437,
            "timing": {"seconds_of_last_session": 1.0, "peak_memory_mib": 100.0},
        }
    ],
    "settings": {"model": "vgg-small", "width": 0.25, "train": {"epochs": 2}},
    "data": {"name": "digits", "sha256": {"train": "1", "test": "2"}},
    "device": "1 × cpu", "device_kind": "cpu", "versions": {"jax": "0.10.2"}, "command": "elicit",
}  # fmt: skip
