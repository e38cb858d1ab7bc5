"""What each star of a survey or catalogue has one value of: labels, flags, S/N, sky, by name."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import xarray as xr

from luxscale.errors import InputError
from luxscale.schema.names import sanitise_name, suggest_names
from luxscale.schema.outputs import OutputSpec, Role, find_outputs
from luxscale.schema.stars import index_stars, match_identifiers
from luxscale.schema.status import NOT_DONE
from luxscale.schema.variables import STAR

#: Kinds of dtypes that conditions compare: truths, numbers and text.
_KINDS = "biufUOTS"

#: Makes a lazy variable (star,).
_Make = Callable[[], xr.Variable]


class Value(NamedTuple):
    """Values of a quantity, or of arithmetic with some.

    values : array, (star,), or a number or text that all stars share.
    known : array of bool, (star,), or True; where the value is not missing.
    """

    values: Any
    known: Any


def list_quantities(dataset: xr.Dataset) -> dict[str, _Make]:
    """Return what makes each quantity of a dataset, by name; reads nothing.

    Variables (star,) go by their own names, or where these have other signs by those of columns of
    an export. So do labels, and their errors by the same names with ``_err``; where several outputs
    have a label, or a variable has its name, it is ``OUTPUT.LABEL``, as it may be written always. A
    flag goes by its meaning, and is true or false.
    """
    columns = {
        str(name): variable
        for name, variable in dataset.variables.items()
        if variable.dims == (STAR,) and variable.dtype.kind in _KINDS
    }
    found: dict[str, _Make] = {
        name: functools.partial(_get, variable) for name, variable in columns.items()
    }
    short: dict[str, list[_Make]] = {}
    for output in find_outputs(dataset):
        if output.role is not Role.SPECTRUM:
            for name, make in _list_features(dataset, output):
                found[f"{output.name}.{name}"] = make
                short.setdefault(name, []).append(make)
    for variable in columns.values():
        for meaning, make in _list_flags(variable):
            short.setdefault(meaning, [make])
    for name, variable in columns.items():
        if not name.isidentifier():
            short.setdefault(sanitise_name(name), [functools.partial(_get, variable)])
    for name, makes in short.items():
        if len(makes) == 1:
            found.setdefault(name, makes[0])
    return found


def _get(variable: xr.Variable) -> xr.Variable:
    return variable


def _list_features(dataset: xr.Dataset, output: OutputSpec) -> Iterator[tuple[str, _Make]]:
    """Yield the labels or bands of an output, and their errors."""
    values, noise = (dataset.variables[name] for name in output.variables)
    for i, label in enumerate(map(str, dataset[output.dim].values.tolist())):
        name = sanitise_name(label)
        yield name, functools.partial(_pick_feature, values, i)
        make_error = _pick_ivar_error if output.is_ivar else _pick_feature
        yield f"{name}_err", functools.partial(make_error, noise, i)


def _pick_feature(variable: xr.Variable, i: int) -> xr.Variable:
    return variable[:, i]


def _pick_ivar_error(variable: xr.Variable, i: int) -> xr.Variable:
    ivar = variable[:, i]
    return (ivar.where(ivar > 0)) ** -0.5


def _list_flags(variable: xr.Variable | None) -> Iterator[tuple[str, _Make]]:
    """Yield the flags that a variable's attributes explain, as the CF conventions have it."""
    if variable is None or variable.dtype.kind not in "iu":
        return
    meanings = str(variable.attrs.get("flag_meanings", "")).split()
    for key, make in (("flag_masks", _test_bit), ("flag_values", _test_value)):
        numbers = np.atleast_1d(variable.attrs.get(key, []))
        for number, meaning in zip(numbers.tolist(), meanings, strict=False):
            yield meaning, functools.partial(make, variable, int(number))


def _test_bit(variable: xr.Variable, bit: int) -> xr.Variable:
    return (variable & variable.dtype.type(bit)) != 0


def _test_value(variable: xr.Variable, value: int) -> xr.Variable:
    return variable == value


def read_quantities(
    dataset: xr.Dataset, names: Sequence[str], where: str, survey: xr.Dataset | None = None
) -> dict[str, Value]:
    """Read quantities by name, all at once.

    Parameters
    ----------
    dataset : Dataset
        A survey, or a catalogue, of which stars that are not done have nothing but identifiers.
    names : sequence of str
    where : str
        What messages call the dataset.
    survey : Dataset, optional
        Has what the dataset lacks; stars are matched by identifier.

    Raises
    ------
    InputError
        If there is no such quantity; says what there is.
    """
    ours = list_quantities(dataset)
    theirs = {} if survey is None else list_quantities(survey)
    made = {name: _find(name, ours, theirs, dataset, where)() for name in names}
    status = dataset.variables.get("status")
    if status is not None:
        made["status"] = status
    found = _compute(made)
    done = found["status"] != NOT_DONE if status is not None else np.True_
    always = {STAR, "status", *(name for name, _ in _list_flags(status))}
    at = np.arange(0)
    if survey is not None and any(name not in ours for name in names):
        at = match_identifiers(index_stars(dataset), index_stars(survey), (where, "survey"))
    values = {}
    for name in names:
        known = np.asarray(pd.notna(found[name]))
        if name not in ours:
            values[name] = Value(found[name][at], known[at] & (at >= 0))
        elif name in always:
            values[name] = Value(found[name], known)
        else:
            values[name] = Value(found[name], known & done)
    return values


def _find(
    name: str,
    ours: Mapping[str, _Make],
    theirs: Mapping[str, _Make],
    dataset: xr.Dataset,
    where: str,
) -> _Make:
    """Return what makes a quantity.

    Raises
    ------
    InputError
    """
    for quantities in (ours, theirs):
        if name in quantities:
            return quantities[name]
    known = {**ours, **theirs}
    full = [other for other in known if other.endswith(f".{name}")]
    if full:
        raise InputError(f"{where}: {name!r} may be any of several: write {' or '.join(full)}")
    plain = [other for other in known if "." not in other]
    if name in dataset.variables:
        dims = dataset.variables[name].dims
        if dims == (STAR,):
            dtype = dataset.variables[name].dtype
            raise InputError(f"{where}: {name!r} is {dtype}; what is compared is numbers or text")
        raise InputError(
            f"{where}: {name!r} {dims} is not one value for each star; {suggest_names(name, plain)}"
        )
    raise InputError(f"{where}: nothing is called {name!r}; {suggest_names(name, plain)}")


def _compute(made: Mapping[str, xr.Variable]) -> dict[str, np.ndarray]:
    """Read variables, those on Dask in one computation."""
    import dask  # here, for those that compare nothing do not need it

    computed = dask.compute(*(variable.data for variable in made.values()))
    arrays = map(np.asarray, computed)
    return {name: _standardize(array) for name, array in zip(made, arrays, strict=True)}


def _standardize(array: np.ndarray) -> np.ndarray:
    """Return text as objects, and all else in this machine's byte order."""
    if array.dtype.kind == "S":
        array = np.char.decode(array, "utf-8", "backslashreplace")
    if array.dtype.kind in "UT":
        return array.astype(object)
    return array.astype(array.dtype.newbyteorder("="), copy=False)
