"""Which pixels are bad, and why: a pixel has one reason, the first of those that `reasons` lists."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

#: Values that stand for no value.
SENTINELS = (-9999.0, -999.0, 9999.0)

#: The code of a pixel that is not bad.
GOOD = 0

#: Flux from here on has no place in float32.
_MOST = np.finfo(np.float32).max

_OTHER = (
    "not finite",
    "sentinel",
    "zero flux",
    "no error",
    "huge error",
    "outside file's range",
    "no continuum",
)


def reasons(bad: Sequence[str]) -> tuple[str, ...]:
    """Return the reasons in their order: the bits named ``bad``, then the others; the code of a pixel is 1 + index."""
    return (*bad, *_OTHER)


def code(bad: Sequence[str], reason: str) -> int:
    """Return the code of a reason."""
    return 1 + reasons(bad).index(reason)


def find_bad(
    flux: np.ndarray,
    ivar: np.ndarray,
    mask: np.ndarray | None,
    bits: Mapping[str, int],
    bad: Sequence[str],
    most_error: float | None,
) -> np.ndarray:
    """Return the code of the reason why each pixel is bad, `GOOD` where it is not: (star, pixel) uint8.

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
    """
    found = np.zeros(flux.shape, np.uint8)
    if mask is not None and bad:
        _find_bits(found, mask, [bits[name] for name in bad])
    with np.errstate(invalid="ignore"):
        rules = {
            "not finite": ~((np.abs(flux) < _MOST) & np.isfinite(ivar)),
            "sentinel": np.any([flux == value for value in SENTINELS], axis=0),
            "zero flux": flux == 0,
            "no error": ~(ivar > 0),
        }
    for reason, where in rules.items():
        found[where & (found == GOOD)] = code(bad, reason)
    if most_error is not None:
        found[_huge(flux, ivar, found == GOOD, most_error)] = code(bad, "huge error")
    return found


def _find_bits(found: np.ndarray, mask: np.ndarray, numbers: Sequence[int]) -> None:
    """Set the codes of the bits in ``found``, the first that is set."""
    wide = mask.astype(np.int64)  # a bit above a narrow mask's last is then simply not set
    hit = np.nonzero(wide & sum(1 << n for n in numbers))
    codes = found[hit]
    for i, n in reversed(list(enumerate(numbers, 1))):
        codes[(wide[hit] >> n & 1).astype(bool)] = i
    found[hit] = codes


def _huge(flux: np.ndarray, ivar: np.ndarray, good: np.ndarray, most_error: float) -> np.ndarray:
    """Return where errors are huge: sigma > most_error |typical flux|; of a star without flux, none are."""
    ivar = np.where(good, ivar, 0)
    level = typical(np.where(good, flux, 0), ivar)
    with np.errstate(divide="ignore"):
        least = np.where(level > 0, 1 / (most_error * level) ** 2, 0)
    return good & (ivar < least[:, None])


def typical(flux: np.ndarray, ivar: np.ndarray) -> np.ndarray:
    """Return the size of the mean flux, weighted by ivar: (star,); 0 of a star without pixels, or with absurd ones."""
    with np.errstate(over="ignore", invalid="ignore"):
        total = np.sum(ivar, 1, dtype=float)
        mean = np.abs(np.einsum("ij,ij->i", flux, ivar, dtype=float)) / np.where(
            total > 0, total, 1
        )
        return np.where(np.isfinite(mean), mean, 0)
