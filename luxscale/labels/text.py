"""Tables as text: their bytes, what separates their columns, and identifiers as they stand."""

from __future__ import annotations

import codecs
import csv

import numpy as np

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)

_SEPARATORS = ",;\t|"

#: What separates columns where none of these do.
BLANK = " "


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
    """Return a table of comma-separated values without blank lines and comments before it.

    A comment that names the columns of the numbers below it, as some programs write, stays as their
    first line.
    """
    lines = text.splitlines(keepends=True)
    before = ""
    for number, line in enumerate(lines):
        if line.startswith("#"):
            before = line.lstrip("#").lstrip()
        elif line.strip():
            names = [before] if _names_columns(before, line) else []
            return "".join(names + lines[number:])
    return text


def _names_columns(comment: str, line: str) -> bool:
    """Return whether a comment names as many columns as the line below it has, one a number."""
    separator = find_separator(line)
    at = None if separator == BLANK else separator  # any number of blanks is one
    fields = line.split(at)
    if len(fields) < 2 or len(comment.split(at)) != len(fields):
        return False
    return any(map(_is_number, fields))


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def find_separator(text: str) -> str:
    """Return what separates the names in the first line of a table; blanks if nothing else does."""
    first = text.split("\n", 1)[0]
    counts = {separator: first.count(separator) for separator in _SEPARATORS}
    found = max(counts, key=lambda separator: counts[separator])
    return found if counts[found] else BLANK


def restore_names(names: list[str], first: str, separator: str) -> list[str]:
    """Return names of columns, of those that the first line repeats as they stand there."""
    written = next(csv.reader([first], delimiter=separator, skipinitialspace=True), [])
    if separator == BLANK:
        written = first.split()
    if len(written) != len(names):
        return list(names)
    repeated = {name.strip() for name in written if written.count(name) > 1}
    pairs = zip((name.strip() for name in written), names, strict=True)
    return [stands if stands in repeated else name for stands, name in pairs]


def drop_leading_zeros(text: np.ndarray) -> np.ndarray:
    """Return identifiers as whole numbers are written, those that are some: str objects, (row,)."""
    words = [
        word.lstrip("0") or "0" if word.isascii() and word.isdecimal() else word
        for word in text.tolist()
    ]
    return np.array(words, object)
