"""Tables as text: their bytes, and what separates their columns."""

from __future__ import annotations

import codecs

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)

_SEPARATORS = ",;\t|"


def decode_text(raw: bytes) -> str:
    """Return a file as text, without the mark that some programs begin one with.

    Raises
    ------
    UnicodeDecodeError
    """
    for mark, encoding in _MARKS:
        if raw.startswith(mark):
            return raw.decode(encoding)
    return raw.decode("utf-8")


def drop_comments(text: str) -> str:
    """Return a table of comma-separated values without blank lines and comments before it."""
    lines = text.splitlines(keepends=True)
    for number, line in enumerate(lines):
        if line.strip() and not line.startswith("#"):
            return "".join(lines[number:])
    return text


def find_separator(text: str) -> str:
    """Return what separates the names in the first line of a table."""
    first = text.split("\n", 1)[0]
    counts = {separator: first.count(separator) for separator in _SEPARATORS}
    return max(counts, key=lambda separator: counts[separator])
