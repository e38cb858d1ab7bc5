"""The values on the axes of a grid: checked, in order, and of one type."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from numbers import Integral, Real
from typing import Any

import numpy as np

from luxscale.crossval.axes import LATENT_DIM, PRIOR, RECIPE, SHARE, Axes
from luxscale.errors import InputError
from luxscale.training.methods import METHODS, pick_method
from luxscale.training.recipes import Recipe


def is_several(value: Any) -> bool:
    """Return whether a setting is given several values."""
    return isinstance(value, Sequence | np.ndarray) and not isinstance(value, str)


def make_axes(
    bases: Sequence[Recipe],
    by_recipe: bool,
    latent_dims: Sequence[int] | None,
    priors: Sequence[float] | None,
    varied: Mapping[str, Sequence[Any]],
) -> Axes:
    """Return what varies, in the order of the results' dims."""
    axes: dict[str, tuple[Any, ...]] = {}
    if by_recipe:
        axes[RECIPE] = tuple(base.name for base in bases)
    elif latent_dims is None:
        latent_dims = [bases[0].latent_dim]
    if latent_dims is not None:
        axes[LATENT_DIM] = _sort_numbers(
            "latent_dims", latent_dims, _is_count, "whole numbers, 1 or more", int
        )
    if not by_recipe and pick_method(bases[0].method).prior is None:
        axes[PRIOR] = _sort_numbers(
            "priors", priors or (1.0,), _is_precision, "positive numbers", float
        )
    known = [name for method in METHODS.values() for name in method.settings]
    for name in dict.fromkeys([*known, *varied]):
        if name in varied:
            axes[name] = _sort_numbers(name, varied[name], _is_number, "numbers", _make_plain)
    return tuple(axes.items())


def make_shares(shares: Sequence[float] | None) -> Axes:
    """Return the axis of the shares of stars that are trained on, none where all are."""
    if shares is None:
        return ()
    found = _sort_numbers(SHARE + "s", shares, _is_share, "numbers above 0, 1 the greatest", float)
    if found[-1] != 1 or len(found) < 2:
        raise InputError(f"shares is {list(shares)}; give two or more, 1 among them, as [0.5, 1]")
    return ((SHARE, found),)


def _sort_numbers(
    name: str,
    values: Sequence[Any],
    is_good: Callable[[Any], bool],
    wanted: str,
    kind: Callable[[Any], Any],
) -> tuple[Any, ...]:
    """Return numbers in order and of one type, and refuse repeated ones and those of no use."""
    are_good = all(map(is_good, values))
    is_repeated = len(set(values)) < len(values)
    if not len(values) or is_repeated or not are_good:
        raise InputError(f"{name} is {list(values)}; give {wanted}, each once")
    return tuple(map(kind, sorted(values)))


def _is_number(value: Any) -> bool:
    return isinstance(value, Real)


def _make_plain(value: Any) -> int | float:
    return int(value) if isinstance(value, Integral) else float(value)


def _is_count(value: Any) -> bool:
    return isinstance(value, Integral) and int(value) >= 1


def _is_share(value: Any) -> bool:
    return isinstance(value, Real) and 0 < float(value) <= 1


def _is_precision(value: Any) -> bool:
    return math.isfinite(value) and value > 0
