"""Reading the training stars: scaled to order one, onto the device, and what cannot be trained on refused by name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import jax
import numpy as np
import xarray as xr

from luxscale.analysis.stats import MAD_TO_SIGMA
from luxscale.errors import InputError
from luxscale.model.kernel import FARTHEST, MOST_IVAR
from luxscale.schema.blocks import iterate_blocks
from luxscale.schema.checks import check_values
from luxscale.schema.outputs import OutputSpec, Role
from luxscale.schema.variables import STAR
from luxscale.training.data import Spread, TrainingData
from luxscale.training.steps import BLOCK, Arrays

#: A label measured in fewer stars says nothing on its own misfit.
LEAST_MEASURED = 10

#: Errors beyond this many times the spread of a feature say nothing, and near the end of float32
#: they do harm.
_MOST_ERROR = 1e6

#: Distance from the median, in units of their spread, at which labels are no measurements but
#: missing: that of the central 95%, or, where more than 2% are such numbers, of the central half.
_FARTHEST_LABEL, _FARTHEST_OF_MANY = 1e3, 1e4

#: Stars read at once, and worked on at once: temporaries of so few stay in the cache, and are not
#: paged in anew.
_ROWS, _PART = 1024, 128


def load_training(
    survey: xr.Dataset,
    specs: Iterable[OutputSpec],
    where: str,
    report: Callable[[str], None] = lambda _: None,
) -> TrainingData:
    """Read the training stars onto the device, and refuse data that break the contract or carry no model.

    Parameters
    ----------
    survey : Dataset
        Read a block of stars at a time, so that a lazy one is never in memory as a whole.
    specs : iterable of OutputSpec
    where : str
    report : callable
        Called with what has been read.

    Raises
    ------
    InputError
        Values that break the contract; a label with too few measurements, or whose measurements are
        all equal; no pixel with data.
    """
    specs = tuple(specs)
    loaded = [_load(survey, spec, where, report) for spec in specs]
    grids = tuple(survey[s.dim] for s in specs)
    units = tuple(_units(survey, s) for s in specs)
    return TrainingData(
        specs,
        tuple(a for a, _ in loaded),
        tuple(s for _, s in loaded),
        grids,
        units,
        np.asarray(survey[STAR].values),
    )


def _units(survey: xr.Dataset, spec: OutputSpec) -> tuple[str, ...]:
    grid = survey[spec.dim]
    if spec.role is Role.SPECTRUM:
        return (str(grid.attrs["units"]),)
    named = survey.coords.get(f"{grid.name}_units")
    return tuple(str(u) for u in named.values) if named is not None else ("",) * grid.size


def _load(
    survey: xr.Dataset, spec: OutputSpec, where: str, report: Callable[[str], None]
) -> tuple[Arrays, Spread]:
    grid = survey[spec.dim].values
    n, d, spectral = survey.sizes[STAR], grid.size, spec.role is Role.SPECTRUM
    shape = (n + -n % BLOCK, d)
    values, ivar = _aligned(shape), _aligned(shape)
    unit, moments = None, _Moments(d)
    table = np.full((2, n, 0 if spectral else d), np.nan)
    for rows, y, w in _parts(survey, spec, where, report):
        known = w > 0
        moments.add(y, known)
        if unit is None and spectral and known.any():
            unit = (
                float(np.median(np.abs(y[known]))) or 1.0
            )  # float32 ends at 1e38, and flux may be 1e-17 of its unit
        if spectral:
            scale = unit or 1.0
            values[rows] = np.where(known, y / scale, 0)
            with np.errstate(over="ignore"):
                ivar[rows] = np.where(known, w * float(scale) ** 2, 0)
        else:
            table[:, rows] = y, w
    spread = moments.spread() if spectral else _spread_of_labels(table[0], table[1] > 0)
    with np.errstate(over="ignore"):
        useful = (
            moments.count if spectral else (table[1] * spread.scale**2 >= _MOST_ERROR**-2).sum(0)
        )
    _refuse(moments.count, useful, spread, spec, grid, spectral, where)
    farthest = (
        np.full(d, FARTHEST) if spectral else _farthest_labels(table[0], table[1] > 0, spread)
    )
    believable = False
    for rows in iterate_blocks(n, _PART):
        if spectral:
            y, w, u = values[rows], ivar[rows], unit or 1.0
        else:
            y, w, u = table[0, rows], table[1, rows], 1.0
        with np.errstate(over="ignore"):
            scaled = w * (spread.scale / u) ** 2
            known = scaled >= _MOST_ERROR**-2
            values[rows] = np.where(known, (y - spread.center / u) * (u / spread.scale), 0)
        ivar[rows] = np.where(known, np.minimum(scaled, MOST_IVAR), 0)
        believable |= bool((known & (scaled < MOST_IVAR)).any()) or not spectral
        _refuse_far(values[rows], farthest, survey, spec, rows.start, where)
    if not ivar.any() or not believable:  # too large, or too small
        raise InputError(
            f"{where}: all errors of {spec.name!r} are beyond any use; check {spec.noise!r}"
        )
    return Arrays.empty(jax.device_put(values), jax.device_put(ivar), shape[1]), spread


def _parts(
    survey: xr.Dataset, spec: OutputSpec, where: str, report: Callable[[str], None]
) -> Iterator[tuple[slice, np.ndarray, np.ndarray]]:
    """Read values and inverse variances of an output, a chunk's worth at once, and yield them in smaller parts."""
    n = survey.sizes[STAR]
    for chunk in iterate_blocks(n, _ROWS):
        block = survey[list(spec.variables)].isel({STAR: chunk}).load()
        check_values(block, [spec], where)
        data = [block[v].values for v in spec.variables]
        for part in iterate_blocks(chunk.stop - chunk.start, _PART):
            y, noise = (a[part] for a in data)
            yield slice(chunk.start + part.start, chunk.start + part.stop), y, spec.ivar(y, noise)
        report(f"{spec.name}, {chunk.stop} of {n} stars")
        del block, data, y, noise  # before the next chunk is read


def _refuse_far(
    values: np.ndarray,
    farthest: np.ndarray,
    survey: xr.Dataset,
    spec: OutputSpec,
    start: int,
    where: str,
) -> None:
    """Refuse values, in units of their spread, that leave no digit to the others or are no measurements."""
    distance = (
        np.abs(values) / farthest
    )  # the farthest, for it may have drawn the mean away from all others
    n, k = (int(x) for x in np.unravel_index(int(np.argmax(distance)), distance.shape))
    if not distance[n, k] < 1:
        star, name = survey[STAR].values[start + n], survey[spec.dim].values[k]
        raise InputError(
            f"{where}: {spec.name!r} at star {str(star)!r}, {spec.dim} {name}, is absurdly far "
            "from those of the other "
            f"stars; where it is missing, {spec.noise!r} must be {'0' if spec.is_ivar else 'NaN'}"
        )


def _aligned(shape: tuple[int, int]) -> np.ndarray:
    """Return zeros that the CPU backend of JAX uses as they are, without a copy; they must not change after that."""
    size = 4 * shape[0] * shape[1]
    raw = np.zeros(size + 64, np.uint8)
    start = -raw.ctypes.data % 64
    return raw[start : start + size].view(np.float32).reshape(shape)


class _Moments:
    """Count, mean, variance and bounds of each pixel, a block of stars at a time."""

    def __init__(self, d: int) -> None:
        self.count = np.zeros(d, int)
        self._sum, self._square = np.zeros(d), np.zeros(d)
        self._pivot: np.ndarray | None = None
        self._least, self._greatest = np.full(d, np.inf), np.full(d, -np.inf)

    def add(self, values: np.ndarray, known: np.ndarray) -> None:
        count = known.sum(0)
        if self._pivot is None:  # about a value near the mean, squares lose no digits
            self._pivot = np.zeros(count.size)
        new = (self.count == 0) & (count > 0)
        if new.any():
            sums = np.sum(values[:, new], axis=0, where=known[:, new], dtype=float)
            self._pivot[new] = sums / count[new]
        about = np.where(known, values - self._pivot.astype(values.dtype), 0)
        self.count += count
        self._sum += about.sum(0, dtype=float)
        with np.errstate(over="ignore"):  # of a value that is absurd, and refused for it
            self._square += np.square(about, dtype=values.dtype).sum(0, dtype=float)
        self._least = np.minimum(self._least, np.min(values, axis=0, where=known, initial=np.inf))
        self._greatest = np.maximum(
            self._greatest, np.max(values, axis=0, where=known, initial=-np.inf)
        )

    def spread(self) -> Spread:
        """Mean of each pixel, and one scale for all: a pixel that hardly varies needs no magnifying."""
        some, count = self.count > 0, np.maximum(self.count, 1)
        scale = np.sqrt(self._square / count)
        typical = float(np.median(scale[some])) if some.any() else 1.0
        bounds = (np.where(some, x, 0.0) for x in (self._least, self._greatest))
        pivot = np.zeros(count.size) if self._pivot is None else self._pivot
        return Spread(pivot + self._sum / count, np.full(count.size, typical), *bounds)


def _spread_of_labels(values: np.ndarray, known: np.ndarray) -> Spread:
    """Centroid and scale of equation 9: median, and a quarter of the central 95%."""
    some = known.any(0)
    out = np.zeros((5, values.shape[1]))
    held = np.where(known, values, np.nan)[:, some]
    out[:, some] = np.nanpercentile(held, [50, 97.5, 2.5, 0, 100], axis=0)
    center, high, low, least, greatest = out
    return Spread(center, (high - low) / 4, least, greatest)


def _farthest_labels(values: np.ndarray, known: np.ndarray, spread: Spread) -> np.ndarray:
    """Return the distance from the median, in units of the spread, beyond which a label is refused: (label,).

    A label may have a long tail (parallax, extinction), but none reaches to -9999.
    """
    low, high = np.nanpercentile(np.where(known, values, np.nan), [25, 75], axis=0)
    of_many = _FARTHEST_OF_MANY * MAD_TO_SIGMA * (high - low) / 2 / spread.scale
    return np.where(of_many > 0, np.minimum(of_many, _FARTHEST_LABEL), _FARTHEST_LABEL)


def _refuse(
    measured: np.ndarray,
    useful: np.ndarray,
    spread: Spread,
    spec: OutputSpec,
    grid: np.ndarray,
    spectral: bool,
    where: str,
) -> None:
    if spectral:
        if not measured.any() or spread.scale[0] == 0:
            raise InputError(
                f"{where}: {spec.name!r} holds no pixel that varies between stars; check "
                f"{spec.noise!r}"
            )
        return
    for name, number, good, scale in zip(
        grid.tolist(), measured, useful, spread.scale, strict=True
    ):
        leave_out = f"leave it out with .drop_sel({spec.dim}=[{name!r}])"
        if number < LEAST_MEASURED:
            few = f"only {number} measurements" if number else "no measurement"
            raise InputError(
                f"{where}: {spec.dim} {name!r} has {few} in {spec.name!r} with {spec.noise!r}, "
                "too few to learn from: "
                f"{leave_out}"
            )
        if scale == 0:
            raise InputError(
                f"{where}: {spec.dim} {name!r} has the same value for (nearly) all stars; "
                "there is nothing to learn: "
                f"{leave_out}"
            )
        if good < LEAST_MEASURED:
            raise InputError(
                f"{where}: {spec.dim} {name!r} has errors beyond {_MOST_ERROR:.0e} times its "
                f"spread, {scale:.3g}, in "
                f"{number - good} of {number} measurements, too few are left to learn from: "
                f"check {spec.noise!r}, or "
                f"{leave_out}"
            )
