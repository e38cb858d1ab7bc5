"""The samples A to H of the paper (section 2.2), as selections from any survey."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import xarray as xr

from luxscale.errors import InputError
from luxscale.schema.variables import STAR

#: The least number of stars of a sample, whatever the fraction.
LEAST = 50

#: Open clusters of sample D, by the names in the catalogue of Myers et al. (2022).
CLUSTERS = (
    "ASCC 11",
    "Berkeley 66",
    "Collinder 34",
    "FSR 0496",
    "FSR 0542",
    "IC 166",
    "NGC 188",
    "NGC 752",
    "NGC 1857",
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sample:
    """What a sample is cut in: ranges, without their ends, and the number of stars that are drawn.

    Parameters
    ----------
    name : str
        As the paper calls it.
    stars : int
    teff, logg, snr : pair of float
        In K, dex(cm s-2), and without unit: the labels ``teff`` and ``logg`` and the variable
        ``snr`` (star,).
    clusters : tuple of str
        Only members of these, by the variable ``cluster`` (star,), a name; if empty, only stars in
        none (of any survey that lacks the variable: all).
    galah : bool
        Whether only stars with the variable ``galah`` (star,) True: those whose labels are GALAH's.
    after : str
        Letter of a sample with the same cuts, whose stars are drawn first and are not drawn again.
    """

    name: str
    stars: int
    teff: tuple[float, float]
    logg: tuple[float, float]
    snr: tuple[float, float]
    clusters: tuple[str, ...] = ()
    galah: bool = False
    after: str = ""


# ranges of teff and logg, and whether GALAH must have measured the star
_GIANTS: dict[str, Any] = {"teff": (3500.0, 5500.0), "logg": (0.0, 3.5)}
_ALL: dict[str, Any] = {"teff": (3000.0, 6500.0), "logg": (0.0, 6.0)}
_BOTH: dict[str, Any] = {"teff": (3800.0, 6000.0), "logg": (0.0, 3.5), "galah": True}

# ranges of snr
_HIGH = (100.0, np.inf)
_MEDIUM = (50.0, np.inf)
_LOW = (30.0, 60.0)

#: The samples by letter.
SAMPLES = {
    "A": Sample(name="high-SNR field RGB-train", stars=5000, snr=_HIGH, **_GIANTS),
    "B": Sample(name="high-SNR field RGB-test", stars=10_000, snr=_HIGH, after="A", **_GIANTS),
    "C": Sample(name="low-SNR field RGB-test", stars=5000, snr=_LOW, **_GIANTS),
    "D": Sample(name="high-SNR OC RGB-test", stars=790, snr=_HIGH, clusters=CLUSTERS, **_GIANTS),
    "E": Sample(name="high-SNR field all-train", stars=4000, snr=_HIGH, **_ALL),
    "F": Sample(name="high-SNR field all-test", stars=1000, snr=_HIGH, after="E", **_ALL),
    "G": Sample(name="GALAH-APOGEE field giants-train", stars=4000, snr=_MEDIUM, **_BOTH),
    "H": Sample(name="GALAH-APOGEE field giants-test", stars=1000, snr=_MEDIUM, after="G", **_BOTH),
}


def count_stars(letter: str, fraction: float = 1.0) -> int:
    """Return how many stars a sample has: the paper's number times ``fraction``, 50 at least."""
    return max(LEAST, round(fraction * _find_sample(letter).stars))


def select(survey: xr.Dataset, letter: str, fraction: float = 1.0, *, seed: int = 0) -> xr.Dataset:
    """Draw a sample of the paper from a survey.

    Parameters
    ----------
    survey : Dataset
        With labels ``teff`` and ``logg`` in ``label_value`` and with ``snr`` (star,); lazy if it is
        backed by Dask. See `Sample` for further variables that some samples need or heed.
    letter : str
        ``"A"`` to ``"H"``, see ``SAMPLES``.
    fraction : float
        Number of stars over the paper's.
    seed : int
        The stars are drawn at random, the same for the same survey, fraction and seed. A test
        sample (B, F, H) shares none with its training sample (A, E, G), of the same fraction and
        seed.

    Returns
    -------
    Dataset
        The survey's stars that were drawn, in its order; lazy if that is.

    Raises
    ------
    InputError
        If there is no such sample, the survey lacks a label or variable, or it has too few such
        stars.

    Examples
    --------
    >>> from luxscale.examples.simulate import simulate
    >>> from luxscale.paper.samples import select
    >>> select(simulate(600, n_pixels=100), "A", 0.01).sizes["star"]
    50
    """
    sample = _find_sample(letter)
    rows = np.flatnonzero(find_passing(survey, letter))
    first = 0
    beside = ""
    if sample.after:
        first = count_stars(sample.after, fraction)
        beside = f" beside the {first:,} of sample {sample.after}"
    n = count_stars(letter, fraction)
    if rows.size < first + n:
        raise InputError(
            f"sample {letter} ({sample.name}) needs {n:,} stars{beside}, but {rows.size:,} of "
            f"{survey.sizes[STAR]:,} pass its cuts; give a larger survey, or a smaller fraction "
            f"than {fraction:g}"
        )
    # a sample and the one after it are parts of the same random order
    drawn = np.random.default_rng(seed).permutation(rows)[first : first + n]
    return survey.isel({STAR: np.sort(drawn)})


def find_largest_fraction(survey: xr.Dataset, letter: str) -> float:
    """Return the largest fraction of a sample that a survey has stars for.

    A sample that is drawn before it takes its stars first.
    """
    sample = _find_sample(letter)
    paper = sample.stars
    if sample.after:
        paper += SAMPLES[sample.after].stars
    passing = int(find_passing(survey, letter).sum())
    # one more, as the numbers of both samples are rounded
    return passing / (paper + 1)


def find_passing(survey: xr.Dataset, letter: str) -> np.ndarray:
    """Return which stars pass the cuts of a sample: (star,) bool.

    A star without a known label does not.

    Raises
    ------
    InputError
        If there is no such sample, or the survey lacks a label or variable.
    """
    sample = _find_sample(letter)
    good = _find_within(_read_label(survey, letter, "teff"), sample.teff)
    good &= _find_within(_read_label(survey, letter, "logg"), sample.logg)
    good &= _find_within(_read_variable(survey, letter, "snr"), sample.snr)
    if sample.galah:
        good &= _read_variable(survey, letter, "galah").astype(bool)
    if sample.clusters or "cluster" in survey:
        cluster = _read_variable(survey, letter, "cluster").astype(str)
        good &= np.isin(cluster, sample.clusters or ("",))
    return good


def _find_within(values: np.ndarray, bounds: tuple[float, float]) -> np.ndarray:
    return (values > bounds[0]) & (values < bounds[1])


def _find_sample(letter: str) -> Sample:
    if letter not in SAMPLES:
        raise InputError(f"no sample {letter!r}; there are {', '.join(SAMPLES)}")
    return SAMPLES[letter]


def _read_label(survey: xr.Dataset, letter: str, name: str) -> np.ndarray:
    """Return a label in which a sample is cut: (star,)."""
    have: list[str] = []
    if "label" in survey.coords and "label_value" in survey:
        have = list(map(str, survey["label"].values))
    if name not in have:
        raise InputError(
            f"survey: no label {name!r}, in which sample {letter} is cut; it has "
            f"{', '.join(have) or 'no labels'}"
        )
    return survey["label_value"].isel(label=have.index(name)).values


def _read_variable(survey: xr.Dataset, letter: str, name: str) -> np.ndarray:
    """Return a variable in which a sample is cut: (star,)."""
    if name not in survey or survey[name].dims != (STAR,):
        raise InputError(
            f"survey: no variable {name!r} (star,), in which sample {letter} is cut; add it with "
            f".assign({name}=('star', ...))"
        )
    return survey[name].values
