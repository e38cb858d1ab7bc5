"""What users give as survey, model and catalogue: objects, or the paths of their stores."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import xarray as xr

from luxscale import store
from luxscale.errors import InputError
from luxscale.model.file import load_model
from luxscale.model.lux import LuxModel
from luxscale.schema.standard import standardize_catalog
from luxscale.schema.variables import STAR

#: A survey or catalogue, or where it is stored.
DatasetOrPath = xr.Dataset | str | os.PathLike

#: A model, or where it is stored.
ModelOrPath = LuxModel | str | os.PathLike


def take_survey(
    survey: Any, call: str, outputs: str | Sequence[str] | None = None, name: str = "survey"
) -> xr.Dataset:
    """Return a survey that was given as a Dataset, or as the path of its store.

    One star that was selected without its dim gets the dim again.

    Parameters
    ----------
    survey : Dataset, str or Path
    call : str
        How the function is called, for messages.
    outputs : str or sequence of str, optional
        Outputs that are used, all by default.
    name : str
        Name of the argument, for messages.

    Raises
    ------
    InputError
        If it is something else.
    """
    if isinstance(survey, str | os.PathLike):
        return store.open_survey(os.fspath(survey), outputs=outputs)
    if not isinstance(survey, xr.Dataset):
        raise InputError(_describe_mistake(name, survey, call))
    if STAR in survey.coords and STAR not in survey.dims and not survey[STAR].ndim:
        return survey.expand_dims(STAR)
    return survey


def take_dataset(dataset: Any, call: str) -> xr.Dataset:
    """Return a survey or catalogue that was given as a Dataset, or as the path of its store.

    Parameters
    ----------
    dataset : Dataset, str or Path
    call : str
        How the function is called, for messages.

    Raises
    ------
    InputError
        If it is something else, or has no stars.
    """
    if isinstance(dataset, str | os.PathLike):
        dataset = store.open_dataset(os.fspath(dataset), kind="survey or catalogue")
    if not isinstance(dataset, xr.Dataset):
        raise InputError(_describe_mistake("dataset", dataset, call))
    if STAR not in dataset.dims:
        raise InputError(
            f"dataset: no dim {STAR!r}; its dims are {', '.join(map(str, dataset.dims))}; give a "
            f"survey or catalogue, as {call}"
        )
    return standardize_catalog(dataset)


def take_catalog(catalog: Any, call: str) -> xr.Dataset:
    """Return a catalogue that was given as a Dataset, or as the path of its store.

    Parameters
    ----------
    catalog : Dataset, str or Path
    call : str
        How the function is called, for messages.

    Raises
    ------
    InputError
        If it is something else.
    """
    if isinstance(catalog, str | os.PathLike):
        return store.open_dataset(os.fspath(catalog), kind="catalogue")
    if not isinstance(catalog, xr.Dataset):
        raise InputError(_describe_mistake("catalog", catalog, call))
    return standardize_catalog(catalog)


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
    kind = "a LuxModel" if name == "model" else "a Dataset"
    return f"{name} is a {type(given).__name__}, not {kind} or the path of one; call it as {call}"
