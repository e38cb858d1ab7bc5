"""Figures of latents in two dimensions."""

import io

import numpy as np
import pytest
import xarray as xr
from matplotlib.figure import Figure

from luxscale import plot
from luxscale.errors import InputError


@pytest.fixture
def world():
    rng = np.random.default_rng(0)
    value = rng.normal(size=(80, 4))
    value[:5, 1] = np.nan
    catalog = xr.Dataset(
        {"label_value": (("star", "label"), value)},
        {
            "star": np.arange(80),
            "label": ["teff", "logg", "fe_h", "mg_fe"],
            "label_units": ("label", ["K", "", "dex", "dex"]),
        },
    )
    return xr.DataArray(rng.normal(size=(80, 2)), dims=("star", "component")), catalog


def test_a_panel_for_each_label(world):
    embedding, catalog = world
    axes = plot.latents(embedding, catalog)
    assert [ax.get_title() for ax in axes] == [
        r"$T_{\rm eff}$ [K]",
        r"$\log g$",
        "[Fe/H] [dex]",
        "[Mg/Fe] [dex]",
    ]
    grey, stars = axes[1].collections
    assert len(grey.get_offsets()) == 5
    np.testing.assert_allclose(stars.get_offsets(), embedding.values[5:])
    np.testing.assert_allclose(stars.get_array(), catalog["label_value"].values[5:, 1])
    axes[0].figure.savefig(io.BytesIO(), format="png", dpi=30)


def test_labels_and_figure_of_the_caller(world):
    figure = Figure()
    axes = plot.latents(*world, labels=["fe_h"], figure=figure)
    assert len(axes) == 1 and axes[0].figure is figure


def test_axes_are_named_where_the_components_are(world):
    embedding = world[0].assign_coords(component=["PC 1", "PC 2"])
    axes = plot.latents(embedding, world[1])  # three panels and, below, one
    assert [ax.get_xlabel() for ax in axes] == ["", "PC 1", "PC 1", "PC 1"]
    assert [ax.get_ylabel() for ax in axes] == ["PC 2", "", "", "PC 2"]
    assert not any(ax.get_xlabel() for ax in plot.latents(*world))


def test_another_catalogues_embedding(world):
    with pytest.raises(
        InputError, match=r"shape \(79, 2\); give two coordinates for each of the 80 stars"
    ):
        plot.latents(world[0][:-1], world[1])
    with pytest.raises(InputError, match="no label 'x_fe'"):
        plot.latents(*world, labels=["x_fe"])
