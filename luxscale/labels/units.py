"""Units that files state of their columns, and the units of labels."""

from __future__ import annotations

import functools
import warnings
from typing import Any

import numpy as np

from luxscale.errors import InputError


def convert_unit(values: np.ndarray, unit: str, wanted: str, where: str) -> np.ndarray:
    """Return values in the unit that is wanted.

    A unit that is not stated, or that astropy does not know, is taken for the one wanted, and so is
    one of a logarithm for another of which the argument is not stated.

    Raises
    ------
    InputError
        If the units measure different things.
    """
    from astropy import units as u

    pair = _find_pair(unit, wanted)
    if pair is None:
        return values
    try:
        return np.asarray((values * pair[0]).to_value(pair[1], u.temperature()))
    except (u.UnitConversionError, u.UnitTypeError) as error:
        raise InputError(
            f"{where} is in {unit!r}, which is no {wanted!r}; take another column, or state the "
            "label's unit: units={LABEL: UNIT} or --labels-setting unit.LABEL=UNIT"
        ) from error


def convert_error(errors: np.ndarray, unit: str, wanted: str, where: str) -> np.ndarray:
    """Return errors in the unit that is wanted; of logarithms and temperatures, their steps."""
    from astropy import units as u

    pair = _find_pair(unit, wanted)
    if pair is None or pair[0] == u.deg_C or any(map(_is_logarithmic, pair)):
        return errors
    return convert_unit(errors, unit, wanted, where)


def crosses_logarithm(unit: str, wanted: str) -> bool:
    """Return whether one of two units is a logarithm's, such as dex(K), and the other is not."""
    pair = _find_pair(unit, wanted)
    return pair is not None and _is_logarithmic(pair[0]) != _is_logarithmic(pair[1])


def propagate_error(
    values: np.ndarray, errors: np.ndarray, unit: str, wanted: str, where: str
) -> np.ndarray:
    """Return the errors of values that are converted to a logarithm, or from one.

    Half the interval from value - error to value + error, both in ``unit``.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        high = convert_unit(values + errors, unit, wanted, where)
        low = convert_unit(values - errors, unit, wanted, where)
        half: np.ndarray = np.abs(high - low) / 2
    return half


def _is_logarithmic(unit: Any) -> bool:
    from astropy import units as u

    return isinstance(unit, u.function.FunctionUnitBase)


def _find_pair(unit: str, wanted: str) -> tuple[Any, Any] | None:
    """Return two units between which there is something to convert."""
    from astropy import units as u

    pair = parse_unit(unit), parse_unit(wanted)
    if None in pair or pair[0] == pair[1]:
        return None
    if u.dimensionless_unscaled in pair or u.dex in pair:
        return None
    return pair


@functools.cache
def parse_unit(unit: str) -> Any:
    """Return the unit of astropy that a file means; None for one that is not known."""
    from astropy import units as u

    if not unit.strip():
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = u.Unit(unit, parse_strict="silent")
    return None if isinstance(found, u.UnrecognizedUnit) else found
