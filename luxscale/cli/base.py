"""What the commands share: the group, options, and how results are shown."""

from __future__ import annotations

import io
import json
import os
import re
import sys
from typing import Any

import click

from luxscale.cli.interrupt import end_in_one_line
from luxscale.errors import InputError, RunError


class _Group(click.Group):
    """Turns errors that luxscale foresees into one line and exit status 1, Ctrl-C into 130."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            with end_in_one_line():
                return super().invoke(ctx)
        except (InputError, RunError, OSError) as error:
            raise click.ClickException(str(error)) from error


@click.group(
    cls=_Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(package_name="luxscale")
def main() -> None:
    """Label millions of stellar spectra with the Lux latent-variable model."""
    _open_streams()


def _open_streams() -> None:
    """Make standard streams that can be written to, whatever the shell has closed.

    A file opened for data would get the number of a closed stream, and with it what libraries in C
    print there.
    """
    while (opened := os.open(os.devnull, os.O_RDWR)) < 3:
        pass
    os.close(opened)
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115 - as long as the program
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # names of files may be no text


JSON = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
QUIET = click.option("--quiet", is_flag=True, help="Show no progress.")


def choose_log(log: str | None, out: str) -> str | None:
    """Return the log that was asked for, else one beside a store on this machine."""
    if log is None and "://" not in out:
        return f"{out.rstrip('/')}.log.jsonl"
    return log


def show(result: Any, text: str, as_json: bool) -> None:
    """Print a result: as JSON for programs, as text for people."""
    if as_json:
        text = json.dumps(result, indent=1)
    click.echo(text)


def parse_span(ctx: click.Context, param: click.Parameter, value: str | None) -> slice:
    """Read START:STOP, of star positions; either may be left out."""
    match = re.fullmatch(r"\s*(\d*)\s*:\s*(\d*)\s*", value or ":")
    if match is None:
        raise click.BadParameter("write START:STOP, e.g. 0:5000")
    start, stop = (int(digits) if digits else None for digits in match.groups())
    return slice(start, stop)


def parse_windows(
    ctx: click.Context, param: click.Parameter, value: tuple[str, ...]
) -> dict[str, list[tuple[float, float]]]:
    """Read LABEL=LEAST:GREATEST, of wavelength windows."""
    windows: dict[str, list[tuple[float, float]]] = {}
    for text in value:
        label, _, window = text.rpartition("=")
        try:
            least, greatest = map(float, window.split(":"))
        except ValueError:
            raise click.BadParameter(
                f"{text!r}: write LABEL=LEAST:GREATEST, e.g. mg_fe=15740:15770"
            ) from None
        windows.setdefault(label, []).append((least, greatest))
    return windows


def format_count(count: int, noun: str) -> str:
    """Return a count with its noun: "1 star", "2,000 stars"."""
    ending = "" if count == 1 else "s"
    return f"{count:,} {noun}{ending}"


def select_stars(dataset: Any, stars: slice, path: str) -> Any:
    """Select stars by position.

    Raises
    ------
    InputError
        If there are no such stars; names the positions that there are.
    """
    n_stars = dataset.sizes["star"]
    start = stars.start or 0
    stop = stars.stop or n_stars
    if stop > n_stars or start >= stop:
        asked = f"{start}:{stars.stop or ''}"
        raise InputError(f"{path}: --stars asks for {asked}, but it holds stars 0:{n_stars}")
    return dataset.isel(star=stars)
