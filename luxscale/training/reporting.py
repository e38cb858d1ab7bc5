"""What trainings say of how far they have come."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from luxscale.training.data import Trained


class Report(Protocol):
    """What a training says of how far it has come."""

    def __call__(
        self, iteration: int, most: int, objective: float, take: Callable[[], Trained]
    ) -> None:
        """Say that an iteration has ended.

        Parameters
        ----------
        iteration, most : int
            Its number, and the most that there are.
        objective : float
            Per star.
        take : callable
            Returns the parameters as they then are.
        """

    def tell(self, text: str) -> None:
        """Say how far work has come that is no iteration."""

    def say(self, text: str) -> None:
        """Say what was decided, in a line that stays."""


class Silence:
    """A report that nobody hears."""

    def __call__(
        self, iteration: int, most: int, objective: float, take: Callable[[], Trained]
    ) -> None:
        """Say nothing."""

    def tell(self, text: str) -> None:
        """Say nothing."""

    def say(self, text: str) -> None:
        """Say nothing."""
