"""Synthetic surveys of red giants, of any size, for tests, examples and benchmarks.

Labels follow real giants and Galactic abundance trends; spectra come from a neural emulator that
ships, in a reduced form, with the package. A star depends on the seed and its number only: surveys
of different size or chunking agree star by star, bit for bit on one machine.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
import zarr

from luxscale.examples.drawing import (
    REPORTED,
    UNITS,
    Settings,
    draw_blocks,
    is_count,
    regroup,
    require,
)
from luxscale.examples.giants import load_emulator
from luxscale.prepare.rounding import ROUNDING, describe_rounding
from luxscale.store import (
    SURVEY_FORMAT,
    claim_place,
    explain_writing,
    locate,
    make_codecs,
    moves,
    objects,
    open_group,
    replace_store,
)

__all__ = ["simulate", "simulate_survey"]

TITLE = "Simulated survey of red giants"
# what is drawn for a star: dims, dtype, meaning
FIELDS: dict[str, tuple[tuple[str, ...], Any, str]] = {
    "star": (("star",), str, "seed and number of the star"),
    "flux": (("star", "wavelength"), "f4", "continuum-normalised flux"),
    "flux_ivar": (
        ("star", "wavelength"),
        "f4",
        "inverse variance of flux, 0 where the pixel is bad",
    ),
    "label_value": (("star", "label"), "f8", "measured label, NaN where missing"),
    "label_err": (("star", "label"), "f8", "standard deviation of label_value"),
    "label_true": (("star", "label"), "f8", "label from which the spectrum was made"),
    "snr": (("star",), "f4", "signal-to-noise ratio of a pixel in the continuum"),
    "object": (("star",), str, "star that was visited, where each has several visits"),
}


def simulate(
    n_stars: int,
    *,
    snr: tuple[float, float] = (30.0, 200.0),
    n_pixels: int | None = None,
    missing_labels: float = 0.1,
    bad_pixels: float = 0.03,
    seed: int = 0,
    rounding: float | None = None,
    visits: int = 1,
) -> xr.Dataset:
    """
    Simulate a survey of red giants in memory.

    Parameters
    ----------
    n_stars : int
        Number of stars. A smaller survey is the beginning of a larger one.
    snr : pair of float
        Lowest and highest signal-to-noise ratio of a continuum pixel; uniform in between.
    n_pixels : int, optional
        Number of equal pixels across 4000-8288 Angstrom; the emulator's 4,288 of 1 Angstrom by
        default. Fewer are averages, more are interpolated.
    missing_labels : float
        Fraction of label values that are missing.
    bad_pixels : float
        Fraction of pixels that are bad, in runs of at least four.
    seed : int
        Seed of everything random, 0 or more.
    rounding : float, optional
        Flux is rounded to within this fraction of its error and ivar to 1%, see
        `luxscale.prepare.round_spectra`; neither by default.
    visits : int
        Visits of each star, with noise, S/N and measured labels of their own. Of more than one each
        is a row, and ``object`` (star,) names the star.

    Returns
    -------
    Dataset
        A survey (``flux``, ``flux_ivar``, ``label_value``, ``label_err``) of twelve labels: teff
        [K], logg [dex(cm s-2)], m_h and the [X/M] of C, N, O, Mg, Al, Si, Ca, Mn and Ni [dex].
        Wavelengths are in air, in Angstrom. Further: ``label_true`` (star, label), the labels
        behind the spectrum, and ``snr``.

    Raises
    ------
    InputError
        If an argument is out of its range.

    Notes
    -----
    (teff, logg, m_h, alpha) are those of real APOGEE giants with a small jitter. The alpha elements
    follow alpha; C falls and N rises from dredge-up, the more so for massive and luminous stars; Al
    and Mn follow metallicity. Ten further elements vary in the spectra but are not reported, as in
    a real survey.

    Noise is Gaussian with sigma = sqrt(flux) / snr. Label errors are 20 K, 0.05, 0.02 and 0.04 dex.

    Examples
    --------
    >>> from luxscale.examples.simulate import simulate
    >>> simulate(10, n_pixels=200)["flux"].shape
    (10, 200)
    """
    settings = Settings(
        n_stars=n_stars,
        snr=snr,
        n_pixels=n_pixels,
        missing_labels=missing_labels,
        bad_pixels=bad_pixels,
        seed=seed,
        rounding=rounding,
        visits=visits,
    )
    (stars,) = regroup(draw_blocks(settings), settings.n_rows, settings.n_rows)
    variables = {}
    for name, values in stars.items():
        dims, _, meaning = FIELDS[name]
        noted = {"long_name": meaning, **note_rounding(name, settings)}
        variables[name] = (dims, values, noted)
    return make_frame(settings).assign(variables)


def simulate_survey(
    path: str | Path,
    n_stars: int,
    *,
    snr: tuple[float, float] = (30.0, 200.0),
    n_pixels: int | None = None,
    missing_labels: float = 0.1,
    bad_pixels: float = 0.03,
    seed: int = 0,
    rounding: float | None = None,
    visits: int = 1,
    chunk: int = 1024,
    overwrite: bool = False,
    progress: Callable[[int, int], object] | None = None,
) -> None:
    """
    Simulate a survey of red giants of any size, straight to Zarr.

    Writes the stars of `simulate`, chunk by chunk: memory is that of a few chunks whatever
    `n_stars`. The store appears at `path` when it is complete; until then it grows beside it, in a
    hidden directory that is removed where the run is interrupted or the disk is full. In object
    storage it grows at `path`, with ``zarr.json.partial`` for its root metadata, which an
    interrupted run leaves behind and the next replaces.

    Parameters
    ----------
    path : str or Path
        Zarr directory or URL to write, in format 3.
    n_stars, snr, n_pixels, missing_labels, bad_pixels, seed, rounding, visits
        As in `simulate`.
    chunk : int
        Stars in a chunk. The stars do not depend on it.
    overwrite : bool
        Whether to replace a survey that is there.
    progress : callable, optional
        Called as ``progress(done, n_rows)`` after each chunk; there is a row for each visit.

    Raises
    ------
    InputError
        If something is at `path` and `overwrite` is false, or it is no survey that luxscale wrote,
        or an argument is out of its range.

    Examples
    --------
    >>> import luxscale as lux
    >>> from luxscale.examples.simulate import simulate_survey
    >>> simulate_survey("simulated.zarr", 20, n_pixels=50, chunk=10)
    >>> lux.open_survey("simulated.zarr").sizes["star"]
    20
    """
    settings = Settings(
        n_stars=n_stars,
        snr=snr,
        n_pixels=n_pixels,
        missing_labels=missing_labels,
        bad_pixels=bad_pixels,
        seed=seed,
        rounding=rounding,
        visits=visits,
    )
    require(is_count(chunk), f"chunk is {chunk!r}: give the number of stars in a chunk, 1 or more")
    if objects.is_url(path):
        url = str(path)
        if not moves.is_held_back(url):
            claim_place(url, SURVEY_FORMAT, overwrite=overwrite)
        arrays = create_store(url, settings, min(chunk, settings.n_rows))
        moves.hold_back(url)
        write_stars(arrays, settings, chunk, progress)
        moves.release(url)
    else:
        claim_place(path, SURVEY_FORMAT, overwrite=overwrite)
        with explain_writing(path), replace_store(path) as made:
            arrays = create_store(str(made), settings, min(chunk, settings.n_rows))
            write_stars(arrays, settings, chunk, progress)


def note_rounding(name: str, settings: Settings) -> dict[str, str]:
    """Return the attribute that says to what a variable was rounded; empty if it was not."""
    if settings.rounding is None or name not in ("flux", "flux_ivar"):
        return {}
    of_flux, of_ivar = describe_rounding(settings.rounding)
    return {ROUNDING: of_flux if name == "flux" else of_ivar}


def make_frame(settings: Settings) -> xr.Dataset:
    """Return the survey without its stars: coordinates, units and provenance."""
    units = [UNITS.get(name, "dex") for name in REPORTED]
    wavelength = load_emulator(settings.n_pixels)["wavelength_angstrom"]
    return xr.Dataset(
        coords={
            "wavelength": ("wavelength", wavelength.copy(), {"units": "Angstrom", "medium": "air"}),
            "label": ("label", np.array(REPORTED, object)),
            "label_units": ("label", np.array(units, object)),
        },
        attrs={
            "title": TITLE,
            "format": SURVEY_FORMAT,
            "source": (
                "luxscale.examples.simulate; spectra from the emulator boss22 (bossbrain 1.0.12), "
                "reduced"
            ),
            "seed": int(settings.seed),
            "snr": [float(value) for value in settings.snr],
            "missing_labels": float(settings.missing_labels),
            "bad_pixels": float(settings.bad_pixels),
            **({"visits": int(settings.visits)} if settings.visits > 1 else {}),
        },
    )


def create_store(path: str, settings: Settings, chunk: int) -> dict[str, zarr.Array]:
    """Make a Zarr store at `path`, with the coordinates and an empty array for each of FIELDS."""
    static = make_frame(settings)
    static.to_zarr(locate(path), mode="w", consolidated=False, zarr_format=3)
    sizes = {**static.sizes, "star": settings.n_rows}
    chunks = {**static.sizes, "star": chunk}
    group = open_group(path, "r+")
    arrays = {}
    for name, (dims, dtype, meaning) in FIELDS.items():
        if name == "object" and settings.visits == 1:
            continue
        compressors: Any = "auto"
        if "wavelength" in dims:
            compressors = make_codecs(np.dtype(dtype))
        arrays[name] = group.create_array(
            name,
            shape=[sizes[dim] for dim in dims],
            chunks=tuple(chunks[dim] for dim in dims),
            dtype=dtype,
            compressors=compressors,
            dimension_names=dims,
            attributes={"long_name": meaning, **note_rounding(name, settings)},
        )
    return arrays


def write_stars(
    arrays: dict[str, zarr.Array],
    settings: Settings,
    chunk: int,
    progress: Callable[[int, int], object] | None,
) -> None:
    """Draw all stars and write them, a chunk at a time."""
    done = 0
    for stars in regroup(draw_blocks(settings), settings.n_rows, chunk):
        stop = done + len(stars["star"])
        for name, values in stars.items():
            arrays[name][done:stop] = values
        done = stop
        if progress is not None:
            progress(done, settings.n_rows)
