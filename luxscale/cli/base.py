"""What the commands share: the group, options, and how results are shown."""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.util
import io
import json
import os
import select
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import click

from luxscale.cli.interrupt import end_in_one_line
from luxscale.errors import InputError, RunError

if TYPE_CHECKING:
    from luxscale.schema.selection import Selection

Command = Callable[..., Any]


class _Group(click.Group):
    """Turns errors that luxscale foresees into one line and exit status 1, Ctrl-C into 130."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        _open_streams()  # first: --help and --version call no command
        return super().main(*args, **kwargs)

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        with _say_errors():  # --help and --version print here
            return super().make_context(*args, **kwargs)

    def list_commands(self, ctx: click.Context) -> list[str]:
        _load_commands()
        return super().list_commands(ctx)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        module = f"{__package__}.{cmd_name}"
        # to load the others takes as long again as all that this one needs
        if cmd_name.isidentifier() and importlib.util.find_spec(module):
            importlib.import_module(module)
        if cmd_name not in self.commands:
            _load_commands()
        return super().get_command(ctx, cmd_name)

    def invoke(self, ctx: click.Context) -> Any:
        with _say_errors(), end_in_one_line():
            return super().invoke(ctx)


def _load_commands() -> None:
    from luxscale.cli import load_commands

    load_commands()


@contextlib.contextmanager
def _say_errors() -> Iterator[None]:
    try:
        yield
    except (InputError, RunError, OSError) as error:
        if isinstance(error, BrokenPipeError) and _is_unread():
            raise  # click ends in silence, as `head` has read what it wanted
        raise click.ClickException(str(error)) from error


def _is_unread() -> bool:
    """Return whether nobody reads standard output or standard error any more."""
    reader = select.poll()
    for descriptor in (1, 2):
        reader.register(descriptor, 0)
    return any(event & (select.POLLERR | select.POLLHUP) for _, event in reader.poll(0))


@click.group(
    cls=_Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(package_name="luxscale")
def main() -> None:
    """Label millions of stellar spectra with the Lux latent-variable model."""


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
ROUND = click.option(
    "--round",
    "rounding",
    type=click.FloatRange(0, 0.5, min_open=True),
    default=None,
    metavar="FRACTION",
    help="Round flux to within this fraction of its error and ivar to 1%, for fewer bytes: 0.01 "
    "halves them. [default: neither]",
)
QUIET = click.option("--quiet", is_flag=True, help="Show no progress.")


def choose_log(log: str | None, out: str) -> str | None:
    """Return the log that was asked for, else one beside a store on this machine.

    Raises
    ------
    InputError
        If that store would lie in another one.
    """
    from luxscale.store import refuse_within_stores

    if log is None and "://" not in out:
        refuse_within_stores(out)  # of the log it would be said otherwise, which nobody asked for
        return f"{out.rstrip('/')}.log.jsonl"
    return log


def show(result: Any, text: str, as_json: bool) -> None:
    """Print a result: as JSON for programs, as text for people."""
    if as_json:
        text = json.dumps(result, indent=1)
    click.echo(text)


def add_selection(purpose: str, *, untrained: bool = False) -> Callable[[Command], Command]:
    """Add ``--where`` and ``--stars``, which come as one keyword ``selection``.

    Parameters
    ----------
    purpose : str
        What the stars are for, as "Train on these stars only".
    untrained : bool
        Whether stars may be those that a model was not trained on.
    """

    def add(command: Command) -> Command:
        @functools.wraps(command)
        def run(*args: Any, where: str | None, stars: str | None, **given: Any) -> Any:
            return command(*args, selection=_read_selection(where, stars, untrained), **given)

        also = ", or untrained: those that the model was not trained on" if untrained else ""
        stars_help = f"{purpose}: by position or at random, of those that --where leaves{also}."
        add_stars = click.option("--stars", metavar="START:STOP|random:NUMBER", help=stars_help)
        add_where = click.option(
            "--where",
            metavar="CONDITION",
            help=f"{purpose}: those that satisfy a condition, as 'snr > 50 and teff < 5000'.",
        )
        return add_where(add_stars(run))

    return add


def _read_selection(where: str | None, stars: str | None, untrained: bool) -> Selection:
    from luxscale.schema.selection import FORMS, UNTRAINED, Selection

    if stars == UNTRAINED and not untrained:
        raise click.BadParameter(f"{UNTRAINED} stars need a model; write {FORMS}")
    try:
        return Selection.read(where, stars)
    except InputError as error:
        raise click.BadParameter(str(error)) from error


def parse_pairs(
    ctx: click.Context, param: click.Parameter, value: tuple[str, ...]
) -> dict[str, str]:
    """Read NAME=VALUE."""
    pairs = {}
    for text in value:
        name, separator, setting = text.partition("=")
        if not (name and separator):
            raise click.BadParameter("write NAME=VALUE")
        pairs[name] = setting
    return pairs


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


def select_stars(dataset: Any, selection: Selection, path: str, **given: Any) -> Any:
    """Select stars as `Selection.take` does.

    Raises
    ------
    InputError
        If there are none.
    """
    taken = selection.take(dataset, path, **given)
    if not taken.sizes["star"]:
        raise InputError(
            f"{path}: none of its {dataset.sizes['star']:,} stars is left by {selection.text}; "
            "choose others (--where, --stars)"
        )
    return taken


def file_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that say how survey files are read."""
    add_format = click.option(
        "--format",
        "file_format",
        default=None,
        help="Format of files. [default: the model's, else recognised]",
    )
    add_options = click.option(
        "--option",
        "options",
        multiple=True,
        callback=parse_pairs,
        metavar="NAME=VALUE",
        help="An option of the format of files (repeat).",
    )
    return add_format(add_options(function))


def was_typed(name: str) -> bool:
    """Return whether a parameter of the command has the value that the user gave it."""
    source = click.get_current_context().get_parameter_source(name)
    return source is click.core.ParameterSource.COMMANDLINE


def refuse_options(names: Sequence[str], about: str, others: Sequence[str] = ()) -> None:
    """Refuse options of the other kind of input, which would have no effect."""
    given = []
    for option in click.get_current_context().command.params:
        name = str(option.name)
        if name in names and was_typed(name):
            given.append(option.opts[0])
    given += others
    if given:
        raise click.UsageError(f"leave out {', '.join(given)}: of use with {about}")
