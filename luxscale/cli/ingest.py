"""The command that makes a survey of survey files."""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import functools
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click

from luxscale.cli.base import JSON, QUIET, ROUND, format_count, main, parse_pairs, show
from luxscale.cli.clusters import cluster_options
from luxscale.cli.workplace import Cluster

#: Lines of the table of what was refused.
_LINES = 20

#: Columns of the list of what could not be used.
_QUARANTINE = ("file", "star", "reason")

#: Processor time of a file, and of a byte of it: 4.4 ms for the 1.05 MB of an apStar file, see
#: benchmarks/README.md.
_FILE_SECONDS, _BYTE_SECONDS = 2e-3, 2.3e-9

#: Files whose sizes are asked for: more are work for several processes, whatever their sizes.
_SIZED = 5000


def _parse_ranges(
    ctx: click.Context, param: click.Parameter, value: tuple[str, ...]
) -> tuple[tuple[float, float], ...]:
    """Read LEAST:GREATEST, of wavelengths."""
    ranges = []
    for text in value:
        try:
            least, greatest = map(float, text.split(":"))
        except ValueError:
            raise click.BadParameter("write LEAST:GREATEST, e.g. 15090:15822") from None
        ranges.append((least, greatest))
    return tuple(ranges)


def _parse_grid(ctx: click.Context, param: click.Parameter, value: str | None) -> Any:
    """Read LEAST:GREATEST:STEP, with log: before it where the step is one of log10."""
    if value is None:
        return None
    log, text = value.startswith("log:"), value.removeprefix("log:")
    try:
        least, greatest, step = map(float, text.split(":"))
    except ValueError:
        raise click.BadParameter("write LEAST:GREATEST:STEP, or log:LEAST:GREATEST:STEP") from None
    from luxscale.ingest import make_grid

    return make_grid(least, greatest, step, log=log)


_RANGE: dict[str, Any] = {"multiple": True, "callback": _parse_ranges, "metavar": "LEAST:GREATEST"}


@main.command(short_help="Make a survey from survey files, or add files to one.")
@click.argument("format")
@click.argument("files", nargs=-1)
@click.option("--out", required=True, help="Survey to write or to add to, a Zarr store.")
@click.option(
    "--files-from",
    type=click.Path(dir_okay=False),
    default=None,
    help="Text file that names more files.",
)
@click.option("--labels", default=None, help="Catalogue to take labels from.")
@click.option(
    "--labels-format",
    default=None,
    help="Which catalogue of labels it is. [default: recognised by its columns]",
)
@click.option(
    "--label",
    "label_names",
    multiple=True,
    help="Label to take (repeat). [default: the catalogue's usual]",
)
@click.option(
    "--labels-setting",
    multiple=True,
    callback=parse_pairs,
    metavar="NAME=VALUE",
    help="A setting of the labels (repeat).",
)
@click.option(
    "--option",
    "options",
    multiple=True,
    callback=parse_pairs,
    metavar="NAME=VALUE",
    help="An option of the format (repeat).",
)
@click.option(
    "--bad",
    multiple=True,
    help="Mask bit that makes a pixel bad (repeat), in place of the usual; 'none' for no bit.",
)
@click.option(
    "--continuum",
    type=click.Choice(["none", "file", "scale", "median", "sines", "chebyshev"]),
    default=None,
    help="How the continuum is divided out. [default: the format's usual]",
)
@click.option(
    "--order", type=click.IntRange(0), default=None, help="Order of sines or Chebyshev polynomials."
)
@click.option(
    "--length", type=float, default=None, help="Longest period of sines, Angstrom. [default: 1400]"
)
@click.option(
    "--chip", "chips", help="Wavelengths whose continuum is fitted by itself (repeat).", **_RANGE
)
@click.option(
    "--continuum-pixels", help="Wavelengths that the continuum is fitted at (repeat).", **_RANGE
)
@click.option(
    "--rest-frame/--as-observed",
    default=None,
    help="Shift spectra to the rest frame, or not. [default: the format's usual]",
)
@click.option(
    "--grid",
    callback=_parse_grid,
    metavar="[log:]LEAST:GREATEST:STEP",
    default=None,
    help="Pixel centres of the survey. [default: the format's, else the first file's]",
)
@ROUND
@click.option(
    "--chunk", type=click.IntRange(1), default=1024, show_default=True, help="Stars per chunk."
)
@click.option("--retry", is_flag=True, help="Try files again that could not be used.")
@click.option(
    "--quarantine",
    type=click.Path(path_type=Path),
    default=None,
    help="Write all that the survey could not use to this file, CSV; an earlier list is replaced.",
)
@click.option(
    "--log", default=None, help="File to append the log of the run to, one JSON object per line."
)
@cluster_options
@JSON
@QUIET
def ingest(cluster: Cluster, as_json: bool, quiet: bool, **given: Any) -> None:
    """Make a survey from FILES of a FORMAT, or add them to one; the same command again resumes.

    FILES are files, patterns in quotes, and directories. `luxscale formats` lists the formats,
    their options and the bits of their masks.
    """
    from luxscale import ingest as ingesting
    from luxscale import store
    from luxscale.readers import get_format
    from luxscale.runs.log import RunLog
    from luxscale.runs.target import complete, open_target

    fmt = get_format(given["format"])
    listing = given["quarantine"]
    if listing:
        listing = store.claim_file(listing, "quarantine list", _is_quarantine, overwrite=True)
    files = ingesting.find_files(given["files"], fmt, listed=given["files_from"])
    labels = _read_labels(given)
    target = ingesting.make_target(
        fmt.name,
        files,
        given["out"],
        labels=labels,
        grid=given["grid"],
        options=given["options"],
        recipe=_choose_recipe(given),
        chunk=given["chunk"],
        retry=given["retry"],
    )
    # a run that is refused the survey starts no workers
    with RunLog(given["log"]) as log, open_target(target, progress=not quiet) as run:
        left = target.list_files_to_read(run.pending)
        saving = functools.partial(_guess_saving, left)
        with (
            cluster.client(needed=bool(left), saving=saving, progress=not quiet) as client,
            _list_quarantine(listing, given["out"]),
        ):
            filled = complete(run, client=client, log=log, progress=not quiet)
    ingesting.warn_unjoined(target, filled)
    made = ingesting.summarise(target.plan, filled)
    show(dataclasses.asdict(made), _format_summary(made, labels), as_json)


def _guess_saving(files: Sequence[str], workers: int) -> float:
    """Guess the seconds by which so many workers read files sooner than this process."""
    seconds = len(files) * _FILE_SECONDS
    for file in files[:_SIZED]:
        with contextlib.suppress(OSError):  # the run says so
            seconds += os.path.getsize(file) * _BYTE_SECONDS
    return seconds * (1 - 1 / workers)


def _choose_recipe(given: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of the recipe that were given."""
    names = ("continuum", "order", "length", "chips", "continuum_pixels", "rest_frame", "rounding")
    chosen = {name: given[name] for name in names if given[name] not in (None, ())}
    bad = given["bad"]
    if bad == ("none",):
        chosen["bad"] = ()
    elif bad:
        chosen["bad"] = bad
    return chosen


def _read_labels(given: dict[str, Any]) -> Any:
    """Read the labels of the catalogue; None where none is named."""
    if not given["labels"]:
        about = {
            "--labels-format": "labels_format",
            "--label": "label_names",
            "--labels-setting": "labels_setting",
        }
        for option, name in about.items():
            if given[name]:
                raise click.UsageError(f"{option} is about a catalogue; name it with --labels")
        return None
    from luxscale.labels import parse_settings, read_labels

    settings = parse_settings(given["label_names"], given["labels_setting"])
    return read_labels(given["labels"], given["labels_format"], settings=settings)


def _format_summary(made: Any, labels: Any) -> str:
    """Return what people want to know of an ingest."""
    counts = f"{format_count(made.n_stars, 'star')}, {made.n_new:,} of them new"
    lines = [f"{made.survey}: {counts}, in {made.seconds:.1f} s"]
    if made.n_files:
        refused_files = sum(not star for _, star, _ in made.quarantined)
        read_files = made.n_files - refused_files
        refused = made.n_spectra - made.n_new
        lines += [
            f"files   {made.n_files:,} = {read_files:,} read + {refused_files:,} quarantined",
            f"spectra {made.n_spectra:,} = {made.n_new:,} kept + {refused:,} quarantined",
        ]
    lines += [f"  {count:,} {note}" for note, count in made.notes.items()]
    masked = [
        f"  {reason:<24}{count:>14,}  {100 * count / made.n_pixels:.2f}%"
        for reason, count in made.masked.items()
        if count
    ]
    if masked:
        lines += ["masked pixels", *masked]
    if labels is not None:
        labelled = f"{made.n_labelled:,} of {made.n_stars:,} stars have any"
        lines.append(f"labels  {labelled}; counts of the catalogue of labels:")
        for name, count in labels.counts.items():
            if count:
                lines.append(f"  {name:<40}{count:>12,}")
    lines += _list_quarantined(made.quarantined)
    return "\n".join(lines)


def _list_quarantined(quarantined: list[tuple[str, str, str]]) -> Iterator[str]:
    """Yield lines about what could not be used, the first of it."""
    from luxscale.ingest.paths import describe_place

    if not quarantined:
        return
    yield "quarantined"
    for file, star, reason in quarantined[:_LINES]:
        yield f"  {describe_place(Path(file).name, star)}: {reason}"
    more = len(quarantined) - _LINES
    if more > 0:
        yield f"  ... and {more:,} more; --quarantine FILE.csv lists all"


def _is_quarantine(path: Path) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.readline().decode(errors="replace").strip() == ",".join(_QUARANTINE)


@contextlib.contextmanager
def _list_quarantine(path: Path | None, survey: str) -> Iterator[None]:
    """Write what the survey could not use to a file, if one is named, however the run ends."""
    from luxscale.errors import NoUsableFile
    from luxscale.info.survey import quarantine

    rows = None
    try:
        yield
    except NoUsableFile as error:
        rows = [dict(zip(_QUARANTINE, row, strict=True)) for row in error.quarantined]
        raise
    finally:
        if path:
            _write_quarantine(path, quarantine(survey) if rows is None else rows)


def _write_quarantine(path: Path, rows: list[dict[str, str]]) -> None:
    from luxscale import store
    from luxscale.ingest.paths import restore_path

    # names of files may hold bytes that are no UTF-8
    encoding: dict[str, Any] = {"encoding": "utf-8", "errors": "surrogateescape", "newline": ""}
    with store.write_then_move(path) as made, made.open("w", **encoding) as file:
        writer = csv.DictWriter(file, _QUARANTINE)
        writer.writeheader()
        for row in rows:
            writer.writerow({name: restore_path(text) for name, text in row.items()})
