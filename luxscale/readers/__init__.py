"""Readers of survey files: one module a format, one registry.

Imports schema and what it stands on.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from luxscale.errors import InputError
from luxscale.readers import (
    apogee,
    apvisit,
    arrays,
    astra,
    boss,
    desi,
    gaia,
    gaia_continuous,
    galah,
    lamost,
    mwm,
)
from luxscale.readers.base import BadFile, Format, Option, Spectra

__all__ = ["FORMATS", "BadFile", "Format", "Option", "Spectra", "get_format"]

#: Every format, by name.
FORMATS: dict[str, Format] = {
    f.name: f
    for module in (
        apogee,
        apvisit,
        boss,
        mwm,
        astra,
        lamost,
        galah,
        desi,
        gaia,
        gaia_continuous,
        arrays,
    )
    for f in module.FORMATS
}


def get_format(name: str, options: Mapping[str, str] | None = None) -> Format:
    """Return a format by name, with the unit and medium of wavelengths that its options give.

    Parameters
    ----------
    name : str
        One of ``FORMATS``.
    options : mapping, optional
        The format's options.

    Returns
    -------
    Format

    Raises
    ------
    InputError
        Lists those there are.
    """
    if name not in FORMATS:
        raise InputError(f"no format {name!r}; there are: {', '.join(FORMATS)}")
    given: dict[str, Any] = {}
    for key, value in (options or {}).items():
        if key == "units":
            given[key] = arrays.UNITS.get(value, value)
        elif key == "medium":
            given[key] = value
    if not given:
        return FORMATS[name]
    return dataclasses.replace(FORMATS[name], **given)
