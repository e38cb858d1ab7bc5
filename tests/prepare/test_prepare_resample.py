import numpy as np
import pytest
from spectres.spectral_resampling import spectres

from luxscale.prepare.resample import Pixels, copy_pixels, find_offset, find_segments, rebin_pixels
from luxscale.readers import BadFile

LOG = 10 ** (3.6 + 1e-4 * np.arange(300))
OUTSIDE = 9


def pixels(flux, ivar=None, reason=None) -> Pixels:
    flux = np.atleast_2d(np.asarray(flux, float))
    ivar = np.ones(flux.shape) if ivar is None else np.atleast_2d(ivar)
    reason = np.where(ivar > 0, 0, 1).astype(np.uint8) if reason is None else np.atleast_2d(reason)
    return Pixels(flux, ivar, reason)


def widths(grid):
    return np.gradient(grid)


@pytest.mark.parametrize(
    ("start", "stop", "expected"), [(0, 300, 0), (20, 200, 20), (0, 10, 0), (290, 300, 290)]
)
def test_part_of_the_grid_lies_at_an_offset(start, stop, expected):
    assert find_offset(LOG[start:stop], LOG) == expected
    assert find_offset(LOG, LOG[start:stop]) == -expected


def test_wavelengths_from_float32_logarithms_are_the_grid():
    assert find_offset(10 ** np.log10(LOG).astype("f4").astype(float), LOG) == 0


def test_a_shift_by_a_hundredth_of_a_pixel_or_another_step_is_another_grid():
    assert find_offset(10 ** (np.log10(LOG) + 1e-6), LOG) is None
    assert find_offset(10 ** (3.6 + 1.001e-4 * np.arange(300)), LOG) is None
    assert find_offset(LOG * 3, LOG) is None


def test_a_copy_is_exact_and_says_what_is_outside():
    part = pixels(np.arange(1.0, 11.0), np.arange(10.0))
    moved = copy_pixels(part, 3, 20, OUTSIDE)
    np.testing.assert_array_equal(moved.flux[0], [0, 0, 0, *range(1, 11), *[0] * 7])
    np.testing.assert_array_equal(moved.ivar[0], [0, 0, 0, *range(10), *[0] * 7])
    np.testing.assert_array_equal(moved.reason[0], [OUTSIDE] * 3 + [1] + [0] * 9 + [OUTSIDE] * 7)
    back = copy_pixels(moved, -3, 10, OUTSIDE)
    for ours, theirs in zip(back, part, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_flux_is_conserved():
    rng = np.random.default_rng(0)
    line = 1 - 0.7 * np.exp(
        -0.5 * ((LOG - np.array([[4100], [4150]])) / rng.uniform(2, 4, (2, 1))) ** 2
    )
    grid = np.linspace(4030, 4230, 77)
    moved = rebin_pixels(pixels(line), LOG, grid, OUTSIDE)
    assert (moved.ivar > 0).all()
    lost = [np.sum((1 - f) * widths(w), 1) for f, w in ((line, LOG), (moved.flux, grid))]
    np.testing.assert_allclose(*lost, rtol=1e-5)


def test_whole_bins_have_mean_flux_and_its_variance():
    fine = 5000 + np.arange(300.0)
    rng = np.random.default_rng(1)
    flux, var = rng.normal(10, 1, (2, 300)), rng.uniform(1, 3, (2, 300))
    moved = rebin_pixels(pixels(flux, 1 / var), fine, 5001 + 3.0 * np.arange(100), OUTSIDE)
    np.testing.assert_allclose(moved.flux, flux.reshape(2, 100, 3).mean(2), rtol=1e-12)
    np.testing.assert_allclose(1 / moved.ivar, var.reshape(2, 100, 3).sum(2) / 9, rtol=1e-12)


def test_the_variance_of_noise_is_at_most_what_is_said():
    rng = np.random.default_rng(2)
    err = rng.uniform(0.5, 2, LOG.size)
    noise = err * rng.standard_normal((4000, LOG.size))
    grid = np.linspace(LOG[3], LOG[-3], 210)
    moved = rebin_pixels(pixels(noise, np.broadcast_to(err**-2, noise.shape)), LOG, grid, OUTSIDE)
    variance = np.mean(moved.flux**2, 0)
    assert (variance * moved.ivar[0] < 1 + 5 * np.sqrt(2 / len(noise))).all()
    # ... and what is said is the lesser of what its own pixels and their share of information allow
    edges = np.r_[
        grid[0] - (grid[1] - grid[0]) / 2,
        (grid[1:] + grid[:-1]) / 2,
        grid[-1] + (grid[-1] - grid[-2]) / 2,
    ]
    old = np.r_[
        LOG[0] - (LOG[1] - LOG[0]) / 2, (LOG[1:] + LOG[:-1]) / 2, LOG[-1] + (LOG[-1] - LOG[-2]) / 2
    ]
    part = np.clip(
        np.minimum(edges[1:, None], old[1:]) - np.maximum(edges[:-1, None], old[:-1]), 0, None
    )
    exact = part.sum(1) ** 2 / (part**2 @ err**2)
    shared = (part / np.diff(old)) @ err**-2.0
    np.testing.assert_allclose(moved.ivar[0][1:-1], np.minimum(exact, shared)[1:-1], rtol=1e-3)


@pytest.mark.parametrize("velocity", [0.0, 12.3, 34.5])
def test_what_is_fitted_to_resampled_spectra_scatters_as_its_error_says(velocity):
    rng = np.random.default_rng(4)
    shape = 1 + 0.3 * np.sin(np.linspace(0, 9, LOG.size))
    noise = rng.standard_normal((4000, LOG.size))
    moved = rebin_pixels(
        pixels(noise, np.ones_like(noise)), LOG / (1 + velocity / 299792.458), LOG, OUTSIDE
    )
    weight = np.where(moved.ivar > 0, moved.ivar, 0) * shape
    amplitude = (weight * moved.flux).sum(1) / (weight * shape).sum(1)
    pull = amplitude * np.sqrt((weight * shape).sum(1))
    assert 0.95 < pull.std() < 1.05


def test_bad_pixels_do_not_leak_and_cost_only_what_they_touch():
    rng = np.random.default_rng(3)
    ivar = np.where(rng.random((5, LOG.size)) < 0.1, 0, 1.0)
    reason = np.where(ivar > 0, 0, 1 + rng.integers(0, 4, ivar.shape)).astype(np.uint8)
    grid = LOG * (1 + 40 / 299792.458)
    moved, other = (
        rebin_pixels(pixels(np.where(ivar > 0, 3.0, junk), ivar, reason), LOG, grid, OUTSIDE)
        for junk in (0, 1e9)
    )
    for ours, theirs in zip(moved, other, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    np.testing.assert_allclose(moved.flux[moved.ivar > 0], 3, rtol=1e-12)
    bad = np.pad(ivar == 0, ((0, 0), (0, 1)), constant_values=True)
    touched = (
        bad[:, :-1] | bad[:, 1:]
    )  # pixel k of the grid lies on k and k + 1; its last one is half outside
    np.testing.assert_array_equal(moved.ivar == 0, touched)
    assert (moved.reason[:, -1] == OUTSIDE).all()
    alone = touched[:, :-1] & ~(bad[:, 1:-1] & bad[:, :-2])
    codes = np.where(bad[:, :-2], reason[:, :-1], reason[:, 1:])
    np.testing.assert_array_equal(moved.reason[:, :-1][alone], codes[alone])
    np.testing.assert_array_equal(moved.reason > 0, moved.ivar == 0)


def test_a_coarse_pixel_survives_a_bad_tenth():
    fine = 5000 + np.arange(100.0)
    ivar = np.ones((1, 100))
    ivar[0, 3], ivar[0, 41:43] = 0, 0
    moved = rebin_pixels(
        pixels(np.full(100, 7.0), ivar), fine, 5004.5 + 10 * np.arange(10), OUTSIDE
    )
    assert np.flatnonzero(moved.ivar[0] == 0).tolist() == [4]
    np.testing.assert_allclose(moved.ivar[0, [0, 1]], [9, 10])
    assert moved.flux[0, 0] == pytest.approx(7)


def test_detectors_do_not_reach_over_their_gaps():
    step = np.arange(50.0)
    file = np.r_[5000 + step, 5200 + step]
    grid = 4990.25 + np.arange(300.0)
    moved = rebin_pixels(pixels(np.r_[np.full(50, 1.0), np.full(50, 2.0)]), file, grid, OUTSIDE)
    for low, high, flux in ((5000, 5049, 1.0), (5200, 5249, 2.0)):
        inside = (grid > low + 0.01) & (grid < high - 0.01)
        np.testing.assert_allclose(moved.flux[0, inside], flux)
    gap = (grid < 4999.9) | (grid > 5249.1) | ((grid > 5049.1) & (grid < 5199.9))
    assert not moved.ivar[0, gap].any() and (moved.reason[0, gap] == OUTSIDE).all()
    there = rebin_pixels(
        pixels(np.full(300, 1.0)), grid, file, OUTSIDE
    )  # and a survey's grid may have gaps
    np.testing.assert_allclose(there.ivar[0], there.ivar[0, 10])


def test_segments_lie_between_gaps():
    assert find_segments(LOG) == [slice(0, 300)]
    assert find_segments(np.r_[LOG[:100], LOG[150:]]) == [slice(0, 100), slice(100, 250)]
    with pytest.raises(BadFile, match="stretches"):
        find_segments(LOG[:1])


@pytest.mark.parametrize("velocity", [0.0, 40.0])
def test_spectra_without_bad_pixels_are_those_of_spectres(velocity):
    rng = np.random.default_rng(4)
    flux, err = rng.normal(5, 1, (3, LOG.size)), rng.uniform(0.5, 2, (3, LOG.size))
    file = LOG / (1 + velocity / 299792.458)
    grid = np.linspace(LOG[0], LOG[-1], 100)
    ours = rebin_pixels(pixels(flux, err**-2), file, grid, OUTSIDE)
    theirs, error = spectres(grid, file, flux, err, fill=np.nan, verbose=False)
    covered = np.isfinite(theirs)
    np.testing.assert_array_equal(ours.ivar > 0, covered)
    np.testing.assert_allclose(ours.flux[covered], theirs[covered], rtol=1e-11)
    density = spectres(grid, file, err**-2 / widths(file), fill=np.nan, verbose=False)
    ivar = np.minimum(error**-2, density * widths(grid))
    np.testing.assert_allclose(ours.ivar[covered], ivar[covered], rtol=1e-11)
