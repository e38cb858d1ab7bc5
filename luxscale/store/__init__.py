"""Surveys and other stores on disk: how they open, and how arrays are laid out.

Imports schema and what it stands on.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import xarray as xr
import zarr

from luxscale.errors import InputError
from luxscale.progress import Progress
from luxscale.schema.attributes import pack_attributes
from luxscale.schema.blocks import spread_blocks
from luxscale.schema.checks import (
    SAMPLE_BYTES,
    SAMPLE_CHUNKS,
    check_kind,
    check_structure,
    check_unique,
    check_values,
)
from luxscale.schema.extensions import convert_extensions
from luxscale.schema.outputs import find_outputs, is_catalog, pick_outputs
from luxscale.schema.standard import decode_names, has_native_floats, standardize_survey
from luxscale.schema.stars import StarIndex
from luxscale.schema.status import mark_done
from luxscale.schema.variables import STAR, SURVEY, describe_variables
from luxscale.store import objects
from luxscale.store.arrays import (
    CHUNK,
    explain_unstorable,
    get_first_chunk,
    get_star_chunk,
    is_data_file,
    is_store,
    list_arrays,
    locate,
    make_absolute,
    make_codecs,
    open_array,
    open_group,
    suggest_reader,
    write_arrays,
)
from luxscale.store.atomic import (
    RUN,
    claim_figure,
    claim_figure_in,
    claim_file,
    claim_place,
    describe_kind,
    explain_writing,
    is_occupied,
    read_attributes,
    refuse_within_stores,
    replace_store,
    require_local,
    save_figure,
    sweep_partial,
    write_then_move,
)
from luxscale.store.damage import explain_damage, is_outage
from luxscale.store.fills import open_exactly, refuse_growing
from luxscale.store.moves import move_over, move_store

__all__ = [
    "CATALOG_FORMAT",
    "CHUNK",
    "RUN",
    "SURVEY_FORMAT",
    "check_contents",
    "claim_figure",
    "claim_figure_in",
    "claim_file",
    "claim_place",
    "describe_kind",
    "explain_writing",
    "get_first_chunk",
    "get_star_chunk",
    "is_data_file",
    "is_occupied",
    "is_outage",
    "is_store",
    "list_arrays",
    "locate",
    "make_absolute",
    "make_codecs",
    "move_over",
    "move_store",
    "open_array",
    "open_dataset",
    "open_group",
    "open_survey",
    "read_attributes",
    "refuse_within_stores",
    "replace_store",
    "require_local",
    "save_figure",
    "sweep_partial",
    "write_arrays",
    "write_dataset",
    "write_then_move",
]

#: Values of the attribute ``format`` of a survey and of a catalogue.
SURVEY_FORMAT, CATALOG_FORMAT = "luxscale-survey", "luxscale-catalog"

#: Stores of luxscale that hold no stars' data.
_NO_SURVEYS = ("luxscale-model", "luxscale-crossval")

_CHECKS = ("structure", "sample", "all")


def open_dataset(
    path: str | Path, *, dask: bool = True, kind: str = "survey, model or catalogue"
) -> xr.Dataset:
    """Open any Zarr store lazily, in its own chunks, reading no per-star data.

    Parameters
    ----------
    path : str or Path
    dask : bool
        Whether arrays are Dask's. A task on a cluster must not compute with Dask itself: its worker
        would think that it waits, and start the next one.
    kind : str
        What is looked for, for messages.

    Returns
    -------
    Dataset
        A survey, a model or a catalogue as it is stored; the index of ``star`` is built when it is
        first used. Where stars are being added, or adding them was cut off, those that were there
        before; the attribute ``growing`` is how many there will be.

    Raises
    ------
    InputError
        If there is no Zarr group at ``path``.

    Examples
    --------
    >>> from luxscale import store
    >>> catalog = store.open_dataset("catalog.zarr")
    >>> int((catalog.status == 1).sum()) == catalog.sizes["star"]
    True
    """
    options: dict[str, Any] = {
        "chunks": {} if dask else None,
        "consolidated": False,
        "create_default_indexes": False,
    }
    try:
        dataset = open_exactly(locate(path), **options)
    except (FileNotFoundError, zarr.errors.GroupNotFoundError, zarr.errors.ContainsArrayError):
        raise InputError(
            f"{path}: no Zarr group there; give the path of a {kind}{suggest_reader(path)}"
        ) from None
    except InputError:
        raise
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path}: cannot be opened ({error}); it is damaged: copy or make it again"
        ) from error
    dataset = pack_attributes(decode_names(dataset))
    for name, coord in dataset.coords.items():
        if coord.dims == (name,):
            index = StarIndex if name == STAR else xr.indexes.PandasIndex
            dataset = dataset.set_xindex([name], index)
        elif STAR not in coord.dims:
            dataset[name].load()
    return dataset


def open_survey(
    path: str | Path,
    *,
    check: Literal["structure", "sample", "all"] = "sample",
    outputs: str | Iterable[str] | None = None,
    dask: bool = True,
) -> xr.Dataset:
    """Open a survey lazily, and refuse one that breaks the contract.

    Parameters
    ----------
    path : str or Path
        Zarr store.
    check : {"sample", "structure", "all"}
        What to check beside names, dims, dtypes and grids, which are always checked: nothing,
        values of whole chunks spread over the survey (all values of a small survey), or all values.
    outputs : str or iterable of str, optional
        Outputs that are used; the others are not checked. All by default.
    dask : bool
        Whether arrays are Dask's, in chunks of stars as on disk. Without it they are read where
        they are asked for, and Dask need not load; a survey whose values have to be converted is
        Dask's all the same.

    Returns
    -------
    Dataset
        Lazy; the index of ``star`` is built when it is first used.

    Raises
    ------
    InputError
        Names the file, the variable and what to do.

    Examples
    --------
    >>> import luxscale as lux
    >>> survey = lux.open_survey("survey.zarr")
    >>> survey.flux.dims
    ('star', 'wavelength')

    """
    if check not in _CHECKS:
        raise InputError(f"check={check!r}: choose one of {', '.join(_CHECKS)}")
    opened = open_dataset(path, dask=dask, kind="survey")
    if not dask and not has_native_floats(opened):
        opened = open_dataset(path, kind="survey")
    found = str(opened.attrs.get("format", ""))
    if found in _NO_SURVEYS:
        raise InputError(f"{path}: {describe_kind(found)}, not a survey; give the path of one")
    survey = standardize_survey(opened)
    if survey.attrs.get("complete") == 0:
        raise InputError(
            f"{path}: files are being read into it, or were when that was stopped; run the "
            "same `luxscale ingest` again"
        )
    if found != CATALOG_FORMAT:
        refuse_growing(survey, str(path))
    check_structure(survey, str(path), outputs)
    if check != "structure":
        with explain_damage(path):
            check_contents(survey, str(path), sample=check == "sample", outputs=outputs)
    return survey


open_survey.__doc__ = (
    (open_survey.__doc__ or "")
    + "\n    Notes\n    -----\n    The contract of a survey::\n\n        "
    + describe_variables(SURVEY).replace("\n", "\n        ")
    + "\n"
)


def check_contents(
    survey: xr.Dataset,
    where: str,
    *,
    sample: bool,
    outputs: str | Iterable[str] | None = None,
) -> None:
    """Check values and the uniqueness of stars, all or a sample of bounded size.

    Parameters
    ----------
    survey : Dataset
    where : str
        What messages call it.
    sample : bool
    outputs : str or iterable of str, optional
        Outputs to check; all by default.

    Raises
    ------
    InputError
    """
    specs = pick_outputs(survey, outputs, where)
    check_kind(survey[STAR], where)
    n_stars, size = survey.sizes[STAR], get_star_chunk(survey)
    most = -(-n_stars // size)
    if sample:
        star_bytes = max(survey[v].nbytes for o in specs for v in o.variables) / n_stars
        most = min(SAMPLE_CHUNKS, int(SAMPLE_BYTES // (star_bytes * size)))
    blocks = spread_blocks(n_stars, size, most)
    with Progress("checking", len(blocks), unit="chunks", enabled=not sample) as shown:
        for number, block in enumerate(blocks):
            shown.update(number)
            check_values(survey.isel({STAR: block}), specs, where, survey)
    # an identifier in memory takes about 128 bytes
    if not sample or n_stars * 128 <= SAMPLE_BYTES:
        check_unique(survey[STAR].values, where)


def write_dataset(
    dataset: xr.Dataset, path: str | Path, *, chunk: int = CHUNK, overwrite: bool = False
) -> None:
    """Write a Dataset in memory or on Dask as Zarr format 3, chunked by star only.

    Parameters
    ----------
    dataset : Dataset
        A survey, or a catalogue as `luxscale.infer` returns it, which gets ``status``: all of its
        stars are done. If it has an attribute ``format``, it is what that says.
    path : str or Path
        Of a new store.
    chunk : int
        Stars per chunk.
    overwrite : bool
        Whether to replace a store of the same kind. It stays as it is until the new one is
        complete, so the Dataset may be one that was opened from there; under a URL it is removed
        first.

    Raises
    ------
    InputError
        If something is at ``path`` and ``overwrite`` is false, or it is of another kind; if there
        are no stars, or values of a survey break the contract, as far as a sample of whole chunks
        shows.

    Examples
    --------
    >>> from luxscale import store
    >>> store.write_dataset(survey.isel(star=slice(0, 10)), "few.zarr")
    """
    if chunk < 1:
        raise InputError(f"chunk={chunk}: give the number of stars in a chunk, 1 or more")
    if dataset.sizes.get(STAR) == 0:
        raise InputError(f"{path}: the dataset holds no stars, and there is nothing to write")
    marked = _mark_kind(convert_extensions(dataset, str(path)))
    claim_place(path, marked.attrs["format"], overwrite=overwrite)
    if marked.attrs["format"] == SURVEY_FORMAT and STAR in marked and find_outputs(marked):
        check_contents(standardize_survey(marked), str(path), sample=True)
    # errors of object storage say what is wrong themselves
    explained = contextlib.nullcontext() if objects.is_url(path) else explain_writing(path)
    with explained, explain_unstorable(path), replace_store(path) as place:
        write_arrays(marked, place, chunk)


def _mark_kind(dataset: xr.Dataset) -> xr.Dataset:
    """Return a dataset whose attribute ``format`` says what it is, and a catalogue's status."""
    if "format" in dataset.attrs:
        return dataset
    if STAR in dataset.dims and is_catalog(dataset):
        return mark_done(dataset).assign_attrs(format=CATALOG_FORMAT)
    return dataset.assign_attrs(format=SURVEY_FORMAT)
