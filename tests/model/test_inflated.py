"""Factors on formal errors: in errors and covariances, in the file, and none beyond the prior."""

import dataclasses

import numpy as np
import pytest

import luxscale as lux
from luxscale.analysis.formal_errors import expected_errors
from luxscale.info.describe import describe
from luxscale.model.calibration import Curve, make_constants
from luxscale.model.designs import make_head
from luxscale.model.file import FORMAT_VERSION, from_dataset

FACTORS = (1.0, 1.5, 2.0, 1.2)
RISING = Curve((0.01, 1.0), (1.1, 2.0))


@pytest.fixture(scope="module")
def inflated(small_model):
    return inflate(small_model, make_constants(FACTORS))


def inflate(model, factors):
    label = dataclasses.replace(model["label_value"], inflation=factors)
    return dataclasses.replace(model, outputs=(label, model["flux"]))


@pytest.fixture(scope="module")
def rising(small_model):
    return inflate(small_model, (*make_constants(FACTORS[:3]), RISING))


def infer_errors(survey, model):
    catalog = lux.infer(survey, model, covariance=True)
    return catalog["label_err"].values, catalog["label_cov"].values


def test_errors_and_covariances_have_the_factors_and_floors(inflated, small_model, held_out):
    floor2 = np.square(small_model["label_value"].floor)
    before, cov = infer_errors(held_out, small_model)
    after, widened = infer_errors(held_out, inflated)
    expected = (before**2 - floor2) * np.square(FACTORS) + floor2
    np.testing.assert_allclose(after**2, expected, rtol=1e-6)
    factors = np.outer(FACTORS, FACTORS)
    off = ~np.eye(4, dtype=bool)
    np.testing.assert_allclose(widened[:, off], (cov * factors)[:, off], rtol=1e-6)
    np.testing.assert_allclose(np.diagonal(widened, axis1=1, axis2=2), after**2, rtol=1e-6)
    # of a label whose factor is 1, in every bit
    assert (after[:, 0] == before[:, 0]).all()


def test_a_star_without_data_has_the_error_of_the_prior(inflated, small_model, held_out):
    empty = held_out.isel(star=slice(0, 3)).copy(deep=True)
    empty["flux_ivar"].values[:] = 0
    np.testing.assert_allclose(
        infer_errors(empty, inflated)[0], infer_errors(empty, small_model)[0], rtol=1e-5
    )


def test_expected_errors_are_those_of_catalogues(inflated, held_out):
    stars = held_out.isel(star=slice(0, 50))
    expected = expected_errors(inflated, stars["flux_ivar"], floor=True)["posterior"]
    np.testing.assert_allclose(expected, infer_errors(stars, inflated)[0], rtol=1e-3)


def test_factors_survive_the_file_and_are_shown(inflated, small_model, tmp_path):
    inflated.save(tmp_path / "m.zarr")
    loaded = lux.load_model(tmp_path / "m.zarr")
    assert loaded == inflated
    assert loaded != small_model
    assert loaded["label_value"].inflation == make_constants(FACTORS)
    facts = describe(tmp_path / "m.zarr")["label_value"]
    assert facts["inflation"] == list(FACTORS)
    np.testing.assert_allclose(facts["misfit"], inflated["label_value"].floor, rtol=1e-3)


def test_factors_that_depend_on_the_formal_error(rising, inflated, small_model, held_out):
    bare = dataclasses.replace(small_model["label_value"], floor=np.zeros(4))
    plain = dataclasses.replace(small_model, outputs=(bare, small_model["flux"]))
    formal = infer_errors(held_out, plain)[0][:, 3]
    after, widened = infer_errors(held_out, rising)
    factor = 1.1 * (formal / 0.01) ** (np.log(2 / 1.1) / np.log(100))
    known = (formal > 0.01) & (factor * formal < 0.9 * make_head(bare).spread[3])
    assert known.mean() > 0.5
    expected = np.hypot(factor * formal, small_model["label_value"].floor[3])
    np.testing.assert_allclose(after[known, 3], expected[known], rtol=1e-5)
    np.testing.assert_allclose(np.diagonal(widened, axis1=1, axis2=2), after**2, rtol=1e-6)
    assert (after[:, :3] == infer_errors(held_out, inflated)[0][:, :3]).all()


def test_a_file_keeps_factors_that_vary_and_info_shows_them(rising, inflated, tmp_path):
    rising.save(tmp_path / "m.zarr")
    loaded = lux.load_model(tmp_path / "m.zarr")
    assert loaded == rising != inflated
    assert loaded["label_value"].inflation == rising["label_value"].inflation
    facts = describe(tmp_path / "m.zarr")["label_value"]
    assert facts["inflation"] == [*FACTORS[:3], [1.1, 2.0]]


def test_models_with_factors_keep_the_fingerprint_that_numbers_gave(inflated):
    described = inflated["label_value"].identity
    assert described[-4:] == FACTORS


def test_readers_that_know_no_factors_refuse_them(inflated, rising, small_model):
    dataset = inflated.to_dataset()
    assert dataset.attrs["format_version"] == 2
    assert rising.to_dataset().attrs["format_version"] == 5 < FORMAT_VERSION
    assert dataset["label_value_inflation"].dims == ("label",)
    plain = small_model.to_dataset()
    assert plain.attrs["format_version"] == 1
    assert "label_value_inflation" not in plain
    assert from_dataset(plain)["label_value"].inflation == ()


def test_a_factor_below_one_is_one_without_data(small_model, held_out):
    """As of the mean of an ensemble, which misses by less than its members."""
    small = inflate(small_model, make_constants([0.8] * 4))
    floor2 = np.square(small_model["label_value"].floor)
    before, _ = infer_errors(held_out, small_model)
    after, _ = infer_errors(held_out, small)
    head = make_head(small["label_value"])
    remaining = (before**2 - floor2) / head.spread**2
    expected = (0.64 + 0.36 * remaining) * remaining * head.spread**2 + floor2
    np.testing.assert_allclose(after**2, expected, rtol=1e-6)
    formal = np.sqrt(before**2 - floor2)
    np.testing.assert_allclose(head.find_formal(after), formal, rtol=1e-2)
    empty = held_out.isel(star=slice(0, 3)).copy(deep=True)
    empty["flux_ivar"].values[:] = 0
    np.testing.assert_allclose(
        infer_errors(empty, small)[0], infer_errors(empty, small_model)[0], rtol=1e-3
    )


def test_formal_errors_that_exceed_the_spread_are_found(small_model):
    """As of an ensemble, whose errors hold what members differ by."""
    head = make_head(inflate(small_model, make_constants([0.8] * 4))["label_value"])
    formal = np.array([0.9, 1.1, 3.0, 40.0])[:, None] * head.spread
    error = head.find_error((formal / head.spread) ** 2)
    np.testing.assert_allclose(head.find_formal(error), formal, rtol=1e-5)
