"""One output of a Lux model: its map from latents, and its noise."""

from __future__ import annotations

import dataclasses
import hashlib
import math
from collections.abc import Collection, Sequence
from typing import Any

import jax
import numpy as np
import xarray as xr

from luxscale.model.calibration import Calibration, Curve, Errors, PartErrors, make_constants
from luxscale.model.correlated import CorrelatedNoise
from luxscale.model.decoders import Decoder
from luxscale.model.noise import DiagonalNoise, Noise
from luxscale.model.nuisances import Nuisances
from luxscale.schema.outputs import OutputSpec, Role
from luxscale.schema.variables import hold_array
from luxscale.schema.windows import find_within

#: Arrays of an output, (feature,), by their names in it and in a model's file.
ARRAYS = ("scatter", "scale", "floor", "used")


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Output:
    """One output of a model: what it is, its map from latents, and its noise.

    Parameters
    ----------
    spec : OutputSpec
        Names of the variables and of the feature dim.
    coord : tuple
        Wavelengths or label names.
    units : tuple of str
        Unit of the grid (a spectrum), or of each feature (labels).
    attrs : tuple of (name, value)
        Further attributes of the grid, e.g. ``medium``.
    map : Decoder
        One of ``luxscale.model.decoders``.
    scatter, scale, floor : array, (feature,)
        See the registry ``luxscale.schema.variables.MODEL``.
    used : array of bool, (feature,)
    bounds : array, (feature, 2)
        Least and greatest value in training.
    windows : tuple of (label, ((least, greatest), ...))
        Labels that are inferred from the pixels in these wavelength windows alone.
    correlation : CorrelatedNoise, optional
        Noise that features share, in the output's units; ``scatter`` is then what it adds to the
        error of each feature.
    dof : float
        Degrees of freedom of the noise, infinite if it is Gaussian; else stars that the model does
        not describe have less weight.
    preparation : str
        How the training spectra were prepared, JSON, see ``luxscale.schema.preparation``; "" where
        the survey did not say.
    inflation : tuple of Curve
        Factors on formal errors of labels, which raise none beyond that of a star without data;
        empty if all are 1.
    nuisances : Nuisances, optional
        What spectra have beside their star, which is inferred with its latents.
    calibration : Calibration, optional
        Of errors of labels, in the place of floor and inflation, for stars of any outputs.
    part_errors : tuple of PartErrors
        In the place of floor and inflation where labels are inferred from some of the outputs.
    """

    spec: OutputSpec
    coord: tuple
    units: tuple[str, ...]
    attrs: tuple[tuple[str, str], ...]
    map: Decoder
    scatter: Any
    scale: Any
    floor: Any
    used: Any
    bounds: Any
    windows: tuple[tuple[str, tuple[tuple[float, float], ...]], ...] = ()
    correlation: CorrelatedNoise | None = None
    dof: float = float("inf")
    preparation: str = ""
    inflation: tuple[Curve, ...] = ()
    nuisances: Nuisances | None = None
    calibration: Calibration | None = None
    part_errors: tuple[PartErrors, ...] = ()

    @property
    def name(self) -> str:
        """Name of the variable, e.g. ``flux``."""
        return self.spec.name

    @property
    def is_label(self) -> bool:
        """Whether it is labels, which catalogues hold."""
        return self.spec.role is Role.LABELS

    @property
    def is_spectrum(self) -> bool:
        """Whether features are pixels of a grid, rather than named labels or bands."""
        return self.spec.role is Role.SPECTRUM

    @property
    def errors(self) -> Errors:
        """What is made of the formal errors of labels, the calibration's if there is one."""
        if self.calibration is not None:
            return self.calibration
        scale = self.inflation or make_constants([1.0] * len(self.coord))
        return Errors(scale=scale, floor=make_constants(np.asarray(self.floor, float)))

    @property
    def errors_of_parts(self) -> tuple[PartErrors, ...]:
        """What is made of formal errors where labels are of some outputs, if that differs."""
        return () if self.calibration is not None else self.part_errors

    def has_errors_of(self, outputs: Collection[str]) -> bool:
        """Return whether errors were measured on labels of some outputs alone.

        Parameters
        ----------
        outputs : collection of str
        """
        return any(set(part.outputs) == set(outputs) for part in self.errors_of_parts)

    @property
    def noise(self) -> Noise:
        """Noise of the output, in its units; of features that take no part, the errors alone."""
        if self.correlation is not None:
            return self.correlation
        return DiagonalNoise(np.where(self.used, self.scatter, 0).astype(float))

    def inside(self, spans: tuple[tuple[float, float], ...]) -> np.ndarray:
        """Return the positions of the pixels in wavelength windows: (pixel,).

        There are none in an output that is no spectrum.
        """
        if not self.is_spectrum:
            return np.array([], int)
        grid = np.asarray(self.coord)
        return np.flatnonzero(find_within(grid, spans))

    @property
    def identity(self) -> tuple:
        """What a fingerprint holds of it besides its arrays."""
        what = (self.spec, self.coord, self.units)
        how = (self.attrs, self.map.kind, self.windows)
        # models older than roles had spectra and labels only, and keep their fingerprints
        role = (Role.BANDS.value,) if self.spec.role is Role.BANDS else ()
        heavy = () if math.isinf(self.dof) else (self.dof,)
        beside = () if self.nuisances is None else (self.nuisances.identity,)
        calibrated = () if self.calibration is None else (self.calibration.version,)
        # factors that are constants were numbers before they were functions
        factors = tuple(c.value[0] if c.is_constant else c for c in self.inflation)
        found = (*what, *how, *role, *self.map.identity, *heavy, *factors, *beside)
        return (*found, *calibrated, *self.part_errors)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of all that inference depends on."""
        return compute_digest([self.identity], [self])

    def __eq__(self, other: object) -> bool:
        """Return whether both are the same output, with the same map and noise."""
        if not isinstance(other, Output):
            return NotImplemented
        return self is other or self.fingerprint == other.fingerprint

    def __hash__(self) -> int:
        """Return the hash of the fingerprint."""
        return hash(self.fingerprint)

    def __repr__(self) -> str:
        """Return one line."""
        features = f"{self.spec.dim}: {len(self.coord)}"
        return f"<Output {self.name} ({features}), {self.spec.role.value}, map {self.map.kind}>"


jax.tree_util.register_dataclass(
    Output,
    ["map", "scatter", "scale", "floor", "used", "bounds", "correlation", "nuisances"],
    [
        *("spec", "coord", "units", "attrs", "windows", "dof", "inflation", "preparation"),
        *("calibration", "part_errors"),
    ],
)


def compute_digest(parts: Sequence[Any], outputs: Sequence[Output]) -> str:
    """Return the SHA-256 of what describes outputs, and of their arrays."""
    digest = hashlib.sha256(repr(parts).encode())
    for output in outputs:
        arrays = [getattr(output, name) for name in (*ARRAYS, "bounds")]
        arrays += jax.tree.leaves((output.correlation, output.nuisances))
        for array in (*jax.tree.leaves(output.map), *arrays):
            digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def coordinates(output: Output) -> dict[str, xr.Variable]:
    """Return the coordinates of an output: a grid with units, or names and the unit of each."""
    dim = output.spec.dim
    if not output.is_spectrum:
        return {
            dim: hold_array((dim,), np.array(output.coord, object)),
            f"{dim}_units": hold_array((dim,), np.array(output.units, object)),
        }
    attrs = {"units": output.units[0], **dict(output.attrs)}
    return {dim: hold_array((dim,), np.array(output.coord), attrs)}
