"""Whether a path is free to write to, and files that appear only when they are complete.

A Zarr store grows where it will lie, under a lock, and says in its attributes whether it is
complete. A file or directory that others read, such as an export, is written beside its place and
moved there at the end.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import zarr

from luxscale.errors import CannotWrite, InputError
from luxscale.store import objects
from luxscale.store.arrays import is_store, locate, open_group, refuse_packed
from luxscale.store.moves import move_over

#: Names of files that Zarr writes to before it moves them into place.
_PARTIAL = re.compile(r"[^.]+\.[0-9a-f]{4,}\.partial")

#: How files of figures begin, by their endings.
_FIGURES = {".png": (b"\x89PNG",), ".pdf": (b"%PDF",), ".svg": (b"<?xml", b"<svg")}

#: Group of a catalogue that holds what concerns its run.
RUN = "run"


def read_attributes(path: str | Path) -> dict[str, Any] | None:
    """Return the attributes of the Zarr group at ``path``, or None if nothing is there.

    Raises
    ------
    InputError
        If something other than a Zarr group is there.
    """
    try:
        group = open_group(path, "r")
        # files first, for listing members of a group warns of any that are not Zarr's
        if not group.attrs and _holds_nothing_else(path) and set(group.keys()) <= {RUN}:
            return None  # the lock of a run that was stopped before it made the store
        return dict(group.attrs)
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
    """Return whether a file, or anything in a directory or under a URL, is there."""
    if objects.is_url(path):
        return objects.is_occupied(str(path))
    local = Path(path).expanduser()
    if not local.is_dir():
        return local.is_file()
    return any(_is_content(found) for found in local.iterdir())


def _holds_nothing_else(path: str | Path) -> bool:
    """Return whether a local group has no files beside those of Zarr and of a run."""
    if objects.is_url(path):
        return True
    known = ("zarr.json", RUN)
    files = Path(path).expanduser().iterdir()
    return not any(f.name not in known and _is_content(f) for f in files)


def _is_content(path: Path) -> bool:
    """Return whether a file is more than Zarr leaves behind when it is killed while writing."""
    return not _PARTIAL.fullmatch(path.name) or path.is_dir()


def sweep_partial(path: str | Path) -> None:
    """Remove what Zarr left beside a group's arrays; nobody else may be writing there."""
    if not objects.is_url(path):
        for left in Path(path).expanduser().rglob("*.partial"):
            if not _is_content(left):
                left.unlink()


def describe_kind(store_format: str) -> str:
    """Return what messages call a store of a format, with its article."""
    name = store_format.removeprefix("luxscale-")
    longer = {
        "catalog": "a catalogue",
        "crossval": "a cross-validation",
        "intervals": "a set of intervals",
    }
    return longer.get(name, f"a {name}")


def claim_place(path: str | Path, kind: str, *, overwrite: bool = False) -> None:
    """Refuse to write where something else lies.

    Raises
    ------
    InputError
        If ``path`` holds anything, unless it is of this kind and may be overwritten, or nothing can
        be written there.
    """
    attributes = read_attributes(path)
    if attributes is None:
        _check_writable(path)
        return
    found = attributes.get("format")
    if found is None:
        raise InputError(
            f"{path}: a Zarr store that luxscale did not mark as its own is there; choose another "
            "path, or remove it yourself"
        )
    if found != kind:
        kinds = f"{describe_kind(str(found))}, not {describe_kind(kind)}"
        raise InputError(f"{path} is {kinds}; choose another path")
    if not overwrite:
        raise InputError(_offer_to_replace(path, f"{describe_kind(kind)} is there already"))
    _check_writable(path)


def _offer_to_replace(path: str | Path, found: str) -> str:
    return (
        f"{path}: {found}; choose another path, or replace it with overwrite=True (on the command "
        "line --overwrite)"
    )


def refuse_within_stores(path: str | Path) -> None:
    """Refuse a place within a store of luxscale, or in a zip file; other groups may hold stores.

    Raises
    ------
    InputError
    """
    if objects.is_url(path):
        return
    refuse_packed(path)
    for folder in filter(is_store, Path(path).expanduser().absolute().parents):
        kind = str((read_attributes(folder) or {}).get("format"))
        if kind.startswith("luxscale-"):
            raise InputError(f"{path} lies in {describe_kind(kind)}; choose a path outside of it")


def _check_writable(path: str | Path) -> None:
    """Refuse a place in a store, or in a local directory that this user may not write to."""
    if objects.is_url(path):
        return
    refuse_within_stores(path)
    folder = Path(path).expanduser().absolute().parent
    while not folder.exists():
        folder = folder.parent
    if not folder.is_dir():
        raise InputError(f"{path}: {folder} is a file, not a directory; choose another path")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise InputError(f"{path}: {folder} cannot be written to; choose another path")


def require_local(path: str | Path, kind: str) -> Path:
    """Return the absolute path of a local file, or refuse a URL.

    Parameters
    ----------
    path : str or Path
    kind : str
        What is to be written, for messages: ``report``.

    Raises
    ------
    InputError
    """
    if not isinstance(path, str | os.PathLike):
        raise InputError(f"the path of the {kind} is a {type(path).__name__}; give it as text")
    if objects.is_url(path):
        raise InputError(f"{path}: {kind}s go to local files; write it here and copy it")
    return Path(path).expanduser().resolve()


def claim_file(
    path: str | Path, kind: str, is_kind: Callable[[Path], bool], *, overwrite: bool = False
) -> Path:
    """Return the absolute path of a local file to write, or refuse to.

    Parameters
    ----------
    path : str or Path
    kind : str
        What is to be written, for messages: ``report``.
    is_kind : callable
        Whether what lies at a path is of this kind.
    overwrite : bool
        Whether what is there may be replaced.

    Raises
    ------
    InputError
        If it is a URL, there is no such directory, it cannot be written to, or something is there,
        unless it is of this kind and may be overwritten.
    """
    target = require_local(path, kind)
    if not target.parent.is_dir():
        raise InputError(f"{path}: there is no directory {target.parent}; make it first")
    if target.exists():
        article = "an" if kind.startswith("e") else "a"
        if not is_kind(target):
            there = f"something other than {article} {kind} is there"
            raise InputError(f"{path}: {there}; choose another path")
        if not overwrite:
            raise InputError(_offer_to_replace(path, f"{article} {kind} is there already"))
    _check_writable(target)
    return target


def claim_figure(path: str | Path, *, overwrite: bool = False) -> Path:
    """Return the absolute path of a figure to write, or refuse to as `claim_file` does."""
    return claim_file(path, "figure", _is_figure, overwrite=overwrite)


def claim_figure_in(folder: Path, name: str, *, overwrite: bool = False) -> Path:
    """Return the path of a figure to write in a directory, or refuse to as `claim_file` does.

    The directory need not be there: `save_figure` makes it, so that there is none where nothing is
    drawn.
    """
    if folder.exists():
        return claim_figure(folder / name, overwrite=overwrite)
    _check_writable(folder)
    return require_local(folder / name, "figure")


def _is_figure(path: Path) -> bool:
    """Return whether a file begins as figures do; kinds without such a beginning are believed."""
    if not path.is_file():
        return False
    beginnings = _FIGURES.get(path.suffix.lower(), (b"",))
    with path.open("rb") as content:
        return content.read(5).startswith(beginnings)


def save_figure(figure: Any, path: Path) -> None:
    """Write a figure of Matplotlib to a path that was claimed, when it is complete."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with write_then_move(path) as made:
        figure.savefig(made, format=path.suffix[1:].lower(), dpi=150)


@contextlib.contextmanager
def write_then_move(target: Path) -> Iterator[Path]:
    """Yield a path to write to, and move what was written to its target when that is complete.

    What lies at the target is replaced. When writing fails it stays as it was, and what was written
    is removed.

    Parameters
    ----------
    target : Path
        Of a file or directory, in a directory that exists.

    Raises
    ------
    CannotWrite
        If the disk is full.
    """
    with tempfile.TemporaryDirectory(
        prefix=f".{target.name}.partial-", dir=target.parent
    ) as scratch:
        made = Path(scratch) / "new"
        was_there = target.exists()
        with _explain_full_disk(target):
            yield made
        if target.exists() and not was_there:
            raise InputError(f"{target}: was made by somebody else meanwhile; choose another path")
        move_over(made, target)


@contextlib.contextmanager
def _explain_full_disk(target: Path) -> Iterator[None]:
    """Name what was being written where an error is that of a full disk, which names no file."""
    try:
        yield
    except OSError as error:
        # NumPy says no more than how many values it could write
        is_full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        if not is_full and shutil.disk_usage(target.parent).free:
            raise
        todo = "make room and run the same command again"
        raise CannotWrite(f"{target}: cannot be written (the disk is full); {todo}") from error


@contextlib.contextmanager
def replace_store(path: str | Path) -> Iterator[str | Path]:
    """Yield where to write a Zarr store, which takes the place of what is at ``path``.

    A local store is written beside its place and moved there when it is complete. Objects cannot be
    moved: under a URL what is there is removed, and the store is written where it will lie.
    """
    if objects.is_url(path):
        zarr.open_group(locate(path), mode="w", zarr_format=3)
        yield path
        return
    # of a link, what it leads to is replaced
    target = Path(path).expanduser().resolve()
    target.parent.mkdir(parents=True, exist_ok=True)
    with write_then_move(target) as made:
        yield made


@contextlib.contextmanager
def explain_writing(path: str | Path) -> Iterator[None]:
    """Turn errors of writing into one that names the store, and says why it cannot be written.

    Raises
    ------
    CannotWrite
    """
    try:
        yield
    except (OSError, objects.ObjectError) as error:
        reason = getattr(error, "strerror", None) or error
        raise CannotWrite(
            f"{path}: cannot be written ({reason}); correct that and run the same command again"
        ) from error
