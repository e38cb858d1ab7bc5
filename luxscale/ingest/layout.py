"""What a session of an ingest adds to a survey."""

from __future__ import annotations

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True, kw_only=True)
class Layout:
    """What a session adds to a survey, in the order of its files.

    Parameters
    ----------
    star : array, (star,)
        Identifiers.
    file : array, (star,)
        Number of each star's file.
    source : array, (star, 2)
        Batch that read a star, and its row there.
    columns : dict of str to array, (star,)
    refused : list of (file, star, reason)
    masked : dict of str to int
        Pixels that were masked, by reason.
    n_read : int
        Spectra that were read, those refused among them.
    resampled : int
    """

    star: np.ndarray
    file: np.ndarray
    source: np.ndarray
    columns: dict[str, np.ndarray]
    refused: list[tuple[int, str, str]]
    masked: dict[str, int]
    n_read: int
    resampled: int
