"""What `luxscale info` says, as text."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

#: Characters of the longest bar of a histogram.
_BAR = 40


def text(facts: dict[str, Any]) -> str:
    """Return facts as text: a survey's in words, others as they are."""
    if facts["kind"] == "survey":
        lines = _under_way(facts) if "sessions" in facts else _survey(facts)
        return "\n".join([f"{facts['path']}: survey of {facts['stars']:,} stars", *lines])
    return "\n".join(f"{key:<14} {_plain(value)}" for key, value in facts.items())


def quarantined(rows: list[dict[str, str]]) -> str:
    """Return a list of what was quarantined, a line each."""
    if not rows:
        return "nothing is quarantined"
    return "\n".join(
        f"{r['file']}{', star ' + r['star'] if r['star'] else ''}: {r['reason']}" for r in rows
    )


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return "".join(f"\n  {k:<22} {_plain(v)}" for k, v in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(_plain, value))
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def _line(name: str, said: str) -> str:
    return f"{name:<14} {said}"


def _survey(facts: dict[str, Any]) -> Iterator[str]:
    stored, memory = (_size(facts["bytes"][k]) for k in ("stored", "in_memory"))
    yield _line("size", f"{stored} stored, {memory} in memory; {facts['chunk']:,} stars a chunk")
    yield _line("checked", facts["checked"])
    for name, value in facts["attributes"].items():
        if name != "continuum" or "ingest" not in facts:
            yield _line(name.removesuffix("_version"), value)
    for name, output in facts["outputs"].items():
        yield from (
            _grid(name, output, facts["stars"])
            if "pixels" in output
            else _labels(name, output, facts["stars"])
        )
    for advice in facts.get("slow", ()):
        yield _line("slow", advice)
    if "snr" in facts:
        yield from _histogram(facts["snr"])
    if "ingest" in facts:
        yield from _ingest(facts["ingest"])


def _size(count: int) -> str:
    for unit, power in (("TB", 4), ("GB", 3), ("MB", 2)):
        if count >= 1000**power:
            return f"{count / 1000**power:.3g} {unit}"
    return f"{count / 1000:.3g} kB"


def _grid(name: str, grid: dict[str, Any], stars: int) -> Iterator[str]:
    medium = f" in {grid['medium']}" if "medium" in grid else ""
    span = (
        f"{grid['pixels']:,} pixels, {grid['least']:g} to {grid['greatest']:g} "
        f"{grid.get('units', '')}{medium}"
    )
    sample = grid["missing_among_stars"]
    among = f", counted in {sample:,} stars" if sample < stars else ""
    yield _line(name, f"{span}; {_percent(grid['missing'])} missing{among}")


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.2g}%" if 0 < fraction < 0.1 else f"{100 * fraction:.1f}%"


def _labels(name: str, output: dict[str, Any], stars: int) -> Iterator[str]:
    sample = output["among_stars"]
    kind = "bands" if "bands" in output else "labels"
    among = f", of {sample:,} stars" if sample < stars else ""
    yield _line(name, f"{len(output[kind])} {kind}{among}")
    for label, facts in output[kind].items():
        known = facts["least"] is not None
        span = (
            f"{facts['least']:.4g} to {facts['greatest']:.4g} {facts['units']}"
            if known
            else "none measured"
        )
        yield f"  {label:<12} {span:<34} {_percent(facts['missing']):>6} missing"


def _histogram(snr: dict[str, Any]) -> Iterator[str]:
    unknown = f"; {snr['unknown']:,} stars have none" if snr["unknown"] else ""
    if snr["median"] is None:
        yield _line("S/N", f"none{unknown}")
        return
    yield _line("S/N", f"median {snr['median']:.3g}{unknown}")
    most = max(stars for *_, stars in snr["bins"])
    for least, greatest, stars in snr["bins"]:
        span = (
            f"below {greatest:g}"
            if least is None
            else f"from {least:g}"
            if greatest is None
            else f"{least:g} to {greatest:g}"
        )
        bar = "#" * -(-_BAR * stars // most)
        yield f"  {span:<12} {stars:>12,} {bar}".rstrip()


def _ingest(made: dict[str, Any]) -> Iterator[str]:
    masked, files, spectra = made["masked"], made["files"], made["spectra"]
    yield _line(
        "masked", f"{_percent(masked['all'])} of the pixels of {masked['spectra']:,} spectra"
    )
    yield from (
        f"  {reason:<20} {_percent(fraction):>7}" for reason, fraction in masked["reasons"].items()
    )
    sessions = f", in {made['sessions']:,} sessions" if made["sessions"] > 1 else ""
    yield _line(
        "files",
        f"{files['all']:,} = {files['read']:,} read + {files['quarantined']:,} "
        f"quarantined{sessions}",
    )
    refused = spectra["all"] - spectra["kept"]
    yield _line(
        "spectra", f"{spectra['all']:,} = {spectra['kept']:,} kept + {refused:,} quarantined"
    )
    yield from (f"  {count:>8,}  {reason}" for reason, count in made["quarantined"].items())
    if made["resampled"]:
        yield _line("resampled", f"{made['resampled']:,} spectra")
    yield from _how(made)


def _how(made: dict[str, Any]) -> Iterator[str]:
    """Say how files were read."""
    from luxscale.readers import get_format

    options = ", ".join(f"{k}={v}" for k, v in made["options"].items())
    yield _line("format", made["format"] + (f" ({options})" if options else ""))
    recipe = {k: v for k, v in made["recipe"].items() if v not in (None, [])}
    yield _line("bad bits", ", ".join(recipe.pop("bad", [])) or "none")
    taken = recipe.pop("rest_frame")
    if get_format(made["format"]).velocities:
        yield _line(
            "rest frame", "velocities taken out" if taken else "velocities left as they were"
        )
    continuum = recipe.pop("continuum")
    if continuum != "sines":
        recipe.pop("length")  # of nothing
    most = recipe.pop("most_error", None)
    settings = ", ".join(f"{k} {_ranges(v)}" for k, v in recipe.items())
    yield _line("continuum", continuum + (f" ({settings})" if settings else ""))
    if most is not None:
        yield _line("huge error", f"above {most:g} times the typical flux")


def _ranges(value: Any) -> str:
    return " ".join(f"{a:g}:{b:g}" for a, b in value) if isinstance(value, list) else f"{value:g}"


def _under_way(facts: dict[str, Any]) -> Iterator[str]:
    yield _line("state", facts["state"])
    for number, found in enumerate(facts["sessions"]):
        done = (
            f", {found['batches_done']:,} of {found['batches']:,} batches"
            if found["stage"] == "reading"
            else ""
        )
        added = f", {found['stars']:,} stars" if found["stars"] is not None else ""
        yield _line(f"session {number}", f"{found['stage']}: {found['files']:,} files{done}{added}")
    yield from _how(facts)
