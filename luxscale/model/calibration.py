"""Errors of labels: a factor and a floor that are smooth functions of the formal error.

The formal error of a label is to it what S/N is to a spectrum: at a given star it falls as one over
S/N. Neither function needs more than the inference gives already.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from luxscale.model.lux import LuxModel


def replace_calibration(model: LuxModel, name: str, calibration: Calibration | None) -> LuxModel:
    """Return a model with this calibration of one output, and none of others.

    Parameters
    ----------
    model : LuxModel
    name : str
        Of the output.
    calibration : Calibration, optional
    """
    outputs = tuple(
        dataclasses.replace(o, calibration=calibration if o.name == name else None)
        for o in model.outputs
    )
    return dataclasses.replace(model, outputs=outputs)


def is_uncalibrated(fingerprint: str, model: LuxModel) -> bool:
    """Return whether a fingerprint is of a model as it was before its errors were calibrated."""
    return replace_calibration(model, "", None).fingerprint == fingerprint != model.fingerprint


@dataclasses.dataclass(frozen=True)
class Curve:
    """A function of the formal error: through its knots, and constant beyond them.

    Parameters
    ----------
    at : tuple of float
        Formal errors, ascending.
    value : tuple of float
    """

    at: tuple[float, ...]
    value: tuple[float, ...]

    @property
    def middle(self) -> float:
        """Value in the middle of the knots."""
        return float(self(np.array([np.exp(np.mean(np.log(self.at)))]))[0])

    def __call__(self, formal: np.ndarray) -> np.ndarray:
        """Return the value at formal errors; between knots it rises and falls as they do."""
        return self._interpolate(formal, np.array(self.value))

    @property
    def is_constant(self) -> bool:
        """Whether it has one knot."""
        return len(self.at) == 1

    def scale_by(self, formal: np.ndarray) -> np.ndarray:
        """Return the value such that its product with the formal error rises as that of knots.

        It is between the values of the knots.
        """
        if self.is_constant:
            return np.full(np.shape(formal), self.value[0])
        logarithm = self._interpolate(formal, np.log(np.array(self.value) * np.array(self.at)))
        inside = np.clip(formal, self.at[0], self.at[-1])
        factor: np.ndarray = np.exp(logarithm) / inside
        return np.clip(factor, min(self.value), max(self.value))

    def _interpolate(self, formal: np.ndarray, value: np.ndarray) -> np.ndarray:
        if self.is_constant:
            return np.full(np.shape(formal), value[0])
        from scipy import interpolate  # takes as long to load as numpy, and few models need it

        inside = np.log(np.clip(formal, self.at[0], self.at[-1]))
        found: np.ndarray = interpolate.PchipInterpolator(np.log(self.at), value)(inside)
        return found


def make_constants(values: Iterable[float]) -> tuple[Curve, ...]:
    """Return functions that are each one value, whatever the formal error."""
    return tuple(Curve((1.0,), (float(value),)) for value in values)


def write_curves(curves: Iterable[Curve]) -> list[tuple]:
    """Return what a model's file holds of functions: knots and values of each."""
    return [dataclasses.astuple(curve) for curve in curves]


def read_curves(entry: Iterable[Sequence[Sequence[float]]]) -> tuple[Curve, ...]:
    """Return the functions that `write_curves` wrote."""
    return tuple(Curve(tuple(at), tuple(value)) for at, value in entry)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Errors:
    """What is made of the formal errors of labels.

    Parameters
    ----------
    scale : tuple of Curve
        Factor on the formal error of each label, 1 or more.
    floor : tuple of Curve
        What is added to that in quadrature, in the label's unit.
    """

    scale: tuple[Curve, ...]
    floor: tuple[Curve, ...]

    @property
    def entry(self) -> dict[str, Any]:
        """What a model's file holds of it."""
        return {"scale": write_curves(self.scale), "floor": write_curves(self.floor)}

    @functools.cached_property
    def is_constant(self) -> bool:
        """Whether scales and floors are the same for all stars."""
        return all(curve.is_constant for curve in (*self.scale, *self.floor))

    @functools.cached_property
    def shrinks(self) -> bool:
        """Whether a scale is below 1."""
        return any(min(curve.value) < 1 for curve in self.scale)

    def find_scale(self, formal: np.ndarray) -> np.ndarray:
        """Return the factor on formal errors: (star, label)."""
        if self.is_constant:
            return np.broadcast_to([curve.value[0] for curve in self.scale], formal.shape)
        columns = [curve.scale_by(f) for curve, f in zip(self.scale, formal.T, strict=True)]
        return np.stack(columns, axis=1)

    def find_floor(self, formal: np.ndarray) -> np.ndarray:
        """Return the floor at formal errors: (star, label)."""
        if self.is_constant:
            return np.broadcast_to([curve.value[0] for curve in self.floor], formal.shape)
        columns = [curve(f) for curve, f in zip(self.floor, formal.T, strict=True)]
        return np.stack(columns, axis=1)


def _read_errors(entry: dict[str, Any]) -> dict[str, tuple[Curve, ...]]:
    """Return what makes the `Errors` of an entry."""
    return {name: read_curves(entry[name]) for name in ("scale", "floor")}


@dataclasses.dataclass(frozen=True, kw_only=True)
class PartErrors(Errors):
    """What errors of labels are that are inferred from some outputs of a model alone.

    Parameters
    ----------
    scale, floor : tuple of Curve
        As of `Errors`.
    outputs : tuple of str
        Names, in the order of the model.
    """

    outputs: tuple[str, ...]

    @property
    def entry(self) -> dict[str, Any]:
        """What a model's file holds of it."""
        return {"outputs": self.outputs, **super().entry}

    @classmethod
    def of_entry(cls, entry: dict[str, Any]) -> PartErrors:
        """Return what `entry` was made of."""
        return cls(outputs=tuple(entry["outputs"]), **_read_errors(entry))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Calibration(Errors):
    """What errors of labels are, as held-out stars and repeats tell.

    Parameters
    ----------
    scale, floor : tuple of Curve
        As of `Errors`.
    record : str
        JSON: what it was found from, see `facts`.
    """

    record: str = "{}"

    @functools.cached_property
    def version(self) -> str:
        """Twelve digits that tell it from others."""
        return hashlib.sha256(repr((self.scale, self.floor)).encode()).hexdigest()[:12]

    @property
    def facts(self) -> dict[str, Any]:
        """What it was found from: ``labels``, a dict for each, and ``counts`` of stars and rows."""
        found: dict[str, Any] = json.loads(self.record)
        return {"version": self.version, **found}

    @property
    def entry(self) -> dict[str, Any]:
        """What a model's file holds of it."""
        return {**super().entry, "record": self.record}

    @classmethod
    def of_entry(cls, entry: dict[str, Any] | None) -> Calibration | None:
        """Return what `entry` was made of; None of none."""
        if entry is None:
            return None
        return cls(record=entry["record"], **_read_errors(entry))
