"""Reading the training stars: scaled to order one, onto the device.

What cannot be trained on is refused by name.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator

import jax
import numpy as np
import xarray as xr

from luxscale.errors import InputError
from luxscale.schema.checks import check_values
from luxscale.schema.outputs import OutputSpec, Role
from luxscale.schema.preparation import PREPARATION
from luxscale.schema.variables import STAR
from luxscale.store.damage import load_stars
from luxscale.training.data import BLOCK, Arrays, Spread, TrainingData, TrainingOutput
from luxscale.training.scaling import (
    MOST_ERROR,
    PART,
    ROWS,
    OutputSource,
    Table,
    allocate_aligned,
    list_slices,
    scale_table,
)
from luxscale.training.screen import Screen, keep_all, make_screen
from luxscale.training.spread import PixelMoments, compute_spread, find_farthest

#: A label measured in fewer stars says nothing on its own misfit.
LEAST_MEASURED = 10

#: Distance of a pixel from its mean, in units of its spread, beyond which others lose their digits.
_FARTHEST_PIXEL = 1e6

Report = Callable[[str], None]


def load_training(
    survey: xr.Dataset,
    specs: Iterable[OutputSpec],
    where: str,
    report: Report = lambda _: None,
    clip: float = math.inf,
) -> TrainingData:
    """Read the training stars onto the device.

    Parameters
    ----------
    survey : Dataset
        Read a block of stars at a time, so that a lazy one is never in memory as a whole.
    specs : iterable of OutputSpec
    where : str
    report : callable
        Called with what has been read.
    clip : float
        Standard deviations beyond which labels that contradict the spectra are set aside, see
        `luxscale.training.screen`.

    Raises
    ------
    InputError
        Values that break the contract; too few stars; a label with too few measurements, or whose
        measurements are all equal; no pixel with data.
    """
    specs = tuple(specs)
    stars = np.asarray(survey[STAR].values)
    check_number(stars.size, where)
    loaded = {}
    for spec in specs:
        if spec.role is not Role.LABELS:
            loaded[spec.name] = _load_output(OutputSource(survey, spec, where), report)
    screen = make_screen(list(loaded.values()), stars, clip)
    for spec in specs:
        if spec.role is Role.LABELS:
            loaded[spec.name] = _load_output(OutputSource(survey, spec, where), report, screen)
    return TrainingData(tuple(loaded[spec.name] for spec in specs), stars)


def check_number(n_stars: int, where: str) -> None:
    """Refuse too few stars to train on.

    Raises
    ------
    InputError
    """
    if n_stars < LEAST_MEASURED:
        number = f"{n_stars} star{'s are' if n_stars != 1 else ' is'}"
        raise InputError(
            f"{where}: {number} too few to train on; at least {LEAST_MEASURED} are needed"
        )


def load_named(
    survey: xr.Dataset,
    spec: OutputSpec,
    where: str,
    report: Report = lambda _: None,
    screen: Screen = keep_all,
) -> TrainingOutput:
    """Read labels or bands of the training stars, as `load_training` does."""
    return _load_output(OutputSource(survey, spec, where), report, screen)


def measure_pixels(
    survey: xr.Dataset, spec: OutputSpec, where: str
) -> tuple[PixelMoments, float | None]:
    """Return the moments of the pixels of some stars, and a typical flux of the first of them."""
    source = OutputSource(survey, spec, where)
    moments = PixelMoments(source.features.size)
    unit = None
    for _, y, w in _read_parts(source, lambda _: None):
        known = w > 0
        moments.add(y, known)
        unit = unit or _find_unit(y, known)
    return moments, unit


def make_spread(moments: PixelMoments, spec: OutputSpec, where: str) -> Spread:
    """Return centre and scale of the pixels of a spectrum.

    Raises
    ------
    InputError
        If none varies.
    """
    spread = moments.compute_spread()
    if not moments.count.any() or spread.scale[0] == 0:
        raise InputError(
            f"{where}: {spec.name!r} holds no pixel that varies between stars; check {spec.noise!r}"
        )
    return spread


def load_spectra(
    survey: xr.Dataset, spec: OutputSpec, where: str, spread: Spread, unit: float, padded: int
) -> TrainingOutput:
    """Read spectra of some of the training stars, of which centre and scale are known.

    Parameters
    ----------
    survey : Dataset
        These stars.
    spec, where
        As for `load_training`.
    spread : Spread
    unit : float
        A typical flux.
    padded : int
        Stars that there is room for.
    """
    source = OutputSource(survey, spec, where)
    shape = (padded, source.features.size)
    values, ivar = allocate_aligned(shape), allocate_aligned(shape)
    for rows, y, w in _read_parts(source, lambda _: None):
        _put_spectra(values, ivar, rows, y, w, unit)
    table = _tabulate_spectra(values, ivar, unit, spread)
    scale_table(source, table, values, ivar)
    return _make_output(source, table, values, ivar)


def _load_output(source: OutputSource, report: Report, screen: Screen = keep_all) -> TrainingOutput:
    n = source.n_stars
    d = source.features.size
    padded = n + -n % BLOCK
    values = allocate_aligned((padded, d))
    ivar = allocate_aligned((padded, d))
    is_spectrum = source.spec.role is Role.SPECTRUM
    if is_spectrum:  # too large to be in memory twice
        table = _read_spectra(source, values, ivar, report)
    else:
        table = _read_named(source, report, screen)
    usable = scale_table(source, table, values, ivar)
    # errors of spectra may be too large, or too small, to be used
    if not ivar.any() or (is_spectrum and not usable):
        refuse_errors(source.spec, source.where)
    return _make_output(source, table, values, ivar)


def refuse_errors(spec: OutputSpec, where: str) -> None:
    """Refuse data of which no error is of use.

    Raises
    ------
    InputError
    """
    raise InputError(
        f"{where}: all errors of {spec.name!r} are beyond any use; check {spec.noise!r}"
    )


def _make_output(
    source: OutputSource, table: Table, values: np.ndarray, ivar: np.ndarray
) -> TrainingOutput:
    """Return an output of arrays that were scaled."""
    arrays = Arrays.empty(
        values=jax.device_put(values),
        ivar=jax.device_put(ivar),
        d=values.shape[1],
    )
    return TrainingOutput(
        spec=source.spec,
        arrays=arrays,
        spread=table.spread,
        grid=source.survey[source.spec.dim],
        units=read_units(source.survey, source.spec),
        n_stars=source.n_stars,
        outlying=table.outlying,
        widened=table.widened,
        preparation=str(source.survey[source.spec.name].attrs.get(PREPARATION, "")),
    )


def read_units(survey: xr.Dataset, spec: OutputSpec) -> tuple[str, ...]:
    """Return the unit of the grid of a spectrum, or of each label or band."""
    grid = survey[spec.dim]
    if spec.role is Role.SPECTRUM:
        return (str(grid.attrs["units"]),)
    units = survey.coords.get(f"{grid.name}_units")
    if units is None:
        return ("",) * grid.size
    return tuple(map(str, units.values))


def _read_spectra(
    source: OutputSource, values: np.ndarray, ivar: np.ndarray, report: Report
) -> Table:
    """Read spectra into float32 arrays, in units of a typical flux."""
    moments = PixelMoments(source.features.size)
    unit = None
    for rows, y, w in _read_parts(source, report):
        known = w > 0
        moments.add(y, known)
        unit = unit or _find_unit(y, known)
        _put_spectra(values, ivar, rows, y, w, unit or 1.0)
    spread = make_spread(moments, source.spec, source.where)
    return _tabulate_spectra(values, ivar, unit or 1.0, spread)


def _find_unit(y: np.ndarray, known: np.ndarray) -> float | None:
    """Return a typical flux, None where none is known."""
    if not known.any():
        return None
    # float32 ends at 1e38, and flux may be 1e-17 of its unit
    return float(np.median(np.abs(y[known]))) or 1.0


def _put_spectra(
    values: np.ndarray, ivar: np.ndarray, rows: slice, y: np.ndarray, w: np.ndarray, unit: float
) -> None:
    """Put flux and inverse variances of some stars in their place, in a unit."""
    known = w > 0
    values[rows] = np.where(known, y / unit, 0)
    with np.errstate(over="ignore"):
        ivar[rows] = np.where(known, w * float(unit) ** 2, 0)


def _tabulate_spectra(values: np.ndarray, ivar: np.ndarray, unit: float, spread: Spread) -> Table:
    farthest = np.full(values.shape[1], _FARTHEST_PIXEL)
    return Table(values=values, ivar=ivar, unit=unit, spread=spread, farthest=farthest)


def _read_named(source: OutputSource, report: Report, screen: Screen) -> Table:
    """Read labels or bands, in float64, and heed what the screen says against labels."""
    shape = (source.n_stars, source.features.size)
    values = np.full(shape, np.nan)
    ivar = np.full(shape, np.nan)
    for rows, y, w in _read_parts(source, report):
        values[rows] = y
        ivar[rows] = w
    known = ivar > 0
    errors = 1 / np.sqrt(np.where(known, ivar, np.nan))
    outlying, least_errors = screen(np.where(known, values, np.nan), errors)
    widened = known & (errors < least_errors)
    ivar[widened] = 1 / least_errors[widened] ** 2
    ivar[outlying] = 0
    known &= ~outlying
    spread = compute_spread(values, known)
    with np.errstate(over="ignore"):
        scaled = ivar * spread.scale**2
    useful = scaled >= MOST_ERROR**-2
    _check_measured(
        source,
        measured=known.sum(0),
        useful=useful.sum(0),
        spread=spread,
    )
    return Table(
        values=values,
        ivar=ivar,
        unit=1.0,
        spread=spread,
        farthest=find_farthest(values, known, spread),
        outlying=outlying,
        widened=widened,
    )


def _read_parts(
    source: OutputSource, report: Report
) -> Iterator[tuple[slice, np.ndarray, np.ndarray]]:
    """Read values and inverse variances in chunks, and yield them in smaller parts."""
    spec = source.spec
    for chunk in list_slices(source.n_stars, ROWS):
        selected = source.survey[list(spec.variables)].isel({STAR: chunk})
        block = load_stars(selected, source.where)
        check_values(block, [spec], source.where, source.survey)
        data, noise = (block[v].values for v in spec.variables)
        for part in list_slices(chunk.stop - chunk.start, PART):
            start = chunk.start + part.start
            stop = chunk.start + part.stop
            # without a name for ivar, which may be a view and would hold the chunk
            yield slice(start, stop), data[part], spec.ivar(data[part], noise[part])
        report(f"{spec.name}, {chunk.stop} of {source.n_stars} stars")
        # before the next chunk is read
        del selected, block, data, noise


def _check_measured(
    source: OutputSource, measured: np.ndarray, useful: np.ndarray, spread: Spread
) -> None:
    """Refuse labels or bands that too few stars have, or that do not vary."""
    spec = source.spec
    for i, name in enumerate(source.features.tolist()):
        feature = f"{source.where}: {spec.dim} {name!r}"
        leave_out = f"leave it out with .drop_sel({spec.dim}=[{name!r}])"
        if measured[i] < LEAST_MEASURED:
            few = f"only {measured[i]} measurements" if measured[i] else "no measurement"
            raise InputError(
                f"{feature} has {few} in {spec.name!r} with {spec.noise!r}, too few to learn from: "
                f"{leave_out}"
            )
        if spread.scale[i] == 0:
            raise InputError(
                f"{feature} has the same value for (nearly) all stars; there is nothing to learn: "
                f"{leave_out}"
            )
        if useful[i] < LEAST_MEASURED:
            raise InputError(
                f"{feature} has errors beyond {MOST_ERROR:.0e} times its spread, "
                f"{spread.scale[i]:.3g}, in {measured[i] - useful[i]} of {measured[i]} "
                "measurements, too few are left to learn from: "
                f"check {spec.noise!r}, or {leave_out}"
            )
