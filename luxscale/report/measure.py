"""The numbers of a report, in bounded memory: over all stars block by block, or over a sample."""

from __future__ import annotations

import collections
import dataclasses
import itertools
from collections.abc import Callable

import numpy as np
import xarray as xr

from luxscale import store
from luxscale.analysis.bins import assign_bins, make_bins
from luxscale.analysis.evaluate import check_catalog, match_labels, measure_pairs
from luxscale.analysis.goodness import residuals
from luxscale.analysis.label_arrays import LABEL, label_units
from luxscale.analysis.stats import robust_scatter
from luxscale.report.sample import Sample
from luxscale.report.sources import Inputs
from luxscale.schema.blocks import iterate_blocks, round_to_chunks, spread_evenly
from luxscale.schema.outputs import pick_outputs
from luxscale.schema.status import find_done
from luxscale.schema.variables import STAR
from luxscale.store import damage

#: Bytes of an array that is read, or computed, at once.
_BLOCK_BYTES = 32e6

#: Bytes of labels that are compared at once, beside trusted ones and both errors.
_LABEL_BYTES = 32e6

#: Residuals are of whole chunks spread over the survey: at least one, and stars and bytes of a
#: spectrum up to these.
_FIT_STARS, _FIT_BYTES = 20_000, 250e6

#: Bins of S/N.
SNR_BINS = 4

#: Variables of a catalogue that its state is read from.
_READ = ("label_value", "label_err", "chi2", "n_pixels", "flags", "status")


@dataclasses.dataclass(frozen=True)
class State:
    """How far a catalogue is.

    Parameters
    ----------
    counts : dict of str to int
        What `luxscale.analysis.evaluate.check_catalog` counts, and ``flagged``: stars that are done
        and carry a flag.
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
    n_stars = catalog.sizes[STAR]
    counts: collections.Counter[str] = collections.Counter()
    carried: collections.Counter[str] = collections.Counter()
    ratio = np.full(n_stars, np.nan, "f4")
    star_bytes = 8 * catalog.sizes[LABEL]
    block = round_to_chunks(_BLOCK_BYTES / star_bytes, store.get_star_chunk(catalog))
    for rows in iterate_blocks(n_stars, block):
        part = catalog.isel({STAR: rows})
        part = part.assign(part[list(_READ)].compute().data_vars)
        found = check_catalog(part, where)
        carried.update(found.pop("flags"))
        counts.update(found)
        flagged = find_done(part) & (part["flags"].values != 0)
        counts["flagged"] += int(flagged.sum())
        ratio[rows] = _divide_chi2(part)
        tell(rows.stop)
    # those are never done, so that check_catalog leaves their flag out
    carried["unreadable"] = counts["unreadable"]
    return State(dict(counts), dict(carried), ratio)


def _divide_chi2(catalog: xr.Dataset) -> np.ndarray:
    """Return chi2 per pixel, NaN of stars that are not done or had no pixel."""
    pixels = catalog["n_pixels"].values
    known = find_done(catalog) & (pixels > 0)
    return np.where(known, catalog["chi2"].values / np.where(known, pixels, 1), np.nan)


def find_worst(ratio: np.ndarray, most: int) -> np.ndarray:
    """Return the positions of the stars with the largest finite chi2 per pixel, the worst first."""
    known = np.flatnonzero(np.isfinite(ratio))
    order = np.argsort(-ratio[known], kind="stable")
    return known[order[:most]]


def compare_all(catalog: xr.Dataset, truth: xr.Dataset) -> xr.Dataset:
    """Compare all stars with trusted labels, a few labels at a time.

    `luxscale.analysis.evaluate.compare` takes all labels at once: it serves catalogues that are
    computed as they are read, which groups of labels would compute once each. Groups of stars would
    not do, for medians do not add up.

    Returns
    -------
    Dataset
        As from `compare`, and ``err_over_spread`` (label,): the median error over the robust
        scatter of the trusted labels of the same stars.

    Raises
    ------
    InputError
        As `compare`.
    """
    theirs = label_units(truth)
    common = [name for name in label_units(catalog) if name in theirs]
    group = max(1, int(_LABEL_BYTES / (8 * catalog.sizes[STAR])))
    groups: list[list[str] | None] = [common[i : i + group] for i in range(0, len(common), group)]
    if not groups:
        # without a label in common, matching says so
        groups = [None]
    measured = [_measure_group(match_labels(catalog, truth, labels=labels)) for labels in groups]
    return xr.concat(measured, LABEL, join="override")


def _measure_group(pairs: xr.Dataset) -> xr.Dataset:
    """Return the statistics of some labels, with the error over the spread of the trusted ones."""
    measured = measure_pairs(pairs)
    inferred, trusted = pairs["inferred"].values, pairs["truth"].values
    known = np.isfinite(inferred) & np.isfinite(trusted)
    scatters = []
    for values, is_known in zip(trusted.T, known.T, strict=True):
        scatters.append(robust_scatter(values[is_known]))
    spread = np.array(scatters)
    spread[~(spread > 0)] = np.nan
    return measured.assign(err_over_spread=measured["median_err"] / spread)


def compare_by_snr(sample: Sample) -> list[tuple[float, float, xr.Dataset]]:
    """Compare labels in bins of S/N with as many stars each.

    Returns
    -------
    list of (float, float, Dataset)
        Least and greatest S/N, and what `luxscale.analysis.evaluate.measure_pairs` finds between.
    """
    pairs = sample.pairs
    assert pairs is not None
    assert sample.snr is not None
    edges = make_bins(sample.snr, SNR_BINS)
    numbers = assign_bins(sample.snr, edges)
    bins = []
    for i, (least, greatest) in enumerate(itertools.pairwise(edges.tolist())):
        members = pairs.isel({STAR: np.flatnonzero(numbers == i)})
        bins.append((least, greatest, measure_pairs(members)))
    return bins


def measure_fit(
    inputs: Inputs, output: str, tell: Callable[[int], None] = lambda _: None
) -> xr.Dataset:
    """Sum up residuals over the expected noise, pixel by pixel.

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
        ``chi2``, mean of the squares, ``mean`` and ``scatter`` (wavelength,), of a sample of whole
        chunks of the survey; attribute ``stars``, how many were read that are done.
    """
    survey, model = inputs.survey, inputs.model
    assert survey is not None
    assert model is not None
    (spec,) = pick_outputs(survey, output, inputs.survey_where)
    measured = survey[list(spec.variables)]
    inferred = inputs.catalog[["latent", "status"]]
    grid = survey[spec.dim]
    chunk = store.get_star_chunk(survey)
    block = max(1, int(_BLOCK_BYTES / (8 * grid.size)))
    finished = find_done(inputs.catalog)
    starts = _pick_chunks(finished, chunk, 4 * grid.size)
    count, total, squares = np.zeros((3, grid.size))
    n_stars = 0
    for number, start in enumerate(starts):
        stop = min(start + chunk, survey.sizes[STAR])
        rows = slice(start, stop)
        with damage.explain_damage(inputs.survey_where):
            data = _load_numbered(measured.isel({STAR: rows}))
        latents = _load_numbered(inferred.isel({STAR: rows}))
        for part in iterate_blocks(data.sizes[STAR], block):
            spectra = data.isel({STAR: part})
            their_latents = latents.isel({STAR: part})
            scaled = residuals(spectra, their_latents, model, output, scaled=True)
            values = scaled.values.astype(float)
            count += np.isfinite(values).sum(0)
            total += np.nansum(values, 0)
            squares += np.nansum(values**2, 0)
        n_stars += int(finished[rows].sum())
        tell(number + 1)
    count[count == 0] = np.nan
    mean = total / count
    chi2 = squares / count
    variance = np.maximum(chi2 - mean**2, 0)
    scatter = np.sqrt(variance)
    columns = {"chi2": chi2, "mean": mean, "scatter": scatter}
    variables = {name: (grid.dims, values) for name, values in columns.items()}
    return xr.Dataset(variables, {grid.name: grid}, {"stars": n_stars})


def _pick_chunks(finished: np.ndarray, chunk: int, star_bytes: int) -> np.ndarray:
    """Return where the chunks start that are read: spread over those with stars that are done."""
    starts = np.arange(0, finished.size, chunk)
    starts = starts[np.add.reduceat(finished, starts) > 0]
    stars = min(_FIT_STARS, _FIT_BYTES / star_bytes)
    return starts[spread_evenly(starts.size, int(stars / chunk))]


def _load_numbered(dataset: xr.Dataset) -> xr.Dataset:
    """Read stars and number them, so that the rows of two datasets are the same stars."""
    loaded = dataset.drop_vars(STAR).compute()
    return loaded.assign_coords({STAR: np.arange(loaded.sizes[STAR])})
