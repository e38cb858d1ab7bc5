"""A catalogue laid out as a table: its columns, provenance and flags, and values block by block."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

import numpy as np
import xarray as xr

from luxscale import store
from luxscale.analysis.evaluate import require_catalog
from luxscale.errors import InputError
from luxscale.export.columns import SURVEY, Column, list_columns
from luxscale.export.source import Source, read_blocks
from luxscale.schema import flags
from luxscale.schema.attributes import unpack_attribute
from luxscale.schema.blocks import round_to_chunks
from luxscale.schema.outputs import list_names
from luxscale.schema.status import NOT_DONE, UNREADABLE
from luxscale.schema.variables import CALIBRATION, STAR

#: A block aims at this many bytes of table rows; it is what an export holds in memory.
BLOCK_BYTES = 32 * 2**20


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
    if name in (STAR, "status") or name.startswith(SURVEY):
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
    found = list_columns(source, beside, wanted, covariance)
    if not latents:
        found = tuple(column for column in found if column.source != "latent")
    variables = {
        c.source: source.variables[c.source] for c in found if not c.source.startswith(SURVEY)
    }
    block = _get_block(source.dataset, found)
    if beside is not None:
        _check_stars(source, beside, block)
        variables |= {f"{SURVEY}{name}": beside.variables[name] for name in wanted}
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


def _get_block(catalog: xr.Dataset, columns: Iterable[Column]) -> int:
    """Return the stars to read at once: whole chunks that fill the memory of a block."""
    row_bytes = sum(c.size * c.dtype.itemsize for c in columns)
    chunk = max(1, store.get_star_chunk(catalog))
    return round_to_chunks(BLOCK_BYTES // row_bytes, chunk)


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
