"""Survey files in, a survey out: every file is read once, in parallel, and accounted for.

Imports runs, labels, prepare and what they stand on.
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from luxscale import store
from luxscale.errors import InputError
from luxscale.ingest import ledger
from luxscale.ingest.files import find_files
from luxscale.ingest.labels import describe_unjoined
from luxscale.ingest.plan import Plan
from luxscale.ingest.run import FileSurvey, Filled
from luxscale.ingest.settings import Settings, make_plan
from luxscale.labels import LabelTable
from luxscale.progress import Progress
from luxscale.runs.log import RunLog
from luxscale.runs.target import complete, open_target

__all__ = ["Summary", "find_files", "ingest", "make_grid"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Summary:
    """How an ingest ended.

    Parameters
    ----------
    survey : str
    n_stars, n_new : int
        Stars of the survey, and those that were added now.
    n_files, n_spectra : int
        Files and spectra that were read now.
    n_labelled : int, optional
        Stars with any label, where labels were joined.
    quarantined : list of (path, star, reason)
        Files, and stars of files (``star`` is "" for a whole file), that could not be used.
    masked : dict of str to int
        Pixels that were masked now, by reason.
    notes : dict of str to int
        Spectra that were read now otherwise than they stand in their files, by how.
    n_pixels : int
        Pixels of the stars that were added.
    seconds : float
    """

    survey: str
    n_stars: int
    n_new: int
    n_files: int
    n_spectra: int
    n_labelled: int | None
    quarantined: list[tuple[str, str, str]]
    masked: dict[str, int]
    notes: dict[str, int]
    n_pixels: int
    seconds: float


def ingest(
    format: str,  # noqa: A002
    files: Iterable[str | Path],
    survey: str | Path,
    *,
    labels: LabelTable | None = None,
    grid: np.ndarray | None = None,
    options: Mapping[str, str] | None = None,
    recipe: Mapping[str, Any] | None = None,
    chunk: int = store.CHUNK,
    retry: bool = False,
    client: Any = None,
    log: str | Path | None = None,
    progress: bool = True,
) -> Summary:
    """Read survey files into a survey; called again, it resumes, and adds files that are new.

    Parameters
    ----------
    format : str
        Name of the files' format; ``luxscale formats`` lists them.
    files : iterable of str or Path
        As `find_files` gives them.
    survey : str or Path
        Zarr store to write, or to add to.
    labels : LabelTable, optional
        Labels of stars, as `luxscale.labels.read_labels` gives them; joined to all stars of the
        survey.
    grid : array, (wavelength,), optional
        Pixel centres of the survey, in the unit of the format; the format's own, or that of the
        first file, if not given.
    options : mapping, optional
        Options of the format.
    recipe : mapping, optional
        What `luxscale.prepare.Recipe` is to have other than the format's usual.
    chunk : int
        Stars per chunk.
    retry : bool
        Whether files that could not be used before are tried again.
    client : distributed.Client, optional
        Cluster to run on; without one, files are read one after another in this process.
    log : str or Path, optional
        File to append the log of the run to, one JSON object per line.
    progress : bool
        Whether to show progress on standard error.

    Returns
    -------
    Summary

    Raises
    ------
    InputError
        Before any file is read, if an argument is wrong, the path holds something else or files
        read with other settings, or another run is under way into it; and if not one file could be
        used.
    RunError
        If batches of files could not be read, or the survey not be written; what was done is kept.

    Notes
    -----
    A file that cannot be used is put down with the reason, in ``Summary.quarantined`` and in the
    survey's group ``ingest``, and stops nothing. A star that is in several files is kept once, with
    its highest S/N; one that the survey has already stays as it is. A file counts as known by its
    path.
    """
    target = make_target(
        format,
        files,
        survey,
        labels=labels,
        grid=grid,
        options=options,
        recipe=recipe,
        chunk=chunk,
        retry=retry,
    )
    with RunLog(log) as run_log, open_target(target, progress=progress) as opened:
        filled = complete(opened, client=client, log=run_log, progress=progress)
    warn_unjoined(target, filled)
    return summarise(target.plan, filled)


def warn_unjoined(target: FileSurvey, filled: Filled) -> None:
    """Say on standard error if a catalogue of labels has none of the survey's stars."""
    if target.labels is not None and filled.n_labelled == 0:
        Progress("labels").say(describe_unjoined(target.path, target.labels))


def make_target(
    format: str,  # noqa: A002
    files: Iterable[str | Path],
    survey: str | Path,
    *,
    labels: LabelTable | None = None,
    grid: np.ndarray | None = None,
    options: Mapping[str, str] | None = None,
    recipe: Mapping[str, Any] | None = None,
    chunk: int = store.CHUNK,
    retry: bool = False,
) -> FileSurvey:
    """Check what is asked of an ingest, and return the survey that its run is to fill.

    Nothing is written. The parameters are those of `ingest`.

    Raises
    ------
    InputError
        If one of them is wrong.
    """
    path = store.make_absolute(survey)
    paths = [str(Path(f).absolute()) for f in files]
    if grid is None and ledger.read_binding_identity(path) is not None:
        grid = ledger.read_grid(path)
    settings = Settings(format=format, options=options or {}, recipe=recipe or {}, grid=grid)
    plan, pixels = make_plan(path, paths, settings, chunk)
    return FileSurvey(plan=plan, wavelength=pixels, files=paths, labels=labels, retry=retry)


def summarise(plan: Plan, filled: Filled) -> Summary:
    """Return how an ingest ended, with its sessions put together."""
    masked: collections.Counter[str] = collections.Counter()
    notes: collections.Counter[str] = collections.Counter()
    for result in filled.results:
        masked.update(result.masked)
        notes.update(result.notes)
    n_new = sum(r.stars for r in filled.results)
    return Summary(
        survey=plan.survey,
        n_stars=filled.n_stars,
        n_new=n_new,
        n_files=sum(r.files for r in filled.results),
        n_spectra=sum(r.spectra for r in filled.results),
        n_labelled=filled.n_labelled,
        quarantined=[q for r in filled.results for q in r.quarantined],
        masked=dict(masked.most_common()),
        notes=dict(notes),
        n_pixels=n_new * ledger.get_grid(plan).size,
        seconds=filled.seconds,
    )


def make_grid(least: float, greatest: float, step: float, *, log: bool = False) -> np.ndarray:
    """Return pixel centres in equal steps of wavelength or of its log10.

    Parameters
    ----------
    least, greatest : float
        First pixel centre, and the greatest that the last may have.
    step : float
        In the unit of the wavelengths, or of log10.
    log : bool
        Whether steps are of log10.

    Returns
    -------
    array, (wavelength,)

    Raises
    ------
    InputError
        If a number is not positive, or there would be fewer than 2 or more than a million pixels.

    Examples
    --------
    >>> from luxscale.ingest import make_grid
    >>> make_grid(15100.0, 15102.0, 1.0)
    array([15100., 15101., 15102.])
    """
    asked = f"grid {least:g}:{greatest:g}:{step:g}"
    if not (0 < least < greatest and step > 0):
        raise InputError(f"{asked}: write least:greatest:step, all above 0")
    first, last = least, greatest
    if log:
        first, last = np.log10([least, greatest])
    n_steps = np.floor((last - first) / step + 1e-6)  # a last step short by rounding counts
    count = int(n_steps) + 1
    if not 2 <= count <= 1_000_000:
        raise InputError(f"{asked} has {count} pixels; choose another step")
    grid = first + step * np.arange(float(count))
    return 10**grid if log else grid
