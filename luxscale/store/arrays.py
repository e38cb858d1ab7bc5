"""Where arrays lie, and how they are laid out: paths and URLs, codecs, chunks of stars."""

from __future__ import annotations

import contextlib
import math
import os
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import xarray as xr
import zarr
from zarr.codecs import BloscCodec, Crc32cCodec

from luxscale.errors import InputError
from luxscale.schema.variables import STAR
from luxscale.store import objects

#: Names of the metadata of a Zarr store, at its root.
_ROOTS = ("zarr.json", ".zgroup", ".zarray")

#: Stars per chunk, unless the survey says otherwise: about 35 MB of an APOGEE survey's flux.
CHUNK = 1024


def make_codecs(dtype: np.dtype) -> tuple[BloscCodec, Crc32cCodec]:
    """Return the codecs of large arrays.

    They read several times faster than Zarr's default, and their checksum shows damage.
    """
    compressor = BloscCodec(cname="lz4", clevel=5, shuffle="bitshuffle", typesize=dtype.itemsize)
    return compressor, Crc32cCodec()


def make_absolute(path: str | Path) -> str:
    """Return a path that means the same to every process.

    A URL stays as it is, another path is made absolute.

    Raises
    ------
    InputError
        If it is no path, or a URL that luxscale does not read.
    """
    _require_path(path)
    if not objects.is_url(path):
        return str(Path(path).expanduser().absolute())
    objects.parse(str(path))
    return str(path)


def locate(path: str | Path) -> Any:
    """Return what Zarr and xarray take for a path or a URL.

    Every store of luxscale is opened through it.

    Raises
    ------
    InputError
        If it is no path, or a URL that is none of object storage or whose bucket cannot be
        reached; see `luxscale.store.objects`.
    """
    _require_path(path)
    if objects.is_url(path):
        return objects.open_url(str(path))
    local = Path(path).expanduser()
    return zarr.storage.ZipStore(local, mode="r") if is_packed(local) else str(local)


def is_store(path: str | Path) -> bool:
    """Return whether a path is that of a Zarr store, or a URL, rather than of files of data."""
    if objects.is_url(path):
        return True
    local = Path(path).expanduser()
    return any((local / name).is_file() for name in _ROOTS) or is_packed(local)


def is_data_file(path: str | Path) -> bool:
    """Return whether a path is that of a file which is no Zarr store."""
    return Path(path).expanduser().is_file() and not is_store(path)


def is_packed(path: str | Path) -> bool:
    """Return whether a path is that of a Zarr store in a zip file, which is read as it is."""
    local = Path(path).expanduser()
    if not local.is_file() or not zipfile.is_zipfile(local):
        return False
    with zipfile.ZipFile(local) as packed:
        return any(name in packed.NameToInfo for name in _ROOTS)


@contextlib.contextmanager
def explain_unstorable(path: str | Path) -> Iterator[None]:
    """Name the store where xarray or Zarr refuse a name, an attribute or a column.

    Raises
    ------
    InputError
    """
    try:
        yield
    except InputError:
        raise
    except (TypeError, ValueError) as error:
        raise InputError(
            f"{path}: cannot be written ({error}); change what that names, or leave it out"
        ) from error


def suggest_reader(path: str | Path) -> str:
    """Return what opens a file that is no store, for messages; empty if it is none."""
    if objects.is_url(path) or not Path(path).expanduser().is_file():
        return ""
    if Path(path).suffix == ".zip":
        return ". A zip file needs one at its top: unpack it, and give the path in it"
    return ". It is a file: xarray.open_dataset opens netCDF, lux.read a few survey files"


def refuse_packed(path: str | Path) -> None:
    """Refuse to write to a store in a zip file.

    Raises
    ------
    InputError
    """
    if is_packed(path):
        raise InputError(
            f"{path}: a store in a zip file is there, which is read alone; choose another path, or "
            "unpack it"
        )


def _require_path(path: Any) -> None:
    """Refuse what is no path, such as a Dataset where its store is to be named."""
    if not isinstance(path, str | os.PathLike):
        raise InputError(
            f"a {type(path).__name__} is given where the path of a store is asked for; give the "
            "path (store.write_dataset, or save of a model, writes what is in memory)"
        )
    if not str(path).strip():
        raise InputError(f"{str(path)!r} is given as the path of a store; give one that has a name")


def open_group(path: str | Path, mode: Literal["r", "r+"], group: str = "") -> zarr.Group:
    """Open a Zarr group that is there, or one inside it."""
    return zarr.open_group(locate(path), path=group, mode=mode)


def open_array(group: zarr.Group, name: str) -> zarr.Array[Any]:
    """Return an array of a group, set to write chunks of fill values too.

    A chunk that is not there is then one that was lost.
    """
    found = group[name]
    assert isinstance(found, zarr.Array)
    return found.with_config({"write_empty_chunks": True})


def list_arrays(group: zarr.Group) -> list[tuple[str, zarr.Array[Any]]]:
    """Return the arrays of a group, by name.

    A process that is killed while it writes metadata leaves a part of them, which is no array.
    """
    with warnings.catch_warnings():
        left_over = r"Object at .*\.partial is not recognized"
        warnings.filterwarnings("ignore", left_over, UserWarning)
        return list(group.arrays())


def get_star_chunk(dataset: xr.Dataset) -> int:
    """Return the number of stars in a chunk of a dataset's widest variable.

    Of several that are as wide, the largest.
    """
    widths = []
    for variable in dataset.data_vars.values():
        if variable.dims[:1] == (STAR,):
            star_bytes = math.prod(variable.shape[1:]) * variable.dtype.itemsize
            widths.append((star_bytes, get_first_chunk(variable)))
    _, widest = max(widths)
    return widest or min(CHUNK, dataset.sizes[STAR])


def get_first_chunk(variable: xr.DataArray) -> int:
    """Return the stars in the first chunk of a variable: on Dask, else where it was read from.

    0 where there are none.
    """
    if variable.chunks:
        return int(variable.chunks[0][0])
    stored = variable.encoding.get("preferred_chunks", {}).get(STAR, 0)
    return min(int(stored), variable.shape[0])


def write_arrays(dataset: xr.Dataset, path: str | Path, chunk: int = CHUNK) -> None:
    """Write a Dataset as `write_dataset` does, beside whatever else a Zarr group holds."""
    dataset = _prepare_to_write(dataset.drop_encoding(), chunk)
    encoding: dict[Any, dict[str, Any]] = {}
    for name, variable in dataset.variables.items():
        if variable.dims[:1] == (STAR,):
            encoding[name] = {"chunks": (min(chunk, variable.shape[0]), *variable.shape[1:])}
            if variable.ndim > 1:
                encoding[name]["compressors"] = make_codecs(variable.dtype)
    dataset.to_zarr(
        locate(path),
        mode="a",
        encoding=encoding,
        consolidated=False,
        zarr_format=3,
        write_empty_chunks=True,
    )


def _prepare_to_write(dataset: xr.Dataset, chunk: int) -> xr.Dataset:
    """Return a dataset to write: text of variable length, the chunks asked for, no indexes."""
    variables = {}
    for name, variable in dataset.variables.items():
        # objects on Dask would be loaded by xarray, to see what they are
        is_lazy_text = variable.dtype.kind == "O" and variable.chunks
        if variable.dtype.kind == "U" or is_lazy_text:
            variable = variable.astype(np.dtypes.StringDType())
        if variable.chunks:
            variable = variable.chunk({d: chunk if d == STAR else -1 for d in variable.dims})
        variables[name] = variable
    coords = {name: variables.pop(name) for name in dataset.coords}
    return xr.Dataset(variables, xr.Coordinates(coords, indexes={}), dataset.attrs)
