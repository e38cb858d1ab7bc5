"""What is wrong with data has no weight, or is refused by name; every NaN is flagged."""

import numpy as np
import pytest
import xarray as xr

import luxscale as lux
from luxscale.errors import InputError
from luxscale.schema import flags

pytestmark = pytest.mark.slow

RESULTS = ("label_value", "label_err", "latent", "chi2")
METHODS = ("marginal", "alternating", "cannon")


@pytest.fixture(params=METHODS)
def method(request):
    return request.param


@pytest.fixture(params=["marginal", "cannon"])
def decoder(request):
    """A method for each map from latents: what inference and reading the data depend on."""
    return request.param


@pytest.fixture
def training(_small_survey):
    return _small_survey.copy(deep=True)


def train(survey, method, **settings):
    quick = {"cannon": {}, "marginal": {"iterations": 6}, "alternating": {"iterations": 3}}[method]
    dims = {} if method == "cannon" else {"latent_dim": 4}
    return lux.train(
        survey, method=method, progress=False, **{"folds": 2, **dims, **quick, **settings}
    )


@pytest.fixture(scope="module")
def clean_models(_small_survey):
    return {method: train(_small_survey, method) for method in METHODS}


def put(survey, name, where, value):
    """Set some values of a variable, given (star, feature) indices."""
    survey[name].values[where] = value
    return survey


def raised(catalog, name):
    return (catalog["flags"].values & flags.BIT[name]) > 0


def finite(catalog):
    return all(np.isfinite(catalog[name]).all() for name in RESULTS)


def miss(catalog, stars):
    """Rms error of each label over the label's spread."""
    error = ((catalog["label_value"] - stars["label_true"]) ** 2).mean("star") ** 0.5
    return (error / stars["label_true"].std("star")).values


def assert_as_good(model, clean, stars, factor=1.3):
    """Labels of stars left out are finite, and nearly as good as the clean model's."""
    for output in model.outputs:
        for array in (output.map.weights, output.scatter, output.floor):
            assert np.isfinite(array).all()
    catalog = lux.infer(stars, model)
    assert finite(catalog)
    assert (miss(catalog, stars) < factor * miss(lux.infer(stars, clean), stars)).all()


# training: what is handled by weight


def every_ivar(factor):
    return lambda s: s.assign(flux_ivar=s["flux_ivar"] * np.float32(factor))


def every_error(value):
    return lambda s: s.assign(label_err=s["label_err"] * 0 + value)


def a_spectrum(factor):
    return lambda s: put(s, "flux_ivar", 5, s["flux_ivar"].values[5] * np.float32(factor))


def a_pixel(factor):
    return lambda s: put(
        s, "flux_ivar", np.s_[:, 5], s["flux_ivar"].values[:, 5] * np.float32(factor)
    )


def an_error(value):
    def spoil(survey):
        row = int(np.flatnonzero(np.isfinite(survey["label_err"]).all("label"))[3])
        return put(survey, "label_err", row, value)

    return spoil


def without_spectra(survey):
    return put(survey, "flux_ivar", np.s_[:40], 0)


def without_some_labels(survey):
    for name in ("label_value", "label_err"):
        put(survey, name, np.s_[:20], np.nan)
    return survey


@pytest.mark.parametrize(
    "spoil",
    [
        every_ivar(1e12),
        a_spectrum(1e12),
        a_spectrum(1e-12),
        a_pixel(1e12),
        every_error(1e-12),
        every_error(1e-200),
        an_error(1e-12),
        an_error(1e12),
        without_spectra,
        without_some_labels,
    ],
    ids=[
        "all ivars 1e12 too large",
        "ivars of a star 1e12 too large",
        "ivars of a star 1e12 too small",
        "ivars of a pixel 1e12 too large",
        "all label errors 1e-12",
        "all label errors 1e-200",
        "label errors of a star 1e-12",
        "label errors of a star 1e12",
        "40 stars without a spectrum",
        "20 stars without any label",
    ],
)
def test_training_bears_absurd_errors_and_gaps(training, held_out, clean_models, method, spoil):
    factor = (
        1.5 if method == "alternating" else 1.3
    )  # labels have no scatter there, and all fit by the few is for them
    assert_as_good(train(spoil(training), method, folds=1), clean_models[method], held_out, factor)


def test_errors_far_below_the_spread_are_all_alike(training, method):
    """One star whose label is said to be perfect must not be the whole regression."""
    scale = train(training, method, folds=1)["label_value"].scale
    row = int(np.flatnonzero(np.isfinite(training["label_err"]).all("label"))[3])
    least, absurd = training.copy(deep=True), training.copy(deep=True)
    least["label_err"][row] = 1e-5 * scale
    absurd["label_err"][row] = 1e-9 * scale
    a, b = (train(s, method) for s in (least, absurd))
    np.testing.assert_allclose(a["flux"].map.weights, b["flux"].map.weights, atol=1e-4)
    np.testing.assert_allclose(
        a["label_value"].floor / scale, b["label_value"].floor / scale, atol=1e-3
    )
    np.testing.assert_allclose(a.limits, b.limits, rtol=1e-3)


def test_labelled_stars_without_a_spectrum_and_more_latents_than_labels(make_world):
    """Under a precision of 1e-6 only rounding holds the latents that labels do not fix."""
    world = make_world(p=6)
    training = put(world.survey(300, seed=1), "flux_ivar", np.s_[:60], 0)
    model = lux.train(
        training, 9, method="alternating", latent_precision=1e-6, folds=2, progress=False
    )
    held_out = world.survey(300, seed=2)
    catalog = lux.infer(held_out, model)
    assert finite(catalog)
    best = np.sqrt(
        np.mean((world.oracle(held_out)[0] - held_out["label_true"]) ** 2, 0)
        / held_out["label_true"].var("star")
    )
    assert (miss(catalog, held_out) < 1.5 * best.values).all()


def test_a_pixel_that_no_training_star_has(training, held_out, method):
    model = train(put(training, "flux_ivar", np.s_[:, 7], 0), method)
    assert np.flatnonzero(~np.asarray(model["flux"].used)).tolist() == [7]
    changed = put(held_out.copy(deep=True), "flux", np.s_[:, 7], -50.0)
    put(changed, "flux_ivar", np.s_[:, 7], 1e6)
    catalog = lux.infer(changed, model)
    assert finite(catalog)
    np.testing.assert_array_equal(catalog["label_value"], lux.infer(held_out, model)["label_value"])
    assert np.flatnonzero(np.isnan(lux.predict(catalog, model)).any("star")).tolist() == [7]


def long_tail(survey):
    """As parallaxes of a few near stars among many far ones: up to 200 times the spread."""
    label = survey["label_value"].values[:, 3]
    label[np.flatnonzero(np.isfinite(label))[:4]] = [5.0, 20.0, 50.0, 80.0]
    return survey


def test_a_long_tail_is_no_reason_to_refuse(training, decoder):
    """Set aside where the spectra contradict it, and trained on where that is asked for."""
    tail = long_tail(training)
    assert train(tail, decoder, folds=1)["label_value"].bounds[3, 1] < 2
    whole = train(tail, decoder, folds=1, label_clip=np.inf)
    assert whole["label_value"].bounds[3, 1] == 80


# training: what is refused


def sentinel(stars, value=-9999.0):
    return lambda s: put(
        put(s, "label_value", np.s_[6 : 6 + stars, 3], value),
        "label_err",
        np.s_[6 : 6 + stars, 3],
        0.05,
    )


def nearly_constant(survey):
    """Measured in every star, to errors far beyond what tells the stars apart."""
    put(
        survey,
        "label_value",
        np.s_[:, 1],
        0.5 + 1e-14 * np.random.default_rng(0).standard_normal(300),
    )
    return put(survey, "label_err", np.s_[:, 1], 0.1)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            lambda s: put(s, "label_value", np.s_[:, 1], 2.0),
            "label 'logg' has the same value .*drop_sel",
        ),
        (
            lambda s: put(s, "label_err", np.s_[:, 1], np.nan),
            "label 'logg' has no measurement in 'label_value'",
        ),
        (
            lambda s: put(s, "label_err", np.s_[:, 1], 1e30),
            "label 'logg' has errors beyond 1e[+]06 times its spread, .* in 2[0-9]+ of 2[0-9]+ "
            "measurements.*drop_sel",
        ),
        (
            nearly_constant,
            "label 'logg' has errors beyond 1e[+]06 times its spread, .*e-15, in 300 of 300",
        ),
        (every_ivar(1e-41), "all errors of 'flux' are beyond any use; check 'flux_ivar'"),
        (every_ivar(1e34), "all errors of 'flux' are beyond any use; check 'flux_ivar'"),
        (
            sentinel(1),
            "'label_value' = -9999.0 at star 's1-00006', label mg_fe: -9999.0 stands",
        ),
        (
            sentinel(1, -999.0),
            "'label_value' = -999.0 at star 's1-00006', label mg_fe: -999.0 stands",
        ),
        (
            sentinel(30),
            "'label_value' = -9999.0 at star 's1-000.*', label mg_fe, and [0-9]+ more like it",
        ),
        (
            lambda s: put(s, "flux", (6, 3), np.nan),
            "'flux_ivar' = .* with 'flux' = nan at star 's1-00006'",
        ),
        (
            lambda s: put(s, "flux", (6, 3), np.inf),
            "'flux_ivar' = .* with 'flux' = inf at star 's1-00006'",
        ),
        (
            lambda s: put(s, "flux", (6, 3), 3e29),
            "'flux' at star 's1-00006', wavelength 15106.0, is absurdly far",
        ),
        (
            lambda s: put(s, "flux_ivar", (6, 3), np.nan),
            "'flux_ivar' = nan .* star 's1-00006', wavelength 15106.0",
        ),
        (lambda s: put(s, "flux_ivar", (6, 3), np.inf), "'flux_ivar' = inf .* star 's1-00006'"),
        (lambda s: put(s, "flux_ivar", (6, 3), -2.0), "'flux_ivar' = -2.0 .* star 's1-00006'"),
        (
            lambda s: put(s, "label_value", (6, 3), np.inf),
            "'label_value' = inf at star 's1-00006', label mg_fe",
        ),
        (
            lambda s: put(s, "label_err", (6, 3), np.inf),
            "'label_err' = inf .* star 's1-00006', label mg_fe",
        ),
        (
            lambda s: put(s, "label_err", (6, 3), 0.0),
            "'label_err' = 0.0 .* star 's1-00006', label mg_fe",
        ),
        (
            lambda s: put(s, "label_err", (6, 3), -0.1),
            "'label_err' = -0.1 .* star 's1-00006', label mg_fe",
        ),
        (lambda s: xr.concat([s.isel(star=[6]), s], "star"), "'star' repeats 's1-00006'"),
        (lambda s: s.isel(star=[6]), "1 star is too few to train on; at least 10 are needed"),
        (
            lambda s: put(s, "flux_ivar", np.s_[:], 0),
            "'flux' holds no pixel that varies between stars",
        ),
    ],
    ids=[
        "constant label",
        "label without errors",
        "label with errors of 1e30",
        "nearly constant label",
        "ivars of 1e-38",
        "ivars of 1e37",
        "a label of -9999",
        "a label of -999",
        "a label of -9999 in a tenth of the stars",
        "NaN flux",
        "infinite flux",
        "flux of 3e29",
        "NaN ivar",
        "infinite ivar",
        "negative ivar",
        "infinite label",
        "infinite label error",
        "zero label error",
        "negative label error",
        "star twice",
        "one star",
        "no spectra",
    ],
)
def test_training_refuses_by_name(training, decoder, spoil, message):
    for name in (
        "flux",
        "label_value",
        "label_err",
    ):  # the value in question is not one of the gaps
        put(training, name, (6, 3), 1.0 if name == "flux" else 0.1)
    put(training, "flux_ivar", (6, 3), 2500)
    with pytest.raises(InputError, match=message) as error:
        train(spoil(training), decoder, where="my survey")
    assert str(error.value).startswith("my survey: ")


@pytest.mark.parametrize("method", ["marginal", "alternating"])
def test_fewer_stars_than_latents_are_refused(world, method):
    with pytest.raises(InputError, match="latent_dim=16 is too large: folds=2 leaves 10 stars"):
        train(world.survey(20, seed=3), method, latent_dim=16)


def test_fewer_stars_than_coefficients_are_refused(world):
    with pytest.raises(
        InputError, match=r"every label: 14 of 14 do \(folds=2 leave 7\), for 15 coefficients"
    ):
        train(world.survey(14, seed=3, missing_labels=0.0), "cannon")


# inference


@pytest.mark.parametrize("factor", [1e-30, 1e-6, 1e6, 1e30])
def test_labels_stay_finite_whatever_the_errors_of_spectra(clean_models, held_out, decoder, factor):
    catalog = lux.infer(
        held_out.assign(flux_ivar=held_out["flux_ivar"] * np.float32(factor)), clean_models[decoder]
    )
    assert finite(catalog)
    assert raised(catalog, "prior_dominated").all() == (factor < 1)
    if factor > 1:
        assert (miss(catalog, held_out) < 0.3).all()


@pytest.mark.parametrize("err", [1e-200, 1e-30, 1e-12, 1e12, 1e30])
def test_spectra_stay_finite_whatever_the_errors_of_labels(clean_models, held_out, decoder, err):
    model = clean_models[decoder]
    stars = held_out.assign(label_err=held_out["label_err"] * 0 + err)
    catalog = lux.infer(stars, model, given="label_value")
    assert finite(catalog) and np.isfinite(lux.predict(catalog, model)).all()
    off = np.abs(
        (catalog["label_value"] - held_out["label_value"]) / held_out["label_true"].std("star")
    )
    if err < 1:
        known = np.isfinite(held_out["label_value"]).all("label")
        assert (
            known.any() and not raised(catalog, "invalid_values").any()
        )  # as in training: as good as float32 can say
        assert float(off.where(known).max()) < (
            0.01 if decoder != "marginal" else 0.5
        )  # which keeps a scatter of labels
    else:
        assert raised(catalog, "prior_dominated").all()


@pytest.mark.parametrize("value", [1e7, 1e30, 3e38, -3e38])
def test_an_absurd_flux_has_no_weight_and_is_flagged(clean_models, held_out, decoder, value):
    clean = put(held_out.copy(deep=True), "flux_ivar", (8, 3), 0)
    put(put(held_out, "flux", (8, 3), value), "flux_ivar", (8, 3), 2500)
    catalog, expected = (lux.infer(s, clean_models[decoder]) for s in (held_out, clean))
    assert np.flatnonzero(raised(catalog, "invalid_values")).tolist() == [8]
    np.testing.assert_array_equal(catalog["label_value"], expected["label_value"])
    one = held_out["flux"].astype(float)
    double = lux.infer(
        held_out.assign(flux=one.where(one != one[8, 3], 1e300)), clean_models[decoder]
    )
    np.testing.assert_allclose(
        (double["label_value"] - expected["label_value"]) / expected["label_err"], 0, atol=0.01
    )
    assert raised(double, "invalid_values")[8]


def test_a_far_flux_that_counts_is_flagged(clean_models, held_out, decoder):
    put(put(held_out, "flux", (8, 2), 10), "flux_ivar", (8, 2), 2500)
    catalog = lux.infer(held_out, clean_models[decoder])
    assert finite(catalog)
    assert raised(catalog, "bad_fit")[8]
    others = np.arange(600) != 8
    assert raised(catalog, "bad_fit")[others].mean() < 0.03


def test_one_star(clean_models, held_out, decoder):
    alone, all_stars = (
        lux.infer(s, clean_models[decoder]) for s in (held_out.isel(star=[3]), held_out)
    )
    np.testing.assert_allclose(alone["label_value"][0], all_stars["label_value"][3], rtol=1e-4)


def test_no_nan_without_a_flag(clean_models, held_out, decoder):
    """Every variable spoiled at random in every way at once, in float32 and in float64."""
    rng = np.random.default_rng(0)
    bad = np.array([np.nan, np.inf, -np.inf, -1.0, 0.0, 1e-38, 1e-20, 1e20, 1e38, -1e38, 1e10])
    share = rng.choice([0, 0.02, 0.3, 1.0], size=(600, 1))
    for dtype in ("f4", "f8"):
        stars = held_out.copy(deep=True)
        for name in ("flux", "flux_ivar", "label_value", "label_err"):
            shape = stars[name].shape
            spoiled = np.where(
                rng.random(shape) < share, rng.choice(bad, shape), stars[name].values
            )
            stars[name] = (stars[name].dims, spoiled.astype(dtype if "flux" in name else "f8"))
        for given in ("flux", "label_value", ["flux", "label_value"]):
            catalog = lux.infer(stars, clean_models[decoder], given=given)
            nan = ~np.all(
                [np.isfinite(catalog[k].values).reshape(600, -1).all(1) for k in RESULTS], axis=0
            )
            assert not (nan & (catalog["flags"].values == 0)).any()
            assert not nan.any()
            untouched = share[:, 0] == 0
            expected = lux.infer(held_out, clean_models[decoder], given=given)
            np.testing.assert_allclose(
                catalog["label_value"][untouched],
                expected["label_value"][untouched],
                rtol=1e-4,
                atol=1e-4,
            )


def test_nothing_measured_is_never_passed_off_as_a_measurement(clean_models, held_out, decoder):
    """A label's error without data is at least half the spread of the training set, and flagged."""
    held_out["flux_ivar"][:] = 0
    catalog = lux.infer(held_out, clean_models[decoder])
    assert raised(catalog, "no_data").all()
    assert (catalog["label_err"] > 0.5 * held_out["label_true"].std("star")).all()
