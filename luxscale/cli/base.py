"""What the commands share: the group, options, and how results are shown."""

from __future__ import annotations

import json
from typing import Any

import click

from luxscale.errors import InputError, RunError


class _Group(click.Group):
    """Turns the errors that luxscale foresees into one line and exit status 1."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (InputError, RunError, OSError) as error:
            raise click.ClickException(str(error)) from error


@click.group(
    cls=_Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(package_name="luxscale")
def main() -> None:
    """Label millions of stellar spectra with the Lux latent-variable model."""


JSON = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
QUIET = click.option("--quiet", is_flag=True, help="Show no progress.")


def show(result: Any, text: str, as_json: bool) -> None:
    """Print a result: as JSON for programs, as text for people."""
    click.echo(json.dumps(result, indent=1) if as_json else text)


def span(ctx: click.Context, param: click.Parameter, value: str | None) -> slice:
    """Read START:STOP, of star positions."""
    parts = (value or ":").split(":")
    if len(parts) != 2 or not all(p.strip().isdigit() or not p.strip() for p in parts):
        raise click.BadParameter("write START:STOP, e.g. 0:5000")
    return slice(*(int(p) if p.strip() else None for p in parts))


def spans(
    ctx: click.Context, param: click.Parameter, value: tuple[str, ...]
) -> dict[str, list[tuple[float, float]]]:
    """Read LABEL=LEAST:GREATEST, of wavelength windows."""
    windows: dict[str, list[tuple[float, float]]] = {}
    for text in value:
        label, _, span = text.rpartition("=")
        try:
            least, greatest = map(float, span.split(":"))
        except ValueError:
            raise click.BadParameter(
                f"{text!r}: write LABEL=LEAST:GREATEST, e.g. mg_fe=15740:15770"
            ) from None
        windows.setdefault(label, []).append((least, greatest))
    return windows


def take(dataset: Any, stars: slice, path: str) -> Any:
    """Select stars by position, and refuse positions that are not there."""
    n = dataset.sizes["star"]
    if (stars.stop or 0) > n or (stars.start or 0) >= (stars.stop or n):
        raise InputError(
            f"{path}: --stars asks for "
            f"{stars.start or 0}:{'' if stars.stop is None else stars.stop}, but it holds "
            f"stars 0:{n}"
        )
    return dataset.isel(star=stars)
