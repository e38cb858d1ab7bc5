"""How well a model fits, star by star: residuals, reduced chi2, effective number of parameters."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from luxscale.analysis.interpret import find_unit
from luxscale.errors import InputError
from luxscale.model.arguments import (
    DatasetOrPath,
    ModelOrPath,
    take_catalog,
    take_model,
    take_survey,
)
from luxscale.model.infer import check_match, infer_dataset
from luxscale.model.inference import Inference, pick_given
from luxscale.model.output import coordinates
from luxscale.model.predict import predict
from luxscale.schema.standard import standardize_survey
from luxscale.schema.stars import index_stars, match_identifiers
from luxscale.schema.variables import LATENT, STAR


def residuals(
    survey: DatasetOrPath,
    catalog: DatasetOrPath,
    model: ModelOrPath,
    output: str = "flux",
    *,
    scaled: bool = False,
) -> xr.DataArray:
    """Return data minus model, star by star.

    Parameters
    ----------
    survey : Dataset, str or Path
        With ``output`` and its errors; lazy if it is backed by Dask.
    catalog : Dataset, str or Path
        With ``latent``, of the same stars, or of more or fewer in any order; lazy too.
    model : LuxModel, str or Path
        The model that the latents were inferred with.
    output : str
    scaled : bool
        Whether to divide by sqrt(error^2 + s^2), the noise that the model expects.

    Returns
    -------
    DataArray, (star, feature)
        Of the stars that both have, in the catalogue's order; in the output's units (scaled:
        without). NaN where a value is missing (ivar 0) or takes no part in the model, and for stars
        that are not done.

    Raises
    ------
    InputError
        If no star is in common, the survey is not on the model's grid, or the latents are another
        model's.

    Notes
    -----
    Identifiers are read only if the two do not hold the same index of stars, as the results of
    `infer` do. Scaled residuals scatter by a little less than 1 in a good fit: the latents have
    followed some of the noise. Where noise is correlated, scaled residuals are too: each has its
    own standard deviation, but chi2 is not the sum of their squares.

    Examples
    --------
    >>> from luxscale.analysis.goodness import residuals
    >>> pulls = residuals(survey, catalog, model, scaled=True)
    >>> bool(abs(pulls.std() - 1) < 0.1)
    True
    """
    call = "residuals(survey, catalog, model)"
    survey = take_survey(survey, call, output)
    catalog = take_catalog(catalog, call)
    model = take_model(model, call)
    wanted = model[output]
    survey = standardize_survey(survey)
    (spec,) = check_match(survey, [wanted], "survey")
    survey, catalog = select_common_stars(survey, catalog)
    used = np.asarray(wanted.used, bool)

    def subtract(
        value: np.ndarray, noise: np.ndarray, decoded: np.ndarray, done: np.ndarray
    ) -> np.ndarray:
        ivar = spec.ivar(value, noise)
        measured = np.isfinite(ivar) & (ivar > 0) & np.isfinite(value)
        good = measured & used & (done[:, None] == 1)
        difference = value - decoded
        if scaled:
            # any ivar will do where the result is NaN
            safe_ivar = np.where(good, ivar, 1)
            difference = difference / wanted.noise.total_error(safe_ivar)
        return np.where(good, difference, np.nan).astype(value.dtype)

    result = xr.apply_ufunc(
        subtract,
        survey[spec.name],
        survey[spec.noise],
        predict(catalog, model, output).drop_vars(coordinates(wanted)),
        _get_status(catalog),
        input_core_dims=[[spec.dim]] * 3 + [[]],
        output_core_dims=[[spec.dim]],
        dask="parallelized",
        output_dtypes=[survey[spec.name].dtype],
        join="override",
        keep_attrs=False,
    )
    result = result.assign_coords(coordinates(wanted)).rename(f"{output}_residual")
    name = f"{output}, data minus model"
    if scaled:
        return result.assign_attrs(long_name=f"{name}, in units of the expected noise", units="1")
    return result.assign_attrs(long_name=name, units=find_unit(wanted))


def _get_status(catalog: xr.Dataset) -> xr.DataArray:
    """Return the status of each star, 1 (done) in a catalogue without one."""
    if "status" in catalog:
        return catalog["status"]
    first_latent = catalog[LATENT].isel({LATENT: 0}, drop=True)
    return xr.ones_like(first_latent)


def reduced_chi2(
    catalog: DatasetOrPath,
    model: ModelOrPath,
    survey: DatasetOrPath | None = None,
    given: str | list[str] = "flux",
) -> xr.DataArray:
    """Return chi2 over its degrees of freedom: about 1 where the model describes the star.

    Parameters
    ----------
    catalog : Dataset, str or Path
        With ``chi2`` and ``n_pixels``; lazy if it is backed by Dask.
    model : LuxModel, str or Path
    survey : Dataset, str or Path, optional
        What the catalogue was inferred from, for exact degrees of freedom; costs another inference.
    given : str or list of str
        Outputs that the catalogue was inferred from; matters with ``survey`` only.

    Returns
    -------
    DataArray, (star,)
        Without units; of the catalogue's stars, or those that the survey has too. NaN without
        degrees of freedom: too few pixels, or a star that is not done.

    Raises
    ------
    InputError
        As `residuals` and `infer`.

    Notes
    -----
    The prior holds latents back where the data say little, so that the fit spends fewer than P
    parameters on them: under the model the mean of chi2 is exactly ``n_pixels - (P - lambda tr C)``
    (see `effective_parameters`), by which it is divided if the survey is given. Without it, P
    parameters are counted, all that can be: the result is then too high, by a factor of n_pixels /
    (n_pixels - P) at most; nothing for thousands of pixels. The paper's figure 4 divides by the
    number of pixels. Where noise is correlated, ``n_pixels`` counts its independent components.

    Examples
    --------
    >>> from luxscale.analysis.goodness import reduced_chi2
    >>> bool(abs(reduced_chi2(catalog, model).mean() - 1) < 0.1)
    True
    """
    call = "reduced_chi2(catalog, model)"
    catalog = take_catalog(catalog, call)
    model = take_model(model, call)
    if survey is not None:
        survey = take_survey(survey, call, given)
    for name in ("chi2", "n_pixels"):
        if name not in catalog:
            raise InputError(
                f"the catalogue has no variable {name!r}; make one with luxscale.infer"
            )
    if survey is None:
        parameters = xr.full_like(catalog["chi2"], model.latent_dim, dtype=float)
    else:
        survey, catalog = select_common_stars(survey, catalog)
        parameters = effective_parameters(survey, model, given)
    columns = [parameters, *(catalog[v].astype(float) for v in ("chi2", "n_pixels"))]
    if "status" in catalog:
        columns.append(catalog["status"])
    result = xr.apply_ufunc(
        _reduce,
        *columns,
        dask="parallelized",
        output_dtypes=[float],
        join="override",
        keep_attrs=False,
    )
    return result.rename("reduced_chi2").assign_attrs(
        long_name="chi2 over its degrees of freedom", units="1"
    )


def _reduce(parameters: np.ndarray, chi2: np.ndarray, n: np.ndarray, status: Any = 1) -> np.ndarray:
    done = status == 1
    freedom = np.where(done, n - parameters, 0)
    known = freedom > 0
    safe = np.where(known, freedom, 1)
    return np.where(known, chi2 / safe, np.nan)


def effective_parameters(
    survey: DatasetOrPath, model: ModelOrPath, given: str | list[str] = "flux"
) -> xr.DataArray:
    """Return how many parameters the fit spends on each star: P - tr(Lambda C), between 0 and P.

    Lambda is the precision of the prior, lambda I if that is one Gaussian. That of a mixture is the
    inverse of its overall covariance: a star whose Gaussian is narrow spends less than is counted.

    Parameters
    ----------
    survey, model, given
        As in `infer`.

    Returns
    -------
    DataArray, (star,)
        Lazy if the survey is. 0 for a star without data.

    Raises
    ------
    InputError
        As `infer`.

    Examples
    --------
    >>> from luxscale.analysis.goodness import effective_parameters
    >>> bool((effective_parameters(survey, model) < model.latent_dim).all())
    True
    """
    call = "effective_parameters(survey, model)"
    survey = take_survey(survey, call, given)
    model = take_model(model, call)
    inference = Inference.of_latents(model, given, covariance=True)
    survey = standardize_survey(survey)
    specs = check_match(survey, pick_given(model, given), "survey")
    inferred = infer_dataset(survey, inference.reading(specs))
    covariance = inferred[f"{LATENT}_cov"]
    dims = covariance.dims[1:]
    precision = xr.DataArray(model.prior.make_precision(model.latent_dim), dims=dims)
    held_back = (precision * covariance).sum(dims)
    # a star may be less certain than a mixture is overall
    spent = (model.latent_dim - held_back).clip(min=0)
    return spent.rename("effective_parameters").assign_attrs(
        long_name="effective number of parameters", units="1"
    )


def select_common_stars(
    survey: DatasetOrPath, catalog: DatasetOrPath
) -> tuple[xr.Dataset, xr.Dataset]:
    """Select the stars that a survey and a catalogue both have, in the catalogue's order.

    Parameters
    ----------
    survey, catalog : Dataset, str or Path
        With the coordinate ``star``; lazy or not.

    Returns
    -------
    survey, catalog : Dataset
        Row by row the same stars; the catalogue without its ``star``, so that nothing compares
        identifiers again.

    Raises
    ------
    InputError
        If no star is in common, or identifiers are missing or repeated.
    """
    call = "select_common_stars(survey, catalog)"
    survey = take_survey(survey, call)
    catalog = take_catalog(catalog, call)
    for dataset, where in ((survey, "survey"), (catalog, "catalogue")):
        if STAR not in dataset.coords:
            raise InputError(
                f"{where}: no coordinate 'star', by which stars are matched; add it with "
                ".assign_coords(star=...)"
            )
    if not _same_index(survey, catalog):
        ours, theirs = index_stars(catalog), index_stars(survey)
        if not ours.equals(theirs):
            at = match_identifiers(ours, theirs, ("catalogue", "survey"))
            rows = np.flatnonzero(at >= 0)
            if not rows.size:
                raise InputError(
                    "no star is in common; give the survey that the catalogue was inferred from"
                )
            survey = survey.isel({STAR: _make_slice(at[rows])})
            catalog = catalog.isel({STAR: _make_slice(rows)})
    return survey, catalog.drop_vars(STAR)


def _same_index(survey: xr.Dataset, catalog: xr.Dataset) -> bool:
    """Whether both hold one index of stars, which says so without reading it."""
    ours = catalog.xindexes.get(STAR)
    theirs = survey.xindexes.get(STAR)
    if ours is None or theirs is None or type(ours) is not type(theirs):
        return False
    return ours.equals(theirs)  # type: ignore[arg-type]


def _make_slice(rows: np.ndarray) -> slice | np.ndarray:
    """Return positions as a slice if they are one."""
    start, stop = int(rows[0]), int(rows[-1]) + 1
    # with a slice, Dask keeps its chunks and a small graph
    if np.array_equal(rows, np.arange(start, stop)):
        return slice(start, stop)
    return rows
