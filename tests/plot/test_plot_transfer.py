"""Figures of label transfer."""

import io

import numpy as np
import pytest
import xarray as xr

from luxscale import plot
from luxscale.errors import InputError


@pytest.fixture
def shares():
    table = {"labels": [0.8, 0.1, 0.3], "spectrum": [0.5, 0.6, -0.2], "beyond": [0.0, 0.5, 0.01]}
    table["chance"] = [0.02, 0.01, 0.03]
    named = {"label": ["mg_fe", "c_fe", "na_fe"]}
    return xr.Dataset(
        {k: ("label", v) for k, v in table.items()}, named, {"known": ["teff", "fe_h"]}
    )


def test_each_share_is_a_series(shares):
    ax = plot.transfer(shares)
    drawn = [line.get_ydata().tolist() for line in ax.lines]
    assert drawn == [[0.8, 0.1, 0.3], [0.5, 0.6, 0.0], [0.0, 0.5, 0.01]]
    assert [t.get_text() for t in ax.get_xticklabels()] == ["[Mg/Fe]", "[C/Fe]", "[Na/Fe]"]
    assert [bar.get_height() for bar in ax.patches] == [0.02, 0.01, 0.03]
    texts = [t.get_text() for t in ax.get_legend().get_texts()]
    assert texts[0] == r"predicted by $T_{\rm eff}$, [Fe/H]" and len(texts) == 3
    ax.figure.savefig(io.BytesIO(), format="png", dpi=30)


def test_a_share_that_is_missing(shares):
    with pytest.raises(InputError, match="no variable 'beyond'"):
        plot.transfer(shares.drop_vars("beyond"))


def test_what_is_left_is_drawn_with_its_correlation():
    rng = np.random.default_rng(0)
    true = rng.normal(size=100)
    inferred = -0.5 * true + 0.1 * rng.normal(size=100)
    inferred[3] = np.nan
    ax = plot.beyond(inferred, true, "c_fe")
    known = np.isfinite(inferred)
    r = np.corrcoef(inferred[known], true[known])[0, 1]
    assert ax.texts[0].get_text() == f"n = 99\nr = \N{MINUS SIGN}{-r:.2f}"
    assert ax.get_xlabel() == "Survey [C/Fe], rest [dex]"
    ax.figure.savefig(io.BytesIO(), format="png", dpi=30)
