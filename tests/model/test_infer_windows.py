"""A label with a window is inferred from the window's pixels alone, whatever others say."""

import dataclasses

import numpy as np
import pytest
import xarray as xr

import luxscale as lux
from luxscale import store
from luxscale.errors import InputError
from luxscale.schema import flags

LABEL = "mg_fe"
SPANS = ((15120.0, 15132.0), (15160.0, 15164.5))
PIXELS = np.r_[10:17, 30:33]  # of the grid 15100 + 2 i
OTHERS = ["teff", "logg", "fe_h"]


def train(survey, p=4, **settings):
    return lux.train(survey, p, progress=False, **settings)


@pytest.fixture(scope="module")
def windowed(_small_survey):
    return train(_small_survey, windows={LABEL: SPANS})


def robust(pull):
    return 1.4826 * np.nanmedian(np.abs(pull))


def slope_of(y, *xs):
    """Coefficients of a least-squares line."""
    return np.linalg.lstsq(np.column_stack([*xs, np.ones(len(y))]), y)[0]


# which pixels count


def test_only_the_pixels_of_the_window_bear_on_its_label(windowed, held_out):
    inside, outside = held_out.copy(deep=True), held_out.copy(deep=True)
    inside["flux"][:, PIXELS] += np.float32(0.1)
    outside["flux"][:, np.setdiff1d(np.arange(40), PIXELS)] += np.float32(0.1)
    before, moved, kept = (lux.infer(s, windowed) for s in (held_out, inside, outside))
    for name in ("label_value", "label_err"):
        np.testing.assert_array_equal(kept[name].sel(label=LABEL), before[name].sel(label=LABEL))
    for label in OTHERS:
        assert (
            kept["label_value"].sel(label=label) != before["label_value"].sel(label=label)
        ).all()
    assert (moved["label_value"] != before["label_value"]).all()


def test_the_label_is_that_of_a_float64_posterior_from_the_window_alone(
    windowed, held_out, float64_reference
):
    data = held_out["flux"].values, held_out["flux_ivar"].values
    used = np.zeros(40, bool)
    used[PIXELS] = True
    flux = dataclasses.replace(windowed["flux"], used=used)
    alone = float64_reference(
        dataclasses.replace(windowed, outputs=(windowed["label_value"], flux)),
        "flux",
        *data,
        windowed.prior.precision,
    )
    whole = float64_reference(windowed, "flux", *data, windowed.prior.precision)
    catalog = lux.infer(held_out, windowed)
    for m, label in enumerate(catalog["label"].values):
        expected = alone if label == LABEL else whole
        value, err = (catalog[k].sel(label=label).values for k in ("label_value", "label_err"))
        assert np.max(np.abs(value - expected["value"][:, m]) / expected["err"][:, m]) < 0.01
        np.testing.assert_allclose(err, expected["err"][:, m], rtol=0.01)
    assert (
        np.median(alone["err"][:, 3] / whole["err"][:, 3]) > 1.2
    )  # the two differ enough to tell them apart
    np.testing.assert_allclose(catalog["latent"], whole["latent"], atol=2e-3)
    np.testing.assert_allclose(catalog["chi2"], whole["chi2"], rtol=2e-3)


def test_two_labels_with_different_windows_do_not_mix(_small_survey, held_out, windowed):
    both = train(_small_survey, windows={"fe_h": [(15140, 15158)], LABEL: SPANS})
    a, b = lux.infer(held_out, both), lux.infer(held_out, windowed)
    for label in ("teff", "logg", LABEL):
        np.testing.assert_allclose(
            a["label_value"].sel(label=label), b["label_value"].sel(label=label), rtol=1e-6
        )
    changed = held_out.copy(deep=True)
    changed["flux"][:, 20:30] += np.float32(0.1)
    moved = lux.infer(changed, both)["label_value"] != a["label_value"]
    assert moved.sel(label="fe_h").all()
    assert not moved.sel(label=LABEL).any()


def test_a_window_over_the_whole_grid_changes_nothing(_small_survey, held_out, small_model):
    wide = lux.infer(held_out, train(_small_survey, windows={LABEL: [(0, 1e6)]}))
    expected = lux.infer(held_out, small_model)
    np.testing.assert_allclose(wide["label_err"], expected["label_err"], rtol=1e-3)
    difference = (wide["label_value"] - expected["label_value"]) / expected["label_err"]
    assert float(np.abs(difference).max()) < 1e-3


def test_a_star_without_pixels_in_the_window_is_flagged(windowed, held_out):
    """Its windowed label is the average star's, with the error of the prior, and it says so."""
    held_out["flux_ivar"][:5, PIXELS] = 0
    held_out["flux_ivar"][5, PIXELS[3:]] = 0
    held_out["flux_ivar"][5, PIXELS[:3]] = 2500
    held_out["flux"][5, PIXELS[:3]] = held_out["flux"].mean("star")[PIXELS[:3]]
    catalog = lux.infer(held_out, windowed)
    label, few = windowed["label_value"], catalog["flags"].values & flags.BIT["few_pixels"] > 0
    assert np.flatnonzero(few).tolist() == [0, 1, 2, 3, 4]
    np.testing.assert_allclose(catalog["label_value"][:5, 3], label.map.offset[3])
    np.testing.assert_allclose(
        catalog["label_err"][:5, 3],
        np.hypot(np.linalg.norm(label.map.weights[3]), label.floor[3]),
        rtol=1e-5,
    )
    assert (catalog["label_err"][:5, :3] < 0.5 * held_out["label_true"].std("star")[:3]).all()


# what windows are for


def correlated(n, seed, spread):
    """Stars whose mg follows fe but for ``spread``.

    fe has forty pixels, mg a line of five, at 15100 to 15108.
    The line gives mg to 0.05, the other pixels fe to 0.01; fe spreads by 0.3.
    """
    rng = np.random.default_rng(seed)
    fe = 0.3 * rng.standard_normal(n)
    mg = fe + spread * rng.standard_normal(n)
    response = np.zeros((45, 2))
    response[:5, 1] = 1
    response[5:, 0] = np.random.default_rng(0).uniform(0.5, 1.5, 40)
    sigma = np.r_[np.full(5, 0.05 * np.sqrt(5)), np.full(40, 0.01 * np.linalg.norm(response[:, 0]))]
    labels = np.column_stack([fe, mg])
    label_err = np.broadcast_to([0.02, 0.02], labels.shape)
    flux = 1 + labels @ response.T + sigma * rng.standard_normal((n, 45))
    return xr.Dataset(
        {
            "flux": (("star", "wavelength"), flux.astype("f4")),
            "flux_ivar": (
                ("star", "wavelength"),
                np.broadcast_to(sigma**-2, flux.shape).astype("f4"),
            ),
            "label_value": (
                ("star", "label"),
                labels + label_err * rng.standard_normal(labels.shape),
            ),
            "label_err": (("star", "label"), label_err.copy()),
            "label_true": (("star", "label"), labels),
        },
        {
            "star": np.array([f"c{seed}-{i}" for i in range(n)], object),
            "wavelength": (
                "wavelength",
                15100 + 2.0 * np.arange(45),
                {"units": "Angstrom", "medium": "vacuum"},
            ),
            "label": np.array(["fe", "mg"], object),
        },
    )


@pytest.mark.slow
def test_a_window_undoes_what_a_correlation_in_training_makes_of_an_element():
    """mg follows fe to 0.05 in training and to 0.3 in the test stars.

    Under the prior that training gave, a line good to 0.05 can make half of a star's mg - fe at
    most; read from the line alone, with the whole spread of mg as its prior, it makes 0.97.
    """
    training, test = correlated(1500, 1, 0.05), correlated(1500, 2, 0.3)
    fe, mg = test["label_true"].values.T
    catalogs = {
        name: lux.infer(test, train(training, 2, windows=windows))
        for name, windows in (("all", {}), ("line", {"mg": [(15099, 15109)]}))
    }
    excess = {
        k: slope_of(c["label_value"].sel(label="mg").values - fe, mg - fe, fe)
        for k, c in catalogs.items()
    }
    assert excess["all"][0] < 0.05**2 / (0.05**2 + 0.05**2) + 0.05
    assert excess["line"][0] == pytest.approx(
        (0.3**2 + 0.05**2) / (0.3**2 + 0.05**2 + 0.05**2), abs=0.04
    )
    errors = {k: np.abs(c["label_value"].sel(label="mg").values - mg) for k, c in catalogs.items()}
    rich = mg - fe > 0.3
    bias = {
        k: np.mean((c["label_value"].sel(label="mg").values - mg)[rich])
        for k, c in catalogs.items()
    }
    assert bias["all"] < -0.15
    assert abs(bias["line"]) < 0.2 * abs(bias["all"])
    assert np.median(errors["line"]) < 0.5 * np.median(errors["all"])
    pull = {k: errors[k] / c["label_err"].sel(label="mg").values for k, c in catalogs.items()}
    assert robust(pull["line"]) == pytest.approx(1, abs=0.15)
    assert robust(pull["all"]) > 2
    np.testing.assert_allclose(  # fe has no window
        catalogs["line"]["label_value"].sel(label="fe"),
        catalogs["all"]["label_value"].sel(label="fe"),
        atol=1e-4,
    )


def test_misfit_is_that_of_the_windowed_prediction(world):
    """Something else moves the window's pixels as the label would, and the error tells."""
    along = world.flux_weights[PIXELS] @ world.label_weights[3]
    other = np.zeros((40, 1))
    other[PIXELS, 0] = 0.05 * along / np.sqrt(np.mean(along**2))
    moved = dataclasses.replace(
        world,
        flux_weights=np.hstack([world.flux_weights, other]),
        label_weights=np.hstack([world.label_weights, np.zeros((4, 1))]),
        bend=np.zeros((40, 5)),
    )
    training, test = (moved.survey(n, seed=s, label_noise=0.25) for n, s in ((800, 1), (600, 2)))
    measured, pull = train(training, windows={LABEL: SPANS}), {}
    formal = dataclasses.replace(
        measured,
        outputs=tuple(
            dataclasses.replace(o, floor=0 * np.asarray(o.floor)) for o in measured.outputs
        ),
    )
    for name, model in (("formal", formal), ("measured", measured)):
        catalog = lux.infer(test, model)
        error = np.hypot(catalog["label_err"], test["label_err"])
        pull[name] = robust(
            ((catalog["label_value"] - test["label_value"]) / error).sel(label=LABEL).values
        )
    assert pull["formal"] > 1.4
    assert 0.85 < pull["measured"] < 1.15
    floor = train(training)["label_value"].floor  # all pixels together tell the two apart
    assert measured["label_value"].floor[3] > 0.1 > 5 * floor[3]


# every door gives the same


def test_windows_survive_the_file_and_are_part_of_what_a_model_is(
    windowed, held_out, tmp_path, small_model
):
    windowed.save(tmp_path / "m.zarr")
    loaded = lux.load_model(tmp_path / "m.zarr")
    assert loaded["label_value"].windows == ((LABEL, SPANS),)
    assert loaded["flux"].windows == ()
    assert loaded.fingerprint == windowed.fingerprint
    without = dataclasses.replace(
        windowed, outputs=tuple(dataclasses.replace(o, windows=()) for o in windowed.outputs)
    )
    assert len({windowed.fingerprint, without.fingerprint, small_model.fingerprint}) == 3
    xr.testing.assert_identical(lux.infer(held_out, loaded), lux.infer(held_out, windowed))


def test_lazy_and_eager_inference_agree(windowed, held_out, no_compute):
    with no_compute():
        lazy = lux.infer(held_out.chunk(star=170), windowed)
    assert lazy["label_value"].chunks[0] == (170, 170, 170, 90)
    memory, got = lux.infer(held_out, windowed), lazy.compute()
    np.testing.assert_array_equal(got["flags"], memory["flags"])
    for name in ("label_value", "label_err"):
        np.testing.assert_allclose(
            got[name] / memory["label_err"], memory[name] / memory["label_err"], atol=1e-4
        )


def test_a_production_run_gives_the_labels_that_infer_gives(windowed, held_out, tmp_path):
    survey = held_out.isel(star=slice(0, 120))
    store.write_dataset(survey, tmp_path / "survey.zarr", chunk=50)
    windowed.save(tmp_path / "model.zarr")
    lux.label_survey(
        tmp_path / "survey.zarr",
        tmp_path / "model.zarr",
        tmp_path / "catalog.zarr",
        progress=False,
        region_stars=50,
    )
    catalog, expected = (
        xr.open_zarr(tmp_path / "catalog.zarr", consolidated=False),
        lux.infer(survey, windowed),
    )
    for name in ("label_value", "label_err"):
        np.testing.assert_allclose(
            catalog[name] / expected["label_err"], expected[name] / expected["label_err"], atol=1e-4
        )
    np.testing.assert_array_equal(catalog["flags"], expected["flags"])


def test_windows_do_not_touch_what_labels_alone_give(windowed, held_out):
    """There are no pixels in labels, so a window has nothing to choose."""
    without = dataclasses.replace(
        windowed, outputs=tuple(dataclasses.replace(o, windows=()) for o in windowed.outputs)
    )
    got, expected = (lux.infer(held_out, m, given="label_value") for m in (windowed, without))
    for name in ("latent", "label_value", "label_err", "flags"):
        np.testing.assert_array_equal(got[name], expected[name])
    spectra = lux.predict(got, windowed)
    assert float(np.abs(spectra - held_out["flux"]).median()) < 0.06


def test_labels_given_beside_spectra_leave_a_windowed_label_to_its_window(windowed, held_out):
    both, alone = (
        lux.infer(held_out, windowed, given=g) for g in (["flux", "label_value"], "flux")
    )
    np.testing.assert_allclose(
        both["label_value"].sel(label=LABEL),
        alone["label_value"].sel(label=LABEL),
        rtol=1e-5,
        atol=1e-6,
    )
    assert (
        both["label_err"].sel(label=OTHERS) < alone["label_err"].sel(label=OTHERS) * (1 + 1e-6)
    ).all()


# what is refused


def test_covariances_between_labels_of_different_pixels_are_refused(windowed, held_out, tmp_path):
    with pytest.raises(
        InputError, match=f"infers {LABEL} from windows: ask without covariance, or train without"
    ):
        lux.infer(held_out, windowed, covariance=True)


@pytest.mark.parametrize(
    ("windows", "message"),
    [
        (
            {"mg": SPANS},
            "windows name 'mg', which is no label; the labels are teff, logg, fe_h, mg_fe",
        ),
        (
            {LABEL: [(16000, 16010)]},
            "windows of 'mg_fe': 16000 to 16010 holds no pixel; the grid is 15100 to 15178",
        ),
        ({LABEL: [(15101, 15101.5)]}, "windows of 'mg_fe': .*holds no pixel"),
        ({LABEL: []}, "windows of 'mg_fe' are empty"),
        (
            {LABEL: [(15101, 15120), (16000, 16010)]},
            "windows of 'mg_fe': 16000 to 16010 holds no pixel",
        ),
        ({LABEL: (15101, 15120)}, r"windows of 'mg_fe' are \(15101, 15120\); give a list"),
        ({LABEL: [(15140, 15120)]}, "windows of 'mg_fe'"),
        ({LABEL: [(float("nan"), 15120)]}, "windows of 'mg_fe'"),
    ],
    ids=[
        "unknown label",
        "beside the grid",
        "between pixels",
        "empty",
        "one of two beside it",
        "a bare pair",
        "upside down",
        "nan",
    ],
)
def test_windows_that_mean_nothing_are_refused(_small_survey, windows, message):
    with pytest.raises(InputError, match=message):
        train(_small_survey, windows=windows, folds=1, iterations=1)
