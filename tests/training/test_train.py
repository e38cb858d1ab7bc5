"""Training finds the model that made the data, in one gauge whatever the seed and order.

Or says why it cannot.
"""

import json
import zlib

import numpy as np
import pytest
import xarray as xr

import luxscale as lux
from luxscale.errors import InputError
from luxscale.examples.simulate import simulate
from luxscale.training import alternating, calibrate
from luxscale.training.data import TrainingData
from luxscale.training.folds import assign_folds
from luxscale.training.gauge import turn_to_canonical_gauge
from luxscale.training.latents import solve_latents

METHODS = ("marginal", "alternating")
P = 4


def fit(survey, latent_dim=P, **settings):
    return lux.train(survey, latent_dim, progress=False, **{"folds": 1, **settings})


def rmse(a, b):
    return np.sqrt(np.nanmean((np.asarray(a) - np.asarray(b)) ** 2, axis=0))


def robust(pull):
    return 1.4826 * np.nanmedian(np.abs(pull), axis=0)


def close(a, b, tolerance):
    """Whether two models are the same, in units of the spread of what they predict."""
    for ours, theirs in zip(a.outputs, b.outputs, strict=True):
        scale = np.asarray(ours.scale)
        for x, y in (
            (ours.map.weights.T, theirs.map.weights.T),
            (ours.map.offset, theirs.map.offset),
            (ours.scatter, theirs.scatter),
        ):
            np.testing.assert_allclose(x / scale, y / scale, rtol=0, atol=tolerance)


@pytest.fixture(scope="module")
def full_training(world):
    return world.survey(500, seed=1)


@pytest.fixture
def training(full_training):
    return full_training.copy(deep=True)


@pytest.fixture(scope="module")
def models(full_training):
    return {method: fit(full_training, method=method) for method in METHODS}


@pytest.fixture(params=METHODS)
def method(request):
    return request.param


# the steps that trainers are made of, against float64


def test_latent_step_is_the_posterior(step_problem):
    output, _, _ = step_problem
    got = solve_latents((output,), 2.0)
    y, ivar, x, offset, s = (np.asarray(a, float) for a in output)
    for n in range(0, len(y), 37):
        w = np.where(ivar[n] > 0, 1 / (1 / np.maximum(ivar[n], 1e-9) + s**2), 0)
        cov = np.linalg.inv(x.T @ (w[:, None] * x) + 2 * np.eye(3))
        np.testing.assert_allclose(got.mean[n], cov @ (x.T @ (w * (y[n] - offset))), atol=1e-4)
        np.testing.assert_allclose(got.cov[n], cov[np.tril_indices(3)], atol=1e-4)


def test_canonical_gauge_changes_no_prediction_and_counts_covariances(step_problem):
    output, latents, cov = step_problem
    n = 400  # the last stars are padding
    (turned,), z = turn_to_canonical_gauge((output,), latents, n, (True,))
    before = output.offset + latents.mean @ output.weights.T
    np.testing.assert_allclose(turned.offset + z.mean @ turned.weights.T, before, atol=1e-4)
    change = np.linalg.lstsq(
        np.asarray(latents.mean, float) - latents.mean[:n].mean(0), np.asarray(z.mean, float)
    )[0]
    second = np.cov(z.mean[:n].T, bias=True) + change.T @ cov[:n].mean(0) @ change
    np.testing.assert_allclose(z.mean[:n].mean(0), 0, atol=1e-4)
    np.testing.assert_allclose(second, np.eye(3), atol=1e-3)


# recovery of the truth


def test_held_out_labels_are_nearly_the_best_possible(models, method, world, held_out):
    best, best_err = world.oracle(held_out)
    catalog = lux.infer(held_out, models[method])
    ratio = rmse(catalog["label_value"], held_out["label_true"]) / rmse(
        best, held_out["label_true"]
    )
    assert np.median(ratio) < 1.1
    assert ratio.max() < 1.15
    np.testing.assert_allclose((catalog["label_err"].values / best_err).mean(0), 1, atol=0.15)
    assert np.median(best_err, axis=0) / held_out["label_true"].std("star").values == pytest.approx(
        0.07, abs=0.06
    )


def test_scatter_is_found_pixel_by_pixel(models, world):
    scatter, true = np.asarray(models["marginal"]["flux"].scatter), world.flux_scatter
    noisy = true > 0
    np.testing.assert_allclose(scatter[noisy], true[noisy], rtol=0.25)
    assert (scatter[~noisy] < 0.011).all()  # against errors of about 0.02
    assert np.corrcoef(scatter, true)[0, 1] > 0.98


def test_scatter_of_alternating_is_near_the_truth(models, world):
    """Fitted at fixed latents it is biased low by the pixels' own part in them."""
    noisy = world.flux_scatter > 0
    np.testing.assert_allclose(
        models["alternating"]["flux"].scatter[noisy], world.flux_scatter[noisy], rtol=0.35
    )


def test_model_spectra_recover_the_space_of_true_weights(models, method, world):
    true, ours = world.flux_weights, models[method]["flux"].map.weights
    fitted = ours @ np.linalg.lstsq(ours, true)[0]
    assert np.linalg.norm(true - fitted) / np.linalg.norm(true) < 0.1
    np.testing.assert_allclose(
        ours @ ours.T, true @ true.T, atol=0.2 * np.abs(true @ true.T).max()
    )  # prior variance 1
    np.testing.assert_allclose(models[method]["flux"].map.offset, world.flux_offset, atol=0.03)


@pytest.mark.parametrize("precision", [None, 1e-6, 1.0])
def test_objective_never_falls(training, precision):
    """EM and exact steps cannot lose; what remains is rounding, at most 1e-6 of the objective."""
    settings = {} if precision is None else {"method": "alternating", "latent_precision": precision}
    history = fit(training, tolerance=0.0, iterations=15, **settings).objective
    assert len(history) > 3
    assert history[-1] > history[0]
    assert np.diff(history).min() > -1e-5 * np.abs(history).max()


def test_marginal_objective_is_the_log_evidence(training, models):
    """ln p(data) of the stars in float64, from the model's own parameters.

    In the units that training works in.
    """
    model, total = models["marginal"], 0.0
    flux, label = model["flux"], model["label_value"]
    scale = np.r_[flux.scale, label.scale]
    w = np.concatenate([flux.map.weights, label.map.weights]) / scale[:, None]
    offset, scatter = (
        np.r_[a, b] / scale
        for a, b in ((flux.map.offset, label.map.offset), (flux.scatter, label.scatter))
    )
    variance = (
        np.concatenate(
            [
                1 / np.where(training["flux_ivar"] > 0, training["flux_ivar"], np.nan),
                training["label_err"] ** 2,
            ],
            1,
        )
        / scale**2
    )
    y = np.concatenate([training["flux"], training["label_value"]], 1) / scale
    for n in range(y.shape[0]):
        good = np.isfinite(variance[n])
        cov = w[good] @ w[good].T + np.diag(variance[n, good] + scatter[good] ** 2)
        r = y[n, good] - offset[good]
        total -= 0.5 * (r @ np.linalg.solve(cov, r) + np.linalg.slogdet(2 * np.pi * cov)[1])
    assert model.objective[-1] == pytest.approx(total / y.shape[0], abs=0.02)


# one gauge


def test_gauge_is_canonical(models, method, training, float64_reference, joined_outputs):
    model = models[method]
    marginal = method == "marginal"
    joined, values, ivars = joined_outputs(model, training)
    post = float64_reference(joined, "flux", values, ivars, prior=1.0 if marginal else 1e-6)
    z = post["latent"]
    second = np.cov(z.T, bias=True) + (post["cov"].mean(0) if marginal else 0)
    np.testing.assert_allclose(z.mean(0), 0, atol=0.02)
    np.testing.assert_allclose(second, np.eye(P), atol=0.03)
    flux = model["flux"]
    ivar = training["flux_ivar"].values.astype(float)
    mean_weight = (ivar / (1 + ivar * flux.scatter**2)).mean(0)
    information = flux.map.weights.T @ (mean_weight[:, None] * flux.map.weights)
    diagonal = np.diag(information)
    assert (np.diff(diagonal) < 0).all()
    np.testing.assert_allclose(information - np.diag(diagonal), 0, atol=1e-3 * diagonal.max())
    largest = np.abs(flux.map.weights).argmax(0)
    assert (flux.map.weights[largest, np.arange(P)] > 0).all()


def labels_apart(a, b, stars):
    """Largest difference of inferred labels, in units of their error."""
    ours, theirs = lux.infer(stars, a), lux.infer(stars, b)
    return float((np.abs(ours["label_value"] - theirs["label_value"]) / theirs["label_err"]).max())


@pytest.mark.slow
def test_order_of_the_stars_does_not_matter(training, models, method, held_out):
    shuffled = training.isel(star=np.random.default_rng(0).permutation(500))
    close(models[method], fit(shuffled, method=method), 5e-5)
    many, again = (
        fit(s, 9, method=method) for s in (training, shuffled)
    )  # five latents follow noise alone
    assert labels_apart(many, again, held_out) < 0.02


def test_floors_and_limits_do_not_depend_on_order(training):
    shuffled = training.isel(star=np.random.default_rng(1).permutation(500))
    a, b = fit(training, folds=2), fit(shuffled, folds=2)
    scale = a["label_value"].scale
    np.testing.assert_allclose(
        a["label_value"].floor / scale, b["label_value"].floor / scale, atol=2e-3
    )
    np.testing.assert_allclose(a.limits, b.limits, rtol=1e-3)
    assert (a["label_value"].floor > 0).any()


def test_alternating_reaches_the_same_model_from_any_start(training, models, monkeypatch):
    monkeypatch.setattr(alternating, "_SEED", 7)
    other = fit(training, method="alternating")
    assert other.objective[0] != models["alternating"].objective[0]
    close(models["alternating"], other, 1e-2)
    first = fit(training, method="alternating", tolerance=1e-6)
    monkeypatch.undo()
    close(first, fit(training, method="alternating", tolerance=1e-6), 2e-4)


@pytest.mark.slow
def test_alternating_stops_when_its_objective_rises_no_more(training, models):
    """Agenda 1 ends at the first gain below the tolerance; what follows is agenda 2."""
    values = (training["flux_ivar"] > 0).values.sum() + np.isfinite(
        training["label_err"]
    ).values.sum()
    for model, tolerance in (
        (models["alternating"], 2e-3),
        (fit(training, method="alternating", tolerance=1e-5), 1e-5),
    ):
        gains = np.diff(model.objective) / (values / 500)
        assert gains[-2] < tolerance and (gains[:-2] >= tolerance).all()
    assert len(fit(training, method="alternating", iterations=2).objective) == 3


def test_training_again_gives_the_same_bits(training, models, method):
    assert fit(training, method=method).fingerprint == models[method].fingerprint


def test_data_on_dask_and_on_disk_train_the_same(training, models, tmp_path):
    from luxscale.store import write_dataset

    write_dataset(training, tmp_path / "survey.zarr", chunk=128)
    model = fit(lux.open_survey(tmp_path / "survey.zarr"))
    assert model.fingerprint == models["marginal"].fingerprint
    assert model.provenance.training_checksum == models["marginal"].provenance.training_checksum


def test_units_of_the_data_do_not_matter(training, models, held_out):
    """Counts of 1e5 and a label in other units give the same labels."""
    big = training.copy(deep=True)
    big["flux"] = training["flux"] * np.float32(1e5)
    big["flux_ivar"] = training["flux_ivar"] * np.float32(1e-10)
    for name in ("label_value", "label_err"):
        big[name] = training[name] * np.array([1e-3, 1, 1, 1])
    bright = held_out.assign(
        flux=held_out["flux"] * np.float32(1e5), flux_ivar=held_out["flux_ivar"] * np.float32(1e-10)
    )
    a, b = lux.infer(held_out, models["marginal"]), lux.infer(bright, fit(big))
    difference = (b["label_value"].values * [1e3, 1, 1, 1] - a["label_value"].values) / a[
        "label_err"
    ].values
    assert np.abs(difference).max() < 0.05


def test_label_errors_that_float32_cannot_carry_count_as_the_least_that_it_can():
    """Exact steps stay exact.

    With weights a million times those of spectra the objective fell, and labels with it.
    """
    survey, made = simulate(800, n_pixels=150, seed=1), []
    training, stars = survey.isel(star=slice(600)), survey.isel(star=slice(600, None))
    for factor in (1, 1e-4, 1e-9):
        tiny = training.assign(label_err=training["label_err"] * factor)
        made.append(fit(tiny, 30, method="alternating", tolerance=0.0, iterations=8))
        assert (np.diff(made[-1].objective) > 0).all()
    clean, *others = (
        rmse(lux.infer(stars, model)["label_value"], stars["label_true"]) for model in made
    )
    # not by dex, as where float32 failed; that noise of the labels is learned costs a factor of 4
    for off in others:
        assert (off < 5 * clean).all()
    np.testing.assert_allclose(
        *others, rtol=0.25
    )  # beyond what counts, no error counts more than another


def test_an_objective_that_falls_is_refused(training, monkeypatch):
    def shrinking(_, outputs, latents, precision, final):
        z = alternating.solve_latents(outputs, precision, marginal=False)
        return z._replace(objective=z.objective - (100 if latents.objective.any() else 0))

    monkeypatch.setattr(alternating._ExactSteps, "solve_latents", shrinking)
    with pytest.raises(
        InputError, match=r"objective fell by .* at iteration [1-9].*check the smallest errors"
    ):
        fit(training, method="alternating", tolerance=1e-9)


# gaps


def test_many_missing_labels(world, held_out, method):
    model = fit(world.survey(500, seed=3, missing_labels=0.6), method=method)
    ratio = rmse(lux.infer(held_out, model)["label_value"], held_out["label_true"]) / rmse(
        world.oracle(held_out)[0], held_out["label_true"]
    )
    assert ratio.max() < 1.4


def test_a_star_without_labels_is_left_out(training, models):
    more = training.copy(deep=True)
    more["flux"] = more["flux"] + 100
    more["label_value"][:] = np.nan
    more["label_err"][:] = np.nan
    more = more.assign_coords(star=np.array([f"extra{i}" for i in range(500)], object))
    model = fit(xr.concat([training, more], "star"))
    labelled = int(np.isfinite(training["label_value"]).any("label").sum())
    assert model.provenance.n_stars == labelled
    assert model.fingerprint == models["marginal"].fingerprint


def test_a_label_with_a_value_but_no_error_is_missing(training, models):
    gap = training["label_value"].isnull()
    filled = training.assign(label_value=training["label_value"].fillna(1e6))
    assert gap.any() and filled["label_err"].isnull().any()
    close(models["marginal"], fit(filled), 1e-6)


@pytest.mark.parametrize("value", [1.0, np.nan])
def test_a_pixel_that_no_training_star_has(training, held_out, value):
    training["flux_ivar"][:, 7] = 0
    training["flux"][:, 7] = value
    model = fit(training)
    assert np.flatnonzero(~np.asarray(model["flux"].used)).tolist() == [7]
    catalog = lux.infer(held_out, model)
    predicted = lux.predict(catalog, model)
    assert np.flatnonzero(np.isnan(predicted).any("star")).tolist() == [7]
    assert np.isfinite(catalog["label_value"]).all()
    np.testing.assert_array_equal(
        catalog["n_pixels"], (np.delete(held_out["flux_ivar"].values, 7, 1) > 0).sum(1)
    )
    changed = held_out.copy(deep=True)
    changed["flux"][:, 7] = -50.0
    changed["flux_ivar"][:, 7] = 1e6
    np.testing.assert_array_equal(lux.infer(changed, model)["label_value"], catalog["label_value"])


def test_a_model_with_an_unused_pixel_survives_its_file(training, tmp_path):
    training["flux_ivar"][:, 7] = 0
    model = fit(training, iterations=2)
    model.save(tmp_path / "m.zarr")
    assert lux.load_model(tmp_path / "m.zarr").fingerprint == model.fingerprint


# out-of-fold misfit


@pytest.mark.slow
def test_floors_make_errors_honest_where_the_model_is_wrong(make_world):
    """Spectra that bend with z.

    Formal errors are too small, and the stars left out of training tell by how much.
    """
    bent = make_world(bend=0.03)
    training, held_out = (bent.survey(n, seed=s, label_noise=0.25) for n, s in ((500, 1), (600, 2)))
    pulls = {}
    for folds in (1, 2):
        catalog = lux.infer(held_out, fit(training, folds=folds))
        error = np.hypot(catalog["label_err"].values, held_out["label_err"].values)
        pulls[folds] = robust((catalog["label_value"] - held_out["label_value"]).values / error)
    assert pulls[1].max() > 1.3  # without floors
    assert pulls[2].min() > 0.85
    assert pulls[2].max() < 1.15


def test_folds_follow_identifiers_even_where_their_crc_is_the_same():
    names = np.array(
        ["plumless", "a", "buckeroo", "b", "c"], object
    )  # the first and the third have one CRC
    assert len({zlib.crc32(n.encode()) for n in names}) == 4
    folds = dict(zip(names, assign_folds(names, 2), strict=True))
    assert folds == dict(zip(names[::-1], assign_folds(names[::-1], 2), strict=True))
    assert sorted(folds.values()) == [0, 0, 0, 1, 1]


def test_limits_flag_few_stars_of_the_same_kind(small_model, held_out):
    catalog = lux.infer(held_out, small_model)
    chi2 = (catalog["chi2"] / catalog["n_pixels"]).values
    assert np.quantile(chi2, 0.97) < small_model.limits[0] < 10 * np.median(chi2)
    distance = (catalog["latent"].values ** 2).sum(1)
    assert np.quantile(distance, 0.97) < small_model.limits[1] < 15 * np.median(distance)


def test_one_fold_measures_nothing(models):
    assert (models["marginal"]["label_value"].floor == 0).all()
    assert models["marginal"].limits == (np.inf, np.inf)


def test_misfit_is_measured_on_stars_that_the_weights_have_not_seen(training, monkeypatch):
    fitted, left_out = [], []
    to_model, measure = TrainingData.to_model, calibrate.measure_left_out

    def recorded_outputs(data, arrays, *rest):
        fitted.append(arrays)
        return to_model(data, arrays, *rest)

    def recorded_measure(model, data, rows):
        left_out.append(rows)
        return measure(model, data, rows)

    monkeypatch.setattr(TrainingData, "to_model", recorded_outputs)
    monkeypatch.setattr(calibrate, "measure_left_out", recorded_measure)
    fit(training, folds=4)
    assert sorted(np.concatenate(left_out).tolist()) == list(range(500))  # each star once
    assert [rows.size for rows in left_out] == [125] * 4
    everyone, *parts = fitted
    for part in parts:
        assert not np.allclose(part[1].weights, everyone[1].weights, atol=1e-4)


def test_provenance_says_how_it_was_made(models, method, training):
    model = models[method]
    settings = json.loads(model.provenance.settings)
    assert model.provenance.method == method
    assert {k: settings[k] for k in ("latent_dim", "folds", "iterations")} == {
        "latent_dim": 4,
        "folds": 1,
        "iterations": 30,
    }
    assert settings["tolerance"] == {"marginal": 2e-5, "alternating": 2e-3}[method]
    assert model["flux"].units == ("Angstrom",)
    assert model["flux"].attrs == (("medium", "vacuum"),)
    assert model["label_value"].units == tuple(training["label_units"].values)
    bounds = model["label_value"].bounds
    np.testing.assert_allclose(bounds[:, 0], training["label_value"].min("star"))
    np.testing.assert_allclose(bounds[:, 1], training["label_value"].max("star"))


def test_checksum_tells_data_apart(training, models):
    training["flux"][3, 5] += np.float32(0.01)
    training["flux_ivar"][3, 5] = 2500
    other = fit(training, iterations=1)
    assert other.provenance.training_checksum != models["marginal"].provenance.training_checksum


@pytest.mark.parametrize("role", ["bands", "labels"])
def test_photometry_is_one_more_output(training, world, held_out, role):
    """As bands it is predicted like a spectrum; as labels, with floors, in the catalogue."""
    per_mag = np.array([[0.3, 0.1, 0, 0], [0.2, 0, -0.1, 0.05]])

    def with_mag(survey, seed):
        z = np.linalg.solve(
            world.label_weights, (survey["label_true"].values - world.label_offset).T
        ).T
        mag = (
            12
            + z @ per_mag.T
            + 0.01 * np.random.default_rng(seed).standard_normal((survey.sizes["star"], 2))
        )
        return survey.assign_coords(band=("band", np.array(["g", "r"], object))).assign(
            mag=(("star", "band"), mag, {"role": role}),
            mag_err=(("star", "band"), np.full(mag.shape, 0.01)),
        )

    model = fit(with_mag(training, 0))
    test = with_mag(held_out, 1)
    catalog = lux.infer(test, model)
    assert ("mag" in catalog) == (role == "labels")
    mag, error = lux.predict(catalog, model, "mag"), lux.predict_error(test, model, "mag")
    assert mag.dims == ("star", "band")
    pull = (mag - test["mag"]).values / np.hypot(error.values, 0.01)
    assert (robust(pull) < 1.3).all() and (robust(pull) > 0.7).all()
    assert (
        fit(with_mag(training, 0), outputs=["flux", "label_value"], iterations=1).labels[0].name
        == "label_value"
    )


def test_spectra_without_labels_make_a_model(training, held_out):
    model = fit(training[["flux", "flux_ivar"]])
    catalog = lux.infer(held_out, model)
    assert "label_value" not in catalog
    residual = (held_out["flux"] - lux.predict(catalog, model)).std("star")
    assert (residual < 0.5 * held_out["flux"].std("star")).mean() > 0.8


@pytest.mark.slow
def test_errors_of_labels_from_labels_count_their_scatter():
    """Two label sets that agree but for an intrinsic scatter six times the errors.

    Pull 1, not 6.
    """
    rng = np.random.default_rng(3)
    z, n = rng.standard_normal((1500, 2)), 1500
    weights = rng.standard_normal((8, 2))
    true = z @ weights.T + 0.3 * rng.standard_normal((n, 8))
    given = true + 0.05 * rng.standard_normal((n, 8))
    error = np.full((n, 8), 0.05)
    stars = xr.Dataset(
        {
            "label_value": (("star", "label"), given[:, :4]),
            "label_err": (("star", "label"), error[:, :4]),
            "label_b": (("star", "label_of_b"), given[:, 4:]),
            "label_b_err": (("star", "label_of_b"), error[:, 4:]),
        },
        {
            "star": np.arange(n),
            "label": np.array(list("abcd"), object),
            "label_of_b": np.array(list("efgh"), object),
        },
    )
    for method in METHODS:
        model = fit(stars.isel(star=slice(0, 1000)), 2, folds=5, method=method)
        rest = stars.isel(star=slice(1000, None))
        catalog = lux.infer(rest, model, given="label_value")
        pull = (catalog["label_b"] - true[1000:, 4:]).values / catalog["label_b_err"].values
        assert ((robust(pull) > 0.75) & (robust(pull) < 1.35)).all(), method


def test_labels_without_spectra_make_a_model(training, held_out):
    model = fit(training[["label_value", "label_err"]], latent_dim=2)
    assert [o.name for o in model.outputs] == ["label_value"]
    assert np.isfinite(lux.infer(held_out, model, given="label_value")["label_value"]).all()


# what is refused


def without_a_measurement(survey):
    survey["label_value"][:, 2] = np.nan
    survey["label_err"][:, 2] = np.nan
    return survey


def constant(survey):
    survey["label_value"][:, 1] = survey["label_value"][:, 1] * 0 + 2.0
    return survey


def nothing_known(survey):
    survey["label_value"][:] = np.nan
    survey["label_err"][:] = np.nan
    return survey


def negative_ivar(survey):
    survey["flux_ivar"][4, 3] = -1
    return survey


def zero_error(survey):
    survey["label_err"][4, 3] = 0
    return survey


def twice(survey):
    return xr.concat([survey.isel(star=[9]), survey], "star")


def no_pixels(survey):
    survey["flux_ivar"][:] = 0
    return survey


def same(survey):
    return survey


@pytest.mark.parametrize(
    ("spoil", "settings", "message"),
    [
        (
            without_a_measurement,
            {},
            r"label 'fe_h' has no measurement in 'label_value' with 'label_err', too few to "
            r"learn from: .*drop_sel\(label=\['fe_h'\]\)",
        ),
        (constant, {}, r"label 'logg' has the same value .*drop_sel\(label=\['logg'\]\)"),
        (
            nothing_known,
            {},
            "no star has a label and its error in 'label_value' with 'label_err'; training "
            "needs both",
        ),
        (negative_ivar, {}, "'flux_ivar' = -1.0 .*star 's1-00004', wavelength 15106.0"),
        (zero_error, {}, "'label_err' = 0.0 .*star 's1-00004', label mg_fe"),
        (twice, {}, "'star' repeats 's1-00009'"),
        (no_pixels, {}, "'flux' holds no pixel that varies between stars; check 'flux_ivar'"),
        (lambda s: s.drop_vars("flux_ivar"), {}, "no variable 'flux_ivar'"),
        (
            same,
            {"latent_dim": 44},
            "latent_dim=44 is too large: folds=. leaves 500 stars .*44 features; choose at most 43",
        ),
        (
            lambda s: s.isel(star=slice(24)),
            {"latent_dim": 12, "folds": 2},
            "latent_dim=12 is too large: folds=2 leaves 12 stars .*; choose at most 11, or add "
            r"stars",
        ),
        (same, {"latent_dim": 0}, "latent_dim is 0; it must be a whole number of at least 1"),
        (
            same,
            {"method": "magic"},
            "method 'magic' is unknown; choose one of marginal, alternating",
        ),
        (
            lambda s: s.drop_vars(["flux", "flux_ivar", "label_value", "label_err"]),
            {},
            "no output: it needs 'flux'",
        ),
        (
            same,
            {"latent_precision": 1.0},
            "'marginal' has no setting 'latent_precision'; it has iterations, tolerance",
        ),
        (
            same,
            {"method": "cannon", "tolerance": 1.0},
            "'cannon' has no setting 'tolerance'; it has none",
        ),
        (
            same,
            {"outputs": ["flux", "mag"]},
            "no variable 'mag', needed for output 'mag'; it has the outputs: .*flux",
        ),
    ],
    ids=[
        "label never measured",
        "constant label",
        "no labels",
        "negative ivar",
        "zero error",
        "star twice",
        "no pixels",
        "no ivar",
        "too many latents",
        "too few stars",
        "no latents",
        "method",
        "no output at all",
        "setting",
        "setting of the other method",
        "output",
    ],
)
def test_what_cannot_be_trained_is_refused(training, spoil, settings, message):
    with pytest.raises(InputError, match=r"(my survey: )?.*" + message) as error:
        fit(spoil(training), where="my survey", **settings)
    if not set(settings) & {"method", "latent_precision"} and settings.get("latent_dim") != 0:
        assert str(error.value).startswith("my survey: ")


def test_the_survey_is_not_changed(training, full_training):
    fit(training, iterations=1)
    xr.testing.assert_identical(training, full_training)


def test_progress_goes_to_standard_error(training, capsys):
    lux.train(training, P, folds=1, iterations=1)
    out, err = capsys.readouterr()
    assert out == ""
    assert "training: done in" in err
    fit(training, iterations=1)
    assert capsys.readouterr() == ("", "")


def test_what_is_not_modelled_is_said(training, capsys):
    magnitudes = xr.DataArray(np.ones((500, 2)), dims=("star", "band"))
    some = training.assign(mag=magnitudes).assign_coords(band=["g", "r"])
    lux.train(some.drop_vars(["label_value", "label_err"]), P, folds=1, iterations=1)
    said = capsys.readouterr().err
    assert (
        "'mag' ('star', 'band') is not modelled, for there are no errors mag_ivar or mag_e" in said
    )
    assert "the survey has no labels, and the model will give none" in said
    lux.train(training, P, folds=1, iterations=1)
    said = capsys.readouterr().err
    assert "not modelled" not in said and "no labels" not in said


def test_more_folds_than_stars_are_refused(small_survey):
    with pytest.raises(InputError, match=r"folds=1000 is more than its 300 training stars"):
        fit(small_survey, folds=1000)


def test_settings_of_the_wrong_kind_are_refused(small_survey):
    for settings, message in (
        ({"iterations": 2.5}, "iterations is 2.5"),
        ({"seed": -1}, "seed is -1"),
        ({"tolerance": None}, "tolerance is None"),
        ({"prior": "1"}, "prior is '1'"),
        ({"solver": "jaxopt"}, "has no setting 'solver'.*of alternating"),
        ({"windows": [("teff", 1, 2)]}, "give a dict"),
        ({"windows": {"teff": [("a", "b")]}}, "give a list"),
        ({"windows": {"teff": [(1, 2, 3)]}}, "give a list"),
        ({"method": "cannon", "latent_dim": None, "prior": 7.0}, "prior of its own"),
    ):
        with pytest.raises(InputError, match=message):
            fit(small_survey, **settings)


@pytest.mark.parametrize(
    "settings",
    [
        {"folds": 0},
        {"iterations": 0},
        {"tolerance": float("nan")},
        {"latent_dim": 3.5},
        {"outputs": []},
        {"outputs": ["flux", "flux"]},
        {"method": "alternating", "latent_precision": 0},
    ],
    ids=str,
)
def test_settings_out_of_range_are_refused(small_survey, settings):
    with pytest.raises(InputError, match="must be|name each once"):
        lux.train(small_survey, progress=False, **{"latent_dim": 3, **settings})


def test_numbers_of_numpy_are_numbers(small_survey):
    one, other = (
        lux.train(small_survey, number(2), iterations=number(1), folds=1, progress=False)
        for number in (int, np.int64)
    )
    assert one.provenance.settings == other.provenance.settings


def test_float64_in_physical_units_gives_the_same_labels(small_survey, held_out, small_model):
    """An inverse variance of 1e41 is beyond float32.

    Only the unit differs, so the labels must not.
    """
    unit = 1e-19

    def physical(survey):
        return survey.assign(
            flux=survey["flux"].astype(float) * unit,
            flux_ivar=survey["flux_ivar"].astype(float) / unit**2,
        )

    model = lux.train(physical(small_survey), small_model.latent_dim, progress=False)
    catalog, expected = lux.infer(physical(held_out), model), lux.infer(held_out, small_model)
    np.testing.assert_array_equal(catalog["n_pixels"], expected["n_pixels"])
    difference = np.abs(catalog["label_value"] - expected["label_value"]) / expected["label_err"]
    assert float(difference.max()) < 0.02


def test_what_is_left_out_is_counted(small_survey, capsys):
    small_survey["label_value"][:7] = np.nan
    small_survey["label_err"][7:20, 0] = np.nan
    lost = int(np.isfinite(small_survey["label_value"][7:20, 0]).sum())
    model = lux.train(small_survey, 3, folds=1, iterations=1)
    record = json.loads(model.provenance.settings)
    assert (record["stars_without_labels"], record["labels_without_errors"]) == (7, lost)
    said = capsys.readouterr().err
    assert "7 of 300 stars have no label" in said
    assert f"{lost} label values have no error" in said


def test_visits_of_one_star_are_noticed(small_survey, capsys):
    """By labels that are the same; two stars with a label or two in common may be two."""
    name = small_survey["label_value"].dims[1]
    visits = small_survey.copy(deep=True)
    for variable in ("label_value", "label_err"):
        visits[variable][100:200] = visits[variable][:100].values
    known = int((visits["label_value"][:100].notnull().sum(name) >= 3).sum())
    assert 50 < known < 100
    lux.train(visits, 3, folds=1, iterations=1, label_clip=np.inf)
    assert f"{2 * known} of 300 stars have all labels of another one" in capsys.readouterr().err
    few = visits.isel({name: slice(0, 2)})
    lux.train(few, 2, folds=1, iterations=1)
    lux.train(small_survey, 3, folds=1, iterations=1)
    assert "labels of another" not in capsys.readouterr().err


def test_visits_are_noticed_however_many_stars_have_no_label(small_survey, capsys):
    pair = small_survey.copy(deep=True)
    every = pair["label_value"].notnull().all("label").values
    first, second = np.flatnonzero(every)[-2:]
    for variable in ("label_value", "label_err"):
        pair[variable][second] = pair[variable][first].values
    pair["label_value"][:200] = np.nan
    lux.train(pair, 3, method="curved", unlabelled=200, folds=1, iterations=1, label_clip=np.inf)
    assert "2 of 300 stars have all labels of another one" in capsys.readouterr().err


@pytest.mark.parametrize("method", METHODS)
def test_the_same_data_give_the_same_model_for_any_seed(method, world):
    first, second = (
        fit(world.survey(300, seed=5), method=method, seed=s, latent_dim=6) for s in (0, 1)
    )
    assert first.fingerprint == second.fingerprint


def test_a_catalogue_in_place_of_a_survey_is_refused(small_model, held_out):
    catalog = lux.infer(held_out.isel(star=slice(0, 20)), small_model)
    with pytest.raises(InputError, match="survey: a catalogue, whose labels are inferred; train"):
        fit(catalog)
