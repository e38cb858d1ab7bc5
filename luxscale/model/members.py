"""What the members of an ensemble find of the same stars, taken together.

Each member is a Lux model of its own, and its posterior of the labels has mean m_i and covariance
C_i. The labels are the mean of all, and their covariance is that of the mean posterior,

    m = mean of m_i,  C = mean of C_i + mean of (m_i - m) (m_i - m)^T
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from luxscale.model.blocks import Posterior
from luxscale.model.head import Head


class Labels(NamedTuple):
    """Labels of a head, and their variances in units of its spread: (star, label)."""

    value: np.ndarray
    variance: np.ndarray

    def replace(self, columns: np.ndarray, others: Labels) -> Labels:
        """Return labels of which some columns are those of others."""
        value, variance = self.value.copy(), self.variance.copy()
        value[:, columns], variance[:, columns] = others.value, others.variance
        return Labels(value, variance)


class Found(NamedTuple):
    """What a member finds of a block of stars.

    labels : of each head; few : (star,), which stars have few pixels; outputs : (star,), bits of
    those that they have, where errors depend on it.
    """

    posterior: Posterior
    labels: tuple[Labels, ...]
    few: np.ndarray
    outputs: np.ndarray | None = None


def average(found: Sequence[Found], heads: Sequence[Sequence[Head]]) -> Found:
    """Return what all members find together; all but labels is of the first.

    A star is settled where every search has ended.

    Parameters
    ----------
    found : sequence of Found
    heads : sequence of sequence of Head
        Of each member.
    """
    first, *others = found
    if not others:
        return first
    labels, spreads = [], []
    for i, head in enumerate(heads[0]):
        values = np.stack([one.labels[i].value for one in found])
        away = (values - values.mean(0)) / head.spread
        ratios = [of_member[i].spread / head.spread for of_member in heads]
        variances = [one.labels[i].variance for one in found]
        labels.append(Labels(values.mean(0), _pool(variances, ratios, away)))
        spreads.append(_pool([one.posterior.spread[i] for one in found], ratios, away))
    posterior = first.posterior._replace(
        spread=tuple(spreads),
        settled=np.all([one.posterior.settled for one in found], axis=0),
        fell_back=np.any([one.posterior.fell_back for one in found], axis=0),
    )
    return first._replace(posterior=posterior, labels=tuple(labels))


def _pool(
    spreads: Sequence[np.ndarray], ratios: Sequence[np.ndarray], away: np.ndarray
) -> np.ndarray:
    """Return the variances or covariances of labels, in units of the first member's spread.

    Parameters
    ----------
    spreads : sequence of array, (star, label) or (star, label, label)
        Of each member, in units of its own.
    ratios : sequence of array, (label,)
        The units of each over those of the first.
    away : array, (member, star, label)
        Labels of each less their mean.
    """
    total = np.zeros(spreads[0].shape)
    for spread, ratio, off in zip(spreads, ratios, away, strict=True):
        if spread.ndim == 2:
            total += ratio**2 * spread + off**2
        else:
            units = np.outer(ratio, ratio)
            off2 = off[:, :, None] * off[:, None, :]
            total += units * spread + off2
    return total / len(spreads)
