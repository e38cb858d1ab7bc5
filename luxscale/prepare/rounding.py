"""Rounds spectra to what their errors allow, so that they take fewer bytes on disk."""

from __future__ import annotations

from typing import Any

import numpy as np

from luxscale.errors import InputError

#: Attribute of flux and its inverse variance that says to what they were rounded.
ROUNDING = "rounding"

#: Bits of the fraction that an inverse variance keeps: rounding changes it by 0.8% at most.
_IVAR_BITS = 6

#: Bits of the fraction of a float32.
_FLOAT32_BITS = 23


def check_rounding(rounding: Any) -> None:
    """Refuse what is no fraction of an error to round to; None stands for no rounding.

    Raises
    ------
    InputError
    """
    if rounding is None:
        return
    is_number = isinstance(rounding, int | float) and not isinstance(rounding, bool)
    if not is_number or not 0 < rounding <= 0.5:
        raise InputError(
            f"rounding = {rounding!r} must be a fraction of the error of a pixel, above 0 and at "
            "most 0.5, e.g. 0.01"
        )


def describe_rounding(rounding: float) -> tuple[str, str]:
    """Return what a survey says of its flux and of its inverse variances."""
    return f"to {rounding:g} of its error", "to 1%"


def round_spectra(
    flux: np.ndarray, ivar: np.ndarray, rounding: float
) -> tuple[np.ndarray, np.ndarray]:
    """Round flux to a fraction of its error, and inverse variances to 1%.

    Parameters
    ----------
    flux, ivar : array of float32, (star, wavelength)
        ``ivar = 0`` where a pixel is bad; its flux stays as it is.
    rounding : float
        Flux changes by no more than this many times its error.

    Returns
    -------
    flux, ivar : array of float32, (star, wavelength)
        Flux is a multiple of the greatest power of two below ``2 rounding / sqrt(ivar)``, an
        inverse variance has six bits after its first: the last bits are zeros, which compress
        away. Rounding again changes nothing.

    Raises
    ------
    InputError
        If the fraction is not above 0 and at most 0.5.

    Examples
    --------
    >>> import numpy as np
    >>> from luxscale.prepare import round_spectra
    >>> flux, ivar = round_spectra(np.float32([[0.98765]]), np.float32([[1234.5]]), 0.1)
    >>> float(flux[0, 0]), float(ivar[0, 0])
    (0.98828125, 1232.0)
    """
    check_rounding(rounding)
    ivar = _keep_bits(np.asarray(ivar, np.float32))
    flux = np.asarray(flux, np.float32)
    is_good = ivar > 0
    step = 2 * rounding / np.sqrt(ivar, where=is_good, out=np.ones_like(ivar))
    _, exponent = np.frexp(step)
    # in float64 no step is too small, and no quotient too large
    step = np.ldexp(1.0, exponent - 1)
    rounded = (np.rint(flux / step) * step).astype(np.float32)
    return np.where(is_good, rounded, flux), ivar


def _keep_bits(values: np.ndarray) -> np.ndarray:
    """Return float32 of 0 or more rounded to the nearest of few bits, of two the even one."""
    dropped = np.uint32(_FLOAT32_BITS - _IVAR_BITS)
    bits = values.view(np.uint32)
    half = (np.uint32(1) << (dropped - np.uint32(1))) - np.uint32(1)
    is_odd = (bits >> dropped) & np.uint32(1)
    kept = (bits + half + is_odd) >> dropped << dropped
    rounded: np.ndarray = kept.view(np.float32)
    # of the smallest numbers, and those that would overflow, the last bits count
    is_normal = (values >= np.finfo(np.float32).tiny) & np.isfinite(rounded)
    return np.where(np.isfinite(values) & is_normal, rounded, values)
