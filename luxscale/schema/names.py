"""Names: those of columns, and which were meant by one that is not among those there are."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

#: Names that one which is not there is compared with, letter by letter.
_MOST_COMPARED = 1000

#: Names that a message lists.
_MOST_LISTED = 20

#: Longest name of a column, without suffixes: a FITS card of 80 must hold it.
_NAME_LENGTH = 48


def find_close_names(names: Iterable[str], wanted: str, most: int = 3) -> list[str]:
    """Return names that are much like the one wanted, in any case of letters, the nearest first.

    Of many names only those that share half of it, or a quarter, at its beginning or end are
    compared: millions take a second.

    Parameters
    ----------
    names : iterable of str
    wanted : str
    most : int
        Names to return, at most.
    """
    names = list(names)
    sharing = _find_sharing(names, wanted)
    compared = names if len(names) <= _MOST_COMPARED else sharing[:_MOST_COMPARED]
    by_fold: dict[str, str] = {}
    for name in compared:
        by_fold.setdefault(name.lower(), name)
    close = difflib.get_close_matches(wanted.lower(), by_fold, most)
    if close:
        return [by_fold[name] for name in close]
    return sharing[:most]


def _find_sharing(names: list[str], wanted: str) -> list[str]:
    """Return names that hold the beginning or end of the one wanted, as long a part as any does."""
    for size in (len(wanted), len(wanted) // 2, len(wanted) // 4):
        if size < 2:
            break
        beginning, end = wanted[:size], wanted[-size:]
        sharing = [name for name in names if beginning in name or end in name]
        if sharing:
            return sharing
    return []


def suggest_names(wanted: str, known: Iterable[str]) -> str:
    """Return what a message says of a name that is not among those there are."""
    known = list(known)
    if not known:
        return "there are none"
    close = find_close_names(known, wanted, most=4)
    if close:
        return f"similar: {', '.join(close)}"
    listed = ", ".join(known[:_MOST_LISTED])
    n_more = len(known) - _MOST_LISTED
    if n_more > 0:
        listed += f" and {n_more} more"
    return f"there are: {listed}"


def sanitise_name(name: str) -> str:
    """Return a name of a letter, then lower-case ASCII letters, digits and underscores."""
    plain = re.sub("[^a-z0-9]+", "_", name.lower()).strip("_")[:_NAME_LENGTH]
    if plain[:1].isalpha():
        return plain
    return f"c_{plain}".rstrip("_")
