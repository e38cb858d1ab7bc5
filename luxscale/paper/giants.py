"""Simulated giants of twelve labels, and the model that most figures of the paper use."""

from __future__ import annotations

import xarray as xr

import luxscale as lux
from luxscale.model import LuxModel
from luxscale.paper.base import Study
from luxscale.simulate import simulate


def survey(study: Study, which: str) -> xr.Dataset:
    """Return a sample of simulated giants, as large as the paper's: ``"A"``, ``"B"`` (S/N 100 to 200), ``"C"`` (30 to 60).

    Lazy. See `luxscale.paper.samples` for what the letters mean.
    """
    numbers = {"A": (5000, (100.0, 200.0), 1), "B": (10000, (100.0, 200.0), 2), "C": (5000, (30.0, 60.0), 3)}
    stars, snr, seed = numbers[which]
    n = study.stars(stars)
    return study.kept(
        f"giants-{which}", lambda: simulate(n, snr=snr, n_pixels=study.pixels, seed=seed), stars=n, snr=snr, seed=seed
    )


def model(study: Study) -> LuxModel:
    """Return the model of sample A, with the paper's 48 latents, P = 4 M."""
    return study.model("giants-model", lambda: lux.train(survey(study, "A"), 48, progress=study.progress))


def catalog(study: Study, which: str) -> xr.Dataset:
    """Return what the model infers from the spectra of a sample."""
    return study.kept(f"giants-catalog-{which}", lambda: lux.infer(survey(study, which), model(study)).compute())
