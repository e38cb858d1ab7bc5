"""Wavelengths that an image's header states, as IRAF and the FITS standard write them."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from luxscale.readers.fitstable import BadFile, Header

#: What CTYPE1 says of wavelengths that grow evenly, or evenly in the logarithm where DC-FLAG is 1.
_EVEN = ("", "LINEAR", "WAVE", "AWAV", "WAVELENGTH", "LAMBDA", "LOG-LINEAR")

#: Greatest power of ten that wavelengths are, in whatever unit.
_MOST_POWER = 20.0


#: The medium of wavelengths by CTYPE1.
_MEDIUM = {"WAVE": "vacuum", "AWAV": "air"}


class Axis(NamedTuple):
    """Wavelengths, (pixel,), with their unit and medium, "" where the header states none."""

    wavelength: np.ndarray
    unit: str
    medium: str


def states_axis(header: Header) -> bool:
    """Whether a header says what the first axis of its image is; numbers of pixels say nothing."""
    first, step = header.get("CRVAL1"), _find_step(header)
    reference = header.get("CRPIX1", 1)
    counts_from_0 = first == 0 and reference == 1
    is_number = step == 1 and (first == reference or counts_from_0)
    return first is not None and step is not None and not is_number


def read_axis(header: Header, n_pixels: int) -> Axis:
    """Return the wavelengths of an image's first axis: (pixel,).

    CRVAL1 + (pixel - CRPIX1) CDELT1, pixels from 1; the log10 of them where DC-FLAG is 1. CD1_1
    stands for CDELT1, before it where a header has both; PC1_1 is a factor on CDELT1.

    Raises
    ------
    BadFile
        If the header states them otherwise, or no numbers.
    """
    kind = str(header.get("CTYPE1") or "").strip().upper()
    if kind not in _EVEN:
        raise BadFile(
            f"the header states wavelengths as CTYPE1 = {kind!r}, which is not read; write them as "
            "an array, and name it by --option wavelength=..."
        )
    first, step, factor, reference = (
        _read_number(name, number)
        for name, number in [
            ("CRVAL1", header.get("CRVAL1")),
            ("CDELT1", _find_step(header)),
            ("PC1_1", header.get("PC1_1", 1)),
            ("CRPIX1", header.get("CRPIX1", 1)),
        ]
    )
    numbers = first + (np.arange(1, n_pixels + 1) - reference) * step * factor
    unit = str(header.get("CUNIT1") or "").strip()
    if header.get("DC-FLAG") == 1 or kind == "LOG-LINEAR":
        if np.abs(numbers).max(initial=0) > _MOST_POWER:
            raise BadFile(f"the header states log10 wavelengths of {first!r} and more")
        numbers = 10.0**numbers
    return Axis(numbers, unit, _MEDIUM.get(kind, ""))


def _find_step(header: Header) -> Any:
    """Return what wavelengths grow by from pixel to pixel, None where the header does not say."""
    return header.get("CD1_1", header.get("CDELT1"))


def _read_number(name: str, number: Any) -> float:
    if isinstance(number, bool) or not isinstance(number, int | float) or not np.isfinite(number):
        raise BadFile(f"the header states {name} = {number!r}, which is no number")
    return float(number)
