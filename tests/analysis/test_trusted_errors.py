"""Errors of trusted labels that are too large are said to be, and right ones are not."""

import numpy as np
import pytest
import xarray as xr
from click.testing import CliRunner

import luxscale as lux
from luxscale import store
from luxscale.analysis.trusted_errors import advise_on_truth
from luxscale.cli import main


def draw(n, given, *, seed=0):
    """Pairs of labels with right errors, but trusted ones that are ``given`` times too large."""
    rng = np.random.default_rng(seed)
    err, truth_err = rng.uniform(5, 60, (n, 2)), 20.0
    miss = np.hypot(err, truth_err) * rng.normal(size=(n, 2))
    columns = {
        "inferred": miss,
        "inferred_err": err,
        "truth": 0 * miss,
        "truth_err": truth_err * np.broadcast_to([given, 1.0], miss.shape),
    }
    coords = {"label": np.array(["teff", "logg"], object)}
    return xr.Dataset({k: (("star", "label"), v) for k, v in columns.items()}, coords)


@pytest.mark.parametrize("n", [400, 4000])
def test_errors_that_are_too_large_are_said(n):
    (line,) = advise_on_truth(draw(n, 2.5))
    assert "overestimated" in line and "(teff 0." in line and "logg" not in line


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("given", [0.5, 1.0])
def test_nothing_is_said_of_right_or_too_small_errors(given, seed):
    assert advise_on_truth(draw(800, given, seed=seed)) == []


def test_few_stars_or_missing_errors_say_nothing():
    assert advise_on_truth(draw(100, 5.0)) == []
    pairs = draw(800, 5.0)
    pairs["truth_err"].values[:] = 0
    assert advise_on_truth(pairs) == []
    pairs["truth_err"].values[:] = np.nan
    assert advise_on_truth(pairs) == []


def test_validate_says_so(small_model, held_out, tmp_path):
    paths = [str(tmp_path / name) for name in ("c.zarr", "s.zarr")]
    survey = held_out.drop_vars("label_true")
    wide = survey.assign(label_err=10 * survey.label_err)
    store.write_dataset(survey, paths[1])
    small_model.save(tmp_path / "m.zarr")
    lux.label_survey(paths[1], str(tmp_path / "m.zarr"), paths[0], progress=False)
    runner = CliRunner()
    assert "look overestimated" not in runner.invoke(main, ["validate", *paths]).output
    store.write_dataset(wide, paths[1], overwrite=True)
    result = runner.invoke(main, ["validate", *paths])
    assert result.exit_code == 0
    assert "errors of the trusted labels look overestimated" in result.output
