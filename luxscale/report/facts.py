"""The numbers of a report, in bounded memory: over all stars block by block, or over a sample."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
from collections.abc import Callable, Iterator

import numpy as np
import xarray as xr

from luxscale import store
from luxscale.analysis.evaluate import (
    LABEL,
    check_catalog,
    label_units,
    match_labels,
    measure_pairs,
)
from luxscale.analysis.goodness import residuals
from luxscale.analysis.stats import robust_scatter
from luxscale.errors import InputError
from luxscale.plot.pulls import assign_bins, make_snr_bins
from luxscale.report.inputs import Inputs
from luxscale.schema.blocks import iterate_blocks, round_to_chunks, spread_evenly
from luxscale.schema.stars import match_stars
from luxscale.schema.status import find_done
from luxscale.schema.variables import STAR
from luxscale.store import damage

#: Figures and percentiles are of at most this many stars.
SAMPLE = 50_000

#: Bytes of an array that is read, or computed, at once.
_BLOCK_BYTES = 32e6

#: Bytes of labels that are compared at once, beside trusted ones and both errors.
_LABEL_BYTES = 32e6

#: Residuals are of whole chunks spread over the survey: at least one, and stars and bytes of a
#: spectrum up to these.
_FIT_STARS, _FIT_BYTES = 20_000, 250e6

#: Bins of S/N.
SNR_BINS = 4

_READ = ("label_value", "label_err", "chi2", "n_pixels", "flags", "status")


@dataclasses.dataclass(frozen=True)
class State:
    """How far a catalogue is.

    Parameters
    ----------
    counts : dict of str to int
        What `luxscale.analysis.evaluate.check_catalog` counts, and ``flagged``: stars that are done and
        carry a flag.
    flags : dict of str to int
        How many of those that are done carry each flag, and how many could not be read.
    ratio : array, (star,)
        Chi2 over the number of pixels, NaN of stars that are not done or had no pixel.
    """

    counts: dict[str, int]
    flags: dict[str, int]
    ratio: np.ndarray


def read_state(
    catalog: xr.Dataset, where: str, tell: Callable[[int], None] = lambda _: None
) -> State:
    """Read a catalogue once, block by block.

    Parameters
    ----------
    catalog : Dataset
    where : str
        What messages call it.
    tell : callable
        Gets the number of stars that were read.
    """
    n, chunk = catalog.sizes[STAR], store.star_chunk(catalog)
    counts: collections.Counter[str] = collections.Counter()
    carried: collections.Counter[str] = collections.Counter()
    ratio = np.full(n, np.nan, "f4")
    step = round_to_chunks(_BLOCK_BYTES / (8 * catalog.sizes[LABEL]), chunk)
    for rows in iterate_blocks(n, step):
        part = catalog.isel({STAR: rows})
        part = part.assign(part[list(_READ)].compute().data_vars)
        found = check_catalog(part, where)
        carried.update(found.pop("flags"))
        finished, pixels = find_done(part), part["n_pixels"].values
        counts.update(found | {"flagged": int(((part["flags"].values != 0) & finished).sum())})
        known = finished & (pixels > 0)
        ratio[rows] = np.where(known, part["chi2"].values / np.where(known, pixels, 1), np.nan)
        tell(rows.stop)
    carried["unreadable"] = counts["unreadable"]  # those are never done
    return State(dict(counts), dict(carried), ratio)


def worst(ratio: np.ndarray, most: int) -> np.ndarray:
    """Return the positions of the stars with the largest finite chi2 per pixel, the worst first."""
    known = np.flatnonzero(np.isfinite(ratio))
    return known[np.argsort(-ratio[known], kind="stable")[:most]]


def choose(rows: np.ndarray, most: int = SAMPLE) -> np.ndarray:
    """Return a random sample of rows, in order and the same every time; all if they are few."""
    return (
        rows
        if rows.size <= most
        else np.sort(np.random.default_rng(0).choice(rows, most, replace=False))
    )


@dataclasses.dataclass(frozen=True)
class Sample:
    """Stars of a catalogue that are done, in memory, with their S/N and trusted labels where those are known.

    Parameters
    ----------
    catalog : Dataset
    of : int
        Number of stars that it was drawn from.
    snr : array, (star,), optional
    truth : Dataset, optional
        The same stars in the same order.
    """

    catalog: xr.Dataset
    of: int
    snr: np.ndarray | None = None
    truth: xr.Dataset | None = None

    @property
    def said(self) -> str:
        """How many stars it holds of how many, in words."""
        size = self.catalog.sizes[STAR]
        return (
            f"{size:,} stars"
            if size == self.of
            else f"{size:,} of {self.of:,} stars, drawn at random"
        )

    @property
    def pairs(self) -> xr.Dataset | None:
        """Inferred and trusted labels side by side, of its stars in its order."""
        return None if self.truth is None else match_labels(self.catalog, self.truth)


def take_sample(inputs: Inputs) -> Sample:
    """Draw stars from all that are done."""
    rows = np.flatnonzero(find_done(inputs.catalog))
    at = choose(rows)
    return Sample(_load(inputs.catalog, at), rows.size, _snr(inputs, at, None))


def take_compared(inputs: Inputs, stars: slice = slice(None)) -> Sample:
    """Draw stars from those that are done and have trusted labels.

    Parameters
    ----------
    inputs : Inputs
        With ``truth``.
    stars : slice
        Positions in the catalogue to draw from.

    Raises
    ------
    InputError
        If no star is in common.
    """
    assert inputs.truth is not None
    with of_truth(inputs):
        rows, truth_rows = match_stars(inputs.catalog, inputs.truth)
        chosen = np.zeros(inputs.catalog.sizes[STAR], bool)
        chosen[stars] = True
        at = choose(np.flatnonzero(chosen[rows]))
        if not at.size:
            raise InputError(
                "none of the chosen stars that are done is in it; choose others (--stars)"
            )
    sample, truth = _load(inputs.catalog, rows[at]), _load(inputs.truth, truth_rows[at])
    return Sample(sample, int(chosen[rows].sum()), _snr(inputs, rows[at], truth_rows[at]), truth)


@contextlib.contextmanager
def of_truth(inputs: Inputs) -> Iterator[None]:
    """Where trusted labels cannot be compared, say which file they are of.

    Raises
    ------
    InputError
    """
    try:
        yield
    except InputError as error:
        raise InputError(f"{inputs.truth_where}: {error} (--truth)") from error


def _load(dataset: xr.Dataset, rows: np.ndarray) -> xr.Dataset:
    """Read what belongs to labels of some stars, which are numbered anew."""
    names = [v for v, a in dataset.data_vars.items() if a.dims == (STAR, LABEL)]
    names += [v for v in ("status",) if v in dataset]
    taken = dataset[names].drop_vars(STAR).isel({STAR: rows}).compute()
    return taken.assign_coords({STAR: np.arange(rows.size), LABEL: plain(taken[LABEL].values)})


def plain(names: np.ndarray) -> np.ndarray:
    """Return names that Matplotlib writes as they are: a dollar sign starts no formula."""
    return np.array([str(name).replace("$", r"\$") for name in names.tolist()], object)


def _snr(inputs: Inputs, rows: np.ndarray, truth_rows: np.ndarray | None) -> np.ndarray | None:
    """Return the S/N of some stars, from the survey, else from that of trusted labels; None where it is unknown."""
    for dataset, at in ((inputs.survey, rows), (inputs.truth, truth_rows)):
        if dataset is not None and at is not None and "snr" in dataset:
            column = dataset["snr"]
            if column.dims == (STAR,) and column.dtype.kind in "fiu":
                values = column.isel({STAR: at}).values.astype(float)
                return values if np.isfinite(values).any() else None
    return None


def compare_all(catalog: xr.Dataset, truth: xr.Dataset) -> xr.Dataset:
    """Return what `luxscale.analysis.evaluate.compare` does, a few labels at a time.

    Returns
    -------
    Dataset
        As it does, and ``err_over_spread`` (label,): the median error over the robust scatter of
        the trusted labels of the same stars.

    Raises
    ------
    InputError
        As it does.
    """
    theirs = label_units(truth)
    common = [name for name in label_units(catalog) if name in theirs]
    step = max(1, int(_LABEL_BYTES / (8 * catalog.sizes[STAR])))
    groups: list[list[str] | None] = [common[i : i + step] for i in range(0, len(common), step)]
    return xr.concat(
        [_measure(match_labels(catalog, truth, labels=group)) for group in groups or [None]],
        LABEL,
        join="override",
    )


def _measure(pairs: xr.Dataset) -> xr.Dataset:
    found, known = measure_pairs(pairs), np.isfinite(pairs["inferred"].values)
    trusted = pairs["truth"].values
    spread = np.array(
        [robust_scatter(t[k & np.isfinite(t)]) for t, k in zip(trusted.T, known.T, strict=True)]
    )
    return found.assign(err_over_spread=found["median_err"] / np.where(spread > 0, spread, np.nan))


def compare_by_snr(sample: Sample) -> list[tuple[float, float, xr.Dataset]]:
    """Return least and greatest S/N, and what `luxscale.analysis.evaluate.measure_pairs` finds between, for bins with as many stars."""
    pairs = sample.pairs
    assert pairs is not None
    assert sample.snr is not None
    edges = make_snr_bins(sample.snr, SNR_BINS)
    at = assign_bins(sample.snr, edges)
    return [
        (
            float(edges[i]),
            float(edges[i + 1]),
            measure_pairs(pairs.isel({STAR: np.flatnonzero(at == i)})),
        )
        for i in range(edges.size - 1)
    ]


def fit_by_pixel(
    inputs: Inputs, output: str, tell: Callable[[int], None] = lambda _: None
) -> xr.Dataset:
    """Sum up residuals over the expected noise, pixel by pixel, from a sample of whole chunks of the survey.

    Parameters
    ----------
    inputs : Inputs
        With survey and model.
    output : str
        The spectrum.
    tell : callable
        Gets the number of chunks that were read.

    Returns
    -------
    Dataset
        ``chi2``, mean of the squares, ``mean`` and ``scatter`` (wavelength,); attribute ``stars``, how many were read
        that are done.
    """
    survey, model = inputs.survey, inputs.model
    assert survey is not None
    assert model is not None
    names, chunk, n = (
        list(model[output].spec.variables),
        store.star_chunk(survey),
        survey.sizes[STAR],
    )
    grid = survey[model[output].spec.dim]
    finished = find_done(inputs.catalog)
    sums, stars = np.zeros((3, grid.size)), 0
    for number, start in enumerate(_chunks(finished, chunk, 4 * grid.size)):
        rows = slice(start, min(start + chunk, n))
        with damage.explain_damage(inputs.survey_where):
            data = _same(survey[names].isel({STAR: rows}))
        latents = _same(inputs.catalog[["latent", "status"]].isel({STAR: rows}))
        step = max(1, int(_BLOCK_BYTES / (8 * grid.size)))
        for block in iterate_blocks(data.sizes[STAR], step):
            part = {STAR: block}
            left = residuals(
                data.isel(part), latents.isel(part), model, output, scaled=True
            ).values.astype(float)
            sums += [np.isfinite(left).sum(0), np.nansum(left, 0), np.nansum(left**2, 0)]
        stars += int(finished[rows].sum())
        tell(number + 1)
    count = np.where(sums[0] > 0, sums[0], np.nan)
    mean, chi2 = sums[1] / count, sums[2] / count
    scatter = np.sqrt(np.maximum(chi2 - mean**2, 0))
    columns = {"chi2": chi2, "mean": mean, "scatter": scatter}
    return xr.Dataset(
        {k: (grid.dims, v) for k, v in columns.items()}, {grid.name: grid}, {"stars": stars}
    )


def _chunks(finished: np.ndarray, chunk: int, star_bytes: int) -> np.ndarray:
    """Return where the chunks start that are read: spread over those with stars that are done."""
    starts = np.arange(0, finished.size, chunk)
    starts = starts[np.add.reduceat(finished, starts) > 0]
    most = int(min(_FIT_STARS, _FIT_BYTES / star_bytes) / chunk)
    return starts[spread_evenly(starts.size, most)]


def _same(dataset: xr.Dataset) -> xr.Dataset:
    """Read stars and number them, so that the rows of two datasets are the same stars."""
    read = dataset.drop_vars(STAR).compute()
    return read.assign_coords({STAR: np.arange(read.sizes[STAR])})
