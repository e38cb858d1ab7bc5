"""What is in a survey: grids, labels, signal-to-noise ratios, bad pixels, where it comes from, and its size.

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
from luxscale.ingest import ledger
from luxscale.ingest.pack import count_reasons
from luxscale.ingest.plan import Plan, Session
from luxscale.schema.checks import SAMPLE_BYTES
from luxscale.schema.outputs import OutputSpec, Role, find_outputs
from luxscale.schema.variables import STAR
from luxscale.store import chunks, damage, s3

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
        return _under_way(path)
    checked = store.open_survey(path, check="all" if check else "sample")
    chunk, survey = (
        store.star_chunk(checked),
        store.open_dataset(path, dask=False),
    )  # Dask is slow for many small chunks
    facts: dict[str, Any] = {
        "kind": "survey",
        "state": "complete",
        "stars": survey.sizes[STAR],
        "chunk": chunk,
        "checked": "all values" if check else "a sample of values",
        "bytes": {"stored": stored_bytes(path), "in_memory": survey.nbytes},
        "outputs": {o.name: _output(survey, o, chunk) for o in find_outputs(survey)},
    }
    if "snr" in survey and survey["snr"].dims == (STAR,) and survey["snr"].dtype.kind in "fiu":
        facts["snr"] = histogram(np.asarray(survey["snr"].values, float))
    facts["attributes"] = {
        str(k): v for k, v in survey.attrs.items() if isinstance(v, str) and k != "coordinates"
    }
    plan = _plan(path)
    return facts if plan is None else facts | {"ingest": _ingest(plan)}


def _output(survey: xr.Dataset, output: OutputSpec, chunk: int) -> dict[str, Any]:
    grid = survey[output.dim]
    if output.role is not Role.SPECTRUM:
        return _named(survey, output, chunk)
    return {
        "pixels": grid.size,
        "least": float(grid.values[0]),
        "greatest": float(grid.values[-1]),
        **{str(k): str(v) for k, v in grid.attrs.items()},
        **_missing(survey, output, chunk),
    }


def _stretches(n: int, chunk: int, most: int, count: int) -> Iterator[slice]:
    """Yield stretches of whole chunks, spread over ``n`` stars, of about ``most`` in all; everything if these are fewer."""
    if n <= most:
        yield slice(0, n)
        return
    count = max(1, min(count, most // chunk))
    size = max(1, most // count // chunk) * chunk
    for start in np.unique(np.linspace(0, max(0, n - size), count).astype(int) // chunk * chunk):
        yield slice(int(start), min(int(start) + size, n))


def _missing(survey: xr.Dataset, output: OutputSpec, chunk: int) -> dict[str, Any]:
    """Return the fraction of pixels that are missing, in a few chunks."""
    star = survey[output.noise].dtype.itemsize * survey.sizes[output.dim]
    most = min(_SAMPLE_CHUNKS * chunk, SAMPLE_BYTES // star)
    missing = stars = 0
    for stretch in _stretches(survey.sizes[STAR], chunk, most, _SAMPLE_CHUNKS):
        values, noise = (
            np.asarray(survey[v].isel({STAR: stretch}).values) for v in output.variables
        )
        missing += int((output.ivar(values, noise) == 0).sum())
        stars += len(values)
    return {"missing": missing / (stars * survey.sizes[output.dim]), "missing_among_stars": stars}


def _named(survey: xr.Dataset, output: OutputSpec, chunk: int) -> dict[str, Any]:
    """Return the range of each label or band, and the fraction of stars without it."""
    units = survey.coords.get(f"{output.dim}_units")
    parts = _stretches(survey.sizes[STAR], chunk, _MOST_STARS, _STRETCHES)
    read = [survey[output.name].isel({STAR: part}).values for part in parts]
    table, features = np.concatenate(read), {}
    for i, name in enumerate(survey[output.dim].values.tolist()):
        known = table[np.isfinite(table[:, i]), i]
        features[str(name)] = {
            "least": float(known.min()) if known.size else None,
            "greatest": float(known.max()) if known.size else None,
            "units": str(units.values[i]) if units is not None else "",
            "missing": 1 - known.size / len(table),
        }
    return {output.role.value: features, "among_stars": len(table)}


def histogram(snr: np.ndarray) -> dict[str, Any]:
    """Return how signal-to-noise ratios spread: median, stars without one, and counts between round bounds.

    Parameters
    ----------
    snr : array, (star,)

    Returns
    -------
    dict
        ``bins`` are (least, greatest, stars), None where a bin has no end; empty ones at the ends are left out.
    """
    known = snr[np.isfinite(snr)]
    ends = [None, *_EDGES, None]
    counts = np.bincount(
        np.searchsorted(_EDGES, known, side="right"), minlength=len(_EDGES) + 1
    ).tolist()
    filled = np.flatnonzero(counts)
    kept = range(filled[0], filled[-1] + 1) if filled.size else range(0)
    return {
        "median": float(np.median(known)) if known.size else None,
        "unknown": int(snr.size - known.size),
        "bins": [(ends[i], ends[i + 1], counts[i]) for i in kept],
    }


def stored_bytes(path: str | Path) -> int:
    """Return the size of a survey as it is stored, compressed, in bytes; in object storage, of its arrays."""
    if s3.is_url(path):
        group = store.open_group(path, "r")
        return sum(array.nbytes_stored() for _, array in group.arrays())
    return sum(file.stat().st_size for file in Path(path).rglob("*") if file.is_file())


def _plan(path: str | Path) -> Plan | None:
    """Return how a survey's files were read; None of one that no files made."""
    return (
        ledger.read_plan(store.make_absolute(path))
        if ledger.GROUP in store.open_group(path, "r")
        else None
    )


def _ingest(plan: Plan) -> dict[str, Any]:
    """Return what was read, how, and what became of it, over all sessions that have ended."""
    ended = [s for s in ledger.sessions(plan) if ledger.attrs(s)["stage"] == ledger.DONE]
    facts = [ledger.attrs(s) for s in ended]
    files = ledger.standing(plan)
    refused = [(path, star, why) for path, rows in files.items() for star, why in rows]
    whole = sum(star == ledger.WHOLE_FILE for _, star, _ in refused)
    tried = [
        r for s in ended for r in ledger.refused(s)
    ]  # those among them that were read again later
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
        "masked": _fractions(masked, facts, tried, ledger.read_grid(plan.survey).size),
    }


def _fractions(
    masked: dict[str, int], facts: list[dict[str, Any]], refused: list[Any], pixels: int
) -> dict[str, Any]:
    """Return which fraction of pixels is bad, by reason, of the spectra that were looked at.

    These are all that were read but those refused for what is in them: of a star that is there
    twice, both count.
    """
    unfit = sum(
        star != ledger.WHOLE_FILE and not why.startswith("duplicate") for _, star, why in refused
    )
    spectra = sum(f["spectra"] for f in facts) - unfit
    total = max(1, spectra * pixels)
    by = sorted(((n, c / total) for n, c in masked.items() if c), key=lambda item: -item[1])
    return {"spectra": spectra, "all": sum(masked.values()) / total, "reasons": dict(by)}


def _under_way(path: str | Path) -> dict[str, Any]:
    """Return how far the reading of files has come."""
    plan = _plan(path)
    if plan is None:
        raise InputError(f"{path}: is not complete, and does not say of which files; make it again")
    found = [_stage(s) for s in ledger.sessions(plan)]
    return {
        "kind": "survey",
        "state": "files are being read into it, or were when that was stopped: the same `luxscale "
        "ingest` goes on",
        "stars": sum(f["stars"] or 0 for f in found),
        **{k: plan.identity[k] for k in ("format", "options", "recipe")},
        "sessions": found,
    }


def _stage(session: Session) -> dict[str, Any]:
    facts, batches = ledger.attrs(session), len(session.batches)
    parts = [f"{ledger.PARTS}/{batch.index}" for batch in session.batches]
    done = chunks.count_groups(store.open_group(session.plan.survey, "r", session.group), parts)
    return {
        "stage": facts["stage"],
        "files": session.n_files,
        "batches": batches,
        "batches_done": done if facts["stage"] == ledger.READING else batches,
        "stars": facts.get("stars"),
    }


def quarantine(path: str | Path) -> list[dict[str, str]]:
    """Return every file, and every star of one, that could not be used: ``file``, ``star`` ("": all), ``reason``.

    Of a session that is under way, what its batches have refused so far.

    Raises
    ------
    InputError
        If no files were read into what lies there.
    """
    held = store.read_attributes(path)
    with damage.explain_damage(path):
        plan = _plan(path) if held is not None else None
        if plan is None:
            raise InputError(
                f"{path}: no survey that `luxscale ingest` made; only of those files are "
                "quarantined"
            )
        rows = [(path, *row) for path, found in ledger.standing(plan).items() for row in found]
        for session in ledger.sessions(plan):
            if ledger.attrs(session)["stage"] != ledger.DONE:
                files = ledger.session_files(session)
                rows += [(files[f], star, why) for f, star, why in _refused(session)]
    return [dict(zip(("file", "star", "reason"), row, strict=True)) for row in rows]


def _refused(session: Session) -> list[tuple[int, str, str]]:
    parts = [ledger.part(session, batch.index) or {"refused": []} for batch in session.batches]
    return [(int(f), str(s), str(why)) for part in parts for f, s, why in part["refused"]]
