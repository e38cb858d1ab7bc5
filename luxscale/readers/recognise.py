"""Which format a file is of, by what it holds: readers refuse the files of other formats."""

from __future__ import annotations

import os
from collections.abc import Mapping

from luxscale.errors import InputError
from luxscale.readers import FORMATS, Format
from luxscale.readers.base import BadFile

#: Reasons that are worth telling, of formats that do not fit.
_MOST_REASONS = 3


def recognise_format(path: str) -> Format:
    """Return the format of a survey file.

    Parameters
    ----------
    path : str
        Of a file.

    Raises
    ------
    InputError
        If no format fits, or several do; lists them.
    """
    if not os.path.isfile(path):
        raise InputError(f"{path or '(an empty path)'}: no such file")
    reasons = {fmt.name: explain_misfit(path, fmt) for fmt in FORMATS.values()}
    fitting = [fmt for fmt in FORMATS.values() if reasons[fmt.name] is None]
    special = [fmt for fmt in fitting if not fmt.general]
    found = special or fitting
    if len(found) == 1:
        return found[0]
    if found:
        names = ", ".join(fmt.name for fmt in found)
        raise InputError(
            f"{path}: has spectra of several formats, {names}; name one by format= (--format)"
        )
    told = {name: reason for name, reason in reasons.items() if reason}
    raise InputError(
        f"{path}: {_explain_unrecognised(path, told)}. If it is of a format that luxscale reads, "
        f"name that by format= (--format): {', '.join(FORMATS)}"
    )


def explain_misfit(path: str, fmt: Format, options: Mapping[str, str] | None = None) -> str | None:
    """Say why a file cannot be read in a format; None if it can.

    Parameters
    ----------
    path : str
    fmt : Format
    options : mapping, optional
        Options of the format.
    """
    try:
        next(iter(fmt.read(path, **(options or {}))))
    except StopIteration:
        return "holds no spectrum"
    except BadFile as error:
        return str(error)
    except Exception as error:  # a damaged file may bring a reader to anything
        return f"cannot be read: {type(error).__name__}: {error}"
    return None


def find_named(path: str) -> list[Format]:
    """Return the formats whose files are named like this one.

    They are those with names of their own, and only if there are none, those that have nothing but
    an ending in common.
    """
    name = os.path.basename(path)
    own, by_ending = [], []
    for fmt in FORMATS.values():
        patterns = fmt.match_name(name)
        if any(not pattern.startswith("*.") for pattern in patterns):
            own.append(fmt)
        elif patterns:
            by_ending.append(fmt)
    return own or by_ending


def _explain_unrecognised(path: str, reasons: Mapping[str, str]) -> str:
    """Say why no format fits, by the formats that the name speaks for."""
    named = [fmt.name for fmt in find_named(path)]
    told = {name: reasons[name] for name in named} or dict(reasons)
    if len(set(told.values())) == 1:
        return next(iter(told.values()))
    if len(told) > _MOST_REASONS:
        return "not recognised as a file of any format"
    # what a file has instead is told by those who are asked for one format
    short = {name: reason.partition(";")[0] for name, reason in told.items()}
    return "; ".join(f"as {name}, {reason}" for name, reason in short.items())
