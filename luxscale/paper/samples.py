"""The samples A to H of the paper (section 2.2), as selections from any survey that has what they are cut in."""

from __future__ import annotations

import dataclasses

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


@dataclasses.dataclass(frozen=True)
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


# ranges of teff and logg, and of snr
_GIANTS, _ALL, _BOTH = (
    ((3500.0, 5500.0), (0.0, 3.5)),
    ((3000.0, 6500.0), (0.0, 6.0)),
    ((3800.0, 6000.0), (0.0, 3.5)),
)
_HIGH, _LOW, _MEDIUM = (100.0, np.inf), (30.0, 60.0), (50.0, np.inf)

#: The samples by letter.
SAMPLES = {
    "A": Sample("high-SNR field RGB-train", 5000, *_GIANTS, _HIGH),
    "B": Sample("high-SNR field RGB-test", 10_000, *_GIANTS, _HIGH, after="A"),
    "C": Sample("low-SNR field RGB-test", 5000, *_GIANTS, _LOW),
    "D": Sample("high-SNR OC RGB-test", 790, *_GIANTS, _HIGH, clusters=CLUSTERS),
    "E": Sample("high-SNR field all-train", 4000, *_ALL, _HIGH),
    "F": Sample("high-SNR field all-test", 1000, *_ALL, _HIGH, after="E"),
    "G": Sample("GALAH-APOGEE field giants-train", 4000, *_BOTH, _MEDIUM, galah=True),
    "H": Sample("GALAH-APOGEE field giants-test", 1000, *_BOTH, _MEDIUM, galah=True, after="G"),
}


def count_stars(letter: str, fraction: float = 1.0) -> int:
    """Return how many stars a sample has: the paper's number times ``fraction``, 50 at least."""
    return max(LEAST, round(fraction * _sample(letter).stars))


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
    sample = _sample(letter)
    rows = np.flatnonzero(find_passing(survey, letter))
    first = count_stars(sample.after, fraction) if sample.after else 0
    last = first + count_stars(letter, fraction)
    if rows.size < last:
        taken = f" beside the {first:,} of sample {sample.after}" if first else ""
        raise InputError(
            f"sample {letter} ({sample.name}) needs {last - first:,} stars{taken}, but "
            f"{rows.size:,} of "
            f"{survey.sizes[STAR]:,} pass its cuts; give a larger survey, or a smaller "
            f"fraction than {fraction:g}"
        )
    drawn = np.random.default_rng(seed).permutation(rows)[first:last]
    return survey.isel({STAR: np.sort(drawn)})


def find_largest_fraction(survey: xr.Dataset, letter: str) -> float:
    """Return the largest fraction of a sample, and of the one that is drawn before it, that a survey has stars for."""
    sample = _sample(letter)
    paper = sample.stars + (SAMPLES[sample.after].stars if sample.after else 0)
    return int(find_passing(survey, letter).sum()) / (paper + 1)  # both are rounded


def find_passing(survey: xr.Dataset, letter: str) -> np.ndarray:
    """Return which stars pass the cuts of a sample: (star,) bool; a star without a known label does not.

    Raises
    ------
    InputError
        If there is no such sample, or the survey lacks a label or variable.
    """
    sample = _sample(letter)
    inside = [
        _within(_label(survey, letter, name), getattr(sample, name)) for name in ("teff", "logg")
    ]
    good = np.all([*inside, _within(_column(survey, letter, "snr"), sample.snr)], axis=0)
    if sample.galah:
        good &= _column(survey, letter, "galah").astype(bool)
    if sample.clusters or "cluster" in survey:
        cluster = _column(survey, letter, "cluster").astype(str)
        good &= np.isin(cluster, sample.clusters or ("",))
    return good


def _within(values: np.ndarray, bounds: tuple[float, float]) -> np.ndarray:
    return (values > bounds[0]) & (values < bounds[1])


def _sample(letter: str) -> Sample:
    if letter not in SAMPLES:
        raise InputError(f"no sample {letter!r}; there are {', '.join(SAMPLES)}")
    return SAMPLES[letter]


def _label(survey: xr.Dataset, letter: str, name: str) -> np.ndarray:
    have = (
        list(map(str, survey["label"].values))
        if "label" in survey.coords and "label_value" in survey
        else []
    )
    if name not in have:
        raise InputError(
            f"survey: no label {name!r}, in which sample {letter} is cut; it has "
            f"{', '.join(have) or 'no labels'}"
        )
    return survey["label_value"].isel(label=have.index(name)).values


def _column(survey: xr.Dataset, letter: str, name: str) -> np.ndarray:
    if name not in survey or survey[name].dims != (STAR,):
        raise InputError(
            f"survey: no variable {name!r} (star,), in which sample {letter} is cut; add it with "
            f".assign({name}=('star', ...))"
        )
    return survey[name].values
