"""Which pixels are bad, and why: a pixel has one reason, the first in `list_reasons`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from luxscale.schema.placeholders import FLUX_SENTINELS, NETCDF_FILL, is_sentinel

#: The code of a pixel that is not bad.
GOOD = 0

#: Flux from here on has no place in float32.
_MOST = np.finfo(np.float32).max

#: Flux and ivar in a unit that makes them larger or smaller than float32 holds.
BEYOND = "beyond float32"

_OTHER = (
    "not finite",
    "sentinel",
    "zero flux",
    "no error",
    "huge error",
    "outside file's range",
    "no continuum",
    BEYOND,
)


def list_reasons(bad: Sequence[str]) -> tuple[str, ...]:
    """Return the reasons in their order: the bits named ``bad``, then the others.

    The code of a pixel is 1 + index.
    """
    return (*bad, *_OTHER)


def get_code(bad: Sequence[str], reason: str) -> int:
    """Return the code of a reason."""
    return 1 + list_reasons(bad).index(reason)


def find_bad_pixels(
    flux: np.ndarray,
    ivar: np.ndarray,
    mask: np.ndarray | None,
    bits: Mapping[str, int],
    bad: Sequence[str],
    most_error: float | None,
) -> np.ndarray:
    """Return the code of the reason why each pixel is bad, `GOOD` where it is not.

    Parameters
    ----------
    flux, ivar : array, (star, pixel)
        As the file has them.
    mask : array of int, (star, pixel), optional
    bits : mapping of str to int
        Numbers of the bits, by name.
    bad : sequence of str
        Bits that make a pixel bad.
    most_error : float, optional
        Greatest error, over the star's typical flux.

    Returns
    -------
    array of uint8, (star, pixel)
    """
    found = np.zeros(flux.shape, np.uint8)
    if mask is not None and bad:
        numbers = [bits[name] for name in bad]
        _mark_bits(found, mask, numbers)
    with np.errstate(invalid="ignore", over="ignore"):
        # NaN fails any comparison, so each rule says what a good pixel is where it can
        is_finite = (np.abs(flux) < _MOST) & np.isfinite(ivar)
        rules = {
            "not finite": ~is_finite,
            "sentinel": is_sentinel(flux, FLUX_SENTINELS),
            "zero flux": flux == 0,
            "no error": ~(ivar > 0) | (ivar.astype(np.float32) == np.float32(NETCDF_FILL)),
        }
    for reason, breaks_rule in rules.items():
        is_new = breaks_rule & (found == GOOD)
        found[is_new] = get_code(bad, reason)
    if most_error is not None:
        is_huge = _find_huge_errors(flux, ivar, found == GOOD, most_error)
        found[is_huge] = get_code(bad, "huge error")
    return found


def _mark_bits(found: np.ndarray, mask: np.ndarray, numbers: Sequence[int]) -> None:
    """Set the codes of the bits in ``found``, the first that is set."""
    # a bit above a narrow mask's last is then simply not set
    wide = mask.astype(np.int64)
    any_bit = sum(1 << number for number in numbers)
    hit = np.nonzero(wide & any_bit)
    hit_mask = wide[hit]
    codes = found[hit]
    # backwards, so that the first of several bits has the last word
    for index, number in reversed(list(enumerate(numbers))):
        bit = hit_mask >> number & 1
        codes[bit.astype(bool)] = 1 + index
    found[hit] = codes


def _find_huge_errors(
    flux: np.ndarray, ivar: np.ndarray, good: np.ndarray, most_error: float
) -> np.ndarray:
    """Return where sigma > most_error |typical flux|; of a star without flux, nowhere."""
    good_flux = np.where(good, flux, 0)
    good_ivar = np.where(good, ivar, 0)
    level = compute_typical_flux(good_flux, good_ivar)
    with np.errstate(divide="ignore"):
        greatest_error = most_error * level
        least_ivar = np.where(level > 0, 1 / greatest_error**2, 0)
    return good & (good_ivar < least_ivar[:, None])


def compute_typical_flux(flux: np.ndarray, ivar: np.ndarray) -> np.ndarray:
    """Return the size of the mean flux, weighted by ivar: (star,).

    It is 0 of a star without pixels, or with absurd ones.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        total = np.sum(ivar, 1, dtype=float)
        weighted = np.einsum("ij,ij->i", flux, ivar, dtype=float)
        safe_total = np.where(total > 0, total, 1)
        mean = np.abs(weighted) / safe_total
        return np.where(np.isfinite(mean), mean, 0)
