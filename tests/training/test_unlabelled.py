"""Stars without labels in training: they teach the map of spectra, and not the prior."""

import dataclasses

import numpy as np
import pytest
from simulated_curves import SPREAD, make_survey

import luxscale as lux
from luxscale.errors import InputError
from luxscale.model.features import PolynomialFeatures
from luxscale.training import mixture
from luxscale.training.components import find_components
from luxscale.training.curved_state import State
from luxscale.training.curved_steps import update_prior
from luxscale.training.evidence import sum_squares
from luxscale.training.recipes import find_recipe
from luxscale.training.spectra import Spectra

SIZES = {"latent_dim": 3, "quadratic": 3, "components": 12, "gaussians": 2, "iterations": 10}
KNOWN = 120


def hide_labels(survey, first=KNOWN):
    hidden = survey.copy(deep=True)
    hidden["label_value"][first:] = np.nan
    return hidden


def fit_spectra(spectra, z, g):
    covariance = np.tile(0.01 * np.eye(2), (len(z), 1, 1))
    f, squares = sum_squares(PolynomialFeatures(2, 2), z, covariance, spectra.list_weights(g))
    fitted = spectra.fit(f, squares, g, None)
    return spectra.fit(f, squares, g, fitted)


def test_a_star_of_no_weight_teaches_nothing_and_two_halves_as_much_as_one(low_rank_spectra):
    values, ivar, _ = low_rank_spectra
    rng = np.random.default_rng(2)
    z, g = rng.standard_normal((300, 2)), rng.uniform(0.5, 1.2, (300, 1))
    known = np.arange(300) < 200
    data = find_components(values, ivar, 5)
    # all of one noise level, as the level of a bin is the mean of all its stars
    data = dataclasses.replace(data, bins=np.zeros(300, int), bin_level=data.bin_level[:1])
    some = fit_spectra(Spectra(data.take(np.flatnonzero(known))), z[known], g[known])
    all_of_them = fit_spectra(Spectra(data, known.astype(float)), z, g)
    np.testing.assert_allclose(all_of_them.weights, some.weights, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(all_of_them.noise.variance, some.noise.variance, rtol=1e-7)
    twice = np.r_[np.arange(300), np.arange(300)]
    once = fit_spectra(Spectra(data), z, g)
    halves = fit_spectra(Spectra(data.take(twice), np.full(600, 0.5)), z[twice], g[twice])
    np.testing.assert_allclose(halves.weights, once.weights, rtol=1e-9, atol=1e-12)


def test_the_prior_is_that_of_stars_with_labels():
    rng = np.random.default_rng(3)
    z = rng.standard_normal((90, 2))
    z[60:] += 50
    covariance = np.tile(0.1 * np.eye(2), (90, 1, 1))
    state = State(
        features=PolynomialFeatures(2, 2),
        z=z,
        covariance=covariance,
        robust_weights=(),
        prior=mixture.fit_mixture(z[:60], covariance[:60], 2),
        is_labelled=np.arange(90) < 60,
    )
    expected = mixture.update_mixture(state.prior, z[:60], covariance[:60])
    np.testing.assert_array_equal(update_prior(state).prior.mean, expected.mean)
    taken = state.take(np.arange(50, 70))
    assert taken.labelled.tolist() == list(range(10))


@pytest.fixture(scope="module")
def survey():
    return hide_labels(make_survey())


@pytest.fixture(scope="module")
def helped(survey):
    return lux.train(survey, method="curved", unlabelled=600, progress=False, **SIZES)


def test_stars_without_labels_help_where_labels_are_few(survey, helped):
    alone = lux.train(survey, method="curved", folds=1, progress=False, **SIZES)
    others = make_survey(600, seed=1)
    ours, theirs = (
        (lux.infer(others, m).label_value.values - others.label_true.values) / SPREAD
        for m in (helped, alone)
    )
    assert np.sqrt((ours**2).mean()) < 0.97 * np.sqrt((theirs**2).mean())


def test_they_are_counted_and_on_record(survey, helped):
    assert helped.provenance.n_stars == KNOWN + 600
    assert '"unlabelled": 600' in helped.provenance.settings
    left = survey.sizes["star"] - KNOWN - 600
    assert f'"stars_without_labels": {left}' in helped.provenance.settings
    # errors are those of stars whose labels are known
    assert all(record["n_stars"] <= KNOWN for record in helped.held_out)


def test_the_recipe_is_sized_for_all_stars_and_refined_on_those_with_labels(survey):
    model = lux.train(survey, unlabelled=600, folds=1, progress=False)
    assert model.latent_dim == find_recipe("curved", KNOWN + 600, 3, 50).latent_dim
    assert '"recipe": "curved"' in model.provenance.settings
    both = find_recipe("curved", 500, 3, 50, unlabelled=5000).settings
    assert both == find_recipe("curved", 5500, 3, 50).plain.settings
    assert find_recipe("curved", 4000, 3, 50, unlabelled=5000).settings["refine"] == 48


def test_refused_where_they_have_no_say(survey):
    with pytest.raises(InputError, match="unlabelled=10 is for products of latents"):
        lux.train(survey, 4, unlabelled=10, progress=False)
    with pytest.raises(InputError, match="all its stars have labels"):
        lux.train(
            survey.isel(star=slice(0, KNOWN)),
            method="curved",
            unlabelled=10,
            progress=False,
            **SIZES,
        )
    with pytest.raises(InputError, match="unlabelled is -1"):
        lux.train(survey, 4, unlabelled=-1, progress=False)
