"""The task of an ingest: read a batch of files and keep what they hold, until all are read.

The same call on a cluster, in a plain loop and by hand. What was read is marked as done last, so a
task that dies leaves its batch to be read again. A file that cannot be used costs itself alone: it
is put down with the reason.
"""

from __future__ import annotations

import dataclasses

from luxscale import store
from luxscale.ingest.gather import prepare_block, read_blocks
from luxscale.ingest.ledger import get_grid, read_files
from luxscale.ingest.part import Part
from luxscale.ingest.plan import Batch, Session
from luxscale.runs.executors import Clock, name_worker


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a task reports of its batch.

    Parameters
    ----------
    batch : int
    files, stars, refused : int
        Files read, stars kept, and files or stars that were not.
    seconds : dict of str to float
        Time to ``read``, ``prepare`` and ``write``.
    worker : str
        Host and process.
    """

    batch: int
    files: int
    stars: int
    refused: int
    seconds: dict[str, float]
    worker: str


def run_batch(session: Session, batch: Batch) -> Outcome:
    """Read a batch of files, prepare their spectra and write them, a chunk at a time.

    Raises
    ------
    CannotWrite
    """
    clock = Clock()
    survey, chunk = session.plan.survey, session.plan.chunk
    with store.explain_writing(survey):
        part = Part(session, batch)
    paths = read_files(session, batch.start, batch.stop)
    grid = get_grid(session.plan)
    for block in read_blocks(session.plan, enumerate(paths, batch.start), part):
        clock.mark("read")
        prepare_block(session.plan, grid, block, part)
        clock.mark("prepare")
        with store.explain_writing(survey):
            part.flush(chunk)
        clock.mark("write")
    clock.mark("read")
    with store.explain_writing(survey):
        part.close(chunk)
    clock.mark("write")
    return Outcome(
        batch=batch.index,
        files=batch.stop - batch.start,
        stars=part.stars,
        refused=len(part.refused),
        seconds=clock.seconds,
        worker=name_worker(),
    )
