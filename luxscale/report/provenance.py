"""The tables of a report that say where a catalogue comes from: inputs, facts, runs."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import Any

from luxscale.report.cells import UNKNOWN, Cell, Heading, Table, format_count, format_number
from luxscale.report.sources import Inputs


def tabulate_inputs(inputs: Inputs) -> Table:
    """Return the names of the catalogue, and of what it was made of and is compared with."""
    meanings = {
        "survey": "survey that was labelled",
        "model": "model",
        "trusted labels": "survey with trusted labels",
    }
    rows = [(Cell("catalogue"), Cell(inputs.name))]
    rows += [(Cell(meanings[what]), Cell(name)) for what, name in inputs.names.items()]
    return Table(
        "What the catalogue was made of, and is compared with.",
        (Heading("what"), Heading("name")),
        tuple(rows),
    )


def tabulate_facts(caption: str, facts: dict[str, Any]) -> Table:
    """Return facts with a name each, those of a fact under its name."""
    rows = tuple((Cell(name), Cell(text)) for name, text in _flatten_facts(facts))
    return Table(caption, (Heading("name"), Heading("value")), rows)


def _flatten_facts(facts: dict[str, Any], above: str = "") -> Iterable[tuple[str, str]]:
    """Yield name and text of each fact; those of a fact after its name."""
    for name, value in facts.items():
        if isinstance(value, dict):
            yield from _flatten_facts(value, f"{above}{name}: ")
        else:
            yield above + name, _format_fact(value)


def _format_fact(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return str(value)


def tabulate_runs(log: Sequence[dict[str, Any]]) -> Table | None:
    """Return what a log says of the runs that made a catalogue; None where it says nothing."""
    starts = [i for i, event in enumerate(log) if event.get("event") == "start"]
    if not starts:
        return None
    headings = (
        Heading("started"),
        Heading("ended"),
        Heading("seconds", True),
        Heading("workers", True),
        Heading("stars", True),
        Heading("faults", True),
        Heading("versions"),
    )
    rows = []
    for start, stop in itertools.pairwise([*starts, len(log)]):
        rows.append(_describe_run(log[start:stop]))
    return Table("Runs that made the catalogue, according to their log.", headings, tuple(rows))


def _describe_run(events: Sequence[dict[str, Any]]) -> tuple[Cell, ...]:
    """Return the cells of a run from its events, the first of which is its start."""
    start = events[0]
    last = next((e for e in events if e.get("event") in ("end", "stopped")), {})
    ended = _format_time(last) if last else UNKNOWN
    if last.get("event") == "stopped":
        ended += ", stopped"
    workers = start.get("workers")
    machine = start.get("machine", {})
    versions = {"python": machine.get("python", "?")} | machine.get("versions", {})
    return (
        Cell(_format_time(start)),
        Cell(ended),
        format_number(last.get("seconds"), 1),
        format_count(workers) if workers else Cell("in one process", 0),
        format_count(sum(e.get("stars", 0) for e in events if e.get("event") == "region")),
        format_count(sum(e.get("event") in ("fault", "worker lost") for e in events)),
        Cell(", ".join(f"{package} {number}" for package, number in versions.items())),
    )


def _format_time(event: dict[str, Any]) -> str:
    """Return when something happened, to the second."""
    return str(event.get("time", UNKNOWN)).partition(".")[0].replace("T", " ") + " UTC"
