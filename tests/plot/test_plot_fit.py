import numpy as np
import pytest
import xarray as xr

from luxscale import plot
from luxscale.errors import InputError


def test_every_pixel_and_the_median_of_its_stretch():
    n = 3000
    columns = {
        k: ("wavelength", np.full(n, v))
        for k, v in (("chi2", 1.1), ("mean", 0.0), ("scatter", 1.0))
    }
    table = xr.Dataset(
        columns, {"wavelength": ("wavelength", np.linspace(400, 700, n), {"units": "nm"})}
    )
    table["chi2"][7], table["chi2"][1500] = np.nan, 50
    axes = plot.fit_by_pixel(table)
    np.testing.assert_array_equal(axes[0].lines[0].get_ydata(), table["chi2"])
    x, middle = axes[0].lines[1].get_data()
    assert x.size == 150 and (np.diff(x) > 0).all() and middle == pytest.approx(1.1)
    assert [ax.lines[2].get_ydata()[0] for ax in axes] == [1, 0, 1]
    assert axes[-1].get_xlabel() == "Wavelength [nm]" and axes[0].get_ylim()[1] < 50
    with pytest.raises(InputError, match="2 axes; give three"):
        plot.fit_by_pixel(table, [None, None])
