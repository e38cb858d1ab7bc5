"""What a batch of files gives, written as it comes, until all batches are read."""

from __future__ import annotations

import uuid

import numpy as np

from luxscale import store
from luxscale.ingest.gather import Gathered
from luxscale.ingest.ledger import PARTS
from luxscale.ingest.plan import Batch, Session


class Part(Gathered):
    """What a batch of files gives, written as it comes.

    Chunks of spectra come first, the facts of the stars at the end.

    Parameters
    ----------
    session : Session
    batch : Batch
    """

    def __init__(self, session: Session, batch: Batch) -> None:
        super().__init__()
        self._parent = store.open_group(session.plan.survey, "r+", session.group)
        self._index = batch.index
        # a group of its own, should two workers read one batch
        self._name = f"{PARTS}/{batch.index}-{uuid.uuid4().hex[:8]}"
        self._group = self._parent.create_group(self._name)
        self._n_written = 0

    def flush(self, chunk: int, *, rest: bool = False) -> None:
        """Write whole chunks of what was added, or all of it."""
        n_waiting = self.stars - self._n_written
        count = n_waiting
        if not rest:
            count -= n_waiting % chunk
        if not count:
            return
        flux, flux_ivar = self.join_spectra()
        self._append("flux", flux[:count], chunk)
        self._append("flux_ivar", flux_ivar[:count], chunk)
        self._blocks = [(flux[count:], flux_ivar[count:])]
        self._n_written += count

    def _append(self, name: str, values: np.ndarray, chunk: int) -> None:
        if name in self._group:
            array = store.open_array(self._group, name)
        else:
            n_pixels = values.shape[1]
            array = self._group.create_array(
                name,
                shape=(0, n_pixels),
                chunks=(chunk, n_pixels),
                dtype=np.float32,
                compressors=store.make_codecs(np.dtype(np.float32)),
            )
        array.append(values)

    def close(self, chunk: int) -> None:
        """Write what is left, and the facts of the stars.

        The facts are one write, by which the batch counts as done.
        """
        self.flush(chunk, rest=True)
        self._parent.create_group(
            f"{PARTS}/{self._index}",
            overwrite=True,
            attributes={"spectra": self._name, **self.describe()},
        )
