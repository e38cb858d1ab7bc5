"""Training goes on from a model: as if it had not stopped, and with labels and outputs added."""

import dataclasses
import json

import numpy as np
import pytest
import xarray as xr
from simulated_curves import SPREAD, make_survey

import luxscale as lux
from luxscale.errors import InputError, Interrupted
from luxscale.training import checkpoint, curved
from luxscale.training.checkpoint import Checkpoint

P = 4
CURVED = {"latent_dim": 4, "quadratic": 4, "components": 12, "gaussians": 6, "iterations": 10}


def fit(survey, latent_dim=None, **settings):
    return lux.train(survey, latent_dim, progress=False, **{"folds": 1, **settings})


@pytest.fixture(scope="module")
def stars(world):
    return world.survey(300, seed=1)


@pytest.fixture(scope="module")
def others(world):
    return world.survey(400, seed=2)


@pytest.fixture(scope="module")
def model(stars):
    return fit(stars, P, iterations=6)


def interrupt(monkeypatch, survey, done, path, **settings):
    """Train until Ctrl-C comes after an iteration; return what is said."""
    report = Checkpoint.__call__

    def stop(self, iteration, *rest):
        report(self, iteration, *rest)
        if iteration + 1 == done:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Checkpoint, "__call__", stop)
        with pytest.raises(Interrupted) as stopped:
            fit(survey, checkpoint=path, **settings)
    return str(stopped.value)


def assert_like(one, other, tolerance):
    """Check that two models are the same, in units of the spread of what they predict."""
    for ours, theirs in zip(one.outputs, other.outputs, strict=True):
        scale = np.asarray(ours.scale)
        pairs = [
            (ours.map.weights.T, theirs.map.weights.T),
            (ours.map.offset, theirs.map.offset),
            (ours.scatter, theirs.scatter),
        ]
        for x, y in pairs:
            np.testing.assert_allclose(x / scale, y / scale, rtol=0, atol=tolerance)


def rmse(model, survey):
    difference = lux.infer(survey, model).label_value.values - survey.label_true.values
    return np.sqrt((difference**2).mean(0))


@pytest.mark.parametrize("done", [1, 4])
def test_an_interrupted_training_goes_on_as_if_it_had_not_stopped(
    done, stars, monkeypatch, tmp_path
):
    settings = {"latent_dim": P, "iterations": 9, "tolerance": 0}
    whole = fit(stars, **settings)
    said = interrupt(monkeypatch, stars, done, tmp_path / "part.zarr", **settings)
    assert said == (
        f"stopped after iteration {done} of at most 9; its model is in {tmp_path}/part.zarr, and "
        f"training goes on from it with --initial {tmp_path}/part.zarr (initial=)"
    )
    kept = lux.load_model(tmp_path / "part.zarr")
    assert json.loads(kept.provenance.settings)["interrupted_after"] == done
    assert len(kept.objective) == done
    gone_on = fit(stars, initial=tmp_path / "part.zarr", tolerance=0)
    record = json.loads(gone_on.provenance.settings)
    assert record["initial"] == kept.fingerprint and "interrupted_after" not in record
    np.testing.assert_allclose(gone_on.objective, whole.objective, rtol=1e-6)
    assert_like(gone_on, whole, 1e-4)


def test_an_interrupted_training_is_refined_when_it_goes_on(monkeypatch, tmp_path):
    path, survey = tmp_path / "part.zarr", make_survey(200)
    interrupt(monkeypatch, survey, 7, path, method="curved", **{**CURVED, "refine": 3})
    record = json.loads(fit(survey, initial=path).provenance.settings)
    # stars left out want it, or not
    assert record.get("refine_tried", record["refine"]) == 3


@pytest.mark.parametrize("method", ["marginal", "alternating"])
def test_iterations_are_those_that_were_asked_for_however_often_it_is_stopped(
    method, stars, monkeypatch, tmp_path
):
    path = tmp_path / "part.zarr"
    asked = {"method": method, "latent_dim": P, "iterations": 7}
    whole = fit(stars, **asked, tolerance=0)
    interrupt(monkeypatch, stars, 2, path, **asked, tolerance=0)
    for done in (4, 5):
        interrupt(monkeypatch, stars, done, path, initial=path, tolerance=0)
    gone_on = fit(stars, initial=path, tolerance=0)
    assert len(gone_on.objective) == len(whole.objective)
    # of a model that was finished, too
    interrupt(monkeypatch, stars, len(whole.objective) + 1, path, initial=whole, tolerance=0)
    kept = json.loads(lux.load_model(path).provenance.settings)
    assert kept["interrupted_after"] == 1


def test_a_mixture_is_gone_on_from_after_few_iterations_on_other_stars(monkeypatch):
    first = fit(make_survey(200), method="curved", **{**CURVED, "iterations": 7})
    few = fit(make_survey(200, seed=2), initial=first, iterations=1)
    assert len(few.objective) == 1

    def begin_anew(state):
        raise AssertionError("the latents are brought to another prior")

    monkeypatch.setattr(curved, "standardise", begin_anew)
    more = fit(make_survey(200, seed=3), initial=few, iterations=1)
    assert not more.prior.is_gaussian


@pytest.mark.parametrize("method", ["marginal", "alternating"])
def test_the_objective_does_not_fall_where_a_training_goes_on(method, stars):
    first = fit(stars, P, method=method, iterations=4)
    more = fit(stars, initial=first, iterations=4, tolerance=0)
    assert more.provenance.method == method
    np.testing.assert_array_equal(more.objective[: len(first.objective)], first.objective)
    before, after = more.objective[len(first.objective) - 1 :][:2]
    assert after >= before - 1e-4 * abs(before)


def test_other_stars_are_taken_up_from_a_model(model, others, world):
    left_out = world.survey(400, seed=3, missing_labels=0)
    more = fit(others, initial=model, iterations=6)
    anew = fit(others, P)
    assert len(more.objective) <= 6 and more.provenance.n_stars == 400
    # what the first model has seen, the second has
    assert len(more.training_stars) == len(model.training_stars) + len(anew.training_stars)
    assert (rmse(more, left_out) < 1.02 * rmse(anew, left_out)).all()


def test_a_label_is_added_to_a_model(stars, others):
    few = fit(stars.sel(label=["logg", "teff", "fe_h"]), P)
    more = fit(stars, initial=few, iterations=10)
    anew = fit(stars, P)
    assert more["label_value"].coord == ("teff", "logg", "fe_h", "mg_fe")
    np.testing.assert_allclose(rmse(more, others), rmse(anew, others), rtol=0.03)


@pytest.mark.slow
def test_an_output_is_added_to_a_model(model, stars):
    colours = stars.flux.values[:, :3] @ np.array([[1, 0.2], [0.4, 1], [0.1, 0.7]])
    noise = 0.01 * np.random.default_rng(0).standard_normal(colours.shape)
    names = ("star", "band")
    survey = stars.assign(
        mag_value=(names, colours + noise), mag_err=(names, np.full(colours.shape, 0.01))
    )
    survey = survey.assign_coords(band=["g", "r"], band_units=("band", ["mag", "mag"]))
    survey["mag_value"].attrs["role"] = "bands"
    wide = survey.isel(wavelength=slice(3, None))
    first = fit(wide, P, outputs=["flux", "label_value"])
    more = fit(wide, initial=first, iterations=8)
    anew = fit(wide, P)
    assert {"flux", "label_value", "mag_value"} == set(more)
    ours, theirs = (np.asarray(m["mag_value"].map(np.zeros((1, P)))) for m in (more, anew))
    np.testing.assert_allclose(ours, theirs, atol=0.01)
    np.testing.assert_allclose(more["mag_value"].scatter, anew["mag_value"].scatter, atol=0.01)


@pytest.mark.slow
def test_a_curved_training_goes_on_from_where_it_was_stopped(monkeypatch, tmp_path):
    survey, left_out = make_survey(400), make_survey(200, seed=1)
    path = tmp_path / "part.zarr"
    whole = fit(survey, method="curved", **CURVED)
    for done in (3, 8):
        said = interrupt(monkeypatch, survey, done, path, method="curved", **CURVED)
        assert f"after iteration {done} of at most 10" in said
        gone_on = fit(survey, initial=path)
        assert len(gone_on.objective) == 10
        ours, theirs = (rmse(m, left_out) / SPREAD for m in (gone_on, whole))
        assert (ours < 1.05 * theirs).all(), (ours, theirs)


@pytest.mark.slow
def test_a_label_is_added_to_a_curved_model():
    survey, left_out = make_survey(400), make_survey(200, seed=1)
    names = survey.label.values.tolist()
    first = fit(survey.sel(label=names[:-1]), method="curved", **CURVED)
    more = fit(survey, initial=first, iterations=5)
    anew = fit(survey, method="curved", **CURVED)
    ours, theirs = (rmse(m, left_out) / SPREAD for m in (more, anew))
    assert (ours < 1.05 * theirs).all(), (ours, theirs)


def test_a_checkpoint_is_written_now_and_then(stars, monkeypatch, tmp_path):
    monkeypatch.setattr(checkpoint, "_EVERY", 0.0)
    fit(stars, P, iterations=2, checkpoint=tmp_path / "part.zarr")
    kept = lux.load_model(tmp_path / "part.zarr")
    assert json.loads(kept.provenance.settings)["interrupted_after"] == 2
    assert rmse(kept, stars).shape == (4,)


def test_what_is_no_checkpoint_is_not_overwritten(model, stars, tmp_path):
    model.save(tmp_path / "model.zarr")
    with pytest.raises(InputError, match="finished training is there; choose another path"):
        fit(stars, P, checkpoint=tmp_path / "model.zarr")


def test_without_a_checkpoint_it_is_said_that_nothing_is_kept(stars, monkeypatch):
    said = interrupt(monkeypatch, stars, 2, None, latent_dim=P)
    assert said.startswith("stopped after iteration 2 of at most 30; nothing is kept")


def rescale(survey):
    return survey.assign_coords(wavelength=survey.wavelength.assign_attrs(units="Angstrom") + 1.0)


def in_dwarfs(survey):
    units = survey.label_units.values.copy()
    units[0] = "kK"
    return survey.assign_coords(label_units=("label", units))


@pytest.mark.parametrize(
    ("change", "settings", "message"),
    [
        (rescale, {}, "another grid than initial: 40 pixels from .* here, .* there; resample"),
        (lambda s: s.isel(wavelength=slice(1, None)), {}, "39 pixels .* here, 40 pixels"),
        (lambda s: s.sel(label=["teff", "fe_h"]), {}, "lacks logg, mg_fe, which initial has; add"),
        (in_dwarfs, {}, "teff is in 'kK' here and in 'K' in initial; convert"),
        (lambda s: s, {"outputs": ["flux"]}, "initial has the output 'label_value'"),
        (lambda s: s, {"windows": {"teff": [(0, 1e9)]}}, "those of initial are {}; leave them out"),
        (lambda s: s, {"latent_dim": 3}, "latent_dim=3, and initial has 4 latents; leave it out"),
        (lambda s: s, {"method": "curved"}, "initial was trained with 'marginal'; leave method"),
        (lambda s: s, {"recipe": "linear"}, "initial has a recipe already; leave one of them out"),
        (lambda s: s, {"quadratic": 3}, "has no setting 'quadratic'"),
        (lambda s: s, {"initial": 3}, "model is a int, not a LuxModel"),
    ],
)
def test_what_does_not_go_with_the_model_is_refused_by_name(
    change, settings, message, model, stars
):
    with pytest.raises(InputError, match=message):
        fit(change(stars), **{"initial": model, **settings})


def test_sizes_of_a_curved_model_stay(curved_model, stars):
    cannon = fit(stars, method="cannon")
    with pytest.raises(InputError, match="found in one go and not improved upon"):
        fit(stars, initial=cannon)
    survey = make_survey(200)
    first = fit(survey, method="curved", **{**CURVED, "iterations": 2})
    with pytest.raises(InputError, match="quadratic=2, and initial was trained with 4"):
        fit(survey, initial=first, quadratic=2)


def test_windows_stay_those_of_the_model(stars):
    windows = {"teff": [(float(stars.wavelength[0]), float(stars.wavelength[20]))]}
    first = fit(stars, P, windows=windows, iterations=2)
    more = fit(stars, initial=first, iterations=2)
    assert more["label_value"].windows == first["label_value"].windows
    again = fit(stars, initial=first, iterations=2, windows=windows)
    xr.testing.assert_identical(again.to_dataset(), more.to_dataset())


def test_what_is_not_given_is_as_the_model_has_it(model, stars):
    record = json.loads(model.provenance.settings)
    known = {"recipe": "linear", "compared": {"linear": 0.5}, "label_clip": 8.0, "folds": 2}
    provenance = dataclasses.replace(
        model.provenance, settings=json.dumps({**record, **known}, sort_keys=True)
    )
    initial = dataclasses.replace(model, provenance=provenance)
    more = lux.train(stars, initial=initial, iterations=1, progress=False)
    gone_on = json.loads(more.provenance.settings)
    assert {name: gone_on[name] for name in known} == known
    given = fit(stars, initial=initial, iterations=1, label_clip=7.0)
    assert json.loads(given.provenance.settings)["label_clip"] == 7
