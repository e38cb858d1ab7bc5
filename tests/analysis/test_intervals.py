"""Conformal intervals hold the share of other stars that they state, whatever the errors."""

import json
import sys

import numpy as np
import pytest
import xarray as xr
from click.testing import CliRunner

import luxscale as lux
from luxscale import store
from luxscale.cli import main
from luxscale.errors import InputError


def draw(n, seed, wrong=0.4):
    """Return a catalogue whose errors are wrong and whose tails long, and the trusted labels."""
    rng = np.random.default_rng(seed)
    err = np.array([80.0, 0.1]) * np.exp(0.5 * rng.normal(size=(n, 2)))
    truth = np.array([4800, -0.3]) + np.array([400, 0.3]) * rng.normal(size=(n, 2))
    # the larger the error, the more is it too small
    factor = wrong * (err / [80.0, 0.1]) ** 0.8
    value = truth + factor * err * rng.standard_t(3, size=(n, 2))
    coords = {
        "star": [f"s{seed}-{i}" for i in range(n)],
        "label": np.array(["teff", "fe_h"], object),
        "label_units": ("label", np.array(["K", "dex"], object)),
    }
    dims = ("star", "label")
    catalog = xr.Dataset({"label_value": (dims, value), "label_err": (dims, err)}, coords)
    survey = xr.Dataset({"label_value": (dims, truth), "label_err": (dims, 0 * err + 1e-3)}, coords)
    return catalog, survey


def is_inside(found, survey):
    truth = survey.label_value.values
    return (found.label_lower.values <= truth) & (truth <= found.label_upper.values)


@pytest.mark.parametrize("coverage", [0.5, 0.9, 0.99])
@pytest.mark.parametrize("bins", [1, 3])
def test_other_stars_lie_inside_as_often_as_stated(coverage, bins):
    held_out, labelled = draw(4000, 1)
    others, truth = draw(20_000, 2)
    found = lux.predict_intervals(others, held_out, labelled, coverage=coverage, bins=bins)
    share = is_inside(found, truth).mean(0)
    np.testing.assert_allclose(share, coverage, atol=4 * float(found.coverage_err.max()))
    assert found.n_held_out.values.tolist() == [4000, 4000]


def test_stated_spread_is_that_of_the_coverage_of_many_calibrations():
    others, truth = draw(20_000, 2)
    shares = []
    for seed in range(100):
        found = lux.predict_intervals(others, *draw(100, 10 + seed), coverage=0.8)
        shares.append(is_inside(found, truth)[:, 0].mean())
    assert np.mean(shares) == pytest.approx(0.8, abs=0.015)
    assert np.std(shares) == pytest.approx(float(found.coverage_err[0]), rel=0.25)


def test_bins_hold_their_coverage_each_where_errors_are_wrong_by_more_for_some():
    held_out, labelled = draw(6000, 1)
    others, truth = draw(20_000, 2)
    least = np.quantile(held_out.label_err.values[:, 0], 5 / 6)
    poor = others.label_err.values[:, 0] > least
    shares = []
    for bins in (1, 6):
        found = lux.predict_intervals(others, held_out, labelled, bins=bins)
        shares.append(is_inside(found, truth)[poor, 0].mean())
    assert shares[0] < 0.8 and shares[1] == pytest.approx(0.9, abs=0.03)


def test_what_is_not_known_has_no_interval():
    held_out, labelled = draw(300, 1)
    labelled["label_value"].values[:, 1] = np.nan
    others, _ = draw(50, 2)
    others["label_value"].values[3] = np.nan
    others["label_err"].values[4] = 0
    others = others.assign(status=("star", np.r_[np.zeros(2), np.ones(48)].astype("u1")))
    found = lux.predict_intervals(others, held_out, labelled)
    known = np.isfinite(found.label_lower.values[:, 0])
    assert np.flatnonzero(~known).tolist() == [0, 1, 3, 4]
    assert np.isnan(found.label_upper.values[:, 1]).all()
    assert found.n_held_out.values.tolist() == [300, 0] and np.isnan(found.coverage_err[1])
    labelled["label_value"].values[:] = np.nan
    with pytest.raises(InputError, match="no held-out star has a trusted label"):
        lux.predict_intervals(others, held_out, labelled)


def test_too_few_stars_are_refused_with_how_many_are_needed():
    others, _ = draw(50, 2)
    with pytest.raises(InputError, match=r"label 'teff': 60 held-out .* give 100 or more"):
        lux.predict_intervals(others, *draw(60, 1), coverage=0.99)
    assert lux.predict_intervals(others, *draw(100, 1), coverage=0.99).sizes["star"] == 50
    with pytest.raises(InputError, match="20 held-out stars with a trusted label in a bin"):
        lux.predict_intervals(others, *draw(60, 1), coverage=0.96, bins=3)


@pytest.mark.parametrize(
    ("wrong", "message"), [({"coverage": 1.0}, "coverage=1.0"), ({"bins": 0}, "bins=0")]
)
def test_numbers_out_of_range_are_refused(wrong, message):
    with pytest.raises(InputError, match=message):
        lux.predict_intervals(draw(20, 2)[0], *draw(60, 1), **wrong)


def test_held_out_stars_of_another_model_are_refused():
    others, (held_out, labelled) = draw(50, 2)[0], draw(60, 1)
    others, held_out = (
        each.assign_attrs(model_fingerprint=name * 64)
        for each, name in ((others, "a"), (held_out, "b"))
    )
    with pytest.raises(InputError, match=r"of model a{12}, the held-out stars of b{12}"):
        lux.predict_intervals(others, held_out, labelled)


def test_without_crepes_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "crepes", None)
    with pytest.raises(InputError, match=r"pip install 'luxscale\[conformal\]'"):
        lux.predict_intervals(draw(20, 2)[0], *draw(60, 1))


def test_intervals_are_lazy_where_the_catalogue_is():
    others, _ = draw(90, 2)
    held_out = draw(300, 1)
    lazy = lux.predict_intervals(others.chunk({"star": 40}), *held_out, bins=2)
    assert lazy.label_lower.chunks[0] == (40, 40, 10)
    expected = lux.predict_intervals(others, *held_out, bins=2)
    xr.testing.assert_identical(lazy.compute(), expected)
    lazy = lux.predict_intervals(others.chunk(star=40, label=1), *held_out, bins=2)
    xr.testing.assert_identical(lazy.compute(), expected)


def test_the_command_writes_intervals_of_a_catalogue(
    _small_survey, _held_out, small_model, tmp_path
):
    paths = [str(tmp_path / f"{name}.zarr") for name in ("survey", "model", "catalog", "out")]
    store.write_dataset(_held_out, paths[0], chunk=100)
    small_model.save(paths[1])
    lux.label_survey(*paths[:3], progress=False)
    command = ["intervals", paths[2], "--survey", paths[0], "--model", paths[1], "--out", paths[3]]
    command += ["--stars", "untrained", "--coverage", "0.8"]
    done = CliRunner().invoke(main, command)
    assert done.exit_code == 0, done.output
    assert "80 +- " in done.output
    found = store.open_dataset(paths[3])
    expected = lux.predict_intervals(paths[2], paths[2], paths[0], coverage=0.8)
    np.testing.assert_array_equal(found.label_upper, expected.label_upper)
    assert found.attrs["coverage"] == 0.8 and "label" in found.coords
    told = CliRunner().invoke(main, ["info", paths[3]]).output
    assert "intervals" in told and "0.8" in told and "teff" in told
    assert CliRunner().invoke(main, command).exit_code == 1
    again = CliRunner().invoke(main, [*command, "--overwrite", "--json"])
    assert json.loads(again.output)["labels"][0]["held_out"] > 100
    everyone = xr.concat([_held_out, _small_survey], "star", data_vars="minimal")
    store.write_dataset(everyone, paths[0], chunk=100, overwrite=True)
    lux.label_survey(*paths[:3], progress=False)
    for some in ([], ["--stars", "untrained"], ["--where", "snr > 0"]):
        left = CliRunner().invoke(
            main, [*command[:8], *some, "--coverage", "0.8", "--overwrite", "--json"]
        )
        assert json.loads(left.output)["labels"] == json.loads(again.output)["labels"]
    unknown = CliRunner().invoke(main, [*command[:4], "--out", paths[3], "--overwrite"])
    assert unknown.exit_code == 2 and "name it with --model" in unknown.output
    refused = CliRunner().invoke(main, [*command[:-2], "--out", paths[1], "--overwrite"])
    assert refused.exit_code == 1 and lux.load_model(paths[1]) == small_model
