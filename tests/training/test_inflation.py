"""Formal errors that are too small get a factor where stars left out say so, and only there."""

import contextlib
import dataclasses
import io

import numpy as np
import pytest

import luxscale as lux
from luxscale.training.held_out import describe_inflation
from luxscale.training.inflation import measure_errors
from luxscale.training.left_out import Residuals


def draw_folds(factor, misfit, n=3000, seed=0, label_err=0.3, given=1.0):
    """Residuals in five folds, with heavy tails; formal errors from a quarter to four times 1.

    S/N falls as the first of these rises.

    factor, given : numbers, or functions of the formal error; the latter is by what label_err is
    too large.
    """
    rng = np.random.default_rng(seed)
    shape = (n, len(factor))
    formal = np.exp(rng.uniform(-1.4, 1.4, shape))
    heavy = rng.standard_t(10, shape) / 1.04
    columns = [f(x) if callable(f) else f for f, x in zip(factor, formal.T, strict=True)]
    drawn = np.stack(np.broadcast_arrays(*columns, formal[:, 0])[:-1], 1)
    sigma = np.sqrt((drawn * formal) ** 2 + np.square(misfit) + label_err**2)
    excess = given(formal) if callable(given) else given
    said = np.broadcast_to(excess * label_err, shape)
    drawn = (sigma * heavy, formal, said, 1 / formal[:, 0])
    return [Residuals(*(a[rows] for a in drawn)) for rows in np.array_split(np.arange(n), 5)]


def measure_pulls_by_signal(errors, folds):
    """Robust pulls of residuals in thirds of S/N, the faintest first: (third, label)."""
    stars = Residuals(*map(np.concatenate, zip(*folds, strict=True)))
    error = np.hypot(find_errors(errors, stars.formal), stars.label_err)
    pull = np.abs(stars.residual / error)
    thirds = np.array_split(np.argsort(stars.signal), 3)
    return np.array([1.4826 * np.median(pull[rows], axis=0) for rows in thirds])


def find_errors(errors, formal):
    """Errors of labels at formal errors, (star,) or (star, label): (star, label)."""
    formal = np.broadcast_to(formal.T, (len(errors.inflation), len(formal)))
    columns = [c.scale_by(f) * f for c, f in zip(errors.inflation, formal, strict=True)]
    return np.hypot(np.stack(columns, 1), errors.floor)


def test_factor_and_misfit_are_found():
    factor, misfit = np.array([1.5, 2.5]), np.array([0.5, 0.0])
    found = measure_errors(draw_folds(factor, misfit))
    assert all(curve.is_constant for curve in found.inflation)
    np.testing.assert_allclose([c.middle for c in found.inflation], factor, rtol=0.08)
    np.testing.assert_allclose(found.floor, misfit, atol=0.15)


def test_a_factor_that_rises_with_the_formal_error_is_found():
    def rise(formal):
        return 1.6 * formal**0.3

    errors = measure_errors(draw_folds([rise], 0.0, 4000, label_err=0.05))
    assert len(errors.inflation[0].at) == 3
    at = np.array([0.33, 0.6, 1.0, 2.0, 3.0])
    np.testing.assert_allclose(find_errors(errors, at)[:, 0], rise(at) * at, rtol=0.1)
    # beyond the stars that tell it the factor stays
    first, _, last = errors.inflation[0].value
    beyond = errors.inflation[0].scale_by(np.array([0.01, 50.0]))
    np.testing.assert_allclose(beyond, [first, last], rtol=1e-12)


def test_right_formal_errors_are_left_as_they_are():
    errors = measure_errors(draw_folds(np.array([1, 1]), [0.7, 0.1]))
    assert [curve.value for curve in errors.inflation] == [(1.0,), (1.0,)]
    assert (errors.floor == errors.misfit).all()


def test_formal_errors_of_an_ensemble_may_be_too_large():
    """But by no more than those of a mean are; those of one model are taken as they are."""
    folds = draw_folds(np.array([0.9, 0.5]), 0.0, label_err=0.05)
    alone, both = (measure_errors(folds, members) for members in (1, 2))
    assert [curve.middle for curve in alone.inflation] == [1, 1]
    assert both.inflation[0].middle == pytest.approx(0.9, abs=0.04)
    assert both.inflation[1].middle == pytest.approx((5 / 7) ** 0.5)


def test_errors_of_given_labels_are_taken_as_they_are():
    folds = draw_folds([1.2, 1.2], 0.0, 4000, label_err=0.6, given=2.0)
    # no error is below the formal one, though residuals ask for less; over half, they ask for more
    at = np.geomspace(0.3, 3.5, 5)
    errors = find_errors(measure_errors(folds), at)
    assert (errors >= at[:, None] * (1 - 1e-12)).all()
    halved = [part._replace(label_err=part.label_err / 2) for part in folds]
    right = find_errors(measure_errors(halved), at)
    np.testing.assert_allclose(right, np.broadcast_to(1.2 * at[:, None], (5, 2)), rtol=0.12)
    assert (right >= errors).all()


def test_errors_are_right_in_each_third_of_signal_to_noise():
    laws = [1.6, lambda formal: 1.6 * formal**0.3, 1.0]
    folds = draw_folds(laws, [0, 0, 0.7], 6000)
    known, others = folds[:3], folds[3:]  # errors are tried on stars that they were not found from
    pulls = measure_pulls_by_signal(measure_errors(known), others)
    np.testing.assert_allclose(pulls, 1, atol=0.1)


def test_given_errors_that_are_too_large_for_bright_stars_leave_faint_ones_their_factor():
    def exceed(formal):
        return np.where(formal < 0.8, 3.0, 1.0)

    def double_faint(formal):
        return np.where(formal > 1.3, 2.0, 1.0)

    folds = draw_folds([double_faint], 0.0, 6000, label_err=0.5, given=exceed)
    errors = measure_errors(folds)
    # nothing helps bright stars: they scatter by less than given errors alone
    faint, middle, bright = measure_pulls_by_signal(errors, folds)[:, 0]
    assert bright < 0.6
    assert abs(faint - 1) < 0.1
    assert 0.8 < middle < 1.1
    np.testing.assert_array_equal(find_errors(errors, np.array([0.3])), 0.3)
    assert (errors.inflation[0].scale_by(np.array([2.5, 4.0])) > 1.6).all()


def test_a_factor_that_no_third_of_signal_to_noise_asks_for_is_not_taken():
    # large formal errors are too small, but not of faint stars: all have given errors too large
    folds = draw_folds([lambda formal: np.where(formal > 1.5, 1.5, 1)], 0, 6000, given=5.0)
    rng = np.random.default_rng(1)
    mixed = [part._replace(signal=rng.permuted(part.signal)) for part in folds]
    errors = measure_errors(mixed)
    assert [curve.value for curve in errors.inflation] == [(1.0,)]
    assert (measure_pulls_by_signal(errors, mixed) < 1).all()


def test_few_stars_or_none_have_no_factor():
    folds = draw_folds(np.array([3.0, 3.0]), [0, 0], n=1000)
    for part in folds:
        part.residual[30:, 0] = np.nan
        part.residual[:, 1] = np.nan
    errors = measure_errors(folds)
    assert [curve.value for curve in errors.inflation] == [(1.0,), (1.0,)]
    assert errors.floor[1] == 0


def test_stars_that_share_a_formal_error_have_a_constant_factor():
    folds = [part._replace(formal=np.ones((200, 1))) for part in draw_folds([2.0], 0, n=1000)]
    assert all(curve.is_constant for curve in measure_errors(folds).inflation)


def test_units_do_not_matter():
    folds = draw_folds([2.0, lambda formal: 1.5 * formal**0.4], [0.5, 0.1], n=1000)
    unit = np.array([1e3, 1e-4])
    scaled = [Residuals(*(a * unit for a in part[:3]), part.signal) for part in folds]
    found, again = measure_errors(folds), measure_errors(scaled)
    np.testing.assert_allclose(again.floor, found.floor * unit, rtol=1e-3)
    at = np.geomspace(0.3, 3, 4)
    for label, (one, other) in enumerate(zip(found.inflation, again.inflation, strict=True)):
        np.testing.assert_allclose(other.scale_by(at * unit[label]), one.scale_by(at), rtol=1e-3)


def test_errors_never_fall_as_formal_errors_rise():
    folds = draw_folds([lambda formal: 4 * formal**-1.5], 0.0, label_err=0.05)
    at = np.geomspace(0.01, 100, 400)
    assert (np.diff(find_errors(measure_errors(folds), at)[:, 0]) >= 0).all()


@pytest.fixture(scope="module")
def measured(world):
    """Stars whose pixels share noise, S/N over a range of 20, and a model of some of them."""
    survey = world.survey(1600, seed=5, missing_pixels=0, label_noise=0.02)
    rng = np.random.default_rng(5)
    said = 0.02 * np.exp(rng.uniform(-1.5, 1.5, (1600, 1))) * np.ones(40)
    z = np.linalg.solve(world.label_weights, (survey["label_true"].values - world.label_offset).T).T
    clean = world.flux_offset + z @ world.flux_weights.T
    # noise that looks as other latents would
    shared = 5 * rng.standard_normal(z.shape) @ world.flux_weights.T
    survey["flux"].values[:] = clean + said * (rng.standard_normal(said.shape) + shared)
    survey["flux_ivar"].values[:] = said**-2
    told = io.StringIO()
    with contextlib.redirect_stderr(told):
        model = lux.train(survey.isel(star=slice(0, 600)), 4, iterations=6)
    return model, survey.isel(star=slice(600, None)), said[600:, 0], told.getvalue()


def measure_pulls(model, survey, said):
    """Robust pulls of the labels in each third of S/N: (third, label)."""
    catalog = lux.infer(survey, model)
    error = np.hypot(catalog["label_err"].values, survey["label_err"].values)
    pull = (catalog["label_value"].values - survey["label_value"].values) / error
    thirds = np.array_split(np.argsort(said), 3)
    return np.array([1.4826 * np.nanmedian(np.abs(pull[rows]), axis=0) for rows in thirds])


def test_errors_are_right_for_bright_and_for_faint_stars(measured):
    model, survey, said, _ = measured
    label = model["label_value"]
    assert min(min(curve.value) for curve in label.inflation) > 1.3
    pulls = measure_pulls(model, survey, said)
    np.testing.assert_allclose(pulls.mean(1), 1, atol=0.1)
    # with one misfit for all, which was measured too, they are not
    alone = dataclasses.replace(label, inflation=(), floor=label.scatter)
    without = dataclasses.replace(model, outputs=(alone, model["flux"]))
    bright, _, faint = measure_pulls(without, survey, said).mean(1)
    assert bright < 0.7
    assert faint > 1.3


def test_the_table_of_stars_left_out_has_the_errors_of_catalogues(measured):
    model, survey, *_ = measured
    catalog = lux.infer(survey, model)
    told = [record["median_err"] for record in model.held_out]
    np.testing.assert_allclose(catalog["label_err"].median("star"), told, rtol=0.2)
    assert all(record["formal_err"] < record["median_err"] for record in model.held_out)


def test_training_says_which_formal_errors_are_multiplied(measured, small_model):
    model, *_, told = measured
    said = describe_inflation(model.labels)
    assert all(f"{label} 2." in said for label in model["label_value"].coord)
    assert f"training: {said}\n" in told
    assert describe_inflation(small_model.labels) == ""
