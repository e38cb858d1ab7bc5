"""Figures of surveys, models and catalogues: Dataset in, Matplotlib axes out.

Figures are made without pyplot, so nothing global changes and no display is needed: ``ax.figure.savefig(...)``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from matplotlib import colormaps, patheffects
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection, PolyCollection
from matplotlib.colors import ListedColormap, LogNorm
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from luxscale.evaluate import decimals, done, label_units, match, measure, require, round_to, star_index
from luxscale.model import LuxModel, Output
from luxscale.predict import predict
from luxscale.schema import STAR, InputError, pick_outputs

#: Above this many stars a comparison is drawn as a density.
DENSE = 2000
#: Scatter plots draw at most this many stars.
MOST_POINTS = 50_000
#: Stars outside these percentiles do not stretch the axes of a density.
CENTRAL = (0.1, 99.9)
#: Labels in the title of a spectrum.
TITLE_LABELS = 4

DENSITY = "viridis"
#: Dark to gold: the light end of plasma vanishes on white.
GRADIENT = ListedColormap(colormaps["plasma"](np.linspace(0, 0.88, 256)))
DATA, BAND, MODEL, POINT = "0.25", "0.8", "#d55e00", "#0072b2"
TEXT, TITLE = 8, 9

_PRETTY = {"teff": r"$T_{\rm eff}$", "logg": r"$\log g$", "a_k": "$A_K$", "a_v": "$A_V$", "ebv": "$E(B-V)$"}
_RATIO = re.compile(r"([a-z]{1,2}|alpha)_(h|m|fe)")
_UNITS = {"Angstrom": "Å", "angstrom": "Å", "AA": "Å", "um": "µm"}


def pretty(label: str) -> str:
    """Return how papers write a label: ``fe_h`` becomes [Fe/H]; unknown names stay as they are.

    Examples
    --------
    >>> pretty("mg_fe"), pretty("vsini")
    ('[Mg/Fe]', 'vsini')
    """
    ratio = _RATIO.fullmatch(label)
    if label in _PRETTY or not ratio:
        return _PRETTY.get(label, label)
    above, below = (r"$\alpha$" if part == "alpha" else part.capitalize() for part in ratio.groups())
    return f"[{above}/{below}]"


def titled(label: str, unit: str) -> str:
    """Return a label with its unit, for an axis; log g and numbers go without."""
    return pretty(label) + ("" if label == "logg" or not unit else f" [{_UNITS.get(unit, unit)}]")


def _style(ax: Axes) -> None:
    """Make new axes legible in print; axes that a caller brings keep their own style."""
    ax.tick_params(labelsize=TEXT, direction="in", top=True, right=True)
    for text in (ax.xaxis.label, ax.yaxis.label, ax.title):
        text.set_fontsize(TITLE)


def _ticks(most: int = 5) -> MaxNLocator:
    return MaxNLocator(most, steps=[1, 2, 5, 10])


def _new_axes(width: float, height: float) -> Axes:
    ax = Figure((width, height), layout="constrained").add_subplot()
    _style(ax)
    return ax


def _color_bar(mappable: Any, ax: Any, text: str, **options: Any) -> None:
    figure = np.ravel(ax)[0].figure
    bar = figure.colorbar(mappable, ax=ax, **options)
    bar.set_label(text, fontsize=TITLE)
    bar.ax.tick_params(labelsize=TEXT)


def one_to_one(catalog: xr.Dataset, truth: xr.Dataset, label: str, ax: Axes | None = None) -> Axes:
    """Draw an inferred label against the trusted one.

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
    """
    pairs = match(catalog, truth, labels=[label])
    new = ax is None
    ax = ax or _new_axes(4.2 if _dense(pairs) else 3.6, 3.6)
    density = _draw_pairs(pairs, label, ax)
    if new and density is not None:
        _color_bar(density, ax, "stars per bin")
    return ax


def _dense(pairs: xr.Dataset) -> bool:
    known = np.isfinite(pairs["inferred"].values) & np.isfinite(pairs["truth"].values)
    return int(np.max(np.sum(known, axis=0))) > DENSE


def _draw_pairs(pairs: xr.Dataset, label: str, ax: Axes) -> PolyCollection | None:
    """Draw one label of matched stars; return the density, if there is one, for a colour bar."""
    pairs = pairs.sel(label=[label])
    inferred, truth = pairs["inferred"].values[:, 0], pairs["truth"].values[:, 0]
    known = np.isfinite(inferred) & np.isfinite(truth)
    low, high = _limits(np.concatenate([inferred[known], truth[known]]), int(known.sum()) > DENSE)
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
        axis.set_major_locator(_ticks())
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


def _limits(values: np.ndarray, central: bool) -> tuple[float, float]:
    if not values.size:
        return 0.0, 1.0
    low, high = np.percentile(values, CENTRAL if central else (0, 100))
    margin = 0.06 * (high - low) or 0.05 * abs(low) or 1
    return float(low - margin), float(high + margin)


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
    """Draw the Kiel diagram of a catalogue: log g against effective temperature, both decreasing.

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
    """
    hue = _hue(catalog, color)
    ax = ax or _new_axes(4.2 if hue else 3.6, 3.6)
    stars = _draw_kiel(catalog, ax, teff, logg, hue)
    if hue:
        _color_bar(stars, ax, titled(hue, label_units(catalog)[hue]), extend="both")
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
        xlim=_limits(x, x.size > DENSE)[::-1],
        ylim=_limits(y, x.size > DENSE)[::-1],
        xlabel=titled(teff, units[teff]),
        ylabel=titled(logg, units[logg]),
        box_aspect=1,
    )
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(_ticks(6))
    return stars


def _sample(catalog: xr.Dataset, labels: Sequence[str]) -> tuple[np.ndarray, ...]:
    """Return known labels of done stars, at most `MOST_POINTS`, in a fixed random order."""
    at = np.random.default_rng(0).permutation(np.flatnonzero(done(catalog)))[:MOST_POINTS]
    have = list(label_units(catalog))
    columns = catalog["label_value"].drop_vars([STAR, "label"]).isel(label=[have.index(k) for k in labels])
    values = columns.isel({STAR: np.sort(at)}).values[np.argsort(np.argsort(at))]
    return tuple(values[np.isfinite(values).all(1)].T)


def spectra(
    survey: xr.Dataset, catalog: xr.Dataset, model: LuxModel, stars: Any, axes: Any = None, output: str = "flux"
) -> np.ndarray:
    """Draw spectra of a few stars with the model's over them.

    Parameters
    ----------
    survey, catalog : Dataset
        The data, and the catalogue whose ``latent`` were inferred from them.
    model : LuxModel
    stars : identifier or sequence of identifiers
    axes : array of Axes, (2 * star,), optional
        For each star one for the spectrum and one for the residual; new by default.
    output : str
        The spectrum, by name.

    Returns
    -------
    array of Axes, (2 * star,)
        For each star: the spectrum with its one-sigma band, broken where pixels are missing, and the model; residuals
        (data - model) in units of the total error, sqrt(1 / ivar + scatter^2).

    Raises
    ------
    InputError
        If a star or output is missing, the output is not a spectrum, or ``axes`` has the wrong size.
    """
    stars = [stars] if np.ndim(stars) == 0 else list(stars)
    if model[output].is_label:
        raise InputError(f"output {output!r} has names, not a grid; draw a spectrum, such as 'flux'")
    (spec,) = pick_outputs(survey, output, "survey")
    found = survey[list(spec.variables)].isel({STAR: _positions(survey, stars, "survey")}).compute()
    inferred = catalog.isel({STAR: _positions(catalog, stars, "catalogue")}).compute()
    decoded = predict(inferred, model, output).values
    values, noise = (found[v].values for v in spec.variables)
    ivar = spec.ivar(values, noise)
    axes = _star_axes(axes, len(stars))
    for i, pair in enumerate(axes.reshape(-1, 2)):
        _draw_spectrum(pair, survey[spec.dim], values[i], ivar[i], decoded[i], model[output])
        pair[0].set_title(str(stars[i]), loc="left", fontsize=TITLE)
        pair[0].set_title(_labels_of(inferred, i), loc="right", fontsize=TEXT)
    axes[0].legend(loc="best", fontsize=TEXT, ncols=3, frameon=False)
    axes[-1].set_xlabel(_grid_name(survey[spec.dim]))
    return axes


def _positions(dataset: xr.Dataset, stars: Sequence[Any], where: str) -> np.ndarray:
    at = star_index(dataset).get_indexer(stars)
    if (at < 0).any():
        raise InputError(
            f"{where}: no star {stars[int(np.argmax(at < 0))]!r}; give identifiers, such as "
            f"{dataset[STAR].values[:1].tolist()[0]!r}"
        )
    return at


def _star_axes(axes: Any, n: int) -> np.ndarray:
    if axes is not None:
        if np.size(axes) != 2 * n:
            raise InputError(f"{np.size(axes)} axes for {n} stars; give two for each: spectrum and residual")
        return np.ravel(axes)
    figure = Figure((7.2, 0.4 + 2.2 * n), layout="constrained")
    figure.get_layout_engine().set(h_pad=0.02)  # type: ignore[union-attr, call-arg]
    stars = figure.add_gridspec(n, 1, hspace=0.06)
    made: list[Axes] = []
    for i in range(n):
        cell = stars[i].subgridspec(2, 1, hspace=0, height_ratios=[3, 1.1])
        for j in range(2):
            made.append(figure.add_subplot(cell[j], sharex=made[0] if made else None))
            _style(made[-1])
            made[-1].tick_params(labelbottom=False)
    made[-1].tick_params(labelbottom=True)
    figure.align_ylabels(made)
    return np.array(made)


def _draw_spectrum(
    axes: np.ndarray, grid: xr.DataArray, value: np.ndarray, ivar: np.ndarray, decoded: np.ndarray, output: Output
) -> None:
    """Draw one star: NaN breaks the lines at missing pixels."""
    x, seen = grid.values, ivar > 0
    err = np.where(seen, 1 / np.sqrt(np.where(seen, ivar, 1)), np.nan)
    value = np.where(seen, value, np.nan)
    top, bottom = axes
    top.fill_between(x, value - err, value + err, step="mid", color=BAND, lw=0, label=r"data $\pm\,1\sigma$")
    top.step(x, value, where="mid", color=DATA, lw=0.8, label="data")
    top.plot(x, decoded, color=MODEL, lw=0.9, label="model")
    top.set(ylabel=output.name.replace("_", " ").capitalize(), ylim=_flux_limits(value, decoded))
    pull = (value - decoded) / np.hypot(err, np.asarray(output.scatter))
    bottom.axhspan(-1, 1, color=BAND, lw=0, alpha=0.6)
    bottom.axhline(0, color=MODEL, lw=0.8)
    bottom.step(x, pull, where="mid", color=DATA, lw=0.7)
    reach = float(np.clip(1.1 * np.nanmax(np.abs(pull), initial=0), 3.5, 10))
    bottom.set(ylabel=r"$\Delta / \sigma$", ylim=(-reach, reach), xlim=(x[0], x[-1]))
    bottom.yaxis.set_major_locator(MaxNLocator(3, integer=True))


def _flux_limits(value: np.ndarray, decoded: np.ndarray) -> tuple[float, float]:
    """Show all of the model, and the data but for the wildest pixels."""
    data = value[np.isfinite(value)]
    shown = [decoded[np.isfinite(decoded)], np.percentile(data, (0.3, 99.7)) if data.size else data]
    return _limits(np.concatenate(shown), False)


def _labels_of(catalog: xr.Dataset, i: int) -> str:
    """Return the first labels of a star with their errors."""
    parts = []
    for j, (name, unit) in enumerate(list(label_units(catalog).items())[:TITLE_LABELS]):
        value, err = (float(catalog[v].values[i, j]) for v in ("label_value", "label_err"))
        places = decimals(None, err)
        shown = "" if unit.startswith("dex") else f" {unit}"
        parts.append(rf"{pretty(name)} ${round_to(value, places)} \pm {round_to(err, places)}${shown}")
    return ",  ".join(parts)


def _grid_name(grid: xr.DataArray) -> str:
    unit, medium = grid.attrs.get("units", ""), grid.attrs.get("medium")
    name = "Wavelength" if str(grid.name).startswith("wavelength") else str(grid.name)
    return name + (f" in {medium}" if medium else "") + (f" [{_UNITS.get(unit, unit)}]" if unit else "")


def labels_figure(catalog: xr.Dataset, truth: xr.Dataset) -> Figure:
    """Draw every label against the trusted one, and the Kiel diagram: a catalogue at a glance.

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
    """
    pairs = match(catalog, truth)
    labels, have = pairs["label"].values.tolist(), label_units(catalog)
    panels = len(labels) + ("teff" in have and "logg" in have)
    columns, rows = min(3, panels), -(-panels // 3)
    figure = Figure((3.1 * columns, 2.9 * rows + 0.6 * _dense(pairs)), layout="constrained")
    axes = [figure.add_subplot(rows, columns, i + 1) for i in range(panels)]
    for ax in axes:
        _style(ax)
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
        bar = ax.figure.colorbar(stars, cax=inset, orientation="horizontal", extend="both", ticks=_ticks(3))
        bar.set_label(titled(hue, label_units(catalog)[hue]), fontsize=TEXT, labelpad=1)
        inset.tick_params(labelsize=TEXT, pad=2)


def _share_scale(densities: Sequence[PolyCollection], axes: Sequence[Axes]) -> None:
    """Give densities one colour scale, and its bar above all panels."""
    if not densities:
        return
    norm = LogNorm(1, max(2.0, *(float(np.max(d.get_array())) for d in densities)))  # type: ignore[arg-type]
    for density in densities:
        density.set_norm(norm)
    _color_bar(densities[0], list(axes), "stars per bin", location="top", shrink=0.4, aspect=40, pad=0.01)
