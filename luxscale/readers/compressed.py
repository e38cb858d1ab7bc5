"""Files that are compressed as a whole, by gzip or bzip2: opened as what they hold."""

from __future__ import annotations

import bz2
import gzip
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import IO, BinaryIO, cast

#: First bytes of a compressed file, and what opens it.
_OPENERS: dict[bytes, Callable[..., object]] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
}

_ENDINGS = (".gz", ".bz2")

#: What reading a compressed file raises where it is damaged.
UNPACK_ERRORS = (OSError, EOFError, zlib.error)


def is_compressed(head: bytes) -> bool:
    """Return whether a file that begins so is compressed."""
    return head.startswith(tuple(_OPENERS))


def unpack_stream(file: IO[bytes]) -> BinaryIO:
    """Return what an open file holds, unpacked if it is compressed, from its beginning."""
    head = file.read(3)
    file.seek(0)
    for magic, unpack in _OPENERS.items():
        if head.startswith(magic):
            return cast(BinaryIO, unpack(file))
    return cast(BinaryIO, file)


def read_unpacked(path: Path, most: int) -> bytes:
    """Return what a file holds, of at most so many bytes and one more.

    Raises
    ------
    OSError, EOFError, zlib.error
        If it cannot be read, see `UNPACK_ERRORS`.
    """
    with path.open("rb") as file, unpack_stream(file) as content:
        return content.read(most + 1)


def remove_ending(name: str) -> str:
    """Return the name that a file had before it was compressed."""
    for ending in _ENDINGS:
        name = name.removesuffix(ending)
    return name
