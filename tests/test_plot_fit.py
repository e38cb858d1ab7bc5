import numpy as np
import pytest
import xarray as xr

from luxscale import plot
from luxscale.schema import InputError


def test_every_star_is_in_the_histogram_of_chi2():
    ratio = np.r_[np.random.default_rng(0).chisquare(100, 5000) / 100, 1e9, np.nan, 0]
    ax = plot.chi2_histogram(ratio, 2.5)
    heights, _, _ = ax.patches[0].get_data()
    assert heights.sum() == 5001
    assert [line.get_xdata()[0] for line in ax.lines] == [pytest.approx(np.median(ratio[:5001])), 2.5]
    assert ax.get_xlim()[1] > 2.5
    assert len(plot.chi2_histogram(ratio, np.inf).lines) == 1
    with pytest.raises(InputError, match="nothing to draw"):
        plot.chi2_histogram(np.array([np.nan, 0.0]))


def test_every_pixel_and_the_median_of_its_stretch():
    n = 3000
    columns = {k: ("wavelength", np.full(n, v)) for k, v in (("chi2", 1.1), ("mean", 0.0), ("scatter", 1.0))}
    table = xr.Dataset(columns, {"wavelength": ("wavelength", np.linspace(400, 700, n), {"units": "nm"})})
    table["chi2"][7], table["chi2"][1500] = np.nan, 50
    axes = plot.fit_by_pixel(table)
    np.testing.assert_array_equal(axes[0].lines[0].get_ydata(), table["chi2"])
    x, middle = axes[0].lines[1].get_data()
    assert x.size == 150 and (np.diff(x) > 0).all() and middle == pytest.approx(1.1)
    assert [ax.lines[2].get_ydata()[0] for ax in axes] == [1, 0, 1]
    assert axes[-1].get_xlabel() == "Wavelength [nm]" and axes[0].get_ylim()[1] < 50
    with pytest.raises(InputError, match="2 axes; give three"):
        plot.fit_by_pixel(table, [None, None])
