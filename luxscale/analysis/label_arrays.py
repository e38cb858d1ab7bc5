"""The variables (star, label) of catalogues and surveys: what there is, and their values."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr

from luxscale.errors import InputError
from luxscale.schema.standard import measure_otherwise
from luxscale.schema.variables import STAR

LABEL, UNITS = "label", "label_units"


def require_variables(dataset: xr.Dataset, names: Sequence[str], where: str) -> None:
    """Refuse a dataset that lacks one of these variables, on (star, label).

    Raises
    ------
    InputError
    """
    for name in names:
        if name not in dataset:
            have = [str(v) for v, a in dataset.data_vars.items() if a.dims == (STAR, LABEL)]
            raise InputError(
                f"{where}: no variable {name!r} (star, label); its variables on (star, label) "
                f"are: {', '.join(have) or 'none'}"
            )
        if dataset[name].dims != (STAR, LABEL):
            raise InputError(
                f"{where}: {name!r} has dims {dataset[name].dims}, expected {(STAR, LABEL)}; "
                "transpose or rename them"
            )
    for name in (STAR, LABEL):
        if name not in dataset.coords:
            raise InputError(
                f"{where}: no coordinate {name!r}, by which stars and labels are matched; "
                f"add it with .assign_coords({name}=...)"
            )


def label_units(dataset: xr.Dataset) -> dict[str, str]:
    """Return the unit of each label by name, empty where none is given."""
    names = [str(name) for name in dataset[LABEL].values.tolist()]
    if UNITS not in dataset:
        return dict.fromkeys(names, "")
    units = [str(unit) for unit in dataset[UNITS].values.tolist()]
    return dict(zip(names, units, strict=True))


def require_common_labels(
    first: xr.Dataset,
    second: xr.Dataset,
    names: tuple[str, str],
    wanted: Sequence[str] | None = None,
) -> list[str]:
    """Return the labels that two datasets have in common, or those of them that are wanted.

    Parameters
    ----------
    first, second : Dataset
    names : tuple of str
        What messages call the two.
    wanted : sequence of str, optional

    Raises
    ------
    InputError
    """
    ours = list(label_units(first))
    theirs = list(label_units(second))
    common = [name for name in ours if name in theirs]
    if wanted is None:
        wanted = common
    missing = [name for name in wanted if name not in common]
    if common and not missing:
        return list(wanted)
    problem = "no label is in common"
    if missing:
        problem = f"label {missing[0]!r} is not in both"
    raise InputError(
        f"{problem}: the {names[0]} has {', '.join(ours)}; the {names[1]} has "
        f"{', '.join(theirs)}; "
        "rename one side's with .assign_coords(label=[...])"
    )


def join_units(
    first: xr.Dataset, second: xr.Dataset, labels: Sequence[str], names: tuple[str, str]
) -> list[str]:
    """Return the unit of each label, the first dataset's where both say one.

    Parameters
    ----------
    first, second : Dataset
    labels : sequence of str
        Those of both.
    names : tuple of str
        What messages call the two.

    Raises
    ------
    InputError
        If values of a label in one unit are not values in the other.
    """
    ours, theirs = label_units(first), label_units(second)
    for label in labels:
        if measure_otherwise(ours[label], theirs[label]):
            raise InputError(
                f"label {label!r} is in {ours[label]} in the {names[0]} and in {theirs[label]} in "
                f"the {names[1]}; convert one of them, or leave the label out"
            )
    return [ours[label] or theirs[label] for label in labels]


def read_labels(
    dataset: xr.Dataset, names: Sequence[str], labels: Sequence[str], rows: np.ndarray
) -> list[np.ndarray]:
    """Return variables as float64 arrays (star, label).

    They are read at once: a lazy catalogue is computed only once.
    """
    have = list(label_units(dataset))
    columns = [have.index(label) for label in labels]
    chosen = dataset[list(names)].drop_vars([STAR, LABEL]).isel({LABEL: columns})
    # a selection of all rows would only break up the chunks of a lazy catalogue
    if not np.array_equal(rows, np.arange(dataset.sizes[STAR])):
        chosen = chosen.isel({STAR: rows})
    chosen = chosen.compute()
    return [np.asarray(chosen[name].values, float) for name in names]
