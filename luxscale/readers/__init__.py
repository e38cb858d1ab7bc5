"""Readers of survey files: one module a format, one registry.

Imports schema and what it stands on.

Its modules, from the registry to the bytes:

- `base` says what a reader gives and what a format is; `recognise` tells of which a file is.
- SDSS: `apogee`, `apvisit` and `boss` to SDSS-IV; `mwm` of SDSS-V, and `astra` over the continuum
  of its fits.
- DESI: `desi`, whose cameras `desi_cameras` joins.
- `galah` and `lamost`.
- Gaia: `gaia` reads sampled spectra, and `gaia_continuous` coefficients, which `gaia_calibration`
  samples. Both have their rows from `gaia_tables`, which `gaia_rows` are of, in `gaia_text` or
  another form.
- Arrays of anyone: `arrays` takes them from `fields` by their names, each a `field`, with
  wavelengths on `grids` or the `axis` of a header. `hdf5` lists those of an HDF5 file, and
  `packing` says what their numbers mean.
- Files: `compressed` ones are opened as what they hold. FITS is `fitsfile`, of tables `fitstable`,
  with the `heap` of arrays of varying length, and of compressed images `tiles`. `votable` reads
  VOTables.
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
