"""Which outputs a star has data of: a bit for each spectrum and set of bands of its model."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from luxscale.model.blocks import Data, find_sound_ivar
from luxscale.model.output import Output
from luxscale.model.problem import Design

#: Most spectra and sets of bands of a model of which stars have a bit each.
MOST_OUTPUTS = 8

#: Of so many features one is looked at first, which tells of most stars.
_EVERY = 64


def shows_outputs(labels: Sequence[Output]) -> bool:
    """Return whether errors of labels depend on which outputs a star has."""
    return any(o.part_errors for o in labels)


def list_bits(
    labels: Sequence[Output], given: Sequence[Output], measured: Sequence[str]
) -> tuple[int, ...]:
    """Return the bits of each given output; none where errors do not depend on what a star has.

    Labels that are given have all of them: nothing is measured of such stars but the errors of all
    outputs.

    Parameters
    ----------
    labels, given : sequence of Output
    measured : sequence of str
        All spectra and bands of the model, in the order of their bits.
    """
    if not shows_outputs(labels):
        return ()
    return tuple(combine_bits(measured if o.is_label else [o.name], measured) for o in given)


def combine_bits(names: Sequence[str], measured: Sequence[str]) -> int:
    """Return the bits of outputs, together.

    Parameters
    ----------
    names : sequence of str
    measured : sequence of str
        All spectra and bands of the model, in the order of their bits.
    """
    return sum(1 << measured.index(name) for name in names)


def mark_outputs(
    designs: Sequence[Design], data: Sequence[Data], bits: Sequence[int]
) -> np.ndarray:
    """Return the bits of the outputs that stars have a value of: (star,) uint8.

    Parameters
    ----------
    designs : sequence of Design
    data : sequence of Data
    bits : sequence of int
        Of each given output.
    """
    found = np.zeros(len(data[0].ivar), np.uint8)
    for design, given, bit in zip(designs, data, bits, strict=True):
        found[_find_with_data(design, given)] |= np.uint8(bit)
    return found


def _find_with_data(design: Design, data: Data) -> np.ndarray:
    """Return which stars have a value that gets a weight: (star,) bool."""
    found = _find_among(np.s_[::_EVERY], design, data)
    rows = np.flatnonzero(~found)
    # most of these have nothing, which is seen at once
    rows = rows[data.ivar[rows].any(axis=1)]
    if rows.size:
        found[rows] = _find_among(np.s_[:], design, Data(data.value[rows], data.ivar[rows]))
    return found


def _find_among(features: slice, design: Design, data: Data) -> np.ndarray:
    """Return which stars have such a value among some of the features: (star,) bool."""
    unit, offset, used = (
        np.asarray(array)[features] for array in (design.unit, design.offset, design.ivar_unit)
    )
    part = dataclasses.replace(design, unit=unit, offset=offset)
    sound = find_sound_ivar(part, Data(data.value[:, features], data.ivar[:, features]))
    return np.asarray(((sound > 0) & (used > 0)).any(axis=1))
