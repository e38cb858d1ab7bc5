"""Reads files, prepares their spectra, and gathers these with the facts of their stars.

A file that cannot be used costs itself alone: it is put down with the reason.
"""

from __future__ import annotations

import collections
import dataclasses
import warnings
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from luxscale import store
from luxscale.ingest.layout import KEY, WHOLE_FILE
from luxscale.ingest.paths import name_row, restore_path
from luxscale.ingest.plan import Plan
from luxscale.prepare import Prepared, prepare
from luxscale.readers import BadFile, Spectra, get_format
from luxscale.readers.base import explain_unfit, take_stars

#: Stars that are prepared together.
_BLOCK = 256


class Gathered:
    """What files give, as it is read."""

    def __init__(self) -> None:
        self._columns: dict[str, list[Any]] = collections.defaultdict(list)
        self._blocks: list[tuple[np.ndarray, np.ndarray]] = []
        self._masked: collections.Counter[str] = collections.Counter()
        self._notes: collections.Counter[str] = collections.Counter()
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
        if spectra.note is not None:
            self._notes.update(note for note in spectra.note[keep].tolist() if note)
        self._resampled += ready.resampled

    def join_spectra(self) -> tuple[np.ndarray, np.ndarray]:
        """Return flux and ivar of the stars that are held, in order: (star, wavelength)."""
        flux = np.concatenate([block[0] for block in self._blocks])
        flux_ivar = np.concatenate([block[1] for block in self._blocks])
        return flux, flux_ivar

    def describe(self) -> dict[str, Any]:
        """Return all but the spectra, as JSON can hold it; what is missing is None.

        ``facts`` of the stars that are kept, ``refused`` (file, star, reason), pixels ``masked`` by
        reason, how many stars have which ``notes``, and how many were ``resampled``.
        """
        facts = {}
        for name, values in self._columns.items():
            facts[name] = [_convert_to_json(value) for value in values]
        return {
            "facts": facts,
            "refused": self.refused,
            "masked": dict(self._masked),
            "notes": dict(self._notes),
            "resampled": self._resampled,
        }


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


Loose = tuple[int, Spectra]  # number of a file, and some of its stars


def read_blocks(
    plan: Plan, files: Iterable[tuple[int, str]], part: Gathered
) -> Iterator[list[Loose]]:
    """Yield the spectra of files by blocks to be prepared together, and put down bad files.

    Parameters
    ----------
    plan : Plan
    files : iterable of (number, path)
        Paths in the form in which they are stored.
    part : Gathered
        Where files, and rows that are no stars, are put down that cannot be used.
    """
    block: list[Loose] = []
    n_stars = 0
    for number, spectra in _read_files(plan, files, part):
        block.append((number, spectra))
        n_stars += len(spectra.star)
        if n_stars >= _BLOCK:
            yield block
            block, n_stars = [], 0
    if block:
        yield block


def _read_files(plan: Plan, files: Iterable[tuple[int, str]], part: Gathered) -> Iterator[Loose]:
    """Yield the spectra of the files, and put down those that cannot be read."""
    fmt, options = get_format(plan.format), dict(plan.options)
    for number, path in files:
        n_stars = 0
        try:
            for spectra in fmt.read(restore_path(path), **options):
                usable = _refuse_unfit(spectra, n_stars, number, part)
                n_stars += len(spectra.star)
                if len(usable.star):
                    yield number, usable
            if not n_stars:
                raise BadFile("holds no spectrum")
        except BadFile as error:
            part.refuse(number, WHOLE_FILE, str(error))
        except Exception as error:  # a damaged file may bring a reader to anything
            if store.is_outage(error) and not isinstance(error, PermissionError | KeyError):
                raise
            part.refuse(number, WHOLE_FILE, f"cannot be read: {_describe_damage(error)}")


def _refuse_unfit(spectra: Spectra, first: int, number: int, part: Gathered) -> Spectra:
    """Return the stars that can be used, and put down the others by their rows."""
    reason = explain_unfit(spectra)
    is_fit = reason == ""
    for row in np.flatnonzero(~is_fit):
        part.refuse(number, name_row(first + int(row)), str(reason[row]))
    if is_fit.all() and spectra.unfit is None:
        return spectra
    return dataclasses.replace(take_stars(spectra, is_fit), unfit=None)


def _describe_damage(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or f"{type(error).__name__}: {error}")


def prepare_block(plan: Plan, grid: np.ndarray, block: Sequence[Loose], part: Gathered) -> None:
    """Prepare spectra for the survey's grid, and keep those that are of use.

    Parameters
    ----------
    plan : Plan
    grid : array, (wavelength,)
        Pixel centres of the survey.
    block : sequence of (number, Spectra)
        As `read_blocks` yields them.
    part : Gathered
        Where they are kept, or put down as refused.
    """
    fmt = get_format(plan.format, dict(plan.options))
    for numbers, spectra in _group_alike(block):
        try:
            ready = prepare(spectra, fmt, plan.recipe, grid)
        except BadFile as error:  # of all of them: they are alike in what it may be about
            for number in np.unique(numbers):
                part.refuse(int(number), WHOLE_FILE, str(error))
        else:
            part.add(numbers, spectra, ready)


def _group_alike(block: Sequence[Loose]) -> Iterator[tuple[np.ndarray, Spectra]]:
    """Yield spectra that stand on one grid together, with the numbers of their files: (star,)."""
    start = 0
    while start < len(block):
        _, first = block[start]
        stop = start + 1
        while stop < len(block) and _is_alike(first, block[stop][1]):
            stop += 1
        alike = block[start:stop]
        numbers = [np.full(len(spectra.star), number) for number, spectra in alike]
        yield np.concatenate(numbers), _stack_spectra([spectra for _, spectra in alike])
        start = stop


_ARRAYS = ("flux", "ivar", "mask", "continuum", "velocity", "key", "note")


def _is_alike(one: Spectra, other: Spectra) -> bool:
    """Whether spectra stand on one grid and have the same parts."""
    for name in _ARRAYS:
        if (getattr(one, name) is None) != (getattr(other, name) is None):
            return False
    if one.columns.keys() != other.columns.keys():
        return False
    return np.array_equal(one.wavelength, other.wavelength)


def _stack_spectra(spectra: Sequence[Spectra]) -> Spectra:
    first = spectra[0]
    if len(spectra) == 1:
        return first
    joined: dict[str, Any] = {}
    for name in ("star", *_ARRAYS):
        if getattr(first, name) is not None:
            joined[name] = np.concatenate([getattr(part, name) for part in spectra])
    columns = {}
    for name in first.columns:
        columns[name] = np.concatenate([part.columns[name] for part in spectra])
    return Spectra(wavelength=first.wavelength, columns=columns, **joined)
