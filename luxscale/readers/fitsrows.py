"""FITS files of many stars, read a block of rows at a time: they may be larger than memory."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from luxscale.readers.fitsfile import BadFile, HduList, blaming_the_file, open_fits


class _Bytes:
    """What `HduList` asks of bytes, of a file on disk."""

    def __init__(self, file: BinaryIO):
        self._file, self._size = file, os.fstat(file.fileno()).st_size

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, part: slice) -> bytes:
        start, stop, _ = part.indices(self._size)
        return os.pread(self._file.fileno(), max(stop - start, 0), start)

    def startswith(self, what: bytes, start: int) -> bool:
        return self[start : start + len(what)] == what


@contextlib.contextmanager
def open_many(path: str | Path) -> Iterator[HduList]:
    """Open a FITS file of any size, of which `Hdu.rows` reads some; one compressed by gzip may be as large as of one star.

    Raises
    ------
    BadFile
    """
    if not Path(path).is_file():
        raise BadFile("no such file")
    with Path(path).open("rb") as file:
        if file.read(2) == b"\x1f\x8b":
            with open_fits(path) as hdus:
                yield hdus
            return
        whole: Any = _Bytes(file)
        if not whole.startswith(b"SIMPLE  =", 0):
            raise BadFile("not a FITS file" if len(whole) else "empty file")
        with blaming_the_file():
            yield HduList(whole)
