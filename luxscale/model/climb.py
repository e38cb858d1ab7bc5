"""The list of terms of many stars, on their way to the maxima of the posterior.

The compiled steps are those of `luxscale.model.ascent`; here is kept what they find.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import numpy as np

from luxscale.model.ascent import Around, Common, Found, Terms, expect_rows, take_steps
from luxscale.model.groups import cut_blocks
from luxscale.model.jit import run_alone

#: Least ln share of a term that is followed, and of one that counts.
MATTERS = -9.0

#: Squared length of the last step, in sigma and times its term's share, after which a term has
#: settled: it is taken, and what is left is a tenth of it.
SETTLED = 1e-2

#: By how much ln p may fall, from rounding, in a step that is kept.
_ROUNDING = 1e-2

#: What a term may gain beyond what its next step promises, in units of that.
_SLACK = 0.5


class Expected(NamedTuple):
    """What terms come to if the spectrum is as about others of their stars: see `expect_terms`."""

    step: np.ndarray
    distance: np.ndarray
    log_weight: np.ndarray


@dataclasses.dataclass
class Ascent:
    """Terms of all stars on their way to the maxima, those of a star together.

    Parameters
    ----------
    components, level : array, (star, value) and (star,)
        What spectra come to.
    star, gaussian : array, (term,)
    first : array, (star,)
        Where the terms of each star begin.
    latent : array, (term, latent)
        To be looked at next.
    base, found
        Where each term was found best, and what was found there.
    fraction : array, (term,)
        Part of the step that is looked at.
    origin : array, (term,)
        The term about which the spectrum was linearised.
    """

    components: np.ndarray
    level: np.ndarray
    star: np.ndarray
    gaussian: np.ndarray
    first: np.ndarray
    latent: np.ndarray
    base: np.ndarray
    found: Found
    fraction: np.ndarray
    origin: np.ndarray

    def climb(self, common: Common, rows: np.ndarray) -> None:
        """Take a step of some of the terms."""
        with run_alone():
            for block in cut_blocks(rows):
                star = self.star[block.rows]
                terms = Terms(
                    components=self.components[star],
                    level=self.level[star],
                    gaussian=self.gaussian[block.rows],
                    latent=self.latent[block.rows],
                )
                new = take_steps(common, terms, block.number)
                found = Found(*(np.asarray(array)[: block.number] for array in new))
                self.update(block.meant, found)

    def expect(self, common: Common, rows: np.ndarray, origin: np.ndarray) -> Expected:
        """Return what the spectrum about others of the same stars has terms come to."""
        found, n = self.found, rows.size
        expected = Expected(np.empty_like(self.latent[rows]), *np.empty((2, n), np.float32))
        with run_alone():
            for block in cut_blocks(np.arange(n)):
                of = origin[block.rows]
                around = Around(self.base[of], found.chi2[of], found.slope[of], found.hessian[of])
                new = expect_rows(common, around, self.gaussian[rows[block.rows]], block.number)
                for whole, part in zip(expected, new, strict=True):
                    whole[block.meant] = np.asarray(part)[: block.number]
        return expected

    def follow(self, rows: np.ndarray, origin: np.ndarray, expected: Expected) -> None:
        """Set terms to what is expected of them about others."""
        for name, values in expected._asdict().items():
            getattr(self.found, name)[rows] = values
        self.base[rows] = self.base[origin]
        self.latent[rows] = self.base[rows] + expected.step
        self.origin[rows] = origin

    def update(self, rows: np.ndarray, new: Found) -> None:
        """Keep what is better, and look less far where it is not."""
        better = new.energy <= self.found.energy[rows] + _ROUNDING  # false of NaN
        kept = rows[better]
        if not better.all():
            new = Found(*(values[better] for values in new))
        for old, values in zip(self.found, new, strict=True):
            old[kept] = values
        latent = self.latent[kept]
        self.fraction[kept] = _find_fraction(latent - self.base[kept], new.step)
        self.base[kept] = latent
        self.origin[kept] = kept
        self.fraction[rows[~better]] /= 4
        step = self.fraction[rows, None] * self.found.step[rows]
        self.latent[rows] = self.base[rows] + step

    def measure_shares(self) -> np.ndarray:
        """Return ln of the share of each term in its star's posterior, beside the best's."""
        best = np.maximum.reduceat(self.found.log_weight, self.first)
        # without any, all are as good
        best = np.where(np.isfinite(best), best, 0)
        return self.found.log_weight - best[self.star]

    def find_moving(self) -> np.ndarray:
        """Return which terms still move and may matter: (term,)."""
        distance = self.found.distance
        # what the last step will gain is not sure: a term is beside what others have reached
        reached = self.found.log_weight - 0.5 * distance
        best = np.maximum.reduceat(reached, self.first)[self.star]
        with np.errstate(over="ignore", invalid="ignore"):
            # and may be more
            log_share = self.found.log_weight + _SLACK * distance - best
            moves = np.exp(np.minimum(log_share, 0)) * distance > SETTLED
        return moves & (log_share > MATTERS) | np.isinf(distance)

    def any_of_star(self, marked: np.ndarray) -> np.ndarray:
        """Return which stars have a marked term: (star,)."""
        found: np.ndarray = np.logical_or.reduceat(marked, self.first)
        return found


def _find_fraction(moved: np.ndarray, step: np.ndarray) -> np.ndarray:
    """Return the part of a step to take after a move: less than all where the two are opposite.

    Where the outputs bend, steps may go as far beyond a maximum as they began before it, and never
    end. One back by r times the move says that the maximum is at 1 / (1 + r) of it.
    """
    length = np.sum(moved * moved, 1)
    back = -np.sum(step * moved, 1) / np.maximum(length, np.finfo(length.dtype).tiny)
    fraction: np.ndarray = 1 / (1 + np.maximum(back, 0))
    return fraction


def find_best(log_share: np.ndarray, first: np.ndarray) -> np.ndarray:
    """Return which term of each star has most weight: (star,)."""
    known = np.where(np.isnan(log_share), -np.inf, log_share)
    most = np.maximum.reduceat(known, first)
    sizes = np.diff(np.append(first, known.size))
    best = np.flatnonzero(known == np.repeat(most, sizes))
    # the first of each star
    found: np.ndarray = best[np.searchsorted(best, first)]
    return found
