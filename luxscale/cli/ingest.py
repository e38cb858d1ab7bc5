"""The command that makes a survey of survey files."""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import functools
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from luxscale.cli.base import JSON, QUIET, main, show
from luxscale.cli.clusters import Cluster, cluster_options

#: Lines of the table of what was refused.
_LINES = 20

#: Processor time of a file, and of a byte of it: 4.4 ms for the 1.05 MB of an apStar file, see
#: benchmarks/README.md.
_FILE_SECONDS, _BYTE_SECONDS = 2e-3, 2.3e-9

#: Files whose sizes are asked for: more are work for several processes, whatever their sizes.
_SIZED = 5000


def _pairs(ctx: click.Context, param: click.Parameter, value: tuple[str, ...]) -> dict[str, str]:
    """Read NAME=VALUE."""
    pairs = dict(text.partition("=")[::2] for text in value)
    if not all(name and "=" in text for name, text in zip(pairs, value, strict=False)):
        raise click.BadParameter("write NAME=VALUE")
    return pairs


def _ranges(
    ctx: click.Context, param: click.Parameter, value: tuple[str, ...]
) -> tuple[tuple[float, float], ...]:
    """Read LEAST:GREATEST, of wavelengths."""
    try:
        return tuple((float(a), float(b)) for a, b in (text.split(":") for text in value))
    except ValueError:
        raise click.BadParameter("write LEAST:GREATEST, e.g. 15090:15822") from None


def _grid(ctx: click.Context, param: click.Parameter, value: str | None) -> Any:
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


_RANGE: dict[str, Any] = {"multiple": True, "callback": _ranges, "metavar": "LEAST:GREATEST"}


@main.command()
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
    "--labels-format", default=None, help="Which catalogue it is. [default: told by its columns]"
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
    callback=_pairs,
    metavar="NAME=VALUE",
    help="A setting of the labels (repeat).",
)
@click.option(
    "--option",
    "options",
    multiple=True,
    callback=_pairs,
    metavar="NAME=VALUE",
    help="Of the format (repeat).",
)
@click.option(
    "--bad",
    multiple=True,
    help="Mask bit that makes a pixel bad (repeat), in place of the usual; none: none.",
)
@click.option(
    "--continuum", type=click.Choice(["none", "file", "scale", "sines", "chebyshev"]), default=None
)
@click.option(
    "--order", type=click.IntRange(0), default=None, help="Of sines or Chebyshev polynomials."
)
@click.option(
    "--length", type=float, default=None, help="Longest period of sines, Angstrom.  [default: 1400]"
)
@click.option(
    "--chip", "chips", help="Wavelengths whose continuum is fitted apart (repeat).", **_RANGE
)
@click.option(
    "--continuum-pixels", help="Wavelengths that the continuum is fitted at (repeat).", **_RANGE
)
@click.option(
    "--rest-frame/--as-observed", default=None, help="Whether to take a star's velocity out."
)
@click.option(
    "--grid",
    callback=_grid,
    metavar="[log:]LEAST:GREATEST:STEP",
    default=None,
    help="Of the survey.",
)
@click.option(
    "--chunk", type=click.IntRange(1), default=1024, show_default=True, help="Stars a chunk."
)
@click.option("--retry", is_flag=True, help="Try files again that could not be used.")
@click.option(
    "--quarantine",
    type=click.Path(dir_okay=False, path_type=Path),
    default=None,
    help="Write what could not be used to this file, CSV.",
)
@click.option(
    "--log", default=None, help="File to append the log of the run to, a JSON object a line."
)
@cluster_options
@JSON
@QUIET
def ingest(cluster: Cluster, as_json: bool, quiet: bool, **given: Any) -> None:
    """Make a survey of FILES of a FORMAT, or add them to one; the same command again resumes.

    FILES are files, patterns in quotes, and directories. `luxscale formats` lists the formats,
    their options and the bits of their masks.
    """
    from luxscale import ingest as ingesting
    from luxscale.readers import get_format

    fmt = get_format(given["format"])
    files = ingesting.find_files(given["files"], fmt, listed=given["files_from"])
    labels = _labels(given)
    saving = functools.partial(_guess_saving, files)
    with cluster.client(saving=saving, progress=not quiet) as client:
        made = ingesting.ingest(
            fmt.name,
            files,
            given["out"],
            labels=labels,
            grid=given["grid"],
            options=given["options"],
            recipe=_recipe(given),
            chunk=given["chunk"],
            retry=given["retry"],
            client=client,
            log=given["log"],
            progress=not quiet,
        )
    if given["quarantine"]:
        _write_quarantine(given["quarantine"], made.quarantined)
    show(dataclasses.asdict(made), _text(made, labels), as_json)


def _guess_saving(files: Sequence[str], workers: int) -> float:
    """Guess the seconds by which so many workers read files sooner than this process.

    Files that the survey has already count too, for which they are is known in the run alone.
    """
    seconds = len(files) * _FILE_SECONDS
    for file in files[:_SIZED]:
        with contextlib.suppress(OSError):  # the run says so
            seconds += os.path.getsize(file) * _BYTE_SECONDS
    return seconds * (1 - 1 / workers)


def _recipe(given: dict[str, Any]) -> dict[str, Any]:
    """Return what was said of the recipe."""
    names = ("continuum", "order", "length", "chips", "continuum_pixels", "rest_frame")
    said = {n: given[n] for n in names if given[n] not in (None, ())}
    if given["bad"]:
        said["bad"] = () if given["bad"] == ("none",) else given["bad"]
    return said


def _labels(given: dict[str, Any]) -> Any:
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


def _text(made: Any, labels: Any) -> str:
    """Return what people want to know of an ingest."""
    lines = [
        f"{made.survey}: {made.n_stars:,} stars, {made.n_new:,} of them new, in "
        f"{made.seconds:.1f} s"
    ]
    if made.n_files:
        whole = sum(not star for _, star, _ in made.quarantined)
        lines.append(
            f"files   {made.n_files:,} = {made.n_files - whole:,} read + {whole:,} quarantined"
            f"\nspectra {made.n_spectra:,} = {made.n_new:,} kept + "
            f"{made.n_spectra - made.n_new:,} quarantined"
        )
    if made.n_pixels:
        lines.append("masked pixels")
        lines += [
            f"  {n:<24}{c:>14,}  {100 * c / made.n_pixels:.2f}%"
            for n, c in made.masked.items()
            if c
        ]
    if labels is not None:
        lines.append(
            f"labels  {made.n_labelled:,} of {made.n_stars:,} stars have any; of the catalogue"
        )
        lines += [f"  {name:<40}{count:>12,}" for name, count in labels.counts.items() if count]
    if made.quarantined:
        lines.append("quarantined")
        lines += [
            f"  {Path(p).name}{f', star {s}' if s else ''}: {r}"
            for p, s, r in made.quarantined[:_LINES]
        ]
        if len(made.quarantined) > _LINES:
            lines.append(
                f"  ... and {len(made.quarantined) - _LINES:,} more; --quarantine FILE.csv "
                "lists all"
            )
    return "\n".join(lines)


def _write_quarantine(path: Path, rows: list[tuple[str, str, str]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("file", "star", "reason"))
        writer.writerows(rows)


@main.command()
@JSON
def formats(as_json: bool) -> None:
    """List the formats of survey files and of catalogues, with options and the bits of masks and flags."""
    from luxscale.labels import CATALOGS
    from luxscale.readers import FORMATS

    facts, text = [], []
    for f in FORMATS.values():
        facts.append(
            {
                "name": f.name,
                "doc": f.doc,
                "options": [dataclasses.asdict(o) for o in f.options],
                "bits": dict(f.bits),
                "bad": f.bad,
                "continuum": f.continuum,
                "rest_frame": f.rest_frame,
                "tried": f.tried,
            }
        )
        tried = "" if f.tried == "real" else " (tested on files built from the description)"
        text.append(f"{f.name:<22}{f.doc}{tried}")
        text += [
            f"{'':<22}  --option {o.name}={'|'.join(o.choices or ('TEXT',))}  {o.doc}"
            for o in f.options
        ]
        if f.bits:
            text.append(
                f"{'':<22}  mask bits: {' '.join(b + ('*' if b in f.bad else '') for b in f.bits)}"
            )
    catalogs = [
        {"name": c.name, "doc": c.doc, "labels": list(c.labels), "usual": c.usual}
        for c in CATALOGS.values()
    ]
    text += [
        "",
        "* bits that make a pixel bad, unless --bad says otherwise",
        "",
        "Catalogues of labels:",
    ]
    for c in CATALOGS.values():
        text.append(f"{c.name:<22}{c.doc}")
        text.append(
            f"{'':<22}  labels: {' '.join(n + ('*' if n in c.usual else '') for n in c.labels)}"
        )
    text += ["", "* labels that are taken, unless --label says otherwise"]
    show({"formats": facts, "catalogs": catalogs}, "\n".join(text), as_json)
