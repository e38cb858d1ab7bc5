"""What is done to the spectra of a format: a value, which a survey records."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Sequence
from typing import Any

from luxscale.errors import InputError
from luxscale.prepare.rounding import check_rounding
from luxscale.readers.base import Format

Ranges = tuple[tuple[float, float], ...]

#: What may be done about the continuum.
CONTINUA = ("none", "file", "scale", "median", "sines", "chebyshev")

#: Those that are one number for a star.
LEVELS = ("scale", "median")

#: Orders that the field uses: The Cannon's sines and cosines, The Payne's Chebyshev polynomials.
ORDERS = {"sines": 3, "chebyshev": 4}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe:
    """How spectra as their files hold them become the flux of a survey.

    ``dataclasses.asdict`` of it goes into JSON.

    Parameters
    ----------
    bad : tuple of str
        Names of the mask's bits that make a pixel bad.
    rest_frame : bool
        Whether spectra are shifted to the rest frame of each star.
    continuum : str
        ``"none"``: the flux is left as it is; ``"file"``: divided by the continuum in the file;
        ``"scale"``: by the mean over its good pixels; ``"median"``: by their median, which depends
        on S/N a little; ``"sines"``, ``"chebyshev"``: by a weighted
        fit of these functions to each chip, which does not depend on S/N.
    order : int, optional
        Sines and cosines up to ``order`` periods in ``length``, or the degree of the polynomials.
    length : float
        The longest period of the sines, Angstrom; 1400 in The Cannon, whose chips are half of that.
        No chip may be wider.
    chips : tuple of (float, float)
        Wavelength ranges that are fitted apart, in the unit of the grid; none: see
        ``continuum.choose_chips``.
    continuum_pixels : tuple of (float, float), optional
        Wavelength ranges that the fit, the mean or the median goes over; None: all good
        pixels.
    most_error : float, optional
        A pixel of which the error is more than this many times the star's typical flux (the mean
        weighted by ivar, so that such pixels do not change it) is bad; None: no error is too large.
        At the default of 10 it held no information, and large errors that stand for bad pixels are
        far above it.
    rounding : float, optional
        Flux is rounded to within this fraction of its error, and ivar to 1%, see `round_spectra`;
        None: neither.
    """

    bad: tuple[str, ...]
    rest_frame: bool
    continuum: str
    order: int | None = None
    length: float = 1400.0
    chips: Ranges = ()
    continuum_pixels: Ranges | None = None
    most_error: float | None = Format.most_error
    rounding: float | None = None

    @property
    def fits(self) -> bool:
        """Whether a continuum is fitted."""
        return self.continuum in ORDERS


def default_recipe(format: Format, **changes: Any) -> Recipe:  # noqa: A002 - its name everywhere
    """Return the recipe of a format, with changes by name.

    Lists, as JSON has them, are as good as tuples.

    Raises
    ------
    InputError
        For what there is not, and for settings that would have no effect; says what there is.
    """
    names = [field.name for field in dataclasses.fields(Recipe)]
    for name in changes:
        if name not in names:
            raise InputError(f"a recipe has no {name!r}; it has: {', '.join(names)}")
    changes_rest_frame = changes.get("rest_frame", format.rest_frame) != format.rest_frame
    if changes_rest_frame and not format.velocities:
        raise InputError(
            f"files of {format.name} give no velocities: they are in the rest frame, or do not "
            "say; leave out rest_frame (--rest-frame, --as-observed)"
        )
    settings = {
        "bad": format.bad,
        "rest_frame": format.rest_frame,
        "continuum": format.continuum,
        "most_error": format.most_error,
        **changes,
    }
    if settings["continuum"] not in CONTINUA:
        raise InputError(
            f"no continuum {settings['continuum']!r}; there are: {', '.join(CONTINUA)}"
        )
    settings["bad"] = tuple(settings["bad"])
    if settings.get("order") is None:
        settings["order"] = ORDERS.get(settings["continuum"])
    for name in ("chips", "continuum_pixels"):
        if settings.get(name) is not None:
            settings[name] = _check_ranges(name, settings[name])
    recipe = Recipe(**settings)
    _check_bits(recipe, format)
    _check_numbers(recipe)
    _check_effect(recipe)
    return recipe


def _check_ranges(name: str, values: Sequence[Sequence[float]]) -> Ranges:
    try:
        ranges = tuple((float(low), float(high)) for low, high in values)
    except (TypeError, ValueError):
        raise InputError(
            f"{name} = {values!r} must be pairs of wavelengths, least and greatest"
        ) from None
    for low, high in ranges:
        if not low < high:
            raise InputError(f"{name}: {low:g} to {high:g} is no range of wavelengths")
    return tuple(sorted(ranges))


def _check_bits(recipe: Recipe, format: Format) -> None:  # noqa: A002
    unknown = [name for name in recipe.bad if name not in format.bits]
    if unknown:
        have = ", ".join(format.bits) or "none"
        raise InputError(
            f"{format.name} has no mask bit {', '.join(map(repr, unknown))}; it has: {have}"
        )
    if len(set(recipe.bad)) < len(recipe.bad):
        raise InputError(f"bad = {', '.join(recipe.bad)} names a mask bit twice")


def _check_numbers(recipe: Recipe) -> None:
    least = 1 if recipe.continuum == "sines" else 0
    if recipe.fits:
        is_order = isinstance(recipe.order, int) and least <= recipe.order <= 30
        if not is_order:
            raise InputError(
                f"order = {recipe.order!r} of {recipe.continuum} must be a whole number from "
                f"{least} to 30"
            )
    _check_positive("length", recipe.length)
    if recipe.most_error is not None:
        _check_positive("most_error", recipe.most_error)
    check_rounding(recipe.rounding)
    for (_, high), (low, _) in itertools.pairwise(recipe.chips):
        if low < high:
            raise InputError(
                f"chips overlap between {low:g} and {high:g}; a pixel has one continuum"
            )


def _check_positive(name: str, value: Any) -> None:
    if not isinstance(value, int | float) or not 0 < value < math.inf:
        raise InputError(f"{name} = {value!r} must be positive and finite")


def _check_effect(recipe: Recipe) -> None:
    """Refuse settings that the recipe's continuum does not look at."""
    idle = []
    if not recipe.fits:
        if recipe.order is not None:
            idle.append("order")
        if recipe.chips:
            idle.append("chips")
    if recipe.continuum != "sines" and recipe.length != Recipe.length:
        idle.append("length")
    uses_pixels = recipe.fits or recipe.continuum in LEVELS
    if not uses_pixels and recipe.continuum_pixels is not None:
        idle.append("continuum_pixels")
    if idle:
        raise InputError(
            f"{' and '.join(idle)} would have no effect with continuum = {recipe.continuum!r}"
        )
