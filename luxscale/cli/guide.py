"""The command that shows the guide."""

from __future__ import annotations

import re
import sys

import click

from luxscale.cli.base import main
from luxscale.errors import InputError

#: Longer lines are hard to read, however wide the terminal.
_WIDTH = 120


@main.command(short_help="Show a page of the guide, or list its topics.")
@click.argument("topic", required=False)
def guide(topic: str | None) -> None:
    """Show the page of the guide on TOPIC; without one, list the topics.

    In a terminal the page is laid out; elsewhere it is Markdown.
    """
    from luxscale import guide as pages

    if topic is None:
        click.echo(
            "\n".join(f"luxscale guide {name:<16}{title}" for name, title in pages.topics().items())
        )
        return
    try:
        text = pages.page(topic)
    except InputError as error:
        raise click.BadArgumentUsage(str(error)) from None
    if sys.stdout.isatty():
        _lay_out(text)
    else:
        click.echo(text, nl=False)


def _lay_out(text: str) -> None:
    from rich.console import Console
    from rich.markdown import Markdown

    console = Console()
    text = re.sub(
        r"\[([^\]]+)\]\((\S+)\.md\)", r"\1 (`luxscale guide \2`)", text
    )  # links to other pages
    console.print(Markdown(text, code_theme="ansi_dark"), width=min(_WIDTH, console.width))
