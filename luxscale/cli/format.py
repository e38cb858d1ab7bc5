"""What `luxscale info` says, as text."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from luxscale.cli.base import format_count

#: Characters of the longest bar of a histogram.
_BAR = 40

#: Runs of a catalogue that are listed, and spans of stars of each.
_RUNS, _SPANS = 12, 3


def format_facts(facts: dict[str, Any]) -> str:
    """Return facts as text: a survey's in words, others as they are."""
    if facts["kind"] != "survey":
        tables = ("held_out", "runs")
        plain = {key: value for key, value in facts.items() if key not in tables}
        if "flags" in plain:
            plain["flags"] = "\n".join(["", *list_flags(plain["flags"])])
        lines = [f"{key:<14} {_format_value(value)}" for key, value in plain.items()]
        if "held_out" in facts:
            lines += _describe_held_out(facts["held_out"])
        if "runs" in facts:
            lines += _describe_runs(facts["runs"])
        return "\n".join(lines)
    title = f"{facts['path']}: survey of {format_count(facts['stars'], 'star')}"
    describe = _describe_unfinished if "sessions" in facts else _describe_survey
    return "\n".join([title, *describe(facts)])


def list_flags(counts: dict[str, int]) -> list[str]:
    """Return a line for each flag that stars have: how many, and what it means."""
    from luxscale.schema.flags import FLAGS

    meanings = dict(FLAGS)
    lines = [f"  {name:<24}{n:>10,}  {meanings.get(name, '')}" for name, n in counts.items()]
    return [line.rstrip() for line in lines] or ["  none"]


def _describe_held_out(records: list[dict[str, Any]]) -> list[str]:
    """Say how well a model predicted the labels of stars left out of its training."""
    from luxscale.analysis.tables import format_records

    table = format_records(records).splitlines()
    return ["labels of stars left out of training", *(f"  {line}" for line in table)]


def _describe_runs(runs: list[dict[str, Any]]) -> list[str]:
    """Say which run labelled which stars of a catalogue, of many runs the last."""
    from luxscale.analysis.tables import align_rows

    earlier, latest = runs[:-_RUNS], runs[-_RUNS:]
    title = "runs, and the stars that each labelled"
    if earlier:
        stars = sum(run["stars"] for run in earlier)
        count = format_count(stars, "star")
        title += f"; {len(earlier):,} earlier ones labelled {count}"
    headings = ("started", "version", "model", "where", "stars")
    rows = [headings, *map(_describe_run, latest)]
    table = align_rows(rows, n_words=4).splitlines()
    return [title, *(f"  {line}" for line in table)]


def _describe_run(run: dict[str, Any]) -> tuple[str, ...]:
    """Return the row of one run."""
    spans = run.get("where", [])
    where = ", ".join(spans[:_SPANS]) or "-"
    more = len(spans) - _SPANS
    if more > 0:
        where += f" and {more:,} more"
    started = run.get("started", "unknown")
    version = run.get("version", "unknown")
    model = run.get("model", "unknown")
    stars = f"{run['stars']:,}"
    return started[:20], version[:20], model[:20], where, stars


def format_quarantine(rows: list[dict[str, str]]) -> str:
    """Return a list of what was quarantined, a line each."""
    from luxscale.ingest.paths import describe_place

    if not rows:
        return "nothing is quarantined"
    lines = []
    for row in rows:
        lines.append(f"{describe_place(row['file'], row['star'])}: {row['reason']}")
    return "\n".join(lines)


def _format_value(value: Any, depth: int = 1) -> str:
    if isinstance(value, dict):
        start, width = "\n" + "  " * depth, 24 - 2 * depth
        inner = ((key, _format_value(each, depth + 1)) for key, each in value.items())
        return "".join(f"{start}{key:<{width}} {text}" for key, text in inner)
    if isinstance(value, list | tuple):
        return ", ".join(map(_format_value, value))
    is_count = isinstance(value, int) and not isinstance(value, bool)
    return f"{value:,}" if is_count else str(value)


def _line(name: str, text: str) -> str:
    return f"{name:<14} {text}"


def _describe_survey(facts: dict[str, Any]) -> Iterator[str]:
    stored = _format_size(facts["bytes"]["stored"])
    in_memory = _format_size(facts["bytes"]["in_memory"])
    size = f"{stored} stored, {in_memory} in memory"
    yield _line("size", f"{size}; {format_count(facts['chunk'], 'star')} per chunk")
    yield _line("checked", facts["checked"])
    for name, value in facts["attributes"].items():
        # of an ingest the continuum is described with its settings, below
        if name != "continuum" or "ingest" not in facts:
            yield _line(name.removesuffix("_version"), value)
    for name, output in facts["outputs"].items():
        describe = _describe_spectrum if "pixels" in output else _describe_labels
        yield from describe(name, output, facts["stars"])
    for advice in facts.get("slow", ()):
        yield _line("slow", advice)
    if "snr" in facts:
        yield from _describe_snr(facts["snr"])
    if "ingest" in facts:
        yield from _describe_ingest(facts["ingest"])
    for doubt in facts.get("doubts", ()):
        yield _line("check", doubt)


def _format_size(count: int) -> str:
    for unit, power in (("TB", 4), ("GB", 3), ("MB", 2)):
        size = 1000**power
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count / 1000:.3g} kB"


def _describe_spectrum(name: str, grid: dict[str, Any], stars: int) -> Iterator[str]:
    span = f"{grid['least']:g} to {grid['greatest']:g}"
    units = grid.get("units", "")
    if units != "1":  # those of coefficients are their numbers
        span += f" {units}"
        if "medium" in grid:
            span += f" in {grid['medium']}"
    missing = f"{_format_percent(grid['missing'])} missing"
    sample = grid["missing_among_stars"]
    if sample < stars:
        missing += f", counted in {format_count(sample, 'star')}"
    yield _line(name, f"{grid['pixels']:,} pixels, {span}; {missing}")


def _format_percent(fraction: float) -> str:
    percent = 100 * fraction
    if 0 < percent < 10:
        return f"{percent:.2g}%"
    return f"{percent:.1f}%"


def _describe_labels(name: str, output: dict[str, Any], stars: int) -> Iterator[str]:
    kind = "bands" if "bands" in output else "labels"
    count = f"{len(output[kind])} {kind}"
    sample = output["among_stars"]
    if sample < stars:
        count += f", of {format_count(sample, 'star')}"
    yield _line(name, count)
    for label, facts in output[kind].items():
        span = "none measured"
        if facts["least"] is not None:
            span = f"{facts['least']:.4g} to {facts['greatest']:.4g} {facts['units']}"
        missing = _format_percent(facts["missing"])
        yield f"  {label:<12} {span:<34} {missing:>6} missing"


def _describe_snr(snr: dict[str, Any]) -> Iterator[str]:
    """Say the median of S/N, and draw its histogram."""
    unknown = ""
    if snr["unknown"]:
        unknown = f"; {snr['unknown']:,} stars have none"
    if snr["median"] is None:
        yield _line("S/N", f"none{unknown}")
        return
    yield _line("S/N", f"median {snr['median']:.3g}{unknown}")
    most = max(stars for *_, stars in snr["bins"])
    for least, greatest, stars in snr["bins"]:
        # rounded up: a bin that has any star has a bar
        length = -(-_BAR * stars // most)
        span = _format_bin(least, greatest)
        line = f"  {span:<12} {stars:>12,} {'#' * length}"
        yield line.rstrip()


def _format_bin(least: float | None, greatest: float | None) -> str:
    if least is None:
        return f"below {greatest:g}"
    if greatest is None:
        return f"from {least:g}"
    return f"{least:g} to {greatest:g}"


def _describe_ingest(made: dict[str, Any]) -> Iterator[str]:
    yield from _describe_masked(made["masked"])
    yield _describe_files(made["files"], made["sessions"])
    yield _describe_spectra(made["spectra"])
    for reason, count in made["quarantined"].items():
        yield f"  {count:>8,}  {reason}"
    if made["resampled"]:
        yield _line("resampled", f"{made['resampled']:,} spectra")
    yield from _describe_reading(made)


def _describe_masked(masked: dict[str, Any]) -> Iterator[str]:
    """Say how many pixels are masked, and why."""
    fraction = _format_percent(masked["all"])
    yield _line("masked", f"{fraction} of the pixels of {masked['spectra']:,} spectra")
    for reason, part in masked["reasons"].items():
        percent = _format_percent(part)
        yield f"  {reason:<20} {percent:>7}"


def _describe_files(files: dict[str, int], sessions: int) -> str:
    """Say what became of files, in how many sessions."""
    text = f"{files['all']:,} = {files['read']:,} read + {files['quarantined']:,} quarantined"
    if sessions > 1:
        text += f", in {sessions:,} sessions"
    return _line("files", text)


def _describe_spectra(spectra: dict[str, int]) -> str:
    """Say what became of spectra."""
    everything, kept = spectra["all"], spectra["kept"]
    refused = everything - kept
    return _line("spectra", f"{everything:,} = {kept:,} kept + {refused:,} quarantined")


def _describe_reading(made: dict[str, Any]) -> Iterator[str]:
    """Say how files were read."""
    from luxscale.readers import get_format

    options = ", ".join(f"{name}={value}" for name, value in made["options"].items())
    yield _line("format", made["format"] + _in_brackets(options))
    recipe = _leave_out_unset(made["recipe"])
    bits = recipe.pop("bad", [])
    yield _line("bad bits", ", ".join(bits) or "none")
    is_rest_frame = recipe.pop("rest_frame")
    if get_format(made["format"]).velocities:
        done = "shifted to it" if is_rest_frame else "left as observed"
        yield _line("rest frame", f"spectra {done}")
    continuum = recipe.pop("continuum")
    if continuum != "sines":
        recipe.pop("length")  # the period of sines, which mean nothing to the others
    most_error = recipe.pop("most_error", None)
    rounding = recipe.pop("rounding", None)
    settings = ", ".join(f"{name} {_format_setting(value)}" for name, value in recipe.items())
    yield _line("continuum", continuum + _in_brackets(settings))
    if most_error is not None:
        yield _line("huge error", f"above {most_error:g} times the typical flux")
    if rounding is not None:
        yield _line("rounded", f"flux to {rounding:g} of its error, ivar to 1%")


def _leave_out_unset(recipe: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in recipe.items() if value not in (None, [])}


def _in_brackets(text: str) -> str:
    return f" ({text})" if text else ""


def _format_setting(value: Any) -> str:
    if isinstance(value, list):
        return " ".join(f"{least:g}:{greatest:g}" for least, greatest in value)
    return f"{value:g}"


def _describe_unfinished(facts: dict[str, Any]) -> Iterator[str]:
    """Say how far the ingest of a survey has come that is not complete."""
    yield _line("state", facts["state"])
    for number, found in enumerate(facts["sessions"]):
        yield _line(f"session {number}", _describe_session(found))
    yield from _describe_reading(facts)


def _describe_session(found: dict[str, Any]) -> str:
    """Say how far one session has come."""
    stage, stars = found["stage"], found["stars"]
    parts = [f"{found['files']:,} files"]
    if stage == "reading":
        done, batches = found["batches_done"], found["batches"]
        parts.append(f"{done:,} of {batches:,} batches")
    if stars is not None:
        parts.append(format_count(stars, "star"))
    return f"{stage}: {', '.join(parts)}"
