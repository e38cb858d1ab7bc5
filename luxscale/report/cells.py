"""What a table of a report is made of: headings, cells, and numbers as text."""

from __future__ import annotations

import dataclasses
import math

from luxscale.analysis.tables import round_to

#: Text of what is not known.
UNKNOWN = "\N{EN DASH}"


@dataclasses.dataclass(frozen=True)
class Heading:
    """What stands over a column; ``numeric`` ones are sorted as numbers, set to the right."""

    text: str
    numeric: bool = False
    about: str = ""


@dataclasses.dataclass(frozen=True)
class Cell:
    """Text, and for numbers the value to sort by, None where it is not known."""

    text: str
    value: float | None = None


@dataclasses.dataclass(frozen=True)
class Table:
    """A table of the page; the first column names the row."""

    caption: str
    headings: tuple[Heading, ...]
    rows: tuple[tuple[Cell, ...], ...]


def format_number(value: float | None, places: int) -> Cell:
    """Return a number to so many decimals, or what stands for one that is not known."""
    if value is None or not math.isfinite(value):
        return Cell(UNKNOWN)
    return Cell(round_to(value, places).replace("-", "\N{MINUS SIGN}"), value)


def format_count(n: int) -> Cell:
    """Return a whole number."""
    return Cell(f"{n:,}", n)


def format_percent(n: int, of: int) -> Cell:
    """Return a share; unknown of nothing."""
    if not of:
        return Cell(UNKNOWN)
    return Cell(f"{100 * n / of:.3g}%", n / of)
