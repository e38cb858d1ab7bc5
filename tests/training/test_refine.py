"""Refinement on the labels: its gradient, and what it does for stars left out."""

import dataclasses

import jax
import numpy as np
import pytest

from luxscale.model import gauss_newton
from luxscale.model.decoders import find_moments
from luxscale.model.features import PolynomialFeatures
from luxscale.model.jit import use_float64
from luxscale.model.moments import find_label_moments
from luxscale.training import refine
from luxscale.training.component_noise import NoiseParts
from luxscale.training.components import Components, Gaps
from luxscale.training.curved_state import State
from luxscale.training.evidence import Fitted
from luxscale.training.refine import Sample
from luxscale.training.spectra import Spectra
from luxscale.training.tables import Table

P, D, N = 2, 6, 40
FEATURES = PolynomialFeatures(P, P)
K = FEATURES.n_terms + 1


def make_case(n):
    """State and tables of stars of six components and two labels, the weights somewhat wrong."""
    rng = np.random.default_rng(3)
    weights, of_labels = rng.standard_normal((D, K)), rng.standard_normal((2, K))
    z = rng.standard_normal((n, P))
    first = np.hstack([np.ones((n, 1)), FEATURES(z)])
    whitener = np.eye(D) + 0.1 * rng.standard_normal((D, D))
    level, variance = rng.uniform(0.5, 2, n), np.full(D, 0.1)
    noise = rng.standard_normal((n, D)) * np.sqrt(level[:, None] + variance)
    components = Components(
        vectors=np.eye(D),
        unit=np.ones(D),
        values=first @ weights.T * 5 + np.linalg.solve(whitener, noise.T).T,
        level=level,
        bins=np.zeros(n, int),
        bin_level=np.array([level.mean()]),
        gaps=Gaps(rows=np.zeros(0, int), overlap=np.zeros((0, D, D)), projected=np.zeros((0, D))),
    )
    labels = Table(
        values=first @ of_labels.T, ivar=np.full((n, 2), 400.0), scatter=np.zeros(2), dof=4.0
    )
    labels.ivar[::7, 0] = 0
    wrong = 1 + 0.1 * rng.standard_normal((D, K))
    state = State(
        features=FEATURES,
        z=z,
        covariance=np.tile(0.01 * np.eye(P), (n, 1, 1)),
        robust_weights=(np.ones((n, 1)), np.ones((n, 1))),
        fitted=(
            Fitted(
                weights=5 * weights * wrong,
                noise=NoiseParts(whitener=whitener, variance=variance),
            ),
            Fitted(weights=of_labels * (1 + 0.05 * rng.standard_normal((2, K)))),
        ),
    )
    stars = np.array([f"s{i}" for i in range(n)], object)
    return state, Sample([Spectra(components), labels], (False, True), stars)


@pytest.fixture
def case():
    """Few stars."""
    return make_case(N)


def measure_loss(state, sample, fixed):
    """The loss of all stars with z searched to the end, at fixed covariance and variances."""
    covariance, variances = fixed
    batch = refine._gather(state, sample, np.arange(N))
    equations = [batch.parts[0]]
    z, _ = gauss_newton.search(
        equations, batch.mean, batch.precision, batch.z, np.full(N, 1e-2), 60, bent=True
    )
    mean, _ = find_moments(FEATURES, z, covariance)
    w = state.fitted[1].weights
    labels = sample.tables[1]
    rest = w[:, 0] + np.asarray(mean) @ w[:, 1:].T - labels.values
    known = labels.ivar > 0
    weight = np.where(known, 1 / (variances + 1 / np.where(known, labels.ivar, 1)), 0)
    return (5 * np.log1p(weight * rest**2 / 4)).sum() / known.sum()


@pytest.mark.slow
def test_the_gradient_through_the_search_is_that_of_differences(case, monkeypatch):
    monkeypatch.setattr(refine, "_SEARCH", 60)
    state, sample = case
    units = refine._find_units(state, sample, np.arange(N))
    changes = tuple(np.zeros_like(f.weights) for f in state.fitted)
    with use_float64():
        batch = refine._gather(state, sample, np.arange(N))
        gradient, z, covariance = refine._find_gradient(batch, units, changes, FEATURES)
        of_labels = state.fitted[1].weights[:, 1:]
        _, spread = find_label_moments(FEATURES, of_labels, z, covariance, full=False)
        fixed = covariance, np.asarray(spread)
        step = 1e-5
        for output, place in ((0, (2, 3)), (0, (1, 0)), (1, (1, 2))):
            losses = []
            for sign in (1, -1):
                moved = jax.tree.map(np.array, changes)
                moved[output][place] += sign * step
                changed = refine._apply(state, units, moved)
                losses.append(measure_loss(changed, sample, fixed))
            expected = (losses[0] - losses[1]) / (2 * step)
            got = float(np.asarray(gradient[output])[place])
            assert got == pytest.approx(expected, rel=2e-3, abs=1e-6)


def take(state, sample, rows):
    """Return the state and the data of some stars, in the order of rows."""
    some = dataclasses.replace(
        state,
        z=state.z[rows],
        covariance=state.covariance[rows],
        robust_weights=tuple(g[rows] for g in state.robust_weights),
    )
    tables = [table.take(rows) for table in sample.tables]
    return some, Sample(tables, sample.is_label, sample.stars[rows])


def leave_out_a_fifth(state, sample):
    """Return the parameters and data of the others, and of those left out."""
    rows = np.arange(len(sample.stars))
    is_left_out = rows % 5 == 0
    return take(state, sample, rows[~is_left_out]), take(state, sample, rows[is_left_out])


def test_steps_lower_what_inferred_labels_miss(case):
    state, sample = case
    before = refine._measure_misses(state, sample)
    refined = refine.refine(state, sample, steps=60)
    after = refine._measure_misses(refined, sample)
    assert np.nanmean(after**2) < 0.8 * np.nanmean(before**2)
    turned = take(state, sample, np.arange(N)[::-1])
    again = refine.refine(*turned, steps=60)
    for one, other in zip(refined.fitted, again.fitted, strict=True):
        np.testing.assert_allclose(one.weights, other.weights, rtol=1e-6, atol=1e-7)


def test_stars_left_out_say_whether_it_helps():
    n = 5 * N  # few stars would be learnt by heart
    others, (seen, left_out) = leave_out_a_fifth(*make_case(n))
    before, after = others[0].fitted, refine.refine(*others, steps=60).fitted
    assert refine.helps(left_out, seen, before, after)
    # labels of the stars left out that are those of the model as it is
    miss = refine._measure_misses(dataclasses.replace(seen, fitted=before), left_out)
    spectra, labels = left_out.tables
    perfect = dataclasses.replace(labels, values=labels.values + np.nan_to_num(miss))
    as_it_is = dataclasses.replace(left_out, tables=[spectra, perfect])
    assert not refine.helps(as_it_is, seen, before, after)


def test_a_label_that_no_star_left_out_has_is_not_asked():
    others, (seen, left_out) = leave_out_a_fifth(*make_case(5 * N))
    before, after = others[0].fitted, refine.refine(*others, steps=60).fitted
    left_out.tables[1].ivar[:, 1] = 0
    assert list(left_out.find_told()) == [True, False]
    assert refine.helps(left_out, seen, before, after)  # a warning is an error
