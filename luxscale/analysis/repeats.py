"""How well errors agree with the scatter of stars that were observed more than once."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import xarray as xr

from luxscale.analysis.bins import assign_bins, make_bins
from luxscale.analysis.label_arrays import LABEL, UNITS, label_units
from luxscale.analysis.stats import MAD_TO_SIGMA
from luxscale.analysis.visits import (
    Deviations,
    Repeats,
    find_deviations,
    find_usable,
    read_repeats,
)
from luxscale.errors import InputError
from luxscale.model.arguments import (
    DatasetOrPath,
    ModelOrPath,
    take_catalog,
    take_model,
    take_survey,
)
from luxscale.model.designs import make_head
from luxscale.model.head import Head
from luxscale.model.lux import LuxModel
from luxscale.model.predict import check_latents

#: What is measured of a label in a bin.
STATISTICS = {
    "n_stars": "stars with two visits or more",
    "n_visits": "their visits",
    "n_pairs": "independent differences: one less than the visits of each star",
    "n_missing": "visits without a finite label or a positive error",
    "scatter": "1.4826 MAD of visits about their star",
    "median_err": "median error of a visit",
    "ratio": "1.4826 MAD of visits about their star, over their errors; 1 if errors are random",
    "ratio_err": "standard error of the ratio",
    "formal_ratio": "the same over formal errors, without misfit and factor",
    "formal_ratio_err": "standard error of that",
}

#: Statistics that need the model.
FORMAL = ("formal_ratio", "formal_ratio_err")

#: Standard error of a 1.4826 MAD over itself, times the root of the number of values: of a Gaussian
#: 1 / (4 q phi(q)), q its upper quartile.
MAD_ERROR = 1.1664

#: Fewest independent differences of which a scatter is given; it is then good to a third.
FEWEST = 12


def measure_repeats(
    catalog: DatasetOrPath,
    by: str,
    *,
    survey: DatasetOrPath | None = None,
    model: ModelOrPath | None = None,
    over: Sequence[str] | None = None,
    bins: int = 4,
) -> xr.Dataset:
    """Measure the scatter of labels between visits of the same star, over their errors.

    Parameters
    ----------
    catalog : Dataset, str or Path
        Of a survey with a row for each visit. Rows that are not done are counted and left out.
    by : str
        Column that is the same for all visits of a star, in the catalogue or the survey.
    survey : Dataset, str or Path, optional
        Survey that was labelled, for columns that the catalogue lacks, such as ``snr``.
    model : LuxModel, str or Path, optional
        The model that made the catalogue, for ratios over errors without its misfit.
    over : sequence of str, optional
        Columns or labels by which visits are put into bins; S/N (``snr``) and ``teff`` by default,
        where they are there.
    bins : int
        Bins of each, with about as many visits.

    Returns
    -------
    Dataset
        ``STATISTICS`` (bin, label), in the label's units; NaN for fewer than ``FEWEST`` pairs. The
        first bin has all visits; ``quantity``, ``least`` and ``greatest`` (bin,) say what the
        others hold. Attributes count stars: ``repeated``, of those ``drawn``, and observed
        ``once``; ``most_visits`` of one, rows ``not_done`` and ``without_star``.

    Raises
    ------
    InputError
        If a column is not there, no star has two visits, or the catalogue is another model's.

    Notes
    -----
    Visits of a star share whatever the model gets wrong of it. The scatter between them is the
    random part of the error alone: a ratio below 1 does not say that errors are too large, unless
    the other part is known to be small; one above 1 says that they are too small. Of a Gaussian a
    ratio is known to 1.17 / sqrt(pairs): to 10% from 137 pairs, to 5% from 545.

    Above 3 million labels of visits, stars are drawn by what ``by`` calls them: memory is that of
    these and of one column.

    Examples
    --------
    >>> import luxscale as lux
    >>> number = range(catalog.sizes["star"])
    >>> visits = catalog.assign(object=("star", [i // 2 for i in number]))  # no star has two
    >>> repeats = lux.measure_repeats(visits, "object")
    >>> bool(repeats.ratio.sel(label="teff")[0] > 5)
    True
    """
    call = "lux.measure_repeats(catalog, by)"
    where = str(catalog) if not isinstance(catalog, xr.Dataset) else "catalogue"
    return measure_opened(
        take_catalog(catalog, call),
        by,
        where,
        survey=None if survey is None else take_survey(survey, call),
        model=None if model is None else take_model(model, call),
        over=over,
        bins=bins,
    )


def measure_opened(
    catalog: xr.Dataset,
    by: str,
    where: str,
    *,
    survey: xr.Dataset | None = None,
    model: LuxModel | None = None,
    over: Sequence[str] | None = None,
    bins: int = 4,
) -> xr.Dataset:
    """Measure as `measure_repeats` does, with what messages call the catalogue (``where``)."""
    head = None
    if model is not None:
        check_latents(catalog, model)
        require_model_labels(catalog, model)
        head = make_head(model["label_value"], model.measured)
    if bins < 1:
        raise InputError(f"bins={bins}: give the number of bins, 1 or more")
    repeats = read_repeats(catalog, by, where, survey=survey, over=over)
    return measure_visits(repeats, head, bins=bins).assign_attrs(by=by, **repeats.counts)


def require_model_labels(catalog: xr.Dataset, model: LuxModel) -> None:
    """Refuse a catalogue that has not all labels of a model, in its order.

    Raises
    ------
    InputError
    """
    have, wanted = list(label_units(catalog)), list(map(str, model["label_value"].coord))
    if have != wanted:
        raise InputError(
            f"the catalogue has the labels {', '.join(have)}, the model {', '.join(wanted)}; give "
            "the catalogue with all labels, as it was made"
        )


class _Bin(NamedTuple):
    """Visits of a bin: what it is of, its edges, and its visits."""

    quantity: str
    least: float
    greatest: float
    inside: np.ndarray


class _Visits(NamedTuple):
    """Deviations over errors, and the errors of visits: (visit, label)."""

    found: Deviations
    err: np.ndarray


def measure_visits(repeats: Repeats, head: Head | None = None, *, bins: int = 4) -> xr.Dataset:
    """Return the statistics of `measure_repeats` from what `read_repeats` returns.

    Parameters
    ----------
    repeats : Repeats
    head : Head, optional
        Of the labels of the model, for its formal errors.
    bins : int

    Returns
    -------
    Dataset
    """
    whole = _compare(repeats, repeats.err)
    formal = None if head is None else _compare(repeats, repeats.find_formal(head))
    missing = ~find_usable(repeats.value, repeats.err)
    members = list(_list_bins(repeats, bins))
    records = []
    for each in members:
        for m in range(len(repeats.units)):
            found = _measure(repeats.star, each.inside, whole, m)
            found["n_missing"] = int((missing[:, m] & each.inside).sum())
            if formal is not None:
                others = _measure(repeats.star, each.inside, formal, m)
                found |= {name: others[name.removeprefix("formal_")] for name in FORMAL}
            records.append(found)
    shape = (len(members), len(repeats.units))
    statistics = {}
    for name in records[0]:
        values = np.array([record[name] for record in records]).reshape(shape)
        statistics[name] = (("bin", LABEL), values, {"long_name": STATISTICS[name]})
    return xr.Dataset(
        statistics,
        {
            LABEL: np.array(list(repeats.units), object),
            UNITS: (LABEL, np.array(list(repeats.units.values()), object)),
            "quantity": ("bin", np.array([each.quantity for each in members], object)),
            "least": ("bin", np.array([each.least for each in members])),
            "greatest": ("bin", np.array([each.greatest for each in members])),
        },
        {"title": "scatter of labels between visits of the same star"},
    )


def _compare(repeats: Repeats, err: np.ndarray) -> _Visits:
    return _Visits(find_deviations(repeats.value, err, repeats.star), err)


def _list_bins(repeats: Repeats, n: int) -> Iterator[_Bin]:
    """Yield the bins: one of all visits, then those of each quantity that is known of any."""
    yield _Bin("all", np.nan, np.nan, np.ones(repeats.star.size, bool))
    for name, values in repeats.quantities.items():
        if not np.isfinite(values).any():
            continue
        edges = make_bins(values, n, name)
        at = assign_bins(values, edges)
        for i, (least, greatest) in enumerate(itertools.pairwise(edges.tolist())):
            yield _Bin(name, least, greatest, at == i)


def _measure(star: np.ndarray, inside: np.ndarray, visits: _Visits, m: int) -> dict[str, float]:
    """Return the statistics of one label in one bin."""
    share = visits.found.share[:, m]
    compared = inside & (share > 0)
    weight = share[compared]
    pull, err = np.abs(visits.found.pull[compared, m]), visits.err[compared, m]
    n_pairs = round(float(weight.sum()), 6)  # of whole stars a whole number
    found = {
        "n_stars": np.unique(star[compared]).size,
        "n_visits": pull.size,
        "n_pairs": n_pairs,
        "median_err": find_weighted_median(err, weight),
        **dict.fromkeys(("scatter", "ratio", "ratio_err"), np.nan),
    }
    if n_pairs >= FEWEST:
        ratio = MAD_TO_SIGMA * find_weighted_median(pull, weight)
        found["scatter"] = MAD_TO_SIGMA * find_weighted_median(pull * err, weight)
        found["ratio"], found["ratio_err"] = ratio, MAD_ERROR * ratio / np.sqrt(n_pairs)
    return found


def find_weighted_median(values: np.ndarray, weights: np.ndarray) -> float:
    """Return the value that half of the weight lies below; NaN of nothing.

    Where all weights are the same, it is the median.
    """
    if not values.size:
        return np.nan
    order = np.argsort(values, kind="stable")
    weight = weights[order]
    middle = np.cumsum(weight) - weight / 2
    half = float(weight.sum()) / 2
    return float(np.interp(half, middle, values[order]))
