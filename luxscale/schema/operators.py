"""Operators as other languages write them, in conditions on stars."""

from __future__ import annotations

import re

#: Text, in which anything may stand.
_QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"")

#: Operators of other languages, and what is written in place of them.
_MISSPELT = tuple(
    (re.compile(pattern), word)
    for pattern, word in (
        (r"&&|\b(?:AND|And)\b", "and"),
        (r"\|\||\b(?:OR|Or)\b", "or"),
        (r"!(?!=)|\b(?:NOT|Not)\b", "not"),
        (r"\b(?:IN|In)\b", "in"),
        (r"<>", "!="),
        (r"=<|≤", "<="),
        (r"=>|≥", ">="),
        (r"(?<![<>=!])=(?!=)", "=="),
    )
)


def find_misspelt(condition: str) -> str:
    """Return what to write in place of an operator of another language; empty if there is none."""
    bare = _QUOTED.sub("", condition)
    for pattern, word in _MISSPELT:
        found = pattern.search(bare)
        if found:
            return f"write {word!r} in place of {found[0]!r},"
    return ""
