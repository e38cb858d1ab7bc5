"""What a batch of files gives, kept until all batches are read and their stars can be put in order."""

from __future__ import annotations

import collections
import uuid
import warnings
from typing import Any

import numpy as np
import zarr

from luxscale import store
from luxscale.ingest.ledger import KEY, PARTS
from luxscale.ingest.plan import Batch, Session
from luxscale.prepare import Prepared
from luxscale.readers import Spectra


class Part:
    """What a batch of files gives, written as it comes: chunks of spectra, and at its end the facts of the stars.

    Parameters
    ----------
    session : Session
    batch : Batch
    """

    def __init__(self, session: Session, batch: Batch) -> None:
        self._parent = store.open_group(session.plan.survey, "r+", session.group)
        self._name, self._index = f"{PARTS}/{batch.index}-{uuid.uuid4().hex[:8]}", batch.index
        self._group = self._parent.create_group(
            self._name
        )  # its own, should two workers read one batch
        self._columns: dict[str, list[Any]] = collections.defaultdict(list)
        self._spectra: list[tuple[np.ndarray, np.ndarray]] = []
        self._written = 0
        self.stars, self.refused = 0, list[tuple[int, str, str]]()
        self._masked: collections.Counter[str] = collections.Counter()
        self._resampled = 0

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
        given = np.asarray(facts.get("snr", np.full(keep.size, np.nan)), float)
        facts["snr"] = np.where(np.isfinite(given), given, _snr(ready))
        for name, values in facts.items():
            self._columns[name] += [None] * (self.stars - len(self._columns[name])) + np.asarray(
                values
            )[keep].tolist()
        self._spectra.append((ready.flux[keep], ready.flux_ivar[keep]))
        self.stars += int(keep.sum())
        for name in self._columns.keys() - facts.keys():  # a column that these files have not
            self._columns[name] += [None] * int(keep.sum())
        self._masked.update(ready.masked)
        self._resampled += ready.resampled

    def flush(self, chunk: int, *, rest: bool = False) -> None:
        """Write whole chunks of what was added, or all of it."""
        held = self.stars - self._written
        count = held if rest else held - held % chunk
        if not count:
            return
        for i, name in enumerate(("flux", "flux_ivar")):
            values = np.concatenate([s[i] for s in self._spectra])
            self._array(name, chunk, values.shape[1]).append(values[:count])
            if i == 0:
                flux = values[count:]
        self._spectra = [(flux, values[count:])]
        self._written += count

    def _array(self, name: str, chunk: int, n_pixels: int) -> zarr.Array[Any]:
        if name in self._group:
            return store.open_array(self._group, name)
        return self._group.create_array(
            name,
            shape=(0, n_pixels),
            chunks=(chunk, n_pixels),
            dtype=np.float32,
            compressors=store.make_codecs(np.dtype(np.float32)),
        )

    def close(self, chunk: int) -> None:
        """Write what is left, and the facts of the stars, in one write, by which the batch counts as done."""
        self.flush(chunk, rest=True)
        facts = {name: [_json(v) for v in values] for name, values in self._columns.items()}
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


def _snr(ready: Prepared) -> np.ndarray:
    """Return the median signal-to-noise ratio of the good pixels of each star, where files do not say: (star,)."""
    ratio = np.where(ready.flux_ivar > 0, ready.flux * np.sqrt(ready.flux_ivar), np.nan)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # stars without a good pixel are refused
        return np.nanmedian(ratio, axis=1)


def _json(value: Any) -> Any:
    """Return a value that JSON has: NaN is none."""
    return None if isinstance(value, float) and not np.isfinite(value) else value
