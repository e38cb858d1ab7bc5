"""What a batch of files gives, written as it comes, until all batches are read."""

from __future__ import annotations

import collections
import uuid
import warnings
from typing import Any

import numpy as np

from luxscale import store
from luxscale.ingest.ledger import KEY, PARTS
from luxscale.ingest.plan import Batch, Session
from luxscale.prepare import Prepared
from luxscale.readers import Spectra


class Part:
    """What a batch of files gives, written as it comes.

    Chunks of spectra come first, the facts of the stars at the end.

    Parameters
    ----------
    session : Session
    batch : Batch
    """

    def __init__(self, session: Session, batch: Batch) -> None:
        self._parent = store.open_group(session.plan.survey, "r+", session.group)
        self._index = batch.index
        # a group of its own, should two workers read one batch
        self._name = f"{PARTS}/{batch.index}-{uuid.uuid4().hex[:8]}"
        self._group = self._parent.create_group(self._name)
        self._columns: dict[str, list[Any]] = collections.defaultdict(list)
        self._blocks: list[tuple[np.ndarray, np.ndarray]] = []
        self._n_written = 0
        self._masked: collections.Counter[str] = collections.Counter()
        self._resampled = 0
        self.stars = 0
        self.refused: list[tuple[int, str, str]] = []

    def refuse(self, file: int, star: str, reason: str) -> None:
        """Put down a file, or a star of one, that cannot be used."""
        self.refused.append((file, star, reason))

    def add(self, numbers: np.ndarray, spectra: Spectra, ready: Prepared) -> None:
        """Keep stars that were prepared, and put down those that were refused.

        Parameters
        ----------
        numbers : array, (star,)
            Number of each star's file.
        spectra : Spectra
            What the files say of them.
        ready : Prepared
        """
        keep = np.ones(spectra.star.size, bool)
        for row, reason in ready.refused.items():
            self.refuse(int(numbers[row]), str(spectra.star[row]), reason)
            keep[row] = False
        facts = {"file": numbers, "star": spectra.star, **spectra.columns}
        if spectra.key is not None:
            facts[KEY] = spectra.key
        given_snr = np.asarray(facts.get("snr", np.full(keep.size, np.nan)), float)
        facts["snr"] = np.where(np.isfinite(given_snr), given_snr, _measure_snr(ready))
        n_kept = int(keep.sum())
        for name, values in facts.items():
            column = self._columns[name]
            column += [None] * (self.stars - len(column))  # files before had no such column
            column += np.asarray(values)[keep].tolist()
        for name in self._columns.keys() - facts.keys():  # nor do these have all
            self._columns[name] += [None] * n_kept
        self._blocks.append((ready.flux[keep], ready.flux_ivar[keep]))
        self.stars += n_kept
        self._masked.update(ready.masked)
        self._resampled += ready.resampled

    def flush(self, chunk: int, *, rest: bool = False) -> None:
        """Write whole chunks of what was added, or all of it."""
        n_waiting = self.stars - self._n_written
        count = n_waiting
        if not rest:
            count -= n_waiting % chunk
        if not count:
            return
        flux = np.concatenate([block[0] for block in self._blocks])
        flux_ivar = np.concatenate([block[1] for block in self._blocks])
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
        facts = {}
        for name, values in self._columns.items():
            facts[name] = [_convert_to_json(value) for value in values]
        self._parent.create_group(
            f"{PARTS}/{self._index}",
            overwrite=True,
            attributes={
                "spectra": self._name,
                "facts": facts,
                "refused": self.refused,
                "masked": dict(self._masked),
                "resampled": self._resampled,
            },
        )


def _measure_snr(ready: Prepared) -> np.ndarray:
    """Return the median S/N of the good pixels of each star, where files do not say: (star,)."""
    good = ready.flux_ivar > 0
    ratio = np.where(good, ready.flux * np.sqrt(ready.flux_ivar), np.nan)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # stars without a good pixel are refused
        return np.nanmedian(ratio, axis=1)


def _convert_to_json(value: Any) -> Any:
    """Return a value that JSON has: NaN is none."""
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value
