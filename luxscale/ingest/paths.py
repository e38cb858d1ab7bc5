"""Files, and stars of them, as text that can be stored and printed.

Names of files may be made of any bytes.
"""

from __future__ import annotations

import re

#: Python reads a byte 0x80 to 0xFF that is no UTF-8 as U+DC80 to U+DCFF, which no file of text can
#: hold; here it is U+EF80 to U+EFFF, which Unicode leaves to private use.
_RAW, _STORED = 0xDC80, 0xEF80
_TO_STORED = {_RAW + i: _STORED + i for i in range(0x80)}
_TO_RAW = {stored: raw for raw, stored in _TO_STORED.items()}


def make_storable(path: str) -> str:
    """Return a path that is valid text."""
    return path.translate(_TO_STORED)


def restore_path(path: str) -> str:
    """Return the path that a stored one stands for."""
    return path.translate(_TO_RAW)


#: What stands for the name of a star that has none, see `name_row`.
_ROW = re.compile(r"row \d+")


def name_row(row: int) -> str:
    """Return what stands for the name of a star that is told by its row."""
    return f"row {row}"


def describe_place(path: str, star: str) -> str:
    """Say which file is meant, or which star or row of it."""
    if not star:
        return path
    return f"{path}, {star}" if _ROW.fullmatch(star) else f"{path}, star {star}"
