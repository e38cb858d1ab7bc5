"""A few stars from survey files, in memory: prepared as an ingest would."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr

from luxscale import store
from luxscale.errors import InputError
from luxscale.ingest.describe import describe_grid, describe_spectra, describe_survey
from luxscale.ingest.example import choose_settings, take_example
from luxscale.ingest.files import find_files, find_first
from luxscale.ingest.gather import Gathered, prepare_block, read_blocks
from luxscale.ingest.layout import SOURCE, Layout, arrange_stars
from luxscale.ingest.paths import describe_place, make_storable, restore_path
from luxscale.ingest.plan import Plan
from luxscale.ingest.settings import Settings, make_plan
from luxscale.model.file import FORMAT
from luxscale.progress import Progress
from luxscale.readers import get_format
from luxscale.schema.stars import StarIndex
from luxscale.schema.variables import STAR

if TYPE_CHECKING:
    from luxscale.model.lux import LuxModel

#: Files that are read into memory, at most.
MOST_FILES = 1000

#: Files beyond which progress is shown: these take a few seconds.
_PROMPT = 100


@dataclasses.dataclass(frozen=True, kw_only=True)
class FewStars:
    """What a few files hold.

    Parameters
    ----------
    survey : Dataset, optional
        None if no star could be used.
    refused : list of (path, star, reason)
        Files, and stars of files (``star`` is "" for a whole file), that could not be used.
    notes : tuple of str
        Lines about stars that were read otherwise than they stand in their files.
    is_prepared_as_known : bool
        Whether the example that was given says how its spectra were prepared.
    format : str
    """

    survey: xr.Dataset | None
    refused: list[tuple[str, str, str]]
    notes: tuple[str, ...]
    is_prepared_as_known: bool
    format: str

    def list_lost(self) -> list[tuple[str, str, str]]:
        """Return what was refused of files that gave no star."""
        used: set[str] = set()
        if self.survey is not None:
            used = {restore_path(path) for path in self.survey[SOURCE].values}
        return [row for row in self.refused if row[0] not in used]


def read(
    paths: str | Path | Iterable[str | Path],
    format: str | None = None,  # noqa: A002
    *,
    like: LuxModel | xr.Dataset | str | Path | None = None,
    options: Mapping[str, str] | None = None,
    recipe: Mapping[str, Any] | None = None,
    grid: np.ndarray | None = None,
) -> xr.Dataset:
    """Read a star, or a few, from survey files into memory, prepared as ``luxscale ingest`` would.

    Parameters
    ----------
    paths : str, Path or iterable of them
        Files, patterns or directories; of at most 1,000 files. For more there is
        `luxscale.ingest.ingest`.
    format : str, optional
        Of the files; recognised by what the first one holds if not given. ``luxscale formats``
        lists them.
    like : LuxModel, Dataset, str or Path, optional
        Model or survey whose spectra these are to be like: on the same grid, and prepared the same
        way, if they were read from files. Without it, all is as is usual for the format.
    options : mapping, optional
        Options of the format.
    recipe : mapping, optional
        What `luxscale.prepare.Recipe` is to have otherwise.
    grid : array, (wavelength,), optional
        Pixel centres, in the unit of the format.

    Returns
    -------
    Dataset
        A survey in memory, on (star, wavelength), in the order of the files.

    Raises
    ------
    InputError
        If no format is recognised, or a file cannot be used; says why. Stars of a file that has
        others are left out, which is said on standard error.

    Examples
    --------
    >>> import luxscale as lux
    >>> star = lux.read("star.npz", like=model)
    >>> lux.infer(star, model).label_value.sel(label="teff").dims
    ('star',)
    """
    few = read_few(paths, format, like=like, options=options, recipe=recipe, grid=grid)
    lost = few.list_lost()
    if lost:
        raise InputError(_describe_lost(lost))
    survey = require_stars(few)
    said = Progress("lux.read")
    for note in few.notes:
        said.say(note)
    for row in few.refused:
        said.say(f"left out: {format_refused(row)}")
    return survey


def require_stars(few: FewStars) -> xr.Dataset:
    """Return the stars that could be used.

    Raises
    ------
    InputError
        If there is none; says why.
    """
    if few.survey is None:
        raise InputError(_describe_lost(few.refused))
    return few.survey


def format_refused(row: tuple[str, str, str]) -> str:
    """Return a line about a file, or a star of one, that could not be used."""
    path, star, reason = row
    return f"{describe_place(path, star)}: {reason}"


def _describe_lost(lost: Sequence[tuple[str, str, str]]) -> str:
    line = format_refused(lost[0])
    if len(lost) == 1:
        return line
    return f"{line}; and {len(lost) - 1} more cannot be used: leave them out"


def read_few(
    paths: str | Path | Iterable[str | Path],
    format: str | None = None,  # noqa: A002
    *,
    like: LuxModel | xr.Dataset | str | Path | None = None,
    options: Mapping[str, str] | None = None,
    recipe: Mapping[str, Any] | None = None,
    grid: np.ndarray | None = None,
) -> FewStars:
    """Read what can be used of a few files, and say what cannot; see `read`.

    Raises
    ------
    InputError
        If no format is recognised, an argument is wrong, or there are too many files.
    """
    named = list(_iterate_paths(paths))
    example = None if like is None else take_example(like)
    first = "" if format else find_first(named[0])
    found = choose_settings(first, format, example, options)
    settings = Settings(
        format=found.format,
        options=found.options,
        recipe={**found.recipe, **(recipe or {})},
        grid=found.grid if grid is None else grid,
    )
    fmt = get_format(settings.format)
    files = list(dict.fromkeys(file for path in named for file in find_files([path], fmt)))
    if len(files) > MOST_FILES:
        raise InputError(
            f"{len(files):,} files; at most {MOST_FILES:,} are read into memory. Make a survey of "
            f"them: `luxscale ingest {settings.format} FILES --out survey.zarr`"
        )
    plan, pixels = make_plan("", files, settings, store.CHUNK)
    gathered = _read_all(plan, pixels, files)
    stored = [make_storable(file) for file in files]
    layout = arrange_stars([gathered.describe()], stored, pd.Series(dtype=object))
    survey = None
    if layout.star.size:
        survey = _make_survey(plan, pixels, gathered, layout, stored)
    return FewStars(
        survey=survey,
        refused=[(files[number], star, reason) for number, star, reason in layout.refused],
        notes=tuple(f"{count:,} {note}" for note, count in layout.notes.items()),
        is_prepared_as_known=example is None or example.preparation is not None,
        format=settings.format,
    )


def _describe_no_path(given: object) -> str:
    return (
        f"files: {type(given).__name__} is no path; give paths of files, a pattern or a directory"
    )


def _iterate_paths(paths: str | Path | Iterable[str | Path]) -> Iterator[str]:
    """Yield paths of files, patterns and directories.

    Raises
    ------
    InputError
        If there is none, one is no path, or one is a store of luxscale.
    """
    given = [paths] if isinstance(paths, str | os.PathLike) else paths
    if isinstance(given, Mapping) or not isinstance(given, Iterable):
        raise InputError(_describe_no_path(given))
    given = list(given)
    if not given:
        raise InputError("no files given; name files, a pattern or a directory")
    for path in given:
        if not isinstance(path, str | os.PathLike):
            raise InputError(_describe_no_path(path))
        path = os.fspath(path)
        if store.is_store(path):
            raise InputError(f"{path}: {_describe_store(path)}")
        yield path


def _describe_store(path: str) -> str:
    """Return what a store is, and what opens it."""
    found = str((store.read_attributes(path) or {}).get("format", ""))
    what = store.describe_kind(found) if found.startswith("luxscale-") else "a Zarr store"
    opener = {"": "open_survey", store.SURVEY_FORMAT: "open_survey", FORMAT: "load_model"}
    return f"{what}, no survey file; open it with lux.{opener.get(found, 'store.open_dataset')}"


def _read_all(plan: Plan, grid: np.ndarray, files: Sequence[str]) -> Gathered:
    """Read and prepare the spectra of all files."""
    gathered = Gathered()
    numbered = [(number, make_storable(file)) for number, file in enumerate(files)]
    with Progress("reading", len(files), unit="files", enabled=len(files) > _PROMPT) as shown:
        for block in read_blocks(plan, numbered, gathered):
            prepare_block(plan, grid, block, gathered)
            shown.update(block[-1][0] + 1)
    return gathered


def _make_survey(
    plan: Plan, grid: np.ndarray, gathered: Gathered, layout: Layout, paths: Sequence[str]
) -> xr.Dataset:
    """Return the stars that stay as a survey, with what one in a store has."""
    rows = layout.source[:, 1]
    attributes = describe_spectra(plan)
    spectra = dict(zip(attributes, gathered.join_spectra(), strict=True))
    variables: dict[str, Any] = {}
    for name, values in spectra.items():
        variables[name] = ((STAR, "wavelength"), values[rows], attributes[name])
    files = np.array([paths[number] for number in layout.file], object)
    for name, column in {SOURCE: files, **layout.columns}.items():
        variables[name] = (STAR, _convert_text(column))
    coords = {
        STAR: (STAR, _convert_text(layout.star)),
        "wavelength": ("wavelength", grid, describe_grid(plan)),
    }
    survey = xr.Dataset(variables, coords, describe_survey(plan))
    return survey.drop_indexes(STAR).set_xindex([STAR], StarIndex)


def _convert_text(values: np.ndarray) -> np.ndarray:
    """Return text in the form that it has in stores."""
    return values.astype(np.dtypes.StringDType()) if values.dtype.kind == "O" else values
