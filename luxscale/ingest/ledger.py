"""What a survey knows of the files that it was made of: the group ``ingest`` inside it.

Files that are added together are a session, with a group of its own: their names, the stage that it
has reached, what batches of files gave until that is put in order, and what was refused, with
reasons.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
import zarr

from luxscale import store
from luxscale.errors import InputError
from luxscale.ingest.describe import describe_grid, describe_survey
from luxscale.ingest.layout import Layout
from luxscale.ingest.paths import make_storable
from luxscale.ingest.plan import Batch, Plan, Session, choose_batch_size
from luxscale.prepare import Recipe
from luxscale.readers import get_format

#: Group of a survey that this module keeps.
GROUP = "ingest"

#: Group of a session that holds what batches gave, until it is put in order.
PARTS = "parts"

#: Stages of a session.
READING, PACKING, DONE = "reading", "packing", "done"

#: Rows per chunk of the table of what was refused.
_TABLE_CHUNK = 2**14

_TEXT = np.dtypes.StringDType()


def create_survey(plan: Plan, grid: np.ndarray) -> None:
    """Begin a survey: its grid, and how its files are read."""
    root = zarr.open_group(store.locate(plan.survey), mode="a")
    group = root.create_group(GROUP, overwrite=True)
    wavelength = group.create_array("wavelength", data=grid, chunks=grid.shape, overwrite=True)
    wavelength.attrs.update(describe_grid(plan))
    group.attrs["identity"] = plan.identity
    root.attrs["complete"] = 0


def read_identity(survey: str) -> dict[str, Any] | None:
    """Return how the files of a survey were read; None if there is no survey yet.

    Raises
    ------
    InputError
        If there is something else, that no files were ingested into.
    """
    if store.read_attributes(survey) is None:
        return None
    root = store.open_group(survey, "r")
    found = None
    if GROUP in root:
        found = dict(root[GROUP].attrs).get("identity")
    others = set(root.keys()) - {store.RUN, GROUP}
    if found is None and others:
        raise InputError(f"{survey} is not a survey made by `luxscale ingest`; choose another path")
    return found  # type: ignore[return-value]


def read_binding_identity(survey: str) -> dict[str, Any] | None:
    """Return how files that are added to a survey have to be read; None if that is still open.

    It is open until a session is under way or has added stars.

    Raises
    ------
    InputError
        If something else is there.
    """
    identity = read_identity(survey)
    if identity is None or not _is_begun(survey):
        return None
    return identity


def read_plan(survey: str) -> Plan | None:
    """Return the plan of a survey as it was put down; None if there is no survey yet."""
    facts = read_identity(survey)
    if facts is None:
        return None
    recipe = {name: _make_tuples(value) for name, value in facts["recipe"].items()}
    return Plan(
        survey=survey,
        format=facts["format"],
        options=tuple(facts["options"].items()),
        recipe=Recipe(**recipe),
        chunk=facts["chunk"],
        grid=facts["grid"],
    )


def _make_tuples(value: Any) -> Any:
    """Return lists, as JSON has them, as tuples."""
    if isinstance(value, list):
        return tuple(_make_tuples(item) for item in value)
    return value


@functools.lru_cache(maxsize=1)
def get_grid(plan: Plan) -> np.ndarray:
    """Return the wavelengths of a survey: (wavelength,)."""
    return read_grid(plan.survey)


def read_grid(survey: str) -> np.ndarray:
    """Return the wavelengths of a survey: (wavelength,)."""
    group = store.open_group(survey, "r", GROUP)
    return np.asarray(store.open_array(group, "wavelength")[:])


def list_sessions(plan: Plan) -> list[Session]:
    """Return all sessions, in order."""
    facts = _read_sessions_facts(plan.survey)
    return [_make_session(plan, number, facts[number]) for number in sorted(facts)]


def _read_sessions_facts(survey: str) -> dict[int, dict[str, Any]]:
    """Return what is put down of each session that was begun, by its number."""
    facts = {}
    for name, group in store.open_group(survey, "r", GROUP).groups():
        attributes = dict(group.attrs)
        if "stage" in attributes:
            facts[int(name)] = attributes
    return facts


def _make_session(plan: Plan, number: int, facts: dict[str, Any]) -> Session:
    return Session(
        plan=plan,
        number=number,
        n_files=int(facts["n_files"]),
        batch_files=int(facts["batch_files"]),
        first=int(facts["first"]),
    )


def _is_begun(survey: str) -> bool:
    """Whether a session is under way, or has added stars."""
    for facts in _read_sessions_facts(survey).values():
        if facts["stage"] != DONE or facts["stars"]:
            return True
    return False


def begin_session(plan: Plan, number: int, files: Sequence[str], first: int) -> Session:
    """Put down the files of a new session; ``stage`` last, by which a session counts as begun."""
    batch_size = choose_batch_size(len(files), plan.chunk, get_format(plan.format).many)
    store.open_group(plan.survey, "r+").attrs["complete"] = 0
    group = store.open_group(plan.survey, "r+", GROUP).require_group(str(number))
    paths = [make_storable(file) for file in files]
    write_text(group, "file", np.array(paths, object), batch_size)
    facts: dict[str, Any] = {"n_files": len(files), "batch_files": batch_size, "first": first}
    group.attrs.update(facts)
    group.attrs["stage"] = READING
    return _make_session(plan, number, facts)


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


def read_facts(session: Session) -> dict[str, Any]:
    """Return what is put down of a session."""
    return dict(store.open_group(session.plan.survey, "r", session.group).attrs)


def update_facts(session: Session, **facts: Any) -> None:
    """Put down something of a session."""
    store.open_group(session.plan.survey, "r+", session.group).attrs.update(facts)


def read_files(session: Session, start: int = 0, stop: int | None = None) -> list[str]:
    """Return paths of files by number, in the form in which they are stored."""
    group = store.open_group(session.plan.survey, "r", session.group)
    paths = np.asarray(store.open_array(group, "file")[start:stop])
    return [str(path) for path in paths]


def read_part(session: Session, index: int) -> dict[str, Any] | None:
    """Return what a batch gave, spectra apart; None if it is not done."""
    group = store.open_group(session.plan.survey, "r", session.group)
    name = f"{PARTS}/{index}"
    if name not in group:
        return None
    return dict(group[name].attrs)


def list_pending(session: Session) -> list[Batch]:
    """Return the batches that are not done."""
    return [batch for batch in session.batches if read_part(session, batch.index) is None]


def end_session(session: Session, layout: Layout) -> None:
    """Put down how a session ended, and drop what batches gave."""
    group = store.open_group(session.plan.survey, "r+", session.group)
    files, stars, reasons = [], [], []
    for file, star, reason in layout.refused:
        files.append(file)
        stars.append(make_storable(star))
        reasons.append(make_storable(reason))
    write_text(group, "refused_star", np.array(stars, object), _TABLE_CHUNK)
    write_text(group, "refused_reason", np.array(reasons, object), _TABLE_CHUNK)
    numbers = np.array(files, np.int64)
    group.create_array("refused_file", data=numbers, chunks=(_TABLE_CHUNK,), overwrite=True)
    facts: dict[str, Any] = {
        "spectra": layout.n_read,
        "stars": layout.star.size,
        "masked": layout.masked,
        "resampled": layout.resampled,
    }
    group.attrs.update(facts)
    group.attrs["stage"] = DONE
    for name in (PARTS, "source", "packed"):
        if name in group:
            del group[name]


def read_refused(session: Session) -> list[tuple[int, str, str]]:
    """Return what was refused in a session that has ended: number of the file, star, reason."""
    group = store.open_group(session.plan.survey, "r", session.group)
    files, stars, reasons = (
        np.asarray(store.open_array(group, f"refused_{name}")[:]).tolist()
        for name in ("file", "star", "reason")
    )
    rows = zip(files, stars, reasons, strict=True)
    return [(int(file), str(star), str(reason)) for file, star, reason in rows]


def list_refused_by_file(plan: Plan) -> dict[str, tuple[tuple[str, str], ...]]:
    """Return the files of sessions that have ended, and what of each was refused: star, reason.

    Of a file that was read twice, what was refused the last time counts.
    """
    files: dict[str, tuple[tuple[str, str], ...]] = {}
    for session in list_sessions(plan):
        if read_facts(session)["stage"] != DONE:
            continue
        paths = read_files(session)
        files |= dict.fromkeys(paths, ())
        for file, star, reason in read_refused(session):
            files[paths[file]] += ((star, reason),)
    return files


def mark_complete(plan: Plan) -> None:
    """Say that a survey is complete, and what it is."""
    facts = describe_survey(plan) | {"complete": 1}
    store.open_group(plan.survey, "r+").attrs.update(facts)
