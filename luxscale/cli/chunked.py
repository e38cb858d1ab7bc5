"""Training over chunks, for the command that trains."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from luxscale.cli.base import choose_log, format_count, show
from luxscale.cli.workplace import Cluster

if TYPE_CHECKING:
    from luxscale.chunked.prepare import Prepared
    from luxscale.model.lux import LuxModel
    from luxscale.schema.selection import Selection


def train_chunked(
    survey: str,
    out: str,
    selection: Selection,
    options: Mapping[str, Any],
    *,
    cluster: Cluster,
    dry_run: bool,
    log: str | None,
    overwrite: bool,
    as_json: bool,
    progress: bool,
) -> LuxModel | None:
    """Train a model chunk by chunk and write it, or print what that takes.

    Parameters
    ----------
    survey, out : str
    selection : Selection
        Stars to train on.
    options : mapping
        Of `luxscale.chunked.make_training`.
    cluster, dry_run, log, overwrite, as_json, progress
        As the command has them.

    Returns
    -------
    LuxModel, optional
        None of a dry run.
    """
    from luxscale.chunked import make_training, run_training
    from luxscale.chunked.estimate import guess_saving
    from luxscale.cluster.environment import keep_freed_memory

    prepared = make_training(
        survey,
        out,
        condition=selection.condition,
        stars=selection.choice.text or None,
        **options,
    )
    if dry_run:
        _show_estimate(prepared, as_json)
        return None
    saving = functools.partial(guess_saving, prepared.plan.n_stars)
    keep_freed_memory()  # of a batch, for the next
    with cluster.client(saving=saving, progress=progress) as client:
        return run_training(
            prepared,
            out,
            client=client,
            overwrite=overwrite,
            log=choose_log(log, out),
            progress=progress,
        )


def _show_estimate(prepared: Prepared, as_json: bool) -> None:
    """Print what a training takes."""
    from luxscale.chunked.estimate import estimate_training

    found = estimate_training(prepared)
    regions, chunks = format_count(found.regions, "region"), format_count(found.chunks, "chunk")
    worker, client = found.worker_bytes / 1e9, found.client_bytes / 1e9
    of_pass = f"{found.pass_bytes / 1e9:,.3g} GB"
    lines = [
        f"stars     {found.stars:,}, in {regions} of {chunks}",
        f"memory    {worker:.2f} GB a worker however many stars, {client:.2f} GB here",
        f"disk      {found.folder_bytes / 1e9:,.3g} GB in {prepared.plan.folder}, until it is done",
        f"to read   {of_pass} a pass over the stars, two passes in every second iteration",
        f"passes    {found.first_passes} to begin, {found.passes} of at most {found.iterations} "
        f"iterations, {found.last_passes} for stars left out",
    ]
    show(dataclasses.asdict(found), "\n".join(lines), as_json)
