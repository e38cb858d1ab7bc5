"""Training labels that contradict their stars' spectra: wrong rows, columns, units or signs.

A label is set aside if a regression on the leading components of the spectra, on the labels of all
other stars (`luxscale.training.robust_regression`), says that it is off by more than the clip.
Unless stars with the most similar spectra are off likewise: then the regression fails, and the
label is taken for right.

Two kinds of labels are doubtful, and kept with errors as large as they are off, so that no star
draws what is learnt by more than about one standard deviation: groups that are off by less than the
clip, but more of them than chance explains; and labels, beyond the clip or as far off as such a
group, of stars that none is similar to, of which regressions say little and which draw most.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from luxscale.analysis.stats import MAD_TO_SIGMA
from luxscale.training.data import TrainingOutput
from luxscale.training.principal_spectra import LEAST_STARS, Source, Spectra, Tables
from luxscale.training.robust_regression import (
    PRODUCTS,
    LeftOut,
    find_slopes,
    predict_left_out,
)

#: Stars with similar spectra, and how many of them may be off further than a label, at either end.
_NEIGHBOURS, _FURTHER = 8, 2

#: Distance of the nearest spectrum, in the median of all, beyond which no other star is similar.
_ISOLATED = 4.0

#: A label whose residual differs from its neighbours' by less than this part of it is like theirs.
_LIKE = 0.7

#: Standard deviations beyond which labels of a group are doubtful; fewest of a group, and their
#: least share of all; largest share of it that chance may explain (Benjamini & Hochberg 1995).
GROUP_CLIP = 3.0
_LEAST_GROUP, _LEAST_SHARE, _MOST_BY_CHANCE = 4, 0.01, 0.1

#: Robust standard deviations of a label beyond which similar stars do not support it.
_BEYOND_ALL = 50.0

#: Largest share of a label that may be set aside: a label of which more is far off is of another
#: kind, a class or a count, than regressions predict.
_MOST = 0.1


class Screened(NamedTuple):
    """What the spectra say against labels: (star, label).

    outlying : bool, which are to be set aside; least_errors : what the errors of others are at
    least, 0 unless one is doubtful.
    """

    outlying: np.ndarray
    least_errors: np.ndarray


#: Says which labels are not to be trained on as they are, given values and errors: (star, label).
Screen = Callable[[np.ndarray, np.ndarray], Screened]


def make_screen(measured: Sequence[TrainingOutput], stars: np.ndarray, clip: float) -> Screen:
    """Return what screens labels: it keeps all, where there are no spectra.

    Parameters
    ----------
    measured : sequence of TrainingOutput
        What is measured, rather than labels.
    stars : array, (star,)
        Identifiers.
    clip : float
        As for `screen_labels`; infinite keeps all.
    """
    if not measured or math.isinf(clip):
        return keep_all
    return screen_by(Tables(measured), stars, clip)


def screen_by(source: Source, stars: np.ndarray, clip: float) -> Screen:
    """Return what screens labels by spectra; the parameters are those of `make_screen`."""
    spectra = Spectra(source, stars)
    return lambda values, errors: screen_labels(values, errors, spectra, clip)


def keep_all(values: np.ndarray, errors: np.ndarray) -> Screened:
    """Return that nothing is said against any label: values, errors (star, label)."""
    return Screened(np.zeros(values.shape, bool), np.zeros(errors.shape))


def screen_labels(
    values: np.ndarray, errors: np.ndarray, spectra: Spectra, clip: float
) -> Screened:
    """Return which labels contradict the spectra of their stars, and which may.

    Parameters
    ----------
    values, errors : array, (star, label)
        NaN where missing.
    spectra : Spectra
    clip : float
        Robust standard deviations of the residuals, the label's own error and that of the spectrum
        included, beyond which a label is outlying.
    """
    screened = keep_all(values, errors)
    columns = []
    for i in range(values.shape[1]):
        column = _scale_column(values[:, i], errors[:, i], spectra)
        if column is not None:
            columns.append((i, column))
    if not columns:
        return screened
    # of all labels at once, for spectra are large
    slopes = [find_slopes(c.values, c.error2, spectra.scores[c.rows]) for _, c in columns]
    of_spectra = spectra.propagate_errors(np.array(slopes).T)
    for (i, column), variance in zip(columns, of_spectra.T, strict=True):
        complete = column._replace(error2=column.error2 + variance[column.rows])
        offsets = _measure_offsets(complete, spectra.scores[column.rows])
        outlying, doubtful = _judge(offsets, clip)
        screened.outlying[column.rows, i] = outlying
        least = np.where(doubtful, offsets.size * column.scale, 0)
        screened.least_errors[column.rows, i] = least
    return screened


class _Column(NamedTuple):
    """A label of the stars that have it, from its median, in units of its scatter.

    rows : (star,), positions; values, error2 : (star,); scale : the robust standard deviation.
    """

    rows: np.ndarray
    values: np.ndarray
    error2: np.ndarray
    scale: float


def _scale_column(values: np.ndarray, errors: np.ndarray, spectra: Spectra) -> _Column | None:
    """Return a label scaled, None if nothing can be told of it."""
    rows = np.flatnonzero(np.isfinite(values) & spectra.usable)
    if rows.size < LEAST_STARS or not spectra.scores.shape[1]:
        return None
    center = np.median(values[rows])
    scale = float(MAD_TO_SIGMA * np.median(np.abs(values[rows] - center)))
    if scale == 0:  # half of the values are the same: they have no scatter
        return None
    with np.errstate(over="ignore"):
        return _Column(rows, (values[rows] - center) / scale, (errors[rows] / scale) ** 2, scale)


class _Offsets(NamedTuple):
    """How far each label is from what its spectrum and the other stars tell: (star,).

    size : in robust standard deviations of the label; distance : in those of the offset, at most
    size where isolated; excess : in those that it had if the others told all of the label; isolated
    : whether no star is similar, so that regressions say little.
    """

    size: np.ndarray
    distance: np.ndarray
    excess: np.ndarray
    isolated: np.ndarray


def _judge(offsets: _Offsets, clip: float) -> tuple[np.ndarray, np.ndarray]:
    """Return which labels are set aside, and which others are doubtful: (star,) bool.

    None, if these are too many.
    """
    outlying = (offsets.distance > clip) & ~offsets.isolated
    outlying &= outlying.mean() <= _MOST
    bound = find_group_clip(np.where(offsets.isolated, 0, offsets.distance), clip)
    doubtful = offsets.distance > bound
    if bound < clip:  # there are wrong ones: that others say little is no excuse
        doubtful |= offsets.isolated & (offsets.excess > bound)
    doubtful &= ~outlying
    return outlying, doubtful & (doubtful.mean() <= _MOST)


def find_group_clip(distance: np.ndarray, clip: float) -> float:
    """Return the standard deviations beyond which few labels are explained by chance.

    At most the clip, and that where there is no group.

    Parameters
    ----------
    distance : array, (star,)
        In standard deviations, of a normal distribution by chance.
    clip : float
    """
    import scipy.special

    # those beyond the clip are no reason to doubt those nearer
    is_far = (distance > GROUP_CLIP) & (distance <= clip)
    far = np.sort(distance[is_far])[::-1]
    by_chance = distance.size * scipy.special.erfc(far / np.sqrt(2))
    number = np.arange(1, far.size + 1)
    least = max(_LEAST_GROUP, _LEAST_SHARE * distance.size)
    groups = (by_chance <= _MOST_BY_CHANCE * number) & (number >= least)
    if not groups.any():
        return clip
    # beyond is meant: the last of the group as well
    return min(clip, float(np.nextafter(far[groups][-1], 0)))


def _measure_offsets(column: _Column, scores: np.ndarray) -> _Offsets:
    """Return how far each label is from what the less distant of two regressions tells.

    One is without products, one with them. It counts for none if it is off as labels of stars with
    similar spectra are, after either.
    """
    # those far from all labels are not alike, for wrong ones may be among their neighbours
    near = np.abs(column.values) <= _BEYOND_ALL
    neighbours = _find_neighbours(scores)
    told, alike = [], np.zeros(near.shape, bool)
    for products in (False, True):
        told.append(predict_left_out(column.values, column.error2, scores, products=products))
        alike |= _find_alike(told[-1], neighbours.stars) & near
    linear, curved = told
    size = np.minimum(np.abs(linear.residual), np.abs(curved.residual))
    distance = np.where(alike, 0, np.minimum(linear.distance, curved.distance))
    isolated = neighbours.isolated & near
    return _Offsets(
        size=size,
        # regressions say little of these: the scatter of all labels is what is known
        distance=np.where(isolated, np.minimum(distance, size), distance),
        excess=np.minimum(linear.excess, curved.excess),
        isolated=isolated,
    )


class _Neighbours(NamedTuple):
    """Stars with the most similar spectra.

    stars : (star, neighbour), positions; isolated : (star,), whether none is similar, so that
    regressions say little.
    """

    stars: np.ndarray
    isolated: np.ndarray


def _find_neighbours(scores: np.ndarray) -> _Neighbours:
    """Return the stars with the most similar leading components."""
    import scipy.spatial

    near = scores[:, :PRODUCTS]
    number = min(_NEIGHBOURS, len(near) - 1)
    spacing, stars = scipy.spatial.cKDTree(near).query(near, k=number + 1)
    nearest = spacing[:, 1]
    return _Neighbours(stars[:, 1:], nearest > _ISOLATED * np.median(nearest))


def _find_alike(told: LeftOut, neighbours: np.ndarray) -> np.ndarray:
    """Return whose residuals lie near those of the most similar spectra: (star,) bool."""
    theirs = np.sort(told.residual[neighbours], axis=1)
    below = theirs[:, _FURTHER] - told.residual
    above = told.residual - theirs[:, -1 - _FURTHER]
    alike: np.ndarray = np.maximum(below, above) < _LIKE * np.abs(told.residual)
    return alike
