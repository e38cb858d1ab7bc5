"""A catalogue on one page of HTML, to attach to a data release.

Imports plot, info and what they stand on.

It shows counts of stars, agreement with trusted labels, errors, fits and provenance.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

from luxscale import store
from luxscale.errors import InputError
from luxscale.progress import Progress
from luxscale.report.page import make_page
from luxscale.report.sources import open_inputs
from luxscale.schema.selection import Selection
from luxscale.store import damage

__all__ = ["Report", "write_report"]

#: What a report has in its first lines.
_MARK = b": catalogue report</title>"


@dataclasses.dataclass(frozen=True)
class Report:
    """What was written.

    Parameters
    ----------
    path : str
    bytes : int
        Size of the page.
    stars : int
        Of the catalogue.
    compared : int, optional
        Stars compared with trusted labels, where there are any.
    """

    path: str
    bytes: int
    stars: int
    compared: int | None = None


def write_report(
    catalog: str | Path,
    out: str | Path,
    *,
    truth: str | Path | None = None,
    condition: str | None = None,
    stars: str | slice | None = None,
    survey: str | Path | None = None,
    model: str | Path | None = None,
    log: str | Path | None = None,
    overwrite: bool = False,
    progress: bool = True,
) -> Report:
    """Write what there is to know of a catalogue as one self-contained HTML file.

    It needs no other file and no network.

    Parameters
    ----------
    catalog : str or Path
        As `luxscale.label_survey` writes it; it may be unfinished.
    out : str or Path
        ``NAME.html``.
    truth : str or Path, optional
        Survey with trusted labels, for agreement and the calibration of errors.
    condition : str, optional
        What stars that are compared with trusted labels satisfy, as of `luxscale.select`. It names
        what the catalogue has, or else ``truth``.
    stars : str or slice, optional
        Which of these are compared, as of `luxscale.select`: ``"untrained"``, those that the model
        was not trained on; a slice takes them by position. All by default.
    survey, model : str or Path, optional
        What the catalogue was made of, for goodness of fit by wavelength and spectra of the worst
        stars (both), errors against S/N (the survey's ``snr``), and how the model came about. By
        default what the log names, if it is still there and the same: where it has changed it is
        left out, and the page says so.
    log : str or Path, optional
        Log of the runs; by default the one beside a local catalogue, if there is one.
    overwrite : bool
        Whether to replace an earlier report.
    progress : bool
        Whether to show progress on standard error.

    Returns
    -------
    Report

    Raises
    ------
    InputError
        If no star is done, ``out`` is taken, or what is given does not belong to the catalogue: a
        survey whose data changed since is refused as `luxscale.label_survey` does, by size and end
        of the chunks that labels are of.

    Notes
    -----
    Counts, tables of agreement, the distribution of chi2 and the worst stars are of all stars;
    other figures are of at most 50,000 drawn at random, the same every time; goodness of fit is of
    whole chunks spread over the survey. The page says so. It holds names of files and none of the
    folders that they lie in. The same input gives the same bytes. It appears under its name at
    once, when it is complete.
    """
    target = _check_target(out, overwrite)
    selection = Selection.read(condition, stars)
    with (
        damage.locate_damage(catalog),
        Progress("report", 100, unit="%", enabled=progress) as steps,
    ):
        inputs = open_inputs(catalog, truth=truth, survey=survey, model=model, log=log)
        page, compared = make_page(inputs, selection, steps)
    with store.write_then_move(target) as made:
        made.write_bytes(page.encode())
    return Report(
        path=str(out),
        bytes=len(page.encode()),
        stars=inputs.catalog.sizes["star"],
        compared=compared,
    )


def _check_target(out: str | Path, overwrite: bool) -> Path:
    """Refuse a path that is no local HTML file, cannot be written, or is taken."""
    target = store.require_local(out, "report")
    if target.suffix not in (".html", ".htm"):
        raise InputError(f"{out}: a report is a page of HTML; name it .html")
    return store.claim_file(out, "report", _is_report, overwrite=overwrite)


def _is_report(path: Path) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as page:
        return _MARK in page.read(4096)
