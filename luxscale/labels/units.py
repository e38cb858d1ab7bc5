"""Units that files state of their columns, and the units of labels."""

from __future__ import annotations

import dataclasses
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


def convert_error(
    values: np.ndarray, errors: np.ndarray, units: ErrorUnits, columns: tuple[str, str]
) -> np.ndarray:
    """Return the errors of values in the unit that the label is to have.

    Those of logarithms and temperatures are steps. Where a value is converted to a logarithm, or
    from one, it is half the interval from value - error to value + error; and so it is where the
    error is one in dex beside a value that is no logarithm.

    Parameters
    ----------
    values, errors : array, (row,)
        As the file has them.
    units : ErrorUnits
    columns : tuple of str
        What messages call the columns of values and errors.

    Raises
    ------
    InputError
        If the units measure different things, or the error beside a logarithm is of its argument.
    """
    value_column, error_column = columns
    own = units.own
    if units.is_in_dex:
        with np.errstate(over="ignore", invalid="ignore"):
            errors = _halve_interval(values * 10**errors, values / 10**errors)
    elif _is_logarithmic(parse_unit(own)):
        _check_logarithm(units, columns)
    else:
        errors = _convert_step(errors, units.errors or own, own, error_column)
    if not _crosses_logarithm(own, units.wanted):
        return _convert_step(errors, own, units.wanted, error_column)
    with np.errstate(divide="ignore", invalid="ignore"):
        high = convert_unit(values + errors, own, units.wanted, value_column)
        low = convert_unit(values - errors, own, units.wanted, value_column)
    return _halve_interval(high, low)


@dataclasses.dataclass(frozen=True)
class ErrorUnits:
    """Units of a label's values and errors.

    Parameters
    ----------
    values, errors : str
        Stated by the file, or "".
    wanted : str
        The label's own.
    """

    values: str
    errors: str
    wanted: str

    @property
    def own(self) -> str:
        """Unit that the values are in."""
        return self.wanted if parse_unit(self.values) is None else self.values

    @property
    def is_in_dex(self) -> bool:
        """Whether the errors are in dex, and the values are no logarithms."""
        from astropy import units as u

        errors = parse_unit(self.errors)
        return is_linear(self.own) and (errors == u.dex or isinstance(errors, u.DexUnit))


def _check_logarithm(units: ErrorUnits, columns: tuple[str, str]) -> None:
    """Refuse an error that a file states in a physical unit beside a logarithm.

    Many files state the unit of the argument for an error that is one in dex.
    """
    if not is_linear(units.errors):
        return
    raise InputError(
        f"{columns[1]} is in {units.errors!r}, and the values beside it are in {units.own!r}; "
        "write the errors in dex, and say so in the file, or leave out their unit"
    )


def _halve_interval(high: np.ndarray, low: np.ndarray) -> np.ndarray:
    half: np.ndarray = np.abs(high - low) / 2
    return half


def _convert_step(errors: np.ndarray, unit: str, wanted: str, where: str) -> np.ndarray:
    """Return differences in the unit that is wanted; of logarithms they stay as they are."""
    from astropy import units as u

    pair = _find_pair(unit, wanted)
    if pair is None or any(map(_is_logarithmic, pair)):
        return errors
    # a step in degrees is one in kelvin
    step, of_wanted = ("K" if one == u.deg_C else str(one) for one in pair)
    return convert_unit(errors, step, of_wanted, where)


def _crosses_logarithm(unit: str, wanted: str) -> bool:
    """Return whether one of two units is a logarithm's, such as dex(K), and the other is not."""
    pair = _find_pair(unit, wanted)
    return pair is not None and _is_logarithmic(pair[0]) != _is_logarithmic(pair[1])


def is_linear(unit: str) -> bool:
    """Return whether a unit is a physical one, such as K, and no logarithm's, nor none."""
    from astropy import units as u

    found = parse_unit(unit)
    is_logarithm = found == u.dex or _is_logarithmic(found)
    return found not in (None, u.dimensionless_unscaled) and not is_logarithm


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
