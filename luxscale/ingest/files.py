"""Which files are meant: by name, by pattern, by a list, or by a directory."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from luxscale.errors import InputError
from luxscale.readers import Format
from luxscale.readers.recognise import find_named


def find_files(
    paths: Iterable[str | Path], fmt: Format, *, listed: str | Path | None = None
) -> tuple[str, ...]:
    """Return the files that are meant, absolute and sorted, each once.

    Of several files of one star, it is the main one.

    Parameters
    ----------
    paths : iterable of str or Path
        Files, patterns (``**`` stands for any directories), and directories, which are searched for
        files whose name the format has.
    fmt : Format
    listed : str or Path, optional
        Text file that names more of them, one per line; relative names start from its directory,
        and lines that start with ``#`` are ignored.

    Returns
    -------
    tuple of str

    Raises
    ------
    InputError
        If a path or pattern leads to no file.
    """
    wanted = [os.path.expanduser(path) for path in paths]
    if listed:
        wanted += _read_list(Path(listed))
    found = set()
    for path in wanted:
        for file in _expand_path(path, fmt):
            found.add(os.path.abspath(fmt.main(file)))
    if not found:
        raise InputError(
            "no files given; name files, a pattern in quotes, a directory, or a list with "
            "--files-from"
        )
    return tuple(sorted(found))


def find_first(path: str | Path) -> str:
    """Return a file that is meant, by which the format of all may be recognised.

    Parameters
    ----------
    path : str or Path
        A file, a pattern or a directory.

    Raises
    ------
    InputError
        If it leads to no file.
    """
    path = os.path.expanduser(path)
    if os.path.isdir(path):
        files = sorted(os.path.join(top, name) for top, _, names in os.walk(path) for name in names)
        named = [file for file in files if find_named(file)]
        if not named:
            raise InputError(f"{path}: no file in it is named as those of a format are")
        return named[0]
    if glob.has_magic(path) and not os.path.exists(path):
        matching = sorted(file for file in glob.iglob(path, recursive=True) if os.path.isfile(file))
        if not matching:
            raise InputError(_describe_unmatched(path))
        return matching[0]
    return path


def _describe_unmatched(path: str) -> str:
    folder = os.path.dirname(path)
    if "[" in folder and os.path.isdir(folder):
        return (
            f"{path}: matches no file, since brackets are part of the pattern; write "
            f"'{os.path.join(glob.escape(folder), os.path.basename(path))}'"
        )
    return f"{path}: matches no file"


def _read_list(path: Path) -> list[str]:
    try:
        # names of files may hold bytes that are no UTF-8
        text = path.read_text("utf-8-sig", errors="surrogateescape")
    except OSError as error:
        raise InputError(f"{path}: cannot be read as a list of files ({error})") from error
    files = []
    for line in text.splitlines():
        if line.strip() and not line.startswith("#"):
            files.append(str(path.parent / line.strip()))
    return files


def _expand_path(path: str, fmt: Format) -> Iterator[str]:
    if os.path.isdir(path):
        found = sorted(_search_directory(path, fmt))
        if not found:
            raise InputError(
                f"{path}: no file in it is named {' or '.join(fmt.pattern)}, as those of "
                f"{fmt.name} are{_describe_others(path)}; give a pattern, e.g. "
                f"'{path.rstrip('/')}/**/*.fits'"
            )
        yield from found
    elif glob.has_magic(path) and not os.path.exists(path):
        found = [file for file in glob.iglob(path, recursive=True) if os.path.isfile(file)]
        if not found:
            raise InputError(_describe_unmatched(path))
        yield from found
    else:
        yield path  # a file that is not there is one more bad file


def _describe_others(top: str) -> str:
    """Say of which formats the first files of a directory are by their names, "" of none."""
    for folder, _, names in os.walk(top):
        for name in sorted(names):
            formats = [fmt.name for fmt in find_named(name) if not fmt.pattern[0].startswith("*.")]
            if formats:
                listed = " or ".join(formats)
                return f" ({os.path.join(folder, name)} is named as those of {listed} are)"
    return ""


def _search_directory(top: str, fmt: Format) -> Iterator[str]:
    visited = {os.path.realpath(top)}
    for folder, folders, names in os.walk(top, followlinks=True):
        folders[:] = [name for name in folders if _visit(os.path.join(folder, name), visited)]
        for name in names:
            if fmt.match_name(name):
                yield os.path.join(folder, name)


def _visit(folder: str, visited: set[str]) -> bool:
    """Return whether a directory is met for the first time; links may lead back to it."""
    real = os.path.realpath(folder)
    is_new = real not in visited
    visited.add(real)
    return is_new
