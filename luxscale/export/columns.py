"""The columns of a catalogue as a table, with names, units and meanings."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from luxscale.errors import InputError
from luxscale.export.source import Source
from luxscale.schema import flags
from luxscale.schema.names import sanitise_name
from luxscale.schema.outputs import OutputSpec, find_outputs
from luxscale.schema.variables import CATALOG, NUISANCE_OF, STAR

#: Types that neither format has for a column, and the smallest that holds their values.
_WIDENED = {"f2": "f4", "i1": "i2"}

#: Text is taken for this long when blocks are sized: 128 bytes.
_TEXT = np.dtype("U32")

#: Prefix of the keys of a survey's variables, beside those of the catalogue.
SURVEY = "survey/"


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


def list_columns(
    catalog: Source, survey: Source | None, survey_columns: Sequence[str], covariance: bool
) -> tuple[Column, ...]:
    """Return the columns in the order of the file: star, labels, the rest."""
    found = [
        *_list_catalog_columns(catalog, covariance),
        *_list_survey_columns(survey, survey_columns),
    ]
    numbered = _number_names(found)
    return tuple(sorted(numbered, key=lambda c: (c.source != STAR, c.index is None)))


def _list_catalog_columns(catalog: Source, covariance: bool) -> Iterator[Column]:
    """Yield the columns of the catalogue.

    Those of fixed names come first: labels of the same name are numbered.
    """
    docs = {v.name: v.doc for v in CATALOG} | {"flags": str(flags.ATTRS["long_name"])}
    for name in (STAR, "chi2", "n_pixels", "flags", "status", "latent"):
        yield _make_column(name, catalog, docs[name])
    if "outputs" in catalog.variables:
        names = catalog.variables["outputs"].attrs.get("flag_meanings")
        doc = docs["outputs"] if names is None else f"{docs['outputs']}, from the least: {names}"
        yield _make_column("outputs", catalog, doc)
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
            column, source=f"{SURVEY}{name}", unit=str(attrs.get("units", ""))
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
