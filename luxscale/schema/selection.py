"""Which stars to take: those that satisfy a condition, and of these a span, a draw or the new."""

from __future__ import annotations

import dataclasses
import operator
import re
from typing import Any, Protocol

import numpy as np
import xarray as xr

from luxscale.errors import InputError
from luxscale.schema.conditions import find_satisfying
from luxscale.schema.sampling import StarSet, draw_stars
from luxscale.schema.variables import STAR

#: How a choice of stars is written.
FORMS = "START:STOP, random:NUMBER or random:NUMBER:SEED"

#: Stars that a model was not trained on.
UNTRAINED = "untrained"


class Choice(Protocol):
    """A choice among stars."""

    @property
    def text(self) -> str:
        """How it is written, empty if it takes all."""

    def take(self, dataset: xr.Dataset, rows: np.ndarray, trained: StarSet | None) -> np.ndarray:
        """Return which rows of a dataset are taken, of those that are left: (star,).

        Raises
        ------
        InputError
            If it asks for what there is not.
        """


@dataclasses.dataclass(frozen=True)
class Span:
    """Stars by position among those that are left."""

    start: int | None = None
    stop: int | None = None

    @property
    def text(self) -> str:
        """How it is written."""
        if self.start is None and self.stop is None:
            return ""
        bounds = ("" if bound is None else str(bound) for bound in (self.start, self.stop))
        return ":".join(bounds)

    def take(self, dataset: xr.Dataset, rows: np.ndarray, trained: StarSet | None) -> np.ndarray:
        """Return the rows at these positions."""
        if not self.text:
            return rows
        start, stop, _ = slice(self.start, self.stop).indices(rows.size)
        if (self.stop or 0) > rows.size or start >= stop:
            raise InputError(
                f"asked for stars {self.text}, but it holds stars 0:{rows.size}; choose "
                "some of them (--stars)"
            )
        return rows[start:stop]


@dataclasses.dataclass(frozen=True)
class Draw:
    """So many stars, drawn at random by their identifiers."""

    number: int
    seed: int = 0

    @property
    def text(self) -> str:
        """How it is written."""
        seed = f":{self.seed}" if self.seed else ""
        return f"random:{self.number}{seed}"

    def take(self, dataset: xr.Dataset, rows: np.ndarray, trained: StarSet | None) -> np.ndarray:
        """Return the rows that are drawn, in order."""
        if self.number > rows.size:
            raise InputError(
                f"asked for stars {self.text}, but it holds {rows.size}; choose fewer (--stars)"
            )
        return rows[draw_stars(_read_stars(dataset, rows), self.number, self.seed)]


@dataclasses.dataclass(frozen=True)
class Untrained:
    """Stars that a model was not trained on."""

    text: str = UNTRAINED

    def take(self, dataset: xr.Dataset, rows: np.ndarray, trained: StarSet | None) -> np.ndarray:
        """Return the rows that are not in the set."""
        if trained is None:
            raise InputError(f"stars that are {UNTRAINED} are those of a model: name it (--model)")
        if not len(trained):
            raise InputError(
                "the model does not say which stars it was trained on, being older than that; "
                "train it again, or name stars by position (--stars START:STOP)"
            )
        return rows[~trained.find(_read_stars(dataset, rows))]


def _read_stars(dataset: xr.Dataset, rows: np.ndarray) -> np.ndarray:
    """Return the identifiers of some rows: (star,)."""
    stars: np.ndarray = dataset[STAR].values[rows]
    return stars


def _read_slice(given: slice) -> Span:
    try:
        start, stop = (
            None if bound is None else operator.index(bound) for bound in (given.start, given.stop)
        )
    except TypeError:
        raise InputError(f"stars {given!r}: give whole numbers, e.g. slice(0, 5000)") from None
    return Span(start, stop)


def read_choice(given: str | slice | None) -> Choice:
    """Return the choice that is written so; all stars by default.

    Raises
    ------
    InputError
        If it is written otherwise.
    """
    if given is None:
        return Span()
    if isinstance(given, slice) and given.step in (None, 1):
        return _read_slice(given)
    if given == UNTRAINED:
        return Untrained()
    span = re.fullmatch(r"\s*(\d*)\s*:\s*(\d*)\s*", given) if isinstance(given, str) else None
    if span is not None:
        start, stop = (int(digits) if digits else None for digits in span.groups())
        return Span(start, stop)
    drawn = re.fullmatch(r"random:(\d+)(?::(\d{1,18}))?", str(given))
    if drawn is None or not int(drawn[1]):
        raise InputError(f"stars {given!r}: write {FORMS}, e.g. 0:5000 or random:5000")
    return Draw(int(drawn[1]), int(drawn[2] or 0))


@dataclasses.dataclass(frozen=True)
class Selection:
    """Stars that satisfy a condition, and a choice of these.

    Parameters
    ----------
    condition : str, optional
        See `find_satisfying`.
    choice : Choice
        Of the stars that satisfy it.
    """

    condition: str | None = None
    choice: Choice = Span()

    @classmethod
    def read(cls, condition: str | None, stars: str | slice | None) -> Selection:
        """Return the selection that is written so.

        Raises
        ------
        InputError
        """
        return cls(condition, read_choice(stars))

    @property
    def takes_all(self) -> bool:
        """Whether it takes all stars."""
        return self.condition is None and not self.choice.text

    @property
    def text(self) -> str:
        """How it is written."""
        parts = [self.condition and f"where {self.condition}", self.choice.text]
        return ", ".join(part for part in parts if part)

    def find_rows(
        self,
        dataset: xr.Dataset,
        where: str,
        *,
        survey: xr.Dataset | None = None,
        trained: StarSet | None = None,
    ) -> np.ndarray:
        """Return the positions of the stars in a survey or catalogue, in its order: (star,).

        Parameters
        ----------
        dataset : Dataset
        where : str
            What messages call it.
        survey : Dataset, optional
            Has what the condition names and the dataset lacks.
        trained : StarSet, optional
            Stars that a model was trained on.

        Raises
        ------
        InputError
            If the condition or the choice asks for what there is not.
        """
        rows = np.arange(dataset.sizes[STAR])
        if self.condition is not None:
            satisfied = find_satisfying(dataset, self.condition, where, survey)
            rows = np.flatnonzero(satisfied)
        try:
            return self.choice.take(dataset, rows, trained)
        except InputError as error:
            left = "" if self.condition is None else f", where {self.condition}"
            raise InputError(f"{where}{left}: {error}") from None

    def take(self, dataset: xr.Dataset, where: str, **given: Any) -> xr.Dataset:
        """Return the stars of a dataset; as `find_rows`."""
        return take_rows(dataset, self.find_rows(dataset, where, **given))

    @property
    def options(self) -> list[tuple[str, str]]:
        """The options of the command line that say the same."""
        options = {"--where": self.condition, "--stars": self.choice.text}
        return [(name, text) for name, text in options.items() if text]


def find_span(rows: np.ndarray) -> tuple[int, int] | None:
    """Return the first of ascending rows and the one after the last, if they are one span."""
    if not rows.size or rows[-1] - rows[0] + 1 > rows.size:
        return None
    return int(rows[0]), int(rows[-1]) + 1


def take_rows(dataset: xr.Dataset, rows: np.ndarray) -> xr.Dataset:
    """Return stars by ascending positions; chunks stay whole where these are one span."""
    if rows.size == dataset.sizes[STAR]:
        return dataset
    span = find_span(rows)
    return dataset.isel({STAR: rows if span is None else slice(*span)})
