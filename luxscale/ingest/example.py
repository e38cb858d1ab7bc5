"""Spectra that others are to be like: those that a model was trained on, or those of a survey."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from luxscale import store
from luxscale.errors import InputError
from luxscale.ingest.settings import Settings
from luxscale.model.file import FORMAT, load_model
from luxscale.model.lux import LuxModel
from luxscale.readers import get_format
from luxscale.readers.base import Format
from luxscale.readers.recognise import explain_misfit, recognise_format
from luxscale.schema.outputs import pick_outputs
from luxscale.schema.preparation import PREPARATION, Preparation
from luxscale.schema.standard import is_same_unit

#: The output that files are read into.
_FLUX = "flux"

#: Settings of a recipe that do not depend on the format of the files.
_OF_ANY_FORMAT = ("continuum", "order", "length", "chips", "continuum_pixels", "most_error")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Example:
    """Spectra that others are to be like.

    Parameters
    ----------
    what : str
        "model" or "survey", for messages.
    grid : array, (wavelength,)
        Pixel centres.
    attrs : mapping of str to str
        ``units`` and ``medium`` of the wavelengths.
    preparation : Preparation, optional
        If it is known.
    """

    what: str
    grid: np.ndarray
    attrs: Mapping[str, str]
    preparation: Preparation | None


def take_example(like: Any) -> Example:
    """Return the spectra of a model or survey, given as it is or by its path.

    Parameters
    ----------
    like : LuxModel, Dataset, str or Path

    Raises
    ------
    InputError
        If it is something else, or has no spectra ``flux``.
    """
    if isinstance(like, str | os.PathLike):
        path = os.fspath(like)
        held = store.read_attributes(path) or {}
        is_model = held.get("format") == FORMAT
        like = load_model(path) if is_model else store.open_survey(path, check="structure")
    if isinstance(like, LuxModel):
        flux = like[_FLUX]
        return Example(
            what="model",
            grid=np.asarray(flux.coord, float),
            attrs={"units": flux.units[0], **dict(flux.attrs)},
            preparation=Preparation.parse(flux.preparation),
        )
    if isinstance(like, xr.Dataset):
        (spec,) = pick_outputs(like, _FLUX, "like")
        grid = like[spec.dim]
        return Example(
            what="survey",
            grid=np.asarray(grid.values, float),
            attrs={str(name): str(value) for name, value in grid.attrs.items()},
            preparation=Preparation.parse(like[spec.name].attrs.get(PREPARATION)),
        )
    raise InputError(f"like is a {type(like).__name__}, not a model, a survey or the path of one")


def choose_settings(
    path: str,
    format: str | None,  # noqa: A002
    example: Example | None,
    given: Mapping[str, str] | None = None,
) -> Settings:
    """Return how files are read, as far as their format and an example tell.

    Parameters
    ----------
    path : str
        Of the first file, by which the format is recognised.
    format : str, optional
    example : Example, optional
        Its format comes first, if the file can be read in it.
    given : mapping, optional
        Options of the format that are asked for; they come before those of the example.

    Raises
    ------
    InputError
        If no format fits, or wavelengths are of another kind than those of the example.
    """
    known = example.preparation if example else None
    if format is None:
        format = _recognise(path, known)  # noqa: A001
    fmt = get_format(format)
    if example is None:
        return Settings(format=fmt.name, options=dict(given or {}), recipe={})
    options: dict[str, str] = {}
    recipe: dict[str, Any] = {}
    if known is not None and known.format == fmt.name:
        options, recipe = dict(known.options), dict(known.recipe)
    elif known is not None:
        recipe = {name: known.recipe[name] for name in _OF_ANY_FORMAT if name in known.recipe}
        if fmt.velocities and "rest_frame" in known.recipe:
            recipe["rest_frame"] = known.recipe["rest_frame"]
    options |= given or {}
    try:
        _check_wavelengths(fmt.name, options, example)
    except InputError as error:
        raise InputError(f"{path}: {error}" if path else str(error)) from None
    return Settings(format=fmt.name, options=options, recipe=recipe, grid=example.grid)


def _recognise(path: str, known: Preparation | None) -> str:
    """Return the name of a file's format: that of the example, if it fits."""
    if known is None:
        return recognise_format(path).name
    reason = explain_misfit(path, get_format(known.format), known.options)
    if reason is None:
        return known.format
    try:
        return recognise_format(path).name
    except InputError:
        raise InputError(f"{path}: {reason} (read as {known.format})") from None


def _check_wavelengths(name: str, options: Mapping[str, str], example: Example) -> None:
    fmt = get_format(name, options)
    for what, ours in (("units", fmt.units), ("medium", fmt.medium)):
        theirs = example.attrs.get(what, ours)
        if not is_same_unit(theirs, ours):
            raise InputError(
                f"wavelengths of {name} have {what} {ours!r}, those of the {example.what} "
                f"{theirs!r}: its spectra are of another kind{_suggest_option(fmt, what, theirs)}"
            )


def _suggest_option(fmt: Format, what: str, theirs: str) -> str:
    """Return the option that says otherwise of a format's wavelengths; empty if it has none."""
    choices = {option.name: option.choices or () for option in fmt.options}.get(what, ())
    if theirs not in choices:
        return ""
    return (
        f"; if these are in {theirs} too, say --option {what}={theirs} "
        f"(options={{{what!r}: {theirs!r}}})"
    )
