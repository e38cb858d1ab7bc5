"""The terms of a posterior are those that a catalogue is the mean of."""

import dataclasses

import numpy as np
import pytest

from luxscale.analysis.solutions import list_solutions
from luxscale.errors import InputError
from luxscale.model.decoders import LinearMap
from luxscale.model.infer import infer
from luxscale.model.priors import GaussianPrior


@pytest.fixture
def noisy_stars(curved_survey):
    """Stars for which several Gaussians of the prior remain possible."""
    stars = curved_survey.isel(star=slice(0, 30)).copy(deep=True)
    stars["flux_ivar"][:] *= 0.002
    return stars


def check_terms(stars, model):
    """Check that terms have the mean and the deviation of a catalogue, and return them."""
    found = list_solutions(stars, model)
    assert found["mean"].dims == ("star", "term", "label")
    np.testing.assert_allclose(found["share"].sum("term"), 1, rtol=1e-6)
    assert (found["share"].diff("term") <= 0).all() and (found["share"][:, 1] > 0.1).any()
    catalog = infer(stars, model)
    mean = (found["share"] * found["mean"]).sum("term")
    away = found["mean"] - mean
    variance = (found["share"] * (found["error"] ** 2 + away**2)).sum("term")
    floor = np.asarray(model["label_value"].floor)
    expected = np.sqrt(variance + floor**2)
    off = (mean - catalog["label_value"]) / catalog["label_err"]
    assert float(abs(off).max()) < 0.02
    np.testing.assert_allclose(expected, catalog["label_err"], rtol=0.02)
    assert found["label"].values.tolist() == ["teff", "logg", "fe_h"]
    return found


@pytest.mark.slow
def test_a_catalogue_is_mean_and_deviation_of_the_terms(curved_model, noisy_stars):
    check_terms(noisy_stars, curved_model)


def test_an_ensemble_has_the_terms_of_all_its_members(curved_model, noisy_stars):
    label, flux = curved_model.outputs
    linear = [_make_linear(output) for output in (label, flux)]
    second = dataclasses.replace(curved_model, outputs=tuple(linear), prior=GaussianPrior())
    of_first = list_solutions(noisy_stars, curved_model)
    for members in ((curved_model, second), (second, curved_model)):
        first, other = members
        found = check_terms(noisy_stars, dataclasses.replace(first, others=(other,)))
        assert found.sizes["term"] == of_first.sizes["term"] + 1


def _make_linear(output):
    """Return an output without products of latents, tails and noise that pixels share."""
    p = output.map.latent_dim
    linear = LinearMap(output.map.weights[:, :p], output.map.offset)
    return dataclasses.replace(output, map=linear, dof=float("inf"), correlation=None)


def test_one_gaussian_has_no_terms(small_model, held_out, curved_model):
    with pytest.raises(InputError, match="the model is linear, so there is one solution"):
        list_solutions(held_out.isel(star=[0]), small_model)
    with pytest.raises(InputError, match="'flux' is no output of labels; the model has label_val"):
        list_solutions(held_out.isel(star=[0]), curved_model, "flux")
