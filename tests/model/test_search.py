"""Which stars are searched for a second time: those for which a longer search may find more."""

import dataclasses
import functools

import numpy as np
import pytest

from luxscale.model import search
from luxscale.model.decoders import PolynomialMap
from luxscale.model.features import PolynomialFeatures
from luxscale.model.inference import Inference
from luxscale.model.jit import compile_program
from luxscale.model.posterior import FEW_ROUNDS, ROUNDS
from luxscale.schema import flags


@pytest.fixture
def rounds(monkeypatch):
    """Most rounds of each search that is made, in which no star settles."""
    made = []
    monkeypatch.setattr(search, "SETTLED", -1.0)
    whole = functools.partial(search._search, complete=True)
    program = compile_program(static_argnames=("covariance",))(whole)

    def note_and_run(*given, covariance, rounds):
        made.append(rounds)
        return program(*given, covariance=covariance, rounds=rounds)

    monkeypatch.setattr(search, "_search_complete", note_and_run)
    return made


@pytest.fixture(params=[1, 3])
def quadratic(request):
    """Latents that curve, of three."""
    return request.param


@pytest.fixture
def inference(curved_model, quadratic):
    """Inference from pixels of independent noise."""
    label, flux = curved_model.outputs
    features = PolynomialFeatures(3, quadratic)
    curve = PolynomialMap(flux.map.weights[:, : features.n_terms], flux.map.offset, features)
    flux = dataclasses.replace(
        flux, map=curve, correlation=None, scatter=np.full(len(flux.coord), 0.01)
    )
    return Inference.of(dataclasses.replace(curved_model, outputs=(label, flux)))


def test_no_star_is_searched_for_twice_in_vain(inference, quadratic, curved_survey, rounds):
    stars = {name: curved_survey[name].values[:20] for name in inference.variables}
    found, again = inference.infer_and_count(stars)
    assert (found["flags"] & flags.BIT["not_settled"] > 0).all()
    assert np.isfinite(found["label_value"]).all()
    if quadratic == 1:
        # most latents are eliminated: the first search has all rounds
        assert (rounds, again) == ([FEW_ROUNDS], 0)
    else:
        assert (rounds, again) == ([FEW_ROUNDS, ROUNDS], 20)
