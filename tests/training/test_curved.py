"""Curved training, on simulated stars whose spectra are curved in their labels."""

import json

import numpy as np
import pytest
import xarray as xr
from simulated_curves import SPREAD, make_survey

import luxscale as lux
from luxscale.errors import InputError
from luxscale.schema import flags
from luxscale.training import refine
from luxscale.training.curved import _Training

SIZES = {"latent_dim": 4, "quadratic": 4, "components": 12, "gaussians": 6, "iterations": 12}


@pytest.fixture(scope="module")
def training_stars():
    return make_survey()


@pytest.fixture(scope="module")
def held_out():
    return make_survey(600, seed=1)


@pytest.fixture(scope="module")
def curved(training_stars):
    return lux.train(training_stars, method="curved", progress=False, **SIZES)


def errors_of(model, stars):
    """Inferred less true labels in units of their spread, and the catalogue."""
    catalog = lux.infer(stars, model)
    return (catalog.label_value.values - stars.label_true.values) / SPREAD, catalog


def test_curved_labels_beat_linear_ones_and_their_errors_are_right(
    training_stars, held_out, curved
):
    linear = lux.train(training_stars, 8, progress=False)
    ours, catalog = errors_of(curved, held_out)
    theirs, _ = errors_of(linear, held_out)
    assert ((ours**2).mean(0) < 0.5 * (theirs**2).mean(0)).all()
    pulls = ours * SPREAD / catalog.label_err.values
    width = 1.4826 * np.median(np.abs(pulls), 0)
    assert ((width > 0.7) & (width < 1.25)).all(), width
    assert (catalog.n_pixels.values == 12).all()  # components, not pixels
    # four latents take their share of twelve components
    assert float((catalog.chi2 / catalog.n_pixels).median()) == pytest.approx(8 / 12, abs=0.1)
    settled = (catalog["flags"].values & int(flags.BIT["not_settled"])) == 0
    assert settled.mean() > 0.995


def test_the_objective_rises(curved):
    assert np.isfinite(curved.objective).all()
    assert curved.objective[-1] > curved.objective[0]


def test_errors_grow_with_noise_and_far_from_the_stars(held_out, curved):
    noisy = held_out.assign(flux_ivar=held_out.flux_ivar / 25)
    plain, worse = (lux.infer(s, curved).label_err.values for s in (held_out, noisy))
    assert (np.median(worse / plain, 0) > 1.5).all()


def test_the_file_keeps_all_of_it(tmp_path, held_out, curved):
    curved.save(tmp_path / "model.zarr")
    again = lux.load_model(tmp_path / "model.zarr")
    assert again.fingerprint == curved.fingerprint
    xr.testing.assert_identical(lux.infer(held_out, again), lux.infer(held_out, curved))


@pytest.mark.slow
def test_the_order_of_stars_and_the_seed_do_not_matter(training_stars, held_out, curved):
    order = np.random.default_rng(4).permutation(training_stars.sizes["star"])
    other = lux.train(
        training_stars.isel(star=order), method="curved", seed=5, progress=False, **SIZES
    )
    one, two = (lux.infer(held_out, m) for m in (curved, other))
    moved = np.abs(one.label_value - two.label_value) / one.label_err
    assert float(moved.max()) < 1e-2


@pytest.mark.slow
def test_training_bears_gaps(held_out, curved):
    gapped = make_survey(gaps=0.2)
    model = lux.train(gapped, method="curved", folds=1, progress=False, **SIZES)
    for stars in (held_out, make_survey(600, seed=1, gaps=0.2)):
        ours, catalog = errors_of(model, stars)
        whole, _ = errors_of(curved, stars)
        assert ((ours**2).mean(0) < 1.4 * (whole**2).mean(0)).all()
        assert catalog.n_pixels.values.max() <= 12


def test_arms_that_are_outputs_have_noise_levels_of_their_own(training_stars, held_out, curved):
    """An arm that is all noise counts for nothing; within one spectrum its level passes unseen."""
    few = {"latent_dim": 3, "quadratic": 3, "components": 12, "gaussians": 1, "iterations": 7}
    arms = lux.train(split_arms(training_stars), method="curved", folds=1, progress=False, **few)
    stream = np.random.default_rng(5)
    ivar = held_out.flux_ivar.values.copy()
    ivar[:, 30:] /= 100**2
    drawn = [arms["flux_red"].noise.draw_errors(one, stream) for one in ivar[:, 30:]]
    spoilt = held_out.assign(flux_ivar=(held_out.flux.dims, ivar), flux=held_out.flux.copy())
    spoilt.flux[:, 30:] += np.array(drawn)

    blue = lux.infer(split_arms(held_out), arms, given="flux_blue")
    both = lux.infer(split_arms(spoilt), arms, given=["flux_blue", "flux_red"])
    moved = np.abs(both.label_value - blue.label_value) / blue.label_err
    assert float(moved.median()) < 0.05
    unseen, _ = errors_of(curved, spoilt)
    seen = (both.label_value.values - held_out.label_true.values) / SPREAD
    assert np.median(np.abs(unseen)) > 3 * np.median(np.abs(seen))


def split_arms(stars):
    """The first 30 pixels and the others as two outputs."""
    arms = stars.drop_vars(["flux", "flux_ivar", "wavelength"])
    for name, pixels in (("blue", slice(0, 30)), ("red", slice(30, None))):
        part = stars.isel(wavelength=pixels).rename(wavelength=f"wavelength_{name}")
        arms[f"flux_{name}"] = part.flux
        arms[f"flux_{name}_ivar"] = part.flux_ivar
    return arms


def test_missing_labels_are_no_obstacle(training_stars, held_out, curved):
    rng = np.random.default_rng(6)
    missing = rng.random(training_stars.label_value.shape) < 0.3
    lacking = training_stars.assign(
        label_err=training_stars.label_err.where(xr.DataArray(~missing, dims=("star", "label")))
    )
    model = lux.train(lacking, method="curved", folds=1, progress=False, **SIZES)
    ours, _ = errors_of(model, held_out)
    whole, _ = errors_of(curved, held_out)
    assert ((ours**2).mean(0) < 1.5 * (whole**2).mean(0)).all()


def test_spectra_follow_from_labels(held_out, curved):
    catalog = lux.infer(held_out, curved, given="label_value")
    spectra = lux.predict(catalog, curved, output="flux")
    near = float(np.sqrt(((spectra - held_out.flux) ** 2).mean()))
    far = float(np.sqrt(((held_out.flux.mean("star") - held_out.flux) ** 2).mean()))
    assert near < 0.5 * far


def test_an_outlying_star_is_flagged_and_does_not_steer(training_stars, held_out, curved):
    broken = training_stars.copy(deep=True)
    broken.flux.values[:5] = broken.flux.values[:5, ::-1] * 3
    model = lux.train(broken, method="curved", folds=1, progress=False, **SIZES)
    ours, _ = errors_of(model, held_out)
    whole, _ = errors_of(curved, held_out)
    assert ((ours**2).mean(0) < 1.5 * (whole**2).mean(0)).all()
    caught = lux.infer(broken.isel(star=slice(0, 5)), curved)["flags"].values
    assert (caught & int(flags.BIT["bad_fit"]) > 0).all()


@pytest.mark.slow
def test_independent_noise_has_the_scatter_of_its_pixels_and_right_errors():
    training, held_out = (
        with_white_noise(make_survey(n, seed)) for n, seed in ((600, 0), (300, 1))
    )
    model = lux.train(
        training,
        method="curved",
        noise="independent",
        latent_dim=6,
        quadratic=3,
        gaussians=1,
        iterations=20,
        folds=2,
        progress=False,
    )
    np.testing.assert_allclose(np.median(model["flux"].scatter), 0.01, rtol=0.1)
    ours, catalog = errors_of(model, held_out)
    theirs, _ = errors_of(lux.train(training, 7, folds=1, progress=False), held_out)
    assert ((ours**2).mean(0) < 0.75 * (theirs**2).mean(0)).all()
    width = 1.4826 * np.median(np.abs(ours * SPREAD / catalog.label_err.values), 0)
    assert ((width > 0.8) & (width < 1.25)).all(), width
    # six latents take their share of 45 pixels
    assert float((catalog.chi2 / catalog.n_pixels).median()) == pytest.approx(39 / 45, abs=0.06)


def with_white_noise(stars):
    """The same stars with pixels of error 0.005, scatter 0.01 beyond it, and gaps."""
    rng = np.random.default_rng(len(stars.star))
    x = (stars.label_true.values - [4800.0, 2.4, -0.3]) / SPREAD
    shapes = np.cumsum(np.random.default_rng(3).standard_normal((9, 50)), 1) / np.sqrt(50)
    i, j = np.tril_indices(3)
    flux = 3 + 0.1 * (x @ shapes[:3] + 0.5 * (x[:, i] * x[:, j]) @ shapes[3:])
    flux = flux + np.hypot(0.005, 0.01) * rng.standard_normal(flux.shape)
    ivar = np.where(rng.random(flux.shape) < 0.1, 0, 0.005**-2)
    dims = ("star", "wavelength")
    return stars.assign(flux=(dims, flux.astype("f4")), flux_ivar=(dims, ivar.astype("f4")))


def test_stars_that_are_all_alike_are_refused_by_name(training_stars):
    alike = training_stars.isel(star=[0] * 60).assign_coords(star=[f"x{i}" for i in range(60)])
    with pytest.raises(InputError, match="no pixel that varies between stars"):
        lux.train(alike, method="curved", progress=False, **SIZES)


def test_a_value_that_is_no_number_counts_as_missing(held_out, curved):
    stars = held_out.isel(star=slice(0, 5))
    missing, broken = stars.copy(deep=True), stars.copy(deep=True)
    missing.flux_ivar.values[:, 11] = 0
    broken.flux.values[:, 11] = np.nan
    one, two = lux.infer(missing, curved), lux.infer(broken, curved)
    np.testing.assert_array_equal(one.label_value, two.label_value)
    flagged = two["flags"].values & int(flags.BIT["invalid_values"])
    assert (flagged > 0).all() and (one["flags"].values & flagged == 0).all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"outputs": ["label_value"]}, "needs spectra or bands"),
        ({"quadratic": 2, "cubic": 3}, "cubic=3 is more than quadratic=2"),
    ],
)
def test_what_cannot_be_trained_is_refused_by_name(training_stars, settings, message):
    asked = {"latent_dim": 2, **settings}
    with pytest.raises(InputError, match=message):
        lux.train(training_stars, method="curved", folds=1, progress=False, **asked)


def test_spectra_are_modelled_without_labels(training_stars, held_out, capsys):
    alone = training_stars.drop_vars(["label_value", "label_err", "label_true"])
    model = lux.train(alone, method="curved", folds=2, refine=10, **SIZES)
    assert "no better for refinement: it is not taken" in capsys.readouterr().err
    record = json.loads(model.provenance.settings)
    assert (record["refine"], record["refine_tried"]) == (0, 10)
    assert [output.spec.name for output in model.outputs] == ["flux"]
    catalog = lux.infer(held_out, model)
    assert 0.4 < float((catalog.chi2 / catalog.n_pixels).median()) < 8 / 12


@pytest.mark.parametrize("helps", [True, False])
def test_refinement_is_tried_on_a_fold_as_others_are_left_out(training_stars, monkeypatch, helps):
    left = []
    refit, choose_steps = _Training.refit, _Training.choose_steps

    def note(training, state, rows):
        left.append((len(rows), training.forgetting))
        return refit(training, state, rows)

    monkeypatch.setattr(refine, "helps", lambda *known: helps)
    monkeypatch.setattr(_Training, "refit", note)
    some = training_stars.isel(star=slice(0, 200))
    asked = {**SIZES, "iterations": 3, "method": "curved", "folds": 5, "refine": 2}
    once = lux.train(some, **asked, progress=False)
    assert left == [(160, 8)] * 5
    # the same as where the fold of the trial is made anew
    monkeypatch.setattr(_Training, "choose_steps", lambda *given: ({}, choose_steps(*given)[1]))
    anew = lux.train(some, **asked, progress=False)
    assert len(left) == 5 + 6
    assert (once.held_out, once.fingerprint) == (anew.held_out, anew.fingerprint)


@pytest.mark.slow
def test_refinement_is_part_of_training_and_of_its_folds(training_stars, held_out, monkeypatch):
    # stars left out want none here, where the model is the truth
    monkeypatch.setattr(refine, "helps", lambda *known: True)
    some = training_stars.isel(star=slice(0, 400))
    sizes = {**SIZES, "iterations": 8}
    options = {"method": "curved", "folds": 2, "progress": False}
    plain = lux.train(some, **options, **sizes)
    refined = lux.train(some, **options, **sizes, refine=10)
    assert not np.allclose(refined["label_value"].map.weights, plain["label_value"].map.weights)
    ours, catalog = errors_of(refined, held_out)
    before, _ = errors_of(plain, held_out)
    assert (ours**2).mean() <= 1.05 * (before**2).mean()
    # its errors are those of stars that refinement has not seen
    pulls = ours * SPREAD / catalog.label_err.values
    width = 1.4826 * np.median(np.abs(pulls), 0)
    assert ((width > 0.7) & (width < 1.25)).all(), width
    assert refined.held_out != plain.held_out
    record = json.loads(refined.provenance.settings)
    assert record["refine"] == 10 and "refine_tried" not in record
