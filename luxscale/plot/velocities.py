"""Velocities of stars and their errors against S/N, where a model has a velocity as nuisance."""

from __future__ import annotations

from typing import Any

import numpy as np

from luxscale.analysis.bins import assign_bins, make_bins
from luxscale.analysis.stats import robust_scatter
from luxscale.errors import InputError
from luxscale.model.arguments import DatasetOrPath, take_catalog
from luxscale.plot.errors import draw_band, find_greatest, find_median
from luxscale.plot.given import take_of_stars
from luxscale.plot.style import (
    DATA,
    MODEL,
    TITLE,
    add_legend_above,
    keep_finite,
    make_panels,
    set_ticks,
)
from luxscale.schema.flags import BIT
from luxscale.schema.status import find_done
from luxscale.schema.variables import STAR

#: Variables of a catalogue that are drawn.
NAMES = ("velocity", "velocity_err")


def velocities(
    catalog: DatasetOrPath,
    snr: np.ndarray,
    truth: np.ndarray | None = None,
    axes: Any = None,
    *,
    bins: int = 8,
) -> np.ndarray:
    """Draw the velocities of a catalogue, and their errors, against S/N.

    Stars whose velocity, or another nuisance, lies beyond its prior are left out, and counted in
    the title.

    Parameters
    ----------
    catalog : Dataset, str or Path
        With ``velocity`` and ``velocity_err`` (star,), as of a model that was trained with the
        nuisance ``velocity``.
    snr : array, (star,)
        Of the stars in their order, or a DataArray that names them, in any.
    truth : array, (star,), optional
        Velocities that are known, km/s, which are subtracted.
    axes : array of Axes, (2,), optional
        New by default.
    bins : int
        Bins of S/N, with about as many stars each.

    Returns
    -------
    array of Axes, (2,)
        The velocities: their median in bins of S/N, a line, with a band from the 16th to the 84th
        percentile. The errors, likewise, with points at the robust scatter of the velocities: that
        of the errors and of the stars, or with ``truth`` of the errors alone.

    Raises
    ------
    InputError
        If the catalogue has no velocities, S/N or truth are not of as many stars, or no S/N is
        known.
    """
    catalog = take_catalog(catalog, "lux.plot.velocities(catalog, snr)")
    for name in NAMES:
        if name not in catalog:
            raise InputError(
                f"the catalogue has no {name!r}; train with --nuisance velocity:WIDTHkm/s, and "
                "label with that model"
            )
    snr = take_of_stars("snr", snr, catalog, "S/N of each star")
    given = {"snr": snr}
    if truth is not None:
        truth = take_of_stars("truth", truth, catalog, "the known velocity of each star")
        given["truth"] = truth
    for name, values in given.items():
        if np.size(values) != catalog.sizes[STAR]:
            raise InputError(
                f"{name} has {np.size(values):,} values, the catalogue {catalog.sizes[STAR]:,} "
                "stars; give those of the same stars"
            )
    velocity, error = (np.asarray(catalog[name], float) for name in NAMES)
    is_beyond = (catalog["flags"].values & BIT["nuisance_beyond_prior"]) != 0
    chosen = find_done(catalog) & ~is_beyond
    off = velocity - (0 if truth is None else np.asarray(truth, float))
    edges = make_bins(np.where(chosen, np.asarray(snr, float), np.nan), bins)
    at = np.where(chosen, assign_bins(np.asarray(snr, float), edges), -1)
    members = [at == i for i in range(edges.size - 1)]
    new = axes is None
    axes = make_panels(axes, len(NAMES), len(NAMES), (3.0, 2.2))
    what = "velocity" if truth is None else "velocity - truth"
    _draw_panels(axes, np.asarray(snr, float), off, error, members)
    axes[0].set_ylabel(f"{what} [km/s]", fontsize=TITLE)
    n_beyond = int(is_beyond.sum())
    axes[0].set_title(f"{n_beyond:,} of {is_beyond.size:,} stars beyond the prior", fontsize=TITLE)
    if new:
        add_legend_above(axes[1:], 3)
    return axes


def _draw_panels(
    axes: np.ndarray,
    snr: np.ndarray,
    off: np.ndarray,
    error: np.ndarray,
    members: list[np.ndarray],
) -> None:
    """Draw velocities, and their errors with the scatter, in bins of S/N."""
    x = np.array([find_median(snr[inside]) for inside in members])
    both = "velocity, or its error"  # for the legend of both
    draw_band(axes[0], x, [off[inside] for inside in members], both)
    axes[0].axhline(0, color=DATA, lw=0.8, ls=":")
    draw_band(axes[1], x, [error[inside] for inside in members], both)
    scatter = [robust_scatter(keep_finite(off[inside])) for inside in members]
    look: dict[str, Any] = {"color": MODEL, "ms": 3.5}
    axes[1].plot(x, scatter, "o", label="robust scatter of velocities", **look)
    axes[1].set_ylim(0, 1.12 * find_greatest(axes[1]))
    axes[1].set_ylabel(r"$\sigma$ velocity [km/s]", fontsize=TITLE)
    for ax in axes:
        ax.set_xlabel("S/N", fontsize=TITLE)
        set_ticks(ax, 4)
