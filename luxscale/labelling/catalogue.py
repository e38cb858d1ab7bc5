"""The catalogue that a run fills: made, continued, and what of it is pending.

Beside its variables a catalogue has a group ``run``: the size and the last bytes of each chunk of
the survey when it was to be read, by which a survey that changed under the catalogue is noticed,
and the lock of the run that fills it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import dask.array as da
import numpy as np
import xarray as xr
import zarr

from luxscale import store
from luxscale.errors import InputError
from luxscale.labelling.plan import Plan, Region
from luxscale.model.file import load_model
from luxscale.model.infer import decorate_catalog
from luxscale.model.inference import Result, describe_results, pick_given
from luxscale.schema.status import DONE, NOT_DONE, UNREADABLE
from luxscale.schema.variables import CATALOG, LATENT, STAR
from luxscale.store import chunks as inputs
from luxscale.store import damage

FORMAT = "luxscale-catalog"
FORMAT_VERSION = 1

#: Value of the attribute ``complete`` until all arrays exist; then 0, and 1 when all regions are
#: done.
_BEING_MADE = -1


def check_place(plan: Plan) -> bool:
    """Check that a catalogue may be made or continued, without a change to anything; return whether it is there.

    Raises
    ------
    InputError
        If something else is there, or a catalogue of another survey, model or setting.
    """
    held = store.read_attributes(plan.catalog)
    if held is None or (held.get("format") == FORMAT and held.get("complete") == _BEING_MADE):
        return False
    if held.get("format") != FORMAT:
        raise InputError(
            f"{plan.catalog}: holds {held.get('format', 'another Zarr store')!r}, not a "
            "catalogue; choose another path"
        )
    changed = _changed(held["identity"], dict(plan.identity))
    if changed:
        raise InputError(
            f"{plan.catalog}: a catalogue made with another {' and '.join(changed)}; choose "
            "another path, or "
            "remove it and start again"
        )
    return True


def _changed(held: dict[str, str], now: dict[str, str]) -> list[str]:
    """Return what is not as it was, settings with their values."""
    changed = [name for name in now if held.get(name) != now[name]]
    if "given" in changed:  # of a survey, the outputs that are given count
        changed = [name for name in changed if name != "survey"]
    return [
        n if n in ("survey", "model") else f"{n} ({held.get(n)}, now {now[n]})" for n in changed
    ]


def prepare(plan: Plan) -> tuple[Region, ...]:
    """Make the catalogue, or check that it may be continued; return the regions that are pending.

    Raises
    ------
    InputError
        As `check_place`, and if the survey changed under what is done.
    """
    if not check_place(plan):
        _create(plan)
        return plan.regions
    todo = list_pending(plan)
    marks = refuse_changed_input(plan, todo)
    if todo:
        with store.explain_writing(plan.catalog):
            _record_input(plan, marks)
            _record_version(plan)
    return todo


def repair(plan: Plan) -> list[damage.Damage]:
    """Read what a catalogue holds, and mark the stars of chunks that are damaged as not done; return what is.

    Identifiers that are not those of the survey are written anew.

    Raises
    ------
    CannotWrite
    """
    if not check_place(plan):
        return []
    group = store.open_group(plan.catalog, "r+")
    with damage.explain_damage(plan.catalog):
        found = list(damage.find_damage(group, damage.list_filled(group)))
    with store.explain_writing(plan.catalog):
        for each in found:
            store.open_array(group, "status")[each.start : each.stop] = NOT_DONE
        return [*found, *_mend_stars(plan)]


def _mend_stars(plan: Plan) -> Iterator[damage.Damage]:
    """Write the identifiers anew where they cannot be read or are others, for the survey is known to be the same."""
    stars = _identifiers(plan)
    try:
        held = np.asarray(store.open_array(store.open_group(plan.catalog, "r"), STAR)[:])
        why = (
            ""
            if np.array_equal(held.astype(stars.dtype), stars)
            else "not the identifiers of the survey"
        )
    except Exception as error:  # codecs raise what they like
        if store.is_outage(error) and not isinstance(error, KeyError):
            raise
        why = f"{type(error).__name__}: {error}"
    if why:
        group, text = store.open_group(plan.catalog, "r+"), np.dtypes.StringDType()
        made = group.create_array(
            STAR,
            shape=stars.shape,
            chunks=stars.shape,
            dtype=text if stars.dtype.kind == "O" else stars.dtype,
            dimension_names=(STAR,),
            overwrite=True,
            **_STAR_ENCODING,
        )
        made[:] = stars.astype(made.dtype)
        yield damage.Damage(variable=STAR, chunk=0, start=0, stop=plan.n_stars, reason=why)


#: Identifiers carry a checksum, as the arrays that regions fill do.
_STAR_ENCODING: dict[str, Any] = {"compressors": store.make_codecs(np.dtype(np.uint8))}


def _identifiers(plan: Plan) -> np.ndarray:
    """Return the stars of the survey, as they are written: (star,), int64 or object."""
    stars: np.ndarray = store.open_dataset(plan.survey)[STAR].values
    return stars if stars.dtype.kind in "iu" else stars.astype(object)


def status_of(plan: Plan) -> np.ndarray:
    """Return the status of every star of a catalogue: (star,), uint8.

    Stars whose status cannot be read are not done; nor are those that are said to be done, but
    whose labels are not there: a machine that crashes may keep the one and lose the other.

    Raises
    ------
    InputError
        If an array is not there, or its metadata cannot be read.
    """
    group = store.open_group(plan.catalog, "r")
    with damage.explain_damage(plan.catalog):
        status = damage.read_readable(store.open_array(group, "status"), NOT_DONE)
        for name in ("label_value", "label_err", LATENT, "chi2", "n_pixels", "flags"):
            rows = inputs.get_chunk_rows(store.open_array(group, name))
            for i in np.flatnonzero(inputs.read_sizes(group, name, 0, plan.n_stars) <= 0):
                chunk = status[i * rows : (i + 1) * rows]
                chunk[chunk == DONE] = NOT_DONE
    return status


def list_pending_unchanged(plan: Plan) -> tuple[Region, ...]:
    """Return the regions that a run would do, without a change to anything.

    Raises
    ------
    InputError
        As `prepare`.
    """
    if not check_place(plan):
        return plan.regions
    todo = list_pending(plan)
    refuse_changed_input(plan, todo)
    return todo


def list_pending(plan: Plan) -> tuple[Region, ...]:
    """Return the regions of which any star is not done, or could not be read."""
    status = status_of(plan)
    return tuple(r for r in plan.regions if (status[r.start : r.stop] != DONE).any())


def input_names(plan: Plan) -> list[str]:
    """Return the variables of the survey that a run reads."""
    return [v for o in pick_given(load_model(plan.model), plan.given) for v in o.spec.variables]


def _input_marks(plan: Plan) -> dict[str, np.ndarray]:
    """Return the marks of each chunk of what a run reads, by variable."""
    survey = store.open_group(plan.survey, "r")
    return {name: inputs.read_marks(survey, name, 0, plan.n_stars) for name in input_names(plan)}


def _record_input(plan: Plan, marks: dict[str, np.ndarray], *, new: bool = False) -> None:
    """Write the marks, each array in one chunk and in place: a run that is killed meanwhile leaves the old or the new."""
    group = store.open_group(plan.catalog, "r+").require_group(store.RUN)
    for name, values in marks.items():
        if new or name not in group:
            group.create_array(name, data=values, chunks=values.shape, overwrite=True)
        else:
            store.open_array(group, name)[:] = values
    if new:
        group.attrs["comment"] = (
            "each chunk of the survey when it was to be read: size in bytes (-1 = missing), "
            "and last 8 bytes as a "
            "little-endian integer"
        )


def _record_version(plan: Plan) -> None:
    """Add this luxscale to those that made the catalogue; what the first ones made says nothing of them."""
    attributes: Any = store.open_group(plan.catalog, "r+").attrs
    versions = list(attributes.get("versions", ()))
    if plan.version not in versions:
        attributes["versions"] = [*versions, plan.version]


def _recorded(path: str, group: zarr.Group, name: str) -> np.ndarray | None:
    """Return the marks that a catalogue kept of a variable, or None if it keeps none.

    Raises
    ------
    InputError
        If they cannot be read.
    """
    if name not in group:
        return None
    array = store.open_array(group, name)
    ((_, _, found),) = damage.read_pieces(array, 0, array.shape[0])
    if (
        inputs.read_sizes(group, name, 0, array.shape[0]).min() <= 0
    ):  # Zarr reads what is not there as zeros
        found = "it is not there"
    if isinstance(found, str):
        raise InputError(
            f"{path}: what it kept of the survey's chunks, {store.RUN}/{name}, is damaged "
            f"({found}); if the survey is as "
            f"it was, delete {store.RUN}/{name} in it and run the same command again, else "
            "remove the catalogue"
        )
    return found


def refuse_changed_input(plan: Plan, todo: Sequence[Region]) -> dict[str, np.ndarray]:
    """Refuse a survey whose chunks changed under stars that are done; those to be read may have been mended.

    Returns
    -------
    dict of str to array, (chunk, 2) or (chunk,)
        The marks of the chunks now, as the catalogue keeps them: the first ones kept sizes only.

    Raises
    ------
    InputError
    """
    survey, held = (
        store.open_group(plan.survey, "r"),
        store.open_group(plan.catalog, "r", store.RUN),
    )
    done = np.ones(plan.n_stars, bool)
    for region in todo:
        done[region.start : region.stop] = False
    marks = _input_marks(plan)
    for name, now in marks.items():
        was = _recorded(plan.catalog, held, name)
        if was is None:
            continue
        marks[name] = now if was.ndim == 2 else now[:, 0]
        changed = _differ(store.open_array(survey, name), was, now, done)
        if changed:
            raise InputError(
                f"{plan.catalog}: the survey changed under it: {changed}; choose another path, "
                "or remove it and start again"
            )
    return marks


def changed_input(survey: str, catalog: str, done: np.ndarray) -> str:
    """Say which chunks of a survey are not what a catalogue kept of them; reads their sizes and last bytes alone.

    Parameters
    ----------
    survey, catalog : str
        Paths or URLs.
    done : array, (star,)
        Where the catalogue has labels.

    Returns
    -------
    str
        Empty if none changed, or the catalogue kept nothing.

    Raises
    ------
    InputError
        If what it kept cannot be read.
    """
    theirs, group = store.open_group(survey, "r"), store.open_group(catalog, "r")
    if store.RUN not in group:
        return ""
    held = store.open_group(catalog, "r", store.RUN)
    kept = [(name, _recorded(catalog, held, name)) for name in sorted(theirs.array_keys())]
    for name, was in kept:
        if was is not None:
            changed = _differ(
                store.open_array(theirs, name),
                was,
                inputs.read_marks(theirs, name, 0, done.size),
                done,
            )
            if changed:
                return changed
    return ""


def _differ(array: zarr.Array[Any], was: np.ndarray, now: np.ndarray, done: np.ndarray) -> str:
    """Say which chunks with stars that are done differ from their marks, the first of which were sizes only."""
    rows, now = inputs.get_chunk_rows(array), now if was.ndim == 2 else now[:, 0]
    used = np.add.reduceat(done, np.arange(0, done.size, rows)) > 0
    differ = (was != now).reshape(used.size, -1).any(1) if was.shape == now.shape else True
    changed = np.flatnonzero(used & differ)
    if not changed.size:
        return ""
    first = int(changed[0])
    return (
        f"{changed.size} chunks of {array.basename!r} from which it has labels, first chunk "
        f"{first} "
        f"(stars {first * rows} to {min((first + 1) * rows, done.size)}), are not what they were"
    )


def _create(plan: Plan) -> None:
    """Write a catalogue's metadata, coordinates and identity: all but the regions."""
    model, survey = load_model(plan.model), store.open_dataset(plan.survey)
    chunk = min(store.star_chunk(survey), plan.n_stars)
    status = Result(name="status", dims=(STAR,), shape=(), dtype=np.dtype(np.uint8))
    variables, encoding = {}, {}
    for result in (*describe_results(model, plan.covariance), status):
        shape, chunks = (plan.n_stars, *result.shape), (chunk, *result.shape)
        variables[result.name] = (
            result.dims,
            da.zeros(shape, dtype=result.dtype, chunks=chunks),
        )
        encoding[result.name] = {
            "chunks": chunks,
            "compressors": store.make_codecs(result.dtype),
            **({"_FillValue": np.nan} if result.dtype.kind == "f" else {}),
        }
    encoding[STAR] = _STAR_ENCODING
    catalog = decorate_catalog(xr.Dataset(variables, {STAR: _identifiers(plan)}), model)
    catalog["status"].attrs = {
        "long_name": next(v.doc for v in CATALOG if v.name == "status"),
        "flag_values": [NOT_DONE, DONE, UNREADABLE],
        "flag_meanings": "not_done done unreadable",
    }
    catalog.attrs |= {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "identity": dict(plan.identity),
        "versions": [plan.version],
        "complete": _BEING_MADE,
    }
    read = _input_marks(plan)
    with store.explain_writing(plan.catalog):
        _write_anew(plan, catalog, encoding, read)


def _write_anew(
    plan: Plan, catalog: xr.Dataset, encoding: dict[str, Any], read: dict[str, np.ndarray]
) -> None:
    place = store.locate(plan.catalog)
    group = zarr.open_group(place, mode="a")
    for name in set(group.keys()) - {store.RUN}:  # what a run left that was stopped here
        del group[name]
    catalog.to_zarr(
        place, mode="a", compute=False, encoding=encoding, consolidated=False, zarr_format=3
    )
    _record_input(plan, read, new=True)
    store.open_group(plan.catalog, "r+").attrs["complete"] = 0
