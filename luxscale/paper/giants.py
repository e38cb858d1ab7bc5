"""Simulated giants of twelve labels, and the model that most figures of the paper use."""

from __future__ import annotations

from pathlib import Path

import xarray as xr

import luxscale as lux
from luxscale.examples.simulate import simulate_survey
from luxscale.model.lux import LuxModel
from luxscale.paper import samples
from luxscale.paper.base import Study
from luxscale.progress import Progress

#: The parent survey of samples A, B and C. Labels are missing as of APOGEE's giants: The Cannon can
#: use two thirds.
PARENT = {"snr": (30.0, 200.0), "missing_labels": 0.03, "seed": 1}

#: Stars of the parent for one of A, B and C, which leave out S/N 60 to 100, and spare ones for the
#: luck of the draw.
_FOR_ONE, _SPARE = 1.65, 200

#: Latents: four for each of twelve labels, as in the paper.
LATENT_DIM = 48


def make_parent(study: Study) -> xr.Dataset:
    """Return the survey that samples A, B and C are drawn from; lazy, in the study's directory."""
    wanted = sum(samples.count_stars(letter, study.fraction) for letter in "ABC")
    n = round(_FOR_ONE * wanted) + _SPARE

    def write(path: Path) -> None:
        with Progress("simulating giants", n, unit="stars", enabled=study.progress) as shown:
            simulate_survey(
                path,
                n,
                n_pixels=study.pixels,
                progress=lambda done, _: shown.update(done),
                **PARENT,  # type: ignore[arg-type]
            )

    return study.write_once("giants", write, stars=n, **PARENT)


def select_sample(study: Study, which: str) -> xr.Dataset:
    """Return a sample of simulated giants: ``"A"``, ``"B"`` (S/N 100 to 200) or ``"C"`` (30 to 60).

    Lazy. See `luxscale.paper.samples` for what the letters mean.
    """
    return samples.select(make_parent(study), which, study.fraction)


def train_model(study: Study) -> LuxModel:
    """Return the model of sample A: of the study's recipe, or linear with 48 latents, P = 4 M."""

    def train() -> LuxModel:
        return study.train(select_sample(study, "A"), LATENT_DIM)

    settings = PARENT | study.training
    return study.keep_model("giants-model", train, latent_dim=LATENT_DIM, **settings)


def train_cannon(study: Study) -> LuxModel:
    """Return The Cannon of sample A: quadratic in twelve labels, of the stars that have all.

    Its labels have no errors.
    """

    def train() -> LuxModel:
        return lux.train(
            select_sample(study, "A"),
            method="cannon",
            folds=1,
            progress=study.progress,
        )

    return study.keep_model("giants-cannon", train, **PARENT)


def infer_catalog(
    study: Study, which: str, *, given: str = "flux", with_model: LuxModel | None = None
) -> xr.Dataset:
    """Return what a model, that of `train_model` by default, infers of a sample.

    From spectra, or from labels if ``given`` is ``"label_value"``.
    """
    model = train_model(study) if with_model is None else with_model

    def infer_block(block: xr.Dataset) -> xr.Dataset:
        return lux.infer(block, model, given)

    def infer() -> xr.Dataset:
        return study.map_blocks(f"sample {which}", select_sample(study, which), infer_block)

    return study.keep(f"giants-{which}-from-{given}", infer, model=model.fingerprint)
