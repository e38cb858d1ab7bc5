"""Steps of Adam, for arrays so small that those of JAX take longer to call than to compute."""

from __future__ import annotations

import numpy as np

#: How much of the mean gradient, and of its mean square, a step keeps.
_KEPT, _SQUARE_KEPT = 0.9, 0.999

#: Least root of the mean square.
_TINY = 1e-8


class Adam:
    """The descent of one array: the mean gradient over the root of its mean square.

    Kingma & Ba 2015, algorithm 1.

    Parameters
    ----------
    shape : tuple of int
        Of the array.
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        self._number = 0
        self._mean, self._square = np.zeros(shape), np.zeros(shape)

    def find_step(self, gradient: np.ndarray) -> np.ndarray:
        """Return what to subtract from the array, at rate 1."""
        self._number += 1
        self._mean = _KEPT * self._mean + (1 - _KEPT) * gradient
        self._square = _SQUARE_KEPT * self._square + (1 - _SQUARE_KEPT) * gradient**2
        # both begin with 0
        mean = self._mean / (1 - _KEPT**self._number)
        square = self._square / (1 - _SQUARE_KEPT**self._number)
        return np.asarray(mean / (np.sqrt(square) + _TINY))
