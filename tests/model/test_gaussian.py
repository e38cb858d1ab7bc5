"""Two ways to the posterior of linear models: the fast one has the answers of the exact one."""

import dataclasses
import functools
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr

import luxscale as lux
from luxscale.examples.drawing import draw_bad
from luxscale.examples.giants import draw_labels, load_emulator, render
from luxscale.model import coarse
from luxscale.model.decoders import LinearMap
from luxscale.model.inference import Inference
from luxscale.model.lux import LuxModel, Provenance
from luxscale.model.output import Output
from luxscale.schema import flags
from luxscale.schema.outputs import OutputSpec, Role

PIXELS, LATENTS, STARS = 3600, 48, 150
NAMES = ("teff", "logg", "m_h", "c_m")
TWELVE = (*NAMES, "n_m", "o_m", "mg_m", "al_m", "si_m", "ca_m", "mn_m", "ni_m")
LAMOST = Path(__file__).parents[3] / "shared" / "data" / "spectra" / "lamost_lrs_176.npz"
PROVENANCE = Provenance(method="none", settings="{}", n_stars=4, training_checksum="", version="0")


@pytest.fixture(scope="module")
def giants():
    """A model of giants that is made of their principal components."""
    return make_model(NAMES)


@pytest.fixture(scope="module")
def giants_of_twelve_labels():
    return make_model(TWELVE)


@functools.cache
def make_model(names):
    emulator = load_emulator(PIXELS)
    known = draw_labels(600, emulator["sample"], np.random.default_rng(5))
    flux = render(known, emulator).astype(float)
    rest = flux - flux.mean(0)
    z = np.linalg.eigh(rest @ rest.T)[1][:, ::-1][:, :LATENTS] * np.sqrt(600)
    weights = rest.T @ z / 600
    scatter = 1e-3 + (rest - z @ weights.T).std(0)
    slopes = np.linalg.lstsq(z, known - known.mean(0), rcond=None)[0].T[: len(names)]
    center = known.mean(0)[: len(names)]
    outputs = (
        make_output("label_value label label_err", Role.LABELS, names, slopes, center),
        make_output(
            "flux wavelength flux_ivar",
            Role.SPECTRUM,
            tuple((4000 + np.arange(PIXELS)).tolist()),
            weights,
            flux.mean(0),
            scatter,
        ),
    )
    return LuxModel(outputs=outputs, objective=np.zeros(1), provenance=PROVENANCE)


def make_output(names, role, coord, weights, offset, scatter=0.0):
    n = len(coord)
    is_spectrum = role is Role.SPECTRUM
    return Output(
        spec=OutputSpec(*names.split(), role),
        coord=coord,
        units=("Angstrom",) if is_spectrum else ("",) * n,
        attrs=(("medium", "vacuum"),) if is_spectrum else (),
        map=LinearMap(weights, offset),
        scatter=np.zeros(n) + scatter,
        scale=np.sqrt((weights**2).sum(1)),
        floor=np.zeros(n),
        used=np.ones(n, bool),
        bounds=np.outer(np.ones(n), [-np.inf, np.inf]),
    )


def draw(change):
    """Return flux and inverse variance of giants, whose errors are changed before noise is drawn.

    As a survey has them: S/N 30 to 200, variance in proportion to flux, 3% of pixels bad.
    """
    return tuple(array.copy() for array in _draw_once(change))


@functools.cache
def _draw_once(change):
    rng = np.random.default_rng(1)
    emulator = load_emulator(PIXELS)
    flux = render(draw_labels(STARS, emulator["sample"], rng), emulator).astype(float)
    snr = np.exp(rng.uniform(np.log(30), np.log(200), (STARS, 1)))
    good = ~draw_bad(flux.shape, 0.03, rng)
    ivar = change(good * snr**2 / np.maximum(flux, 0.05), rng)
    sigma = np.divide(1, np.sqrt(ivar), out=np.zeros_like(ivar), where=ivar > 0)
    noisy = flux + sigma * rng.standard_normal(flux.shape)
    return np.where(ivar > 0, noisy, np.nan).astype("f4"), ivar.astype("f4")


def keep(ivar, _):
    return ivar


def vary_along_the_spectrum(ivar, rng):
    """As LAMOST has them: far better in the red, uncertain errors, 9% of pixels bad, any S/N."""
    curve = 10 ** np.linspace(-1, 0.5, PIXELS) * (1 + 0.3 * np.sin(np.arange(PIXELS) / 300))
    guess = np.exp(0.2 * rng.standard_normal(ivar.shape))
    good = ~draw_bad(ivar.shape, 0.06, rng)
    return ivar * curve * guess * good * 10 ** rng.uniform(-2, 0.5, (STARS, 1))


def fall_by_three_decades(ivar, _):
    return ivar * 10 ** np.linspace(0, -3, PIXELS)


def rise_by_three_decades(ivar, _):
    return ivar * 10 ** np.linspace(-3, 0, PIXELS)


def tilt_by_up_to_five_decades(ivar, rng):
    slope = rng.uniform(-5, 5, (STARS, 1))
    return ivar * 10 ** (slope * np.linspace(-0.5, 0.5, PIXELS) - abs(slope) / 2)


def take_real_ones(*_):
    """Those of real spectra of LAMOST over their continuum, again and again."""
    if not LAMOST.exists():
        pytest.skip(f"no {LAMOST.name} beside the repository")
    with np.load(LAMOST) as file:
        counts, ivar, flux = (file[k].astype(float) for k in ("flux", "ivar", "normflux"))
    continuum = np.divide(counts, flux, out=np.zeros_like(counts), where=flux != 0)
    real = np.where(continuum > 0, ivar * continuum**2, 0)[:, :PIXELS]
    return np.resize(real, (STARS, PIXELS))


def drop_chips(ivar, rng):
    edges = [0, 1100, 2300, PIXELS]
    ivar = ivar.copy()
    for star in ivar:
        chip = rng.integers(3)
        star[edges[chip] : edges[chip + 1]] = 0
    return ivar


def leave_one_pixel(ivar, rng):
    left = np.zeros_like(ivar)
    left[np.arange(STARS), rng.integers(PIXELS, size=STARS)] = 1e4
    return left


def scatter_over_six_decades(ivar, rng):
    return ivar * 10 ** rng.uniform(-4.5, 1.5, ivar.shape)


def multiply_snr_by_ten(ivar, _):
    return 100 * ivar


def take_away(ivar, _):
    return 0 * ivar


# how many stars at most go the exact way, and how many at least
CASES = {
    keep: (0, 0),
    vary_along_the_spectrum: (0.02, 0),
    take_real_ones: (0.1, 0.01),
    fall_by_three_decades: (0.5, 0.02),
    rise_by_three_decades: (0.3, 0.02),
    tilt_by_up_to_five_decades: (0.5, 0.02),
    drop_chips: (0.5, 0.02),
    leave_one_pixel: (1, 0.5),
    scatter_over_six_decades: (1, 0.9),
    take_away: (0, 0),
}


@pytest.fixture(scope="module")
def expect(float64_reference):
    """What the spectra of a change should give of the labels of these names, found once."""

    @functools.cache
    def expect(names, change):
        flux, ivar = draw(change)
        return float64_reference(make_model(names), "flux", np.nan_to_num(flux), ivar)

    return expect


@pytest.fixture(params=[jnp.bfloat16, np.float32], ids=["rounded", "unrounded"])
def products(request, monkeypatch):
    """Either kind of products for what may be coarse, whatever this machine's are."""
    monkeypatch.setattr(coarse, "find_dtype", lambda: np.dtype(request.param))


@pytest.mark.parametrize("change", CASES, ids=lambda change: change.__name__)
@pytest.mark.usefixtures("products")
def test_answers_are_those_of_float64(giants, change, expect):
    flux, ivar = draw(change)
    got, fell_back = Inference.of(giants).infer_and_count({"flux": flux, "flux_ivar": ivar})
    assert_right(got, expect(NAMES, change))
    most, least = CASES[change]
    assert least <= fell_back / STARS <= most


@pytest.mark.parametrize("change", [keep, take_real_ones, fall_by_three_decades, drop_chips])
@pytest.mark.usefixtures("products")
def test_answers_for_twelve_labels(giants_of_twelve_labels, change, expect):
    model = giants_of_twelve_labels
    flux, ivar = draw(change)
    got, fell_back = Inference.of(model).infer_and_count({"flux": flux, "flux_ivar": ivar})
    assert got["label_value"].shape[1] == 12
    assert_right(got, expect(TWELVE, change))
    most, least = CASES[change]
    assert least <= fell_back / STARS <= 2 * most


@pytest.mark.usefixtures("products")
def test_roundings_of_long_steps_do_not_matter(giants, float64_reference):
    model = scatter_by(giants, 1e-4)
    flux, ivar = draw(multiply_snr_by_ten)
    got, fell_back = Inference.of(model).infer_and_count({"flux": flux, "flux_ivar": ivar})
    assert_right(got, float64_reference(model, "flux", np.nan_to_num(flux), ivar))
    assert fell_back < 0.1 * STARS


def test_what_one_machine_prepared_another_can_use(giants, monkeypatch, float64_reference):
    model = scatter_by(giants, 1e-4)
    flux, ivar = draw(multiply_snr_by_ten)
    monkeypatch.setattr(coarse, "find_dtype", lambda: np.dtype(jnp.bfloat16))
    prepared = Inference.of(model)
    monkeypatch.setattr(coarse, "find_dtype", lambda: np.dtype(np.float32))
    got = prepared.infer({"flux": flux, "flux_ivar": ivar})
    assert_right(got, float64_reference(model, "flux", np.nan_to_num(flux), ivar))


def scatter_by(model, scatter):
    flux = dataclasses.replace(model["flux"], scatter=np.full(PIXELS, scatter))
    return dataclasses.replace(model, outputs=(model["label_value"], flux))


def test_a_few_stars_go_the_exact_way_without_products_of_columns(giants, float64_reference):
    few, hard, easy = 9, draw(scatter_over_six_decades), draw(keep)
    flux, ivar = (np.concatenate([a[:-few], b[:few]]) for a, b in zip(easy, hard, strict=True))
    inference = Inference.of(giants)
    got, fell_back = inference.infer_and_count({"flux": flux, "flux_ivar": ivar})
    assert fell_back == few
    (design,) = inference.problem.designs
    assert design.packed is None
    assert "multiplied" not in vars(design)
    expected = float64_reference(giants, "flux", np.nan_to_num(flux), ivar)
    assert_right(got, expected)
    away = abs(got["label_value"] - expected["value"]) / expected["err"]
    assert away[-few:].max() < 1e-4


def test_no_star_is_no_fault(giants):
    flux, ivar = draw(keep)
    found = Inference.of(giants).infer({"flux": flux[:0], "flux_ivar": ivar[:0]})
    assert found["label_value"].shape == (0, len(NAMES))  # a warning is an error


def test_the_exact_way_corrects_what_float32_leaves(giants, expect):
    flux, ivar = draw(scatter_over_six_decades)
    got, fell_back = Inference.of(giants).infer_and_count({"flux": flux, "flux_ivar": ivar})
    expected = expect(NAMES, scatter_over_six_decades)
    assert fell_back == STARS
    away = abs(got["label_value"] - expected["value"]) / expected["err"]
    assert away.max() < 1e-4


def assert_right(got, expected):
    """Compare what was inferred with the reference, by what is promised."""
    away = abs(got["label_value"] - expected["value"]) / expected["err"]
    assert np.quantile(away, 0.999) < 1e-3
    assert away.max() < 0.01
    np.testing.assert_allclose(got["label_err"], expected["err"], rtol=0.01)
    np.testing.assert_allclose(got["chi2"], expected["chi2"], rtol=1e-3, atol=1e-3)
    np.testing.assert_array_equal(got["n_pixels"], expected["n_pixels"])


def catalogue(flux, ivar):
    return xr.Dataset(
        {"flux": (("star", "wavelength"), flux), "flux_ivar": (("star", "wavelength"), ivar)},
        coords={
            "star": [f"s{i}" for i in range(len(flux))],
            "wavelength": (
                "wavelength",
                4000.0 + np.arange(PIXELS),
                {"units": "Angstrom", "medium": "vacuum"},
            ),
        },
    )


# where most of its company falls back, a star goes the exact way with them
@pytest.mark.parametrize(
    ("company", "rtol"), [(drop_chips, 1e-5), (scatter_over_six_decades, 0.01)]
)
def test_a_star_does_not_depend_on_its_company(giants, company, rtol):
    easy, hard = draw(keep), draw(company)
    inference = Inference.of(giants)

    def infer(stars):
        return inference.infer({"flux": stars[0], "flux_ivar": stars[1]})

    alone = infer([array[:60] for array in easy])
    mixed = infer([np.concatenate([b[:70], a[:60]]) for a, b in zip(easy, hard, strict=True)])
    away = (mixed["label_value"][70:] - alone["label_value"]) / alone["label_err"]
    assert abs(away).max() < 1e-3
    np.testing.assert_allclose(mixed["label_err"][70:], alone["label_err"], rtol=rtol)
    again = infer([array[:60] for array in easy])
    for name, array in alone.items():
        np.testing.assert_array_equal(again[name], array)


def test_chunks_change_no_more_than_rounding(giants, no_compute):
    survey = catalogue(*draw(vary_along_the_spectrum))
    whole = lux.infer(survey, giants)
    with no_compute():
        lazy = lux.infer(survey.chunk(star=40), giants)
    lazy = lazy.compute()
    assert abs((lazy["label_value"] - whole["label_value"]) / whole["label_err"]).max() < 1e-3
    np.testing.assert_allclose(lazy["label_err"], whole["label_err"], rtol=1e-5)
    np.testing.assert_array_equal(lazy["flags"], whole["flags"])


def test_latents_that_do_nothing(giants, float64_reference):
    flux = giants["flux"]
    weights = flux.map.weights * (np.arange(LATENTS) < 40)
    idle = dataclasses.replace(flux, map=LinearMap(weights, flux.map.offset))
    model = dataclasses.replace(giants, outputs=(giants["label_value"], idle))
    flux, ivar = draw(keep)
    got, fell_back = Inference.of(model).infer_and_count({"flux": flux, "flux_ivar": ivar})
    expected = float64_reference(model, "flux", np.nan_to_num(flux), ivar)
    assert (abs(got["label_value"] - expected["value"]) / expected["err"]).max() < 1e-3
    np.testing.assert_allclose(got["label_err"], expected["err"], rtol=0.01)
    assert fell_back == 0


def test_covariances_are_those_of_the_errors(giants, expect):
    flux, ivar = draw(keep)
    got = lux.infer(catalogue(flux, ivar), giants, covariance=True)
    expected = expect(NAMES, keep)
    size = expected["err"][:, :, None] * expected["err"][:, None, :]
    assert (abs(got["label_cov"].values - expected["label_cov"]) < 0.02 * size).all()


def test_latents_have_their_errors(giants, expect):
    flux, ivar = draw(keep)
    got = Inference.of_latents(giants).infer({"flux": flux, "flux_ivar": ivar})
    expected = expect(NAMES, keep)
    error = np.sqrt(np.diagonal(expected["cov"], axis1=1, axis2=2))
    assert (abs(got["latent_value"] - expected["latent"]) / error).max() < 0.01
    np.testing.assert_allclose(got["latent_err"], error, rtol=0.01)


def test_values_that_break_the_contract_are_flagged_and_left_out(giants):
    flux, ivar = draw(keep)
    clean = Inference.of(giants).infer({"flux": flux, "flux_ivar": ivar * (np.arange(PIXELS) > 9)})
    ivar[:, :10] = [np.nan, np.inf, -1, -np.inf, 1, 1, 1, np.nan, -1, 1]
    flux[:, :10] = [1, 1, 1, 1, np.nan, np.inf, -np.inf, np.nan, 1, 1e30]
    got = Inference.of(giants).infer({"flux": flux, "flux_ivar": ivar})
    assert (got["flags"] & flags.BIT["invalid_values"] > 0).all()
    away = (got["label_value"] - clean["label_value"]) / clean["label_err"]
    assert abs(away).max() < 1e-3
    np.testing.assert_array_equal(got["n_pixels"], clean["n_pixels"])


def test_labels_beside_the_spectrum_and_windows(giants):
    flux, ivar = draw(keep)
    data = {"flux": flux, "flux_ivar": ivar}
    exact = without_components(Inference.of(giants, ["flux", "label_value"]))
    known = np.tile(giants["label_value"].map.offset, (STARS, 1))
    data |= {"label_value": known, "label_err": 0.1 * abs(known) + 0.1}
    both = Inference.of(giants, ["flux", "label_value"]).infer(data)
    assert_same(both, exact.infer(data))
    label = dataclasses.replace(giants["label_value"], windows=(("m_h", ((5000.0, 6000.0),)),))
    windowed = dataclasses.replace(giants, outputs=(label, giants["flux"]))
    assert_same(
        Inference.of(windowed).infer(data), without_components(Inference.of(windowed)).infer(data)
    )


def without_components(inference):
    """Return the same inference by the exact way alone."""
    designs = inference.problem.designs
    assert any(d.components is not None for d in designs)
    plain = tuple(dataclasses.replace(d, components=None) for d in designs)
    return dataclasses.replace(
        inference, problem=dataclasses.replace(inference.problem, designs=plain)
    )


def assert_same(got, expected):
    away = (got["label_value"] - expected["label_value"]) / expected["label_err"]
    assert abs(away).max() < 2e-3
    np.testing.assert_allclose(got["label_err"], expected["label_err"], rtol=0.01)
    np.testing.assert_array_equal(got["n_pixels"], expected["n_pixels"])


def test_few_stars_may_go_the_exact_way_without_preparation(giants):
    flux, ivar = draw(keep)
    data = {"flux": flux, "flux_ivar": ivar}
    exact = Inference.of(giants, exactly=True)
    assert exact.problem.designs[0].components is None
    expected = without_components(Inference.of(giants)).infer(data)
    for name, array in exact.infer(data).items():
        np.testing.assert_array_equal(array, expected[name])


def test_where_products_are_cheap_there_is_one_way(giants, small_model, monkeypatch):
    assert Inference.of(giants).problem.designs[0].components is not None
    assert Inference.of(small_model).problem.designs[0].components is None
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert Inference.of(giants).problem.designs[0].components is None
