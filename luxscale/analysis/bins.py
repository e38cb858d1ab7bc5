"""Bins with about as many stars each."""

from __future__ import annotations

import numpy as np

from luxscale.errors import InputError


def make_bins(values: np.ndarray, n: int = 4, what: str = "S/N") -> np.ndarray:
    """Return the edges of bins with about as many stars each: (bin + 1,), ascending.

    Parameters
    ----------
    values : array, (star,)
        What is not finite is left out.
    n : int
        Bins, fewer where stars share their value.
    what : str
        What messages call the values.

    Raises
    ------
    InputError
        If none is finite.
    """
    known = values[np.isfinite(values)]
    if not known.size:
        raise InputError(f"no {what} is finite; give stars with a known {what}")
    edges = np.unique(np.quantile(known, np.linspace(0, 1, n + 1)))
    if edges.size == 1:  # all stars share one value: a bin that holds it
        return np.array([edges[0], np.nextafter(edges[0], np.inf)])
    return edges


def assign_bins(values: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Return the bin of each star, -1 where it is in none: (star,) int.

    The last bin holds its upper edge.
    """
    last = edges.size - 2
    at = np.searchsorted(edges, values, side="right") - 1
    at = np.where(values == edges[-1], last, at)
    inside = np.isfinite(values) & (at >= 0) & (at <= last)
    return np.where(inside, at, -1)
