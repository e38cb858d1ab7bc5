"""Trusted labels whose own errors exceed what they differ by: pulls tell of those errors alone."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import xarray as xr

from luxscale.analysis.label_arrays import LABEL
from luxscale.analysis.repeats import MAD_ERROR
from luxscale.analysis.stats import robust_scatter

#: The best stars: one in so many, with the smallest errors; and the fewest of them.
_SHARE, _FEWEST = 4, 30

#: Standard errors by which a pull is below 1, and the greatest that is said.
_SURE, _MOST = 3.0, 0.9


def advise_on_truth(pairs: xr.Dataset) -> list[str]:
    """Say of which trusted labels the errors look overestimated; nothing if of none.

    Parameters
    ----------
    pairs : Dataset
        From `luxscale.analysis.evaluate.match_labels`.

    Returns
    -------
    list of str
        One line at most.
    """
    names = [str(name) for name in pairs[LABEL].values]
    pulls = {name: find_least_pull(pairs.isel({LABEL: m})) for m, name in enumerate(names)}
    return advise_on_pulls("trusted", {k: p for k, p in pulls.items() if np.isfinite(p)})


def advise_on_pulls(whose: str, pulls: Mapping[str, float]) -> list[str]:
    """Say of which labels the given errors look overestimated, by pulls from `find_least_pull`.

    whose : "trusted" or "training" labels.
    """
    if not pulls:
        return []
    found = ", ".join(f"{name} {pull:.2f}" for name, pull in pulls.items())
    return [
        f"errors of the {whose} labels look overestimated: the quarter of stars with the smallest "
        f"label_err scatters by less than these errors alone ({found} of them), so that their pull "
        "is below 1 whatever label_err is, and with it that of all stars where others have 1"
    ]


def find_least_pull(pairs: xr.Dataset) -> float:
    """Return the pull over trusted errors alone of the best stars, of one label.

    NaN unless it is clearly below 1, or where few stars tell.
    """
    err = pairs["inferred_err"].values
    truth_err = pairs["truth_err"].values
    miss = pairs["inferred"].values - pairs["truth"].values
    known = np.isfinite(miss + err + truth_err) & (truth_err > 0)
    by_error = np.argsort(err[known], kind="stable")
    best = by_error[: known.sum() // _SHARE]
    if best.size < _FEWEST:
        return float("nan")
    pulls = miss[known] / truth_err[known]
    pull = robust_scatter(pulls[best])
    # as large as it may be, for so few stars
    at_most = pull * (1 + _SURE * MAD_ERROR / np.sqrt(best.size))
    if at_most < 1 and pull < _MOST:
        return pull
    return float("nan")
