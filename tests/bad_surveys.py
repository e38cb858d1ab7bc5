"""Wrong surveys, labels, files and arguments, a row each, and what cures them.

A row is a name, how the wrong thing is made of a right one, what is done with it, what the message
says, and what follows its advice.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import xarray as xr

import luxscale as lux
from luxscale import store
from luxscale.readers.arrays import read_arrays

N_STARS, N_PIXELS = 40, 12
LABELS = ("teff", "fe_h")


def make_survey() -> xr.Dataset:
    """Make a small survey whose spectra tell its labels."""
    rng = np.random.default_rng(0)
    latent = rng.normal(size=(N_STARS, 2))
    weights = rng.normal(size=(N_PIXELS, 2))
    noise = 0.01 * rng.normal(size=(N_STARS, N_PIXELS))
    label = latent * [200, 0.3] + [4800, -0.2] + rng.normal(size=(N_STARS, 2)) * [20, 0.02]
    flux = 1 + 0.1 * latent @ weights.T + noise
    return xr.Dataset(
        {
            "flux": (("star", "wavelength"), flux.astype("f4")),
            "flux_ivar": (("star", "wavelength"), np.full(flux.shape, 1e4, "f4")),
            "label_value": (("star", "label"), label),
            "label_err": (("star", "label"), np.full(label.shape, 1.0) * [20, 0.02]),
        },
        {
            "star": [f"s{i:02d}" for i in range(N_STARS)],
            "wavelength": ("wavelength", 5000.0 + np.arange(N_PIXELS), {"units": "Angstrom"}),
            "label": list(LABELS),
            "label_units": ("label", ["K", "dex"]),
        },
    )


@dataclasses.dataclass(frozen=True)
class Row:
    """A wrong thing: its name, how it is made, the message, what is done, and the cure."""

    name: str
    make: Callable[[Any], Any]
    message: str
    do: str = "open"
    cure: Callable[[Any], Any] | None = None


# what is done with a survey


def write_and_open(survey, model, folder):
    """Write a survey, open it with all checks, and infer from it."""
    path = folder / "s.zarr"
    store.write_dataset(survey, path)
    opened = lux.open_survey(path, check="all")
    lux.infer(opened.isel(star=[0]), model)


def write_raw_and_open(survey, model, folder):
    """Write a survey as xarray does, and open it with all checks."""
    path = folder / "s.zarr"
    text = {name: v.astype(object) for name, v in survey.coords.items() if v.dtype.kind == "U"}
    survey.assign_coords(text).to_zarr(path, consolidated=False, zarr_format=3, mode="w")
    lux.open_survey(path, check="all")


def infer(survey, model, folder):
    """Infer from a survey in memory."""
    lux.infer(survey, model)


def train(survey, model, folder):
    """Train on a survey in memory."""
    lux.train(survey, 2, folds=1, iterations=2, progress=False)


def train_with(settings, model, folder):
    """Train with some settings."""
    given = {"latent_dim": 2, "folds": 1, "iterations": 2, "progress": False, **settings}
    lux.train(make_survey(), **{k: v for k, v in given.items() if v is not None})


def read_file(arrays, model, folder):
    """Read spectra of an npz file."""
    options = arrays.pop("options", {})
    np.savez(folder / "t.npz", **arrays)
    list(read_arrays(folder / "t.npz", **{"star": "star", **options}))


def call(function, model, folder):
    """Call anything with a model and a folder."""
    function(model, folder)


DO = {
    "open": write_and_open,
    "raw": write_raw_and_open,
    "infer": infer,
    "train": train,
    "settings": train_with,
    "file": read_file,
    "call": call,
}


# how surveys go wrong


def put(name, where, value):
    """Set some values of a variable."""

    def make(survey):
        survey[name].values[where] = value
        return survey

    return make


def change(name, how):
    """Replace a variable by what is made of it."""
    return lambda survey: survey.assign({name: how(survey[name])})


def coord(name, how):
    """Replace the values of a coordinate."""

    def make(survey):
        values = survey[name]
        made = (values.dims, how(values.values), values.attrs)
        return survey.drop_vars(name).assign_coords({name: made})

    return make


def drop(*names):
    """Leave variables out."""
    return lambda survey: survey.drop_vars(list(names))


def attrs(name, **given):
    """Set attributes; None removes one."""

    def make(survey):
        kept = {k: v for k, v in {**survey[name].attrs, **given}.items() if v is not None}
        survey[name].attrs = kept
        return survey

    return make


def chain(*makes):
    """Do one after the other."""

    def make(survey):
        for step in makes:
            survey = step(survey)
        return survey

    return make
