"""The parts of Orbax that are not in its public interface are where we expect them."""

import inspect

import numpy as np
import orbax.checkpoint as ocp
import pytest

from train.storage.orbax_parts import claimed_bytes, load_arrays, save_arrays

CHANGE = "Orbax has changed: adapt train/storage/orbax_parts.py and its bound in pyproject.toml"
METHODS = {
    "_background_serialize": ["self", "values", "infos", "args"],
    "metadata": ["self", "infos"],
    "deserialize": ["self", "infos", "args"],
}


@pytest.mark.parametrize("name", METHODS)
def test_the_handler_has_the_methods_that_we_override(name):
    method = getattr(ocp.type_handlers.NumpyHandler, name, None)
    assert method is not None, f"NumpyHandler.{name} is missing. {CHANGE}"
    assert list(inspect.signature(method).parameters) == METHODS[name], CHANGE
    assert inspect.iscoroutinefunction(method), f"NumpyHandler.{name} is no coroutine. {CHANGE}"


def test_metadata_tell_shapes_types_and_chunks(tmp_path):
    save_arrays(tmp_path / "arrays", {"w": np.zeros((3, 4), np.float32), "n": np.int64(2)})
    with ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as checkpointer:
        found = checkpointer.metadata(tmp_path / "arrays").item_metadata
    assert hasattr(found, "tree"), CHANGE
    array = found.tree["w"]
    assert (array.shape, np.dtype(array.dtype)) == ((3, 4), np.float32), CHANGE
    assert array.storage.chunk_shape == (3, 4), CHANGE
    assert claimed_bytes(tmp_path / "arrays") == 3 * 4 * 4 + 8
    np.testing.assert_array_equal(load_arrays(tmp_path / "arrays")["w"], np.zeros((3, 4)))
