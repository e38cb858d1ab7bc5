"""What a survey knows of the files that it was made of: the group ``ingest`` inside it.

Files that are added together are a session, with a group of its own: their names, the stage that it
has reached, what batches of files gave until that is put in order, and what was refused, with
reasons.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr

from luxscale import store
from luxscale.errors import InputError
from luxscale.ingest.plan import Batch, Plan, Session, batch_files
from luxscale.prepare import Recipe
from luxscale.readers import get_format

if TYPE_CHECKING:
    from luxscale.ingest.pack import Layout

#: Group of a survey that this module keeps.
GROUP = "ingest"

#: Group of a session that holds what batches gave, until it is put in order.
PARTS = "parts"

#: Column of the identifiers that catalogues know stars by, where these are not ``star``.
KEY = "catalog_id"

#: Stages of a session.
READING, PACKING, DONE = "reading", "packing", "done"

#: Stands for a whole file in a list of stars that were refused.
WHOLE_FILE = ""

#: Rows a chunk of the table of what was refused.
_TABLE_CHUNK = 2**14

_TEXT = np.dtypes.StringDType()


def create(plan: Plan, grid: np.ndarray) -> None:
    """Begin a survey: its grid, and how its files are read."""
    fmt = get_format(plan.format)
    root = zarr.open_group(store.locate(plan.survey), mode="a")
    group = root.create_group(GROUP, overwrite=True)
    made = group.create_array("wavelength", data=grid, chunks=grid.shape, overwrite=True)
    options = dict(plan.options)
    made.attrs.update({k: options.get(k, getattr(fmt, k)) for k in ("units", "medium")})
    group.attrs["identity"] = plan.identity
    root.attrs["complete"] = 0


def identity(survey: str) -> dict[str, Any] | None:
    """Return how the files of a survey were read; None of one that no files made."""
    held = store.read_attributes(survey)
    if held is None:
        return None
    root = store.open_group(survey, "r")
    found = dict(root[GROUP].attrs).get("identity") if GROUP in root else None
    if found is None and (set(root.keys()) - {store.RUN, GROUP}):
        raise InputError(
            f"{survey}: holds something that no files were ingested into; choose another path"
        )
    return found  # type: ignore[return-value]


def read_plan(survey: str) -> Plan | None:
    """Return the plan of a survey as it was put down; None of one that no files made."""
    held = identity(survey)
    if held is None:
        return None
    recipe = Recipe(**{k: _tuples(v) for k, v in held["recipe"].items()})
    return Plan(
        survey, held["format"], tuple(held["options"].items()), recipe, held["chunk"], held["grid"]
    )


def _tuples(value: Any) -> Any:
    """Return lists, as JSON has them, as tuples."""
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


@functools.lru_cache(maxsize=1)
def grid_of(plan: Plan) -> np.ndarray:
    """Return the wavelengths of a survey: (wavelength,)."""
    return read_grid(plan.survey)


def read_grid(survey: str) -> np.ndarray:
    """Return the wavelengths of a survey: (wavelength,)."""
    return np.asarray(store.open_array(store.open_group(survey, "r", GROUP), "wavelength")[:])


def sessions(plan: Plan) -> list[Session]:
    """Return all sessions, in order."""
    group = store.open_group(plan.survey, "r", GROUP)
    numbers = sorted(int(k) for k in group.group_keys() if "stage" in group[k].attrs)
    return [_session(plan, n, dict(group[str(n)].attrs)) for n in numbers]


def _session(plan: Plan, number: int, facts: dict[str, Any]) -> Session:
    return Session(plan, number, *(int(facts[k]) for k in ("n_files", "batch_files", "first")))


def is_begun(survey: str) -> bool:
    """Whether a session is under way, or has added stars."""
    group = store.open_group(survey, "r", GROUP)
    facts = [dict(g.attrs) for _, g in group.groups()]
    return any("stage" in f and (f["stage"] != DONE or f["stars"]) for f in facts)


def begin(plan: Plan, number: int, files: Sequence[str], first: int) -> Session:
    """Put down the files of a new session; ``stage`` last, by which a session counts as begun."""
    size = batch_files(len(files), plan.chunk, get_format(plan.format).many)
    store.open_group(plan.survey, "r+").attrs["complete"] = 0
    group = store.open_group(plan.survey, "r+", GROUP).require_group(str(number))
    write_text(group, "file", np.array(files, object), size)
    group.attrs.update({"n_files": len(files), "batch_files": size, "first": first})
    group.attrs["stage"] = READING
    return Session(plan, number, len(files), size, first)


def write_text(group: zarr.Group, name: str, values: np.ndarray, chunk: int) -> None:
    """Write text: (row,)."""
    made = group.create_array(
        name,
        shape=values.shape,
        chunks=(max(1, min(chunk, values.size)),),
        dtype=_TEXT,
        overwrite=True,
    )
    made[:] = values.astype(_TEXT)


def attrs(session: Session) -> dict[str, Any]:
    """Return what is put down of a session."""
    return dict(store.open_group(session.plan.survey, "r", session.group).attrs)


def update(session: Session, **facts: Any) -> None:
    """Put down something of a session."""
    store.open_group(session.plan.survey, "r+", session.group).attrs.update(facts)


def session_files(session: Session, start: int = 0, stop: int | None = None) -> list[str]:
    """Return paths of files, by number."""
    group = store.open_group(session.plan.survey, "r", session.group)
    return [str(f) for f in np.asarray(store.open_array(group, "file")[start:stop])]


def part(session: Session, index: int) -> dict[str, Any] | None:
    """Return what is known of a batch, or None if it is not done."""
    group, name = store.open_group(session.plan.survey, "r", session.group), f"{PARTS}/{index}"
    return dict(group[name].attrs) if name in group else None


def pending(session: Session) -> list[Batch]:
    """Return the batches that are not done."""
    return [b for b in session.batches if part(session, b.index) is None]


def end(session: Session, layout: Layout) -> None:
    """Put down how a session ended, and drop what batches gave."""
    group = store.open_group(session.plan.survey, "r+", session.group)
    rows = list(zip(*layout.refused, strict=True)) or [(), (), ()]
    write_text(group, "refused_star", np.array(rows[1], object), _TABLE_CHUNK)
    write_text(group, "refused_reason", np.array(rows[2], object), _TABLE_CHUNK)
    files = np.array(rows[0], np.int64)
    group.create_array("refused_file", data=files, chunks=(_TABLE_CHUNK,), overwrite=True)
    group.attrs.update(
        {
            "spectra": layout.n_read,
            "stars": layout.star.size,
            "masked": layout.masked,
            "resampled": layout.resampled,
        }
    )
    group.attrs["stage"] = DONE
    for name in (PARTS, "source", "packed"):
        if name in group:
            del group[name]


def refused(session: Session) -> list[tuple[int, str, str]]:
    """Return what was refused in a session that has ended: number of the file, star, reason."""
    group = store.open_group(session.plan.survey, "r", session.group)
    columns = (
        np.asarray(store.open_array(group, f"refused_{n}")[:]).tolist()
        for n in ("file", "star", "reason")
    )
    return [(int(f), str(s), str(r)) for f, s, r in zip(*columns, strict=True)]


def standing(plan: Plan) -> dict[str, tuple[tuple[str, str], ...]]:
    """Return the files of sessions that have ended, and what of each was refused when it was last read: star, reason."""
    files: dict[str, tuple[tuple[str, str], ...]] = {}
    for session in sessions(plan):
        if attrs(session)["stage"] == DONE:
            paths = session_files(session)
            files |= dict.fromkeys(paths, ())
            for file, star, reason in refused(session):
                files[paths[file]] += ((star, reason),)
    return files


def complete(plan: Plan) -> None:
    """Say that a survey is complete, and what it is."""
    root = store.open_group(plan.survey, "r+")
    root.attrs.update(
        {
            "title": f"Survey of {plan.format} files",
            "continuum": plan.recipe.continuum,
            "luxscale_version": version("luxscale"),
            "complete": 1,
        }
    )
