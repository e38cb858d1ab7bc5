"""What of a survey breaks the contract: structure, values, identifiers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import xarray as xr

from luxscale.errors import InputError
from luxscale.schema.outputs import (
    ROLE_ATTR,
    OutputSpec,
    Role,
    find_invalid,
    find_outputs,
    list_names,
    list_partners,
    pick_outputs,
)
from luxscale.schema.placeholders import find_placeholders, lie_among
from luxscale.schema.standard import is_logarithmic, is_natural_logarithm, is_same_unit
from luxscale.schema.variables import STAR, SURVEY, suggest_dims

#: A check of values reads at most this many bytes of a variable; a larger one is sampled by whole
#: chunks.
SAMPLE_BYTES = 64 * 2**20

#: ... and at most this many chunks, which cost time however small they are.
SAMPLE_CHUNKS = 16


def check_structure(
    dataset: xr.Dataset, where: str, outputs: str | Iterable[str] | None = None
) -> None:
    """Refuse a survey whose names, dims, dtypes or grids break the contract.

    Reads no per-star data. Chunks may be of any shape: what is slow to read is read right.

    Parameters
    ----------
    dataset : Dataset
    where : str
        What messages call it.
    outputs : str or iterable of str, optional
        Outputs that are used: nothing else is checked. All by default.

    Raises
    ------
    InputError
        Names ``where``, the variable and what to do.
    """
    used = dataset
    if outputs is not None:
        names = list_names(outputs)
        used = _keep_outputs(dataset, names)
    for problem in _structure_problems(used):
        raise InputError(f"{where}: {problem}")
    if outputs is not None:
        pick_outputs(dataset, names, where)
    elif not find_outputs(dataset):
        raise InputError(
            f"{where}: no output: it needs 'flux' with 'flux_ivar' or 'flux_err', or 'label_value' "
            "with 'label_err', on (star, ...)"
        )


def _keep_outputs(dataset: xr.Dataset, names: Iterable[str]) -> xr.Dataset:
    """Return a survey with some of its outputs, and without all that these do not need."""
    used = {STAR}
    for name in names:
        used |= {name, *list_partners(name)}
        if name in dataset:
            used |= {str(dim) for dim in dataset[name].dims}
    return dataset[[v for v in dataset.variables if v in used]]


def _structure_problems(dataset: xr.Dataset) -> Iterator[str]:
    for variable in SURVEY:
        if variable.name in dataset.variables:
            problem = variable.problem(dataset[variable.name])
            if problem:
                yield f"{variable.name!r} {problem}"
        elif variable.required:
            yield (
                f"no variable {variable.name!r} ({variable.doc}); add it as a coordinate on dims "
                f"{variable.dims}"
            )
    if dataset.sizes.get(STAR) == 0:
        yield "it holds no stars"
    for name, asked, partners in (
        ("flux", "'flux_ivar' or 'flux_err'", ("flux_ivar", "flux_err")),
        ("label_value", "'label_err'", ("label_err",)),
    ):
        present = [partner for partner in partners if partner in dataset]
        if name in dataset and not present:
            yield (
                f"no variable {asked}, which {name!r} needs; if all values have the same "
                f"error, set {partners[-1]} to it everywhere"
            )
        if present and name not in dataset:
            yield (
                f"no variable {name!r}, to which {present[0]!r} belongs; add it, or leave out "
                f"{present[0]!r}"
            )
    for output in find_outputs(dataset):
        yield from _output_problems(dataset, output)


def _output_problems(dataset: xr.Dataset, output: OutputSpec) -> Iterator[str]:
    value, noise = dataset[output.name], dataset[output.noise]
    others = [p for p in list_partners(output.name) if p in dataset and p != output.noise]
    if others:
        yield (
            f"both {output.noise!r} and {others[0]!r} say the errors of {output.name!r}; keep one: "
            f"survey.drop_vars({others[0]!r})"
        )
    if noise.dims != value.dims:
        remedy = suggest_dims(noise, tuple(map(str, value.dims)))
        yield (
            f"{output.noise!r} has dims {noise.dims}, but {output.name!r} has {value.dims}; they "
            f"must agree: {remedy.replace('OTHER', f'survey[{output.name!r}]')}"
        )
    for array in (value, noise):
        if array.dtype.kind != "f":
            yield f"{array.name!r} has dtype {array.dtype}, expected float"
    if output.dim not in dataset.coords:
        yield f"no coordinate {output.dim!r}, which says what the columns of {output.name!r} are"
    else:
        yield from _grid_problems(dataset[output.dim], output)
        yield from _role_problems(value, output)


def _role_problems(values: xr.DataArray, output: OutputSpec) -> Iterator[str]:
    stated = values.attrs.get(ROLE_ATTR)
    if stated is None or stated == output.role:
        return
    if output.role is Role.SPECTRUM:
        yield (
            f"{output.name!r} has role {stated!r}, but {output.dim!r} is a grid of numbers, which "
            f"makes it a spectrum; name its features, or remove the attribute {ROLE_ATTR!r}"
        )
    else:
        yield (
            f"{output.name!r} has role {stated!r}; the attribute {ROLE_ATTR!r} of an output with "
            f"names in {output.dim!r} must be 'labels' or 'bands'"
        )


def _grid_problems(grid: xr.DataArray, output: OutputSpec) -> Iterator[str]:
    values = grid.values
    kind = values.dtype.kind
    if kind in "iub":
        yield (
            f"{output.dim!r} has dtype {values.dtype}; pixels need float values with 'units', "
            "names need text: convert it with .astype(float)"
        )
    if kind != "f":
        if kind not in "iub" and len(set(values.tolist())) != values.size:
            yield f"{output.dim!r} repeats a name; each column of {output.name!r} needs its own"
        return
    steps = np.append(np.diff(values), np.inf)
    is_bad = ~(steps > 0) | ~np.isfinite(values)
    if is_bad.any():
        bad = int(np.argmax(is_bad))
        word = "repeated" if steps[bad] == 0 else "not ascending"
        following = values[min(bad + 1, values.size - 1)]
        yield (
            f"{output.dim!r} is {word} at index {bad} ({values[bad]} then {following}); sort it, "
            f"without repeats: .sortby({output.dim!r}).drop_duplicates({output.dim!r})"
        )
    if "units" not in grid.attrs:
        yield (
            f"{output.dim!r} has no 'units' attribute; set e.g. .{output.dim}.attrs['units'] = "
            "'Angstrom'"
        )
    if is_same_unit(grid.attrs.get("units", ""), "Angstrom"):
        yield from _logarithm_problems(values, output.dim)
    if grid.attrs.get("medium", "vacuum") not in ("vacuum", "air"):
        yield f"{output.dim!r} has medium {grid.attrs['medium']!r}; it must be 'vacuum' or 'air'"


def _logarithm_problems(grid: np.ndarray, dim: str) -> Iterator[str]:
    """Yield what to do about Angstrom that are logarithms of these by their values."""
    kinds = (
        (is_logarithmic, "log10", f"10**survey.{dim}.values"),
        (is_natural_logarithm, "ln", f"np.exp(survey.{dim}.values)"),
    )
    for is_kind, name, values in kinds:
        if is_kind(grid):
            yield (
                f"{dim!r} of {grid[0]:.6g} to {grid[-1]:.6g} Angstrom looks like {name}; write "
                f".assign_coords({dim}=({dim!r}, {values}, survey.{dim}.attrs))"
            )


def check_values(
    dataset: xr.Dataset,
    outputs: Iterable[OutputSpec],
    where: str,
    whole: xr.Dataset | None = None,
) -> None:
    """Refuse values that break the contract; reads all it is given.

    Where it is a block of a whole survey, a label that looks like a placeholder is judged by all
    stars of that, whose labels are read then.

    Raises
    ------
    InputError
        Names the variable and the first star, and counts the rest.
    """
    for output in outputs:
        values, noise = (np.asarray(dataset[v].values) for v in output.variables)
        bad = find_invalid(output, values, noise)
        if bad.any():
            n, d = (int(i) for i in np.argwhere(bad)[0])
            found = f"{output.noise!r} = {noise[n, d]} with {output.name!r} = {values[n, d]}"
            place = _describe_place(dataset, output, n, d)
            raise InputError(
                f"{where}: {found} at {place}{_count_others(bad)}; "
                f"{_describe_rule(output, noise[n, d], values[n, d])}"
            )
        is_grid = output.role is Role.SPECTRUM
        known = (noise > 0) & np.isfinite(values)
        placeholders = find_placeholders(values, known, each=not is_grid)
        if placeholders.any() and whole is not None and not is_grid:
            placeholders &= ~lie_among(values, *(whole[v] for v in output.variables))
        _refuse_placeholders(dataset, output, values, placeholders, where)


def _refuse_placeholders(
    dataset: xr.Dataset, output: OutputSpec, values: np.ndarray, found: np.ndarray, where: str
) -> None:
    if not found.any():
        return
    n, d = (int(i) for i in np.argwhere(found)[0])
    number = values[n, d].item()
    if output.is_ivar:
        remedy = f"survey[{output.noise!r}].where(survey[{output.name!r}] != {number!r}, 0)"
        changed = output.noise
    else:
        remedy = f"survey[{output.name!r}].where(survey[{output.name!r}] != {number!r})"
        changed = output.name
    place = _describe_place(dataset, output, n, d)
    raise InputError(
        f"{where}: {output.name!r} = {number!r} at {place}{_count_others(found)}: "
        f"{number!r} stands for a missing value and would be taken for a measurement; mark it as "
        f"missing: survey[{changed!r}] = {remedy}"
    )


def _count_others(bad: np.ndarray) -> str:
    """Say how many values are bad beside the one that is named, if any are."""
    others = int(bad.sum()) - 1
    return f", and {others:,} more like it" if others else ""


def _describe_place(dataset: xr.Dataset, output: OutputSpec, n: int, d: int) -> str:
    feature = dataset[output.dim].values[d]
    return f"star {_get_star_name(dataset, n)!r}, {output.dim} {feature}"


def _describe_rule(output: OutputSpec, noise: float, value: float) -> str:
    """Say what the errors of an output must be."""
    if output.is_ivar and np.isinf(noise) and not 0 < abs(value) < 1e-10:
        return (
            "inverse variances must be finite and not negative; 1 / error**2 is infinite where an "
            "error is 0: write 0 where nothing is known"
        )
    if output.is_ivar and np.isinf(noise):
        return (
            "inverse variances must be finite and not negative; of fluxes in units of physics they "
            f"are beyond float32: divide {output.name!r} by a typical value, and multiply "
            f"{output.noise!r} by its square"
        )
    if output.is_ivar:
        return (
            "inverse variances must be finite and not negative, and 0 where the value is not finite"
        )
    if np.isinf(value):
        return "values must be finite, and NaN where they are missing"
    return "errors must be positive and finite, NaN where the value is missing"


def check_unique(stars: np.ndarray, where: str) -> None:
    """Refuse a survey that names a star twice.

    Raises
    ------
    InputError
    """
    import pandas as pd

    native = stars
    if stars.dtype.kind in "iu":
        native = stars.astype(stars.dtype.newbyteorder("="), copy=False)
    repeated = pd.Index(native).duplicated()
    if repeated.any():
        first = native[[int(np.argmax(repeated))]].tolist()[0]
        raise InputError(
            f"{where}: 'star' repeats {first!r} ({int(repeated.sum())} repeated in all); keep one "
            "row of each, e.g. survey.drop_duplicates('star')"
        )


def check_kind(stars: xr.DataArray, where: str) -> None:
    """Refuse identifiers of several kinds, or of one that no store holds.

    Raises
    ------
    InputError
    """
    if stars.dtype.kind != "O" or stars.chunks:
        return
    kinds = {"text" if isinstance(s, str) else type(s).__name__ for s in stars.values.tolist()}
    if kinds - {"text"} and (len(kinds) > 1 or kinds == {"tuple"}):
        raise InputError(
            f"{where}: 'star' holds {' and '.join(sorted(kinds))}; name all stars by text, e.g. "
            "survey.reset_index('star').assign_coords(star=[str(star) for star in "
            "survey.star.values])"
        )


def _get_star_name(dataset: xr.Dataset, row: int) -> str | int:
    if STAR not in dataset.coords:
        return row
    name: str | int = dataset[STAR][row].values.tolist()
    return name
