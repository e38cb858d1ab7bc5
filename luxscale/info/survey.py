"""What is in a survey: grids, labels, signal-to-noise ratios, bad pixels, source and size.

Only small columns and whole chunks spread over the survey are read, so that millions of stars take
seconds.
"""

from __future__ import annotations

import collections
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from luxscale import store
from luxscale.errors import InputError
from luxscale.info.doubts import find_doubts
from luxscale.ingest import ledger
from luxscale.ingest.layout import WHOLE_FILE
from luxscale.ingest.pack import count_reasons
from luxscale.ingest.plan import Plan, Session
from luxscale.schema.blocks import round_to_chunks
from luxscale.schema.checks import SAMPLE_BYTES
from luxscale.schema.outputs import OutputSpec, Role, find_outputs
from luxscale.schema.variables import STAR
from luxscale.store import chunks, damage, objects

#: Stars of which labels are read, at most, and the stretches that they lie in.
_MOST_STARS, _STRETCHES = 1_000_000, 16

#: Chunks of spectra in which missing pixels are counted, at most.
_SAMPLE_CHUNKS = 8

#: Bounds of a histogram of signal-to-noise ratios.
_EDGES = (0, 10, 20, 50, 100, 200, 500, 1000)


def describe_survey(path: str | Path, *, check: bool = False) -> dict[str, Any]:
    """Return facts about a survey, ready for JSON.

    Parameters
    ----------
    path : str or Path
    check : bool
        Whether to read and check every value.

    Raises
    ------
    InputError
        If it breaks the contract.
    """
    if (store.read_attributes(path) or {}).get("complete") == 0:
        return _describe_unfinished(path)
    checked = store.open_survey(path, check="all" if check else "sample")
    outputs = find_outputs(checked)
    chunk = store.get_star_chunk(checked)
    survey = store.open_dataset(path, dask=False)  # Dask is slow for many small chunks
    facts: dict[str, Any] = {
        "kind": "survey",
        "state": "complete",
        "stars": survey.sizes[STAR],
        "chunk": chunk,
        "checked": "all values" if check else "a sample of values",
        "bytes": {"stored": measure_stored(path), "in_memory": survey.nbytes},
        "outputs": {o.name: _describe_output(survey, o, chunk) for o in outputs},
    }
    names = [v for output in outputs for v in output.variables]
    slow = chunks.describe_slow(store.open_group(path, "r"), names)
    if slow:
        facts["slow"] = slow
    if "snr" in survey and survey["snr"].dims == (STAR,) and survey["snr"].dtype.kind in "fiu":
        facts["snr"] = make_histogram(np.asarray(survey["snr"].values, float))
    facts["attributes"] = {
        str(name): value
        for name, value in survey.attrs.items()
        if isinstance(value, str) and name != "coordinates"
    }
    plan = _read_plan(path)
    if plan is not None:
        facts["ingest"] = _describe_ingest(plan)
    doubts = list(find_doubts(facts))
    if doubts:
        facts["doubts"] = doubts
    return facts


def _describe_output(survey: xr.Dataset, output: OutputSpec, chunk: int) -> dict[str, Any]:
    if output.role is not Role.SPECTRUM:
        return _describe_features(survey, output, chunk)
    grid = survey[output.dim]
    return {
        "pixels": grid.size,
        "least": float(grid.values[0]),
        "greatest": float(grid.values[-1]),
        **{str(name): str(value) for name, value in grid.attrs.items()},
        **_count_missing(survey, output, chunk),
    }


def _pick_stretches(n_stars: int, chunk: int, most: int, count: int) -> Iterator[slice]:
    """Yield stretches of whole chunks, spread over the stars.

    Parameters
    ----------
    n_stars, chunk : int
        Stars in all, and in a chunk.
    most : int
        Stars to read, about; all if there are no more.
    count : int
        Stretches, at most.
    """
    if n_stars <= most:
        yield slice(0, n_stars)
        return
    count = max(1, min(count, most // chunk))
    size = round_to_chunks(most // count, chunk)
    wanted = np.linspace(0, max(0, n_stars - size), count).astype(int)
    for start in np.unique(wanted // chunk * chunk).tolist():
        yield slice(start, min(start + size, n_stars))


def _count_missing(survey: xr.Dataset, output: OutputSpec, chunk: int) -> dict[str, Any]:
    """Return the fraction of pixels that are missing, in a few chunks."""
    n_stars, n_pixels = survey.sizes[STAR], survey.sizes[output.dim]
    star_bytes = survey[output.noise].dtype.itemsize * n_pixels
    most = min(_SAMPLE_CHUNKS * chunk, SAMPLE_BYTES // star_bytes)
    missing = stars = 0
    for stretch in _pick_stretches(n_stars, chunk, most, _SAMPLE_CHUNKS):
        part = survey[list(output.variables)].isel({STAR: stretch})
        ivar = output.ivar(part[output.name].values, part[output.noise].values)
        missing += int((ivar == 0).sum())
        stars += len(ivar)
    return {"missing": missing / (stars * n_pixels), "missing_among_stars": stars}


def _describe_features(survey: xr.Dataset, output: OutputSpec, chunk: int) -> dict[str, Any]:
    """Return the range of each label or band, and the fraction of stars without it."""
    n_stars, n_features = survey.sizes[STAR], survey.sizes[output.dim]
    stretches = _pick_stretches(n_stars, chunk, _MOST_STARS, _STRETCHES)
    table = np.concatenate([survey[output.name].isel({STAR: part}).values for part in stretches])
    units = [""] * n_features
    if f"{output.dim}_units" in survey.coords:
        units = [str(unit) for unit in survey[f"{output.dim}_units"].values]
    names = [str(name) for name in survey[output.dim].values]
    features = {}
    for name, unit, column in zip(names, units, table.T, strict=True):
        features[name] = _describe_column(column, unit)
    return {output.role.value: features, "among_stars": len(table)}


def _describe_column(values: np.ndarray, unit: str) -> dict[str, Any]:
    known = values[np.isfinite(values)]
    least = greatest = None
    if known.size:
        least, greatest = float(known.min()), float(known.max())
    missing = 1 - known.size / values.size
    return {"least": least, "greatest": greatest, "units": unit, "missing": missing}


def make_histogram(snr: np.ndarray) -> dict[str, Any]:
    """Return how signal-to-noise ratios spread.

    Parameters
    ----------
    snr : array, (star,)

    Returns
    -------
    dict
        ``median``; ``unknown``, the number of stars without one; ``bins`` between round bounds,
        (least, greatest, stars), None where a bin has no end. Empty ones at the ends are left out.
    """
    known = snr[np.isfinite(snr)]
    ends = [None, *_EDGES, None]
    bins = np.searchsorted(_EDGES, known, side="right")
    counts = np.bincount(bins, minlength=len(_EDGES) + 1).tolist()
    unknown = int(snr.size - known.size)
    if not known.size:
        return {"median": None, "unknown": unknown, "bins": []}
    filled = np.flatnonzero(counts)
    kept = range(filled[0], filled[-1] + 1)
    return {
        "median": float(np.median(known)),
        "unknown": unknown,
        "bins": [(ends[i], ends[i + 1], counts[i]) for i in kept],
    }


def measure_stored(path: str | Path) -> int:
    """Return the size of a survey as it is stored, compressed, in bytes.

    In object storage, that of its arrays.
    """
    if objects.is_url(path):
        group = store.open_group(path, "r")
        return sum(array.nbytes_stored() for _, array in store.list_arrays(group))
    files = (file for file in [Path(path), *Path(path).rglob("*")] if file.is_file())
    return sum(file.stat().st_size for file in files)


def _read_plan(path: str | Path) -> Plan | None:
    """Return how a survey's files were read; None of a survey that was not ingested."""
    if ledger.GROUP not in store.open_group(path, "r"):
        return None
    return ledger.read_plan(store.make_absolute(path))


def _describe_ingest(plan: Plan) -> dict[str, Any]:
    """Return what was read, how, and what became of it, over all sessions that have ended."""
    ended = [s for s in ledger.list_sessions(plan) if ledger.read_facts(s)["stage"] == ledger.DONE]
    facts = [ledger.read_facts(s) for s in ended]
    files = ledger.list_refused_by_file(plan)
    refused = [(path, star, why) for path, rows in files.items() for star, why in rows]
    whole = sum(star == WHOLE_FILE for _, star, _ in refused)
    # with those that were refused at first and read again later
    ever_refused = [row for session in ended for row in ledger.read_refused(session)]
    n_pixels = ledger.read_grid(plan.survey).size
    kept = sum(f["stars"] for f in facts)
    masked: collections.Counter[str] = collections.Counter()
    for fact in facts:
        masked.update(fact["masked"])
    return {
        **{k: plan.identity[k] for k in ("format", "options", "recipe")},
        "sessions": len(ended),
        "files": {"all": len(files), "read": len(files) - whole, "quarantined": whole},
        "spectra": {"all": kept + len(refused) - whole, "kept": kept},
        "resampled": sum(f["resampled"] for f in facts),
        "quarantined": count_reasons(refused),
        "masked": _measure_masked(masked, facts, ever_refused, n_pixels),
    }


def _measure_masked(
    masked: dict[str, int], facts: list[dict[str, Any]], refused: list[Any], pixels: int
) -> dict[str, Any]:
    """Return which fraction of pixels is bad, by reason, of the spectra that were looked at.

    These are all that were read but those refused for what is in them: of a star that is there
    twice, both count.
    """
    unfit = [
        star for _, star, why in refused if star != WHOLE_FILE and not why.startswith("duplicate")
    ]
    spectra = sum(f["spectra"] for f in facts) - len(unfit)
    total = max(1, spectra * pixels)
    reasons = [(name, count / total) for name, count in masked.items() if count]
    reasons.sort(key=lambda item: -item[1])
    return {"spectra": spectra, "all": sum(masked.values()) / total, "reasons": dict(reasons)}


def _describe_unfinished(path: str | Path) -> dict[str, Any]:
    """Return how far the reading of files has come."""
    plan = _read_plan(path)
    if plan is None:
        raise InputError(f"{path}: is not complete, and does not say of which files; make it again")
    found = [_describe_stage(session) for session in ledger.list_sessions(plan)]
    return {
        "kind": "survey",
        "state": "files are being read into it, or were when that was stopped: the same `luxscale "
        "ingest` goes on",
        "stars": sum(f["stars"] or 0 for f in found),
        **{k: plan.identity[k] for k in ("format", "options", "recipe")},
        "sessions": found,
    }


def _describe_stage(session: Session) -> dict[str, Any]:
    facts = ledger.read_facts(session)
    batches = len(session.batches)
    parts = [f"{ledger.PARTS}/{batch.index}" for batch in session.batches]
    done = batches
    if facts["stage"] == ledger.READING:
        group = store.open_group(session.plan.survey, "r", session.group)
        done = chunks.count_groups(group, parts)
    return {
        "stage": facts["stage"],
        "files": session.n_files,
        "batches": batches,
        "batches_done": done,
        "stars": facts.get("stars"),
    }


def quarantine(path: str | Path) -> list[dict[str, str]]:
    """Return every file, and every star of a file, that could not be used.

    Of a session that is under way, what its batches have refused so far.

    Returns
    -------
    list of dict
        ``file``, ``star`` ("" where it is the whole file), ``reason``.

    Raises
    ------
    InputError
        If no files were read into what lies there.
    """
    held = store.read_attributes(path)
    with damage.explain_damage(path):
        plan = None
        if held is not None:
            plan = _read_plan(path)
        if plan is None:
            raise InputError(
                f"{path} is not a survey made by `luxscale ingest`, so no files are quarantined"
            )
        rows = [
            (path, *row)
            for path, found in ledger.list_refused_by_file(plan).items()
            for row in found
        ]
        for session in ledger.list_sessions(plan):
            if ledger.read_facts(session)["stage"] != ledger.DONE:
                files = ledger.read_files(session)
                rows += [(files[f], star, why) for f, star, why in _list_refused(session)]
    return [{"file": file, "star": star, "reason": reason} for file, star, reason in rows]


def _list_refused(session: Session) -> list[tuple[int, str, str]]:
    """Return what a session's batches refused so far: number of the file, star, reason."""
    refused = []
    for batch in session.batches:
        part = ledger.read_part(session, batch.index)
        if part is None:
            continue
        for file, star, reason in part["refused"]:
            refused.append((int(file), str(star), str(reason)))
    return refused
