"""Latents and nuisances together: against float64, and how little they cost."""

import numpy as np
import pytest
import xarray as xr
from distorted import (
    GRID,
    LATENT_DIM,
    N_PIXELS,
    PIXEL,
    make_lines,
    make_model,
    observe,
)
from scipy.constants import c as LIGHT
from scipy.interpolate import make_interp_spline
from scipy.optimize import least_squares

import luxscale as lux
from luxscale.model.nuisances import Nuisances
from luxscale.schema import flags

PATTERN = 0.02 * np.sin(np.arange(N_PIXELS) / 7)

EVERY = Nuisances(
    velocity=5.0,
    resolution=(0.1, 24000.0),
    continuum=(2, 0.05),
    templates=("ripple",),
    patterns=PATTERN[None],
)

#: Pixels at each end that shifted spectra are not told of: what the model leaves out, too.
ENDS = 8


def solve_in_float64(flux, ivar, start):
    """Return latents and coefficients of one star, and their covariance, by another way."""
    offset, weights = make_lines()
    weight = ivar / (1 + ivar * 0.002**2)
    weight[:ENDS] = weight[-ENDS:] = 0
    x = 2 * (GRID - GRID[0]) / np.ptp(GRID) - 1
    polynomials = 0.05 * np.polynomial.legendre.legvander(x, 2).T
    sigma2 = (LIGHT / 1e3 / 24000 / np.sqrt(8 * np.log(2)) / PIXEL) ** 2

    def find_residuals(parameters):
        z, c = parameters[:LATENT_DIM], parameters[LATENT_DIM:]
        spline = make_interp_spline(np.arange(N_PIXELS), offset + weights @ z, k=5)
        at = np.arange(N_PIXELS) - 5 * c[0] / PIXEL
        moved = spline(at) + 0.1 * c[1] * sigma2 * spline.derivative(2)(at)
        model = moved * (1 + c[2:5] @ polynomials) + c[5] * PATTERN
        return np.concatenate([np.sqrt(weight) * (flux - model), parameters])

    found = least_squares(find_residuals, start, x_scale=0.1, xtol=1e-12, ftol=1e-12)
    chi2 = 2 * found.cost - found.x @ found.x
    return found.x, np.linalg.inv(found.jac.T @ found.jac), chi2


def test_it_is_the_maximum_that_float64_finds():
    n = 6
    velocity = np.linspace(-9, 9, n)
    survey, z = observe(n, velocity=velocity, broader=0.08, tilt=0.03, pattern=PATTERN, seed=3)
    model = make_model(EVERY)
    catalog = lux.infer(survey, model)
    slopes = model["label_value"].map.weights
    for i in range(n):
        start = np.concatenate([z[i], [velocity[i] / 5, 0.5, 0, 0.5, 0, 0.8]])
        flux, ivar = (np.asarray(survey[v][i], float) for v in ("flux", "flux_ivar"))
        x, covariance, chi2 = solve_in_float64(flux, ivar, start)
        star = catalog.isel(star=i)
        exact = np.sqrt(np.diag(slopes @ covariance[:LATENT_DIM, :LATENT_DIM] @ slopes.T))
        label = model["label_value"].map.offset + slopes @ x[:LATENT_DIM]
        assert (np.abs(star.label_value.values - label) < 0.01 * exact).all()
        # of a matrix with weights of lines that are not as broad
        np.testing.assert_allclose(star.label_err, exact, rtol=0.05)
        errors = np.sqrt(np.diag(covariance)[LATENT_DIM:]) * EVERY.widths
        for name, c, width, error in zip(
            EVERY.names, x[LATENT_DIM:], EVERY.widths, errors, strict=True
        ):
            assert abs(float(star[name]) - c * width) < 0.01 * error, name
            assert float(star[f"{name}_err"]) == pytest.approx(error, rel=0.02), name
        assert float(star.chi2) == pytest.approx(chi2, rel=1e-4)


@pytest.mark.parametrize(
    ("distortion", "nuisances"),
    [
        ({"velocity": 10.0}, Nuisances(velocity=5.0)),
        ({"velocity": -10.0}, Nuisances(velocity=5.0)),
        ({"tilt": 0.02}, Nuisances(continuum=(1, 0.05))),
        ({"broader": 0.1}, Nuisances(resolution=(0.1, 24000.0))),
        (
            {"pattern": PATTERN},
            Nuisances(templates=("ripple",), patterns=PATTERN[None]),
        ),
    ],
)
def test_labels_stay_where_they_moved(distortion, nuisances):
    plain, _ = observe(100, seed=4)
    distorted, z = observe(100, **distortion, seed=4)
    blind, aware = make_model(), make_model(nuisances)
    before = lux.infer(plain, blind)
    true = blind["label_value"].map(z)

    def measure_pull(catalog):
        pull = (catalog.label_value - true) / before.label_err
        return float(np.sqrt((pull**2).mean("star")).max())

    assert measure_pull(lux.infer(distorted, blind)) > 2
    assert measure_pull(lux.infer(distorted, aware)) < 1.3
    loss = lux.infer(plain, aware).label_err / before.label_err
    assert float(loss.mean()) < 1.1


def test_coefficients_have_errors_that_are_right():
    velocity = np.random.default_rng(5).normal(size=400) * 5
    velocity = np.clip(velocity, -12, 12)
    survey, _ = observe(400, velocity=velocity, tilt=0.02, seed=6)
    catalog = lux.infer(survey, make_model(Nuisances(velocity=5.0, continuum=(1, 0.05))))
    for found, true in (("velocity", velocity), ("continuum_1", 0.02)):
        pull = (catalog[found] - true) / catalog[f"{found}_err"]
        assert 0.9 < float(pull.std()) < 1.1
        assert abs(float(pull.mean())) < 0.2
    chi2 = float((catalog.chi2 / catalog.n_pixels).mean())
    assert chi2 == pytest.approx(1 - (LATENT_DIM + 3) / N_PIXELS, abs=0.02)
    assert not (catalog["flags"] & flags.BIT["not_settled"]).any()


def test_a_velocity_beyond_its_prior_is_flagged():
    survey, _ = observe(3, velocity=[0.0, 18.0, 40.0], seed=7)
    catalog = lux.infer(survey, make_model(Nuisances(velocity=5.0)))
    beyond = (catalog["flags"].values & flags.BIT["nuisance_beyond_prior"]) > 0
    assert beyond[:2].tolist() == [False, True]
    assert abs(float(catalog.velocity[2])) <= 20


def test_a_star_depends_on_no_other():
    survey, _ = observe(140, velocity=np.linspace(-15, 15, 140), tilt=0.05, seed=8)
    model = make_model(EVERY)
    whole = lux.infer(survey, model)
    alone = lux.infer(survey.isel(star=[0, 77, 139]), model)
    xr.testing.assert_identical(whole.isel(star=[0, 77, 139]), alone)
    lazy = lux.infer(survey.chunk(star=50), model).compute()
    xr.testing.assert_identical(lazy, whole)


def test_stars_without_data_are_average():
    survey, _ = observe(2, seed=9)
    survey["flux_ivar"][0] = 0
    catalog = lux.infer(survey, make_model(EVERY))
    assert float(catalog.velocity[0]) == 0
    assert float(catalog.velocity_err[0]) == pytest.approx(5)
    assert int(catalog["flags"][0]) & int(flags.BIT["no_data"])
    assert np.isfinite(catalog.label_value).all()


@pytest.mark.slow
def test_covariances_are_those_of_errors():
    survey, _ = observe(20, velocity=3.0, seed=10)
    catalog = lux.infer(survey, make_model(EVERY), covariance=True)
    variance = np.diagonal(catalog.label_cov.values, axis1=1, axis2=2)
    np.testing.assert_allclose(np.sqrt(variance), catalog.label_err, rtol=1e-4)


@pytest.mark.slow
def test_other_outputs_help_and_have_no_nuisances():
    survey, z = observe(20, velocity=3.0, seed=10)
    model = make_model(Nuisances(velocity=5.0, continuum=(1, 0.05)))
    labels = model["label_value"].map(z)
    survey["label"] = ("label", np.array(model["label_value"].coord, object))
    survey["label_units"] = ("label", np.array(model["label_value"].units, object))
    survey["label_value"] = (("star", "label"), labels)
    survey["label_err"] = (("star", "label"), np.full((20, 3), 1.0) * [5.0, 0.01, 0.01])
    both = lux.infer(survey, model, given=["label_value", "flux"])
    assert (both.label_err < lux.infer(survey, model).label_err).all()
    assert "velocity" in both
    assert "velocity" not in lux.infer(survey, model, given="label_value")
