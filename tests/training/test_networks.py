"""A network's layers go down the expected loss of the regression, and are the same every time."""

import functools
import itertools

import jax
import numpy as np
import pytest
from simulated_curves import SPREAD, make_survey

import luxscale as lux
from luxscale.errors import InputError
from luxscale.model.features import PolynomialFeatures, find_moments
from luxscale.model.jit import use_float64
from luxscale.model.observation import Equations
from luxscale.progress import Progress
from luxscale.training import methods, networks, recipes
from luxscale.training.reporting import Silence
from luxscale.training.select import read_stars

N, P, D, UNITS = 40, 2, 5, 4


@pytest.fixture
def rng():
    return np.random.default_rng(3)


@pytest.fixture
def stars(rng):
    root = 0.2 * rng.standard_normal((N, P, P))
    return networks.Stars(
        z=rng.standard_normal((N, P)),
        covariance=root @ root.swapaxes(1, 2) + 0.01 * np.eye(P),
        blocks=[np.arange(0, 30), np.resize(np.arange(30, 40), 30)],
    )


@pytest.fixture
def equations(rng):
    """Return two outputs that see the stars, one with weights that values share."""
    features = networks.make_network(PolynomialFeatures(P, 1), UNITS)
    root = rng.standard_normal((N, D, D))
    found = []
    for precision in (rng.uniform(0.5, 2, (N, D)), root @ root.swapaxes(1, 2)):
        found.append(
            Equations(
                precision=precision,
                pull=rng.standard_normal((N, D)),
                weights=rng.standard_normal((D, features.n_terms)),
                features=features,
            )
        )
    return found


def take(equations, rows):
    return [
        Equations(
            precision=e.precision[rows], pull=e.pull[rows], weights=e.weights, features=e.features
        )
        for e in equations
    ]


def measure_loss(features, stars, equations):
    """E[mu^T M mu - 2 mu^T b], mu = B phi, from the moments of all features."""
    mean, rows = find_moments(features, stars.z, stars.covariance)
    total = 0.0
    for e in equations:
        for n in range(N):
            m = np.diag(e.precision[n]) if e.precision.ndim == 2 else e.precision[n]
            mu, spread = e.weights @ mean[n], rows[n] @ e.weights.T
            total += mu @ m @ mu - 2 * mu @ e.pull[n] + np.trace(spread @ m @ spread.T)
    return total


@pytest.mark.slow
def test_steps_lower_the_expected_loss(stars, equations):
    features = equations[0].features
    by_block = [take(equations, rows) for rows in stars.blocks]
    found, _ = networks.descend(features, None, stars, by_block)
    before, after = (measure_loss(f, stars, equations) for f in (features, found))
    assert after < before - 1
    assert found.products == features.products
    again, _ = networks.descend(features, None, stars, by_block)
    np.testing.assert_array_equal(again.layers[0][0], found.layers[0][0])


def test_what_is_fixed_of_the_loss_is_left_out(stars, equations):
    features = equations[0].features
    hidden = functools.partial(networks.run_layers, features.layers)
    mean, rows = find_moments(hidden, stars.z, stars.covariance)
    units = np.concatenate([mean[:, None], rows], 1)
    with use_float64():
        gram, pull = networks._reduce(
            features.products, tuple(equations), stars.z, stars.covariance
        )
    ours = ((units @ np.asarray(gram) - 2 * np.asarray(pull)) * units).sum()
    silent = [
        Equations(
            precision=e.precision,
            pull=e.pull,
            weights=np.where(np.arange(features.n_terms) < features.products.n_terms, e.weights, 0),
            features=features,
        )
        for e in equations
    ]
    expected = measure_loss(features, stars, equations) - measure_loss(features, stars, silent)
    np.testing.assert_allclose(ours, expected, rtol=1e-9)


SIZES = {"quadratic": 1, "components": 12, "gaussians": 3, "iterations": 9}


def train(stars, **more):
    return lux.train(stars, method="curved", latent_dim=3, folds=1, progress=False, **SIZES, **more)


@pytest.fixture(scope="module")
def training_stars():
    return make_survey(400)


@pytest.fixture(scope="module")
def trained(training_stars):
    return train(training_stars, network=12)


def test_a_network_stands_in_for_products(training_stars, trained):
    # it is there from the seventh iteration on
    plain, bent = train(training_stars).objective, trained.objective
    np.testing.assert_array_equal(bent[:6], plain[:6])
    assert bent[-1] > plain[-1] + 5
    held_out = make_survey(200, seed=1)
    inferred = lux.infer(held_out, trained)
    # products of the first latent alone leave 0.020
    assert (((inferred.label_value - held_out.label_true) / SPREAD) ** 2).mean() < 0.013


def test_the_order_of_stars_does_not_matter(training_stars, trained):
    order = np.random.default_rng(4).permutation(training_stars.sizes["star"])
    other = train(training_stars.isel(star=order), network=12)
    ours, theirs = (m["flux"].map.features.layers for m in (trained, other))
    for one, two in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_allclose(one, two, atol=1e-4)


def test_folds_learn_layers_of_their_own(training_stars):
    data = read_stars(training_stars, None, "survey", Progress("training", enabled=False))
    settings = methods.complete_settings("curved", {**SIZES, "network": 12})
    trained = methods.pick_method("curved").fit(data, 3, Silence(), settings, None)
    halves = np.split(np.arange(400), 2)
    found = []
    for fit in (trained, *trained.leave_out(halves)):
        (output, *_), (kind, *_) = fit.arrays, fit.kinds
        found.append(kind(output.weights, output.offset).features.layers[0][0])
    for i, j in itertools.combinations(range(3), 2):
        assert np.abs(found[i] - found[j]).max() > 1e-3


def test_a_recipe_of_that_name_is_not_compared():
    recipe = recipes.find_recipe("network", 2000, 5, 343)
    assert recipe.settings["network"] > 0 and "network" in recipe.description
    assert "network" not in [r.name for r in recipes.list_recipes(20_000, 5, 343)[0]]
    with pytest.raises(InputError, match="recipe 'network' does not fit"):
        recipes.find_recipe("network", 60, 5, 343)


def test_a_network_needs_iterations_to_learn_in(training_stars):
    with pytest.raises(InputError, match=r"iterations=6 with network=4: .* take 8 or more"):
        lux.train(training_stars, 3, method="curved", network=4, quadratic=1, iterations=6)
