"""Surveys and other stores on disk: how they open, and how arrays are laid out."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import xarray as xr
import zarr
from zarr.codecs import BloscCodec, Crc32cCodec

from luxscale.errors import CannotWrite, InputError
from luxscale.progress import Progress
from luxscale.schema.blocks import spread_blocks
from luxscale.schema.checks import (
    SAMPLE_BYTES,
    SAMPLE_CHUNKS,
    check_structure,
    check_unique,
    check_values,
)
from luxscale.schema.outputs import pick_outputs
from luxscale.schema.standard import decode_names, standardize_survey
from luxscale.schema.stars import StarIndex
from luxscale.schema.variables import STAR, SURVEY, describe_variables
from luxscale.store import s3

#: Group of a catalogue that holds what concerns its run.
RUN = "run"

#: Stars a chunk, unless the survey says otherwise: about 35 MB of an APOGEE survey's flux.
CHUNK = 1024


def make_codecs(dtype: np.dtype) -> tuple[BloscCodec, Crc32cCodec]:
    """Return the codecs of large arrays: several times faster to read than Zarr's default, and damage is noticed."""
    return BloscCodec(
        cname="lz4", clevel=5, shuffle="bitshuffle", typesize=dtype.itemsize
    ), Crc32cCodec()


def make_absolute(path: str | Path) -> str:
    """Return a path that means the same to every process: a URL as it is, another made absolute.

    Raises
    ------
    InputError
        If it is a URL that luxscale does not read.
    """
    if not s3.is_url(path):
        return str(Path(path).absolute())
    s3.parse(str(path))
    return str(path)


def locate(path: str | Path) -> Any:
    """Return what Zarr and xarray take for a path or a URL; every store of luxscale is opened through it.

    Raises
    ------
    InputError
        If a URL is none of object storage, or its bucket cannot be reached; see
        `luxscale.store.s3`.
    """
    return s3.open_url(str(path)) if s3.is_url(path) else str(path)


def open_group(path: str | Path, mode: Literal["r", "r+"], group: str = "") -> zarr.Group:
    """Open a Zarr group that is there, or one inside it."""
    return zarr.open_group(locate(path), path=group, mode=mode)


def open_array(group: zarr.Group, name: str) -> zarr.Array[Any]:
    """Return an array of a group, which keeps chunks of fill values too: one that is not there is one that was lost."""
    found = group[name]
    assert isinstance(found, zarr.Array)
    return found.with_config({"write_empty_chunks": True})


#: Errors of a file system that is away, or of a process that has no more files to open.
_AWAY = {
    errno.ESTALE,
    errno.ENOTCONN,
    errno.ENODEV,
    errno.EHOSTDOWN,
    errno.EIO,
    errno.EMFILE,
    errno.ENFILE,
}


@contextlib.contextmanager
def explain_writing(path: str | Path) -> Iterator[None]:
    """Say which store it is that cannot be written, and why.

    Raises
    ------
    CannotWrite
    """
    try:
        yield
    except (OSError, s3.ObjectError) as error:
        reason = getattr(error, "strerror", None) or error
        raise CannotWrite(
            f"{path}: cannot be written ({reason}); mend that and run the same command again"
        ) from error


def is_outage(error: BaseException) -> bool:
    """Whether an error of reading says that a store is out of reach for now, rather than that what it holds is damaged.

    KeyError is Zarr's of an array that is not there: a survey that was moved, or whose file system
    is gone.
    """
    away = isinstance(error, OSError) and error.errno in _AWAY
    return away or isinstance(
        error,
        s3.ObjectError | PermissionError | ConnectionError | TimeoutError | MemoryError | KeyError,
    )


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
        first used.

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
    try:
        dataset = xr.open_zarr(
            locate(path),
            chunks={} if dask else None,
            consolidated=False,
            create_default_indexes=False,
        )
    except (FileNotFoundError, zarr.errors.GroupNotFoundError, zarr.errors.ContainsArrayError):
        raise InputError(f"{path}: no Zarr group there; give the path of a {kind}") from None
    except InputError:
        raise
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path}: cannot be opened ({error}); it is damaged: copy or make it again"
        ) from error
    dataset = decode_names(dataset)
    for name, coord in dataset.coords.items():
        if coord.dims == (name,):
            dataset = dataset.set_xindex(
                [name], StarIndex if name == STAR else xr.indexes.PandasIndex
            )
        elif STAR not in coord.dims:
            dataset[name].load()
    return dataset


def open_survey(
    path: str | Path,
    *,
    check: Literal["structure", "sample", "all"] = "sample",
    outputs: str | Iterable[str] | None = None,
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

    Returns
    -------
    Dataset
        Backed by Dask, in chunks of stars as on disk; the index of ``star`` is built when it is
        first used.

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
    survey = standardize_survey(open_dataset(path, kind="survey"))
    if survey.attrs.get("complete") == 0:
        raise InputError(
            f"{path}: files are being read into it, or were when that was stopped; run the "
            "same `luxscale ingest` again"
        )
    check_structure(survey, str(path), outputs)
    if check != "structure":
        check_contents(survey, str(path), sample=check == "sample", outputs=outputs)
    return survey


open_survey.__doc__ = (
    (open_survey.__doc__ or "")
    + "\n    Notes\n    -----\n    The contract of a survey:\n\n    "
    + describe_variables(SURVEY).replace("\n", "\n    ")
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
    n_stars, size = survey.sizes[STAR], star_chunk(survey)
    most = -(-n_stars // size)
    if sample:
        star_bytes = max(survey[v].nbytes for o in specs for v in o.variables) / n_stars
        most = min(SAMPLE_CHUNKS, int(SAMPLE_BYTES // (star_bytes * size)))
    blocks = spread_blocks(n_stars, size, most)
    with Progress("checking", len(blocks), unit="chunks", enabled=not sample) as shown:
        for number, block in enumerate(blocks):
            shown.update(number)
            check_values(survey.isel({STAR: block}), specs, where)
    # an identifier in memory takes about 128 bytes
    if not sample or n_stars * 128 <= SAMPLE_BYTES:
        check_unique(survey[STAR].values, where)


def star_chunk(dataset: xr.Dataset) -> int:
    """Return the number of stars in a chunk of a dataset's widest variable; the largest of several as wide."""
    on_star = [v for v in dataset.data_vars.values() if v.dims[:1] == (STAR,)]
    _, chunk = max((v[:1].nbytes, v.chunks[0][0] if v.chunks else 0) for v in on_star)
    return int(chunk) or min(CHUNK, dataset.sizes[STAR])


def read_attributes(path: str | Path) -> dict[str, Any] | None:
    """Return the attributes of the Zarr group at ``path``, or None if nothing is there.

    Raises
    ------
    InputError
        If something other than a Zarr group is there.
    """
    try:
        group = open_group(path, "r")
        empty = not group.attrs and set(group.keys()) <= {RUN}  # a lock alone
        return None if empty else dict(group.attrs)
    except (FileNotFoundError, zarr.errors.GroupNotFoundError):
        pass
    except InputError:
        raise
    except (zarr.errors.ContainsArrayError, NotADirectoryError, ValueError):
        raise InputError(
            f"{path}: something other than a Zarr group is there; choose another path"
        ) from None
    if is_occupied(path):
        raise InputError(f"{path}: something other than a Zarr group is there; choose another path")
    return None


def is_occupied(path: str | Path) -> bool:
    """Whether a file, or anything in a directory or under a URL, is there."""
    if s3.is_url(path):
        return s3.is_occupied(str(path))
    local = Path(path)
    return local.is_file() or (local.is_dir() and any(map(_is_content, local.iterdir())))


def _is_content(path: Path) -> bool:
    """Whether a file is more than what Zarr leaves behind when it is killed while it writes one."""
    return path.suffix != ".partial"


def sweep_partial(path: str | Path) -> None:
    """Remove what Zarr left beside a group's arrays; nobody else may be writing there."""
    if not s3.is_url(path):
        for left in Path(path).rglob("*.partial"):
            left.unlink()


def claim_place(path: str | Path, kind: str, *, overwrite: bool = False) -> None:
    """Refuse to write where something else lies.

    Raises
    ------
    InputError
        If ``path`` holds anything, unless it is of this kind and may be overwritten.
    """
    held = read_attributes(path)
    if held is None:
        return
    if held.get("format") != kind:
        raise InputError(
            f"{path}: holds {held.get('format', 'another Zarr store')!r}, not a {kind}; choose "
            "another path"
        )
    if not overwrite:
        raise InputError(
            f"{path}: a {kind} is there already; choose another path, or overwrite it (--overwrite)"
        )


def write_dataset(dataset: xr.Dataset, path: str | Path, *, chunk: int = CHUNK) -> None:
    """Write a Dataset in memory or on Dask as Zarr format 3, chunked by star only.

    Parameters
    ----------
    dataset : Dataset
    path : str or Path
        Replaced if it exists; see `claim`.
    chunk : int
        Stars a chunk.

    Examples
    --------
    >>> from luxscale import store
    >>> store.write_dataset(survey.isel(star=slice(0, 10)), "few.zarr")
    """
    dataset = _writable(dataset.drop_encoding(), chunk)
    encoding: dict[Any, dict[str, Any]] = {}
    for name, variable in dataset.variables.items():
        if variable.dims[:1] == (STAR,):
            encoding[name] = {"chunks": (min(chunk, variable.shape[0]), *variable.shape[1:])}
            if variable.ndim > 1:
                encoding[name]["compressors"] = make_codecs(variable.dtype)
    dataset.to_zarr(
        locate(path),
        mode="w",
        encoding=encoding,
        consolidated=False,
        zarr_format=3,
        write_empty_chunks=True,
    )


def _writable(dataset: xr.Dataset, chunk: int) -> xr.Dataset:
    """Return text with variable length, as Zarr specifies it, and Dask arrays in the chunks to be written; no indexes."""
    new = {}
    for name, v in dataset.variables.items():
        if v.dtype.kind == "U" or (
            v.dtype.kind == "O" and v.chunks
        ):  # xarray would load Dask's objects to look at them
            v = v.astype(np.dtypes.StringDType())
        new[name] = v.chunk({d: chunk if d == STAR else -1 for d in v.dims}) if v.chunks else v
    coords = {name: new.pop(name) for name in dataset.coords}
    return xr.Dataset(new, xr.Coordinates(coords, indexes={}), dataset.attrs)
