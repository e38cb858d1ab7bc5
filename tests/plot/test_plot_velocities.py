"""Velocities and their errors against S/N, in Python and by `luxscale plot --velocities`."""

import numpy as np
import pytest
import xarray as xr
from click.testing import CliRunner
from distorted import make_model, observe

import luxscale as lux
from luxscale import plot, store
from luxscale.cli import main
from luxscale.errors import InputError
from luxscale.model.nuisances import Nuisances

N_STARS = 400
N_FAR = 10


@pytest.fixture(scope="module")
def stars():
    """A survey of noisy and quiet stars, their velocities, of which the first are far, and S/N."""
    velocity = np.random.default_rng(1).normal(0, 5, N_STARS)
    velocity[:N_FAR] = 17.0
    half = N_STARS // 2
    parts = [
        observe(half, velocity=part, snr=snr, seed=int(snr))[0]
        for part, snr in zip(np.split(velocity, 2), (20.0, 100.0), strict=True)
    ]
    snr = np.repeat([20.0, 100.0], half) + np.tile(np.linspace(-1, 1, half), 2)
    flux, ivar = (np.concatenate([p[n].values for p in parts]) for n in ("flux", "flux_ivar"))
    survey = observe(N_STARS)[0].assign(
        flux=(("star", "wavelength"), flux),
        flux_ivar=(("star", "wavelength"), ivar),
        snr=("star", snr),
    )
    return survey, velocity, snr


@pytest.fixture(scope="module")
def catalog(stars):
    return lux.infer(stars[0], make_model(Nuisances(velocity=5.0)))


def test_medians_scatter_and_what_is_beyond(stars, catalog):
    _, velocity, snr = stars
    left, right = plot.velocities(catalog, snr, velocity, bins=2)
    n_beyond = int((catalog.flags.values & (1 << 10) != 0).sum())
    assert n_beyond >= N_FAR
    assert left.get_title() == f"{n_beyond} of 400 stars beyond the prior"
    x, middle = left.lines[0].get_data()
    np.testing.assert_allclose(x, [20, 100], atol=1)
    error, scatter = (line.get_ydata() for line in right.lines)
    expected = [
        np.median(catalog.velocity_err.values[N_FAR:][np.abs(snr[N_FAR:] - s) < 2]) for s in x
    ]
    np.testing.assert_allclose(error, expected, rtol=0.02)
    np.testing.assert_allclose(scatter, error, rtol=0.2)
    assert (np.abs(middle) < 3 * error / np.sqrt(150)).all()
    assert right.get_ylim()[1] > max(scatter)
    _, alone = plot.velocities(catalog, snr, bins=2)
    assert (alone.lines[1].get_ydata() > 4).all()  # that of the stars


def test_values_that_name_their_stars_are_of_these(stars, catalog):
    snr = xr.DataArray(np.asarray(stars[2]), {"star": catalog.star.values}, ("star",))
    expected = plot.velocities(catalog, stars[2], np.arange(N_STARS))
    others = snr.assign_coords(star=[f"x{i}" for i in range(N_STARS)])
    both = xr.concat([snr[::-1], others], "star")
    truth = snr.copy(data=np.arange(N_STARS))[::-1]
    found = plot.velocities(catalog, both, truth)
    for ours, theirs in zip(found, expected, strict=True):
        for line, other in zip(ours.lines, theirs.lines, strict=True):
            np.testing.assert_array_equal(line.get_xydata(), other.get_xydata())
    with pytest.raises(InputError, match="snr has no star .*, and 99 more of the catalogue"):
        plot.velocities(catalog, snr[100:])


def test_what_has_no_velocities_is_refused(stars, catalog):
    snr = stars[2]
    with pytest.raises(InputError, match=r"no 'velocity_err'; train with --nuisance velocity:"):
        plot.velocities(catalog.drop_vars("velocity_err"), snr)
    with pytest.raises(InputError, match="snr has 3 values, the catalogue 400 stars"):
        plot.velocities(catalog, snr[:3])
    with pytest.raises(InputError, match="truth has 3 values"):
        plot.velocities(catalog, snr, snr[:3])
    with pytest.raises(InputError, match="1 axes for 2 labels"):
        plot.velocities(catalog, snr, axes=[None])


def test_the_command(stars, catalog, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    survey = stars[0]
    store.write_dataset(survey, "survey.zarr")
    store.write_dataset(survey.drop_vars("snr"), "without.zarr")
    done = catalog.assign(status=("star", np.ones(N_STARS, np.uint8)))
    store.write_dataset(done.isel(star=slice(0, 300)), "catalog.zarr")
    store.write_dataset(done.drop_vars(["velocity", "velocity_err"]), "other.zarr")

    def run(*arguments, expect=0):
        result = CliRunner().invoke(main, ["plot", *arguments, "--velocities"])
        assert result.exit_code == expect, result.output
        return result.output

    assert run("survey.zarr", "--catalog", "catalog.zarr") == "velocities.png\n"
    assert (tmp_path / "velocities.png").stat().st_size > 10_000
    assert "a figure is there already" in run("survey.zarr", "--catalog", "catalog.zarr", expect=1)
    out = ("--out", "v.png")
    shown = run("survey.zarr", "--catalog", "other.zarr", *out, expect=1)
    assert "other.zarr: the catalogue has no 'velocity'; train with" in shown
    shown = run("without.zarr", "--catalog", "catalog.zarr", *out, expect=1)
    assert "without.zarr: has no variable 'snr'" in shown
    assert "name it with --catalog" in run("survey.zarr", expect=2)
    for more in (["--model", "m.zarr"], ["--range", "1:2"], ["--output", "x"], ["s0001"]):
        assert "draws no spectra" in run(
            "survey.zarr", *more, "--catalog", "catalog.zarr", expect=2
        )
    assert sorted(p.name for p in tmp_path.glob("*.png")) == ["velocities.png"]
