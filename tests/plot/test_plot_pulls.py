import numpy as np
import pytest
import xarray as xr

from luxscale import plot
from luxscale.analysis.bins import assign_bins, make_bins
from luxscale.errors import InputError
from luxscale.plot.pulls import REACH


def pairs(n, scale, labels=("teff", "fe_h")):
    """Labels of which the errors are ``scale`` times too small."""
    rng = np.random.default_rng(3)
    err = np.full((n, len(labels)), 0.3)
    truth = rng.standard_normal(err.shape)
    values = {
        "inferred": truth + scale * 0.5 * rng.standard_normal(err.shape),
        "inferred_err": err,
        "truth": truth,
    }
    return xr.Dataset(
        {
            k: (("star", "label"), v)
            for k, v in (values | {"truth_err": np.full_like(err, 0.4)}).items()
        },
        {"label": np.array(labels, object)},
    )


def test_bins_of_snr_hold_as_many_stars_each():
    snr = np.r_[np.random.default_rng(0).uniform(10, 300, 1000), np.nan]
    edges = make_bins(snr, 4)
    counts = np.bincount(assign_bins(snr, edges)[:-1], minlength=4)
    assert counts.tolist() == [250] * 4 and assign_bins(snr, edges)[-1] == -1
    assert assign_bins(np.array([edges[0] - 1, edges[-1] + 1]), edges).tolist() == [-1, -1]


def test_stars_of_one_snr_share_a_bin():
    edges = make_bins(np.full(5, 70.0), 4)
    assert assign_bins(np.full(5, 70.0), edges).tolist() == [0] * 5
    with pytest.raises(InputError, match="no S/N is finite"):
        make_bins(np.full(3, np.nan))


def test_histograms_have_area_one_and_follow_the_unit_gaussian_if_errors_are_right():
    axes = plot.pulls(pairs(200_000, 1.0))
    assert axes.shape == (2, 1)
    heights, edges, _ = axes[0, 0].patches[0].get_data()
    middle = (edges[1:] + edges[:-1]) / 2
    assert np.sum(heights * np.diff(edges)) == pytest.approx(1)
    np.testing.assert_allclose(heights, np.exp(-(middle**2) / 2) / np.sqrt(2 * np.pi), atol=0.01)
    gaussian = axes[0, 0].lines[0]
    assert np.max(gaussian.get_ydata()) == pytest.approx(1 / np.sqrt(2 * np.pi))
    assert axes[0, 0].texts[0].get_text().split("\n")[1] == "1.00"


def test_one_star_has_a_pull_and_no_scatter():
    assert plot.pulls(pairs(1, 1.0))[0, 0].texts[0].get_text().endswith("\n-")


def test_what_lies_beyond_is_in_the_outermost_bins():
    found = pairs(1000, 1.0)
    found["inferred"][:100] += 1e6
    heights, edges, _ = plot.pulls(found)[0, 0].patches[0].get_data()
    assert edges[-1] == REACH and heights[-1] * (edges[1] - edges[0]) == pytest.approx(
        0.1, abs=0.002
    )


def test_a_column_a_bin_of_snr():
    snr = np.r_[np.full(500, 20.0), np.full(500, 90.0)] + np.arange(1000) / 1000
    found = pairs(1000, 1.0)
    found["inferred"][:500] = found["truth"][:500] + 3 * (
        found["inferred"][:500] - found["truth"][:500]
    )
    axes = plot.pulls(found, snr, bins=2)
    assert axes.shape == (2, 3) and axes[0, 0].get_title() == "all stars"
    low, high = (float(ax.texts[0].get_text().split("\n")[1]) for ax in axes[0, 1:])
    assert low == pytest.approx(3, rel=0.15) and high == pytest.approx(1, rel=0.15)


def test_labels_without_pulls_and_axes_of_another_number():
    found = pairs(50, 1.0)
    found["truth"][:, 1] = np.nan
    assert [t.get_text() for t in plot.pulls(found)[1, 0].texts] == ["none"]
    with pytest.raises(InputError, match="3 axes for 2 labels; give 1 for each"):
        plot.pulls(found, axes=[None] * 3)
