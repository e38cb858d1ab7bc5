"""Draws the stars of a simulated survey, block by block: labels, spectra, errors, gaps."""

from collections.abc import Iterator
from dataclasses import dataclass
from numbers import Integral

import numpy as np

from luxscale.errors import InputError
from luxscale.examples.giants import LABELS, draw_labels, load_emulator, render
from luxscale.prepare.rounding import check_rounding, round_spectra

BLOCK = 256  # stars that share one random generator; part of what a seed means
BAD_RUN = 4  # pixels lost together, as to a cosmic ray or a sky line
MIN_FLUX = 0.05  # the noise of a saturated line does not vanish

UNITS = {"teff": "K", "logg": "dex(cm s-2)"}  # the others are in dex
LABEL_ERRORS = {"teff": 20.0, "logg": 0.05, "m_h": 0.02}  # about those of ASPCAP
ABUNDANCE_ERROR = 0.04
REPORTED = (
    "teff",
    "logg",
    "m_h",
    "c_m",
    "n_m",
    "o_m",
    "mg_m",
    "al_m",
    "si_m",
    "ca_m",
    "mn_m",
    "ni_m",
)


def require(condition: bool, message: str) -> None:
    """Raise InputError with `message` unless `condition`."""
    if not condition:
        raise InputError(message)


def is_count(value: object, least: int = 1) -> bool:
    """Return whether `value` is an integer of at least `least`."""
    if not isinstance(value, Integral):
        return False
    return int(value) >= least


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What is simulated; the arguments of `simulate`, checked."""

    n_stars: int
    snr: tuple[float, float]
    n_pixels: int | None
    missing_labels: float
    bad_pixels: float
    seed: int
    rounding: float | None = None
    visits: int = 1

    @property
    def n_rows(self) -> int:
        """Number of spectra: one for each visit of each star."""
        return self.n_stars * self.visits

    def __post_init__(self) -> None:
        require(
            is_count(self.n_stars), f"n_stars is {self.n_stars!r}: give a whole number, 1 or more"
        )
        require(is_count(self.seed, 0), f"seed is {self.seed!r}: give a whole number, 0 or more")
        require(is_count(self.visits), f"visits is {self.visits!r}: give a whole number, 1 or more")
        require(
            self.n_pixels is None or is_count(self.n_pixels),
            f"n_pixels is {self.n_pixels!r}: give a whole number, 1 or more, or None for the "
            "emulator's own",
        )
        require(
            np.shape(self.snr) == (2,) and 0 < self.snr[0] <= self.snr[1] < np.inf,
            f"snr is {self.snr!r}: give the lowest and the highest, with 0 < lowest <= highest",
        )
        for name in ("missing_labels", "bad_pixels"):
            value = getattr(self, name)
            require(0 <= value < 1, f"{name} is {value!r}: give a fraction, 0 or more and below 1")
        check_rounding(self.rounding)


def draw_measured(
    true: np.ndarray, missing: float, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """Return label values and errors (star, label) as a catalogue would give them."""
    sigma = np.array([LABEL_ERRORS.get(name, ABUNDANCE_ERROR) for name in REPORTED])
    is_missing = rng.random(true.shape) < missing
    gaps = np.where(is_missing, np.nan, 1.0)
    noise = rng.normal(size=true.shape)
    value = true + sigma * noise
    return {
        "label_value": value * gaps,
        "label_err": sigma * gaps,
        "label_true": true,
    }


def draw_bad(shape: tuple[int, int], fraction: float, rng: np.random.Generator) -> np.ndarray:
    """Return which pixels (star, wavelength) are bad, `fraction` of them.

    They are in runs of BAD_RUN that may overlap.
    """
    n_stars, n_pixels = shape
    # a pixel is good if none of the runs that would cover it starts
    start_rate = 1 - (1 - fraction) ** (1 / BAD_RUN)
    drawn = rng.random((n_stars, n_pixels + BAD_RUN - 1), dtype="f4")
    starts = drawn < start_rate
    covers = [starts[:, i : i + n_pixels] for i in range(BAD_RUN)]
    return np.any(np.stack(covers), axis=0)


def draw_spectra(
    flux: np.ndarray, snr: np.ndarray, bad: float, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """Return noisy flux and its inverse variance (star, wavelength) around a noiseless `flux`."""
    signal = np.maximum(flux, np.float32(MIN_FLUX))
    variance = signal / snr[:, None] ** 2
    noise = rng.standard_normal(flux.shape, dtype="f4")
    noisy = flux + noise * np.sqrt(variance)
    good = ~draw_bad(flux.shape, bad, rng)
    return {"flux": noisy * good, "flux_ivar": good / variance}


def draw_blocks(settings: Settings) -> Iterator[dict[str, np.ndarray]]:
    """Yield blocks of BLOCK stars, in order, with a row for each visit.

    The last one is whole too, so that its stars do not depend on n_stars.
    """
    emulator = load_emulator(settings.n_pixels)
    columns = [LABELS.index(name) for name in REPORTED]
    n_blocks = -(-settings.n_stars // BLOCK)
    for block in range(n_blocks):
        seeds = np.random.SeedSequence([settings.seed, block])
        # the order of draws is part of what a seed means
        rng = np.random.default_rng(seeds)
        labels = draw_labels(BLOCK, emulator["sample"], rng)
        labels = np.repeat(labels, settings.visits, axis=0)
        snr = rng.uniform(*settings.snr, len(labels)).astype("f4")
        measured = draw_measured(labels[:, columns], settings.missing_labels, rng)
        noiseless = render(labels, emulator)
        spectra = draw_spectra(noiseless, snr, settings.bad_pixels, rng)
        if settings.rounding is not None:
            flux, ivar = round_spectra(spectra["flux"], spectra["flux_ivar"], settings.rounding)
            spectra = {"flux": flux, "flux_ivar": ivar}
        yield {**_name_rows(block, settings), "snr": snr, **measured, **spectra}


def _name_rows(block: int, settings: Settings) -> dict[str, np.ndarray]:
    """Return the identifiers of a block's rows, and where stars have several the star of each."""
    first = block * BLOCK
    stars = [f"sim-{settings.seed}-{i:08d}" for i in range(first, first + BLOCK)]
    if settings.visits == 1:
        return {"star": np.array(stars, object)}
    rows = [f"{star}-{visit}" for star in stars for visit in range(settings.visits)]
    objects = np.repeat(np.array(stars, object), settings.visits)
    return {"star": np.array(rows, object), "object": objects}


def regroup(
    blocks: Iterator[dict[str, np.ndarray]], n_rows: int, size: int
) -> Iterator[dict[str, np.ndarray]]:
    """Yield the first `n_rows` rows of `blocks`, in groups of `size`; the last may be smaller."""
    parts: list[dict[str, np.ndarray]] = []
    n_drawn = 0
    for done in range(0, n_rows, size):
        wanted = min(size, n_rows - done)
        while n_drawn < wanted:
            parts.append(next(blocks))
            n_drawn += len(parts[-1]["star"])
        joined = {}
        for name in parts[0]:
            joined[name] = np.concatenate([part[name] for part in parts])
        yield {name: values[:wanted] for name, values in joined.items()}
        left = {name: values[wanted:] for name, values in joined.items()}
        parts = [left]
        n_drawn -= wanted
