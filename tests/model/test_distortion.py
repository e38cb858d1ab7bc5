"""Distorted spectra, against spectra that are shifted and tilted in float64."""

import dataclasses

import numpy as np
import pytest
from distorted import GRID, LATENT_DIM, N_PIXELS, PIXEL, make_lines, make_model, observe, shift

import luxscale as lux
from luxscale.errors import InputError
from luxscale.model.distort import make_distortion
from luxscale.model.nuisances import Nuisances

INSIDE = slice(9, -9)


def make_spectra(n):
    offset, weights = make_lines()
    z = np.random.default_rng(2).normal(size=(n, LATENT_DIM))
    return z, offset + z @ weights.T


def test_spectra_are_shifted_and_multiplied():
    nuisances = Nuisances(velocity=5.0, continuum=(1, 0.05))
    model = make_model(nuisances)
    distortion = make_distortion(model["flux"])
    z, spectra = make_spectra(4)
    velocity = np.array([-10.0, -1.0, 0.0, 17.0])
    c = np.stack([velocity / 5, np.full(4, 0.4), np.full(4, -0.2)], 1)
    found = distortion.predict(z.astype(np.float32), c.astype(np.float32))
    tilt = 2 * (GRID - GRID[0]) / np.ptp(GRID) - 1
    expected = shift(spectra, velocity / PIXEL) * (1 + 0.02 - 0.01 * tilt)
    scale = model["flux"].scale
    flux = model["flux"].map.offset + scale * np.asarray(found.value)
    np.testing.assert_allclose(flux[:, INSIDE], expected[:, INSIDE], atol=2e-5)


def test_slopes_are_those_of_the_spectra():
    nuisances = Nuisances(
        velocity=5.0,
        resolution=(0.1, 24000.0),
        continuum=(1, 0.05),
        templates=("ripple",),
        patterns=np.sin(np.arange(N_PIXELS))[None] / 50,
    )
    distortion = make_distortion(make_model(nuisances)["flux"])
    z, _ = make_spectra(1)
    z = z.astype(np.float32)
    c = np.array([[1.2, 0.7, 0.3, -0.4, 0.5]], np.float32)
    rng = np.random.default_rng(3)
    values = np.zeros((1, N_PIXELS), np.float32)
    values[:, 12:-12] = rng.normal(size=(1, N_PIXELS - 24))
    predicted = distortion.predict(z, c)
    pulls = [distortion.pull_latents(predicted, values)[0]]
    pulls.append(distortion.pull_coefficients(predicted, values)[0])
    step = 0.02
    for i in range(LATENT_DIM + 5):
        ends = []
        for sign in (1, -1):
            x = np.concatenate([z, c], 1)
            x[:, i] += sign * step
            end = distortion.predict(x[:, :LATENT_DIM], x[:, LATENT_DIM:])
            ends.append(np.asarray(end.value, float))
        slope = (ends[0] - ends[1]) / (2 * step)
        found = float(np.concatenate(pulls)[i])
        size = np.linalg.norm(slope) * np.linalg.norm(values)
        assert found == pytest.approx(float((slope * values).sum()), abs=2e-3 * size)


def test_a_grid_of_equal_pixels_is_shifted_more_in_the_blue():
    model = make_model(Nuisances(velocity=5.0))
    grid = np.linspace(4000, 4400, N_PIXELS)
    flux = dataclasses.replace(model["flux"], coord=tuple(grid.tolist()))
    distortion = make_distortion(flux)
    pixels = 5.0 / 299792.458 * grid / (grid[1] - grid[0])
    np.testing.assert_allclose(distortion.shift, pixels, rtol=1e-3)


def test_too_wide_a_velocity_is_refused():
    survey, _ = observe(2)
    with pytest.raises(InputError, match="beyond the 16 that can be searched"):
        lux.infer(survey, make_model(Nuisances(velocity=50.0)))


def test_a_curved_model_says_that_it_takes_none(curved_model, curved_survey):
    label, flux = curved_model.outputs
    aware = dataclasses.replace(flux, nuisances=Nuisances(continuum=(1, 0.05)))
    model = dataclasses.replace(curved_model, outputs=(label, aware))
    with pytest.raises(InputError, match="'flux' has nuisances, .* with linear models only"):
        lux.infer(curved_survey.isel(star=slice(0, 2)), model)


def test_a_spectrum_of_few_pixels_is_refused():
    model = make_model(Nuisances(velocity=5.0))
    used = np.zeros(N_PIXELS, bool)
    used[100:110] = True
    flux = dataclasses.replace(model["flux"], used=used)
    few = dataclasses.replace(model, outputs=(model["label_value"], flux))
    survey, _ = observe(2)
    with pytest.raises(InputError, match="no pixel is left: each needs 8 others"):
        lux.infer(survey, few)
