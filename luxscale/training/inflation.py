"""What stars left out of training tell of errors of inferred labels.

The misfit is one number for all stars, and right where the model misses by as much in all of them.
Where it misses by more in fainter stars, formal errors have a factor beside it, which may depend on
these: a star without data has the error of the prior, which is right as it is. Errors of given
labels are taken as they are; where they are too large for bright stars, faint ones have the factor
that they need all the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from luxscale.model.calibration import Curve, Errors, make_constants
from luxscale.training.error_law import Squares, find_law
from luxscale.training.misfit import measure_misfit

if TYPE_CHECKING:
    from luxscale.training.left_out import Residuals

#: Fewest stars with a label from which a factor is found.
_FEWEST = 200

#: Share of the variance of one member's errors that another does not have: between curved and cubic
#: models of Gaia XP giants it is 0.3, by what their labels differ.
_OWN_SHARE = 1 / 3


class LabelErrors(NamedTuple):
    """What is made of errors of the labels of one output: (label,).

    inflation : factors on formal errors; floor : misfit beside them; misfit : that of factors of 1.
    """

    inflation: tuple[Curve, ...]
    floor: np.ndarray
    misfit: np.ndarray

    @property
    def errors(self) -> Errors:
        """The law that these are."""
        return Errors(scale=self.inflation, floor=make_constants(self.floor))


def _find_least_factor(members: int) -> float:
    """Return the factor that the errors of a mean have, if those of its members are right.

    With V the variance of one member, and B = V s (K - 1) / K that between K of them, the mean has
    V - B, where the formal variance is V + B.
    """
    between = _OWN_SHARE * (members - 1) / members
    return float(np.sqrt((1 - between) / (1 + between)))


def measure_errors(folds: Sequence[Residuals], members: int = 1) -> LabelErrors:
    """Return what is made of errors of the labels of one output.

    Parameters
    ----------
    folds : sequence of Residuals
        Of the stars of each fold.
    members : int
        Models whose labels are averaged.
    """
    numbers = [np.full(len(part.residual), k) for k, part in enumerate(folds)]
    fold = np.concatenate(numbers)
    residual, formal, label_err, signal = map(np.concatenate, zip(*folds, strict=True))
    n_labels = residual.shape[1]
    inflation = [Curve((1.0,), (1.0,))] * n_labels
    beside = np.full(n_labels, np.nan)
    for m in range(n_labels):
        known = np.isfinite(residual[:, m]) & (formal[:, m] > 0)
        if known.sum() < _FEWEST:
            continue
        unit = float(np.median(formal[known, m]))
        columns = [column[known, m] / unit for column in (residual, formal, label_err)]
        squares = Squares(*(column**2 for column in columns))
        law = find_law(squares, fold[known], signal[known], _find_least_factor(members))
        inflation[m] = law.make_curve(unit)
        if law.at:
            beside[m] = np.sqrt(law.misfit2) * unit
    misfit = measure_misfit(residual, formal, label_err)
    floor = np.where(np.isnan(beside), misfit, beside)
    return LabelErrors(tuple(inflation), floor, misfit)
