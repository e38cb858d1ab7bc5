"""Settings of labels as words, for the command line and for files of settings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from luxscale.errors import InputError
from luxscale.labels.base import LabelSettings
from luxscale.schema.names import suggest_names
from luxscale.schema.placeholders import SENTINELS

#: Settings of one value.
_SINGLE = ("scale", "min_snr", "key", "snr", "value_flags", "sentinels")

#: Settings of many, given as ``NAME.OF``, and the field they fill.
_MANY = {
    "floor": "floors",
    "row_flags": "row_flags",
    "column": "columns",
    "error": "errors",
    "unit": "units",
}


def parse_settings(
    labels: Iterable[str] = (), words: Mapping[str, str] | None = None
) -> LabelSettings:
    """Return settings of labels given as words.

    Parameters
    ----------
    labels : iterable of str
        Labels to take; none: the catalogue's usual.
    words : mapping of str to str
        ``scale``, ``min_snr``, ``key``, ``snr``, ``value_flags`` (bits, by commas, or ``none``),
        ``row_flags`` (only ``none``), and ``floor.LABEL``, ``row_flags.COLUMN`` (bits, by commas),
        ``column.LABEL``, ``error.LABEL``, ``unit.LABEL``, and ``sentinels`` (numbers that stand for
        "missing" besides the usual ones, by commas).

    Raises
    ------
    InputError
        If a name is none of these, or a value no number where it must be one.
    """
    fields: dict[str, Any] = {"labels": tuple(labels) or None}
    words = dict(words or {})
    names_flags = any(name.startswith("row_flags.") for name in words)
    if words.get("row_flags") == "none" and not names_flags:
        fields["row_flags"] = {}
        del words["row_flags"]
    for name, word in words.items():
        kind, dot, of = name.partition(".")
        if dot and of and kind in _MANY:
            many = fields.setdefault(_MANY[kind], {})
            many[of] = _parse_value(kind, name, word)
        elif not dot and kind in _SINGLE:
            fields[kind] = _parse_value(kind, name, word)
        else:
            names_of_many = [f"{kind}.NAME" for kind in _MANY]
            known = [*_SINGLE, "row_flags=none", *names_of_many]
            raise InputError(f"no setting {name!r} of labels; {suggest_names(name, known)}")
    return LabelSettings(**fields)


def _parse_value(kind: str, name: str, word: str) -> Any:
    if kind in ("value_flags", "row_flags"):
        bits = [] if word == "none" else [bit.strip() for bit in word.split(",")]
        return tuple(bit for bit in bits if bit)
    if kind not in ("floor", "min_snr", "sentinels"):
        return word
    try:
        if kind == "sentinels":
            return (*SENTINELS, *map(float, word.split(",")))
        return float(word)
    except ValueError:
        raise InputError(f"{name}={word}: it must be a number") from None
