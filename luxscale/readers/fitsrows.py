"""FITS files of many stars, read a block of rows at a time: they may be larger than memory."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from luxscale.readers.compressed import is_compressed
from luxscale.readers.fitsfile import HduList, open_fits, raise_bad_file
from luxscale.readers.fitstable import BadFile


class _Bytes:
    """What `HduList` asks of bytes, of a file on disk."""

    def __init__(self, file: BinaryIO):
        self._file = file
        self._size = os.fstat(file.fileno()).st_size

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, part: slice) -> bytes:
        start, stop, _ = part.indices(self._size)
        length = max(stop - start, 0)
        return os.pread(self._file.fileno(), length, start)

    def startswith(self, what: bytes, start: int) -> bool:
        return self[start : start + len(what)] == what


@contextlib.contextmanager
def open_large_fits(path: str | Path) -> Iterator[HduList]:
    """Open a FITS file of any size, of which `Hdu.read_rows` reads some.

    One compressed by gzip or bzip2 may be as large as a file of one star, see `open_fits`.

    Raises
    ------
    BadFile
    """
    if not Path(path).is_file():
        raise BadFile("no such file")
    with Path(path).open("rb") as file:
        if is_compressed(file.read(3)):
            with open_fits(path) as hdus:
                yield hdus
            return
        raw: Any = _Bytes(file)
        if not len(raw):
            raise BadFile("empty file")
        if not raw.startswith(b"SIMPLE  =", 0):
            raise BadFile("not a FITS file")
        with raise_bad_file():
            yield HduList(raw)
