import dataclasses

import numpy as np
import pytest

from luxscale.errors import InputError
from luxscale.prepare import continuum_pixels, default_recipe, prepare
from luxscale.prepare.continuum import (
    APOGEE_CHIPS,
    MISFIT,
    choose_chips,
    compute_mean_flux,
    compute_median_flux,
    fit_continuum,
    make_chips,
)
from luxscale.readers import get_format
from luxscale.readers.apogee import GRID
from luxscale.readers.base import Format, Spectra

FORMAT = get_format("apstar")


def shape(grid: np.ndarray, n: int, seed: int) -> np.ndarray:
    """Smooth continua, with a jump at each chip of APOGEE: (star, wavelength)."""
    rng = np.random.default_rng(seed)
    x = (grid - grid.mean()) / np.ptp(grid)
    smooth = (
        1
        + x * rng.normal(0, 0.3, (n, 1))
        + x**2 * rng.normal(0, 0.5, (n, 1))
        + x**3 * rng.normal(0, 1, (n, 1))
    )
    jump = sum(rng.normal(0, 0.2, (n, 1)) * (grid > edge) for edge in (15822.5, 16451.5))
    return rng.uniform(50, 5000, (n, 1)) * (smooth + jump + 0.5)


def lines(grid: np.ndarray, n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Absorption whose depth differs from star to star, and where there is none."""
    rng = np.random.default_rng(seed)
    depth, centres = rng.uniform(0.02, 0.5, 300), rng.uniform(grid[0], grid[-1], 300)
    profile = np.exp(-0.5 * ((grid - centres[:, None]) / 0.7) ** 2) * depth[:, None]
    return np.exp(-rng.uniform(0.3, 1.7, (n, 300)) @ profile), profile.sum(0) < 1e-3


def runs(chosen: np.ndarray, grid: np.ndarray) -> list[tuple[float, float]]:
    edges = np.flatnonzero(np.diff(np.r_[0, chosen.astype(int), 0])).reshape(-1, 2)
    return [(grid[a] - 0.05, grid[b - 1] + 0.05) for a, b in edges]


def test_the_chips_of_apogee_are_known_others_are_stretches_of_the_grid():
    assert choose_chips(GRID) == choose_chips(GRID[246:7460]) == APOGEE_CHIPS
    cameras = np.r_[4718:4903:0.046, 5649:5873:0.055]
    assert choose_chips(cameras) == ((4718.0, cameras[4021]), (5649.0, cameras[-1]))
    assert choose_chips(np.arange(336.0, 1021, 2)) == ((336.0, 1020.0),)


@pytest.mark.parametrize(
    ("kind", "order"), [("chebyshev", 4), ("chebyshev", 6), ("sines", 3), ("sines", 1)]
)
@pytest.mark.parametrize(
    "part", [None, ((15150.0, 15400.0), (15500.0, 15790.0), (15900.0, 16400.0), (16500.0, 16900.0))]
)
def test_the_fit_is_that_of_numpy_star_by_star(kind, order, part):
    rng = np.random.default_rng(0)
    flux = shape(GRID, 70, 1) * (1 + 0.02 * rng.standard_normal((70, GRID.size)))
    ivar = (
        np.where(rng.random(flux.shape) < 0.2, 0, rng.uniform(0.2, 5, flux.shape))
        / flux.mean(1)[:, None] ** 2
    )
    level = flux.mean(1)
    weight = ivar / (1 + ivar * (MISFIT * level[:, None]) ** 2)
    flux[ivar == 0] = 1e6
    found = fit_continuum(flux, ivar, level, make_chips(GRID, kind, order, 1400.0, (), part))
    at = (
        np.ones(GRID.size, bool)
        if part is None
        else np.any([(a <= GRID) & (b >= GRID) for a, b in part], 0)
    )
    for low, high in APOGEE_CHIPS:
        chip = (low <= GRID) & (high >= GRID)
        x = np.polynomial.chebyshev.chebvander((GRID - low) / (high - low) * 2 - 1, order)
        if kind == "sines":
            phase = 2 * np.pi * np.arange(1, order + 1) * GRID[:, None] / 1400
            x = np.concatenate([np.ones((GRID.size, 1)), np.sin(phase), np.cos(phase)], 1)
        for i in (0, 33, 69):
            w = np.sqrt(weight[i] * (chip & at))
            expected = x[chip] @ np.linalg.lstsq(x * w[:, None], flux[i] * w, rcond=1e-14)[0]
            there = expected > 0.05 * np.median(expected)
            np.testing.assert_allclose(found[i, chip][there], expected[there], rtol=3e-4)
            assert there.mean() > 0.9
    outside = (APOGEE_CHIPS[0][0] > GRID) | (APOGEE_CHIPS[-1][1] < GRID)
    assert outside.any() and not found[:, outside].any()


@pytest.mark.parametrize(("continuum", "error"), [("chebyshev", 2e-5), ("sines", 0.02)])
def test_continua_without_lines_become_one(continuum, error):
    flux = shape(GRID, 5, 2)
    prepared = prepare(
        Spectra(star=np.arange(5), flux=flux, ivar=(100 / flux) ** 2, wavelength=GRID),
        FORMAT,
        default_recipe(FORMAT, continuum=continuum),
        GRID,
    )
    good = prepared.flux_ivar > 0
    np.testing.assert_allclose(prepared.flux[good], 1, atol=error)
    np.testing.assert_allclose(
        np.sqrt(prepared.flux_ivar[good]) * prepared.flux[good], 100, rtol=1e-5
    )
    outside = (GRID < 15090) | (GRID > 16971)
    assert (
        prepared.masked["no continuum"]
        == 5
        * (outside | ((GRID > 15822) & (GRID < 15823)) | ((GRID > 16451) & (GRID < 16452))).sum()
    )
    assert good.sum() == good.size - prepared.masked["no continuum"]


@pytest.mark.parametrize("continuum", ["chebyshev", "sines"])
@pytest.mark.parametrize("given", [True, False])
def test_the_continuum_does_not_depend_on_the_signal_to_noise(continuum, given):
    # one star, full of lines, at S/N 20 with the noise of the sky and at S/N 200 with that of its
    # photons
    absorbed, free = lines(GRID, 1, 3)
    truth = shape(GRID, 1, 4) * absorbed
    recipe = default_recipe(
        FORMAT, continuum=continuum, continuum_pixels=runs(free, GRID) if given else None
    )
    rng, n = np.random.default_rng(5), 256
    sky = np.linspace(0.5, 1.5, GRID.size) * np.where(rng.random(GRID.size) < 0.05, 3, 1)
    bad = rng.random(GRID.size) < 0.05
    error, exact = {}, {}
    for snr, sigma in (
        (20, truth.mean() * sky / 20),
        (200, np.sqrt(truth[0] * truth.mean()) / 200),
    ):
        ivar = np.broadcast_to(np.where(bad, 0, sigma**-2), (n, GRID.size))
        noisy = Spectra(
            star=np.arange(n),
            flux=truth + sigma * rng.standard_normal((n, GRID.size)),
            ivar=ivar,
            wavelength=GRID,
        )
        alone = Spectra(star=np.arange(1), flux=truth, ivar=ivar[:1], wavelength=GRID)
        # the ivar over what it was is the continuum squared
        fitted, expected = (
            np.sqrt(prepare(s, FORMAT, recipe, GRID).flux_ivar) * sigma for s in (noisy, alone)
        )
        good = expected[0] > 0
        assert good.sum() > 7000 and (fitted[:, good] > 0).all()
        exact[snr], error[snr] = expected[0, good], fitted[:, good].std(0)
        assert np.abs((fitted[:, good].mean(0) - exact[snr]) / error[snr]).max() < 5 / np.sqrt(
            n
        )  # noise moves it not
    assert 5 < np.median(error[20] / error[200]) < 20
    assert np.abs((exact[20] - exact[200]) / error[20]).max() < 1
    if given:
        np.testing.assert_allclose(exact[200], shape(GRID, 1, 4)[0, good], rtol=2e-2)


def test_a_chip_with_few_good_pixels_has_no_continuum_and_others_do():
    flux = shape(GRID, 3, 6)
    ivar = (100 / flux) ** 2
    middle = (GRID > 15822.5) & (GRID < 16451.5)
    ivar[1, middle & (np.arange(GRID.size) % 5 > 0)] = 0  # a fifth left: no continuum
    ivar[2, middle & (np.arange(GRID.size) % 3 > 0)] = 0  # a third: enough
    prepared = prepare(
        Spectra(star=np.arange(3), flux=flux, ivar=ivar, wavelength=GRID),
        FORMAT,
        default_recipe(FORMAT),
        GRID,
    )
    inside = (prepared.flux_ivar[0] > 0) & middle
    assert (prepared.flux_ivar[:, inside] > 0).mean(1) == pytest.approx([1, 0, 1 / 3], abs=1e-3)
    assert ((prepared.flux_ivar > 0) == (prepared.flux_ivar[0] > 0))[:, ~middle].all()


def test_where_the_continuum_is_not_positive_there_is_none():
    x = np.interp(GRID, GRID[[0, -1]], [-0.2, 1])
    flux = np.stack([x, x + 1]) * 100
    format_ = Format(name="line", doc="", reader=lambda path: iter(()))
    recipe = default_recipe(format_, continuum="chebyshev", order=1, chips=[(GRID[0], GRID[-1])])
    prepared = prepare(
        Spectra(star=np.arange(2), flux=flux, ivar=np.ones(flux.shape), wavelength=GRID),
        format_,
        recipe,
        GRID,
    )
    assert not prepared.flux_ivar[0, x < 0].any() and (prepared.flux_ivar[0, x > 0.01] > 0).all()
    assert (prepared.flux_ivar[1] > 0).all()
    assert prepared.masked["no continuum"] == (prepared.flux_ivar[0] == 0).sum() > 1000


def test_absurd_pixels_cost_their_own_star_alone():
    flux = shape(GRID, 4, 7)
    ivar = (100 / flux) ** 2
    spectra = Spectra(star=np.arange(4), flux=flux, ivar=ivar, wavelength=GRID)
    before = prepare(spectra, FORMAT, default_recipe(FORMAT), GRID)
    flux, ivar = flux.copy(), ivar.copy()
    flux[1, 3000:3010], ivar[1, 3000:3010] = 1e30, 1e300
    flux[2] = -flux[2]
    after = prepare(
        dataclasses.replace(spectra, flux=flux, ivar=ivar), FORMAT, default_recipe(FORMAT), GRID
    )
    for i in (0, 3):
        np.testing.assert_array_equal(after.flux[i], before.flux[i])
    assert set(after.refused) == {2}


def test_the_length_of_sines_is_angstrom_on_a_grid_in_nanometre():
    rng = np.random.default_rng(8)
    flux = shape(GRID, 2, 8) * (1 + 0.01 * rng.standard_normal(GRID.size))
    spectra = Spectra(star=np.arange(2), flux=flux, ivar=np.ones(flux.shape), wavelength=GRID)
    nm = dataclasses.replace(FORMAT, units="nm")
    whole = {"continuum": "sines", "length": 3000.0}
    ours = prepare(
        dataclasses.replace(spectra, wavelength=GRID / 10),
        nm,
        default_recipe(nm, chips=[(1510, 1699)], **whole),
        GRID / 10,
    )
    theirs = prepare(spectra, FORMAT, default_recipe(FORMAT, chips=[(15100, 16990)], **whole), GRID)
    np.testing.assert_allclose(ours.flux, theirs.flux, rtol=1e-4)


def test_chips_that_the_grid_does_not_have_are_refused():
    for chips, pixels in [
        (((5000.0, 6000.0),), None),
        (((15200.0, 15202.0),), None),
        ((), ((15200.0, 15210.0),)),
    ]:
        with pytest.raises(InputError, match="pixels to fit a continuum of 5 terms"):
            make_chips(GRID, "chebyshev", 4, 1400.0, chips, pixels)


def test_sines_that_would_repeat_themselves_in_a_chip_are_refused():
    with pytest.raises(InputError, match="wider than the sines' longest period.*at least 1400"):
        make_chips(GRID, "sines", 3, 1000.0, ((15400.0, 16800.0),), None)
    assert make_chips(GRID, "sines", 3, 1400.0, ((15400.0, 16800.0),), None)


def test_the_mean_flux_is_over_good_pixels_among_those_used():
    flux = np.array([[1.0, 2, 3, 4], [1, 2, 3, 4], [1, 2, 3, 4]])
    ivar = np.array([[1, 1, 1, 1], [1, 0, 5, 9], [0, 0, 0, 1.0]])
    used = np.array([True, True, True, False])
    np.testing.assert_allclose(compute_mean_flux(flux, ivar, used), [2, 2, np.nan])


def test_the_median_flux_is_over_good_pixels_among_those_used():
    flux = np.array([[1.0, 9, 3, 0], [1, 2, 3, 4], [1, 2, 3, 4]])
    ivar = np.array([[1, 1, 1, 1], [1, 0, 5, 9], [0, 0, 0, 1.0]])
    used = np.array([True, True, True, False])
    np.testing.assert_allclose(compute_median_flux(flux, ivar, used), [3, 2, np.nan])


def test_continuum_pixels_are_where_no_star_has_lines():
    absorbed, free = lines(GRID, 200, 9)
    rng = np.random.default_rng(10)
    sigma = rng.uniform(0.003, 0.01, (200, 1)) * np.ones(GRID.size)
    flux = absorbed + sigma * rng.standard_normal(absorbed.shape)
    ivar = np.where(rng.random(flux.shape) < 0.1, 0, sigma**-2)
    missing = slice(3000, 3100)
    ivar[:150, missing] = 0
    ranges = continuum_pixels(np.where(ivar > 0, flux, np.nan), ivar, GRID)
    chosen = np.any([(a <= GRID) & (b >= GRID) for a, b in ranges], 0)
    inside = np.any([(a <= GRID) & (b >= GRID) for a, b in APOGEE_CHIPS], 0)
    assert chosen.sum() == pytest.approx(0.07 * inside.sum(), rel=0.02)
    assert (absorbed.mean(0)[chosen] > 0.995).all() and (absorbed.std(0)[chosen] < 0.005).all()
    assert 0.1 < free[inside].mean() < 0.6 < 0.9 < free[chosen].mean()
    assert not chosen[missing].any() and not chosen[~inside].any()
    for low, high in APOGEE_CHIPS:
        hits = GRID[chosen & (low <= GRID) & (high >= GRID)]
        assert np.diff(np.r_[low, hits, high]).max() < (high - low) / 4
    default_recipe(FORMAT, continuum="sines", continuum_pixels=ranges)
    with pytest.raises(InputError, match="fraction"):
        continuum_pixels(flux, ivar, GRID, fraction=0)
    with pytest.raises(InputError, match="no continuum pixel"):
        continuum_pixels(flux, ivar * 0, GRID)
