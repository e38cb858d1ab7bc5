"""method="cannon" is The Cannon.

Weighted least squares quadratic in the labels, and the labels that fit a spectrum best.
"""

import json

import numpy as np
import pytest
import xarray as xr
from scipy.optimize import brentq, least_squares

import luxscale as lux
from luxscale import store
from luxscale.errors import InputError
from luxscale.model.features import quadratic_features
from luxscale.schema import flags

NAMES, UNITS = ("teff", "logg", "fe_h"), ("K", "dex(cm s-2)", "dex")
CENTER, SPREAD = np.array([4700.0, 2.4, -0.3]), np.array([300.0, 0.6, 0.35])
D = 50
TRUTH = np.random.default_rng(3)
OFFSET = TRUTH.uniform(0.7, 1.0, D)
WEIGHTS = TRUTH.standard_normal((D, 9)) * np.repeat([0.06, 0.015], [3, 6])
SCATTER = np.where(np.arange(D) % 2, 0.0, np.linspace(0.01, 0.03, D))


def make(n, seed, *, missing=0.0):
    """Stars whose spectra are exactly quadratic in their labels, which are known exactly."""
    rng = np.random.default_rng(seed)
    z = np.clip(rng.standard_normal((n, 3)), -2.5, 2.5)
    err = 0.01 * rng.uniform(0.5, 2, (n, 1)) * np.ones(D)
    flux = (
        OFFSET
        + quadratic_features(z) @ WEIGHTS.T
        + np.hypot(err, SCATTER) * rng.standard_normal((n, D))
    )
    ivar = np.where(rng.random((n, D)) < 0.05, 0, err**-2)
    labels = CENTER + SPREAD * z
    gap = rng.random((n, 3)) < missing
    return xr.Dataset(
        {
            "flux": (("star", "wavelength"), np.where(ivar > 0, flux, np.nan).astype("f4")),
            "flux_ivar": (("star", "wavelength"), ivar.astype("f4")),
            "label_value": (("star", "label"), np.where(gap, np.nan, labels)),
            "label_err": (
                ("star", "label"),
                np.where(gap, np.nan, 1e-3 * SPREAD * np.ones((n, 3))),
            ),
            "label_true": (("star", "label"), labels),
        },
        {
            "star": np.array([f"q{seed}-{i:04d}" for i in range(n)], object),
            "wavelength": (
                "wavelength",
                6000 + 1.0 * np.arange(D),
                {"units": "Angstrom", "medium": "air"},
            ),
            "label": np.array(NAMES, object),
            "label_units": ("label", np.array(UNITS, object)),
        },
    )


def train(survey, **settings):
    # labels are exact, also the few at the corners where plain regressions fail
    return lux.train(survey, method="cannon", label_clip=np.inf, progress=False, **settings)


def complete(survey):
    return np.isfinite(survey["label_value"]).all("label").values


@pytest.fixture(scope="module")
def training():
    """800 stars, of which about a fifth lack a label."""
    return make(800, 1, missing=0.07)


@pytest.fixture(scope="module")
def model(training):
    return train(training, folds=1)


@pytest.fixture(scope="module")
def calibrated(training):
    return train(training)


@pytest.fixture(scope="module")
def test_stars():
    return make(500, 2)


def scaled(model, labels):
    """Labels as latents of the model."""
    label = model["label_value"]
    return (labels - label.map.offset) / np.diag(label.map.weights)


def regress(terms, y, ivar):
    """Coefficients, their covariance and the scatter of one pixel, in float64.

    Both maximise the likelihood.
    """
    good = ivar > 0
    x, y, variance, s2 = (
        np.column_stack([np.ones(good.sum()), terms[good]]),
        y[good],
        1 / ivar[good],
        1e-4,
    )
    for _ in range(40):
        w = 1 / (variance + s2)
        cov = np.linalg.inv(x.T @ (w[:, None] * x))
        beta = cov @ (x.T @ (w * y))
        q = (y - x @ beta) ** 2

        def slope(s2, q=q):
            w = 1 / (variance + s2)
            return np.sum(w * (w * q - 1))

        s2 = brentq(slope, 0, 1) if slope(0) > 0 else 0.0
    return beta, cov, np.sqrt(s2)


# training


def test_coefficients_and_scatter_are_those_of_float64_regression_of_each_pixel(model, training):
    stars = complete(training)
    terms = quadratic_features(scaled(model, training["label_true"].values[stars]))
    flux = model["flux"]
    assert flux.map.kind == "quadratic" and flux.map.weights.shape == (D, 9)
    for d in range(D):
        y, ivar = (training[k].values[stars, d].astype(float) for k in ("flux", "flux_ivar"))
        beta, cov, scatter = regress(terms, y, ivar)
        got = np.append(flux.map.offset[d], flux.map.weights[d])
        assert np.max(np.abs(got - beta) / np.sqrt(np.diag(cov))) < 0.05
        assert flux.scatter[d] == pytest.approx(scatter, rel=0.01, abs=2e-4)


def test_the_truth_is_recovered(model):
    """The quadratic that made the spectra, and each pixel's scatter."""
    rng = np.random.default_rng(0)
    z = rng.uniform(-2, 2, (200, 3))
    true = OFFSET + quadratic_features(z) @ WEIGHTS.T
    predicted = model["flux"].map(scaled(model, CENTER + SPREAD * z))
    assert (
        np.abs(predicted - true).max() < 0.03
    )  # spectra vary by 0.1, and each star is good to 0.01 to 0.04
    assert np.sqrt(np.mean((predicted - true) ** 2)) < 0.003
    noisy = SCATTER > 0
    np.testing.assert_allclose(model["flux"].scatter[noisy], SCATTER[noisy], rtol=0.15)
    assert (model["flux"].scatter[~noisy] < 0.005).all()


def test_the_latents_are_the_scaled_labels(model, test_stars):
    label = model["label_value"]
    np.testing.assert_array_equal(label.map.weights, np.diag(np.diag(label.map.weights)))
    np.testing.assert_allclose(np.diag(label.map.weights), SPREAD, rtol=0.15)
    np.testing.assert_allclose(label.map.offset, CENTER, atol=0.1 * SPREAD.max() / SPREAD.min())
    catalog = lux.infer(test_stars, model)
    np.testing.assert_allclose(
        catalog["latent"], scaled(model, catalog["label_value"].values), atol=1e-4
    )
    assert model.latent_dim == 3


def test_stars_that_lack_a_label_take_no_part_and_are_counted(model, training, capsys):
    stars = complete(training)
    assert 100 < (~stars).sum() < 250
    spoiled = training.copy(deep=True)
    spoiled["flux"].values[~stars] += np.float32(0.1)
    other = train(spoiled, folds=1)
    for ours, theirs in ((model["flux"].map(z), other["flux"].map(z)) for z in np.eye(3)[:, None]):
        np.testing.assert_allclose(ours, theirs, atol=2e-5)
    np.testing.assert_allclose(model["flux"].scatter, other["flux"].scatter, atol=2e-4)
    some = int((~stars & np.isfinite(training["label_value"]).any("label").values).sum())
    assert json.loads(model.provenance.settings)["stars_without_every_label"] == some
    assert capsys.readouterr().err == ""
    lux.train(training, method="cannon", folds=1, label_clip=np.inf)
    assert f"{some} of {some + stars.sum()} stars lack a label" in capsys.readouterr().err


def test_errors_of_labels_are_not_used(model, training):
    other = train(training.assign(label_err=training["label_err"] * 100), folds=1)
    np.testing.assert_array_equal(other["flux"].map.weights, model["flux"].map.weights)


def test_the_objective_is_the_likelihood_of_the_spectra(model, training):
    stars = complete(training)
    flux = model["flux"]
    y, ivar = (training[k].values[stars].astype(float) for k in ("flux", "flux_ivar"))
    variance = 1 / np.where(ivar > 0, ivar, np.nan) + flux.scatter**2
    r = y - flux.map(scaled(model, training["label_true"].values[stars]))
    total = np.nansum(-0.5 * (r**2 / variance + np.log(2 * np.pi * variance)), 1).mean()
    units = (ivar > 0).sum(1).mean() * np.log(
        flux.scale[0]
    )  # training works in units of the flux's spread
    assert model.objective[-1] == pytest.approx(total + units, abs=0.02)
    assert np.diff(model.objective).min() > -1e-3


# labels from spectra


def test_labels_and_errors_are_those_of_a_float64_optimiser(model, test_stars):
    catalog = lux.infer(test_stars, model)
    flux, label = model["flux"], model["label_value"]
    assert (label.floor == 0).all()
    for n in range(0, 500, 12):
        y, ivar = (test_stars[k].values[n].astype(float) for k in ("flux", "flux_ivar"))
        good = ivar > 0
        root = 1 / np.sqrt(1 / ivar[good] + flux.scatter[good] ** 2)

        def residuals(z, y=y, good=good, root=root):
            return np.append(
                root * (y - flux.map(z[None])[0])[good], np.sqrt(model.prior.precision) * z
            )

        truth = scaled(model, test_stars["label_true"].values[n])
        found = least_squares(residuals, truth, xtol=1e-12, ftol=1e-12, gtol=1e-12)
        err = np.sqrt(np.diag(np.linalg.inv(found.jac.T @ found.jac))) * np.diag(label.map.weights)
        value = label.map(found.x)
        assert np.max(np.abs(catalog["label_value"].values[n] - value) / err) < 0.02
        np.testing.assert_allclose(catalog["label_err"][n], err, rtol=0.01)
        np.testing.assert_allclose(
            catalog["chi2"][n],
            2 * found.cost - model.prior.precision * found.x @ found.x,
            rtol=2e-3,
        )


def test_held_out_labels_are_recovered_to_their_errors(calibrated, test_stars):
    catalog = lux.infer(test_stars, calibrated)
    pull = ((catalog["label_value"] - test_stars["label_true"]) / catalog["label_err"]).values
    np.testing.assert_allclose(1.4826 * np.median(np.abs(pull), axis=0), 1, atol=0.15)
    np.testing.assert_allclose(np.median(pull, axis=0), 0, atol=0.15)
    assert (np.median(catalog["label_err"], axis=0) < 0.15 * SPREAD).all()
    assert (calibrated["label_value"].floor < 0.5 * np.median(catalog["label_err"], axis=0)).all()
    assert (catalog["flags"] != 0).mean() < 0.02
    assert not (catalog["flags"] & flags.BIT["not_settled"]).any()


@pytest.mark.slow
def test_covariances_have_the_errors_on_their_diagonal(model, test_stars):
    catalog = lux.infer(test_stars, model, covariance=True)
    np.testing.assert_allclose(
        np.diagonal(catalog["label_cov"], axis1=1, axis2=2), catalog["label_err"] ** 2, rtol=1e-5
    )


def test_a_star_with_fewer_pixels_than_labels_is_held_by_the_prior(model, test_stars):
    poor = test_stars.copy(deep=True)
    poor["flux_ivar"][0, 2:] = 0
    poor["flux_ivar"][0, :2] = 1e4
    poor["flux"][0, :2] = 0.9
    poor["flux_ivar"][1] = 0
    poor["flux_ivar"][2] *= 1e-4  # errors ten times the spread of the spectra
    catalog = lux.infer(poor, model)
    assert np.isfinite(catalog["label_value"]).all() and np.isfinite(catalog["label_err"]).all()
    bits = catalog["flags"].values
    assert bits[0] & flags.BIT["few_pixels"] and bits[0] & flags.BIT["prior_dominated"]
    assert bits[1] & flags.BIT["no_data"] and bits[2] & flags.BIT["prior_dominated"]
    assert not (bits[3:] & flags.BIT["prior_dominated"]).any()
    np.testing.assert_allclose(catalog["label_value"][1], model["label_value"].map.offset)


# spectra from labels


def test_spectra_from_labels_follow_the_quadratic(model, test_stars):
    catalog = lux.infer(test_stars, model, given="label_value")
    np.testing.assert_allclose(
        catalog["latent"], scaled(model, test_stars["label_true"].values), atol=1e-3
    )
    spectra = lux.predict(catalog, model)
    true = (
        OFFSET + quadratic_features((test_stars["label_true"].values - CENTER) / SPREAD) @ WEIGHTS.T
    )
    assert np.sqrt(np.mean((spectra.values - true) ** 2)) < 0.003


# doors


def test_the_model_survives_its_file(calibrated, test_stars, tmp_path):
    calibrated.save(tmp_path / "m.zarr")
    loaded = lux.load_model(tmp_path / "m.zarr")
    assert loaded.fingerprint == calibrated.fingerprint
    assert loaded["flux"].map.kind == "quadratic" and loaded["label_value"].map.kind == "linear"
    assert loaded.provenance.method == "cannon"
    xr.testing.assert_identical(lux.infer(test_stars, loaded), lux.infer(test_stars, calibrated))


def test_a_production_run_and_a_lazy_one_give_the_same_labels(calibrated, test_stars, tmp_path):
    survey = test_stars.isel(star=slice(0, 120))
    store.write_dataset(survey, tmp_path / "survey.zarr", chunk=50)
    calibrated.save(tmp_path / "model.zarr")
    lux.label_survey(
        tmp_path / "survey.zarr",
        tmp_path / "model.zarr",
        tmp_path / "catalog.zarr",
        progress=False,
        region_stars=50,
    )
    expected = lux.infer(survey, calibrated)
    for catalog in (
        xr.open_zarr(tmp_path / "catalog.zarr", consolidated=False),
        lux.infer(survey.chunk(star=50), calibrated).compute(),
    ):
        np.testing.assert_allclose(
            (catalog["label_value"] - expected["label_value"]) / expected["label_err"], 0, atol=0.01
        )
        np.testing.assert_allclose(catalog["label_err"], expected["label_err"], rtol=0.01)
        np.testing.assert_array_equal(catalog["flags"], expected["flags"])


@pytest.mark.slow
def test_a_window_works_with_it_too(training, test_stars):
    windowed = train(training, windows={"fe_h": [(6010, 6029.5)]}, folds=1)
    changed = test_stars.copy(deep=True)
    changed["flux"][:, :10] += np.float32(0.02)
    changed["flux"][:, 30:] -= np.float32(0.02)
    before, after = (lux.infer(s, windowed)["label_value"] for s in (test_stars, changed))
    np.testing.assert_array_equal(before.sel(label="fe_h"), after.sel(label="fe_h"))
    assert (before.sel(label="teff") != after.sel(label="teff")).all()
    catalog = lux.infer(test_stars, windowed)
    pull = ((catalog["label_value"] - test_stars["label_true"]) / catalog["label_err"]).sel(
        label="fe_h"
    )
    assert 0.8 < 1.4826 * float(np.abs(pull).median()) < 1.25


@pytest.mark.slow
def test_linear_spectra_and_labels_agree_with_lux(world, held_out):
    """Where spectra are linear in as many labels as there are latents.

    Both methods see the same.
    """
    survey = world.survey(1000, seed=4, missing_labels=0.0, label_noise=0.02)
    cannon, marginal = train(survey, folds=1), lux.train(survey, 4, folds=1, progress=False)
    a, b = lux.infer(held_out, cannon), lux.infer(held_out, marginal)
    difference = ((a["label_value"] - b["label_value"]) / b["label_err"]).values
    assert np.sqrt(np.mean(difference**2)) < 0.5
    np.testing.assert_allclose((a["label_err"] / b["label_err"]).median("star"), 1, atol=0.15)


# what is refused


@pytest.mark.parametrize(
    ("change", "settings", "message"),
    [
        (
            lambda s: s,
            {"latent_dim": 3},
            "latent_dim=3: The Cannon has one latent a label, here 3; leave it out",
        ),
        (
            lambda s: s[["flux", "flux_ivar"]],
            {},
            "The Cannon needs labels and spectra; name both in outputs",
        ),
        (lambda s: s[["label_value", "label_err"]], {}, "The Cannon needs labels and spectra"),
        (lambda s: s, {"outputs": ["flux"]}, "The Cannon needs labels and spectra"),
        (
            lambda s: s.assign(
                label_value=s["label_value"].where((np.arange(800)[:, None] + np.arange(3)) % 3 > 0)
            ),
            {},
            "The Cannon needs stars that have every label: 0 of 800 do, for 10 coefficients per "
            "pixel; select fewer labels",
        ),
        (
            lambda s: s.isel(star=np.flatnonzero(complete(s))[:10]),
            {},
            "every label: 10 of 10 do, for 10 coefficients",
        ),
        (
            lambda s: s.isel(star=np.flatnonzero(complete(s))[:12]),
            {"folds": 3},
            r"12 of 12 do \(folds=3 leave 8\), for 10",
        ),
        (lambda s: s, {"iterations": 3}, "method 'cannon' has no setting 'iterations'"),
    ],
    ids=[
        "latents",
        "no labels",
        "no spectra",
        "outputs",
        "no complete star",
        "few stars",
        "few in a fold",
        "setting",
    ],
)
def test_what_the_cannon_cannot_use_is_refused(change, settings, message):
    with pytest.raises(InputError, match=message):
        train(change(make(800, 1)), **{"folds": 1, **settings})
