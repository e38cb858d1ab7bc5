"""How well a catalogue's labels agree with trusted ones: bias, scatter, honesty of the errors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr

from luxscale.analysis.stats import _or_nan, robust_scatter
from luxscale.errors import InputError
from luxscale.schema import flags
from luxscale.schema.stars import match_stars
from luxscale.schema.status import find_done
from luxscale.schema.variables import CATALOG, STAR

LABEL, UNITS = "label", "label_units"

#: What `compare` measures, with d = inferred - truth over the stars where both are known.
STATISTICS = {
    "n_stars": "stars with both labels known",
    "bias": "mean of inferred - truth",
    "rmse": "root mean square of inferred - truth",
    "robust_scatter": "1.4826 MAD of inferred - truth about its median",
    "median_err": "median error of the inferred label",
    "pull": "1.4826 MAD of (inferred - truth) / error; 1 if the errors are right",
}


def compare(catalog: xr.Dataset, truth: xr.Dataset, *, truth_name: str | None = None) -> xr.Dataset:
    """Compare inferred labels with trusted ones.

    Parameters
    ----------
    catalog : Dataset
        Catalogue, as `infer` and `label_survey` make it. Where it has a ``status``, only stars that
        are done count.
    truth : Dataset
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
        both labels known.

    Raises
    ------
    InputError
        If no star or no label is in common, or a variable is missing.

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
    return measure_pairs(match_labels(catalog, truth, truth_name=truth_name))


def match_labels(
    catalog: xr.Dataset,
    truth: xr.Dataset,
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
    name = _truth_name(truth, truth_name)
    require_variables(catalog, ("label_value", "label_err"), "catalogue")
    labels = _common_labels(catalog, truth, labels)
    rows, truth_rows = match_stars(catalog, truth)
    errors = [v for v in [f"{name.removesuffix('_value')}_err"] if v in truth]
    ours = _read_labels(catalog, ["label_value", "label_err"], labels, rows)
    theirs = _read_labels(truth, [name, *errors], labels, truth_rows)
    columns = dict(
        zip(
            ("inferred", "inferred_err", "truth", "truth_err"),
            (*ours, *theirs, *([] if errors else [np.zeros_like(theirs[0])])),
            strict=True,
        )
    )
    units = label_units(truth) | {k: v for k, v in label_units(catalog).items() if v}
    return xr.Dataset(
        {k: ((STAR, LABEL), v) for k, v in columns.items()},
        {
            LABEL: np.array(labels, object),
            UNITS: (LABEL, np.array([units[k] for k in labels], object)),
        },
        {"truth_name": name},
    )


def measure_pairs(pairs: xr.Dataset) -> xr.Dataset:
    """Return the statistics of `compare` from what `match` returns.

    Parameters
    ----------
    pairs : Dataset
        From `match`, or a selection of its stars.

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
    columns = [
        _measure(
            *(pairs[v].values[:, i] for v in ("inferred", "inferred_err", "truth", "truth_err"))
        )
        for i in range(pairs.sizes[LABEL])
    ]
    return xr.Dataset(
        {
            name: (LABEL, np.array([c[name] for c in columns]), {"long_name": doc})
            for name, doc in STATISTICS.items()
        },
        pairs.coords,
        {"title": f"inferred labels against {pairs.attrs['truth_name']}"},
    )


def _measure(
    inferred: np.ndarray, err: np.ndarray, truth: np.ndarray, truth_err: np.ndarray
) -> dict[str, float]:
    known = np.isfinite(inferred) & np.isfinite(truth)
    d, err, sigma = (inferred - truth)[known], err[known], np.hypot(err, truth_err)[known]
    sure = np.isfinite(sigma) & (sigma > 0)
    return {
        "n_stars": d.size,
        "bias": _or_nan(np.mean, d),
        "rmse": _or_nan(np.mean, d * d) ** 0.5,
        "robust_scatter": robust_scatter(d),
        "median_err": _or_nan(np.median, err[np.isfinite(err)]),
        "pull": robust_scatter(d[sure] / sigma[sure]),
    }


def require_variables(dataset: xr.Dataset, names: Sequence[str], where: str) -> None:
    """Refuse a dataset that lacks one of these variables, on (star, label).

    Raises
    ------
    InputError
    """
    for name in names:
        if name not in dataset:
            have = (
                ", ".join(str(v) for v, a in dataset.data_vars.items() if a.dims == (STAR, LABEL))
                or "none"
            )
            raise InputError(
                f"{where}: no variable {name!r} (star, label); its variables on (star, label) "
                f"are: {have}"
            )
        if dataset[name].dims != (STAR, LABEL):
            raise InputError(
                f"{where}: {name!r} has dims {dataset[name].dims}, expected {(STAR, LABEL)}"
            )
    for name in (STAR, LABEL):
        if name not in dataset.coords:
            raise InputError(
                f"{where}: no coordinate {name!r}, by which stars and labels are matched; add "
                "it with "
                f".assign_coords({name}=...)"
            )


def _truth_name(truth: xr.Dataset, name: str | None) -> str:
    if name is None:
        name = "label_true" if "label_true" in truth else "label_value"
    require_variables(truth, (name,), "truth")
    return name


def label_units(dataset: xr.Dataset) -> dict[str, str]:
    """Return the unit of each label by name, empty where none is given."""
    names = list(map(str, dataset[LABEL].values.tolist()))
    units = dataset[UNITS].values.tolist() if UNITS in dataset else [""] * len(names)
    return dict(zip(names, map(str, units), strict=True))


def _common_labels(
    catalog: xr.Dataset, truth: xr.Dataset, wanted: Sequence[str] | None
) -> list[str]:
    ours, theirs = list(label_units(catalog)), list(label_units(truth))
    common = [name for name in ours if name in theirs]
    missing = [name for name in wanted or () if name not in common]
    if missing or not common:
        what = f"label {missing[0]!r} is not in both" if missing else "no label is in common"
        raise InputError(
            f"{what}: the catalogue has {', '.join(ours)}; the survey has {', '.join(theirs)}; "
            "rename one side's with .assign_coords(label=[...])"
        )
    return common if wanted is None else list(wanted)


def require_catalog(catalog: xr.Dataset, where: str) -> None:
    """Refuse what is no catalogue; reads no values.

    Raises
    ------
    InputError
        Names the first variable of the contract that is missing or of another kind.
    """
    for variable in CATALOG:
        if variable.name in catalog.variables:
            problem = variable.problem(catalog[variable.name])
            if problem:
                raise InputError(f"{where}: {variable.name!r} {problem}")
        elif variable.required:
            raise InputError(
                f"{where}: no variable {variable.name!r} ({variable.doc}); give a catalogue "
                "made by "
                "luxscale.label_survey"
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
        ``stars`` and ``done`` (int); ``unreadable``, of how many the data could not be read;
        ``not_finite``, how many that are done lack a finite label or error; and ``flags``, how many
        that are done carry each flag.

    Raises
    ------
    InputError
        Names the first variable of the contract that is missing or of another kind.
    """
    require_catalog(catalog, where)
    finished = find_done(catalog)
    finite = np.isfinite(catalog["label_value"].values).all(1) & np.isfinite(
        catalog["label_err"].values
    ).all(1)
    return {
        "stars": finished.size,
        "done": int(finished.sum()),
        "unreadable": int((catalog["status"].values == 2).sum()),
        "not_finite": int((finished & ~finite).sum()),
        "flags": flags.count(catalog["flags"].values[finished]),
    }


def _read_labels(
    dataset: xr.Dataset, names: Sequence[str], labels: Sequence[str], rows: np.ndarray
) -> list[np.ndarray]:
    """Return variables as float64 arrays (star, label).

    They are read at once: a lazy catalogue is computed only once.
    """
    have = list(label_units(dataset))
    chosen = (
        dataset[list(names)].drop_vars([STAR, LABEL]).isel({LABEL: [have.index(k) for k in labels]})
    )
    if not np.array_equal(rows, np.arange(dataset.sizes[STAR])):
        chosen = chosen.isel({STAR: rows})
    chosen = chosen.compute()
    return [np.asarray(chosen[name].values, float) for name in names]
