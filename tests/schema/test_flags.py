"""A spectrum unlike those trained on is flagged; ordinary stars, at any S/N, are not."""

import dataclasses

import numpy as np
import pytest

import luxscale as lux
from luxscale.examples.samples import xp_giants
from luxscale.examples.simulate import simulate
from luxscale.schema import flags

pytestmark = pytest.mark.slow

PIXELS, P = 700, 16
JUDGED = ("bad_fit", "unlike_training", "label_outside_training")


def survey(n, seed, **settings):
    return simulate(n, n_pixels=PIXELS, seed=seed, **settings)


@pytest.fixture(scope="module")
def model():
    return lux.train(survey(1200, 1), P, progress=False)


@pytest.fixture(scope="module", params=[30, 100, 200], ids="S/N {}".format)
def stars(request):
    """Forty ordinary stars; a test may change a copy of them."""
    return survey(40, 2, snr=(request.param, request.param))


def noisy(stars, flux):
    """The stars with another flux (star, wavelength) or (wavelength,), at the same S/N."""
    sigma = 1 / stars["snr"].values[:, None] * np.ones((1, PIXELS))
    flux = flux + sigma * np.random.default_rng(0).standard_normal(sigma.shape)
    return stars.assign(
        flux=(("star", "wavelength"), flux.astype("f4")),
        flux_ivar=(("star", "wavelength"), sigma.astype("f4") ** -2),
    )


def changed(stars, flux):
    return stars.assign(flux=(("star", "wavelength"), np.asarray(flux, "f4")))


def raised(catalog, *names):
    """Share of the stars that carry any of the flags."""
    bits = sum(int(flags.BIT[name]) for name in names)
    return float(((catalog["flags"].values & bits) > 0).mean())


# ordinary stars


@pytest.mark.parametrize(
    "snr", [(30, 200), (30, 40), (190, 200)], ids=["all", "low S/N", "high S/N"]
)
def test_at_most_one_in_a_hundred_ordinary_stars_carries_any_flag(model, snr):
    catalog = lux.infer(survey(3000, 3, snr=snr), model)
    assert float((catalog["flags"] != 0).mean()) <= 0.01


def test_at_most_one_in_a_hundred_real_giants_carries_any_flag():
    giants = xp_giants()
    model = lux.train(giants.isel(star=slice(0, 2000)), 32, folds=3, progress=False)
    catalog = lux.infer(giants.isel(star=slice(2000, None)), model)
    assert raised(catalog, *JUDGED) <= 0.01
    assert float((catalog["flags"] != 0).mean()) <= 0.01
    assert float((catalog["flags"] != 0).sum()) > 0  # 4,000 real stars: some are odd


# stars of another kind


def test_a_featureless_spectrum(model, stars):
    catalog = lux.infer(noisy(stars, np.ones(PIXELS)), model)
    assert raised(catalog, "bad_fit", "unlike_training") == 1


def test_a_hot_star(model, stars):
    """Nothing but broad lines of hydrogen."""
    wavelength = stars["wavelength"].values
    depth = sum(
        0.4 / (1 + ((wavelength - line) / 20) ** 2) for line in (4101.7, 4340.5, 4861.3, 6562.8)
    )
    assert raised(lux.infer(noisy(stars, 1 - depth), model), "bad_fit") == 1


def test_another_shape_of_the_continuum(model, stars):
    slope = 1 + 0.5 * np.linspace(-1, 1, PIXELS)
    catalog = lux.infer(changed(stars, stars["flux"] * slope), model)
    assert raised(catalog, "bad_fit", "unlike_training") == 1


@pytest.mark.parametrize("pixels", [2, -3, 5])
def test_a_wrong_velocity(model, stars, pixels):
    shifted = stars.assign(
        {k: (stars[k].dims, np.roll(stars[k].values, pixels, 1)) for k in ("flux", "flux_ivar")}
    )
    catalog = lux.infer(shifted, model)
    assert raised(catalog, "bad_fit", "unlike_training") == 1


def test_strong_emission_lines(model, stars):
    wavelength = stars["wavelength"].values
    lines = sum(np.exp(-0.5 * ((wavelength - line) / 6) ** 2) for line in (4340.5, 4861.3, 6562.8))
    assert raised(lux.infer(changed(stars, stars["flux"] + 1.5 * lines), model), "bad_fit") == 1


def test_nine_in_ten_pixels_gone(model, stars):
    gone = stars.copy(deep=True)
    gone["flux_ivar"][:, : int(0.9 * PIXELS)] = 0
    catalog = lux.infer(gone, model)
    assert raised(catalog, "few_pixels") == 1
    assert raised(catalog, "no_data", "bad_fit") == 0
    assert np.isfinite(catalog["label_value"]).all()


def test_noise_that_hides_everything(model, stars):
    hidden = noisy(stars.assign(snr=0.02 + 0 * stars["snr"]), stars["flux"].values)
    catalog = lux.infer(hidden, model)
    assert raised(catalog, "prior_dominated") == 1
    assert raised(catalog, *JUDGED) == 0


def test_no_data(model, stars):
    empty = stars.copy(deep=True)
    empty["flux_ivar"][:] = 0
    catalog = lux.infer(empty, model)
    for name in ("no_data", "few_pixels", "prior_dominated"):
        assert raised(catalog, name) == 1
    assert raised(catalog, *JUDGED) == 0


def test_a_label_beyond_those_of_training():
    """Trained on stars richer than -0.6, shown poorer than -1.2: the label is off, and flagged."""
    many = survey(2000, 4)
    metals = many["label_true"].sel(label="m_h").values
    model = lux.train(
        many.isel(star=np.flatnonzero(metals > -0.6)[:600]),
        P,
        folds=2,
        iterations=10,
        progress=False,
    )
    poor = lux.infer(many.isel(star=np.flatnonzero(metals < -1.2)), model)
    assert poor.sizes["star"] > 30
    assert raised(poor, "label_outside_training") > 0.95
    assert raised(poor, *JUDGED) == 1
    rich = lux.infer(many.isel(star=np.flatnonzero(metals > -0.6)[600:]), model)
    assert raised(rich, "label_outside_training") < 0.01


@pytest.mark.parametrize(("errors", "expected"), [(1.9, False), (2.1, True)])
def test_a_label_is_outside_beyond_twice_its_error(model, stars, errors, expected):
    star = stars.isel(star=[7])
    catalog = lux.infer(star, model)
    edge = (catalog["label_value"] - errors * catalog["label_err"]).values[0]
    for side, bounds in enumerate(
        ([-np.inf, edge[3]], [2 * catalog["label_value"].values[0, 3] - edge[3], np.inf])
    ):
        label = model["label_value"]
        narrow = np.array([[-np.inf, np.inf]] * 12)
        narrow[3] = bounds
        outputs = (dataclasses.replace(label, bounds=narrow), model["flux"])
        assert (
            raised(lux.infer(star, dataclasses.replace(model, outputs=outputs)), JUDGED[2])
            == expected
        ), side


def test_flags_of_a_star_are_explained():
    raised = flags.BIT["few_pixels"] | flags.BIT["two_solutions"]
    assert list(flags.explain(int(raised))) == ["few_pixels", "two_solutions"]
    assert flags.explain(0) == {}
