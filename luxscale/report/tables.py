"""The tables of a report."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import xarray as xr

from luxscale.analysis.evaluate import STATISTICS, count_decimals, label_units, round_to, to_records
from luxscale.report.facts import Sample, State
from luxscale.report.inputs import Inputs
from luxscale.schema import flags
from luxscale.schema.variables import STAR

_UNKNOWN = "\N{EN DASH}"


@dataclasses.dataclass(frozen=True)
class Heading:
    """What stands over a column; ``numeric`` ones are sorted as numbers, set to the right."""

    text: str
    numeric: bool = False
    about: str = ""


@dataclasses.dataclass(frozen=True)
class Cell:
    """Text, and for numbers the value to sort by, None where it is not known."""

    text: str
    value: float | None = None


@dataclasses.dataclass(frozen=True)
class Table:
    """A table of the page; the first column names the row."""

    caption: str
    headings: tuple[Heading, ...]
    rows: tuple[tuple[Cell, ...], ...]


def _number(value: float | None, places: int) -> Cell:
    known = value is not None and math.isfinite(value)
    return Cell(
        round_to(value, places).replace("-", "\N{MINUS SIGN}") if known else _UNKNOWN,
        value if known else None,
    )


def _count(n: int) -> Cell:
    return Cell(f"{n:,}", n)


def _percent(n: int, of: int) -> Cell:
    return Cell(f"{100 * n / of:.3g}%" if of else _UNKNOWN, n / of if of else None)


def counts(state: State) -> Table:
    """Return how many stars there are of each kind."""
    found = state.counts
    meanings = {
        "stars": "in the catalogue",
        "done": "labelled",
        "not done": "not labelled yet",
        "unreadable": "the survey's data could not be read",
        "not_finite": "done, but a label or its error is not finite",
        "flagged": "done, with at least one flag",
    }
    shown = found | {"not done": found["stars"] - found["done"] - found["unreadable"]}
    rows = [
        (
            Cell(name.replace("_", " ")),
            Cell(text),
            _count(shown[name]),
            _percent(shown[name], found["stars"]),
        )
        for name, text in meanings.items()
    ]
    headings = (
        Heading("kind"),
        Heading("meaning"),
        Heading("stars", True),
        Heading("of all", True),
    )
    return Table("Stars of the catalogue.", headings, tuple(rows))


def distributions(sample: Sample) -> Table:
    """Return how labels and their errors are distributed."""
    headings = tuple(
        Heading(text, numeric)
        for text, numeric in [("label", False), ("unit", False)]
        + [(t, True) for t in ("5%", "16%", "median", "84%", "95%", "median err", "known")]
    )
    value, err = (sample.catalog[v].values for v in ("label_value", "label_err"))
    rows = []
    for j, (name, unit) in enumerate(label_units(sample.catalog).items()):
        known = value[np.isfinite(value[:, j]), j]
        sigma = err[np.isfinite(err[:, j]), j]
        middle = float(np.median(sigma)) if sigma.size else None
        spread = np.percentile(known, (5, 16, 50, 84, 95)) if known.size else np.full(5, np.nan)
        places = count_decimals(None, middle)
        figures = [_number(v, places) for v in (*spread.tolist(), middle)]
        rows.append(
            (Cell(_plain(name)), Cell(unit), *figures, _percent(known.size, value.shape[0]))
        )
    return Table(f"Labels: percentiles of {sample.said}.", headings, tuple(rows))


def _plain(name: str) -> str:
    return name.replace(r"\$", "$")


def comparison(found: xr.Dataset) -> Table:
    """Return what `luxscale.report.facts.compare_all` found."""
    about = (
        "median error over the robust scatter of the trusted labels; 1 if the spectrum says "
        "nothing of the label"
    )
    headings = (
        Heading("label"),
        Heading("unit"),
        *_STATISTICS,
        Heading("err / spread", True, about),
    )
    rows = tuple(
        (Cell(r["label"]), Cell(r["unit"]), *_statistics(r), _number(ratio, 2))
        for r, ratio in zip(
            to_records(found), found["err_over_spread"].values.tolist(), strict=True
        )
    )
    return Table("Inferred labels against trusted ones.", headings, rows)


_SHORT = dict(
    zip(STATISTICS, ("stars", "bias", "RMSE", "robust scatter", "median err", "pull"), strict=True)
)
_STATISTICS = tuple(Heading(_SHORT[name], True, about) for name, about in STATISTICS.items())


def _statistics(record: dict[str, Any], places: int | None = None) -> tuple[Cell, ...]:
    places = _places([record]) if places is None else places
    return (
        _count(record["n_stars"]),
        *(_number(record[k], places) for k in _IN_UNITS),
        _number(record["pull"], 2),
    )


#: Statistics in the units of the label.
_IN_UNITS = ("bias", "rmse", "robust_scatter", "median_err")


def _places(records: Sequence[dict[str, Any]]) -> int:
    """Return the decimals that the statistics of a label need, in all of the records."""
    return max(count_decimals(*(record[k] for k in _IN_UNITS[1:])) for record in records)


def by_snr(bins: Sequence[tuple[float, float, xr.Dataset]], sample: Sample) -> Table:
    """Return what `compare` finds, in bins of S/N."""
    headings = (Heading("label"), Heading("S/N", True), *_STATISTICS)
    rows = []
    for records in zip(
        *(to_records(found) for _, _, found in bins), strict=True
    ):  # of a label each
        places = _places(records)
        rows += [
            (
                Cell(_plain(record["label"])),
                Cell(f"{least:.3g}-{greatest:.3g}", least),
                *_statistics(record, places),
            )
            for (least, greatest, _), record in zip(bins, records, strict=True)
        ]
    return Table(f"The same in bins of S/N, of {sample.said}.", headings, tuple(rows))


def flag_counts(state: State) -> Table:
    """Return every flag with its meaning and how many stars carry it."""
    tried = state.counts["done"] + state.counts["unreadable"]
    rows = [
        (
            Cell(name),
            Cell(str(int(flags.BIT[name])), int(flags.BIT[name])),
            Cell(doc),
            _count(state.flags.get(name, 0)),
            _percent(state.flags.get(name, 0), tried),
        )
        for name, doc in flags.FLAGS
    ]
    headings = (
        Heading("flag"),
        Heading("value", True),
        Heading("meaning"),
        Heading("stars", True),
        Heading("of these stars", True),
    )
    return Table(
        "Flags of stars that are done or could not be read; a star may carry several.",
        headings,
        tuple(rows),
    )


def worst_stars(inputs: Inputs, rows: np.ndarray, ratio: np.ndarray) -> Table:
    """Return the stars that are fitted worst."""
    found = (
        inputs.catalog.drop_vars(["latent", "label_cov"], errors="ignore")
        .isel({STAR: rows})
        .compute()
    )
    units = label_units(found)
    headings = (
        *(
            Heading("star"),
            Heading("row", True),
            Heading("χ² per pixel", True),
            Heading("pixels", True),
        ),
        Heading("flags"),
        *(Heading(name, True, unit) for name, unit in list(units.items())[:_MOST_LABELS]),
    )
    values, errors = found["label_value"].values, found["label_err"].values
    places = [_column_places(errors[:, j]) for j in range(min(_MOST_LABELS, len(units)))]
    chi2_places = count_decimals(float(ratio[rows].min()))
    made = []
    for i, row in enumerate(rows.tolist()):
        held = int(found["flags"].values[i])
        made.append(
            (
                Cell(str(found[STAR].values.tolist()[i])),
                _count(row),
                _number(float(ratio[row]), chi2_places),
                _count(int(found["n_pixels"].values[i])),
                Cell(
                    ", ".join(name for name, bit in flags.BIT.items() if held & int(bit))
                    or _UNKNOWN
                ),
                *(_number(float(values[i, j]), places[j]) for j in range(len(places))),
            )
        )
    return Table("Stars with the largest χ² per pixel.", headings, tuple(made))


def _column_places(errors: np.ndarray) -> int:
    """Return the decimals of a column of labels, for two digits of the median of their errors."""
    known = errors[np.isfinite(errors)]
    return count_decimals(None, float(np.median(known))) if known.size else 3


#: Labels in the table of the worst stars.
_MOST_LABELS = 3


def made_of(inputs: Inputs) -> Table:
    """Return the names of the catalogue, and of what it was made of and is compared with."""
    meanings = {
        "survey": "survey that was labelled",
        "model": "model",
        "trusted labels": "survey with trusted labels",
    }
    rows = [
        ("catalogue", inputs.name),
        *((meanings[what], name) for what, name in inputs.names.items()),
    ]
    return Table(
        "What the catalogue was made of, and is compared with.",
        (Heading("what"), Heading("name")),
        tuple((Cell(what), Cell(name)) for what, name in rows),
    )


def facts(caption: str, found: dict[str, Any]) -> Table:
    """Return facts with a name each, those of a fact under its name."""
    rows = tuple((Cell(name), Cell(text)) for name, text in _flat(found))
    return Table(caption, (Heading("name"), Heading("value")), rows)


def _flat(found: dict[str, Any], above: str = "") -> Iterable[tuple[str, str]]:
    for name, value in found.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{above}{name}: ")
        elif isinstance(value, list | tuple):
            yield above + name, ", ".join(map(str, value))
        else:
            yield (
                above + name,
                f"{value:,}"
                if isinstance(value, int) and not isinstance(value, bool)
                else str(value),
            )


def runs(log: Sequence[dict[str, Any]]) -> Table | None:
    """Return what a log says of the runs that made a catalogue, a run a row; None where it says nothing."""
    started = [event for event in log if event.get("event") == "start"]
    if not started:
        return None
    headings = (
        *(Heading("begun"), Heading("ended"), Heading("seconds", True), Heading("workers", True)),
        *(Heading("stars", True), Heading("faults", True), Heading("versions")),
    )
    bounds = [i for i, event in enumerate(log) if event.get("event") == "start"] + [len(log)]
    rows = tuple(_run(log[a:b]) for a, b in itertools.pairwise(bounds))
    return Table("Runs that made the catalogue, as their log tells.", headings, rows)


def _run(events: Sequence[dict[str, Any]]) -> tuple[Cell, ...]:
    start = events[0]
    last = next((e for e in events if e.get("event") in ("end", "stopped")), {})
    ended = (
        _time(last) + (", stopped" if last.get("event") == "stopped" else "") if last else _UNKNOWN
    )
    workers, seconds, machine = start.get("workers"), last.get("seconds"), start.get("machine", {})
    versions = {"python": machine.get("python", "?")} | machine.get("versions", {})
    return (
        Cell(_time(start)),
        Cell(ended),
        _number(seconds, 1),
        _count(workers) if workers else Cell("in one process", 0),
        _count(sum(e.get("stars", 0) for e in events if e.get("event") == "region")),
        _count(sum(e.get("event") in ("fault", "worker lost") for e in events)),
        Cell(", ".join(f"{name} {said}" for name, said in versions.items())),
    )


def _time(event: dict[str, Any]) -> str:
    return str(event.get("time", _UNKNOWN)).partition(".")[0].replace("T", " ") + " UTC"
