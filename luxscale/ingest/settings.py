"""What is asked of an ingest, checked and completed to a plan."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from luxscale.errors import InputError
from luxscale.ingest.plan import Plan, compute_grid_checksum
from luxscale.prepare import check_recipe, default_recipe
from luxscale.readers import BadFile, Format, get_format


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """How files are to be read, as far as it is said.

    Parameters
    ----------
    format : str
    options : mapping of str to str
        Options of the format.
    recipe : mapping
        What `luxscale.prepare.Recipe` is to have other than the format's usual.
    grid : array, (wavelength,), optional
        Pixel centres; the format's own, or that of the first file, if not given.
    """

    format: str
    options: Mapping[str, str]
    recipe: Mapping[str, Any]
    grid: np.ndarray | None = None


def make_plan(
    survey: str, files: Sequence[str], settings: Settings, chunk: int
) -> tuple[Plan, np.ndarray]:
    """Return the plan of an ingest, and the wavelengths of the survey: (wavelength,).

    Parameters
    ----------
    survey : str
        Path or URL of the survey; "" for one in memory.
    files : sequence of str
        Read where nothing else tells the wavelengths.
    settings : Settings
    chunk : int
        Stars per chunk.

    Raises
    ------
    InputError
        If a setting is wrong.
    """
    fmt = get_format(settings.format)
    options = _complete_options(fmt, settings.options)
    recipe = default_recipe(fmt, **settings.recipe)
    pixels = _find_grid(fmt, dict(options), files, settings.grid)
    check_recipe(recipe, get_format(fmt.name, dict(options)), pixels)
    plan = Plan(
        survey=survey,
        format=fmt.name,
        options=options,
        recipe=recipe,
        chunk=_check_chunk(chunk),
        grid=compute_grid_checksum(pixels),
    )
    return plan, pixels


def _complete_options(fmt: Format, given: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """Return all options of a format, those given and the others as they are by default.

    Raises
    ------
    InputError
    """
    known = {o.name: o for o in fmt.options}
    for name, value in given.items():
        if name not in known:
            raise InputError(
                f"format {fmt.name} has no option {name!r}; it has: {', '.join(known) or 'none'}"
            )
        choices = known[name].choices
        if choices and value not in choices:
            raise InputError(
                f"option {name} of {fmt.name} is {value!r}; it may be {', '.join(choices)}"
            )
    return tuple((name, given.get(name, o.default)) for name, o in known.items())


def _check_chunk(chunk: int) -> int:
    if chunk < 1:
        raise InputError(f"chunk={chunk}: give the number of stars in a chunk, 1 or more")
    return chunk


def _find_grid(
    fmt: Format, options: dict[str, str], files: Sequence[str], grid: np.ndarray | None
) -> np.ndarray:
    """Return the wavelengths of the survey: (wavelength,).

    They are those asked for, the format's, or those of the first file.

    Raises
    ------
    InputError
    """
    if grid is not None:
        try:
            return np.asarray(grid, float)
        except (TypeError, ValueError):
            raise InputError(
                f"grid is {grid!r}; give the wavelengths of the pixels, an array of numbers"
            ) from None
    if fmt.grid is not None:
        return fmt.grid
    first = ""
    for path in files:
        try:
            spectra = next(iter(fmt.read(path, **options)))
            return np.asarray(spectra.wavelength, float)
        except (BadFile, OSError, StopIteration) as error:
            if not first:
                first = f" (the first, {path}: {str(error) or 'holds no spectrum'})"
    raise InputError(
        f"no file can be read as {fmt.name} to take the wavelength grid from{first}; "
        "correct the files, or --option"
    )
