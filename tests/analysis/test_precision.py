"""Label errors against S/N: draws of noise against formulas, one star or bins of them."""

import dataclasses
import itertools

import numpy as np
import pytest
import scipy.stats
from influence import sandwich

import luxscale as lux
from luxscale.analysis.formal_errors import expected_errors
from luxscale.analysis.precision import draw_precision, precision_by_snr
from luxscale.errors import InputError
from luxscale.model.decoders import LinearMap


@pytest.fixture(scope="module")
def stars(_held_out, small_model):
    """300 stars of S/N 33 to 71, ten draws each."""
    return draw_precision(_held_out.isel(star=slice(0, 300)), small_model)


def test_draws_scatter_as_the_formula_says(stars, small_model):
    """Each of 1,200 scatters squared is a chi-square of nine degrees of freedom."""
    assert (
        stars["draws"].dims == ("star", "label") and stars["draws"].attrs["units"] == "label_units"
    )
    assert stars.sizes == {"star": 300, "label": 4} and stars.attrs == {"n_draws": 10, "seed": 0}
    ratio = (stars["draws"] / stars["noise"]).values
    np.testing.assert_allclose(ratio.mean(0), 1, atol=4 * 0.24 / np.sqrt(300))
    c4 = scipy.stats.chi(9).mean() / 3
    for label in range(4):
        test = scipy.stats.kstest(9 * (c4 * ratio[:, label]) ** 2, scipy.stats.chi2(9).cdf)
        assert test.pvalue > 0.001
    assert (
        float((stars["draws"] / stars["posterior"]).mean()) < 0.92
    )  # the draws tell which of both errors they are


def test_draws_about_the_model_spectrum_scatter_the_same(stars, small_model, held_out):
    """Inference is linear, so what the noise is added to does not matter."""
    clean = held_out.isel(star=slice(0, 300))
    clean["flux"] = lux.predict(lux.infer(clean, small_model), small_model).astype("f4")
    np.testing.assert_allclose(
        draw_precision(clean, small_model)["draws"], stars["draws"], rtol=2e-3
    )


def test_stars_bring_their_formulas_and_snr(stars, small_model, held_out):
    some = held_out.isel(star=slice(0, 300))
    errors = expected_errors(small_model, some["flux_ivar"])
    for kind in ("noise", "posterior"):
        np.testing.assert_allclose(stars[kind], errors[kind], rtol=1e-9)
    ratio = (some["flux"] * np.sqrt(some["flux_ivar"])).where(some["flux_ivar"] > 0)
    np.testing.assert_allclose(stars["snr"], ratio.median("wavelength"), rtol=1e-5)


def test_draws_depend_on_seed_and_star_only(stars, small_model, held_out):
    rows = np.r_[250:300, 40:10:-1]
    chunked = draw_precision(held_out.isel(star=rows).chunk(star=17), small_model)
    assert chunked["star"].values.tolist() == held_out["star"].values[rows].tolist()
    for name in ("draws", "noise", "posterior", "snr"):
        np.testing.assert_allclose(chunked[name], stars[name][rows], rtol=1e-3)
    other = draw_precision(held_out.isel(star=rows[:5]), small_model, seed=1)
    assert (abs(other["draws"] / stars["draws"][rows[:5]].values - 1) > 0.02).any("label").all()


def test_more_draws_come_closer(small_model, held_out):
    few = held_out.isel(star=slice(0, 20))
    got = draw_precision(few, small_model, n_draws=200)
    np.testing.assert_allclose(got["draws"], got["noise"], rtol=5 / np.sqrt(400))


def test_identifiers_may_be_numbers(small_model, held_out):
    few = held_out.isel(star=slice(0, 8)).assign_coords(star=np.arange(8) * 10**15)
    got = draw_precision(few, small_model)
    assert got["star"].dtype == "int64"
    assert np.unique(got["draws"] / got["noise"]).size == 32


def test_missing_and_broken_pixels_are_left_out(small_model, held_out):
    few = held_out.isel(star=slice(0, 4))
    few["flux_ivar"][0] = 0
    few["flux_ivar"][1, :3] = [np.nan, -1, np.inf]
    few["flux"][2, 5] = np.nan
    few["flux_ivar"][2, 5] = 900
    got = draw_precision(few, small_model, n_draws=100)
    zeroed = few["flux_ivar"].copy()
    zeroed[1, :3] = 0
    zeroed[2, 5] = 0
    np.testing.assert_allclose(
        got["noise"], expected_errors(small_model, zeroed)["noise"], rtol=1e-9
    )
    assert np.isnan(got["snr"][0]) and np.isfinite(got["snr"][1:]).all()
    np.testing.assert_allclose(got["draws"][0] / got["posterior"][0], 0, atol=1e-12)
    np.testing.assert_allclose(got["draws"][1:], got["noise"][1:], rtol=0.35)


def test_labels_with_windows_scatter_as_their_formula_says(stars, small_model, held_out):
    windows = (("mg_fe", ((15100.0, 15120.0),)),)
    label = dataclasses.replace(small_model["label_value"], windows=windows)
    model = dataclasses.replace(small_model, outputs=(label, small_model["flux"]))
    got = draw_precision(held_out.isel(star=slice(0, 100)), model)
    np.testing.assert_allclose((got["draws"] / got["noise"]).mean("star"), 1, atol=4 * 0.24 / 10)
    assert float((got["posterior"] / stars["posterior"][:100]).sel(label="mg_fe").min()) > 1.2
    np.testing.assert_allclose(got["noise"][:, :3], stars["noise"][:100, :3])


def test_spectra_from_labels_have_a_precision_too(small_model, world):
    survey = world.survey(100, seed=6, missing_labels=0.2)
    got = draw_precision(survey, small_model, given="label_value", of="flux")
    assert got["draws"].dims == ("star", "wavelength") and got["draws"].attrs["units"] == "as flux"
    assert float((got["draws"] / got["noise"]).mean()) == pytest.approx(1, abs=0.03)
    err = survey["label_err"].values[3]
    ivar = np.where(np.isfinite(err), err**-2.0, 0)
    np.testing.assert_allclose(
        got["noise"][3], sandwich(small_model, ivar, "flux", "label_value")[1], rtol=1e-6
    )


def test_numbers_out_of_range_are_refused(small_model, held_out):
    with pytest.raises(InputError, match="n_draws is 1; a scatter needs 2 or more"):
        draw_precision(held_out, small_model, n_draws=1)
    with pytest.raises(InputError, match="seed is -1; give 0 or more"):
        draw_precision(held_out, small_model, seed=-1)
    with pytest.raises(InputError, match="holds no stars"):
        draw_precision(held_out.isel(star=slice(0, 0)), small_model)


def test_bins_hold_quantiles_of_their_stars(stars):
    edges = [30.0, 45.0, 60.0, float(stars["snr"].max()), 500.0]
    got = precision_by_snr(stars, edges, quantiles=(0.05, 0.5))
    assert got["precision"].dims == ("kind", "snr_bin", "label", "quantile")
    assert got["kind"].values.tolist() == ["draws", "noise", "posterior"]
    assert got["snr_bin"].values.tolist()[:2] == [37.5, 52.5]
    assert got["precision"].attrs["units"] == "label_units"
    assert got["label_units"].values.tolist() == ["K", "dex(cm s-2)", "dex", "dex"]
    for i, (low, high) in enumerate(itertools.pairwise(edges)):
        inside = [k for k, snr in enumerate(stars["snr"].values) if low <= snr < high]
        assert int(got["n_stars"][i]) == len(inside)
        for kind in got["kind"].values:
            expected = np.quantile(stars[kind].values[inside], (0.05, 0.5), axis=0).T
            np.testing.assert_allclose(got["precision"].sel(kind=kind)[i], expected)
    assert got["n_stars"].values[-1] == 1  # the best star opens the last bin
    closed = precision_by_snr(stars, edges[:4])
    assert int(closed["n_stars"].sum()) == int(
        got["n_stars"].sum()
    )  # and belongs to the bin below without it


def test_drawn_and_analytic_precision_agree_bin_by_bin(stars):
    median = precision_by_snr(stars, [30, 40, 50, 75])["precision"].sel(quantile=0.5)
    n_stars = precision_by_snr(stars, [30, 40, 50, 75])["n_stars"].values[:, None]
    assert (n_stars > 30).all()
    ratio = (median.sel(kind="draws") / median.sel(kind="noise")).values
    assert (
        np.abs(ratio - 0.99) < 4 * 1.25 * 0.24 / np.sqrt(n_stars)
    ).all()  # median of chi-square draws
    assert (np.abs(ratio - 1) < 0.2).all()
    assert (median.sel(kind="noise").diff("snr_bin") < 0).all()


def test_a_bin_without_stars_is_nan(stars):
    got = precision_by_snr(stars, [30, 75, 100])
    assert int(got["n_stars"][1]) == 0
    assert (
        np.isnan(got["precision"].isel(snr_bin=1)).all()
        and np.isfinite(got["precision"].isel(snr_bin=0)).all()
    )
    lost = stars.assign(snr=stars["snr"] * np.nan)
    assert precision_by_snr(lost, [0, 1e9])["n_stars"].values.tolist() == [0]


@pytest.mark.parametrize(
    ("edges", "quantiles", "message"),
    [
        ([30], (0.5,), "edges are .*; give two or more, ascending"),
        ([30, 30], (0.5,), "edges are .*; give two or more, ascending"),
        ([30, 60], (16, 50, 84), "quantiles are .*; give fractions between 0 and 1"),
    ],
)
def test_bins_and_quantiles_out_of_order_are_refused(stars, edges, quantiles, message):
    with pytest.raises(InputError, match=message):
        precision_by_snr(stars, edges, quantiles)


def with_linear_maps(model):
    """The model of correlated noise, its maps cut to their linear terms, its prior N(0, I)."""
    outputs = []
    for output in model.outputs:
        linear = LinearMap(output.map.weights[:, : model.latent_dim], output.map.offset)
        outputs.append(dataclasses.replace(output, map=linear))
    return dataclasses.replace(model, outputs=tuple(outputs))


@pytest.mark.slow
@pytest.mark.parametrize("gaps", [False, True], ids=["complete", "every third missing"])
def test_noise_that_pixels_share_is_drawn_as_its_covariance_says(
    gaussian_curved_model, curved_world, gaps
):
    """Both errors are those of dense matrices, and draws scatter as they say."""
    model = with_linear_maps(gaussian_curved_model)
    stars = curved_world.survey(100, seed=6)
    stars["flux_ivar"][:, 1::3] *= not gaps
    got = draw_precision(stars, model, n_draws=20)
    noise = model["flux"].correlation
    ivar = stars["flux_ivar"].values.astype(float)
    seen = ivar[0] > 0
    a, b = (model[name].map.weights for name in ("label_value", "flux"))
    b = b[seen]
    shapes = noise.unit[seen, None] * noise.shapes[seen]
    white = 1e-4 * np.diag(noise.unit[seen] ** 2)
    for i in range(5):
        level = np.median(1 / (ivar[i, seen] * noise.unit[seen] ** 2))
        total = shapes @ np.diag(level + noise.variance) @ shapes.T + white
        gain = b.T @ np.linalg.inv(total)
        covariance = np.linalg.inv(np.eye(3) + gain @ b)
        change = a @ covariance @ gain
        drawn = change @ (level * shapes @ shapes.T + white) @ change.T
        np.testing.assert_allclose(got["noise"][i], np.sqrt(np.diag(drawn)), rtol=2e-3)
        posterior = np.sqrt(np.diag(a @ covariance @ a.T))
        np.testing.assert_allclose(got["posterior"][i], posterior, rtol=2e-3)
    ratio = (got["draws"] / got["noise"]).mean("star")
    np.testing.assert_allclose(ratio, 1, atol=4 * 0.16 / np.sqrt(100))


def test_draws_about_curved_stars_scatter_as_the_formula_of_each_says(curved_model, curved_world):
    """Maps with products, heavy tails and a mixture; so precise that a star is locally linear."""
    stars = curved_world.survey(100, seed=6, level=0.3)
    got = draw_precision(stars, curved_model, n_draws=20)
    ratio = (got["draws"] / got["noise"]).values
    np.testing.assert_allclose(ratio.mean(0), 1, atol=4 * 0.16 / np.sqrt(100))
    assert (got["noise"] < got["posterior"]).all()
    # errors of one star are not those of another
    assert (got["noise"].std("star") > 0.1 * got["noise"].mean("star")).all()


@pytest.mark.slow
def test_a_curved_star_without_data_has_no_scatter(curved_model, curved_world):
    stars = curved_world.survey(3, seed=6)
    stars["flux_ivar"][0] = 0
    got = draw_precision(stars, curved_model, n_draws=2)
    np.testing.assert_allclose(got["draws"][0] / got["posterior"][0], 0, atol=1e-9)
    assert np.isnan(got["snr"][0]) and (got["draws"][1:] > 0).all()
