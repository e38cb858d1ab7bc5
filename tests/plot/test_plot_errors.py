import numpy as np
import pytest
import xarray as xr

from luxscale import plot
from luxscale.analysis.evaluate import match_labels
from luxscale.errors import InputError


@pytest.fixture
def catalog():
    rng = np.random.default_rng(5)
    values = rng.standard_normal((4000, 3)) * [100, 0.3, 0.1] + [4500, -0.2, 0.1]
    snr = rng.uniform(20, 200, 4000)
    err = np.array([3000, 4, 2]) / snr[:, None]
    coords = {
        "star": np.arange(4000),
        "label": np.array(["teff", "fe_h", "mg_fe"], object),
        "label_units": ("label", np.array(["K", "dex", "dex"], object)),
    }
    held = {
        "label_value": (("star", "label"), values),
        "label_err": (("star", "label"), err),
        "snr": ("star", snr),
    }
    return xr.Dataset(held, coords)


def test_errors_fall_with_snr_as_they_were_made(catalog):
    truth = catalog.assign(
        label_value=catalog["label_value"]
        + catalog["label_err"] * np.random.default_rng(1).standard_normal((4000, 3))
    )
    axes = plot.errors_by_snr(catalog, catalog["snr"].values, match_labels(catalog, truth), bins=4)
    for ax, scale in zip(axes, (3000, 4, 2), strict=True):
        x, middle = ax.lines[0].get_data()
        np.testing.assert_allclose(middle, scale / x, rtol=0.01)
        np.testing.assert_allclose(ax.lines[1].get_ydata(), middle, rtol=0.15)
        assert ax.get_ylim()[1] > np.max(ax.lines[1].get_ydata())
        top = np.max(ax.collections[0].get_paths()[0].vertices[:, 1])
        assert ax.get_ylim()[1] > top > np.max(middle)
    with pytest.raises(InputError, match="differ in their number of stars"):
        plot.errors_by_snr(catalog, np.ones(3))
    with pytest.raises(InputError, match="1 axes for 3 labels"):
        plot.errors_by_snr(catalog, catalog["snr"].values, axes=[None])
