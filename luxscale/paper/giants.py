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


def parent(study: Study) -> xr.Dataset:
    """Return the survey that samples A, B and C are drawn from; lazy, in the study's directory."""
    n = round(_FOR_ONE * sum(samples.size(letter, study.fraction) for letter in "ABC")) + _SPARE

    def write(path: Path) -> None:
        with Progress("simulating giants", n, unit="stars", enabled=study.progress) as shown:
            simulate_survey(
                path,
                n,
                n_pixels=study.pixels,
                progress=lambda done, _: shown.update(done),
                **PARENT,  # type: ignore[arg-type]
            )

    return study.written("giants", write, stars=n, **PARENT)


def survey(study: Study, which: str) -> xr.Dataset:
    """Return a sample of simulated giants: ``"A"``, ``"B"`` (S/N 100 to 200) or ``"C"`` (30 to 60).

    Lazy. See `luxscale.paper.samples` for what the letters mean.
    """
    return samples.select(parent(study), which, study.fraction)


def model(study: Study) -> LuxModel:
    """Return the model of sample A, with the paper's 48 latents, P = 4 M."""
    return study.model(
        "giants-model",
        lambda: lux.train(survey(study, "A"), LATENT_DIM, progress=study.progress),
        latent_dim=LATENT_DIM,
        **PARENT,
    )


def cannon(study: Study) -> LuxModel:
    """Return The Cannon of sample A: quadratic in twelve labels, from those stars that have all; no errors."""
    return study.model(
        "giants-cannon",
        lambda: lux.train(survey(study, "A"), method="cannon", folds=1, progress=study.progress),
        **PARENT,
    )


def catalog(
    study: Study, which: str, *, given: str = "flux", with_model: LuxModel | None = None
) -> xr.Dataset:
    """Return what a model, `model` by default, infers of a sample: from spectra, or from labels (``"label_value"``)."""
    trained = model(study) if with_model is None else with_model
    return study.kept(
        f"giants-{which}-from-{given}",
        lambda: study.by_blocks(
            f"sample {which}", survey(study, which), lambda block: lux.infer(block, trained, given)
        ),
        model=trained.fingerprint,
    )
