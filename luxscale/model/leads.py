"""The fast search for latents: the best term of a star leads, the others follow from it.

A term by itself takes two to four steps from the mean of its Gaussian. Most terms of a star end so
near each other that the spectrum, linearised at one of them, says where the others are and what
they are worth (`luxscale.model.ascent.expect_terms`). Steps of their own are left to those that may
matter and are not near. A star for which that goes wrong is for the full search: its lead does not
settle or fits poorly, a term is worth far more or less than expected, or terms still move in the
end.
"""

from __future__ import annotations

import numpy as np

from luxscale.model.ascent import Common
from luxscale.model.climb import MATTERS, SETTLED, Ascent, Expected, find_best

#: Most steps of a lead, the squared length of the next, in sigma, that lets it end before, and
#: that from which on others cannot be expected from it.
_LEAD_STEPS, _LEAD_NEAR, _LEAD_FAR = 12, 0.3, 3.0

#: Chi-square of a lead, per value, from which on it may be a false maximum.
_POOR = 3.0

#: Least ln share that is expected of a term which takes a step. It is low: of two solutions, the
#: other is seen from afar.
_LIKELY = -15.0

#: Squared distance from the lead, in sigma, from which on such a term takes a step, and what its
#: share times the square of that may be, for what is expected errs by a tenth of the square or so.
_FAR, _UNSURE = 8.0, 0.2

#: Most steps of the others.
_STEPS = 6

#: By how much ln omega may differ from what was expected, of a term whose ln share is at least so.
_SURPRISE, _COUNTS = 3.0, -6.0

#: By how much ln omega has to be more about another term for one to begin again there.
_GAIN = 1.0


def follow_leads(common: Common, ascent: Ascent) -> np.ndarray:
    """Search for the latents of stars whose terms begin with their ln evidence for log_weight.

    Returns
    -------
    array, (star,), bool
        Which stars are for the full search.
    """
    found, star = ascent.found, ascent.star
    lead = find_best(found.log_weight, ascent.first)
    rows = lead
    for _ in range(_LEAD_STEPS):
        ascent.climb(common, rows)
        rows = rows[~(found.distance[rows] < _LEAD_NEAR)]
    fits = found.chi2[lead] < _POOR * ascent.components.shape[1]
    lost = ~(fits & (found.distance[lead] < _LEAD_FAR))  # true of NaN
    unsure = _expect_others(common, ascent, lead)
    expected = found.log_weight.copy()
    for number in range(_STEPS):
        moving = ascent.find_moving() & ~lost[star]
        if not moving.any():
            break
        ascent.climb(common, np.flatnonzero(moving))
        if number == 0:
            lost |= ascent.any_of_star(unsure & _find_surprises(ascent, expected))
    moving = ascent.find_moving() & ~lost[star]
    return lost | ascent.any_of_star(moving)


def _expect_others(common: Common, ascent: Ascent, lead: np.ndarray) -> np.ndarray:
    """Set the other terms to what their leads have them come to; return which take steps."""
    others = _list_others(ascent, lead)
    origin = lead[ascent.star[others]]
    ascent.follow(others, origin, ascent.expect(common, others, origin))
    distance, log_share = ascent.found.distance, ascent.measure_shares()
    with np.errstate(over="ignore", invalid="ignore"):
        error = np.exp(np.minimum(log_share, 0)) * distance**2
    unsure = (log_share > _LIKELY) & ((distance > _FAR) | (error > _UNSURE))
    # chi-square is that of the best, and not of the lead
    unsure |= (log_share == 0) & (distance > SETTLED)
    unsure[lead] = False
    distance[others] = np.where(unsure[others], np.inf, 0)
    return unsure


def restart_others(common: Common, ascent: Ascent) -> np.ndarray:
    """Set terms to where the best of their stars has them, if they are worth more there.

    Where the spectrum is much bent, a term may end at a lesser maximum than another has found.

    Returns
    -------
    array
        Which terms they are, and have steps to take.
    """
    found = ascent.found
    best = find_best(found.log_weight, ascent.first)
    others = _list_others(ascent, best)
    origin = best[ascent.star[others]]
    expected = ascent.expect(common, others, origin)
    gains = expected.log_weight > found.log_weight[others] + _GAIN
    gains &= expected.log_weight > found.log_weight[origin] + MATTERS
    rows = others[gains]
    ascent.follow(rows, origin[gains], Expected(*(array[gains] for array in expected)))
    # the next step is taken whatever was found elsewhere
    found.energy[rows] = found.distance[rows] = np.inf
    ascent.fraction[rows] = 1
    return rows


def _list_others(ascent: Ascent, chosen: np.ndarray) -> np.ndarray:
    """Return all terms but some."""
    is_other = np.ones(ascent.star.size, bool)
    is_other[chosen] = False
    return np.flatnonzero(is_other)


def _find_surprises(ascent: Ascent, expected: np.ndarray) -> np.ndarray:
    """Return which terms are worth far more or less than expected: (term,)."""
    log_weight = ascent.found.log_weight
    most = np.maximum(log_weight, expected)
    best = np.maximum.reduceat(most, ascent.first)[ascent.star]
    with np.errstate(invalid="ignore"):
        differs = ~(abs(log_weight - expected) < _SURPRISE)
        return np.asarray(differs & (most - best > _COUNTS))
