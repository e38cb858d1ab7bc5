"""Training data in the units of the arithmetic: what the trainers see, and what they return."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from luxscale.model.correlated import CorrelatedNoise
from luxscale.model.decoders import Decoder
from luxscale.model.noise import DiagonalNoise
from luxscale.model.nuisances import Nuisances
from luxscale.model.output import Output
from luxscale.model.priors import Prior
from luxscale.schema.outputs import OutputSpec, Role
from luxscale.schema.windows import Spans
from luxscale.training.folds import assign_folds

#: Makes a decoder of weights and offset.
MakeDecoder = Callable[[Any, Any], Decoder]

#: Stars that are worked on at once: small enough for the cache, large enough for the product.
#: Training data are padded to whole blocks.
BLOCK = 256

#: Least scatter of any feature, in units of its spread: with smaller errors float32 could not tell
#: the prior from rounding.
LEAST_SCATTER = 1e-3


class Arrays(NamedTuple):
    """One output in the arithmetic of training: data and parameters.

    values, ivar : (star, feature); weights : (feature, latent); offset, scatter : (feature,).
    """

    values: Any
    ivar: Any
    weights: Any
    offset: Any
    scatter: Any

    @property
    def noise(self) -> DiagonalNoise:
        """Noise of the output."""
        return DiagonalNoise(self.scatter)

    @classmethod
    def empty(cls, values: Any, ivar: Any, d: int) -> Arrays:
        """Return data of d features without parameters."""
        return cls(
            values=values,
            ivar=ivar,
            weights=np.zeros((d, 0), np.float32),
            offset=np.zeros(d, np.float32),
            scatter=np.full(d, LEAST_SCATTER, np.float32),
        )


class Spread(NamedTuple):
    """Centre, spread and bounds of each feature of an output, in its own units: (feature,)."""

    center: np.ndarray
    scale: np.ndarray
    least: np.ndarray
    greatest: np.ndarray


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingOutput:
    """One output of the training stars, centred and scaled to order one, on the device.

    Parameters
    ----------
    spec : OutputSpec
        Names, and its role.
    arrays : Arrays
        Values and inverse variances in units of ``spread``, with weights still empty; padded with
        missing stars to whole blocks. The only copy of the data that training holds.
    spread : Spread
        What the data were centred on and divided by.
    grid : DataArray
        Coordinate of the feature dim.
    units : tuple of str
        Unit of the grid, or of each named feature.
    n_stars : int
        Number of stars, without padding.
    outlying, widened : array of bool, (star, label), optional
        Labels that were set aside, and that were kept with larger errors.
    preparation : str
        How the survey says that spectra were prepared.
    nuisances : Nuisances, optional
        What the model is to have beside latents.
    """

    spec: OutputSpec
    arrays: Arrays
    spread: Spread
    grid: xr.DataArray
    units: tuple[str, ...]
    n_stars: int
    outlying: np.ndarray | None = None
    widened: np.ndarray | None = None
    preparation: str = ""
    nuisances: Nuisances | None = None

    @property
    def is_label(self) -> bool:
        """Whether it is labels, rather than a spectrum or bands."""
        return self.spec.role is Role.LABELS

    @property
    def is_spectrum(self) -> bool:
        """Whether features are pixels of a grid."""
        return self.spec.role is Role.SPECTRUM

    @property
    def size(self) -> int:
        """Number of features."""
        return int(self.grid.size)

    def read_table(self) -> tuple[np.ndarray, np.ndarray]:
        """Return values and inverse variances, (star, feature), in units of the spread.

        Without padding.
        """
        values = np.asarray(self.arrays.values)
        ivar = np.asarray(self.arrays.ivar)
        return values[: self.n_stars], ivar[: self.n_stars]

    def find_used(self) -> np.ndarray:
        """Return which features any star has: (feature,) bool."""
        _, ivar = self.read_table()
        return np.asarray((ivar > 0).any(axis=0))

    def read_physical(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return values and inverse variances of some stars, (star, feature), in survey units."""
        values, ivar = self.read_table()
        scale = self.spread.scale
        # a feature without data has no spread
        safe = np.where(scale > 0, scale, 1)
        deviation = values[rows] * scale
        return self.spread.center + deviation, ivar[rows] / safe**2

    def to_model(
        self,
        arrays: Arrays,
        kind: MakeDecoder,
        windows: Mapping[str, Spans],
        noise: NoiseExtras | None = None,
    ) -> Output:
        """Return trained parameters as an output of a model, in the units of the survey.

        Parameters
        ----------
        arrays : Arrays
            With its parameters, in units of the spread.
        kind : callable
            Of its decoder.
        windows : mapping of label to spans
            Those of other outputs may be among them.
        noise : NoiseExtras, optional
            If it is more than a scatter.
        """
        noise = noise or NoiseExtras()
        scale = self.spread.scale
        used = self.find_used()
        weights = np.asarray(arrays.weights, float) * scale[:, None]
        offset = self.spread.center + scale * np.asarray(arrays.offset, float)
        # a feature that no star has predicts nothing
        decoder = kind(np.where(used[:, None], weights, 0), np.where(used, offset, np.nan))
        coord = tuple(self.grid.values.tolist())
        attrs = []
        for name, value in self.grid.attrs.items():
            if name != "units":
                attrs.append((str(name), str(value)))
        own_windows = []
        for label, spans in windows.items():
            if self.is_label and label in coord:
                own_windows.append((label, spans))
        bounds = [self.spread.least, self.spread.greatest]
        return Output(
            spec=self.spec,
            coord=coord,
            units=self.units,
            attrs=tuple(attrs),
            map=decoder,
            scatter=np.asarray(arrays.scatter, float) * scale,
            scale=scale,
            floor=np.zeros(self.size),
            used=used,
            bounds=np.stack(bounds, 1),
            windows=tuple(own_windows),
            correlation=self._scale_noise(noise.correlation),
            dof=float(noise.dof),
            preparation=self.preparation,
            nuisances=self.nuisances,
        )

    def _scale_noise(self, noise: CorrelatedNoise | None) -> CorrelatedNoise | None:
        """Return noise in the units of the survey."""
        if noise is None:
            return None
        return noise.scale_by(self.spread.scale)


@dataclasses.dataclass(frozen=True)
class TrainingData:
    """The training stars.

    Parameters
    ----------
    outputs : tuple of TrainingOutput
    stars : array, (star,)
        Identifiers.
    left_out : tuple of (what, number)
        What of the survey takes no part.
    is_labelled : array, (star,), optional
        Which stars have labels, where others take part; all if not given.
    """

    outputs: tuple[TrainingOutput, ...]
    stars: np.ndarray
    left_out: tuple[tuple[str, int], ...] = ()
    is_labelled: np.ndarray | None = None

    @property
    def n_stars(self) -> int:
        """Number of training stars."""
        return int(self.stars.size)

    @property
    def arrays(self) -> tuple[Arrays, ...]:
        """The data of each output."""
        return tuple(o.arrays for o in self.outputs)

    @property
    def n_features(self) -> int:
        """Number of pixels, bands and labels together."""
        return sum(o.size for o in self.outputs)

    @property
    def labels(self) -> tuple[TrainingOutput, ...]:
        """The outputs that are labels."""
        return tuple(o for o in self.outputs if o.is_label)

    @property
    def measured(self) -> tuple[TrainingOutput, ...]:
        """The outputs that labels are predicted from: spectra and bands."""
        return tuple(o for o in self.outputs if not o.is_label)

    @property
    def informing(self) -> tuple[bool, ...]:
        """Which outputs set the gauge and have their scatter fitted.

        All but labels; all, if there are labels only.
        """
        labels_only = not self.measured
        return tuple(labels_only or not o.is_label for o in self.outputs)

    def values_per_star(self) -> float:
        """Return the mean number of measured values of a star."""
        total = 0.0
        for arrays in self.arrays:
            known = np.asarray(arrays.ivar) > 0
            total += float(np.sum(known))
        return total / self.n_stars

    def mark_stars(self) -> np.ndarray:
        """Return 1 for stars and 0 for padding: (star,), float32."""
        padded = self.outputs[0].arrays.values.shape[0]
        is_star = np.arange(padded) < self.n_stars
        return is_star.astype(np.float32)

    def assign_folds(self, folds: int) -> np.ndarray:
        """Return the fold of each star: (star,). See the function `assign_folds`."""
        return assign_folds(self.stars, folds)

    def checksum(self) -> str:
        """Return the SHA-256 of stars, values and inverse variances."""
        digest = hashlib.sha256("\n".join(map(str, self.stars.tolist())).encode())
        for output in self.outputs:
            digest.update(output.spec.name.encode())
            for array in output.read_table():
                # a row at a time: the table is a view, and hashing wants contiguous bytes
                for row in array:
                    digest.update(row.data)
        return digest.hexdigest()

    def to_model(
        self,
        arrays: Sequence[Arrays],
        kinds: Sequence[MakeDecoder],
        windows: Mapping[str, Spans],
        noises: Sequence[NoiseExtras] = (),
    ) -> tuple[Output, ...]:
        """Return trained parameters as the outputs of a model, in the units of the survey."""
        outputs = []
        noises = noises or [NoiseExtras()] * len(arrays)
        for output, trained, kind, noise in zip(self.outputs, arrays, kinds, noises, strict=True):
            outputs.append(output.to_model(trained, kind, windows, noise))
        return tuple(outputs)


class NoiseExtras(NamedTuple):
    """What the noise of an output has beside scatter, in scaled units: see `Output`."""

    correlation: CorrelatedNoise | None = None
    dof: float = np.inf


class Fit(NamedTuple):
    """Parameters from some of the stars.

    arrays: outputs in scaled units; prior: that of the latents, if it is fitted too; noises: of
    each output, if it is more than a scatter; kinds: map of each output, if it is fitted; others:
    those of further members.
    """

    arrays: tuple[Arrays, ...]
    prior: Prior | None = None
    noises: tuple[NoiseExtras, ...] = ()
    kinds: tuple[MakeDecoder, ...] = ()
    others: tuple[Fit, ...] = ()


class Trained(NamedTuple):
    """What a trainer returns.

    arrays: trained outputs in scaled units; history: objective per star after each iteration;
    kinds: map of each output; leave_out: what returns, for the stars of each fold (positions), what
    the others give at the latents found; prior and noises as in `Fit`; settings: those that were
    not taken as asked, with what became of them; others: further members.
    """

    arrays: tuple[Arrays, ...]
    history: list[float]
    kinds: tuple[MakeDecoder, ...]
    leave_out: Callable[[Sequence[np.ndarray]], Iterable[Fit]] = lambda _: ()
    prior: Prior | None = None
    noises: tuple[NoiseExtras, ...] = ()
    settings: Mapping[str, Any] = MappingProxyType({})
    others: tuple[Trained, ...] = ()
