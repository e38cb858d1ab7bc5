import numpy as np
import pytest
import xarray as xr

from luxscale import plot
from luxscale.evaluate import match
from luxscale.plot.quality import abundance_labels
from luxscale.schema import InputError


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
    held = {"label_value": (("star", "label"), values), "label_err": (("star", "label"), err), "snr": ("star", snr)}
    return xr.Dataset(held, coords)


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (["m_h", "alpha_m"], ("m_h", "alpha_m")),
        (["fe_h", "ca_fe", "mg_fe"], ("fe_h", "mg_fe")),
        (["mg_fe"], None),
        (["fe_h", "c_fe"], None),
    ],
)
def test_the_labels_of_an_abundance_plane(labels, expected):
    assert abundance_labels(labels) == expected


def test_few_stars_are_points_and_many_a_density_of_those_that_are_done(catalog):
    few = catalog.isel(star=slice(0, 100)).assign(status=("star", np.r_[np.ones(90), np.zeros(10)]))
    ax = plot.abundances(few, "fe_h", "mg_fe")
    np.testing.assert_array_equal(ax.lines[0].get_xydata(), few["label_value"].values[:90, 1:])
    assert ax.get_xlabel() == "[Fe/H] [dex]" and ax.get_ylabel() == "[Mg/Fe] [dex]"
    density = plot.abundances(catalog, "fe_h", "mg_fe").collections[0]
    assert 3900 < density.get_array().sum() <= 4000
    with pytest.raises(InputError, match="no label 'si_fe'"):
        plot.abundances(catalog, "fe_h", "si_fe")


def test_errors_fall_with_snr_as_they_were_made(catalog):
    truth = catalog.assign(
        label_value=catalog["label_value"] + catalog["label_err"] * np.random.default_rng(1).standard_normal((4000, 3))
    )
    axes = plot.errors_by_snr(catalog, catalog["snr"].values, match(catalog, truth), bins=4)
    for ax, scale in zip(axes, (3000, 4, 2), strict=True):
        x, middle = ax.lines[0].get_data()
        np.testing.assert_allclose(middle, scale / x, rtol=0.01)
        np.testing.assert_allclose(ax.lines[1].get_ydata(), middle, rtol=0.15)
        assert ax.get_ylim()[1] > np.max(ax.lines[1].get_ydata())
    with pytest.raises(InputError, match="differ in their number of stars"):
        plot.errors_by_snr(catalog, np.ones(3))
    with pytest.raises(InputError, match="1 axes for 3 labels"):
        plot.errors_by_snr(catalog, catalog["snr"].values, axes=[None])
