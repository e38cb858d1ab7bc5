"""Trainings that start from what is near find what the exact way finds."""

import re

import jax
import numpy as np
import pytest

import luxscale as lux
from luxscale.examples.simulate import simulate
from luxscale.model import components, linalg
from luxscale.progress import Progress
from luxscale.training import latents_near, marginal, regression_near
from luxscale.training.approximation import pick_rows
from luxscale.training.data import BLOCK
from luxscale.training.gauge import turn_to_canonical_gauge
from luxscale.training.latents import solve_latents
from luxscale.training.latents_near import LatentSolver
from luxscale.training.regression import regress_weights
from luxscale.training.regression_near import WeightSolver
from luxscale.training.select import read_stars

STARS, PIXELS, LATENTS = 700, 520, 24


@pytest.fixture(scope="module")
def survey():
    return simulate(STARS, n_pixels=PIXELS, seed=3)


@pytest.fixture
def near_pays(monkeypatch):
    """Starting from what is near pays for data of any size."""
    monkeypatch.setattr(components, "_LEAST_WORK", 0)


@pytest.fixture(scope="module")
def begun(survey):
    """Data, and a training after two iterations by the exact way."""
    with Progress("reading", enabled=False) as shown:
        data = read_stars(survey, None, "survey", shown, 6.0)
    everyone = data.mark_stars()
    outputs, latents = marginal.begin_outputs(data, LATENTS, None)
    for _ in range(2):
        outputs = tuple(marginal.regress(o, latents, everyone, 2) for o in outputs)
        outputs, turned = turn_to_canonical_gauge(outputs, latents, STARS, data.informing)
        latents = solve_latents(outputs, 1.0)
    return data, outputs, turned.mean, latents


def refuse(*_, **__):
    raise AssertionError("the exact way was taken")


def solve_in_float64(outputs):
    """Return means and covariances of the latents, from the normal matrices of all stars."""
    h, right = np.eye(LATENTS), 0
    for output in outputs:
        values, ivar, weights, offset, scatter = (np.asarray(x, float) for x in output)
        w = ivar[:STARS] / (1 + ivar[:STARS] * scatter**2)
        h = h + np.einsum("nd,dp,dq->npq", w, weights, weights, optimize=True)
        right = right + (w * (values[:STARS] - offset)) @ weights
    cov = np.linalg.inv(h)
    return np.einsum("npq,nq->np", cov, right), cov


def regress_in_float64(output, latents):
    """Return weights and offset at the scatter of an output, from all normal matrices."""
    values, ivar, _, _, scatter = (np.asarray(x, float) for x in output)
    z = np.asarray(latents.mean, float)[:STARS]
    x = np.column_stack([z, np.ones(STARS)])
    second = x[:, :, None] * x[:, None, :]
    _, _, table = linalg.packed_index(LATENTS)
    second[:, :-1, :-1] += np.asarray(latents.cov, float)[:STARS, table]
    w = ivar[:STARS] / (1 + ivar[:STARS] * scatter**2)
    strength = w.sum(0) / (w > 0).sum(0)
    ridge = np.diag([1.0] * LATENTS + [1e-6])
    h = np.einsum("nd,npq->dpq", w, second, optimize=True) + strength[:, None, None] * ridge
    return np.linalg.solve(h, ((w * values[:STARS]).T @ x)[..., None])[..., 0]


def test_latents_are_those_of_the_exact_way(begun, near_pays, monkeypatch):
    _, outputs, near, exact = begun
    solved = []

    def solve_and_count(outputs, *args, **kwargs):
        solved.append(outputs)
        return solve_latents(outputs, *args, **kwargs)

    monkeypatch.setattr(latents_near, "solve_latents", solve_and_count)
    found = LatentSolver(STARS, 1.0).solve(outputs, near)
    # a block for the few that were far
    assert [o[0].values.shape[0] for o in solved] in ([], [BLOCK])
    expected, expected_cov = solve_in_float64(outputs)
    error = np.sqrt(np.diagonal(expected_cov, axis1=1, axis2=2))
    _, _, table = linalg.packed_index(LATENTS)
    cov = np.asarray(found.cov)[:STARS, table]
    away = (np.asarray(found.mean)[:STARS] - expected) / error
    assert abs(away).max() < 0.02
    size = error[:, :, None] * error[:, None, :]
    assert np.sqrt((((cov - expected_cov) / size) ** 2).mean()) < 0.02
    # no more than rounding on average, which is what training sees
    assert abs(((cov - expected_cov) / size).mean(0)).max() < 3e-3
    difference = (np.asarray(found.objective) - np.asarray(exact.objective))[:STARS]
    assert abs(difference.mean()) < 0.05


@pytest.mark.parametrize("steps", [0, 2])
def test_weights_are_those_of_the_exact_way(begun, near_pays, monkeypatch, steps):
    data, outputs, _, latents = begun
    (output,) = (o for o, is_given in zip(outputs, data.informing, strict=True) if is_given)
    everyone, zero = data.mark_stars(), np.zeros_like(output.weights)
    exact = regress_weights(output, latents, zero, everyone, scatter_steps=steps)
    expected = regress_in_float64(exact, latents)
    monkeypatch.setattr(regression_near, "maximise", refuse)
    found = WeightSolver().solve(output, latents, zero, everyone, steps)
    weight = np.asarray(exact.noise.weigh(np.asarray(output.ivar)), float).sum(0)
    if not steps:
        exact = exact._replace(weights=expected[:, :-1], offset=expected[:, -1])
    away = np.column_stack([found.weights - exact.weights, found.offset - exact.offset])
    of_error = away * np.sqrt(weight)[:, None]
    assert abs(of_error).max() < 0.1
    assert np.sqrt(np.mean(of_error**2)) < 0.01
    total = np.asarray(found.noise.weigh(np.asarray(output.ivar)), float).sum(0)
    np.testing.assert_allclose(total, weight, rtol=0.01)


def test_what_no_direction_describes_goes_the_exact_way(begun, near_pays):
    _, outputs, near, _ = begun
    rng = np.random.default_rng(1)
    wild = []
    for output in outputs:
        ivar = np.asarray(output.ivar)
        scattered = ivar * 10 ** rng.uniform(-3, 3, ivar.shape)
        wild.append(output._replace(ivar=scattered.astype(np.float32)))
    solver = LatentSolver(STARS, 1.0)
    found, exact = solver.solve(tuple(wild), near), solve_latents(tuple(wild), 1.0)
    for array, expected in zip(found, exact, strict=True):
        np.testing.assert_array_equal(array, expected)
    assert not solver._is_useful


def test_rows_beside_a_sample_without_data_go_the_exact_way(begun, near_pays):
    data, outputs, near, latents = begun
    everyone = data.mark_stars()
    hidden = []
    for output in outputs:
        ivar = np.array(output.ivar)
        ivar[pick_rows(STARS, LATENTS)] = 0
        ivar[:, pick_rows(ivar.shape[1], LATENTS // 2)] = 0
        hidden.append(output._replace(ivar=ivar))
    found, exact = LatentSolver(STARS, 1.0).solve(tuple(hidden), near), solve_latents(hidden, 1.0)
    np.testing.assert_allclose(found.mean, exact.mean, atol=5e-3)
    (output,) = (o for o, is_given in zip(hidden, data.informing, strict=True) if is_given)
    zero = np.zeros_like(output.weights)
    expected = regress_weights(output, latents, zero, everyone)
    regressed = WeightSolver().solve(output, latents, zero, everyone)
    np.testing.assert_allclose(regressed.weights, expected.weights, atol=5e-3)


def test_some_stars_go_the_exact_way(begun, near_pays):
    _, outputs, near, exact = begun
    far = near.copy()
    far[:5] = np.nan
    said = []
    found = LatentSolver(STARS, 1.0, tell=said.append).solve(outputs, far)
    assert re.fullmatch(r"([5-9]|\d\d) of 700 stars solved the exact way", *said)
    np.testing.assert_allclose(found.mean[:5], exact.mean[:5], atol=1e-3)
    assert np.isfinite(np.asarray(found.mean)).all()


@pytest.mark.parametrize(
    ("method", "folds"),
    [("marginal", 1), pytest.param("alternating", 2, marks=pytest.mark.slow)],
)
def test_trainings_give_the_same_labels(survey, near_pays, monkeypatch, method, folds):
    settings = {"method": method, "progress": False, "folds": folds}
    near = lux.train(survey, LATENTS, **settings)
    again = lux.train(survey, LATENTS, **settings)
    np.testing.assert_array_equal(near["flux"].map.weights, again["flux"].map.weights)
    # as where a GPU multiplies
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    exact = lux.train(survey, LATENTS, **settings)
    assert (near["flux"].map.weights != exact["flux"].map.weights).any()
    others = simulate(100, n_pixels=PIXELS, seed=4)
    got, expected = lux.infer(others, near), lux.infer(others, exact)
    away = (got["label_value"] - expected["label_value"]) / expected["label_err"]
    assert abs(away).max() < 0.01
    np.testing.assert_allclose(near.objective[-1], exact.objective[-1], rtol=1e-4)
