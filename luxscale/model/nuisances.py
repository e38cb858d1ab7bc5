"""Nuisances: what spectra have beside their star, with a Gaussian prior on each.

A continuum that was fitted a little wrong, a velocity that is left, a line spread function that
differs, patterns such as residuals of sky lines. Each has one coefficient a star, of prior mean 0
and a width, which is inferred with the latents (`luxscale.model.distortion`).
"""

from __future__ import annotations

import dataclasses
import math
import re
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, is_zipfile

import jax
import numpy as np

from luxscale.errors import InputError
from luxscale.schema.standard import find_shifted
from luxscale.schema.variables import CATALOG

#: Prior width of each coefficient of the continuum, a fraction of the flux.
CONTINUUM_WIDTH = 0.05

#: Most orders of a continuum: more would take lines for continuum.
_MOST_DEGREE = 10

#: How nuisances are written, in messages.
SYNTAX = "continuum:DEGREE[:WIDTH], velocity:WIDTHkm/s, resolution:WIDTH:POWER, TEMPLATES.npz"

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")

#: What loading templates raises where a file is empty, damaged or has one array without a name.
_LOAD_ERRORS = (OSError, EOFError, TypeError, ValueError, BadZipFile, zlib.error)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Nuisances:
    """What one spectrum of a star may have beside its latents.

    Parameters
    ----------
    velocity : float, optional
        Prior width of the velocity, km/s.
    resolution : tuple of float, optional
        Prior width of the width of the line spread function, as a fraction of it, and the resolving
        power (FWHM) of spectra that the model was trained on.
    continuum : tuple of (int, float), optional
        Degree of the polynomial that multiplies the spectrum, less 1, and the prior width of each
        coefficient (of Legendre's polynomials over the grid).
    templates : tuple of str
        Names.
    patterns : array, (template, feature)
        Of the templates, in the spectrum's unit; the coefficient of each has a prior width of 1.
    """

    velocity: float | None = None
    resolution: tuple[float, float] | None = None
    continuum: tuple[int, float] | None = None
    templates: tuple[str, ...] = ()
    patterns: Any = dataclasses.field(default_factory=lambda: np.zeros((0, 0)), compare=False)

    @property
    def names(self) -> tuple[str, ...]:
        """Name of each coefficient, as a catalogue has it."""
        return tuple(name for name, _, _ in self._list())

    @property
    def widths(self) -> np.ndarray:
        """Prior width of each coefficient."""
        return np.array([width for _, width, _ in self._list()])

    @property
    def units(self) -> tuple[str, ...]:
        """Unit of each coefficient."""
        return tuple(unit for _, _, unit in self._list())

    @property
    def identity(self) -> tuple:
        """What a fingerprint holds of them beside the patterns."""
        return (self.velocity, self.resolution, self.continuum, self.templates)

    @property
    def entry(self) -> dict[str, Any]:
        """What an output's entry in a model's file holds of them, for `Nuisances.of_entry`."""
        held = {
            "velocity": self.velocity,
            "resolution": self.resolution,
            "continuum": self.continuum,
            "templates": self.templates,
        }
        return {name: value for name, value in held.items() if value}

    @classmethod
    def of_entry(cls, entry: dict[str, Any], patterns: np.ndarray | None = None) -> Nuisances:
        """Return the nuisances that a model's file describes."""
        # JSON has lists for tuples
        held: dict[str, Any] = {n: tuple(v) if isinstance(v, list) else v for n, v in entry.items()}
        if patterns is not None:
            held["patterns"] = patterns
        return cls(**held)

    def describe(self) -> str:
        """Say what they are, in words."""
        words = []
        if self.velocity:
            words.append(f"velocity within {self.velocity:g} km/s")
        if self.resolution:
            width, power = self.resolution
            words.append(f"resolution within {width:.3g} of R = {power:g}")
        if self.continuum:
            degree, width = self.continuum
            words.append(f"continuum of degree {degree} within {width:.3g}")
        if self.templates:
            words.append(f"templates {', '.join(self.templates)}")
        return "; ".join(words)

    def _list(self) -> list[tuple[str, float, str]]:
        """Return name, prior width and unit of each coefficient."""
        found = []
        if self.velocity:
            found.append(("velocity", self.velocity, "km/s"))
        if self.resolution:
            found.append(("resolution", self.resolution[0], ""))
        if self.continuum:
            degree, width = self.continuum
            found += [(f"continuum_{k}", width, "") for k in range(degree + 1)]
        return found + [(name, 1.0, "") for name in self.templates]


jax.tree_util.register_dataclass(
    Nuisances, ["patterns"], ["velocity", "resolution", "continuum", "templates"]
)


def read_nuisances(given: str | Path | Sequence[str | Path], grid: np.ndarray) -> Nuisances:
    """Return nuisances as users write them.

    Parameters
    ----------
    given : str, Path, or sequence of them
        ``continuum:DEGREE[:WIDTH]``, ``velocity:WIDTHkm/s``, ``resolution:WIDTH:POWER`` and the
        path of a file of templates; a str may hold several, separated by commas.
    grid : array, (feature,)
        Wavelengths of the spectrum.

    Raises
    ------
    InputError
        If one is not written so, comes twice, or templates are not finite or on another grid.
    """
    found: dict[str, Any] = {}
    for item in _split(given):
        name = "templates" if item.endswith(".npz") else item.partition(":")[0]
        if name in found:
            raise InputError(f"nuisance {item!r}: {name} comes twice; give it once")
        if name == "templates":
            found[name], found["patterns"] = _read_templates(item, grid)
        elif name in _PARSERS:
            found[name] = _PARSERS[name](item)
        else:
            raise InputError(f"nuisance {item!r} is unknown; write {SYNTAX}")
    if not found:
        raise InputError(f"nuisance is empty; write {SYNTAX}, or leave it out")
    made = Nuisances(**found)
    _check_names(made)
    return made


def _check_names(nuisances: Nuisances) -> None:
    """Refuse templates by whose names a catalogue would have two variables of one name."""
    of_catalog = {v.name for v in CATALOG}
    n_others = len(nuisances.names) - len(nuisances.templates)
    errors = {f"{name}_err" for name in nuisances.names}
    taken = of_catalog | errors | {*nuisances.names[:n_others]}
    for name in nuisances.templates:
        if name in taken or f"{name}_err" in of_catalog:
            raise InputError(
                f"template {name!r} has the name of another variable of a catalogue; rename it"
            )


def _split(given: str | Path | Sequence[str | Path]) -> list[str]:
    items = [given] if isinstance(given, str | Path) else list(given)
    parts = [part.strip() for item in items for part in str(item).split(",")]
    return [part for part in parts if part]


def _parse_numbers(item: str, least: int, most: int) -> list[float]:
    """Return the numbers after a name, which are separated by colons."""
    parts = item.split(":")[1:]
    try:
        numbers = [float(part) for part in parts]
    except ValueError:
        numbers = []
    sound = all(math.isfinite(number) and number >= 0 for number in numbers)
    if not least <= len(numbers) <= most or not sound:
        raise InputError(f"nuisance {item!r} is not written as any of {SYNTAX}")
    return numbers


def _parse_continuum(item: str) -> tuple[int, float]:
    degree, width = [*_parse_numbers(item, 1, 2), CONTINUUM_WIDTH][:2]
    if degree != int(degree) or degree > _MOST_DEGREE or not 0 < width <= 1:
        raise InputError(
            f"nuisance {item!r}: the degree is a whole number from 0 to {_MOST_DEGREE}, and the "
            "width a fraction of the flux, above 0"
        )
    return int(degree), width


def _parse_velocity(item: str) -> float:
    (width,) = _parse_numbers(item.removesuffix("km/s"), 1, 1)
    if not width > 0:
        raise InputError(f"nuisance {item!r}: the width is in km/s, above 0")
    return width


def _parse_resolution(item: str) -> tuple[float, float]:
    width, power = _parse_numbers(item, 2, 2)
    if not 0 < width <= 0.5 or not power > 1:
        raise InputError(
            f"nuisance {item!r}: the width is a fraction, above 0 and up to 0.5, and the resolving "
            "power (wavelength over FWHM) above 1, e.g. resolution:0.1:22500"
        )
    return width, power


_PARSERS = {
    "continuum": _parse_continuum,
    "velocity": _parse_velocity,
    "resolution": _parse_resolution,
}


def _read_templates(path: str, grid: np.ndarray) -> tuple[tuple[str, ...], np.ndarray]:
    """Return names and patterns of a file of templates, which are on the grid."""
    try:
        with np.load(path, allow_pickle=False) as held:
            arrays = {name: held[name] for name in held.files}
    except FileNotFoundError:
        raise InputError(f"{path}: no such file of templates") from None
    except _LOAD_ERRORS as error:
        reason = str(error) if is_zipfile(path) else "it is no .npz file"
        raise InputError(f"{path}: no templates can be read of it ({reason})") from error
    wavelength = arrays.pop("wavelength", None)
    if wavelength is None or not arrays:
        raise InputError(
            f"{path}: needs an array 'wavelength', the grid of the spectra, and templates on it; "
            f"it has {', '.join(arrays) or 'no other'}"
        )
    same = wavelength.shape == grid.shape and wavelength.dtype.kind == "f"
    if not same or not np.isfinite(wavelength).all() or find_shifted(wavelength, grid).any():
        raise InputError(
            f"{path}: the templates {', '.join(arrays)} are on another grid than the spectra, "
            f"which have {grid.size} pixels from {grid[0]:g} to {grid[-1]:g}; resample them"
        )
    for name, array in arrays.items():
        _check_template(path, name, array, grid.size)
    patterns = np.array([array.astype(float) for array in arrays.values()])
    return tuple(arrays), patterns


def _check_template(path: str, name: str, array: np.ndarray, size: int) -> None:
    """Refuse a template that is no finite array on the grid, or has no name for a column."""
    if not _NAME.fullmatch(name):
        raise InputError(
            f"{path}: template {name!r}: call it by letters, digits and underscores, as the "
            "catalogue's column is called"
        )
    if array.shape != (size,) or array.dtype.kind not in "fiu":
        raise InputError(
            f"{path}: template {name!r} is {array.dtype} of shape {array.shape}; it must have a "
            f"number for each of the {size} wavelengths"
        )
    bad = ~np.isfinite(array)
    if bad.any():
        raise InputError(
            f"{path}: template {name!r} has {int(bad.sum())} values that are not finite, the first "
            f"at pixel {int(np.argmax(bad))}; put 0 where it says nothing"
        )
    if not array.any():
        raise InputError(f"{path}: template {name!r} is 0 everywhere; leave it out")
