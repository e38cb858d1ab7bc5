"""The learning curve: shares of stars, RMSE against their number, and what more would bring."""

import json

import numpy as np
import pytest
import xarray as xr
from click.testing import CliRunner

from luxscale import crossval as cv
from luxscale import plot, store
from luxscale.cli import main
from luxscale.crossval.learning import take_share
from luxscale.errors import InputError

SHARES = (0.25, 0.5, 1.0)
N, FOLDS = 400, 4


def make_results(slope=-0.3, seed=0):
    """Results whose errors shrink as (number of stars)^slope, the noise of each star its own."""
    rng = np.random.default_rng(seed)
    unit = np.array([50.0, 0.1])
    noise = rng.standard_normal((N, 2)) * unit
    value = np.stack([noise * share**slope for share in SHARES])[None]
    names = ("latent_dim", "share")
    shape = (1, len(SHARES))
    zero = np.zeros((*shape, N, 2))
    return xr.Dataset(
        {
            "label_value": ((*names, "star", "label"), value),
            "label_err": ((*names, "star", "label"), np.full_like(value, 0.1)),
            "trusted_label_value": (("star", "label"), np.zeros((N, 2))),
            "trusted_label_err": (("star", "label"), np.ones((N, 2))),
            "label_chi2": ((*names, "star", "given"), zero),
            "spectrum_chi2": ((*names, "star", "given"), zero),
            "n_labels": ((*names, "star"), np.full((*shape, N), 2)),
            "n_pixels": ((*names, "star"), np.full((*shape, N), 9)),
            "status": ((*names, "fold"), np.ones((*shape, FOLDS), np.uint8)),
            "seconds": ((*names, "fold"), np.ones((*shape, FOLDS))),
            "star_fold": ("star", np.arange(N) % FOLDS),
        },
        {
            "latent_dim": [4],
            "share": list(SHARES),
            "given": list(cv.GIVEN),
            "label": ["teff", "logg"],
            "label_units": ("label", ["K", ""]),
        },
    )


def test_shares_hold_one_another_whatever_the_order_of_the_stars():
    stars = np.array([f"star-{i:04d}" for i in range(1000)], object)
    few, more = take_share(stars, 0.2), take_share(stars, 0.5)
    assert (few.sum(), more.sum(), take_share(stars, 1.0).sum()) == (200, 500, 1000)
    assert more[few].all()
    turned = take_share(stars[::-1], 0.2)
    np.testing.assert_array_equal(turned[::-1], few)


def test_the_curve_is_that_of_the_errors():
    results = make_results()
    curve = cv.measure_learning_curve(results, {"latent_dim": 4})
    assert curve["n_stars"].values.tolist() == [75, 150, 300]
    errors = results["label_value"].isel(latent_dim=0).values
    np.testing.assert_allclose(curve["rmse"], np.sqrt((errors**2).mean(1)))
    np.testing.assert_allclose(curve["gain"], 2**-0.3 - 1)
    # each star errs less by the same factor, so paired stars leave no doubt, as RMSE does
    np.testing.assert_allclose(curve["gain_err"], 0, atol=1e-12)
    np.testing.assert_allclose(curve["rmse_err"] / curve["rmse"], 1 / np.sqrt(2 * N), rtol=0.3)
    np.testing.assert_allclose(curve["excess"][:, 0], [4**0.3 - 1, 2**0.3 - 1, 0])


def test_the_stated_error_of_the_gain_is_that_of_repeated_samples():
    gains, errors = [], []
    for seed in range(200):
        results = make_results(slope=0, seed=seed)
        rng = np.random.default_rng(1000 + seed)
        value = results["label_value"].values
        value[:, -1] += 0.5 * np.array([50.0, 0.1]) * rng.standard_normal((N, 2))
        curve = cv.measure_learning_curve(results, {"latent_dim": 4})
        gains.append(curve["gain"].values)
        errors.append(curve["gain_err"].values)
    np.testing.assert_allclose(np.std(gains, axis=0), np.mean(errors, axis=0), rtol=0.15)


def test_the_advice_is_one_line():
    curve = cv.measure_learning_curve(make_results(), {"latent_dim": 4})
    assert cv.advise_on_stars(curve) == (
        "twice the 300 training stars would help: RMSE of teff -18.8 +- 0.0%, logg -18.8 +- 0.0%, "
        "by the slope between 150 and 300 stars"
    )
    flat = cv.measure_learning_curve(make_results(slope=0), {"latent_dim": 4})
    assert "would help little: RMSE of teff +0.0" in cv.advise_on_stars(flat)
    table = cv.format_curve(curve).splitlines()
    assert table[0].split()[-3:] == ["300", "stars", "doubled"]
    assert table[1].split()[:2] == ["teff", "K"]
    assert table[1].endswith("-18.8 +- 0.0%") and len(max(table[:3], key=len)) < 100
    first = cv.list_curve(curve)[0]
    assert (first["share"], first["n_stars"]) == (0.25, 75)
    assert first["rmse"]["teff"] == pytest.approx(float(curve["rmse"][0, 0]))


def test_settings_are_chosen_by_all_stars():
    results = make_results()
    choice = cv.choose(results)
    assert choice.setting == (("latent_dim", 4),)
    (record,) = cv.to_records(results)
    rmse = float(np.sqrt((results["label_value"].values[0, -1, :, 0] ** 2).mean()))
    assert record["label_rmse"]["teff"] == pytest.approx(rmse)


def test_the_curve_is_drawn():
    curve = cv.measure_learning_curve(make_results(), {"latent_dim": 4})
    axes = plot.learning_curve(curve)
    assert [ax.get_ylabel() for ax in axes] == [r"RMSE of $T_{\rm eff}$ [K]", r"RMSE of $\log g$"]
    measured, ahead = (line.lines[0] for line in axes[0].containers)
    np.testing.assert_allclose(measured.get_ydata(), curve["rmse"][:, 0])
    np.testing.assert_allclose(ahead.get_xdata(), [300, 600])
    axes[0].get_figure(root=True).canvas.draw()


def test_what_is_no_learning_curve_is_refused_by_name(small_survey, tmp_path):
    results = make_results()
    with pytest.raises(InputError, match="needs several shares"):
        cv.measure_learning_curve(results.sel(share=1.0, drop=True), {"latent_dim": 4})
    with pytest.raises(InputError, match="is not done; run the cross-validation again"):
        cv.measure_learning_curve(results.assign(status=0 * results["status"]), {"latent_dim": 4})
    store.write_dataset(small_survey.isel(star=slice(0, 60)), tmp_path / "s.zarr")
    for shares, message in (
        ([0.5, 0.7], "1 among them"),
        ([1.0], "give two or more"),
        ([0.5, 2.0], "numbers above 0"),
        ([0.05, 1.0], "2 labelled stars are too few .* least share .* 10 are needed: .*greater"),
    ):
        with pytest.raises(InputError, match=message):
            cv.make_grid(tmp_path / "s.zarr", tmp_path / "c.zarr", latent_dims=[4], shares=shares)
    with pytest.raises(InputError, match="20 latents are too many .* choose fewer than .* greater"):
        cv.make_grid(tmp_path / "s.zarr", tmp_path / "c.zarr", latent_dims=[20], shares=[0.4, 1.0])


def test_a_figure_is_of_a_learning_curve(small_survey, tmp_path):
    store.write_dataset(small_survey.isel(star=slice(0, 60)), tmp_path / "s.zarr")
    stores = [str(tmp_path / "s.zarr"), "--out", str(tmp_path / "cv.zarr")]
    refused = CliRunner().invoke(main, ["crossval", *stores, "--figure", "curve.png"])
    assert refused.exit_code == 2 and "add --learning-curve" in refused.stderr


@pytest.mark.slow
def test_more_stars_are_trained_on_and_a_run_goes_on(small_survey, tmp_path):
    store.write_dataset(small_survey, tmp_path / "s.zarr", chunk=100)
    options = {"latent_dims": [4], "shares": [0.1, 1.0], "folds": 2, "iterations": 6}
    grid = cv.make_grid(tmp_path / "s.zarr", tmp_path / "cv.zarr", **options)
    assert len(grid.tasks) == 4 == len(grid.group_by_training(grid.tasks))
    results = cv.cross_validate(
        tmp_path / "s.zarr", tmp_path / "cv.zarr", progress=False, **options
    )
    curve = cv.measure_learning_curve(results, dict(cv.choose(results).setting))
    assert (curve["rmse"].values[1] < curve["rmse"].values[0]).all()
    again = cv.cross_validate(tmp_path / "s.zarr", tmp_path / "cv.zarr", progress=False, **options)
    xr.testing.assert_identical(again.load(), results.load())


@pytest.mark.slow
def test_the_command_says_what_more_stars_would_bring(small_survey, tmp_path):
    store.write_dataset(small_survey, tmp_path / "s.zarr", chunk=100)
    options = ["--latent-dim", "4", "--folds", "2", "--share", "0.25", "--workers", "0", "--quiet"]
    stores = [str(tmp_path / "s.zarr"), "--out", str(tmp_path / "cv.zarr")]
    figure = ["--figure", str(tmp_path / "curve.png")]
    first = CliRunner().invoke(main, ["crossval", *stores, *options, *figure])
    assert first.exit_code == 0, first.output
    assert "twice the 150 training stars" in first.stdout and "curve.png" in first.stdout
    assert (tmp_path / "curve.png").stat().st_size > 5000
    again = CliRunner().invoke(main, ["crossval", *stores, *options, "--json"])
    found = json.loads(again.stdout)
    assert [point["share"] for point in found["learning_curve"]] == [0.25, 1.0]
    assert "twice" in found["more_stars"] and found["chosen"]["latent_dim"] == 4
