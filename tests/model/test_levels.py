"""Term by term, labels are those of the search that knows nothing of levels."""

import dataclasses

import numpy as np
import pytest

from luxscale.model import climb, leads, levels
from luxscale.model.blocks import Data
from luxscale.model.inference import Inference
from luxscale.model.landmarks import Landmarks
from luxscale.schema import flags


@pytest.fixture(scope="module")
def stars(polynomial_world):
    """Stars of very different levels of noise, as inference takes them."""
    parts = [polynomial_world.survey(60, seed=i, level=x) for i, x in enumerate((0.3, 1.0, 4.0))]
    names = ("flux", "flux_ivar")
    return {name: np.concatenate([part[name].values for part in parts]) for name in names}


@pytest.fixture(scope="module")
def plain(polynomial_model):
    """Inference by the general search."""
    found = Inference.of(polynomial_model)
    return dataclasses.replace(found, problem=dataclasses.replace(found.problem, landmarks=None))


@pytest.fixture(scope="module")
def expected(plain, stars):
    return plain.infer(stars)


def compare(got, expected, least=0.03):
    """Check labels against others, in units of their errors."""
    miss = abs(got["label_value"] - expected["label_value"]) / expected["label_err"]
    assert np.quantile(miss, 0.98) < least
    ratio = got["label_err"] / expected["label_err"]
    assert np.quantile(abs(ratio - 1), 0.98) < 0.03
    assert (got["flags"] == expected["flags"]).mean() > 0.97


def test_labels_are_those_of_the_general_search(polynomial_model, stars, expected):
    got = Inference.of(polynomial_model).infer(stars)
    compare(got, expected)
    np.testing.assert_allclose(got["chi2"], expected["chi2"], rtol=0.02, atol=0.1)
    np.testing.assert_array_equal(got["n_pixels"], expected["n_pixels"])


def test_the_full_search_is_for_stars_that_surprise(polynomial_model, stars, monkeypatch):
    inference = Inference.of(polynomial_model)
    fast, few = inference.infer_and_count(stars)
    monkeypatch.setattr(leads, "_LEAD_STEPS", 1)
    hasty, more = inference.infer_and_count(stars)
    monkeypatch.setattr(leads, "_POOR", 0.0)
    full, most = inference.infer_and_count(stars)
    assert few < more < most
    for got in (fast, hasty):
        compare(got, full)
        np.testing.assert_allclose(got["chi2"], full["chi2"], rtol=0.02, atol=0.1)


def test_steps_that_swing_about_a_maximum_are_cut():
    moved = np.array([[1.0, 0], [1, 0], [0, 2], [0, 0]])
    step = np.array([[-1.0, 0], [1, 1], [3, -1], [1, 1]])
    np.testing.assert_allclose(climb._find_fraction(moved, step), [1 / 2, 1, 2 / 3, 1])


def test_stars_are_labelled_alike_whatever_others_are_with_them(polynomial_model, stars):
    inference = Inference.of(polynomial_model)
    whole = inference.infer(stars)
    half = inference.infer({name: array[::2] for name, array in stars.items()})
    for name in ("label_value", "label_err", "latent"):
        np.testing.assert_allclose(half[name], whole[name][::2], rtol=2e-4, atol=2e-4)
    np.testing.assert_array_equal(half["flags"], whole["flags"][::2])


def test_what_has_not_settled_is_searched_for_again(polynomial_model, stars, expected, monkeypatch):
    monkeypatch.setattr(levels, "STEPS", 1)
    monkeypatch.setattr(levels, "follow_leads", lambda _, ascent: np.ones(ascent.first.size, bool))
    got = Inference.of(polynomial_model).infer(stars)
    compare(got, expected)
    assert not (got["flags"] & flags.BIT["not_settled"]).any()


def test_a_term_at_a_lesser_maximum_begins_again_where_another_has_come_to(
    polynomial_model, stars, monkeypatch
):
    """Terms that are sent far away find back, and those that settled well stay."""
    monkeypatch.setattr(levels, "follow_leads", lambda _, ascent: np.ones(ascent.first.size, bool))
    inference = Inference.of(polynomial_model)
    expected = inference.infer(stars)
    climb_far = levels._climb_far
    restarted = []

    def begin_badly(common, ascent, active):
        """Leave all but one term of each star where there is nothing."""
        if active.size < ascent.star.size:
            restarted.append(active.size / (ascent.star.size - ascent.first.size))
            return climb_far(common, ascent, active)
        moving = climb_far(common, ascent, active)
        others = np.setdiff1d(active, climb.find_best(ascent.found.log_weight, ascent.first))
        ascent.found.log_weight[others] = -np.inf
        return moving

    monkeypatch.setattr(levels, "_climb_far", begin_badly)
    got = inference.infer(stars)
    assert restarted and restarted[0] > 0.3
    compare(got, expected)


def test_stars_of_unusual_levels_take_the_general_search(polynomial_model, stars, expected):
    strange = {name: array.copy() for name, array in stars.items()}
    strange["flux_ivar"][::2] *= 1e-9
    got = Inference.of(polynomial_model).infer(strange)
    assert np.isfinite(got["label_value"]).all()
    compare({k: v[1::2] for k, v in got.items()}, {k: v[1::2] for k, v in expected.items()})
    data = [Data(strange["flux"], strange["flux_ivar"])]
    level = levels.reduce_spectra(Inference.of(polynomial_model).problem, data).level
    assert (Landmarks.find_levels(level)[::2] == -1).all()


def test_only_terms_of_some_evidence_are_tried(monkeypatch):
    monkeypatch.setattr(levels, "TRIED", 3)
    evidence = np.array([[0.0, -1, -2, -3], [0, -50, -60, -1], [np.nan] * 4])
    star, gaussian = levels._choose_terms(evidence)
    assert star.tolist()[:5] == [0, 0, 0, 1, 1]
    assert gaussian.tolist()[:5] == [0, 1, 2, 0, 3]
    assert 2 in star  # what is no number is tried, and not lost
