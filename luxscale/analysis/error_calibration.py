"""A model whose errors are calibrated on stars that it was not trained on, and the way back."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence

import numpy as np
import pandas as pd
import xarray as xr

from luxscale.analysis.calibrating import Fit, Sample, fit_errors
from luxscale.analysis.label_arrays import join_units, read_labels, require_variables
from luxscale.analysis.repeats import FEWEST, require_model_labels
from luxscale.analysis.tables import align_rows, count_decimals, round_to
from luxscale.analysis.visits import Repeats, read_repeats
from luxscale.errors import InputError
from luxscale.model.arguments import (
    DatasetOrPath,
    ModelOrPath,
    take_catalog,
    take_model,
    take_survey,
)
from luxscale.model.calibration import (
    Calibration,
    Curve,
    Errors,
    make_constants,
    replace_calibration,
)
from luxscale.model.designs import make_head
from luxscale.model.lux import LuxModel
from luxscale.model.output import Output
from luxscale.model.predict import check_latents
from luxscale.schema.outputs import is_catalog
from luxscale.schema.quantities import list_quantities, read_quantities
from luxscale.schema.stars import index_stars, match_identifiers
from luxscale.schema.variables import CALIBRATION, STAR

#: The output whose errors are calibrated.
_OUTPUT = "label_value"


def calibrate_errors(
    model: ModelOrPath,
    catalog: DatasetOrPath,
    survey: DatasetOrPath,
    *,
    by: str = STAR,
) -> LuxModel:
    """Calibrate the errors of a model's labels on stars that it was not trained on.

    Parameters
    ----------
    model : LuxModel, str or Path
        A calibration that it has counts for nothing.
    catalog : Dataset, str or Path
        Labels that the model gives without a calibration.
    survey : Dataset, str or Path
        Survey that was labelled. Of the stars whose ``label_value`` and ``label_err`` it holds the
        floor is learnt, of those with several visits the scale.
    by : str
        Column that is the same for all visits of a star, in the catalogue or the survey; by default
        each row is a star.

    Returns
    -------
    LuxModel
        The same but for its errors; write it by ``.save(path, overwrite=True)``. Its labels'
        ``calibration`` says what each was found from (``facts``).

    Raises
    ------
    InputError
        If the catalogue is another model's, or too few stars tell the errors of any label to 10%;
        says how many are needed.

    Notes
    -----
    The error of a label is sqrt(scale^2 formal^2 + floor^2). The scale is what visits of a star
    scatter by over formal errors, where that is more than 1; the floor, with that given, what the
    residuals about trusted labels need beyond all errors. Trusted labels of a star's visits are
    averaged, where they differ: what is the same in two visits is one measurement. Both may depend
    on the formal error where there are enough stars to tell. Of n stars the error is known to
    1.17 (1 + t^2 / e^2) / sqrt(n), with e the error of the label and t that of the trusted one. A
    label of which it is not known to 10% keeps misfit and factor of training.

    Stars of which any row of catalogue or survey was in training, by its identifier, are left out
    with all their visits.

    Examples
    --------
    >>> import luxscale as lux
    >>> held_out = lux.select(catalog, stars="untrained", model=model)  # doctest: +SKIP
    >>> calibrated = lux.calibrate_errors(model, held_out, survey, by="object")  # doctest: +SKIP
    """
    call = "lux.calibrate_errors(model, catalog, survey)"
    where = str(catalog) if not isinstance(catalog, xr.Dataset) else "catalogue"
    return calibrate_opened(
        take_model(model, call), take_catalog(catalog, call), take_survey(survey, call), by, where
    )


def calibrate_opened(
    model: LuxModel, catalog: xr.Dataset, survey: xr.Dataset, by: str, where: str
) -> LuxModel:
    """Calibrate as `calibrate_errors` does, with what messages call the catalogue (``where``)."""
    model = remove_calibration(model)
    if is_catalog(survey):
        raise InputError(
            "survey: a catalogue, whose labels are inferred; give the survey that was labelled"
        )
    if CALIBRATION in catalog.attrs:
        raise InputError(
            f"{where}: its errors are calibrated; label the stars with the model without its "
            "calibration (luxscale calibrate MODEL --remove)"
        )
    check_latents(catalog, model)
    require_model_labels(catalog, model)
    output = model[_OUTPUT]
    visits = read_repeats(catalog, by, where, survey=survey, over=(), with_once=True)
    trained = _find_trained(visits, catalog, survey, by, model, where)
    visits, left_out = _leave_out(visits, trained, where)
    truth, truth_err = _average_truth(visits, *_read_truth(visits, catalog, survey, output))
    formal = visits.find_formal(make_head(output, model.measured))
    factors = [curve.middle for curve in _list_factors(output)]
    fits = [
        fit_errors(
            Sample(visits.value[:, m], formal[:, m], visits.star, truth[:, m], truth_err[:, m]),
            factor,
        )
        for m, factor in enumerate(factors)
    ]
    calibration = _make_calibration(output, fits, formal, where, {**visits.counts, **left_out})
    return replace_calibration(model, _OUTPUT, calibration)


def remove_calibration(model: ModelOrPath) -> LuxModel:
    """Return a model with the errors that training gave it.

    Parameters
    ----------
    model : LuxModel, str or Path

    Returns
    -------
    LuxModel
        The model as it was before `calibrate_errors`, to the last bit.
    """
    return replace_calibration(take_model(model, "lux.remove_calibration(model)"), _OUTPUT, None)


def _find_trained(
    visits: Repeats, catalog: xr.Dataset, survey: xr.Dataset, by: str, model: LuxModel, where: str
) -> np.ndarray:
    """Return which visits are of stars that training has seen, in any row of catalogue or survey.

    The row that was in training may not be among the visits: not done, or not selected.
    """
    if not len(model.training_stars):
        raise InputError(
            "the model does not say which stars it was trained on, being older than that, and of "
            "those errors come out too small; train it again"
        )
    names = pd.Series(read_quantities(catalog, [by], where, survey)[by].values[visits.row])
    found = np.zeros(names.size, bool)
    for dataset, what in ((catalog, where), (survey, "survey")):
        if by in list_quantities(dataset):
            column = read_quantities(dataset, [by], what)[by]
            seen = model.training_stars.find(np.asarray(dataset[STAR].values)) & column.known
            found |= names.isin(column.values[seen]).to_numpy()
    return found


def _leave_out(visits: Repeats, trained: np.ndarray, where: str) -> tuple[Repeats, dict[str, int]]:
    """Return the visits of stars of which none was in training, and how many were."""
    of_star = np.bincount(visits.star[trained], minlength=int(visits.star.max()) + 1) > 0
    kept = ~of_star[visits.star]
    if not kept.any():
        raise InputError(
            f"{where}: the model was trained on all of its {of_star.size:,} stars, of which errors "
            "come out too small; label stars that were left out of training"
        )
    left = dataclasses.replace(
        visits,
        value=visits.value[kept],
        err=visits.err[kept],
        row=visits.row[kept],
        outputs=None if visits.outputs is None else visits.outputs[kept],
        star=np.unique(visits.star[kept], return_inverse=True)[1],
    )
    return left, {"trained": int(of_star.sum())}


def _read_truth(
    visits: Repeats, catalog: xr.Dataset, survey: xr.Dataset, output: Output
) -> tuple[np.ndarray, np.ndarray]:
    """Return the trusted labels of visits and their errors; NaN where there are none."""
    names = list(output.spec.variables)
    truth = np.full(visits.value.shape, np.nan)
    truth_err = truth.copy()
    if not all(name in survey for name in names):
        return truth, truth_err
    require_variables(survey, names, "survey")
    at = match_identifiers(index_stars(catalog), index_stars(survey), ("catalogue", "survey"))
    rows = at[visits.row]
    found = rows >= 0
    have = [str(name) for name in survey[output.spec.dim].values.tolist()]
    columns = [m for m, name in enumerate(visits.units) if name in have]
    labels = [list(visits.units)[m] for m in columns]
    join_units(catalog, survey, labels, ("catalogue", "survey"))
    values, errors = read_labels(survey, names, labels, rows[found])
    truth[np.ix_(found, columns)], truth_err[np.ix_(found, columns)] = values, errors
    return truth, truth_err


def _average_truth(
    visits: Repeats, truth: np.ndarray, truth_err: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean of the trusted labels of each star, at its visits, and the error of that.

    A label that is the same in two visits is one measurement.
    """
    mean = np.full(truth.shape, np.nan)
    err = np.full(truth.shape, np.nan)
    for m in range(truth.shape[1]):
        mean[:, m], err[:, m] = _average_label(visits.star, truth[:, m], truth_err[:, m])
    return mean, err


def _average_label(
    star: np.ndarray, value: np.ndarray, value_err: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean and its error of one label, as `_average_truth` does: (visit,)."""
    usable = np.isfinite(value) & np.isfinite(value_err) & (value_err > 0)
    measured = pd.DataFrame({"star": star, "label": np.where(usable, value, np.nan)})
    usable &= ~measured.duplicated().to_numpy()
    size = int(star.max()) + 1
    ivar = value_err[usable] ** -2.0
    total = np.bincount(star[usable], ivar, size)
    weighted = np.bincount(star[usable], ivar * value[usable], size)
    known = total > 0
    divisor = np.where(known, total, 1)
    average = np.where(known, weighted / divisor, np.nan)
    average_err = np.where(known, divisor**-0.5, np.nan)
    return average[star], average_err[star]


def _make_calibration(
    output: Output, fits: Sequence[Fit], formal: np.ndarray, where: str, counts: dict[str, int]
) -> Calibration:
    """Return what was found of all labels; those that too few stars tell keep what they have."""
    names = [str(name) for name in output.coord]
    if all(fit.scale is None and fit.floor is None for fit in fits):
        raise InputError(f"{where}: {_explain_few(names, fits, counts)}")
    factors = _list_factors(output)
    middle = np.nanmedian(formal, axis=0)
    scales, floors = [], []
    for m, fit in enumerate(fits):
        scale, floor = fit.scale, fit.floor
        if floor is None:
            floor = Curve((float(middle[m]),), (float(output.floor[m]),))
            # without trusted labels nothing says that errors are too large, nor does a scale of 1,
            # the least that repeats can tell, say that they are too small
            if scale is None or scale.middle <= max(factors[m].middle, 1):
                scale = factors[m]
        assert scale is not None
        scales.append(scale)
        floors.append(floor)
    found = Errors(scale=tuple(scales), floor=tuple(floors))
    before, after = (_find_errors(output, errors, middle) for errors in (output.errors, found))
    records = [
        {
            "label": name,
            "unit": output.units[m],
            "scale": scales[m].middle,
            "floor": floors[m].middle,
            "kept": fit.floor is None,
            "before": float(before[m]),
            "after": float(after[m]),
            **fit.record,
        }
        for m, (name, fit) in enumerate(zip(names, fits, strict=True))
    ]
    return Calibration(
        scale=found.scale,
        floor=found.floor,
        record=json.dumps({"labels": records, "counts": counts}),
    )


def _find_errors(output: Output, errors: Errors, formal: np.ndarray) -> np.ndarray:
    """Return the errors that a catalogue has where formal ones are so large: (label,)."""
    head = dataclasses.replace(make_head(output), errors=errors)
    found: np.ndarray = head.find_error((formal / head.spread)[None] ** 2)[0]
    return found


def _list_factors(output: Output) -> tuple[Curve, ...]:
    """Return the factors on formal errors that training found."""
    return output.inflation or make_constants([1.0] * len(output.coord))


def _explain_few(names: Sequence[str], fits: Sequence[Fit], counts: dict[str, int]) -> str:
    """Say how many stars there are and how many are needed."""
    name, record = min(
        zip(names, (fit.record for fit in fits), strict=True),
        key=lambda each: each[1]["needed_stars"] or np.inf,
    )
    needed = record["needed_stars"]
    stars = "stars with trusted labels" if needed is None else f"{needed:,} with trusted labels"
    return (
        f"{record['pairs']:.0f} pairs of visits and {record['stars']:,} held-out stars with a "
        f"trusted {name} tell no error to 10% ({counts['trained']:,} stars of training are left "
        f"out); give {record['needed_pairs']:,} pairs of visits of {FEWEST} stars or more for the "
        f"scale (by the column that visits share), or {stars} for the floor"
    )


def format_calibration(calibration: Calibration) -> str:
    """Return what a calibration was found from as aligned text, a line a label.

    Parameters
    ----------
    calibration : Calibration

    Returns
    -------
    str
    """
    heading = "label", "unit", "stars", "pairs", "scale", "floor", "err before", "after", "known to"
    rows = [heading]
    for found in calibration.facts["labels"]:
        places = count_decimals(found["before"], found["after"])
        sizes = (round_to(found[name], places) for name in ("floor", "before", "after"))
        known = "-" if found["known_to"] is None else f"{100 * found['known_to']:.0f}%"
        if found["kept"]:
            needed = found["needed_stars"]
            known += ", kept" + ("" if needed is None else f": needs {needed:,} stars")
        cells = (found["label"], found["unit"] or "-", f"{found['stars']:,}")
        floor, before, after = sizes
        scale = round_to(found["scale"], 2)
        rows.append((*cells, f"{found['pairs']:,.0f}", scale, floor, before, after, known))
    return align_rows(rows, n_words=2)
