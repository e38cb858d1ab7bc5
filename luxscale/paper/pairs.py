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
    """Return two stars that differ in one label, and little in others.

    Of all stars and their nearest neighbours in the labels ``alike``, each over its tolerance, the
    pair with the largest difference over sqrt(1 + distance^2). The one with more of the label is
    first.

    Raises
    ------
    InputError
        If the catalogue lacks a label.
    """
    table = catalog[["label_value"]].sel(label=list(alike)).compute()
    k = min(_NEIGHBOURS, table.sizes["star"] - 1)
    variances = np.square(list(alike.values()))
    found = neighbours(table, k, metric=np.diag(variances), variable="label_value")
    row = found["row"].values
    distance = found["distance"].values
    value = catalog["label_value"].sel(label=label).values
    difference = value[:, None] - value[row]
    score = difference / np.hypot(1, distance)
    # a row of -1 stands where a star has fewer neighbours
    score = np.where(row >= 0, score, np.nan)
    best = np.nanargmax(score)
    more, n = np.unravel_index(best, score.shape)
    less = row[more, n]
    names = catalog["star"].values
    return names[more], names[less]


def find_abundance_pair(catalog: xr.Dataset, label: str) -> tuple[Any, Any]:
    """Return two stars that differ in one abundance.

    They are alike in temperature, gravity and metallicity, and less strictly in other abundances.
    """
    names = map(str, catalog["label"].values)
    others = [name for name in names if name.endswith("_m") and name != label]
    alike = ALIKE | dict.fromkeys(others, _OTHERS)
    return find_pair(catalog, label, alike)


@register_figure("5", "spectra of doppelgangers that differ in one abundance")
def doppelgangers(study: Study) -> Figure:
    """Draw pairs of stars of sample B that are alike but for one abundance, where its lines lie.

    The paper holds temperature, gravity and metallicity alike, and for C and N the other of the
    two; here all other abundances are held alike too, less strictly, for at this resolution (2
    Angstrom) most lines are blends. Stretches are optical, not infrared. Oxygen has no line here
    that a giant of such a spectrum would tell it by: the model knows of it by CN, which is weaker
    with more oxygen.
    """
    survey = giants.select_sample(study, "B")
    catalog = giants.infer_catalog(study, "B").compute()
    model = giants.train_model(study)
    drawn = Figure((9.5, 8.0), layout="constrained")
    axes = drawn.subplots(3, 3)
    for ax, (label, stretch) in zip(axes.flat, SPANS.items(), strict=True):
        style_axes(ax)
        plot.doppelgangers(
            survey,
            catalog,
            model,
            find_abundance_pair(catalog, label),
            label,
            widen_span(stretch, survey["wavelength"].values),
            windows=find_windows(label),
            ax=ax,
        )
        ax.set_xlabel("")
    kinds = [
        Line2D([], [], color=DATA, label="model, the star with more"),
        Line2D([], [], color=DATA, ls="--", label="model, the star with less"),
        Line2D([], [], color=DATA, ls="", marker=".", label="data of both"),
    ]
    drawn.legend(
        handles=kinds,
        loc="outside upper center",
        ncols=3,
        fontsize=TITLE,
        frameon=False,
    )
    drawn.supxlabel("Wavelength in air [Å]", fontsize=9)
    drawn.supylabel("Flux", fontsize=9)
    return drawn
