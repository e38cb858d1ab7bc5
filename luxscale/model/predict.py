"""From latents to outputs: labels and model spectra, with errors."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr

from luxscale.errors import InputError
from luxscale.model.arguments import (
    DatasetOrPath,
    ModelOrPath,
    take_catalog,
    take_model,
    take_survey,
)
from luxscale.model.calibration import is_uncalibrated
from luxscale.model.designs import is_plain, list_parts
from luxscale.model.infer import check_match, infer, infer_dataset
from luxscale.model.inference import Inference, pick_given
from luxscale.model.lux import LuxModel
from luxscale.model.output import coordinates
from luxscale.schema.standard import join_features, standardize_survey
from luxscale.schema.variables import LATENT, STAR


def predict(catalog: DatasetOrPath, model: ModelOrPath, output: str = "flux") -> xr.DataArray:
    """Predict an output from the latents of a catalogue: equations 1 and 2, y = offset + W z.

    Of a model that is not linear the latents are the most probable ones, and this is the output
    that they have; `predict_mean` is its mean over all that are possible.

    Parameters
    ----------
    catalog : Dataset, str or Path
        With ``latent`` (star, latent), as `infer` and `label_survey` make it; lazy if that is.
    model : LuxModel, str or Path
        The model that the latents were inferred with.
    output : str
        ``"flux"`` for model spectra, ``"label_value"`` for labels, or any other output of the
        model. Labels that the model infers from windows are those of all pixels here; the catalogue
        holds those of their windows. Labels of an ensemble are those of its first member here; the
        catalogue holds the mean of all.

    Returns
    -------
    DataArray, (star, feature)
        In the output's units; NaN at features that took no part in training.

    Raises
    ------
    InputError
        If the catalogue has no latents, or they are another model's.

    Examples
    --------
    >>> import luxscale as lux
    >>> lux.predict(catalog, model).dims  # lazy, as the catalogue is
    ('star', 'wavelength')
    """
    call = "lux.predict(catalog, model)"
    catalog = take_catalog(catalog, call)
    model = take_model(model, call)
    wanted = model[output]
    check_latents(catalog, model)

    def decode(z: np.ndarray) -> np.ndarray:
        return wanted.map(z.astype(float))

    decoded = xr.apply_ufunc(
        decode,
        join_features(catalog[LATENT]),
        input_core_dims=[[LATENT]],
        output_core_dims=[[wanted.spec.dim]],
        dask="parallelized",
        output_dtypes=[np.float64],
        dask_gufunc_kwargs={"output_sizes": {wanted.spec.dim: len(wanted.coord)}},
    )
    return (
        decoded.rename(output).assign_coords(coordinates(wanted)).transpose(STAR, wanted.spec.dim)
    )


def predict_error(
    survey: DatasetOrPath,
    model: ModelOrPath,
    output: str = "flux",
    given: str | Sequence[str] = "flux",
) -> xr.DataArray:
    """Return the one-sigma errors of what is predicted from latents inferred from a survey.

    sqrt(diag(W C W^T) + s^2), with C the posterior covariance of a star's latents, W the weights of
    the output and s its scatter. Of a model that is not linear, W C W^T is the covariance of W phi
    under the whole posterior, about the mean that `predict_mean` returns. Errors of labels are the
    catalogue's: formal error and measured misfit, for labels with windows from these alone.

    Parameters
    ----------
    survey : Dataset, str or Path
        What the latents are inferred from; lazy if it is backed by Dask.
    model : LuxModel, str or Path
    output : str
    given : str or sequence of str
        As in `infer`.

    Returns
    -------
    DataArray, (star, feature)
        In the output's units; NaN at features that took no part in training.

    Raises
    ------
    InputError
        As `infer`.

    Examples
    --------
    >>> import luxscale as lux
    >>> lux.predict_error(survey, model).dims
    ('star', 'wavelength')
    """
    call = "lux.predict_error(survey, model)"
    survey = take_survey(survey, call, given)
    model = take_model(model, call)
    wanted = model[output]
    if wanted.is_label:
        return infer(survey, model, given)[wanted.spec.noise].rename(f"{output}_error")
    if not is_linear_between(model, output, given):
        return _infer_output(survey, model, output, given)[f"{output}_error"]
    inference = Inference.of_latents(model, given, covariance=True)
    survey = standardize_survey(survey)
    specs = check_match(survey, pick_given(model, given), "survey")
    inferred = infer_dataset(survey, inference.reading(specs))
    covariance = inferred[f"{LATENT}_cov"]
    scatter2 = np.where(wanted.used, np.asarray(wanted.scatter, float) ** 2, np.nan)

    def add_noise(z: np.ndarray, cov: np.ndarray) -> np.ndarray:
        return np.sqrt(wanted.map.propagate_variance(z, cov) + scatter2)

    errors = xr.apply_ufunc(
        add_noise,
        inferred[LATENT],
        covariance,
        input_core_dims=[[LATENT], covariance.dims[1:]],
        output_core_dims=[[wanted.spec.dim]],
        dask="parallelized",
        output_dtypes=[np.float64],
        dask_gufunc_kwargs={"output_sizes": {wanted.spec.dim: len(wanted.coord)}},
        join="override",
    )
    return (
        errors.rename(f"{output}_error")
        .assign_coords(coordinates(wanted))
        .transpose(STAR, wanted.spec.dim)
    )


def predict_mean(
    survey: DatasetOrPath,
    model: ModelOrPath,
    output: str = "flux",
    given: str | Sequence[str] = "label_value",
) -> xr.Dataset:
    """Predict an output from data, over all latents that are possible: by default, from labels.

    Labels say little of some latents. The mean spectrum of the stars that have them is then another
    one than that of the most probable latents, where the model is not linear.

    Parameters
    ----------
    survey : Dataset, str or Path
        What the latents are inferred from; lazy if it is backed by Dask.
    model : LuxModel, str or Path
    output : str
        An output that is no label; for labels use `infer`.
    given : str or sequence of str
        As in `infer`.

    Returns
    -------
    Dataset
        The posterior mean by the output's name, (star, feature), and ``OUTPUT_error``, its
        one-sigma error, with the output's scatter; NaN at features that took no part in training.

    Raises
    ------
    InputError
        As `infer`, and if the output is labels.

    Examples
    --------
    >>> from luxscale.model.predict import predict_mean
    >>> spectra = predict_mean(survey, model, given="label_value")
    >>> sorted(spectra.data_vars)
    ['flux', 'flux_error']
    """
    call = "predict_mean(survey, model)"
    survey = take_survey(survey, call, given)
    model = take_model(model, call)
    if model[output].is_label:
        raise InputError(f"{output!r} is labels, whose means are those of luxscale.infer")
    return _infer_output(survey, model, output, given)


def is_linear_between(model: LuxModel, output: str, given: str | Sequence[str]) -> bool:
    """Whether latents have one Gaussian for a posterior, and the output its mean at theirs."""
    plain = all(is_plain(seen) for seen in pick_given(model, given))
    return plain and model[output].map.features.is_linear and model.prior.is_gaussian


def _infer_output(
    survey: xr.Dataset, model: LuxModel, output: str, given: str | Sequence[str]
) -> xr.Dataset:
    """Return the posterior mean of an output that is no label, and its error."""
    wanted = model[output]
    inference = Inference.of_output(model, output, given)
    survey = standardize_survey(survey)
    specs = check_match(survey, pick_given(model, given), "survey")
    inferred = infer_dataset(survey, inference.reading(specs))
    parts = [part.spec for part in list_parts(wanted)]
    dim = wanted.spec.dim
    values = [inferred[spec.name].rename({spec.dim: dim}) for spec in parts]
    errors = [inferred[spec.noise].rename({spec.dim: dim}) for spec in parts]
    used = xr.DataArray(np.asarray(wanted.used, bool), dims=dim)
    scatter2 = xr.DataArray(np.asarray(wanted.scatter, float) ** 2, dims=dim)
    variance = xr.concat(errors, dim) ** 2 + scatter2
    found = xr.Dataset(
        {
            output: xr.concat(values, dim).where(used),
            f"{output}_error": (variance**0.5).where(used),
        }
    )
    return found.assign_coords(coordinates(wanted))


def check_latents(catalog: xr.Dataset, model: LuxModel) -> None:
    """Refuse latents that are not of this model.

    Raises
    ------
    InputError
    """
    if LATENT not in catalog or catalog[LATENT].ndim != 2:
        raise InputError(
            "the catalogue has no variable 'latent' (star, latent); make one with luxscale.infer"
        )
    made_with = catalog.attrs.get("model_fingerprint", model.fingerprint)
    if made_with != model.fingerprint or catalog.sizes[LATENT] != model.latent_dim:
        if is_uncalibrated(made_with, model):
            raise InputError(
                "the catalogue was made with this model before its errors were calibrated; label "
                "the stars again, or take the calibration away (luxscale calibrate MODEL --remove)"
            )
        raise InputError(
            f"the catalogue's latents ({catalog.sizes[LATENT]}, model {made_with[:12]}) are "
            f"not of this model ({model.latent_dim}, {model.fingerprint[:12]}); load the "
            "model that made them"
        )
