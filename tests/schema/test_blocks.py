"""Blocks cover all stars once, and what is picked of them is spread over all."""

import numpy as np
import pytest

from luxscale.schema.blocks import (
    iterate_blocks,
    round_to_chunks,
    spread_blocks,
    spread_evenly,
)


@pytest.mark.parametrize("n", [0, 1, 6, 7, 8, 20])
@pytest.mark.parametrize("size", [1, 7, 30])
def test_blocks_cover_every_star_once(n, size):
    blocks = list(iterate_blocks(n, size))
    covered = [np.arange(n)[block] for block in blocks]
    assert np.concatenate([np.arange(0), *covered]).tolist() == list(range(n))
    assert all(block.stop - block.start == size for block in blocks[:-1])
    assert all(0 < block.stop - block.start <= size for block in blocks)


@pytest.mark.parametrize(("stars", "rounded"), [(0.3, 8), (8, 8), (15.9, 8), (16, 16), (100, 96)])
def test_whole_chunks(stars, rounded):
    assert round_to_chunks(stars, 8) == rounded


def test_few_blocks_are_spread_over_all():
    blocks = spread_blocks(95, 10, most=4)
    assert blocks == [slice(0, 10), slice(30, 40), slice(60, 70), slice(90, 95)]
    assert spread_blocks(95, 10, most=100) == list(iterate_blocks(95, 10))
    assert spread_blocks(95, 10, most=0) == [slice(0, 10)]
    assert spread_evenly(0, 3) == []
