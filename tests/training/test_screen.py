"""Labels that contradict their spectra steer no training, and others are kept."""

import contextlib
import io
import json
import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import luxscale as lux
from luxscale.examples.simulate import simulate
from luxscale.progress import Progress
from luxscale.schema.outputs import pick_outputs
from luxscale.schema.placeholders import EVERY_SENTINEL, is_sentinel
from luxscale.training.load import load_training
from luxscale.training.methods import LABEL_CLIP
from luxscale.training.screen import _judge, _Offsets, find_group_clip
from luxscale.training.select import read_stars


def load(survey, clip=LABEL_CLIP):
    return load_training(survey, pick_outputs(survey, None, "survey"), "survey", clip=clip)


def spoil(survey, share, number, seed=0):
    """Replace a share of the labels by one number; returns which."""
    spoilt = survey.copy(deep=True)
    known = np.isfinite(spoilt["label_err"].values) & np.isfinite(spoilt["label_value"].values)
    chosen = known & (np.random.default_rng(seed).random(known.shape) < share)
    spoilt["label_value"].values[chosen] = number
    return spoilt, chosen


def test_ordinary_labels_are_kept(small_survey):
    for output in load(small_survey).labels:
        assert not output.outlying.any()
        assert not output.widened.any()


@given(
    number=st.floats(allow_nan=False, allow_infinity=False, width=64),
    share=st.sampled_from([0.01, 0.03]),
)
@settings(max_examples=10)
def test_what_is_left_lies_within_the_clip(_small_survey, number, share):
    """Whatever some labels are replaced by: they are found, or lie among the others."""
    assume(not is_sentinel(np.array(number), EVERY_SENTINEL))  # refused
    spoilt, chosen = spoil(_small_survey, share, number)
    (output,) = load(spoilt).labels
    error = np.abs(spoilt["label_value"] - spoilt["label_true"]).values
    scatter = 1.4826 * np.nanmedian(np.where(chosen, np.nan, error), axis=0)
    bound = np.maximum(2 * LABEL_CLIP * scatter, 4 * spoilt["label_true"].std("star").values)
    left = chosen & ~output.outlying
    assert (error[left] < bound[np.nonzero(left)[1]]).all()
    assert not output.outlying[~chosen].any()


def test_a_unit_that_is_wrong_for_some_is_found(small_survey):
    spoilt = small_survey.copy(deep=True)
    spoilt["label_value"].values[10:20, 0] *= 1e-3
    (output,) = load(spoilt).labels
    known = np.isfinite(spoilt["label_value"].values[:, 0])
    assert output.outlying[10:20, 0].sum() == known[10:20].sum()
    assert output.outlying.sum() == known[10:20].sum()


def test_the_order_of_stars_is_of_no_matter(small_survey):
    spoilt, _ = spoil(small_survey, 0.03, 12.0)
    (one,) = load(spoilt).labels
    (other,) = load(spoilt.isel(star=slice(None, None, -1))).labels
    np.testing.assert_array_equal(one.outlying, other.outlying[::-1])


def test_right_labels_of_rare_stars_are_kept(small_survey):
    """A few stars of their own kind, which no regression on the others reaches."""
    stars = small_survey.copy(deep=True)
    rare = slice(0, 12)
    stars["flux"].values[rare, 5:15] += 0.6
    stars["flux"].values[rare, 20:30] -= 0.6
    stars["label_value"].values[rare, 2] = -6.0
    stars["label_err"].values[rare, 2] = 0.05
    (output,) = load(stars).labels
    assert not output.outlying[rare, 2].any()


def rms(survey, held_out, **how):
    model = lux.train(survey, 4, iterations=6, folds=1, progress=False, **how)
    error = lux.infer(held_out, model, "flux")["label_value"] - held_out["label_true"]
    return np.sqrt((error**2).mean("star")).values, model


@pytest.mark.parametrize("number", [1e25, 7.0])
def test_labels_of_stars_left_out_are_as_good(small_survey, held_out, number):
    clean, _ = rms(small_survey, held_out)
    found, model = rms(spoil(small_survey, 0.04, number)[0], held_out)
    assert (found < 1.1 * clean).all()
    assert json.loads(model.provenance.settings)["outlying_labels"] > 0


def replace(values, known, kind, rng):
    """Return other numbers in the place of labels: (star, label)."""
    spread = np.nanstd(values, axis=0)
    if kind == "others":
        drawn = [rng.choice(column[k], k.size) for column, k in zip(values.T, known.T, strict=True)]
        return np.stack(drawn, 1)
    if kind == "within":
        return rng.uniform(np.nanmin(values, 0), np.nanmax(values, 0), values.shape)
    return {
        "zeros": 0 * values,
        "up": values + 3 * spread,
        "down": values - 3 * spread,
        "unit": 1000 * values,
        "celsius": values + 273.15,
    }[kind]


def spoil_kind(survey, kind, seed):
    """Replace 3% of the labels; returns which."""
    rng = np.random.default_rng(seed)
    spoilt = survey.copy(deep=True)
    values = spoilt["label_value"].values
    known = np.isfinite(values) & np.isfinite(spoilt["label_err"].values)
    chosen = known & (rng.random(values.shape) < 0.03)
    values[chosen] = replace(values, known, kind, rng)[chosen]
    return spoilt, chosen


@pytest.fixture(scope="module")
def giants():
    """Surveys of 400 giants to train on, and 1,000 others."""
    surveys = [simulate(1400, n_pixels=600, seed=seed) for seed in (1, 2, 3)]
    return [(s.isel(star=slice(400)), s.isel(star=slice(400, None))) for s in surveys]


@pytest.fixture(scope="module")
def errors_of_clean(giants):
    return [measure_errors(*stars) for stars in giants]


def measure_errors(known, left_out):
    model = lux.train(known, latent_dim=20, iterations=12, folds=1, progress=False)
    catalog = lux.infer(left_out, model, "flux")
    error = catalog["label_value"] - left_out["label_true"]
    return np.sqrt((error**2).mean("star")).values


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["zeros", "others", "within", "up", "down", "unit", "celsius"])
def test_a_few_percent_of_wrong_labels_change_little(giants, errors_of_clean, kind):
    """Also such as lie among the others; of each label, the mean over three surveys."""
    ratios = []
    for seed, ((known, left_out), clean) in enumerate(zip(giants, errors_of_clean, strict=True)):
        ratios.append(measure_errors(spoil_kind(known, kind, seed)[0], left_out) / clean)
    assert (np.mean(ratios, 0) < 1.1).all()


@pytest.mark.slow
@pytest.mark.parametrize("number", [0.0, "shuffled"])
def test_a_few_percent_of_wrong_labels_change_no_label_much(number):
    """Also such as lie among the others: they have to be told by the spectra."""
    stars = simulate(1400, n_pixels=600, seed=3)
    known, left_out = stars.isel(star=slice(400)), stars.isel(star=slice(400, None))
    spoilt, chosen = spoil(known, 0.03, 0.0)
    others = known["label_value"].values[::-1]
    spoilt["label_value"].values[chosen] = others[chosen] if number == "shuffled" else number
    how = {"latent_dim": 20, "iterations": 12, "folds": 1, "progress": False}
    errors = []
    for survey in (known, spoilt):
        catalog = lux.infer(left_out, lux.train(survey, **how), "flux")
        error = catalog["label_value"] - left_out["label_true"]
        errors.append(np.sqrt((error**2).mean("star")).values)
    assert (errors[1] < 1.1 * errors[0]).all()


@pytest.mark.parametrize("kind", ["up", "down"])
def test_a_group_that_is_less_far_off_gets_larger_errors(kind):
    """Three spreads are about four standard deviations of labels that are hard to tell."""
    known = simulate(400, n_pixels=300, seed=1).sel(label=["teff", "o_m", "mg_m"])
    (clean,) = load(known).labels
    assert not clean.outlying.any()
    assert not clean.widened.any()
    spoilt, chosen = spoil_kind(known, kind, 1)
    (output,) = load(spoilt).labels
    found = output.outlying | output.widened
    assert found[chosen].mean() > 0.5
    assert found[~chosen].mean() < 0.005
    # errors as large as the labels are off: 3 spreads, by about which they are scaled
    _, ivar = output.read_table()
    of_wrong = 1 / np.sqrt(ivar[output.widened & chosen])
    assert 1 < of_wrong.min() < of_wrong.max() < 6
    _, before = clean.read_table()
    np.testing.assert_allclose(ivar[~found], before[~found], rtol=0.5)


def judge(distance, excess, isolated):
    """Return the labels that are set aside, and the doubtful ones."""
    offsets = _Offsets(size=distance, distance=distance, excess=excess, isolated=isolated)
    return tuple(np.flatnonzero(found).tolist() for found in _judge(offsets, 6.0))


def test_a_label_of_a_star_that_none_is_similar_to_is_kept_with_a_larger_error():
    distance = np.zeros(400)
    distance[397:] = 7.0, 2.0, 7.0
    excess = np.full(400, 9.0)
    isolated = np.arange(400) >= 398
    assert judge(distance, excess, isolated) == ([397], [399])
    # that regressions say little of it is no excuse where others are wrong
    distance[:8] = 4.0
    assert judge(distance, excess, isolated) == ([397], [*range(8), 398, 399])


def test_a_group_is_more_than_chance_makes():
    distance = np.zeros(400)
    distance[:3] = 4.5
    assert find_group_clip(distance, 6.0) == 6.0
    distance[3] = 4.0
    assert 3.9 < find_group_clip(distance, 6.0) < 4.0
    # far ones, set aside anyway, are no reason to doubt others
    distance[:3] = 100.0
    assert find_group_clip(distance, 6.0) == 6.0
    by_chance = np.abs(np.random.default_rng(0).standard_normal(10_000))
    assert find_group_clip(by_chance, 6.0) == 6.0


def test_they_are_counted_and_named(small_survey):
    spoilt = small_survey.copy(deep=True)
    spoilt["label_value"].values[[3, 8], 1] = 40.0
    spoilt["label_err"].values[[3, 8], 1] = 0.1
    said = io.StringIO()
    with contextlib.redirect_stderr(said):
        model = lux.train(spoilt, 2, iterations=1, folds=1)
    assert "2 labels contradict the spectra of their stars" in said.getvalue()
    assert "logg of 2 (s1-00003, s1-00008)" in said.getvalue()
    record = json.loads(model.provenance.settings)
    assert (record["outlying_labels"], record["label_clip"]) == (2, 6.0)


def test_those_with_larger_errors_are_counted_and_named():
    known = simulate(400, n_pixels=300, seed=1).sel(label=["teff", "o_m", "mg_m"])
    spoilt, _ = spoil_kind(known, "up", 1)
    said = io.StringIO()
    with contextlib.redirect_stderr(said), Progress("reading", 1) as shown:
        data = read_stars(spoilt, None, "survey", shown, LABEL_CLIP)
    (output,) = data.labels
    number = int(output.widened.sum())
    assert f"{number} labels are of groups that are off by more than 3 standard" in said.getvalue()
    assert dict(data.left_out)["widened_labels"] == number


def test_all_may_be_kept(small_survey):
    spoilt, _ = spoil(small_survey, 0.03, 12.0)
    assert not load(spoilt, math.inf).labels[0].outlying.any()
    with pytest.raises(lux.InputError, match="label_clip is 0; it must be above 0"):
        lux.train(spoilt, 2, label_clip=0)


def test_a_label_that_is_a_class_is_kept(small_survey):
    """Most of its values are equal, so that any other is far off by that measure."""
    stars = small_survey.copy(deep=True)
    is_hot = stars["label_value"].values[:, 0] > np.nanquantile(stars["label_value"][:, 0], 0.85)
    stars["label_value"].values[:, 0] = is_hot
    stars["label_err"].values[:, 0] = 0.05
    (output,) = load(stars).labels
    assert not output.outlying[:, 0].any()


def test_stars_that_have_one_spectrum_each_are_read(small_survey):
    """No star has half of all pixels: nothing is told of its labels, and none is set aside."""
    stars = small_survey.rename(wavelength="pixel", flux="a", flux_ivar="a_ivar")
    parts = {}
    for i, name in enumerate("abc"):
        own = (np.arange(stars.sizes["star"]) % 3 == i)[:, None]
        grid = f"pixel_{name}"
        parts[name] = (("star", grid), stars["a"].values)
        parts[f"{name}_ivar"] = (("star", grid), np.where(own, stars["a_ivar"].values, 0))
    made = stars.drop_vars(["a", "a_ivar"]).assign(parts)
    grids = {
        f"pixel_{name}": ("pixel_" + name, stars["pixel"].values, stars["pixel"].attrs)
        for name in "abc"
    }
    for output in load(made.assign_coords(grids)).labels:
        assert not output.outlying.any()


def test_an_absurd_pixel_hides_no_wrong_label(small_survey):
    spoilt = small_survey.copy(deep=True)
    spoilt["label_value"].values[10:20, 0] *= 1e-3
    known = np.isfinite(spoilt["label_value"].values[10:20, 0]).sum()
    spoilt["flux"].values[100, 7] = 1e3
    spoilt["flux_ivar"].values[100, 7] = 100
    (output,) = load(spoilt).labels
    assert output.outlying[10:20, 0].sum() == known
