"""Visits of stars that were observed more than once: which they are, and how far they are apart."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
import xarray as xr

from luxscale.analysis.label_arrays import label_units, read_labels, require_variables
from luxscale.errors import InputError
from luxscale.model.head import Head
from luxscale.schema.quantities import Value, list_quantities, read_quantities
from luxscale.schema.sampling import draw_stars
from luxscale.schema.status import find_done
from luxscale.schema.variables import STAR

#: By what visits are put into bins, where it is known.
OVER = ("snr", "teff")

#: Labels that are held at once, at most; of more, stars are drawn.
MOST_LABELS = 3_000_000

#: Share of a visit below which the others say nothing of it.
_LEAST_SHARE = 1e-9


class Deviations(NamedTuple):
    """How far visits are from the mean of their star: (visit, label).

    pull : deviation from the weighted mean, over the error of that; NaN where there is no other
    visit. share : 1 less the weight of the visit in the mean, 0 where there is no other; over the
    visits of a star they add up to one less than there are.
    """

    pull: np.ndarray
    share: np.ndarray


def find_deviations(value: np.ndarray, err: np.ndarray, star: np.ndarray) -> Deviations:
    """Compare each visit with the weighted mean of its star.

    The deviation from a mean that holds the visit itself has the variance err^2 (1 - h), with h the
    weight of the visit in it: of two visits alike, half of the error's. Divided by its root, it is
    of variance 1 if errors are right, however few visits there are.

    Parameters
    ----------
    value, err : array, (visit, label)
        Visits without a finite value or a positive, finite error are left out.
    star : array of int, (visit,)
        The star of each visit, from 0.

    Returns
    -------
    Deviations
    """
    usable = find_usable(value, err)
    ivar = np.where(usable, 1 / np.where(usable, err, 1) ** 2, 0)
    known = np.where(usable, value, 0)
    total = _sum_by_star(ivar, star)[star]
    divisor = np.where(usable, total, 1)
    weight = ivar / divisor
    share = np.where(usable, 1 - weight, 0)
    share[share < _LEAST_SHARE] = 0
    deviation = known - _sum_by_star(weight * known, star)[star]
    compared = share > 0
    sigma = np.sqrt(np.where(compared, share, 1)) * np.where(compared, err, 1)
    return Deviations(np.where(compared, deviation / sigma, np.nan), share)


def find_usable(value: np.ndarray, err: np.ndarray) -> np.ndarray:
    """Return which labels are known with an error: (visit, label) bool."""
    usable: np.ndarray = np.isfinite(value) & np.isfinite(err) & (err > 0)
    return usable


def _sum_by_star(values: np.ndarray, star: np.ndarray) -> np.ndarray:
    """Return sums over the visits of each star: (visit, label) -> (star, label)."""
    size = int(star.max(initial=-1)) + 1
    columns = [np.bincount(star, column, size) for column in values.T]
    return np.stack(columns, axis=1)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Repeats:
    """Visits of stars that a catalogue has more than once.

    Parameters
    ----------
    value, err : array, (visit, label)
    row, star : array of int, (visit,)
        The row of each visit, and its star, from 0.
    quantities : dict of str to array, (visit,)
        What visits are put into bins by; NaN where unknown.
    units : dict of str to str
        Unit of each label.
    counts : dict of str to int
        ``repeated`` stars in all, and ``drawn`` of those that are read; stars observed ``once``;
        the ``most_visits`` of a star, which a placeholder for unknown ones would have; rows that
        are ``not_done``, and ``without_star``.
    outputs : array, (visit,), optional
        The catalogue's variable of this name, where it has one.
    """

    value: np.ndarray
    err: np.ndarray
    row: np.ndarray
    star: np.ndarray
    quantities: dict[str, np.ndarray]
    units: dict[str, str]
    counts: dict[str, int]
    outputs: np.ndarray | None = None

    def find_formal(self, head: Head) -> np.ndarray:
        """Return the formal errors of which those of the catalogue are made: (visit, label).

        Raises
        ------
        InputError
            If they depend on which outputs a star has, and the catalogue does not say.
        """
        if head.parts and self.outputs is None:
            raise InputError(
                "the catalogue has no variable 'outputs', and the errors of this model depend on "
                "which outputs a star has; give the catalogue with it, as it was made"
            )
        return head.find_by_outputs(Head.find_formal, self.err, self.outputs)


def read_repeats(
    catalog: xr.Dataset,
    by: str,
    where: str,
    *,
    survey: xr.Dataset | None = None,
    over: Sequence[str] | None = None,
    most_labels: int = MOST_LABELS,
    with_once: bool = False,
) -> Repeats:
    """Read the visits of stars that a catalogue has more than once.

    Parameters
    ----------
    catalog : Dataset
        A row for each visit.
    by : str
        Column that is the same for all visits of a star, in the catalogue or its survey.
    where : str
        What messages call the catalogue.
    survey : Dataset, optional
        Has what the catalogue lacks.
    over : sequence of str, optional
        Columns or labels to read beside; by default those of ``OVER`` that are there.
    most_labels : int
        Labels that are held at once, at most. Stars of more are drawn by what ``by`` calls them.
    with_once : bool
        Whether to read stars with one visit, too. That there are no others is accepted if ``by``
        is ``star``: each row is a star then.

    Raises
    ------
    InputError
        If a column is not there, or no star has two visits.
    """
    require_variables(catalog, ("label_value", "label_err"), where)
    if over is None:
        there = {**list_quantities(catalog), **({} if survey is None else list_quantities(survey))}
        over = [name for name in OVER if name in there]
    units = label_units(catalog)
    column = _read_column(catalog, by, where, survey)
    most = most_labels // len(units)
    rows, star, counts = _find_visits(catalog, column, by, where, most, with_once=with_once)
    read = read_quantities(catalog, over, where, survey) if over else {}
    quantities = {}
    for name, found in read.items():
        column, known = found.values[rows], found.known[rows]
        if column.dtype.kind not in "biuf":
            raise InputError(f"{where}: {name!r} is text; bins need numbers, name another column")
        quantities[name] = np.where(known, column.astype(float), np.nan)
    value, err = read_labels(catalog, ["label_value", "label_err"], list(units), rows)
    return Repeats(
        value=value,
        err=err,
        row=rows,
        star=star,
        quantities=quantities,
        units=units,
        counts=counts,
        outputs=catalog["outputs"].values[rows] if "outputs" in catalog else None,
    )


def _read_column(catalog: xr.Dataset, by: str, where: str, survey: xr.Dataset | None) -> Value:
    """Read the column that visits of a star share; say that a survey may have it."""
    try:
        return read_quantities(catalog, [by], where, survey)[by]
    except InputError as error:
        if survey is not None:
            raise
        advice = "for a column of the survey name it (--survey, survey=)"
        raise InputError(f"{error}; {advice}") from None


def _find_visits(
    catalog: xr.Dataset, column: Value, by: str, where: str, most: int, *, with_once: bool
) -> tuple[np.ndarray, np.ndarray, dict[str, int]]:
    """Return the rows of visits, the star of each, and counts of what is left out."""
    done = find_done(catalog)
    known = np.broadcast_to(column.known, done.shape) & (column.values != "")
    rows = np.flatnonzero(done & known)
    codes, stars = pd.factorize(column.values[rows])
    visits: np.ndarray = np.bincount(codes, minlength=len(stars))
    again = np.flatnonzero(visits >= (1 if with_once else 2))
    counts = {
        "repeated": int((visits > 1).sum()),
        "drawn": again.size,
        "once": int((visits == 1).sum()),
        "most_visits": int(visits.max(initial=0)),
        "not_done": int((~done).sum()),
        "without_star": int((done & ~known).sum()),
    }
    if not counts["repeated"] and not (with_once and by == STAR and rows.size):
        advice = f", or {STAR!r}: each row is a star then" if with_once else ""
        raise InputError(f"{where}: {_explain_none(column.values, by, rows, counts)}{advice}")
    if visits[again].sum() > most:
        counts["drawn"] = max(1, int(most / visits[again].mean()))
        again = again[draw_stars(np.asarray(stars)[again], counts["drawn"])]
    number = np.full(len(stars), -1)
    number[again] = np.arange(again.size)
    star = number[codes]
    taken = star >= 0
    return rows[taken], star[taken], counts


def _explain_none(values: np.ndarray, by: str, rows: np.ndarray, counts: dict[str, int]) -> str:
    """Say why no star has two visits, and what to do."""
    left_out = f"{counts['not_done']:,} rows are not done, {counts['without_star']:,} have no {by}"
    if not rows.size:
        return f"no row that is done has a {by!r} ({left_out}); finish it, or name another column"
    (first,) = values[rows[:1]].tolist()
    return (
        f"no star has two visits that are done: each of {rows.size:,} rows has a {by!r} of its "
        f"own, as row {rows[0]} has {first!r} ({left_out}); name a column that all visits of a "
        "star share"
    )
