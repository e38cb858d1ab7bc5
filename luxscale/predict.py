"""From latents to outputs: labels and model spectra, with errors."""

from __future__ import annotations

import numpy as np
import xarray as xr

from luxscale.model import LuxModel, coordinates
from luxscale.schema import LATENT, STAR, InputError


def predict(catalog: xr.Dataset, model: LuxModel, output: str = "flux") -> xr.DataArray:
    """Predict an output from the latents of a catalogue: equations 1 and 2, y = offset + W z.

    Parameters
    ----------
    catalog : Dataset
        With ``latent`` (star, latent), as `infer` and `label_survey` make it; lazy if that is.
    model : LuxModel
        The model that the latents were inferred with.
    output : str
        ``"flux"`` for model spectra, ``"label_value"`` for labels, or any other output of the model.

    Returns
    -------
    DataArray, (star, feature)
        In the output's units; NaN at features that took no part in training.

    Raises
    ------
    InputError
        If the catalogue has no latents, or they are another model's.
    """
    wanted = model[output]
    check_latents(catalog, model)

    def decode(z: np.ndarray) -> np.ndarray:
        return wanted.map(z.astype(float))

    decoded = xr.apply_ufunc(
        decode,
        catalog[LATENT],
        input_core_dims=[[LATENT]],
        output_core_dims=[[wanted.spec.dim]],
        dask="parallelized",
        output_dtypes=[np.float64],
        dask_gufunc_kwargs={"output_sizes": {wanted.spec.dim: len(wanted.coord)}},
    )
    return decoded.rename(output).assign_coords(coordinates(wanted)).transpose(STAR, wanted.spec.dim)


def check_latents(catalog: xr.Dataset, model: LuxModel) -> None:
    """Refuse latents that are not of this model.

    Raises
    ------
    InputError
    """
    if LATENT not in catalog or catalog[LATENT].ndim != 2:
        raise InputError("the catalogue has no variable 'latent' (star, latent); make one with luxscale.infer")
    made_with = catalog.attrs.get("model_fingerprint", model.fingerprint)
    if made_with != model.fingerprint or catalog.sizes[LATENT] != model.latent_dim:
        raise InputError(
            f"the catalogue's latents ({catalog.sizes[LATENT]}, model {made_with[:12]}) are not of this model "
            f"({model.latent_dim}, {model.fingerprint[:12]}); load the model that made them"
        )
