"""Labels of many stars: against trusted ones, and in a Kiel diagram."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection, PolyCollection
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from luxscale.evaluate import decimals, done, label_units, match, measure, require, round_to
from luxscale.plot.style import DENSITY, GRADIENT, POINT, TEXT, color_bar, limits, new_axes, style, ticks, titled
from luxscale.schema import STAR, InputError

#: Above this many stars a comparison is drawn as a density.
DENSE = 2000
#: Scatter plots draw at most this many stars.
MOST_POINTS = 50_000


def one_to_one(catalog: xr.Dataset, truth: xr.Dataset, label: str, ax: Axes | None = None) -> Axes:
    """Draw an inferred label against the trusted one: a panel of figure 7.

    Parameters
    ----------
    catalog, truth : Dataset
        Catalogue and survey, as in `luxscale.evaluate.compare`.
    label : str
    ax : Axes, optional
        New by default.

    Returns
    -------
    Axes
        With the 1:1 line, the statistics of `luxscale.evaluate.compare`, and a cross of the median errors. Above
        2,000 stars it shows the density of all of them, on a logarithmic scale; its axes span the central 99.8%
        of both labels.

    Raises
    ------
    InputError
        If the label, or every star, is missing from one side.

    Examples
    --------
    >>> from luxscale import plot
    >>> ax = plot.one_to_one(catalog, survey, "teff")
    """
    pairs = match(catalog, truth, labels=[label])
    new = ax is None
    ax = ax or new_axes(4.2 if _dense(pairs) else 3.6, 3.6)
    density = _draw_pairs(pairs, label, ax)
    if new and density is not None:
        color_bar(density, ax, "stars per bin")
    return ax


def _dense(pairs: xr.Dataset) -> bool:
    known = np.isfinite(pairs["inferred"].values) & np.isfinite(pairs["truth"].values)
    return int(np.max(np.sum(known, axis=0))) > DENSE


def _draw_pairs(pairs: xr.Dataset, label: str, ax: Axes) -> PolyCollection | None:
    """Draw one label of matched stars; return the density, if there is one, for a colour bar."""
    pairs = pairs.sel(label=[label])
    inferred, truth = pairs["inferred"].values[:, 0], pairs["truth"].values[:, 0]
    known = np.isfinite(inferred) & np.isfinite(truth)
    low, high = limits(np.concatenate([inferred[known], truth[known]]), int(known.sum()) > DENSE)
    density = _draw_stars(ax, truth[known], inferred[known], low, high)
    ax.plot(
        [low, high],
        [low, high],
        color="k",
        lw=0.9,
        zorder=3,
        path_effects=[patheffects.withStroke(linewidth=2.2, foreground="w", alpha=0.7)],
    )
    ax.set(xlim=(low, high), ylim=(low, high), box_aspect=1)
    _annotate(ax, pairs, known)
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(ticks())
    name = titled(label, str(pairs["label_units"].values[0]))
    ax.set_xlabel(f"{'True' if pairs.attrs['truth_name'] == 'label_true' else 'Survey'} {name}")
    ax.set_ylabel(f"Inferred {name}")
    return density


def _draw_stars(ax: Axes, x: np.ndarray, y: np.ndarray, low: float, high: float) -> PolyCollection | None:
    if x.size <= DENSE:
        ax.plot(x, y, ".", ms=float(np.clip(80 / max(x.size, 1) ** 0.5, 2, 6)), mew=0, alpha=0.6, color=POINT)
        return None
    inside = (x >= low) & (x <= high) & (y >= low) & (y <= high)  # hexbin stretches its grid to what it is given
    bins = int(np.clip(x.size**0.5 / 1.6, 40, 90))
    # bins are 1.7 times taller than the rows are apart, hence fewer of them upwards
    return ax.hexbin(
        x[inside],
        y[inside],
        gridsize=(bins, int(bins / 1.73)),
        extent=(low, high, low, high),
        mincnt=1,
        norm=LogNorm(),
        cmap=DENSITY,
        linewidths=0.1,
    )


def _annotate(ax: Axes, pairs: xr.Dataset, known: np.ndarray) -> None:
    """Write the statistics in the corners that the 1:1 line leaves, and draw a cross of the median errors."""
    upper, lower = _summary(pairs)
    truth, inferred = (pairs[v].values[:, 0] for v in ("truth", "inferred"))
    box = {"facecolor": "w", "edgecolor": "none", "alpha": 0.75, "pad": 1}
    ax.text(0.045, 0.97, upper, transform=ax.transAxes, va="top", fontsize=TEXT, linespacing=1.25, zorder=4, bbox=box)
    ax.text(0.955, 0.03, lower, transform=ax.transAxes, ha="right", fontsize=TEXT, zorder=4, bbox=box)
    low, high = ax.get_xlim()
    hidden = int((np.minimum(truth, inferred)[known] < low).sum() + (np.maximum(truth, inferred)[known] > high).sum())
    if hidden:
        ax.text(
            0.955, 0.09, f"{hidden:,} outside", transform=ax.transAxes, ha="right", fontsize=TEXT, zorder=4, bbox=box
        )
    dx, dy = (_median(pairs[v].values[known, 0]) for v in ("truth_err", "inferred_err"))
    x, y = high - 0.05 * (high - low) - dx, low + 0.17 * (high - low) + dy
    ax.errorbar(x, y, dy or None, dx or None, color="k", lw=0.9, zorder=4)


def _median(values: np.ndarray) -> float:
    values = values[np.isfinite(values)]
    return float(np.median(values)) if values.size else 0.0


def _summary(pairs: xr.Dataset) -> tuple[str, str]:
    """Return the statistics of one label as text: number and scatter, and the median error."""
    stats = {name: value.item() for name, value in measure(pairs).data_vars.items()}
    places = decimals(stats["rmse"], stats["robust_scatter"], stats["median_err"])
    figures = {"bias": "bias", "RMSE": "rmse", "robust": "robust_scatter", "median err": "median_err"}
    lines = [f"{text} = {_minus(round_to(stats[name], places))}" for text, name in figures.items()]
    return "\n".join([f"n = {stats['n_stars']:,}", *lines[:3]]), lines[3]


def _minus(number: str) -> str:
    return number.replace("-", "\N{MINUS SIGN}") if len(number) > 1 else number


def kiel(
    catalog: xr.Dataset, ax: Axes | None = None, teff: str = "teff", logg: str = "logg", color: str = "fe_h"
) -> Axes:
    """Draw the Kiel diagram of a catalogue, figure 8: log g against effective temperature, both decreasing.

    Parameters
    ----------
    catalog : Dataset
        With ``label_value`` (star, label). Where it has a ``status``, only stars that are done are drawn.
    ax : Axes, optional
        New by default.
    teff, logg : str
        Names of the labels.
    color : str
        Label that colours the stars; without it ``m_h``, without that none.

    Returns
    -------
    Axes
        Above 50,000 stars it shows a random sample of so many, the same every time.

    Raises
    ------
    InputError
        If the catalogue lacks one of the two labels.

    Examples
    --------
    >>> from luxscale import plot
    >>> ax = plot.kiel(catalog)
    >>> ax.figure.savefig("kiel.png")
    """
    hue = _hue(catalog, color)
    ax = ax or new_axes(4.2 if hue else 3.6, 3.6)
    stars = _draw_kiel(catalog, ax, teff, logg, hue)
    if hue:
        color_bar(stars, ax, titled(hue, label_units(catalog)[hue]), extend="both")
    return ax


def _hue(catalog: xr.Dataset, color: str) -> str | None:
    require(catalog, ["label_value"], "catalogue")
    units = label_units(catalog)
    return next((name for name in (color, "fe_h", "m_h") if name in units), None)


def _draw_kiel(catalog: xr.Dataset, ax: Axes, teff: str, logg: str, hue: str | None) -> PathCollection:
    units = label_units(catalog)
    for name in (teff, logg):
        if name not in units:
            raise InputError(f"catalogue: no label {name!r} for a Kiel diagram; it has {', '.join(units)}")
    x, y, c = _sample(catalog, [teff, logg, hue or teff])
    stars = ax.scatter(
        x,
        y,
        c=c if hue else POINT,
        s=float(np.clip(6000 / max(x.size, 1), 0.8, 14)),
        linewidths=0,
        rasterized=x.size > DENSE,
    )
    if hue:
        stars.set(cmap=GRADIENT, clim=np.percentile(c, (2, 98)) if c.size else (0, 1))
    ax.set(
        xlim=limits(x, x.size > DENSE)[::-1],
        ylim=limits(y, x.size > DENSE)[::-1],
        xlabel=titled(teff, units[teff]),
        ylabel=titled(logg, units[logg]),
        box_aspect=1,
    )
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(ticks(6))
    return stars


def _sample(catalog: xr.Dataset, labels: Sequence[str]) -> tuple[np.ndarray, ...]:
    """Return known labels of done stars, at most `MOST_POINTS`, in a fixed random order."""
    at = np.random.default_rng(0).permutation(np.flatnonzero(done(catalog)))[:MOST_POINTS]
    have = list(label_units(catalog))
    columns = catalog["label_value"].drop_vars([STAR, "label"]).isel(label=[have.index(k) for k in labels])
    values = columns.isel({STAR: np.sort(at)}).values[np.argsort(np.argsort(at))]
    return tuple(values[np.isfinite(values).all(1)].T)


def labels_figure(catalog: xr.Dataset, truth: xr.Dataset) -> Figure:
    """Draw every label against the trusted one (figure 7), and the Kiel diagram: a catalogue at a glance.

    Parameters
    ----------
    catalog, truth : Dataset
        As in `luxscale.evaluate.compare`.

    Returns
    -------
    Figure
        Three panels a row; densities share one colour scale. Without ``teff`` and ``logg`` in the catalogue there is
        no Kiel diagram.

    Raises
    ------
    InputError
        If no star or no label is in common.

    Examples
    --------
    >>> from luxscale import plot
    >>> figure = plot.labels_figure(catalog, survey)
    >>> len(figure.axes) > len(catalog.label)
    True
    """
    pairs = match(catalog, truth)
    labels, have = pairs["label"].values.tolist(), label_units(catalog)
    panels = len(labels) + ("teff" in have and "logg" in have)
    columns, rows = min(3, panels), -(-panels // 3)
    figure = Figure((3.1 * columns, 2.9 * rows + 0.6 * _dense(pairs)), layout="constrained")
    axes = [figure.add_subplot(rows, columns, i + 1) for i in range(panels)]
    for ax in axes:
        style(ax)
    densities = [_draw_pairs(pairs, label, ax) for label, ax in zip(labels, axes, strict=False)]
    if panels > len(labels):
        _add_kiel(catalog, axes[-1])
    _share_scale([d for d in densities if d is not None], axes)
    return figure


def _add_kiel(catalog: xr.Dataset, ax: Axes) -> None:
    """Draw a Kiel diagram as large as its neighbours: with the colour bar in the empty corner of hot supergiants."""
    hue = _hue(catalog, "fe_h")
    stars = _draw_kiel(catalog, ax, "teff", "logg", hue)
    if hue:
        ax.add_patch(Rectangle((0.02, 0.76), 0.52, 0.22, transform=ax.transAxes, color="w", alpha=0.75, lw=0, zorder=2))
        inset = ax.inset_axes((0.07, 0.91, 0.42, 0.04))
        bar = ax.figure.colorbar(stars, cax=inset, orientation="horizontal", extend="both", ticks=ticks(3))
        bar.set_label(titled(hue, label_units(catalog)[hue]), fontsize=TEXT, labelpad=1)
        inset.tick_params(labelsize=TEXT, pad=2)


def _share_scale(densities: Sequence[PolyCollection], axes: Sequence[Axes]) -> None:
    """Give densities one colour scale, and its bar above all panels."""
    if not densities:
        return
    norm = LogNorm(1, max(2.0, *(float(np.max(d.get_array())) for d in densities)))  # type: ignore[arg-type]
    for density in densities:
        density.set_norm(norm)
    color_bar(densities[0], list(axes), "stars per bin", location="top", shrink=0.4, aspect=40, pad=0.01)
