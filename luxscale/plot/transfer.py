"""What of labels that are transferred between surveys is more than correlation with others."""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from luxscale.errors import InputError
from luxscale.plot.given import require_array, require_result
from luxscale.plot.style import (
    DATA,
    MODEL,
    POINT,
    TEXT,
    find_limits,
    format_label,
    make_axes,
    set_minus,
    set_ticks,
    write_note,
)

_SHARES = {
    "labels": ("s", DATA, "predicted by {known}"),
    "spectrum": ("o", POINT, "predicted by the spectrum"),
    "beyond": ("D", MODEL, "by the spectrum, of what these leave"),
}


def transfer(shares: xr.Dataset, ax: Axes | None = None) -> Axes:
    """Draw what share of the variance of labels other labels predict, and the spectrum: figure 17.

    Parameters
    ----------
    shares : Dataset
        ``labels``, ``spectrum`` and ``beyond`` (label,), at most 1, and ``chance`` (label,), what
        ``beyond`` reaches by chance; the attribute ``known`` names the other labels. From
        ``luxscale.paper.transfer.measure_shares``.
    ax : Axes, optional
        New by default.

    Returns
    -------
    Axes
        A column for each label. Shares below 0, worse than the mean, are drawn at 0; the grey band
        is chance.

    Raises
    ------
    InputError
        If a variable is missing.
    """
    names = (*_SHARES, "chance")
    require_result(shares, names, "luxscale.paper.transfer.measure_shares")
    ax = ax or make_axes(7.2, 3.2)
    labels = shares["label"].values.tolist()
    x = np.arange(len(labels))
    ax.vlines(x, 0, 1, color="0.9", lw=0.8, zorder=0)
    ax.bar(x, shares["chance"].values, 1.0, color="0.7", lw=0, zorder=0)
    known = ", ".join(map(format_label, shares.attrs["known"]))
    for name, (marker, color, text) in _SHARES.items():
        ax.plot(
            x,
            np.clip(shares[name].values, 0, 1),
            marker,
            color=color,
            ms=5.5,
            mew=0,
            label=text.format(known=known),
            clip_on=False,
        )
    ax.set_xticks(x, [format_label(name) for name in labels])
    ax.tick_params(axis="x", length=0)
    ax.set(xlim=(-0.6, len(labels) - 0.4), ylim=(0, 1), ylabel="Share of the variance")
    ax.legend(
        fontsize=TEXT,
        frameon=False,
        loc="lower center",
        bbox_to_anchor=(0.5, 1),
        borderaxespad=0.2,
        ncols=3,
    )
    return ax


def beyond(inferred: np.ndarray, true: np.ndarray, label: str, ax: Axes | None = None) -> Axes:
    """Draw what other labels leave of an inferred label, and of the trusted one: figure 13.

    Parameters
    ----------
    inferred, true : array, (star,)
        Residuals, in dex; NaN where not known.
    label : str
    ax : Axes, optional
        New by default.

    Returns
    -------
    Axes
        With the 1:1 line and the correlation; without any, the label was inferred from the others
        alone; with one, from more than these others, which may be lines of its element or
        correlation with something else.

    Raises
    ------
    InputError
        If the residuals are no arrays of one size, or both are known of fewer than two stars.
    """
    for name, given in (("inferred", inferred), ("true", true)):
        require_array(name, given, "residuals of the label, for each star")
    inferred, true = np.asarray(inferred), np.asarray(true)
    if inferred.shape != true.shape:
        raise InputError(
            f"inferred has shape {inferred.shape}, true {true.shape}; give the same stars"
        )
    known = np.isfinite(inferred) & np.isfinite(true)
    inferred, true = inferred[known], true[known]
    if true.size < 2:
        raise InputError(
            f"{label}: inferred and true are both known of fewer than two stars; give residuals of "
            "more"
        )
    ax = ax or make_axes(3.6, 3.6)
    low, high = find_limits(np.concatenate([inferred, true]), False)
    edge = max(-low, high)
    span = (-edge, edge)
    ax.plot(span, span, "k", lw=0.9)
    ax.axhline(0, color="0.7", lw=0.8, zorder=0)
    ax.plot(
        true,
        inferred,
        ".",
        ms=4,
        mew=0,
        alpha=0.6,
        color=POINT,
    )
    correlation = np.corrcoef(inferred, true)[0, 1]
    text = f"n = {true.size:,}\nr = {correlation:.2f}"
    write_note(ax, 0.045, 0.97, set_minus(text), va="top")
    name = format_label(label)
    ax.set(
        xlim=span,
        ylim=span,
        xlabel=f"Survey {name}, rest [dex]",
        ylabel=f"Inferred {name}, rest [dex]",
        box_aspect=1,
    )
    set_ticks(ax)
    return ax
