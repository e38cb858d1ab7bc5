"""A catalogue as a table: which columns, their names, units and meanings, and their values block by block."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.metadata import version
from typing import Any

import numpy as np
import xarray as xr

from luxscale import store
from luxscale.analysis.evaluate import require_catalog
from luxscale.errors import InputError
from luxscale.export.source import Source, read
from luxscale.schema import flags
from luxscale.schema.blocks import round_to_chunks
from luxscale.schema.outputs import OutputSpec, find_outputs
from luxscale.schema.status import NOT_DONE, UNREADABLE
from luxscale.schema.variables import CATALOG, STAR

#: A block aims at this many bytes of table rows; it is what an export holds in memory.
BLOCK_BYTES = 32 * 2**20

#: Longest name of a column, without suffixes: a FITS card of 80 must hold it.
_NAME_LENGTH = 48

#: Types that neither format has for a column, and the smallest that holds their values.
_WIDENED = {"f2": "f4", "i1": "i2"}

_SURVEY = "survey/"


@dataclasses.dataclass(frozen=True)
class Column:
    """One column of the exported table.

    Parameters
    ----------
    name : str
        Lower case; unique whatever the case, of letters, digits and underscores.
    source : str
        Key of the variable that holds it.
    index : int or None
        Which of the variable's features; None for all of them.
    dtype : dtype
        Kind ``U`` for text.
    shape : tuple of int
        Of one star's value.
    unit, doc : str
    attrs : tuple of (name, value)
        What else is to be known about it.
    """

    name: str
    source: str
    index: int | None
    dtype: np.dtype
    shape: tuple[int, ...]
    unit: str
    doc: str
    attrs: tuple[tuple[str, str], ...] = ()

    @property
    def is_text(self) -> bool:
        """Whether the values are text."""
        return self.dtype.kind == "U"

    @property
    def size(self) -> int:
        """Values a star."""
        return int(np.prod(self.shape, dtype=int))

    def take(self, values: Mapping[str, np.ndarray]) -> Any:
        """Return the column's values of a block: an array, (star, ...); for text a list of str, or None if missing."""
        found = values[self.source] if self.index is None else values[self.source][:, self.index]
        if self.is_text:
            return [s if isinstance(s, str) else None for s in found.tolist()]
        return found.astype(self.dtype, copy=False)


@dataclasses.dataclass(frozen=True)
class Table:
    """All that a writer needs to know; holds no values of stars.

    Parameters
    ----------
    columns : tuple of Column
    variables : mapping of str to Variable
        Lazy, (star, ...).
    n_stars, n_not_done, n_unreadable : int
        In all, not done, and of which the data could not be read.
    block : int
        Stars to read at once: whole chunks.
    provenance : mapping of str to str
    flags : tuple of (bit, name, meaning)
    """

    columns: tuple[Column, ...]
    variables: Mapping[str, xr.Variable]
    n_stars: int
    n_not_done: int
    n_unreadable: int
    block: int
    provenance: Mapping[str, str]
    flags: tuple[tuple[int, str, str], ...]

    def blocks(self) -> Iterator[Mapping[str, np.ndarray]]:
        """Yield the variables block by block, in order; of stars that are not done, values are missing or 0."""
        for values in read(self.variables, self.block):
            done = values["status"] != 0
            yield values if done.all() else {k: _without(v, done, k) for k, v in values.items()}


def _without(values: np.ndarray, done: np.ndarray, name: str) -> np.ndarray:
    if name in (STAR, "status") or name.startswith(_SURVEY):
        return values
    missing = np.array(np.nan if values.dtype.kind == "f" else 0, values.dtype)
    return np.where(done.reshape(-1, *[1] * (values.ndim - 1)), values, missing)


def make_table(
    catalog: Source,
    *,
    survey: Source | None = None,
    survey_columns: Sequence[str] = (),
    covariance: bool = False,
    unfinished: bool = False,
) -> Table:
    """Lay a catalogue out as a table; reads ``status``, and identifiers to compare with the survey's.

    Raises
    ------
    InputError
    """
    require_catalog(catalog.dataset, catalog.where)
    n_stars, status = catalog.dataset.sizes[STAR], catalog.variables["status"].values
    n_not_done, n_unreadable = (
        int(np.count_nonzero(status == state)) for state in (NOT_DONE, UNREADABLE)
    )
    if n_not_done and not unfinished:
        raise InputError(
            f"{catalog.where}: {n_not_done:,} of {n_stars:,} stars are not done; finish it "
            "with `luxscale label`, "
            "or export it as it is, these stars with status 0 and no values (--unfinished)"
        )
    wanted = [*_catalog_columns(catalog, covariance), *_survey_columns(survey, survey_columns)]
    columns = tuple(
        sorted(_named(wanted), key=lambda c: (c.source != STAR, c.index is None))
    )  # star, labels, the rest
    variables = {
        c.source: catalog.variables[c.source] for c in columns if not c.source.startswith(_SURVEY)
    }
    chunk, width = (
        max(1, store.star_chunk(catalog.dataset)),
        sum(c.size * c.dtype.itemsize for c in columns),
    )
    block = round_to_chunks(BLOCK_BYTES // width, chunk)
    if survey is not None:
        _check_stars(catalog, survey, block)
        variables |= {f"{_SURVEY}{name}": survey.variables[name] for name in survey_columns}
    held = catalog.dataset
    return Table(
        columns,
        variables,
        n_stars,
        n_not_done,
        n_unreadable,
        block,
        _provenance(held),
        _flags(held),
    )


def _catalog_columns(catalog: Source, covariance: bool) -> Iterator[Column]:
    """Yield the columns of the catalogue; those of fixed names first, which labels then cannot take."""
    docs = {v.name: v.doc for v in CATALOG} | {"flags": str(flags.ATTRS["long_name"])}
    outputs = find_outputs(catalog.dataset)
    for name in (STAR, "chi2", "n_pixels", "flags", "status", "latent"):
        yield _column(name, catalog, docs[name])
    for name in [o.name.removesuffix("_value") + "_cov" for o in outputs] if covariance else ():
        if name not in catalog.variables:
            raise InputError(
                f"{catalog.where}: no variable {name!r}; label with --covariance, or export without"
            )
        yield _column(name, catalog, docs.get(name, "covariance of the output"))
    for output in outputs:
        yield from _labels(catalog.dataset, output)


def _labels(catalog: xr.Dataset, output: OutputSpec) -> Iterator[Column]:
    """Yield a column for each label of an output and one for its error."""
    units = catalog.variables.get(f"{output.dim}_units")
    for i, label in enumerate(catalog[output.dim].values.tolist()):
        unit = "" if units is None else str(units.values[i])
        known = (("label", str(label)), ("output", output.name))
        for name, doc, ending in zip(
            output.variables, ("inferred label", "one-sigma error"), ("", "_err"), strict=True
        ):
            dtype = catalog.variables[name].dtype
            yield Column(
                f"{sanitise(str(label))}{ending}",
                name,
                i,
                dtype,
                (),
                unit,
                f"{label}: {doc}",
                known,
            )


def _survey_columns(survey: Source | None, names: Sequence[str]) -> Iterator[Column]:
    for name in names:
        if survey is None:
            raise InputError(f"column {name!r} is of a survey: name the survey too")
        per_star = [str(k) for k, v in survey.variables.items() if v.dims[:1] == (STAR,)]
        if name not in per_star:
            raise InputError(
                f"{survey.where}: no column {name!r} (star, ...); it has: {', '.join(per_star)}"
            )
        attrs = survey.variables[name].attrs
        about = attrs.get("long_name", attrs.get("description", "column of the survey"))
        column = _column(name, survey, f"{name}: {about}")
        yield dataclasses.replace(
            column, source=f"{_SURVEY}{name}", unit=str(attrs.get("units", ""))
        )


def _column(name: str, source: Source, doc: str) -> Column:
    variable = source.variables[name]
    dtype = variable.dtype
    if dtype.kind in "UTO":
        dtype = np.dtype("U32")  # 128 bytes: a guess, for the size of blocks
    elif dtype.kind not in "fiub" or dtype.itemsize > 8:
        raise InputError(
            f"{source.where}: {name!r} has dtype {dtype}, which no column can hold; make it "
            "float or text"
        )
    dtype = np.dtype(_WIDENED.get(dtype.str[1:], dtype))
    return Column(sanitise(name), name, None, dtype, tuple(variable.shape[1:]), "", doc)


def _named(columns: Iterable[Column]) -> Iterator[Column]:
    """Number columns of equal names."""
    taken: set[str] = set()
    for column in columns:
        name, number = column.name, 1
        while name in taken:
            number += 1
            name = f"{column.name}_{number}"
        taken.add(name)
        yield dataclasses.replace(column, name=name)


def sanitise(name: str) -> str:
    """Return a name of lower-case ASCII letters, digits and underscores, beginning with a letter."""
    plain = re.sub("[^a-z0-9]+", "_", name.lower()).strip("_")[:_NAME_LENGTH]
    return plain if plain[:1].isalpha() else f"c_{plain}".rstrip("_")


def _check_stars(catalog: Source, survey: Source, block: int) -> None:
    """Refuse a survey that has not the catalogue's stars in the catalogue's order."""
    ours, theirs = catalog.variables[STAR], survey.variables.get(STAR)
    advice = "give the survey that the catalogue was made of, with its stars in the same order"
    if theirs is None or theirs.shape != ours.shape:
        names = 0 if theirs is None else theirs.size
        raise InputError(
            f"{survey.where}: it names {names:,} stars, the catalogue {ours.size:,}; {advice}"
        )
    for i, values in enumerate(read({"ours": ours, "theirs": theirs}, block)):
        differ = values["ours"].astype(object) != values["theirs"].astype(object)
        if differ.any():
            row = int(np.argmax(differ))
            a, b = values["theirs"].tolist()[row], values["ours"].tolist()[row]
            raise InputError(
                f"{survey.where}: its star {i * block + row} is {a!r}, the catalogue's {b!r}; "
                f"{advice}"
            )


def _provenance(catalog: xr.Dataset) -> dict[str, str]:
    """Return where the catalogue comes from, as text."""
    held = {
        k: str(catalog.attrs[k])
        for k in ("title", "model_fingerprint", "luxscale_version")
        if k in catalog.attrs
    }
    identity = {
        f"run_{k}": v if isinstance(v, str) else json.dumps(v)
        for k, v in catalog.attrs.get("identity", {}).items()
    }
    return held | identity | {"exported_by": f"luxscale {version('luxscale')}"}


def _flags(catalog: xr.Dataset) -> tuple[tuple[int, str, str], ...]:
    """Return bit, name and meaning of each flag, as the catalogue itself says."""
    attrs, meanings = {**flags.ATTRS, **catalog["flags"].attrs}, dict(flags.FLAGS)
    bits = [int(mask).bit_length() - 1 for mask in np.atleast_1d(attrs["flag_masks"])]
    names = str(attrs["flag_meanings"]).split()
    return tuple(
        (bit, name, meanings.get(name, name)) for bit, name in zip(bits, names, strict=True)
    )
