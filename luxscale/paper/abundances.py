"""Gaia XP spectra of giants, some of them with abundances from APOGEE DR12: the stars of figures 13 and 17."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

from luxscale.paper import samples, xp
from luxscale.paper.base import Study

#: CSV of four labels and 15 [X/H] of APOGEE DR12 giants, from annayqho/TheCannon.
TABLE = "apogee_dr12_15elem_9618.csv.gz"
ELEMENTS = ("c", "n", "o", "na", "mg", "al", "si", "s", "k", "ca", "ti", "v", "mn", "ni")
ABUNDANCES = tuple(f"{element}_fe" for element in ELEMENTS)
#: The table has no errors; this is assumed for every [X/Fe], in dex.
ERROR = 0.05
#: An [X/Fe] further from 0 than this is a failed fit, not an abundance.
MOST = 1.0


def read_ratios(path: Path, stars: np.ndarray) -> np.ndarray:
    """Return [X/Fe] (star, element) of stars by APOGEE's identifiers; NaN of others, and where a fit has failed."""
    table = pd.read_csv(path).drop_duplicates("APOGEE_ID").set_index("APOGEE_ID").reindex(stars)
    ratio = (
        table[[f"{element.upper()}_H" for element in ELEMENTS]].to_numpy()
        - table[["FE_H"]].to_numpy()
    )
    return np.where(np.abs(ratio) < MOST, ratio, np.nan)


def make_survey(study: Study) -> xr.Dataset:
    """Return giants without abundances, as many as sample G has, and all that have them; kept, in memory.

    Returns
    -------
    Dataset
        Survey of teff, logg, fe_h, alpha_m, a_k (APOGEE DR17) and [X/Fe] of 14 elements (DR12), cut
        as sample G is. ``matched`` (star,) is true of stars that are in both files.

    Raises
    ------
    InputError
        If a file is not there.
    """
    n = samples.count_stars("G", study.fraction)
    path = study.find_file(TABLE)
    return study.keep(
        "transfer", lambda: _join(xp.open_full(study), path, n), field=n, error=ERROR
    ).compute()


def _join(spectra: xr.Dataset, path: Path, field: int) -> xr.Dataset:
    ratio = read_ratios(path, spectra["star"].values)
    both = samples.find_passing(spectra.assign(galah=("star", np.isfinite(ratio).any(1))), "G")
    either = samples.find_passing(spectra.assign(galah=("star", np.ones(both.size, bool))), "G")
    others = np.random.default_rng(0).permutation(np.flatnonzero(either & ~both))[:field]
    rows = np.sort(np.concatenate([others, np.flatnonzero(both)]))
    ratio = np.where(both[:, None], ratio, np.nan)[rows]
    taken = spectra.isel(star=rows).compute()
    value = np.concatenate([taken["label_value"], ratio], 1)
    err = np.concatenate([taken["label_err"], np.where(np.isfinite(ratio), ERROR, np.nan)], 1)
    names, units = (spectra[k].values.tolist() for k in ("label", "label_units"))
    return xr.Dataset(
        {
            "flux": taken["flux"].drop_vars("label", errors="ignore"),
            "flux_ivar": taken["flux_ivar"],
            "label_value": (("star", "label"), value),
            "label_err": (("star", "label"), err),
            "matched": ("star", both[rows]),
        },
        {
            "label": np.array([*names, *ABUNDANCES], object),
            "label_units": ("label", np.array([*units, *["dex"] * len(ELEMENTS)], object)),
        },
        {"title": "Gaia XP spectra of giants, some with abundances of APOGEE DR12"},
    )
