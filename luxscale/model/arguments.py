"""What users give as a survey and a model: objects, or the paths of their stores."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import xarray as xr

from luxscale import store
from luxscale.errors import InputError
from luxscale.model.file import load_model
from luxscale.model.lux import LuxModel
from luxscale.schema.variables import STAR


def take_survey(survey: Any, call: str, outputs: str | Sequence[str] | None = None) -> xr.Dataset:
    """Return a survey that was given as a Dataset, or as the path of its store.

    One star that was selected without its dim gets the dim again.

    Parameters
    ----------
    survey : Dataset, str or Path
    call : str
        How the function is called, for messages.
    outputs : str or sequence of str, optional
        Outputs that are used, all by default.

    Raises
    ------
    InputError
        If it is something else.
    """
    if isinstance(survey, str | os.PathLike):
        return store.open_survey(os.fspath(survey), outputs=outputs)
    if not isinstance(survey, xr.Dataset):
        raise InputError(_describe_mistake("survey", survey, call))
    if STAR in survey.coords and STAR not in survey.dims and not survey[STAR].ndim:
        return survey.expand_dims(STAR)
    return survey


def take_model(model: Any, call: str) -> LuxModel:
    """Return a model that was given as it is, or as the path of its store.

    Parameters
    ----------
    model : LuxModel, str or Path
    call : str
        How the function is called, for messages.

    Raises
    ------
    InputError
        If it is something else.
    """
    if isinstance(model, str | os.PathLike):
        return load_model(os.fspath(model))
    if not isinstance(model, LuxModel):
        raise InputError(_describe_mistake("model", model, call))
    return model


def _describe_mistake(name: str, given: Any, call: str) -> str:
    kinds = {"survey": "a Dataset", "model": "a LuxModel"}
    return (
        f"{name} is a {type(given).__name__}, not {kinds[name]} or the path of one; call it as "
        f"{call}"
    )
