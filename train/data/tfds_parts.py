"""Parts of TFDS that are not in its public interface, in one place.

A test names them. If a new version of TFDS moves one of them, change this file, and the bound of
tensorflow-datasets in pyproject.toml.
"""

from typing import Any

from tensorflow_datasets.core.example_serializer import ExampleSerializer
from tensorflow_datasets.core.utils.shard_utils import FileInstruction
from tensorflow_datasets.proto import tf_example_pb2

Example: Any = tf_example_pb2.Example  # pyright: ignore[reportAttributeAccessIssue] -- made on import
"""Protobuf message of a record: `tf.train.Example`."""

__all__ = ["Example", "ExampleSerializer", "FileInstruction"]
