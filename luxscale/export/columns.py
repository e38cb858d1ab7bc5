"""A catalogue as a table: its columns with names, units and meanings, and values block by block."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from luxscale import store
from luxscale.analysis.evaluate import require_catalog
from luxscale.errors import InputError
from luxscale.export.source import Source, read_blocks
from luxscale.schema import flags
from luxscale.schema.attributes import unpack_attribute
from luxscale.schema.blocks import round_to_chunks
from luxscale.schema.names import sanitise_name
from luxscale.schema.outputs import OutputSpec, find_outputs, list_names
from luxscale.schema.status import NOT_DONE, UNREADABLE
from luxscale.schema.variables import CALIBRATION, CATALOG, NUISANCE_OF, STAR

#: A block aims at this many bytes of table rows; it is what an export holds in memory.
BLOCK_BYTES = 32 * 2**20

#: Types that neither format has for a column, and the smallest that holds their values.
_WIDENED = {"f2": "f4", "i1": "i2"}

#: Text is taken for this long when blocks are sized: 128 bytes.
_TEXT = np.dtype("U32")

#: Prefix of the keys of a survey's variables, beside those of the catalogue.
_SURVEY = "survey/"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Column:
    """One column of the exported table.

    Parameters
    ----------
    name : str
        Lower case; unique whatever the case, of letters, digits and underscores.
    source : str
        Key of the variable that holds it.
    index : int, optional
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
    index: int | None = None
    dtype: np.dtype
    shape: tuple[int, ...] = ()
    unit: str = ""
    doc: str
    attrs: tuple[tuple[str, str], ...] = ()

    @property
    def is_text(self) -> bool:
        """Whether the values are text."""
        return self.dtype.kind == "U"

    @property
    def size(self) -> int:
        """Values per star."""
        return int(np.prod(self.shape, dtype=int))

    def get_values(self, block: Mapping[str, np.ndarray]) -> Any:
        """Return the column's values of a block of variables.

        Returns
        -------
        array, (star, ...), or list of str
            A list for text, with None where it is missing.
        """
        values = block[self.source]
        if self.index is not None:
            values = values[:, self.index]
        if self.is_text:
            return [text if isinstance(text, str) else None for text in values.tolist()]
        return values.astype(self.dtype, copy=False)


@dataclasses.dataclass(frozen=True, kw_only=True)
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

    def read_blocks(self) -> Iterator[Mapping[str, np.ndarray]]:
        """Yield the variables block by block, in order.

        Of stars that are not done, values are missing, or 0 where they are whole numbers.
        """
        for block in read_blocks(self.variables, self.block):
            done = block["status"] != NOT_DONE
            if not done.all():
                block = {name: _blank(v, done, name) for name, v in block.items()}
            yield block


def _blank(values: np.ndarray, done: np.ndarray, name: str) -> np.ndarray:
    """Return values without those of stars that are not done; what a survey gives stays."""
    if name in (STAR, "status") or name.startswith(_SURVEY):
        return values
    missing = np.zeros((), values.dtype)
    if values.dtype.kind == "f":
        missing[...] = np.nan
    by_star = done.reshape(-1, *[1] * (values.ndim - 1))
    return np.where(by_star, values, missing)


def make_table(
    catalog: str | Path | xr.Dataset,
    *,
    survey: str | Path | xr.Dataset | None,
    columns: str | Sequence[str],
    covariance: bool,
    latents: bool,
    unfinished: bool,
) -> Table:
    """Lay a catalogue out as a table; see `luxscale.export.export_catalog`.

    Reads ``status``, and identifiers to compare with the survey's.

    Raises
    ------
    InputError
        If there is no finished catalogue, a column is missing or cannot be expressed, or the survey
        has other stars.
    """
    source = Source.open(catalog, "catalogue")
    beside = None if survey is None else Source.open(survey, "survey")
    require_catalog(source.dataset, source.where)
    n_stars = source.dataset.sizes[STAR]
    status = source.variables["status"].values
    n_not_done = int(np.count_nonzero(status == NOT_DONE))
    if n_not_done and not unfinished:
        raise InputError(
            f"{source.where}: {n_not_done:,} of {n_stars:,} stars are not done; finish it with "
            "`luxscale label`, or export it as it is, these stars with status 0 and no values "
            "(--unfinished)"
        )
    wanted = list_names(columns)
    found = _list_columns(source, beside, wanted, covariance)
    if not latents:
        found = tuple(column for column in found if column.source != "latent")
    variables = {
        c.source: source.variables[c.source] for c in found if not c.source.startswith(_SURVEY)
    }
    block = _get_block(source.dataset, found)
    if beside is not None:
        _check_stars(source, beside, block)
        variables |= {f"{_SURVEY}{name}": beside.variables[name] for name in wanted}
    return Table(
        columns=found,
        variables=variables,
        n_stars=n_stars,
        n_not_done=n_not_done,
        n_unreadable=int(np.count_nonzero(status == UNREADABLE)),
        block=block,
        provenance=_describe_provenance(source.dataset),
        flags=_list_flags(source.dataset),
    )


def _list_columns(
    catalog: Source, survey: Source | None, survey_columns: Sequence[str], covariance: bool
) -> tuple[Column, ...]:
    """Return the columns in the order of the file: star, labels, the rest."""
    found = [
        *_list_catalog_columns(catalog, covariance),
        *_list_survey_columns(survey, survey_columns),
    ]
    numbered = _number_names(found)
    return tuple(sorted(numbered, key=lambda c: (c.source != STAR, c.index is None)))


def _get_block(catalog: xr.Dataset, columns: Iterable[Column]) -> int:
    """Return the stars to read at once: whole chunks that fill the memory of a block."""
    row_bytes = sum(c.size * c.dtype.itemsize for c in columns)
    chunk = max(1, store.get_star_chunk(catalog))
    return round_to_chunks(BLOCK_BYTES // row_bytes, chunk)


def _list_catalog_columns(catalog: Source, covariance: bool) -> Iterator[Column]:
    """Yield the columns of the catalogue.

    Those of fixed names come first: labels of the same name are numbered.
    """
    docs = {v.name: v.doc for v in CATALOG} | {"flags": str(flags.ATTRS["long_name"])}
    for name in (STAR, "chi2", "n_pixels", "flags", "status", "latent"):
        yield _make_column(name, catalog, docs[name])
    yield from _list_nuisance_columns(catalog)
    outputs = find_outputs(catalog.dataset)
    if covariance:
        for output in outputs:
            name = output.name.removesuffix("_value") + "_cov"
            if name not in catalog.variables:
                raise InputError(
                    f"{catalog.where}: no variable {name!r}; label with --covariance, or export "
                    "without"
                )
            yield _make_column(name, catalog, docs.get(name, "covariance of the output"))
    for output in outputs:
        yield from _list_label_columns(catalog.dataset, output)


def _list_nuisance_columns(catalog: Source) -> Iterator[Column]:
    """Yield a column for the coefficient of each nuisance and one for its error."""
    for name, variable in catalog.variables.items():
        if NUISANCE_OF in variable.attrs:
            column = _make_column(str(name), catalog, variable.attrs["long_name"])
            yield dataclasses.replace(column, unit=variable.attrs["units"])


def _list_label_columns(catalog: xr.Dataset, output: OutputSpec) -> Iterator[Column]:
    """Yield a column for each label of an output and one for its error."""
    units = catalog.variables.get(f"{output.dim}_units")
    value, error = output.variables
    for i, label in enumerate(map(str, catalog[output.dim].values.tolist())):
        column = Column(
            name=sanitise_name(label),
            source=value,
            index=i,
            dtype=catalog.variables[value].dtype,
            unit="" if units is None else str(units.values[i]),
            doc=f"{label}: inferred label",
            attrs=(("label", label), ("output", output.name)),
        )
        yield column
        yield dataclasses.replace(
            column,
            name=f"{column.name}_err",
            source=error,
            dtype=catalog.variables[error].dtype,
            doc=f"{label}: one-sigma error",
        )


def _list_survey_columns(survey: Source | None, names: Sequence[str]) -> Iterator[Column]:
    """Yield the columns of the survey that are asked for."""
    for name in names:
        if survey is None:
            raise InputError(f"column {name!r} is of a survey: name the survey too")
        per_star = [str(k) for k, v in survey.variables.items() if v.dims[:1] == (STAR,)]
        if name not in per_star:
            raise InputError(
                f"{survey.where}: no column {name!r} (star, ...); it has: {', '.join(per_star)}"
            )
        attrs = survey.variables[name].attrs
        doc = attrs.get("long_name", attrs.get("description", "column of the survey"))
        column = _make_column(name, survey, f"{name}: {doc}")
        yield dataclasses.replace(
            column, source=f"{_SURVEY}{name}", unit=str(attrs.get("units", ""))
        )


def _make_column(name: str, source: Source, doc: str) -> Column:
    """Return the column that holds all of a variable."""
    variable = source.variables[name]
    dtype = variable.dtype
    if dtype.kind in "UTO":
        dtype = _TEXT
    elif dtype.kind not in "fiub" or dtype.itemsize > 8:
        raise InputError(
            f"{source.where}: {name!r} has dtype {dtype}, which no column can hold; make it "
            "float or text"
        )
    return Column(
        name=sanitise_name(name),
        source=name,
        dtype=np.dtype(_WIDENED.get(dtype.str[1:], dtype)),
        shape=tuple(variable.shape[1:]),
        doc=doc,
    )


def _number_names(columns: Iterable[Column]) -> Iterator[Column]:
    """Number columns of equal names."""
    taken: set[str] = set()
    for column in columns:
        name, number = column.name, 1
        while name in taken:
            number += 1
            name = f"{column.name}_{number}"
        taken.add(name)
        yield dataclasses.replace(column, name=name)


def _check_stars(catalog: Source, survey: Source, block: int) -> None:
    """Refuse a survey that has not the catalogue's stars in the catalogue's order."""
    ours, theirs = catalog.variables[STAR], survey.variables.get(STAR)
    advice = "give the survey that the catalogue was made of, with its stars in the same order"
    if theirs is None or theirs.shape != ours.shape:
        n_theirs = 0 if theirs is None else theirs.size
        if n_theirs > ours.size:
            advice = f"if it has grown, run the same `luxscale label` again first; else {advice}"
        raise InputError(
            f"{survey.where}: it names {n_theirs:,} stars, the catalogue {ours.size:,}; {advice}"
        )
    start = 0
    for values in read_blocks({"ours": ours, "theirs": theirs}, block):
        differ = values["ours"].astype(object) != values["theirs"].astype(object)
        if differ.any():
            row = int(np.argmax(differ))
            our_star, their_star = (values[k].tolist()[row] for k in ("ours", "theirs"))
            raise InputError(
                f"{survey.where}: its star {start + row} is {their_star!r}, the catalogue's "
                f"{our_star!r}; {advice}"
            )
        start += differ.size


def _describe_provenance(catalog: xr.Dataset) -> dict[str, str]:
    """Return where the catalogue comes from, as text."""
    known = {
        name: str(catalog.attrs[name])
        for name in ("title", "model_fingerprint", "luxscale_version", CALIBRATION)
        if name in catalog.attrs
    }
    run = unpack_attribute(catalog.attrs.get("identity", {}))
    identity = {f"run_{name}": str(value) for name, value in run.items()}
    return known | identity | {"exported_by": f"luxscale {version('luxscale')}"}


def _list_flags(catalog: xr.Dataset) -> tuple[tuple[int, str, str], ...]:
    """Return bit, name and meaning of each flag, as the catalogue itself says."""
    attrs = {**flags.ATTRS, **catalog["flags"].attrs}
    bits = [int(mask).bit_length() - 1 for mask in np.atleast_1d(attrs["flag_masks"])]
    names = str(attrs["flag_meanings"]).split()
    docs = dict(flags.FLAGS)
    return tuple((bit, name, docs.get(name, name)) for bit, name in zip(bits, names, strict=True))
