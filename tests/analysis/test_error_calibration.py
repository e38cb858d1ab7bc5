"""Calibrations find errors as drawn, say how many stars they need, and hold for others."""

import dataclasses
import json

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

import luxscale as lux
from luxscale import store
from luxscale.analysis.calibrating import TOLERANCE, Sample, fit_errors, fit_scale, smooth
from luxscale.analysis.error_calibration import format_calibration
from luxscale.analysis.evaluate import compare
from luxscale.cli import main
from luxscale.errors import InputError
from luxscale.model.calibration import make_constants


def draw(n_stars, visits, *, scale=1.0, floor=0.0, truth_err=0.03, seed=0, spread=0.4):
    """Return a sample whose errors are scale times the formal one and the floor.

    scale and floor : numbers, or functions of the formal error.
    """
    rng = np.random.default_rng(seed)
    star = np.repeat(np.arange(n_stars), visits)
    formal = 0.05 * np.exp(spread * rng.normal(size=star.size))
    scale, floor = (f(formal) if callable(f) else f * np.ones(star.size) for f in (scale, floor))
    truth = rng.normal(size=n_stars)[star]
    shared = rng.normal(size=n_stars)[star]
    value = truth + scale * formal * rng.normal(size=star.size) + floor * shared
    trusted = truth + truth_err * rng.normal(size=n_stars)[star]
    return Sample(value, formal, star, trusted, np.full(star.size, truth_err))


def test_scale_and_floor_are_those_that_were_drawn():
    found = fit_errors(draw(3000, 4, scale=1.4, floor=0.08), 1.0)
    assert found.scale.middle == pytest.approx(1.4, rel=0.04)
    assert found.floor.middle == pytest.approx(0.08, rel=0.06)
    assert found.record["stars"] == 3000 and found.record["pairs"] == 9000


def test_right_errors_stay():
    found = fit_errors(draw(3000, 4), 1.0)
    assert found.scale.middle == pytest.approx(1, abs=0.03)
    assert found.floor.middle < 0.02


def test_repeats_never_lower_formal_errors():
    scale, _ = fit_scale(draw(2000, 3, scale=0.6))
    assert scale.value == (1.0,)


def test_copies_of_spectra_tell_no_scale_below_one():
    star = np.repeat(np.arange(1000), 2)
    copies = Sample(*(column[star] for column in draw(1000, 1)[:2]), star, *draw(1000, 2)[3:])
    scale, pairs = fit_scale(copies)
    assert scale.value == (1.0,) and pairs == 1000
    # where half of the stars are copies, the others still tell
    mixed = draw(4000, 2, scale=2.0)
    copied = mixed.star < 2000
    scale, _ = fit_scale(
        mixed._replace(
            formal=np.where(copied, 0.1, 1) * mixed.formal, value=np.where(copied, 1, mixed.value)
        )
    )
    np.testing.assert_allclose(scale.scale_by(np.array([0.004, 0.08])), [1, 2], rtol=0.1)


def test_visits_of_a_few_stars_alone_tell_no_scale():
    for n_stars, known in ((1, False), (11, False), (12, True)):
        scale, pairs = fit_scale(draw(n_stars, 500))
        assert (scale is not None) == known and pairs == 499 * n_stars


@pytest.mark.parametrize("outlier", [1e10, 1e18, 1e30])
def test_one_absurd_label_leaves_the_floor(outlier):
    sample = draw(3000, 1, floor=0.08)
    expected = fit_errors(sample, 1.0).floor.middle
    sample.value[0] = outlier
    assert fit_errors(sample, 1.0).floor.middle == pytest.approx(expected, rel=0.01)


def test_trends_with_the_formal_error_are_found_and_none_where_there_is_none():
    rising = draw(8000, 3, scale=lambda f: 1 + 8 * f)
    scale, _ = fit_scale(rising)
    at = np.array([0.03, 0.05, 0.09])
    np.testing.assert_allclose(scale.scale_by(at), 1 + 8 * at, rtol=0.08)
    # the floor of a star's visits depends on the star
    misfit = draw(30_000, 1, floor=lambda f: 0.02 + 2 * f, truth_err=0.01)
    found = fit_errors(misfit, 1.0)
    np.testing.assert_allclose(found.floor(at), 0.02 + 2 * at, rtol=0.1)
    assert len(fit_scale(draw(8000, 3, scale=1.3))[0].at) == 1


def test_a_label_is_known_from_as_many_stars_as_are_said():
    sample = draw(100, 1, floor=0.05, truth_err=0.14)
    few = fit_errors(sample, 1.0)
    assert few.scale is None and few.floor is None
    needed = few.record["needed_stars"]
    # t / e = 2: of the variance of residuals a fifth is the label's
    assert needed == pytest.approx((1.1664 * 5 / TOLERANCE) ** 2, rel=0.6)
    assert few.record["known_to"] == pytest.approx(TOLERANCE * np.sqrt(needed / 100), rel=0.01)
    assert fit_errors(draw(6000, 1, floor=0.05, truth_err=0.14), 1.0).floor is not None
    found = [
        fit_errors(draw(8000, 1, floor=0.05, truth_err=0.14, seed=k, spread=0.01), 1.0)
        for k in range(50)
    ]
    err = np.array([np.hypot(0.05, fit.floor.middle) for fit in found])
    stated = np.mean([fit.record["known_to"] for fit in found])
    assert err.mean() == pytest.approx(np.hypot(0.05, 0.05), rel=0.03)
    assert err.std() / err.mean() == pytest.approx(stated, rel=0.35)


def test_a_factor_of_training_gives_way_where_labels_need_less():
    sample = draw(4000, 1, floor=0.03, truth_err=0.02)
    assert fit_errors(sample, 2.0).scale.middle == 1
    fitting = draw(4000, 1, scale=2.0, floor=0.05, truth_err=0.02)
    assert fit_errors(fitting, 2.0).scale.middle == 2


@settings(max_examples=60)
@given(st.integers(1, 6), st.integers(0, 10_000))
def test_smoothed_values_rise_or_fall_within_their_range(n, seed):
    rng = np.random.default_rng(seed)
    value, err = rng.uniform(1, 2, n), rng.uniform(0.01, 0.3, n)
    found = smooth(value, err)
    steps = np.diff(found)
    assert (steps >= 0).all() or (steps <= 0).all()
    assert found.min() >= value.min() - 1e-9 and found.max() <= value.max() + 1e-9
    assert (np.diff(smooth(value, err, rising=True)) >= 0).all()


def visit(world, n_stars, visits, seed, *, copied=False, noisy=1.5):
    """Return a survey of visits, with trusted labels of each, or one that a star's visits copy.

    Formal errors are right for it but for a noise of the spectra of 1.5 times their errors, or of
    ``noisy`` times.
    """
    rng = np.random.default_rng(seed)
    star = np.repeat(np.arange(n_stars), visits)
    survey = world.survey(n_stars, seed, missing_labels=0, missing_pixels=0).isel(star=star)
    z = rng.standard_normal((n_stars, world.latent_dim))[star]
    err = survey.flux_ivar.values.astype(float) ** -0.5
    noise = noisy * err * rng.normal(size=err.shape)
    noise += world.flux_scatter * rng.normal(size=(n_stars, err.shape[1]))[star]
    flux = world.flux_offset + z @ world.flux_weights.T + noise
    true = world.label_offset + z @ world.label_weights.T
    label_err = np.broadcast_to([20.0, 0.04, 0.03, 0.02], true.shape)
    draws = rng.normal(size=true.shape)
    if copied:
        draws = draws[star * visits]
    return survey.assign(
        flux=(("star", "wavelength"), flux.astype("f4")),
        label_true=(("star", "label"), true),
        label_value=(("star", "label"), true + label_err * draws),
        label_err=(("star", "label"), label_err.copy()),
        object=("star", np.array([f"o{i}" for i in star], object)),
    ).assign_coords(star=[f"v{seed}-{i}" for i in range(star.size)])


@pytest.fixture(scope="module")
def visits(world):
    return visit(world, 700, 3, 31)


@pytest.fixture(scope="module")
def catalog(visits, small_model):
    return lux.infer(visits, small_model).load()


def test_pulls_of_other_stars_are_one_after_and_not_before(world, small_model, visits, catalog):
    calibrated = lux.calibrate_errors(small_model, catalog, visits, by="object")
    others = visit(world, 2500, 1, 32)
    before = compare(lux.infer(others, small_model), others).pull.values
    after = compare(lux.infer(others, calibrated), others).pull.values
    assert (before > 1.15).all()
    np.testing.assert_allclose(after, 1, atol=0.1)
    records = calibrated["label_value"].calibration.facts["labels"]
    assert all(record["scale"] > 1.1 and not record["kept"] for record in records)
    assert calibrated == lux.calibrate_errors(calibrated, catalog, visits, by="object")
    assert lux.remove_calibration(calibrated) == small_model
    between = lux.measure_repeats(
        lux.infer(visits, calibrated).load(), "object", survey=visits, model=calibrated
    )
    plain = lux.measure_repeats(catalog, "object", survey=visits, model=small_model)
    np.testing.assert_allclose(between.formal_ratio[0], plain.formal_ratio[0], rtol=0.05)


def test_trusted_labels_that_visits_copy_count_once(world, small_model):
    survey = visit(world, 700, 3, 33, copied=True)
    found = lux.calibrate_errors(small_model, lux.infer(survey, small_model), survey, by="object")
    drawn = visit(world, 700, 3, 33)
    other = lux.calibrate_errors(small_model, lux.infer(drawn, small_model), drawn, by="object")
    once, each = (m["label_value"].calibration.facts["labels"][3] for m in (found, other))
    assert once["after"] == pytest.approx(each["after"], rel=0.12)
    assert once["known_to"] > 1.2 * each["known_to"]


def test_stars_of_training_and_missing_labels_are_left_out_and_counted(
    small_model, _small_survey, visits, catalog
):
    held = visits.copy(deep=True)
    held["label_value"].values[:600, 1] = np.nan
    held["label_err"].values[:, 2] = np.nan
    trained = str(_small_survey.star.values[0])
    assert small_model.training_stars.find(np.array([trained], object)).all()
    names = np.array([trained, *visits.star.values[1:].tolist()], object)
    moved = catalog.assign_coords(star=names)
    found = lux.calibrate_errors(small_model, moved, held.assign_coords(star=names), by="object")
    calibration = found["label_value"].calibration
    assert calibration.facts["counts"]["trained"] == 1
    records = calibration.facts["labels"]
    assert [r["stars"] for r in records] == [699, 500, 0, 699]
    assert [r["pairs"] for r in records] == [2 * 699] * 4
    assert records[2]["kept"] and records[2]["known_to"] is None
    assert records[2]["floor"] == pytest.approx(small_model["label_value"].floor[2])
    assert "kept" in format_calibration(calibration)


def test_visits_of_a_star_of_training_are_left_out_where_that_row_is_not_taken(
    small_model, _small_survey, visits, catalog
):
    names = np.array([_small_survey.star.values[0], *visits.star.values[1:]], object)
    moved, labelled = (each.assign_coords(star=names) for each in (visits, catalog))
    others = labelled.isel(star=slice(1, None))
    found = lux.calibrate_errors(small_model, others, moved, by="object")
    counts = found["label_value"].calibration.facts["counts"]
    assert counts["trained"] == 1 and counts["repeated"] == 700
    assert found["label_value"].calibration.facts["labels"][0]["stars"] == 699


def test_too_few_stars_are_refused_with_how_many_are_needed(small_model, visits, catalog):
    some = slice(0, 60)
    with pytest.raises(InputError, match=r"catalogue: 40 pairs of visits and 20 held-out stars"):
        lux.calibrate_errors(
            small_model, catalog.isel(star=some), visits.isel(star=some), by="object"
        )
    bare = visits.drop_vars(["label_value", "label_err"]).isel(star=some)
    with pytest.raises(InputError, match=r"give 137 pairs of visits .*, or stars with trusted"):
        lux.calibrate_errors(small_model, catalog.isel(star=some), bare, by="object")


def test_repeats_without_trusted_labels_tell_the_scale_alone(small_model, visits, catalog):
    bare = visits.drop_vars(["label_value", "label_err"])
    found = lux.calibrate_errors(small_model, catalog, bare, by="object")
    records = found["label_value"].calibration.facts["labels"]
    assert all(r["kept"] and r["scale"] > 1.1 for r in records)
    floors = [r["floor"] for r in records]
    np.testing.assert_allclose(floors, small_model["label_value"].floor)


@pytest.mark.parametrize("factor", [0.85, 1.2])
def test_labels_that_are_kept_have_the_errors_of_training(world, small_model, factor):
    """Repeats whose scale is 1, the least there is, do not say that a smaller one is wrong."""
    survey = visit(world, 300, 2, 34, noisy=0.8).drop_vars(["label_value", "label_err"])
    label, flux = small_model.outputs
    label = dataclasses.replace(label, inflation=make_constants([factor] * 4))
    model = dataclasses.replace(small_model, outputs=(label, flux))
    catalog = lux.infer(survey, model).load()
    calibrated = lux.calibrate_errors(model, catalog, survey, by="object")
    again = lux.infer(survey, calibrated).load()
    np.testing.assert_allclose(again.label_err, catalog.label_err, rtol=1e-6)
    records = calibrated["label_value"].calibration.facts["labels"]
    middle = np.median(catalog.label_err, axis=0)
    for name in ("before", "after"):
        np.testing.assert_allclose([r[name] for r in records], middle, rtol=1e-3)


def test_what_does_not_belong_together_is_refused(small_model, _small_survey, visits, catalog):
    own = lux.infer(_small_survey, small_model)
    with pytest.raises(InputError, match="trained on all of its"):
        lux.calibrate_errors(small_model, own, _small_survey)
    calibrated = lux.calibrate_errors(small_model, catalog, visits, by="object")
    other = visits.assign_coords(label_units=("label", ["kK", "dex", "dex", "dex"]))
    with pytest.raises(InputError, match="label 'teff' is in K in the catalogue and in kK in the"):
        lux.calibrate_errors(small_model, catalog, other)
    with pytest.raises(InputError, match="its errors are calibrated; label"):
        lux.calibrate_errors(small_model, lux.infer(visits, calibrated), visits, by="object")
    with pytest.raises(InputError, match="before its errors were calibrated; label"):
        lux.predict(catalog, calibrated)
    alone = visits.assign(field=("star", np.arange(visits.sizes["star"])))
    with pytest.raises(InputError, match=r"no star has two visits .*'field' of its own.*'star'"):
        lux.calibrate_errors(small_model, catalog, alone, by="field")
    with pytest.raises(InputError, match="nothing is called 'target'"):
        lux.calibrate_errors(small_model, catalog, visits, by="target")
    with pytest.raises(InputError, match="survey: a catalogue, whose labels are inferred"):
        lux.calibrate_errors(small_model, catalog, catalog)
    old = dataclasses.replace(
        small_model, provenance=dataclasses.replace(small_model.provenance, training_stars="")
    )
    with pytest.raises(InputError, match="does not say which stars it was trained on"):
        lux.calibrate_errors(old, catalog, visits, by="object")
    other = catalog.assign_attrs(model_fingerprint="0" * 64)
    with pytest.raises(InputError, match="not of this model"):
        lux.calibrate_errors(small_model, other, visits, by="object")
    unfinished = catalog.assign(status=("star", np.zeros(catalog.sizes["star"], np.uint8)))
    with pytest.raises(InputError, match="no row that is done"):
        lux.calibrate_errors(small_model, unfinished, visits, by="object")


def test_the_command_calibrates_in_place_and_takes_it_back(small_model, visits, catalog, tmp_path):
    paths = [str(tmp_path / f"{name}.zarr") for name in ("survey", "model", "catalog")]
    store.write_dataset(visits, paths[0], chunk=600)
    small_model.save(paths[1])
    lux.label_survey(*paths, progress=False)
    command = ["calibrate", paths[1], "--catalog", paths[2], "--survey", paths[0]]
    done = CliRunner().invoke(main, [*command, "--by", "object"])
    assert done.exit_code == 0, done.output
    said = "of 700 stars 700 have two visits or more, 3 at most, and 0 are of training and left out"
    assert said in done.output and "err before" in done.output
    expected = lux.calibrate_errors(small_model, catalog, visits, by="object")
    assert lux.load_model(paths[1]) == expected
    draw = ["plot", paths[0], "--row", "0", "--model", paths[1], "--catalog", paths[2]]
    drawn = CliRunner().invoke(main, [*draw, "--out", str(tmp_path / "star.png")])
    assert drawn.exit_code == 1
    assert f"{paths[2]}: the catalogue was made with this model before its" in drawn.output
    some = [*command, "--by", "object", "--where", "snr > 45", "--json"]
    facts = json.loads(CliRunner().invoke(main, some).output)
    assert facts["labels"][0]["pairs"] < 1400 and facts["version"]
    few = CliRunner().invoke(main, [*command, "--stars", "0:30"])
    assert few.exit_code == 1 and f"{paths[2]}: 0 pairs of visits and 30" in few.output
    assert CliRunner().invoke(main, [*command, "--remove"]).exit_code == 2
    assert CliRunner().invoke(main, command[:4]).exit_code == 2
    ignored = CliRunner().invoke(main, ["calibrate", paths[1], "--remove", "--where", "snr > 45"])
    assert ignored.exit_code == 2 and "leave out --where" in ignored.output
    CliRunner().invoke(main, ["calibrate", paths[1], "--remove"])
    assert lux.load_model(paths[1]) == small_model
