"""Programs of one shape take lists of any length, and no longer than these need."""

import functools

import numpy as np
import pytest

from luxscale.model import groups
from luxscale.model.jit import compile_program


@compile_program()
def _square(rows, number):
    return groups.map_groups(lambda some: (some[0] ** 2, some[1][:, 0]), rows, number)


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(groups, "_GROUP", 2)
    monkeypatch.setattr(groups, "cut_blocks", functools.partial(groups.cut_blocks, size=6))


@pytest.mark.parametrize("number", [1, 5, 6, 15])
def test_rows_come_back_in_their_order(small, number):
    x = np.arange(number, dtype="f4")
    squares, first = groups.run_rows(_square, (x, np.stack([x, -x], 1)))
    np.testing.assert_array_equal(squares, x**2)
    np.testing.assert_array_equal(first, x)


def test_groups_that_are_not_meant_are_left_out(small):
    x = np.arange(1, 7, dtype="f4")
    squares, _ = _square((x, x[:, None]), 3)
    np.testing.assert_array_equal(squares, [1, 4, 9, 16, 0, 0])


def test_blocks_are_of_one_size():
    rows = np.arange(10, 17)
    blocks = list(groups.cut_blocks(rows, 3))
    assert all(block.rows.size == 3 for block in blocks)
    np.testing.assert_array_equal(np.concatenate([block.meant for block in blocks]), rows)
