"""How labels of the same stars differ between two catalogues, of an older and a newer model say."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import xarray as xr

from luxscale.analysis.evaluate import require_catalog
from luxscale.analysis.label_arrays import (
    LABEL,
    UNITS,
    join_units,
    label_units,
    read_labels,
    require_common_labels,
)
from luxscale.analysis.stats import reduce_or_nan, robust_scatter
from luxscale.analysis.tables import align_rows, count_decimals, round_to
from luxscale.errors import InputError
from luxscale.model.arguments import DatasetOrPath, take_catalog
from luxscale.schema.flags import BIT
from luxscale.schema.stars import index_stars, match_identifiers
from luxscale.schema.status import find_done, mark_done
from luxscale.schema.variables import STAR

#: What is measured of a label, with d = new - old over the stars where both are known.
STATISTICS = {
    "n_stars": "stars with both labels known",
    "n_one_alone": "stars whose label is known in one of the catalogues alone",
    "median_difference": "median of new - old",
    "robust_scatter": "1.4826 MAD of new - old about its median",
    "scatter_over_error": "1.4826 MAD of (new - old) / joint error, about its median",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Change:
    """What differs between two catalogues.

    Parameters
    ----------
    labels : Dataset
        ``STATISTICS`` (label,), in the label's units.
    stars : dict of str to int
        ``compared``; ``not_done`` in one of the two; in the ``old`` or in the ``new`` alone.
    labels_alone : dict of str to list of str
        Labels that the ``old`` or the ``new`` has alone.
    flags : dict of str to dict
        By flag that differs for any star, how many ``gained`` and how many ``lost`` it.
    moved : list of dict
        Stars of which a label moved most, in joint errors: ``star``, ``label``, ``old``, ``new``,
        ``joint_errors``.
    """

    labels: xr.Dataset
    stars: dict[str, int]
    labels_alone: dict[str, list[str]]
    flags: dict[str, dict[str, int]]
    moved: list[dict[str, Any]]


def compare_catalogs(old: DatasetOrPath, new: DatasetOrPath, *, most: int = 10) -> Change:
    """Compare the labels and flags of two catalogues of the same stars.

    Parameters
    ----------
    old, new : Dataset, str or Path
        Stars are matched by identifier and labels by name; either may hold more of them, in any
        order. Stars that are not done in both are counted and left out; all are done where there
        is no ``status``, as in what `luxscale.infer` returns.
    most : int
        Stars to list that moved most.

    Returns
    -------
    Change

    Raises
    ------
    InputError
        If one is no catalogue, no star or no label is in common, or a label's units differ.

    Notes
    -----
    The joint error is the root of the sum of both squared errors. Two catalogues of the same
    spectra share their noise, so labels of models that agree scatter by less than that.

    Examples
    --------
    >>> from luxscale.analysis.changes import compare_catalogs
    >>> change = compare_catalogs(catalog, catalog.isel(star=slice(0, 100)))
    >>> change.stars["compared"], float(change.labels.median_difference.sel(label="teff"))
    (100, 0.0)
    """
    pairs, stars = match_catalogs(old, new)
    ours, theirs = (label_units(take_catalog(each, "compare_catalogs")) for each in (old, new))
    measured = [_measure(pairs.isel({LABEL: i})) for i in range(pairs.sizes[LABEL])]
    statistics = {}
    for name, doc in STATISTICS.items():
        values = np.array([of_label[name] for of_label in measured])
        statistics[name] = (LABEL, values, {"long_name": doc})
    alone = {
        "old": [name for name in ours if name not in theirs],
        "new": [name for name in theirs if name not in ours],
    }
    return Change(
        labels=xr.Dataset(statistics, {n: pairs[n] for n in (LABEL, UNITS)}),
        stars=stars,
        labels_alone=alone,
        flags=_compare_flags(pairs["old_flags"].values, pairs["new_flags"].values),
        moved=list_moved(pairs, most),
    )


def match_catalogs(old: DatasetOrPath, new: DatasetOrPath) -> tuple[xr.Dataset, dict[str, int]]:
    """Bring the labels and flags of two catalogues side by side.

    Returns
    -------
    pairs : Dataset
        ``old``, ``new``, ``old_err``, ``new_err`` (star, label), ``old_flags``, ``new_flags``
        (star,), in memory, of the stars that are done in both.
    stars : dict of str to int
        As of `Change`.

    Raises
    ------
    InputError
        As `compare_catalogs`.
    """
    call = "compare_catalogs(old, new)"
    first, second = (mark_done(take_catalog(each, call)) for each in (old, new))
    require_catalog(first, "old")
    require_catalog(second, "new")
    rows, stars = _match_stars(first, second)
    labels = require_common_labels(first, second, ("old catalogue", "new catalogue"))
    units = join_units(first, second, labels, ("old catalogue", "new catalogue"))
    arrays: dict[str, Any] = {}
    for side, name, positions in zip((first, second), ("old", "new"), rows, strict=True):
        values, errors = read_labels(side, ["label_value", "label_err"], labels, positions)
        arrays[name], arrays[f"{name}_err"] = ((STAR, LABEL), values), ((STAR, LABEL), errors)
        arrays[f"{name}_flags"] = (STAR, np.asarray(side["flags"].values)[positions])
    coords = {
        STAR: np.asarray(index_stars(first))[rows[0]],
        LABEL: np.array(labels, object),
        UNITS: (LABEL, np.array(units, object)),
    }
    return xr.Dataset(arrays, coords), stars


def _match_stars(
    old: xr.Dataset, new: xr.Dataset
) -> tuple[tuple[np.ndarray, np.ndarray], dict[str, int]]:
    """Return where the stars are that are done in both, and how many are not compared."""
    at = match_identifiers(index_stars(old), index_stars(new), ("old catalogue", "new catalogue"))
    common = np.flatnonzero(at >= 0)
    if not common.size:
        raise InputError("no star is in common; give two catalogues of the same stars")
    done = find_done(old)[common] & find_done(new)[at[common]]
    if not done.any():
        raise InputError("no star is done (status 1) in both catalogues; finish them")
    stars = {
        "compared": int(done.sum()),
        "not_done": int((~done).sum()),
        "old": old.sizes[STAR] - common.size,
        "new": new.sizes[STAR] - common.size,
    }
    rows = common[done]
    return (rows, at[rows]), stars


def _measure(pairs: xr.Dataset) -> dict[str, float]:
    """Return the statistics of one label."""
    old, new = pairs["old"].values, pairs["new"].values
    in_old, in_new = np.isfinite(old), np.isfinite(new)
    known = in_old & in_new
    d = (new - old)[known]
    return {
        "n_stars": d.size,
        "n_one_alone": int((in_old != in_new).sum()),
        "median_difference": reduce_or_nan(np.median, d),
        "robust_scatter": robust_scatter(d),
        "scatter_over_error": robust_scatter(_divide(pairs)[known]),
    }


def _divide(pairs: xr.Dataset) -> np.ndarray:
    """Return new - old in joint errors; 0 where it is 0, or nothing is known of the errors."""
    joint = np.hypot(pairs["old_err"].values, pairs["new_err"].values)
    d = pairs["new"].values - pairs["old"].values
    usable = (joint > 0) & np.isfinite(joint) & np.isfinite(d)
    divided: np.ndarray = np.divide(d, joint, out=np.zeros_like(d), where=usable)
    return divided


def _compare_flags(old: np.ndarray, new: np.ndarray) -> dict[str, dict[str, int]]:
    """Return how many stars gained and lost each flag, of those that differ."""
    found = {}
    for name, bit in BIT.items():
        before, after = (old & bit) > 0, (new & bit) > 0
        gained = int((after & ~before).sum())
        lost = int((before & ~after).sum())
        if gained or lost:
            found[name] = {"gained": gained, "lost": lost}
    return found


def list_moved(pairs: xr.Dataset, most: int) -> list[dict[str, Any]]:
    """Return the stars of which a label moved most, in joint errors, from what was matched."""
    moved = np.abs(_divide(pairs))
    which = moved.argmax(axis=1)
    by = moved[np.arange(len(moved)), which]
    stars, labels = pairs[STAR].values.tolist(), pairs[LABEL].values.tolist()
    records = []
    for row in np.argsort(-by, kind="stable")[:most].tolist():
        label = int(which[row])
        if by[row] > 0:
            record = {"star": stars[row], "label": labels[label]}
            for name in ("old", "new"):
                record[name] = float(pairs[name].values[row, label])
            records.append({**record, "joint_errors": float(by[row])})
    return records


def to_records(change: Change) -> list[dict[str, Any]]:
    """Return the statistics of labels as a list of dicts that JSON can hold; None for NaN."""
    records = []
    for i, (label, unit) in enumerate(label_units(change.labels).items()):
        record: dict[str, Any] = {"label": label, "unit": unit}
        for name in STATISTICS:
            value = change.labels[name].values[i].item()
            record[name] = None if np.isnan(value) else value
        records.append(record)
    return records


def format_change(change: Change) -> str:
    """Return what differs as text: stars, a line a label, flags, the stars that moved most.

    Parameters
    ----------
    change : Change
        From `compare_catalogs`.

    Returns
    -------
    str
    """
    stars = change.stars
    parts = [
        f"{stars['compared']:,} stars compared; {stars['not_done']:,} are not done in both, "
        f"{stars['old']:,} are in the old catalogue alone, {stars['new']:,} in the new one"
    ]
    for side, names in change.labels_alone.items():
        if names:
            parts.append(f"labels of the {side} catalogue alone: {', '.join(names)}")
    parts.append(_format_labels(change))
    flags = [(name, f"{n['gained']:,}", f"{n['lost']:,}") for name, n in change.flags.items()]
    heading = ("flag", "gained", "lost")
    parts.append(align_rows([heading, *flags], n_words=1) if flags else "no flag differs")
    parts.append(_format_moved(change))
    return "\n\n".join(parts)


def _count_places(change: Change) -> dict[str, int]:
    """Return how many decimals show the change of each label."""
    places = {}
    for record in to_records(change):
        median, scatter = record["median_difference"], record["robust_scatter"]
        places[record["label"]] = count_decimals(scatter, median)
    return places


def _format_labels(change: Change) -> str:
    places = _count_places(change)
    rows = [("label", "unit", "n", "one alone", "median diff", "robust scatter", "over error")]
    for record in to_records(change):
        name, unit = record["label"], record["unit"] or "-"
        counts = (f"{record[n]:,}" for n in ("n_stars", "n_one_alone"))
        sizes = (round_to(record[n], places[name]) for n in ("median_difference", "robust_scatter"))
        rows.append((name, unit, *counts, *sizes, round_to(record["scatter_over_error"], 2)))
    return align_rows(rows, n_words=2)


def _format_moved(change: Change) -> str:
    if not change.moved:
        return "no label differs"
    places = _count_places(change)
    rows = [("moved most", "label", "old", "new", "joint errors")]
    for found in change.moved:
        values = (round_to(found[side], places[found["label"]]) for side in ("old", "new"))
        rows.append((str(found["star"]), found["label"], *values, f"{found['joint_errors']:.3g}"))
    return align_rows(rows, n_words=2)
