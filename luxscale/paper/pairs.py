"""Figure 5: doppelgangers, stars that are alike but for one abundance."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from luxscale import plot
from luxscale.analysis.neighbours import neighbours
from luxscale.paper import giants
from luxscale.paper.base import Study, register_figure
from luxscale.paper.lines import find_windows, widen_span
from luxscale.plot.style import DATA, TITLE, style_axes

#: What counts as alike: the differences of labels that weigh as much as each other, in their units.
ALIKE = {"teff": 40.0, "logg": 0.1, "m_h": 0.04}

#: The same for abundances other than the one looked at: they may differ a little more.
_OTHERS = 0.06

#: Neighbours of each star to look for the one that differs most among.
_NEIGHBOURS = 60

#: Stretches to draw, in Angstrom in air, one for each abundance.
SPANS = {
    "c_m": (4285.0, 4325.0),
    "n_m": (4170.0, 4225.0),
    "o_m": (4170.0, 4225.0),
    "mg_m": (5155.0, 5195.0),
    "al_m": (7820.0, 7850.0),
    "si_m": (4092.0, 4114.0),
    "ca_m": (4210.0, 4245.0),
    "mn_m": (4020.0, 4050.0),
    "ni_m": (5465.0, 5490.0),
}


def find_pair(catalog: xr.Dataset, label: str, alike: Mapping[str, float]) -> tuple[Any, Any]:
    """Return two stars that differ in one label, and little in others: the one with more of it first.

    Of all stars and their nearest neighbours in the labels ``alike``, each over its tolerance, the
    pair with the largest difference over sqrt(1 + distance^2).

    Raises
    ------
    InputError
        If the catalogue lacks a label.
    """
    near = catalog[["label_value"]].sel(label=list(alike)).compute()
    k = min(_NEIGHBOURS, near.sizes["star"] - 1)
    found = neighbours(
        near, k, metric=np.diag(np.square(list(alike.values()))), variable="label_value"
    )
    value, row = catalog["label_value"].sel(label=label).values, found["row"].values
    score = (value[:, None] - value[row]) / np.hypot(1, found["distance"].values)
    more, n = np.unravel_index(np.nanargmax(np.where(row >= 0, score, np.nan)), score.shape)
    names = catalog["star"].values
    return names[more], names[row[more, n]]


def find_abundance_pair(catalog: xr.Dataset, label: str) -> tuple[Any, Any]:
    """Return two stars that differ in one abundance, alike in temperature, gravity, metallicity and the others."""
    others = [k for k in map(str, catalog["label"].values) if k.endswith("_m") and k != label]
    return find_pair(catalog, label, {**ALIKE, **dict.fromkeys(others, _OTHERS)})


@register_figure("5", "spectra of doppelgangers that differ in one abundance")
def doppelgangers(study: Study) -> Figure:
    """Draw pairs of stars of sample B that are alike but for one abundance, where lines of that element lie.

    The paper holds temperature, gravity and metallicity alike, and for C and N the other of the
    two; here all other abundances are held alike too, less strictly, for at this resolution (2
    Angstrom) most lines are blends. Stretches are optical, not infrared. Oxygen has no line here
    that a giant of such a spectrum would tell it by: the model knows of it by CN, which is weaker
    with more oxygen.
    """
    survey, catalog = giants.select_sample(study, "B"), giants.infer_catalog(study, "B").compute()
    drawn = Figure((9.5, 8.0), layout="constrained")
    axes = drawn.subplots(3, 3)
    for ax, (label, stretch) in zip(axes.flat, SPANS.items(), strict=True):
        pair, span = (
            find_abundance_pair(catalog, label),
            widen_span(stretch, survey["wavelength"].values),
        )
        style_axes(ax)
        plot.doppelgangers(
            survey,
            catalog,
            giants.train_model(study),
            pair,
            label,
            span,
            windows=find_windows(label),
            ax=ax,
        )
        ax.set_xlabel("")
    kinds = [
        Line2D([], [], color=DATA, label="model, the star with more"),
        Line2D([], [], color=DATA, ls="--", label="model, the star with less"),
        Line2D([], [], color=DATA, ls="", marker=".", label="data of both"),
    ]
    drawn.legend(handles=kinds, loc="outside upper center", ncols=3, fontsize=TITLE, frameon=False)
    drawn.supxlabel("Wavelength in air [Å]", fontsize=9)
    drawn.supylabel("Flux", fontsize=9)
    return drawn
