"""What a setting of training may be.

Importing this loads nothing heavy: the command line asks it before anything is trained.
"""

from __future__ import annotations

import dataclasses
import math
from numbers import Integral, Real
from typing import Any

from luxscale.errors import InputError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Setting:
    """A setting of a method.

    Parameters
    ----------
    default
        Its value unless given.
    whole : bool
        Whether it is a whole number, of at least 1; else a number above 0.
    zero : bool
        Whether it may be 0.
    choices : tuple of str
        Its values, where it is no number.
    size : str
        What it is the number of, where it is a size of the model.
    kept : bool
        Whether a training that goes on from a model has to have the model's value.
    """

    default: Any
    whole: bool = False
    zero: bool = False
    choices: tuple[str, ...] = ()
    size: str = ""
    kept: bool = False

    def check(self, name: str, value: Any) -> None:
        """Refuse a value that the setting cannot have.

        Raises
        ------
        InputError
        """
        if self.choices:
            if value not in self.choices:
                raise InputError(f"{name} {value!r} is unknown; choose {' or '.join(self.choices)}")
        elif self.whole:
            check_whole(name, value, 0 if self.zero else 1)
        else:
            check_positive(name, value, zero=self.zero)


def check_positive(name: str, value: Any, *, zero: bool = False) -> float:
    """Return a setting as a float.

    Parameters
    ----------
    name : str
        In the message.
    value
    zero : bool
        Whether it may be 0.

    Raises
    ------
    InputError
        If it is not a positive number, or 0 where that is allowed.
    """
    number = float(value) if isinstance(value, Real) else math.nan
    if not math.isfinite(number) or number < 0 or (number == 0 and not zero):
        allowed = "a positive number"
        if zero:
            allowed = "0 or above"
        raise InputError(f"{name} is {value!r}; it must be {allowed}")
    return number


def check_label_clip(value: Any) -> float:
    """Return robust standard deviations beyond which labels are set aside.

    Raises
    ------
    InputError
        If it is no number above 0.
    """
    if not (isinstance(value, Real) and float(value) > 0):
        raise InputError(f"label_clip is {value!r}; it must be above 0, or inf to keep all")
    return float(value)


def check_whole(name: str, value: Any, least: int) -> None:
    """Refuse what is not a whole number of at least ``least``.

    Raises
    ------
    InputError
    """
    if not isinstance(value, Integral) or int(value) < least:
        raise InputError(f"{name} is {value!r}; it must be a whole number of at least {least}")
