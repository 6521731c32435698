"""The parts of TFDS that are not in its public interface are where we expect them."""

import importlib
import inspect
from typing import Any

import pytest
import tensorflow_datasets as tfds

CHANGE = (
    "TFDS has changed: adapt train/data/tfds_parts.py, train/data/open_tfds.py and the bound in "
    "pyproject.toml"
)


def part(module: str, name: str) -> Any:
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        pytest.fail(f"{module}.{name} is missing ({error}). {CHANGE}")


def test_a_record_is_an_example_with_three_kinds_of_features():
    example = part("tensorflow_datasets.proto", "tf_example_pb2").Example()
    example.features.feature["label"].int64_list.value.append(3)
    read = type(example).FromString(example.SerializeToString(deterministic=True))
    assert list(read.features.feature["label"].int64_list.value) == [3], CHANGE
    kinds = {field.name for field in type(read.features.feature["label"]).DESCRIPTOR.fields}
    assert kinds == {"bytes_list", "float_list", "int64_list"}, CHANGE


def test_the_serializer_makes_examples():
    serializer = part("tensorflow_datasets.core.example_serializer", "ExampleSerializer")
    features: Any = tfds.features.FeaturesDict({"label": tfds.features.ClassLabel(num_classes=4)})
    example = serializer(features.get_serialized_info()).get_tf_example({"label": 3})
    assert list(example.features.feature["label"].int64_list.value) == [3], CHANGE


def test_an_instruction_tells_the_file_and_the_records():
    instruction = part("tensorflow_datasets.core.utils.shard_utils", "FileInstruction")
    fields = inspect.signature(instruction).parameters
    assert {"filename", "skip", "take", "examples_in_shard"} <= set(fields), CHANGE


def test_types_of_features_are_named_by_their_module():
    """`open_tfds` admits classes by these names."""
    kind = tfds.features.ClassLabel
    name = f"{kind.__module__}.{kind.__name__}"
    assert name == "tensorflow_datasets.core.features.class_label_feature.ClassLabel", CHANGE
    features: Any = tfds.features.FeaturesDict({"label": kind(num_classes=4)})
    assert name in str(features.to_json()), CHANGE
