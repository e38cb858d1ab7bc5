"""Labels of an ensemble are the mean of those of its members, and all else is of the first."""

import dataclasses

import numpy as np
import pytest
import xarray as xr
import zarr

import luxscale as lux
from luxscale import store
from luxscale.errors import InputError
from luxscale.model import members
from luxscale.model.inference import Inference


def strip(model):
    """Return a model whose errors are formal."""
    label, flux = model.outputs
    bare = dataclasses.replace(label, floor=np.zeros_like(label.floor))
    return dataclasses.replace(model, outputs=(bare, flux))


@pytest.fixture(scope="module")
def pair(curved_model, gaussian_curved_model):
    """Two models of the same stars, with formal errors."""
    return strip(curved_model), strip(gaussian_curved_model)


@pytest.fixture(scope="module")
def ensemble(pair):
    first, second = pair
    return dataclasses.replace(first, others=(second,))


def test_labels_are_the_mean_and_errors_hold_what_members_differ_by(pair, ensemble, curved_survey):
    one, two = (lux.infer(curved_survey, model, covariance=True) for model in pair)
    both = lux.infer(curved_survey, ensemble, covariance=True)
    mean = (one.label_value + two.label_value) / 2
    np.testing.assert_allclose(both.label_value, mean, rtol=1e-12)
    away = ((one.label_value - two.label_value) / 2).values
    assert abs(away / one.label_err.values).max() > 0.1  # they do differ
    variance = (one.label_err**2 + two.label_err**2) / 2 + away**2
    np.testing.assert_allclose(both.label_err**2, variance, rtol=1e-6)
    covariance = (one.label_cov + two.label_cov).values / 2 + away[:, :, None] * away[:, None, :]
    scale = both.label_err.values[:, :, None] * both.label_err.values[:, None, :]
    np.testing.assert_allclose(both.label_cov.values / scale, covariance / scale, atol=1e-6)
    plain = lux.infer(curved_survey, ensemble)
    xr.testing.assert_allclose(plain.label_err, both.label_err, rtol=1e-6)


def test_all_but_labels_is_of_the_first_member(pair, ensemble, curved_survey):
    one, both = (lux.infer(curved_survey, model) for model in (pair[0], ensemble))
    for name in ("latent", "chi2", "n_pixels", "flags"):
        np.testing.assert_array_equal(both[name], one[name], err_msg=name)
    spectra = lux.predict(both, ensemble, output="flux")
    np.testing.assert_array_equal(spectra, lux.predict(one, pair[0], output="flux"))


def test_each_member_is_a_model_by_itself(pair, ensemble, curved_survey):
    """Asked alone, the first gives its own labels and not the mean of all."""
    assert ensemble.members == pair
    for member, model in zip(ensemble.members, pair, strict=True):
        assert not member.others
        xr.testing.assert_identical(
            lux.infer(curved_survey, member), lux.infer(curved_survey, model)
        )
    assert pair[0].members == (pair[0],)


def test_units_of_members_may_differ(pair, curved_survey):
    """A label of which a member knows more is in other units there, and no error changes."""
    first, second = pair
    label, flux = second.outputs
    wide = dataclasses.replace(label.map, weights=2 * label.map.weights)
    second = dataclasses.replace(second, outputs=(dataclasses.replace(label, map=wide), flux))
    ensemble = dataclasses.replace(first, others=(second,))
    one, two, both = (lux.infer(curved_survey, m) for m in (first, second, ensemble))
    away = (one.label_value - two.label_value) / 2
    variance = (one.label_err**2 + two.label_err**2) / 2 + away**2
    np.testing.assert_allclose(both.label_err**2, variance, rtol=1e-6)


def test_a_star_is_settled_where_every_search_has_ended(ensemble, curved_survey):
    inference = Inference.of(ensemble)
    problems = (inference.problem, *inference.problem.others)
    n = curved_survey.sizes["star"]
    late = np.arange(n) == 3
    found = []
    for i in range(2):
        posterior = _make_posterior(n, settled=~late if i else np.ones(n, bool))
        labels = (members.Labels(np.full((n, 3), float(i)), np.ones((n, 3))),)
        found.append(members.Found(posterior, labels, np.zeros(n, bool)))
    together = members.average(found, [problem.heads for problem in problems])
    np.testing.assert_array_equal(together.posterior.settled, ~late)
    assert members.average(found[:1], [problems[0].heads]) is found[0]


def _make_posterior(n, settled):
    zero = np.zeros(n)
    return members.Posterior(
        latent=np.zeros((n, 3)),
        chi2=zero,
        n_values=zero,
        wrong=zero,
        settled=settled,
        spread=(np.ones((n, 3)),),
        mean=(),
        apart=zero > 0,
        fell_back=zero > 0,
    )


def test_the_file_holds_all_members(tmp_path, ensemble, curved_survey):
    ensemble.save(tmp_path / "model.zarr")
    again = lux.load_model(tmp_path / "model.zarr")
    assert again == ensemble and len(again.members) == 2
    assert again.fingerprint != dataclasses.replace(ensemble, others=()).fingerprint
    assert repr(again).startswith("<LuxModel 3 + 3 latents")
    xr.testing.assert_identical(lux.infer(curved_survey, again), lux.infer(curved_survey, ensemble))
    assert store.read_attributes(tmp_path / "model.zarr")["format_version"] == 6


def test_a_file_that_lacks_part_of_a_member_is_refused(tmp_path, ensemble):
    held = ensemble.to_dataset().drop_vars("member2_flux_weights")
    held.to_zarr(tmp_path / "model.zarr", zarr_format=3, consolidated=False)
    with pytest.raises(InputError, match="the model lacks .*flux_weights"):
        lux.load_model(tmp_path / "model.zarr")


def test_inference_of_an_ensemble_is_lazy(ensemble, curved_survey, no_compute):
    chunked = curved_survey.chunk(star=64)
    with no_compute():
        lazy = lux.infer(chunked, ensemble)
    now = lux.infer(curved_survey, ensemble)
    np.testing.assert_allclose(lazy.label_value, now.label_value, rtol=1e-6)


@pytest.mark.parametrize("attribute", ["members", "outputs"])
def test_an_attribute_that_is_damaged_is_refused(tmp_path, ensemble, attribute):
    ensemble.save(tmp_path / "model.zarr")
    zarr.open_group(tmp_path / "model.zarr", mode="r+").attrs[attribute] = "[{"
    with pytest.raises(InputError, match="an attribute of the model is no JSON"):
        lux.load_model(tmp_path / "model.zarr")
