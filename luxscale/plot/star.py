"""A star in one line: its spectrum, and a model's."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal

import numpy as np
import xarray as xr

from luxscale import store
from luxscale.errors import InputError
from luxscale.ingest.memory import read
from luxscale.model.arguments import take_model, take_survey
from luxscale.model.infer import infer
from luxscale.model.lux import LuxModel
from luxscale.plot.rows import spectrum
from luxscale.schema.outputs import is_catalog
from luxscale.schema.stars import find_stars
from luxscale.schema.variables import STAR

#: How `star` is called.
_CALL = 'lux.plot.star(survey, "id", model)'


def star(
    survey: xr.Dataset | str | Path,
    star: Any = None,
    model: LuxModel | str | Path | None = None,
    *,
    axes: Any = None,
    output: str = "flux",
    span: tuple[float, float] | None = None,
) -> np.ndarray:
    """Draw the spectrum of a star; with a model, that of the model and the labels it infers too.

    Parameters
    ----------
    survey : Dataset, str or Path
        Survey, the path of one, or that of a survey file, which is read as `luxscale.read` does.
    star : identifier, optional
        May be left out where there is one star.
    model : LuxModel, str or Path, optional
        Infers latents and labels from the spectrum.
    axes, output, span
        As in `spectrum`, which draws a star of a catalogue without another inference.

    Returns
    -------
    array of Axes, (row,) or (2 * row,)
        As from `spectrum`.

    Raises
    ------
    InputError
        If there is no such star, or it is not said which, and as `spectrum`, `luxscale.infer` and
        `luxscale.read`.

    Examples
    --------
    >>> import luxscale as lux
    >>> axes = lux.plot.star("survey.zarr", "s1-00007", model)
    >>> axes = lux.plot.star("star.npz", model=model)
    """
    if isinstance(star, xr.Dataset | LuxModel):
        raise InputError(f"star is a {type(star).__name__}, not an identifier; call it as {_CALL}")
    if model is not None:
        model = take_model(model, _CALL)
    opened = open_stars(survey, model)
    if star is None:
        star = _take_only_star(opened)
    one = opened.isel({STAR: find_stars(opened, [star], "survey")}).compute()
    catalog = None if model is None else infer(one, model, given=output)
    return spectrum(one, star, catalog, model, axes=axes, output=output, span=span)


def open_stars(
    survey: Any,
    model: LuxModel | None,
    check: Literal["sample", "structure"] = "sample",
    **reading: Any,
) -> xr.Dataset:
    """Return a survey that is given as it is, by its path or by that of a survey file.

    Parameters
    ----------
    survey : Dataset, str or Path
    model : LuxModel, optional
        Whose spectra those of a file are to be like.
    check : {"sample", "structure"}
        What to check of a survey that is given by its path.
    **reading
        How to read a file: ``format`` and ``options`` of `luxscale.read`.

    Raises
    ------
    InputError
        As `luxscale.read` and `luxscale.open_survey`.
    """
    if not isinstance(survey, str | os.PathLike):
        return take_survey(survey, _CALL)
    path = os.fspath(survey)
    if store.is_data_file(path):
        return read(path, like=model, **reading)
    opened = store.open_survey(path, check=check)
    if is_catalog(opened):
        raise InputError(
            f"{path}: a catalogue, which has no spectra; give the survey that was labelled"
        )
    return opened


def _take_only_star(survey: xr.Dataset) -> Any:
    n_stars = survey.sizes[STAR]
    if n_stars != 1:
        names = ", ".join(map(str, survey[STAR][:3].values.tolist()))
        more = ", ..." if n_stars > 3 else ""
        raise InputError(f"the survey has {n_stars:,} stars; name one: {_CALL}, of {names}{more}")
    return survey[STAR].values.tolist()[0]
