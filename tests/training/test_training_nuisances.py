"""Training with nuisances: the model has them, and they are used on the stars of each fold."""

import json

import numpy as np
import pytest
import xarray as xr
from click.testing import CliRunner
from distorted import GRID, N_PIXELS, make_model, observe

import luxscale as lux
from luxscale import store
from luxscale.cli import main
from luxscale.errors import InputError
from luxscale.model.nuisances import Nuisances

TEXT = "velocity:5km/s,continuum:1"


@pytest.fixture(scope="module")
def survey():
    """200 stars at rest, with labels."""
    stars, z = observe(200, seed=20)
    model = make_model()
    rng = np.random.default_rng(21)
    err = np.array([20.0, 0.05, 0.02])
    value = model["label_value"].map(z) + err * rng.normal(size=(200, 3))
    return stars.assign(
        label_value=(("star", "label"), value),
        label_err=(("star", "label"), np.broadcast_to(err, value.shape).copy()),
    ).assign_coords(
        label=("label", np.array(model["label_value"].coord, object)),
        label_units=("label", np.array(["K", "dex", "dex"], object)),
    )


@pytest.fixture(scope="module")
def model(survey):
    """Trained with a velocity and a continuum."""
    return lux.train(survey, 6, nuisance=TEXT, folds=3, progress=False)


def test_the_model_is_that_without_them_but_for_what_is_measured(survey, model):
    plain = lux.train(survey, 6, folds=3, progress=False)
    assert model["flux"].nuisances == Nuisances(velocity=5.0, continuum=(1, 0.05))
    np.testing.assert_array_equal(model["flux"].map.weights, plain["flux"].map.weights)
    assert model.limits != plain.limits
    assert np.isfinite(model.limits).all()
    pulls = [record["pull"] for record in model.held_out]
    assert all(0.8 < pull < 1.2 for pull in pulls)


def test_shifted_stars_are_labelled_in_memory_and_by_a_run(survey, model, tmp_path):
    velocity = np.linspace(-8, 8, 60)
    stars, z = observe(60, velocity=velocity, tilt=0.02, seed=22)
    catalog = lux.infer(stars, model)
    pull = (catalog.velocity - velocity) / catalog.velocity_err
    # the model's own lines are known to a few hundred spectra
    assert float(pull.std()) < 1.5
    true = make_model()["label_value"].map(z)
    label_pull = ((catalog.label_value - true) / catalog.label_err).values
    assert (np.sqrt((label_pull**2).mean(0)) < 1.3).all()
    assert catalog.velocity.attrs["units"] == "km/s"
    store.write_dataset(stars, tmp_path / "s.zarr", chunk=25)
    model.save(tmp_path / "m.zarr")
    lux.label_survey(tmp_path / "s.zarr", tmp_path / "m.zarr", tmp_path / "c.zarr", progress=False)
    written = xr.open_zarr(tmp_path / "c.zarr", consolidated=False).compute()
    for name in ("label_value", "velocity", "velocity_err", "continuum_1", "flags"):
        np.testing.assert_array_equal(written[name], catalog[name])
    table = lux.to_table(tmp_path / "c.zarr")
    assert {"velocity", "velocity_err", "continuum_0"} <= set(table.colnames)
    assert str(table["velocity"].unit) == "km / s"


def test_training_goes_on_with_them(survey, model):
    again = lux.train(survey, initial=model, progress=False, iterations=1, folds=1)
    assert again["flux"].nuisances == model["flux"].nuisances
    other = lux.train(
        survey, initial=model, nuisance="continuum:0", progress=False, iterations=1, folds=1
    )
    assert other["flux"].nuisances == Nuisances(continuum=(0, 0.05))


def test_the_recipe_is_linear_unless_named(survey):
    model = lux.train(survey, nuisance="continuum:0", folds=1, progress=False)
    assert json.loads(model.provenance.settings)["recipe"] == "linear"
    with pytest.raises(InputError, match="linear models only, and method 'curved' makes others"):
        lux.train(survey, recipe="curved", nuisance="continuum:0", progress=False)
    with pytest.raises(InputError, match="linear models only, and method 'cannon'"):
        lux.train(survey, method="cannon", nuisance="continuum:0", progress=False)


def test_there_has_to_be_one_spectrum(survey):
    with pytest.raises(InputError, match="of one spectrum, and the outputs have none"):
        lux.train(survey, 3, outputs=["label_value"], nuisance="continuum:0", progress=False)


def test_the_command_takes_templates_and_shows_them(survey, tmp_path):
    path = tmp_path / "templates.npz"
    np.savez(path, wavelength=GRID, ripple=0.02 * np.sin(np.arange(N_PIXELS) / 7))
    store.write_dataset(survey, tmp_path / "s.zarr")
    command = ["train", str(tmp_path / "s.zarr"), "--out", str(tmp_path / "m.zarr")]
    options = ["--latent-dim", "6", "--folds", "1", "--nuisance", f"continuum:1,{path}", "--quiet"]
    done = CliRunner().invoke(main, command + options)
    assert done.exit_code == 0, done.output
    shown = CliRunner().invoke(main, ["info", str(tmp_path / "m.zarr")])
    assert "continuum of degree 1 within 0.05; templates ripple" in " ".join(shown.output.split())
    refused = CliRunner().invoke(main, [*command, "--nuisance", "speed:3", "--overwrite"])
    assert refused.exit_code == 1
    assert "nuisance 'speed:3' is unknown" in refused.output
