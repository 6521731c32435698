"""Batches hold the rows of the order, however many batches are taken at a time."""

import jax
import numpy as np
import pytest

from train.batches import epoch_order, take_batches

KEY = jax.random.key(5)
ROWS = {"all": [np.arange(23)], "groups": [np.arange(0, 23, 2), np.arange(1, 23, 2)]}
DATA = {"x": np.arange(23 * 6).reshape(23, 3, 2), "row": np.arange(23)}


def order_of(name, count=8):
    key = jax.random.split(KEY, 2) if name == "groups" else KEY
    return epoch_order(key, 1, ROWS[name], count=count)


@pytest.mark.parametrize("name", ROWS)
@pytest.mark.parametrize(("first", "count"), [(0, 4), (0, 1), (2, 2), (3, 1)])
def test_batches_are_the_order_s_next_rows(name, first, count):
    order = np.asarray(order_of(name))
    found = take_batches(DATA, order, first, batch_size=2, count=count, mesh=None)
    for index in range(count):
        begin = 2 * (first + index)
        rows = order[..., begin : begin + 2]
        np.testing.assert_array_equal(found["row"][index], rows)
        np.testing.assert_array_equal(found["x"][index], DATA["x"][rows])


@pytest.mark.parametrize("name", ROWS)
def test_past_the_end_the_last_row_is_repeated(name):
    order = np.asarray(order_of(name))
    found = take_batches(DATA, order, 3, batch_size=2, count=3, mesh=None)
    np.testing.assert_array_equal(found["row"][0], order[..., 6:])
    assert (np.asarray(found["row"][1:]) == order[..., -1:]).all()


def test_an_order_has_every_row_once_and_each_group_its_own():
    (all_,), groups = ROWS["all"], ROWS["groups"]
    assert sorted(np.asarray(order_of("all", count=23))) == all_.tolist()
    for found, rows in zip(np.asarray(order_of("groups", count=11)), groups, strict=True):
        assert len(set(found)) == 11
        assert set(found) <= set(rows)
