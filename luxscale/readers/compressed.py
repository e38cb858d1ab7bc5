"""Files that may be compressed as a whole, by gzip, bzip2 or xz: opened as what they hold."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import lzma
import os
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, BinaryIO, cast

#: First bytes of a compressed file, and what opens it.
_OPENERS: dict[bytes, Callable[..., object]] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ\0": lzma.open,
}

_LONGEST = max(map(len, _OPENERS))

#: First bytes of a file compressed in a way that is not read, and what unpacks it.
_UNPACKERS = {
    b"\x28\xb5\x2f\xfd": "zstd -d",
    b"\x1f\x9d": "uncompress",
    b"PK\3\4": "unzip",
}

_ENDINGS = (".gz", ".bz2", ".xz")

#: What reading a compressed file raises where it is damaged.
UNPACK_ERRORS = (OSError, EOFError, zlib.error, lzma.LZMAError)


def is_compressed(head: bytes) -> bool:
    """Return whether a file that begins so is compressed."""
    return head.startswith(tuple(_OPENERS))


def suggest_unpacking(head: bytes) -> str:
    """Say what unpacks a file that begins so, if it is compressed in a way that is not read."""
    for magic, command in _UNPACKERS.items():
        if head.startswith(magic):
            return f"it is compressed, unpack it first: {command}"
    return ""


def unpack_stream(file: IO[bytes]) -> BinaryIO:
    """Return what an open file holds, unpacked if it is compressed, from its beginning."""
    head = file.read(_LONGEST)
    file.seek(0)
    for magic, unpack in _OPENERS.items():
        if head.startswith(magic):
            return cast(BinaryIO, unpack(file))
    return cast(BinaryIO, file)


def read_unpacked(path: Path, most: int) -> bytes:
    """Return what a file holds, of at most so many bytes and one more.

    Raises
    ------
    OSError, EOFError, zlib.error, lzma.LZMAError
        If it cannot be read, see `UNPACK_ERRORS`.
    """
    with path.open("rb") as file, unpack_stream(file) as content:
        return content.read(most + 1)


class FileBytes:
    """A file on disk, as bytes that are read where they are asked for."""

    def __init__(self, file: BinaryIO):
        self._file = file
        self._size = os.fstat(file.fileno()).st_size

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, part: slice) -> bytes:
        start, stop, _ = part.indices(self._size)
        length = max(stop - start, 0)
        return os.pread(self._file.fileno(), length, start)

    def startswith(self, what: bytes, start: int = 0) -> bool:
        """Return whether the bytes from one on are these."""
        return self[start : start + len(what)] == what


@contextlib.contextmanager
def open_bytes(path: Path, most: int) -> Iterator[bytes | FileBytes]:
    """Open a file as bytes: unpacked, at most so many and one more, if it is compressed.

    Raises
    ------
    OSError, EOFError, zlib.error, lzma.LZMAError
        If it cannot be read, see `UNPACK_ERRORS`.
    """
    with path.open("rb", buffering=0) as file:
        if is_compressed(os.pread(file.fileno(), _LONGEST, 0)):
            yield read_unpacked(path, most)
        else:
            yield FileBytes(file)


def remove_ending(name: str) -> str:
    """Return the name that a file had before it was compressed."""
    for ending in _ENDINGS:
        name = name.removesuffix(ending)
    return name
