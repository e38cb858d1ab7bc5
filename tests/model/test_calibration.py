"""Calibrated errors: curves are monotone, and a model's file keeps them to the last bit."""

import dataclasses
import json

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

import luxscale as lux
from luxscale import store
from luxscale.cli import main
from luxscale.errors import InputError
from luxscale.export.layout import _describe_provenance
from luxscale.model.calibration import Calibration, Curve
from luxscale.model.designs import make_head
from luxscale.model.file import from_dataset
from luxscale.schema.attributes import unpack_attribute


def put(model, calibration):
    outputs = [
        dataclasses.replace(o, calibration=calibration) if o.is_label else o for o in model.outputs
    ]
    return dataclasses.replace(model, outputs=tuple(outputs))


def calibrate(model, scale=1.5, floors=(40.0, 0.1, 0.05, 0.03)):
    """Return the model with constant scales and floors."""
    return put(
        model,
        Calibration(
            scale=(Curve((1.0,), (scale,)),) * 4,
            floor=tuple(Curve((1.0,), (floor,)) for floor in floors),
            record=json.dumps({"labels": [], "counts": {}}),
        ),
    )


@pytest.fixture(scope="module")
def survey(_held_out):
    return _held_out.isel(star=slice(0, 40))


def test_errors_are_those_of_scale_and_floor(small_model, survey):
    bare = dataclasses.replace(small_model["label_value"], floor=np.zeros(4), inflation=())
    formal = lux.infer(survey, put_label(small_model, bare)).label_err.values
    found = lux.infer(survey, calibrate(small_model)).label_err.values
    expected = np.hypot(1.5 * formal, [40.0, 0.1, 0.05, 0.03])
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_curved_models_have_calibrated_errors_too(curved_model, curved_survey):
    (label,) = curved_model.labels
    n, stars = len(label.coord), curved_survey.isel(star=slice(0, 40))
    bare = dataclasses.replace(label, floor=np.zeros(n), inflation=())
    formal = lux.infer(stars, put_label(curved_model, bare))
    calibrated = put(
        curved_model,
        Calibration(scale=(Curve((1.0,), (1.2,)),) * n, floor=(Curve((1.0,), (0.05,)),) * n),
    )
    found = lux.infer(stars, calibrated, covariance=True)
    known = formal.label_err.values < 0.7 * make_head(label).spread
    assert known.mean() > 0.8
    expected = np.hypot(1.2 * formal.label_err.values, 0.05)
    np.testing.assert_allclose(found.label_err.values[known], expected[known], rtol=1e-5)
    diagonal = np.diagonal(found.label_cov.values, axis1=1, axis2=2)
    np.testing.assert_allclose(np.sqrt(diagonal), found.label_err.values, rtol=1e-5)
    np.testing.assert_array_equal(found.label_value.values, formal.label_value.values)
    behind = make_head(calibrated.labels[0]).find_formal(found.label_err.values)
    np.testing.assert_allclose(behind[known], formal.label_err.values[known], rtol=5e-3)


def put_label(model, label):
    return dataclasses.replace(
        model, outputs=tuple(label if o.is_label else o for o in model.outputs)
    )


def test_covariances_have_the_errors_on_their_diagonal(small_model, survey):
    found = lux.infer(survey, calibrate(small_model), covariance=True)
    diagonal = np.diagonal(found.label_cov.values, axis1=1, axis2=2)
    np.testing.assert_allclose(np.sqrt(diagonal), found.label_err.values, rtol=1e-6)


def test_labels_latents_and_chi2_stay(small_model, survey):
    before, after = lux.infer(survey, small_model), lux.infer(survey, calibrate(small_model))
    for name in ("label_value", "latent", "chi2"):
        np.testing.assert_array_equal(before[name].values, after[name].values)


def test_a_star_without_data_has_the_error_of_the_prior(small_model, survey):
    blind = survey.assign(flux_ivar=0 * survey.flux_ivar)
    spread = make_head(small_model["label_value"]).spread
    found = lux.infer(blind, calibrate(small_model, 3.0, floors=(0.0,) * 4)).label_err.values
    np.testing.assert_allclose(found, np.broadcast_to(spread, found.shape), rtol=1e-5)


def test_formal_errors_are_found_behind_calibrated_ones(small_model):
    head = make_head(calibrate(small_model)["label_value"])
    formal = np.geomspace(0.02, 0.5, 7)[:, None] * head.spread
    error = head.find_error((formal / head.spread) ** 2)
    np.testing.assert_allclose(head.find_formal(error), formal, rtol=2e-3)
    plain = make_head(small_model["label_value"])
    error = plain.find_error((formal / plain.spread) ** 2)
    np.testing.assert_allclose(plain.find_formal(error), formal, rtol=1e-6)


@given(st.integers(2, 5), st.integers(0, 10_000))
def test_a_curve_rises_where_its_knots_do(n, seed):
    rng = np.random.default_rng(seed)
    at = np.cumsum(rng.uniform(0.1, 1, n))
    rising = np.sort(rng.uniform(0.1, 2, n))
    curve = Curve(tuple(at), tuple(rising))
    formal = np.geomspace(at[0] / 10, at[-1] * 10, 400)
    assert (np.diff(curve(formal)) >= -1e-12).all()
    np.testing.assert_allclose(curve(at), rising)
    np.testing.assert_allclose(curve(formal)[[0, -1]], rising[[0, -1]])
    # a scale may fall, but its product with the formal error rises if that of the knots does
    scale = Curve(tuple(at), tuple(rising / at))
    assert (np.diff(scale.scale_by(formal) * formal) >= -1e-9).all()
    np.testing.assert_allclose(scale.scale_by(at), rising / at)


def test_a_file_keeps_a_calibration_to_the_last_bit(small_model, tmp_path):
    model = put(
        small_model,
        Calibration(
            scale=(Curve((0.1, 1 / 3, 7.0), (1.0, 1.1, 1.7)),) * 4,
            floor=(Curve((0.7,), (0.1,)),) * 4,
            record=json.dumps({"labels": [], "counts": {}}),
        ),
    )
    model.save(tmp_path / "model.zarr")
    read = lux.load_model(tmp_path / "model.zarr")
    assert read == model and read["label_value"].calibration == model["label_value"].calibration
    assert read != small_model and lux.remove_calibration(read) == small_model
    assert lux.remove_calibration(small_model).fingerprint == small_model.fingerprint
    dataset = model.to_dataset()
    assert dataset.attrs["format_version"] == 4
    assert small_model.to_dataset().attrs["format_version"] < 4
    changed = json.loads(dataset.attrs["outputs"])
    next(o for o in changed if "calibration" in o)["calibration"]["floor"][0][1] = [0.2]
    with pytest.raises(InputError, match="do not match the model's fingerprint"):
        from_dataset(dataset.assign_attrs(outputs=json.dumps(changed)))


def test_a_catalogue_says_which_calibration_it_has_and_mixes_none(small_model, survey, tmp_path):
    paths = [str(tmp_path / f"{name}.zarr") for name in ("survey", "model", "catalog")]
    store.write_dataset(survey, paths[0], chunk=10)
    model = calibrate(small_model)
    model.save(paths[1])
    lux.label_survey(*paths, progress=False)
    version = model["label_value"].calibration.version
    found = store.open_dataset(paths[2])
    assert unpack_attribute(found.attrs["calibration"]) == {"label_value": version}
    np.testing.assert_array_equal(found.label_err, lux.infer(survey, model).label_err)
    told = CliRunner().invoke(main, ["info", paths[2]]).output
    assert f"{version}" in told and "calibration" in told
    assert version in _describe_provenance(found)["calibration"]
    assert (
        f"    version              {version}" in CliRunner().invoke(main, ["info", paths[1]]).output
    )
    assert "calibration" not in lux.infer(survey, small_model).attrs
    done = CliRunner().invoke(main, ["calibrate", paths[1], "--remove"])
    assert "the calibration is removed" in done.output
    assert lux.load_model(paths[1]) == small_model
    again = CliRunner().invoke(main, ["calibrate", paths[1], "--remove"])
    assert again.exit_code == 0 and "has no calibration" in again.output
    with pytest.raises(InputError, match="another model, or this one with another calibration of"):
        lux.label_survey(*paths, progress=False)
    lux.label_survey(*paths, relabel=True, progress=False)
    found = store.open_dataset(paths[2])
    np.testing.assert_array_equal(found.label_err, lux.infer(survey, small_model).label_err)
    model.save(paths[1], overwrite=True)
    with pytest.raises(
        InputError, match="another calibration: this model before its errors .*--relabel"
    ):
        lux.label_survey(*paths, progress=False)
