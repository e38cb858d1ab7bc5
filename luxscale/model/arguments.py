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
from luxscale.schema.variables import LATENT, STAR

#: A survey or catalogue, or where it is stored.
DatasetOrPath = xr.Dataset | str | os.PathLike

#: A model, or where it is stored.
ModelOrPath = LuxModel | str | os.PathLike


def take_survey(
    survey: Any, call: str, outputs: str | Sequence[str] | None = None, name: str = "survey"
) -> xr.Dataset:
    """Return a survey that was given as a Dataset, or as the path of its store.

    One star that was selected without its dim gets the dim again; dims may be in any order.

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
    return put_stars_first(survey)


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
    found = _require_stars(put_stars_first(dataset), "dataset", "survey or catalogue", call)
    return standardize_catalog(found)


def take_catalog(catalog: Any, call: str) -> xr.Dataset:
    """Return a catalogue that was given as a Dataset, or as the path of its store.

    One star that was selected without its dim gets the dim again; dims may be in any order.

    Parameters
    ----------
    catalog : Dataset, str or Path
    call : str
        How the function is called, for messages.

    Raises
    ------
    InputError
        If it is something else, or has no stars.
    """
    if isinstance(catalog, str | os.PathLike):
        return store.open_dataset(os.fspath(catalog), kind="catalogue")
    if not isinstance(catalog, xr.Dataset):
        raise InputError(_describe_mistake("catalog", catalog, call))
    found = _require_stars(put_stars_first(catalog), "catalogue", "catalogue", call)
    return standardize_catalog(found)


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


def put_stars_first(dataset: xr.Dataset) -> xr.Dataset:
    """Return a dataset in memory with the stars as the first dim of all that has them."""
    if _is_one_star(dataset):
        return _add_stars(dataset)
    if any(STAR in v.dims[1:] for v in dataset.variables.values()):
        return dataset.transpose(STAR, ...)
    return dataset


def _is_one_star(dataset: xr.Dataset) -> bool:
    """Return whether one star was selected without its dim; of a catalogue, without its name."""
    if STAR in dataset.dims:
        return False
    if LATENT in dataset.coords and dataset[LATENT].dims == (LATENT,):
        return True
    return STAR in dataset.coords and not dataset[STAR].ndim


def _add_stars(dataset: xr.Dataset) -> xr.Dataset:
    """Return a dataset of one star with the dim of stars."""
    if LATENT not in dataset.coords:
        return dataset.expand_dims(STAR)
    # named as their dim they are a coordinate, which xarray does not expand with the others
    latents = dataset[LATENT].expand_dims(STAR)
    others = dataset.drop_vars(LATENT).expand_dims(STAR)
    return xr.Dataset({**others, LATENT: latents}, attrs=dataset.attrs)


def _require_stars(dataset: xr.Dataset, name: str, kind: str, call: str) -> xr.Dataset:
    if STAR not in dataset.dims:
        raise InputError(
            f"{name}: no dim {STAR!r}; its dims are {', '.join(map(str, dataset.dims))}; give a "
            f"{kind}, as {call}"
        )
    return dataset


def _describe_mistake(name: str, given: Any, call: str) -> str:
    kind = "a LuxModel" if name == "model" else "a Dataset"
    return f"{name} is a {type(given).__name__}, not {kind} or the path of one; call it as {call}"
