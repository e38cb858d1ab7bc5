"""Figures of abundances, and of several catalogues side by side."""

import io

import numpy as np
import pytest
import xarray as xr

from luxscale import plot
from luxscale.errors import InputError

LABELS = ("teff", "logg", "m_h", "mg_m", "al_m")


def catalog(n, shift=0.0, seed=0):
    rng = np.random.default_rng(seed)
    value = rng.normal([4500, 2, -0.3, 0.1, 0], [300, 0.7, 0.3, 0.1, 0.1], (n, 5)) + shift
    return xr.Dataset(
        {
            "label_value": (("star", "label"), value),
            "label_err": (("star", "label"), 0 * value + 0.1),
        },
        {
            "star": [f"s{i}" for i in range(n)],
            "label": list(LABELS),
            "label_units": ("label", ["K", "dex(cm s-2)", *["dex"] * 3]),
        },
    )


def save(figure):
    figure.savefig(io.BytesIO(), format="png", dpi=30)


def test_an_abundance_against_metallicity():
    few = catalog(100)
    ax = plot.abundances(few, "mg_m")
    np.testing.assert_array_equal(ax.lines[0].get_xdata(), few["label_value"][:, 2])
    np.testing.assert_array_equal(ax.lines[0].get_ydata(), few["label_value"][:, 3])
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("[M/H] [dex]", "[Mg/M] [dex]")
    assert plot.abundances(few, "mg_m", "teff").get_xlabel() == r"$T_{\rm eff}$ [K]"
    save(ax.figure)


def test_only_stars_that_are_done_and_known_are_drawn():
    few = catalog(100).assign(status=("star", (np.arange(100) < 60).astype("u1")))
    few["label_value"][:10, 3] = np.nan
    drawn = plot.abundances(few, "mg_m").lines[0]
    np.testing.assert_array_equal(drawn.get_xdata(), few["label_value"][10:60, 2])


def test_many_stars_are_a_density():
    many = catalog(2500)
    ax = plot.abundances(many, "mg_m")
    (bins,) = ax.collections
    assert len(ax.figure.axes) == 2  # with a colour bar
    x, y = many["label_value"].values[:, 2:4].T
    (left, right), (low, high) = ax.get_xlim(), ax.get_ylim()
    assert bins.get_array().sum() == ((x >= left) & (x <= right) & (y >= low) & (y <= high)).sum()
    save(ax.figure)


def test_a_label_that_is_not_there():
    with pytest.raises(InputError, match="no label 'o_m'; there are teff, logg, m_h, mg_m, al_m"):
        plot.abundances(catalog(50), "o_m")
    with pytest.raises(InputError, match="no label 'fe_h'"):
        plot.abundances(catalog(50).isel(label=[0, 1, 3]), "mg_m")


def test_all_abundances_and_the_kiel_diagram():
    figure = plot.abundances_figure(catalog(100))
    names = [ax.get_ylabel() for ax in figure.axes]
    assert names == [r"$\log g$", "[Mg/M] [dex]", "[Al/M] [dex]"]
    save(figure)
    chosen = plot.abundances_figure(catalog(100).isel(label=[2, 3, 4]), ["al_m"])
    assert [ax.get_ylabel() for ax in chosen.axes] == ["[Al/M] [dex]"]


def test_densities_of_a_figure_share_a_scale():
    figure = plot.abundances_figure(catalog(2500))
    limits = {ax.collections[0].get_clim() for ax in figure.axes[1:3]}
    assert len(limits) == 1
    save(figure)


def test_catalogues_side_by_side_are_on_the_same_axes():
    figure = plot.diagrams({"Lux": catalog(2600), "survey": catalog(2600, 0.2, 1)}, ("m_h", "mg_m"))
    panels = figure.axes[:4]
    assert [ax.get_title() for ax in panels[:2]] == ["Lux", "survey"]
    for one, other in (panels[:2], panels[2:]):
        assert one.get_xlim() == other.get_xlim()
        assert one.get_ylim() == other.get_ylim()
        assert one.collections[0].get_clim() == other.collections[0].get_clim()
    assert panels[0].get_xlim()[0] > panels[0].get_xlim()[1]  # hot stars at the left
    save(figure)


def test_outliers_do_not_stretch_shared_axes():
    wild = catalog(1000)
    wild["label_value"][0, 1] = -40.0
    figure = plot.diagrams({"a": wild}, ("m_h", "mg_m"))
    assert min(figure.axes[0].get_ylim()) > -3
    save(figure)
