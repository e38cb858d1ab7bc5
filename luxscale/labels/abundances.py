"""Abundance ratios: [X/H] to [X/Fe] and back, with errors."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

#: Labels that end as an [X/H] does, but are what the others are taken relative to.
_NOT_ELEMENTS = ("fe_h", "m_h")


def convert_to_x_fe(
    x_h: ArrayLike, x_h_err: ArrayLike, fe_h: ArrayLike, fe_h_err: ArrayLike
) -> tuple[np.ndarray, ...]:
    """Return [X/Fe] = [X/H] - [Fe/H] and its error: two float64 arrays, (star,), in dex.

    The errors of both are taken as uncorrelated: sigma^2 = sigma_X^2 + sigma_Fe^2. Surveys publish
    no covariance of abundances; where the errors of both come from the same temperature, this is
    too large. Converted there and back a value is the same, but its error grows to sqrt(sigma_X^2 +
    2 sigma_Fe^2): convert once.

    Parameters
    ----------
    x_h, x_h_err, fe_h, fe_h_err : array, (star,)
        In dex; NaN where missing. A value is missing where either is; an error, too.
    """
    return _combine(x_h, x_h_err, fe_h, fe_h_err, -1)


def convert_to_x_h(
    x_fe: ArrayLike, x_fe_err: ArrayLike, fe_h: ArrayLike, fe_h_err: ArrayLike
) -> tuple[np.ndarray, ...]:
    """Return [X/H] = [X/Fe] + [Fe/H] and its error: two float64 arrays, (star,), in dex.

    The inverse of `x_fe_from_x_h` for values; errors are again added in quadrature, and do not
    shrink back.

    Parameters
    ----------
    x_fe, x_fe_err, fe_h, fe_h_err : array, (star,)
        In dex; NaN where missing.
    """
    return _combine(x_fe, x_fe_err, fe_h, fe_h_err, 1)


def _combine(
    x: ArrayLike, x_err: ArrayLike, fe: ArrayLike, fe_err: ArrayLike, sign: int
) -> tuple[np.ndarray, np.ndarray]:
    value = np.asarray(x, np.float64) + sign * np.asarray(fe, np.float64)
    err = np.hypot(np.asarray(x_err, np.float64), np.asarray(fe_err, np.float64))
    return value, err


def split_abundance(label: str) -> tuple[str, str] | None:
    """Return the element and scale of an abundance: ``("mg", "x_fe")`` of ``mg_fe``.

    None for labels that are no abundance.
    """
    if label.endswith("_fe"):
        return label.removesuffix("_fe"), "x_fe"
    if label.endswith("_h") and label.removeprefix("raw_") not in _NOT_ELEMENTS:
        return label.removesuffix("_h"), "x_h"
    return None


def get_iron_label(label: str) -> str:
    """Return the name of the [Fe/H] that an abundance is relative to.

    It is uncalibrated where the abundance is.
    """
    return "raw_fe_h" if label.startswith("raw_") else "fe_h"


def rename_on_scale(label: str, scale: str) -> str:
    """Return the name of a label on a scale: ``mg_fe`` of ``mg_h`` on ``"x_fe"``.

    Labels that are no abundance stay as they are.
    """
    abundance = split_abundance(label)
    if abundance is None or scale not in ("x_fe", "x_h"):
        return label
    element, _ = abundance
    return f"{element}_{scale.removeprefix('x_')}"
