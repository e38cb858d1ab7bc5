"""Spectra as components, with gaps and without."""

import numpy as np

from luxscale.training import components


def test_components_stand_for_spectra(low_rank_spectra):
    values, ivar, _ = low_rank_spectra
    found = components.find_components(values, ivar, 5)
    assert found.gaps.rows.size == 0
    np.testing.assert_allclose(found.values @ found.vectors * found.unit, values, atol=1e-9)
    typical = np.median(1 / ivar[:, 0])
    np.testing.assert_allclose(found.level, 1 / ivar[:, 0] / typical, rtol=1e-9)
    assert len(found.bin_level) == components.BINS
    assert (np.diff(found.bin_level) > 0).all()


def test_gaps_are_filled_with_what_the_other_pixels_suggest(low_rank_spectra):
    values, ivar, gaps = low_rank_spectra
    damaged = np.where(gaps, 0, values)
    found = components.find_components(damaged, np.where(gaps, 0, ivar), 5)
    assert set(found.gaps.rows) == set(np.flatnonzero(gaps.any(1)))
    restored = found.values @ found.vectors * found.unit
    error = np.sqrt(1 / ivar)
    assert np.median(np.abs(restored - values)[gaps] / error[gaps]) < 1


def test_some_of_the_stars_keep_what_is_theirs(low_rank_spectra):
    values, ivar, gaps = low_rank_spectra
    found = components.find_components(np.where(gaps, 0, values), np.where(gaps, 0, ivar), 5)
    rows = np.array([250, 3, 120])
    part = found.take(rows)
    np.testing.assert_array_equal(part.values, found.values[rows])
    for place, row in zip(part.gaps.rows, rows[part.gaps.rows], strict=True):
        at = found.find_gaps(np.array([row]))[0]
        i = part.find_gaps(np.array([place]))[0]
        np.testing.assert_array_equal(part.gaps.overlap[i], found.gaps.overlap[at])
    assert found.find_gaps(np.array([0])).tolist() == [-1]
