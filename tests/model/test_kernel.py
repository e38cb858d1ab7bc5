"""Inference under curved maps, correlated and heavy-tailed noise and a mixture, with gaps."""

import dataclasses

import numpy as np
import pytest

import luxscale as lux
from luxscale.model import search
from luxscale.model.inference import Inference
from luxscale.model.priors import GaussianPrior
from luxscale.schema import flags


def drop(survey, pixels):
    """Return a survey without some pixels."""
    changed = survey.copy(deep=True)
    changed["flux_ivar"][:, pixels] = 0
    changed["flux"][:, pixels] = np.nan
    return changed


GAPS = {
    "complete": slice(0, 0),
    "every third": slice(0, None, 3),
    "one half": slice(20, None),
    "all but five": slice(6, None),
    "all": slice(None),
}


def find_unflagged_gaps(catalog):
    """Which stars hold a value that is not finite, without a flag that says why."""
    bad = np.zeros(catalog.sizes["star"], bool)
    for array in catalog.variables.values():
        if array.dtype.kind == "f" and array.dims[0] == "star":
            bad |= ~np.isfinite(array.values).reshape(len(bad), -1).all(1)
    return bad & (catalog["flags"].values == 0)


@pytest.mark.parametrize("missing", GAPS.values(), ids=GAPS)
def test_errors_are_right_whatever_is_missing(curved_world, missing):
    survey = drop(curved_world.survey(600, seed=8), missing)
    catalog = lux.infer(survey, curved_world.model)
    assert not find_unflagged_gaps(catalog).any()
    pull = (catalog["label_value"] - survey["label_true"]) / catalog["label_err"]
    scatter = pull.std("star").values
    assert (scatter > 0.85).all(), scatter
    assert (scatter < 1.15).all(), scatter
    few = missing == GAPS["all but five"]
    everything = missing == GAPS["all"]
    expected = 5 if few else 8
    assert (catalog["n_pixels"] == (0 if everything else expected)).all()
    assert (((catalog["flags"] & flags.BIT["no_data"]) > 0) == everything).all()


def test_without_half_of_the_pixels_of_few_components_nothing_is_lost(curved_model, curved_survey):
    whole = lux.infer(curved_survey, curved_model)
    half = lux.infer(drop(curved_survey, slice(20, None)), curved_model)
    np.testing.assert_allclose(half["label_err"], whole["label_err"], rtol=0.02)
    five = lux.infer(drop(curved_survey, slice(6, None)), curved_model)
    assert (five["label_err"].mean("star") > 1.05 * whole["label_err"].mean("star")).all()


def test_values_that_break_the_contract_are_flagged_and_left_out(curved_model, curved_survey):
    spoilt = curved_survey.copy(deep=True)
    spoilt["flux"][::2, 7] = np.nan  # with an inverse variance
    spoilt["flux_ivar"][1, 9] = -1
    catalog = lux.infer(spoilt, curved_model)
    assert np.isfinite(catalog["label_value"]).all()
    wrong = (catalog["flags"] & flags.BIT["invalid_values"]) > 0
    expected = np.arange(curved_survey.sizes["star"]) % 2 == 0
    expected[1] = True
    np.testing.assert_array_equal(wrong, expected)


def test_a_star_does_not_depend_on_its_company(curved_model, curved_survey):
    mixed = curved_survey.copy(deep=True)
    mixed["flux_ivar"][1::2, ::3] = 0
    whole = lux.infer(mixed, curved_model)
    some = lux.infer(mixed.isel(star=[0, 1, 50, 151]), curved_model)
    for name in ("label_value", "label_err", "latent", "flags"):
        np.testing.assert_allclose(
            some[name], whole[name].isel(star=[0, 1, 50, 151]), rtol=1e-4, atol=1e-5
        )


def test_covariances_are_those_of_the_errors(curved_model, curved_survey):
    plain = lux.infer(curved_survey, curved_model)
    catalog = lux.infer(curved_survey, curved_model, covariance=True)
    cov = catalog["label_cov"].values
    variance = np.diagonal(cov, axis1=1, axis2=2)
    np.testing.assert_allclose(np.sqrt(variance), plain["label_err"], rtol=1e-4)
    assert (np.linalg.eigvalsh(cov / np.sqrt(variance[:, :, None] * variance[:, None])) > 0).all()
    away = (catalog["label_value"] - curved_survey["label_true"]).values
    distance = np.einsum("sl,slm,sm->s", away, np.linalg.inv(cov), away)
    assert distance.mean() == pytest.approx(3, rel=0.35)


def test_chunks_change_nothing(curved_model, curved_survey, no_compute):
    survey = curved_survey.copy(deep=True)
    survey["flux_ivar"][1::2, ::3] = 0
    whole = lux.infer(survey, curved_model, covariance=True)
    with no_compute():
        lazy = lux.infer(survey.chunk(star=70), curved_model, covariance=True)
    for name, array in lazy.compute().data_vars.items():
        np.testing.assert_allclose(array, whole[name], rtol=1e-4, atol=1e-5, err_msg=str(name))


@pytest.mark.parametrize(("step", "idle"), [(3, "_search_complete"), (None, "_search_in_float64")])
def test_a_program_without_stars_of_its_kind_is_not_run(
    curved_model, curved_survey, monkeypatch, step, idle
):
    """Nor compiled, which takes longer than it does to label thousands of stars."""
    monkeypatch.setattr(search, idle, None)
    if step:
        curved_survey["flux_ivar"][:, ::step] = 0
    assert np.isfinite(lux.infer(curved_survey, curved_model)["label_value"]).all()


@pytest.mark.slow
def test_labels_of_a_window_come_from_its_pixels(curved_model, curved_survey):
    label = curved_model["label_value"]
    spans = (("fe_h", ((15100.0, 15140.0),)),)
    outputs = (dataclasses.replace(label, windows=spans), curved_model["flux"])
    windowed = dataclasses.replace(curved_model, outputs=outputs)
    changed = curved_survey.copy(deep=True)
    changed["flux"][:, 30:] += np.float32(0.01)
    before, after = (lux.infer(s, windowed) for s in (curved_survey, changed))
    same = before["label_value"] == after["label_value"]
    assert same.sel(label="fe_h").all()
    assert not same.sel(label="teff").any()
    inside = lux.infer(drop(curved_survey, slice(21, None)), curved_model)
    np.testing.assert_allclose(
        before["label_value"].sel(label="fe_h"), inside["label_value"].sel(label="fe_h"), atol=1e-4
    )
    lazy = lux.infer(curved_survey.chunk(star=100), windowed, given=["flux", "label_value"])
    assert np.isfinite(lazy["label_value"]).all()


BOTH = pytest.param(["flux", "label_value"], marks=pytest.mark.slow)


@pytest.mark.parametrize("curved", ["flux", "label_value"])
@pytest.mark.parametrize("given", ["flux", "label_value", BOTH])
def test_one_curved_output_beside_a_plain_one(small_model, held_out, curved, given):
    """A map whose products have no weight is the linear map, whichever output has it."""
    from luxscale.model.decoders import PolynomialMap
    from luxscale.model.features import PolynomialFeatures

    features = PolynomialFeatures(4, 4)
    outputs = []
    for output in small_model.outputs:
        weights = np.zeros((len(output.coord), features.n_terms))
        weights[:, :4] = output.map.weights
        bent = PolynomialMap(weights, output.map.offset, features)
        outputs.append(dataclasses.replace(output, map=bent) if output.name == curved else output)
    model = dataclasses.replace(small_model, outputs=tuple(outputs))
    stars = held_out.isel(star=slice(0, 100))
    plain, found = (lux.infer(stars, m, given) for m in (small_model, model))
    away = (found["label_value"] - plain["label_value"]) / plain["label_err"]
    assert float(abs(away).max()) < 0.02
    np.testing.assert_allclose(found["label_err"], plain["label_err"], rtol=0.02)


def test_plain_parts_are_solved_without_a_search(small_model, curved_model):
    assert Inference.of(small_model).problem.is_linear
    flat = dataclasses.replace(curved_model, prior=GaussianPrior())
    for model in (curved_model, flat):
        assert not Inference.of(model).problem.is_linear
