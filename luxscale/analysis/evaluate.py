"""How well a catalogue's labels agree with trusted ones: bias, scatter, honesty of the errors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr

from luxscale.analysis.label_arrays import (
    LABEL,
    UNITS,
    join_units,
    read_labels,
    require_common_labels,
    require_variables,
)
from luxscale.analysis.stats import reduce_or_nan, robust_scatter
from luxscale.errors import InputError
from luxscale.model.arguments import DatasetOrPath, take_catalog, take_survey
from luxscale.schema import flags
from luxscale.schema.outputs import is_catalog
from luxscale.schema.stars import match_stars
from luxscale.schema.status import find_done
from luxscale.schema.variables import CATALOG, STAR
from luxscale.store import CATALOG_FORMAT, describe_kind
from luxscale.store.fills import GROWING

#: What `compare` measures, with d = inferred - truth over the stars where both are known.
STATISTICS = {
    "n_stars": "stars with both labels known",
    "bias": "mean of inferred - truth",
    "rmse": "root mean square of inferred - truth",
    "robust_scatter": "1.4826 MAD of inferred - truth about its median",
    "median_err": "median error of the inferred label",
    "pull": "1.4826 MAD of (inferred - truth) / error; 1 if the errors are right",
}


def compare(
    catalog: DatasetOrPath, truth: DatasetOrPath, *, truth_name: str | None = None
) -> xr.Dataset:
    """Compare inferred labels with trusted ones.

    Parameters
    ----------
    catalog : Dataset, str or Path
        Catalogue, as `infer` and `label_survey` make it. Where it has a ``status``, only stars that
        are done count.
    truth : Dataset, str or Path
        Survey with the trusted labels. Stars are matched by identifier and labels by name; either
        side may hold more of them, in any order.
    truth_name : str, optional
        Variable (star, label) of ``truth``; by default ``label_true`` (simulated surveys) if there
        is one, else ``label_value``. Its errors are those of ``NAME_err`` (``label_err`` for
        ``label_value``), or zero.

    Returns
    -------
    Dataset
        ``n_stars``, ``bias``, ``rmse``, ``robust_scatter``, ``median_err``, ``pull`` (label,), in
        the label's units (the pull has none), for the labels that both have. NaN where no star has
        both labels known; scatter and pull take two.

    Raises
    ------
    InputError
        If no star or no label is in common, a label's units differ, a variable is missing, or
        ``truth`` is a catalogue.

    Examples
    --------
    >>> import xarray as xr
    >>> from luxscale.analysis.evaluate import compare
    >>> names = {"star": ["a", "b"], "label": ["teff"]}
    >>> labels = xr.DataArray([[4500.0], [5000.0]], names, ("star", "label"))
    >>> truth = xr.Dataset({"label_value": labels, "label_err": 0 * labels + 30})
    >>> float(compare(truth + 40, truth)["bias"][0])
    40.0
    """
    pairs = match_labels(catalog, truth, truth_name=truth_name)
    return measure_pairs(pairs)


def match_labels(
    catalog: DatasetOrPath,
    truth: DatasetOrPath,
    *,
    truth_name: str | None = None,
    labels: Sequence[str] | None = None,
) -> xr.Dataset:
    """Bring inferred and trusted labels side by side.

    Parameters
    ----------
    catalog, truth, truth_name
        As in `compare`.
    labels : sequence of str, optional
        Labels to take, all in common by default.

    Returns
    -------
    Dataset
        ``inferred``, ``inferred_err``, ``truth``, ``truth_err`` (star, label), in memory, NaN where
        not known.

    Raises
    ------
    InputError
        As `compare`, and if one of ``labels`` is missing.
    """
    call = "match_labels(catalog, truth)"
    catalog = take_catalog(catalog, call)
    truth = take_survey(truth, call, name="truth")
    if is_catalog(truth):
        raise InputError(
            "truth: a catalogue, whose labels are inferred; give a survey, which has trusted ones "
            "(compare_catalogs of luxscale.analysis.changes takes two catalogues)"
        )
    name = _choose_truth(truth, truth_name)
    require_variables(catalog, ("label_value", "label_err"), "catalogue")
    labels = require_common_labels(catalog, truth, ("catalogue", "survey"), labels)
    rows, truth_rows = match_stars(catalog, truth)
    inferred, inferred_err = read_labels(catalog, ["label_value", "label_err"], labels, rows)
    err_name = f"{name.removesuffix('_value')}_err"
    if err_name in truth:
        trusted, trusted_err = read_labels(truth, [name, err_name], labels, truth_rows)
    else:
        (trusted,) = read_labels(truth, [name], labels, truth_rows)
        trusted_err = np.zeros_like(trusted)
    units = join_units(catalog, truth, labels, ("catalogue", "survey"))
    dims = (STAR, LABEL)
    return xr.Dataset(
        {
            "inferred": (dims, inferred),
            "inferred_err": (dims, inferred_err),
            "truth": (dims, trusted),
            "truth_err": (dims, trusted_err),
        },
        {
            LABEL: np.array(labels, object),
            UNITS: (LABEL, np.array(units, object)),
        },
        {"truth_name": name},
    )


def measure_pairs(pairs: xr.Dataset) -> xr.Dataset:
    """Return the statistics of `compare` from what `match_labels` returns.

    Parameters
    ----------
    pairs : Dataset
        From `match_labels`, or a selection of its stars.

    Returns
    -------
    Dataset
        As `compare`.

    Examples
    --------
    >>> from luxscale.analysis.evaluate import match_labels, measure_pairs
    >>> pairs = match_labels(catalog, survey)
    >>> cool = measure_pairs(pairs.isel(star=pairs.truth.sel(label="teff").values < 4800))
    """
    measured = [_measure(pairs.isel({LABEL: i})) for i in range(pairs.sizes[LABEL])]
    statistics = {}
    for name, doc in STATISTICS.items():
        values = np.array([of_label[name] for of_label in measured])
        statistics[name] = (LABEL, values, {"long_name": doc})
    title = f"inferred labels against {pairs.attrs['truth_name']}"
    return xr.Dataset(statistics, pairs.coords, {"title": title})


def _measure(pairs: xr.Dataset) -> dict[str, float]:
    """Return the statistics of one label."""
    inferred = pairs["inferred"].values
    err = pairs["inferred_err"].values
    truth = pairs["truth"].values
    truth_err = pairs["truth_err"].values
    known = np.isfinite(inferred) & np.isfinite(truth)
    d = (inferred - truth)[known]
    sigma = np.hypot(err, truth_err)[known]
    err = err[known]
    # a missing error, or one of 0, says nothing about the pull
    has_error = np.isfinite(sigma) & (sigma > 0)
    return {
        "n_stars": d.size,
        "bias": reduce_or_nan(np.mean, d),
        "rmse": reduce_or_nan(np.mean, d * d) ** 0.5,
        "robust_scatter": robust_scatter(d),
        "median_err": reduce_or_nan(np.median, err[np.isfinite(err)]),
        "pull": robust_scatter(d[has_error] / sigma[has_error]),
    }


def _choose_truth(truth: xr.Dataset, name: str | None) -> str:
    if name is None and "label_true" in truth:
        name = "label_true"
    elif name is None:
        name = "label_value"
    require_variables(truth, (name,), "truth")
    return name


def require_catalog(catalog: xr.Dataset, where: str) -> None:
    """Refuse what is no catalogue; reads no values.

    Raises
    ------
    InputError
        Names what it is, or the first variable of the contract that is missing or of another kind.
    """
    said = str(catalog.attrs.get("format", ""))
    # luxscale 0.1.0 wrote a catalogue that `luxscale.infer` returned as a survey
    if said.startswith("luxscale-") and said != CATALOG_FORMAT and not is_catalog(catalog):
        raise InputError(
            f"{where}: {describe_kind(said)}, not a catalogue; give one of luxscale.label_survey"
        )
    for variable in CATALOG:
        if variable.name in catalog.variables:
            problem = variable.problem(catalog[variable.name])
            if problem:
                raise InputError(f"{where}: {variable.name!r} {problem}")
        elif variable.required:
            raise InputError(
                f"{where}: no variable {variable.name!r} ({variable.doc}); give a catalogue made "
                "by luxscale.label_survey"
            )


def check_catalog(catalog: xr.Dataset, where: str) -> dict[str, Any]:
    """Refuse what is no catalogue, and say how far one is.

    Parameters
    ----------
    catalog : Dataset
    where : str
        What messages call it, e.g. its path.

    Returns
    -------
    dict
        ``stars`` (also those of a growth that was cut off), ``done``; ``unreadable``, without data;
        ``not_finite``, done without a finite label or error; ``flags``, of how many that are done.

    Raises
    ------
    InputError
        Names the first variable of the contract that is missing or of another kind.
    """
    require_catalog(catalog, where)
    done = find_done(catalog)
    has_labels = np.isfinite(catalog["label_value"].values).all(1)
    has_errors = np.isfinite(catalog["label_err"].values).all(1)
    finite = has_labels & has_errors
    unreadable = catalog["status"].values == 2
    return {
        "stars": int(catalog.attrs.get(GROWING, done.size)),
        "done": int(done.sum()),
        "unreadable": int(unreadable.sum()),
        "not_finite": int((done & ~finite).sum()),
        "flags": flags.count(catalog["flags"].values[done]),
    }
