"""The stars of figures 13 and 17: XP spectra of giants, some with abundances of APOGEE DR12."""

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
    """Return [X/Fe] of stars by APOGEE's identifiers: (star, element).

    NaN of stars that are not in the table, and where a fit has failed.
    """
    table = pd.read_csv(path).drop_duplicates("APOGEE_ID")
    table = table.set_index("APOGEE_ID").reindex(stars)
    columns = [f"{element.upper()}_H" for element in ELEMENTS]
    iron = table[["FE_H"]].to_numpy()
    ratio = table[columns].to_numpy() - iron
    return np.where(np.abs(ratio) < MOST, ratio, np.nan)


def make_survey(study: Study) -> xr.Dataset:
    """Return giants without abundances, as many as sample G has, and all with them.

    Returns
    -------
    Dataset
        Survey of teff, logg, fe_h, alpha_m, a_k (APOGEE DR17) and [X/Fe] of 14 elements (DR12), cut
        as sample G is; kept in the study's directory, in memory. ``matched`` (star,) is true of
        stars that are in both files.

    Raises
    ------
    InputError
        If a file is not there.
    """
    n = samples.count_stars("G", study.fraction)
    path = study.find_file(TABLE)

    def join() -> xr.Dataset:
        return _join(xp.open_full(study), path, n)

    return study.keep("transfer", join, field=n, error=ERROR).compute()


def _join(spectra: xr.Dataset, path: Path, field: int) -> xr.Dataset:
    """Return the giants of both files, and so many others of the spectra."""
    ratio = read_ratios(path, spectra["star"].values)
    measured = np.isfinite(ratio).any(axis=1)
    both = samples.find_passing(spectra.assign(galah=("star", measured)), "G")
    everyone = np.ones(both.size, bool)
    either = samples.find_passing(spectra.assign(galah=("star", everyone)), "G")
    others = np.flatnonzero(either & ~both)
    others = np.random.default_rng(0).permutation(others)[:field]
    rows = np.concatenate([others, np.flatnonzero(both)])
    rows = np.sort(rows)
    both = both[rows]
    ratio = np.where(both[:, None], ratio[rows], np.nan)
    ratio_err = np.where(np.isfinite(ratio), ERROR, np.nan)
    chosen = spectra.isel(star=rows).compute()
    value = np.hstack([chosen["label_value"], ratio])
    err = np.hstack([chosen["label_err"], ratio_err])
    names = [*spectra["label"].values.tolist(), *ABUNDANCES]
    units = [*spectra["label_units"].values.tolist(), *["dex"] * len(ELEMENTS)]
    return xr.Dataset(
        {
            "flux": chosen["flux"].drop_vars("label", errors="ignore"),
            "flux_ivar": chosen["flux_ivar"],
            "label_value": (("star", "label"), value),
            "label_err": (("star", "label"), err),
            "matched": ("star", both),
        },
        {
            "label": np.array(names, object),
            "label_units": ("label", np.array(units, object)),
        },
        {"title": "Gaia XP spectra of giants, some with abundances of APOGEE DR12"},
    )
