"""Figures of clusters."""

import io

import numpy as np
import pytest
import xarray as xr

from luxscale import plot
from luxscale.errors import InputError

CLUSTER = np.repeat([1, 2, 3], 40)


def labelled(value, err):
    names, units = ["teff", "logg", "m_h", "mg_m"], ["K", "dex(cm s-2)", "dex", "dex"]
    return xr.Dataset(
        {
            "label_value": (("star", "label"), value),
            "label_err": (("star", "label"), np.full(value.shape, err)),
        },
        {"star": [f"s{i}" for i in range(120)], "label": names, "label_units": ("label", units)},
    )


@pytest.fixture(scope="module")
def pair():
    rng = np.random.default_rng(0)
    true = np.column_stack(
        [rng.uniform(4000, 5000, 120), rng.uniform(1, 3, 120), 0.2 * CLUSTER - 0.5, 0.1 * CLUSTER]
    )
    return labelled(true + [30, 0.1, 0.03, 0.02] * rng.normal(size=true.shape), 0.01), labelled(
        true, 0.0
    )


def save(ax):
    ax.figure.savefig(io.BytesIO(), format="png", dpi=30)


def test_clusters_are_medians_with_their_scatter(pair):
    ax = plot.clusters(*pair, CLUSTER, "m_h")
    x, y = ax.containers[0][0].get_data()
    np.testing.assert_allclose(x, [-0.3, -0.1, 0.1])
    np.testing.assert_allclose(y, x, atol=0.02)
    value = pair[0]["label_value"].values[:40, 2]
    (bars,) = ax.containers[0][2]
    low, high = bars.get_segments()[0][:, 1]
    assert (high - low) / 2 == pytest.approx(1.4826 * np.median(np.abs(value - np.median(value))))
    assert "3 clusters, 120 stars" in ax.texts[0].get_text()
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("Survey [M/H] [dex]", "Inferred [M/H] [dex]")
    save(ax)


def test_scatter_is_drawn_against_the_error(pair):
    ax = plot.cluster_scatter(pair[0], CLUSTER, ["m_h", "mg_m"])
    iron, magnesium = ax.lines[:2]
    np.testing.assert_allclose(iron.get_xdata(), 0.01)
    np.testing.assert_allclose(np.median(iron.get_ydata()), 0.03, rtol=0.4)
    assert ax.get_xlabel() == "Median error in the catalogue [dex]"
    ratio = np.median(magnesium.get_ydata()) / 0.01
    assert f"[Mg/M], median ratio {ratio:.2f}" in [
        t.get_text() for t in ax.get_legend().get_texts()
    ]
    save(ax)


def test_a_star_alone_in_its_cluster_does_not_scatter(pair):
    cluster = np.where(np.arange(120) == 0, 0, CLUSTER)
    ax = plot.cluster_scatter(pair[0], cluster, ["m_h"])
    scatter = ax.lines[0].get_ydata()
    assert np.isnan(scatter).tolist() == [True, False, False, False]
    (text,) = ax.get_legend().get_texts()
    assert f"median ratio {np.median(scatter[1:]) / 0.01:.2f}" in text.get_text()
    assert ax.get_ylim()[1] == pytest.approx(1.3 * np.max(scatter[1:]))
    alone = plot.clusters(*pair, np.arange(120), "m_h")
    assert "scatter within = -" in alone.texts[0].get_text()
    save(alone)


def test_groups_have_their_own_markers(pair):
    ax = plot.kiel_groups(pair[0], CLUSTER)
    assert len({(line.get_marker(), line.get_color()) for line in ax.lines}) == 3
    assert ax.get_xlim()[0] > ax.get_xlim()[1] and ax.get_ylim()[0] > ax.get_ylim()[1]
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["1", "2", "3"]
    titled = plot.kiel_groups(pair[0], np.where(CLUSTER == 1, "giants", "dwarfs"), title="kind")
    assert [t.get_text() for t in titled.get_legend().get_texts()] == ["dwarfs", "giants"]
    assert titled.get_legend().get_title().get_text() == "kind"
    save(ax)


def test_a_wrong_number_of_groups_or_label(pair):
    for call in (
        lambda g: plot.clusters(*pair, g, "m_h"),
        lambda g: plot.cluster_scatter(pair[0], g, ["m_h"]),
        lambda g: plot.kiel_groups(pair[0], g),
    ):
        with pytest.raises(InputError, match="give one for each of the 120 stars"):
            call(CLUSTER[:-1])
    with pytest.raises(InputError, match="ba_m"):
        plot.clusters(*pair, CLUSTER, "ba_m")
    with pytest.raises(InputError, match="ba_m"):
        plot.cluster_scatter(pair[0], CLUSTER, ["ba_m"])
