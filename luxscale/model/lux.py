"""The Lux model: latents, a map from them to each output, and the noise of each."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import numpy as np
import xarray as xr

from luxscale.errors import InputError
from luxscale.model.calibration import Calibration, Curve, Errors, make_constants
from luxscale.model.correlated import CorrelatedNoise
from luxscale.model.decoders import Decoder
from luxscale.model.noise import DiagonalNoise, Noise
from luxscale.model.nuisances import Nuisances
from luxscale.model.priors import GaussianPrior, Prior
from luxscale.schema.outputs import OutputSpec, Role
from luxscale.schema.sampling import StarSet
from luxscale.schema.windows import find_within

_ARRAYS = ("scatter", "scale", "floor", "used")


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
        Of errors of labels, in the place of floor and inflation.
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
    def fingerprint(self) -> str:
        """SHA-256 of all that inference depends on."""
        return _compute_digest([_describe(self)], [self])

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


@dataclasses.dataclass(frozen=True, kw_only=True)
class Provenance:
    """How a model came about.

    Parameters
    ----------
    method : str
    settings : str
        Training settings, and counts of what was left out, JSON.
    n_stars : int
    training_checksum : str
        SHA-256 of the training data as the trainer saw them.
    version : str
        Version of luxscale.
    held_out : str
        How well labels of stars left out of training were predicted, JSON; see `LuxModel.held_out`.
    training_stars : str
        Hashes of the identifiers of the training stars; see `LuxModel.training_stars`.
    """

    method: str
    settings: str
    n_stars: int
    training_checksum: str
    version: str = dataclasses.field(default_factory=lambda: version("luxscale"))
    held_out: str = "[]"
    training_stars: str = dataclasses.field(default="", repr=False)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class LuxModel:
    """A trained Lux model: latents z, and for each output a map from z and a noise model.

    Latents are in the canonical gauge: of variance 1 over the training stars, ordered by the
    information that the spectra carry on them. (Those of The Cannon are its scaled labels.)

    Parameters
    ----------
    outputs : tuple of Output
    objective : array, (iteration,)
        Training objective per star after each iteration.
    provenance : Provenance
    limits : tuple of float
        Chi2 per pixel, and squared length of the latents, beyond which a star is flagged; measured
        on stars left out of training.
    prior : Prior
        Of the latents at the test step.
    """

    outputs: tuple[Output, ...]
    objective: Any
    provenance: Provenance
    limits: tuple[float, float] = (float("inf"), float("inf"))
    prior: Prior = dataclasses.field(default_factory=GaussianPrior)

    def __getitem__(self, name: str) -> Output:
        """Return an output by name.

        Raises
        ------
        InputError
            If the model has no such output.
        """
        for output in self.outputs:
            if output.name == name:
                return output
        raise InputError(
            f"the model has no output {name!r}; it has {', '.join(o.name for o in self.outputs)}"
        )

    @property
    def latent_dim(self) -> int:
        """Number of latents P."""
        return self.outputs[0].map.latent_dim

    @property
    def labels(self) -> tuple[Output, ...]:
        """The outputs that catalogues hold."""
        return tuple(o for o in self.outputs if o.is_label)

    @property
    def held_out(self) -> list[dict[str, Any]]:
        """How well labels of stars left out of training were predicted, a record for each label.

        ``label``, ``unit``, and in the label's unit what `luxscale.analysis.evaluate.compare`
        measures: ``n_stars``, ``bias``, ``rmse``, ``robust_scatter``, ``median_err`` (the errors
        that catalogues give), ``pull``. Then ``formal_err`` and ``training_err``, the medians of
        the formal error and of the training label's; ``formal_pull``, the pull with these two
        alone; and ``training_pull``, that over the training label's error alone of the quarter of
        stars with the smallest errors, where it is clearly below 1: these errors look too large.
        None where nothing is known; empty for models that were trained
        with one fold.
        """
        records: list[dict[str, Any]] = json.loads(self.provenance.held_out)
        return records

    @property
    def training_stars(self) -> StarSet:
        """The set of the training stars, as hashes; empty where the model does not hold them.

        ``model.training_stars.find(survey.star.values)`` says which of a survey's are among them.
        """
        return StarSet(self.provenance.training_stars)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of all that inference depends on."""
        parts = [self.limits, self.prior.identity, *(_describe(o) for o in self.outputs)]
        return _compute_digest(parts, self.outputs)

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names of the outputs."""
        return (output.name for output in self.outputs)

    def __contains__(self, name: object) -> bool:
        """Return whether there is an output of a name."""
        return any(output.name == name for output in self.outputs)

    def __eq__(self, other: object) -> bool:
        """Return whether both infer the same: their fingerprints are equal."""
        if not isinstance(other, LuxModel):
            return NotImplemented
        return self is other or self.fingerprint == other.fingerprint

    def __hash__(self) -> int:
        """Return the hash of the fingerprint."""
        return hash(self.fingerprint)

    def to_dataset(self) -> xr.Dataset:
        """Return the model as a labelled Dataset, which `from_dataset` turns back."""
        from luxscale.model.file import to_dataset

        return to_dataset(self)

    def save(self, path: str | Path, *, overwrite: bool = False) -> None:
        """Write the model as Zarr.

        Parameters
        ----------
        path : str or Path
        overwrite : bool
            Whether to replace a model that is there.

        Raises
        ------
        InputError
            If something is at ``path`` and ``overwrite`` is false, or it is not a model.
        """
        from luxscale.store import write_dataset

        write_dataset(self.to_dataset(), path, overwrite=overwrite)

    def _repr_html_(self) -> str:
        """Return a table for notebooks."""
        from luxscale.model.summary import format_html

        return format_html(self)

    def __repr__(self) -> str:
        """Return one line per output."""
        lines = [
            f"<LuxModel {self.latent_dim} latents, {self.provenance.method}, "
            f"{self.provenance.n_stars} training stars>"
        ]
        lines += [f"  {o.name} ({o.spec.dim}: {len(o.coord)})" for o in self.outputs]
        return "\n".join(lines)


jax.tree_util.register_dataclass(
    Output,
    ["map", "scatter", "scale", "floor", "used", "bounds", "correlation", "nuisances"],
    [
        *("spec", "coord", "units", "attrs", "windows", "dof", "inflation", "preparation"),
        "calibration",
    ],
)
jax.tree_util.register_dataclass(
    LuxModel, ["outputs", "objective"], ["provenance", "limits", "prior"]
)


def _compute_digest(parts: Sequence[Any], outputs: Sequence[Output]) -> str:
    """Return the SHA-256 of what describes outputs, and of their arrays."""
    digest = hashlib.sha256(repr(parts).encode())
    for output in outputs:
        arrays = [getattr(output, name) for name in (*_ARRAYS, "bounds")]
        arrays += jax.tree.leaves((output.correlation, output.nuisances))
        for array in (*jax.tree.leaves(output.map), *arrays):
            digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _describe(output: Output) -> tuple:
    """Return what a fingerprint holds of an output besides its arrays."""
    what = (output.spec, output.coord, output.units)
    how = (output.attrs, output.map.kind, output.windows)
    # models older than roles had spectra and labels only, and keep their fingerprints
    role = (Role.BANDS.value,) if output.spec.role is Role.BANDS else ()
    heavy = () if math.isinf(output.dof) else (output.dof,)
    beside = () if output.nuisances is None else (output.nuisances.identity,)
    calibrated = () if output.calibration is None else (output.calibration.version,)
    # factors that are constants were numbers before they were functions
    factors = tuple(c.value[0] if c.is_constant else c for c in output.inflation)
    found = (*what, *how, *role, *output.map.identity, *heavy, *factors, *beside)
    return (*found, *calibrated)


def coordinates(output: Output) -> dict[str, xr.Variable]:
    """Return the coordinates of an output: a grid with units, or names and the unit of each."""
    dim = output.spec.dim
    if not output.is_spectrum:
        return {
            dim: xr.Variable((dim,), np.array(output.coord, object)),
            f"{dim}_units": xr.Variable((dim,), np.array(output.units, object)),
        }
    return {
        dim: xr.Variable(
            (dim,), np.array(output.coord), {"units": output.units[0], **dict(output.attrs)}
        )
    }
