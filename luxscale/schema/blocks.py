"""Walks over many stars in bounded memory: a block at a time, or a few blocks spread over all."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from luxscale.errors import InputError


def iterate_blocks(n_stars: int, size: int) -> Iterator[slice]:
    """Yield consecutive slices of stars, the last one shorter if need be.

    Parameters
    ----------
    n_stars : int
    size : int
        Stars in a block.
    """
    for start in range(0, n_stars, size):
        yield slice(start, min(start + size, n_stars))


def check_region(n_stars: int) -> int:
    """Return the stars of a task, or refuse to have none.

    Raises
    ------
    InputError
    """
    if n_stars < 1:
        raise InputError(f"region_stars={n_stars}: give the number of stars of a task")
    return n_stars


def round_to_chunks(n_stars: float, chunk: int) -> int:
    """Return the largest number of whole chunks in a number of stars, but one chunk at least.

    Parameters
    ----------
    n_stars : float
        Stars wanted: what a budget of bytes divided by the bytes of a star gives.
    chunk : int
        Stars in a chunk.

    Returns
    -------
    int
        A number of stars.
    """
    return chunk * max(1, int(n_stars / chunk))


def spread_blocks(n_stars: int, size: int, most: int) -> list[slice]:
    """Return a few of the blocks of `iterate_blocks`, spread evenly over all.

    Parameters
    ----------
    n_stars : int
    size : int
        Stars in a block.
    most : int
        Blocks to return, at most; one at least is returned where there are stars.
    """
    blocks = list(iterate_blocks(n_stars, size))
    return [blocks[i] for i in spread_evenly(len(blocks), most)]


def spread_evenly(count: int, most: int) -> list[int]:
    """Return at most so many positions out of ``count``, first and last among them.

    Parameters
    ----------
    count, most : int
    """
    number = min(max(1, most), count)
    positions = np.linspace(0, count - 1, number).astype(int)
    return [int(i) for i in np.unique(positions)]
