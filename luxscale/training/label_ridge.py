"""How strongly weights of labels are pulled to 0, where errors of the labels are large.

Where the errors sigma of a label are about as large as its spread, its weights follow these errors.
With V the variance that the label has beside errors, each weight is given the prior N(0, V / 16),
which is a ridge, in stars of average weight, of

    16 / (chi2 - 1),  chi2 = mean (y - mean y)^2 / sigma^2,

48 at most. The prior holds for errors that are right, and for labels that no few latents tell of.
So the ridge is taken where it does not predict labels of stars left out worse, by more than one
standard error, than a ridge of 1. This is that of other labels, and of those of so many stars that
the prior makes no difference.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import numpy as np

from luxscale.training.data import Arrays, Fit, TrainingData
from luxscale.training.latents import Latents, solve_latents
from luxscale.training.regression import RIDGE, regress_folds, regress_weights

#: Ridge of a label whose errors are as large as its spread without them, and the greatest.
_AT_PAR, _MOST = 16.0, 48.0

#: Share of the stars of a label that a ridge must come to, to make a difference.
_LEAST_SHARE = 0.05

#: Fewest stars of a label that tell its spread.
_FEWEST = 10

#: Folds by which ridges are tried.
_FOLDS = 5


def propose_ridges(values: np.ndarray, ivar: np.ndarray) -> np.ndarray:
    """Return the ridge that the errors of each label ask for: (label,).

    Parameters
    ----------
    values, ivar : array, (star, label)
    """
    values, ivar = np.asarray(values, float), np.asarray(ivar, float)
    count = (ivar > 0).sum(axis=0)
    # a label that no star has keeps its ridge
    total = np.where(count > 0, ivar.sum(axis=0), 1)
    mean = (ivar * values).sum(axis=0) / total
    squares = ivar * (values - mean) ** 2
    chi2 = squares.sum(axis=0) / np.maximum(count, 1)
    ridge = _AT_PAR / np.maximum(chi2 - 1, _AT_PAR / _MOST)
    least = np.maximum(RIDGE, _LEAST_SHARE * count)
    matters = (count >= _FEWEST) & (ridge > least)
    return np.where(matters, ridge, RIDGE)


def find_harmless(
    residual: np.ndarray, pulled: np.ndarray, weights: np.ndarray, margin: float = 1.0
) -> np.ndarray:
    """Return for which labels stars left out are not clearly worse with other weights: (label,).

    Parameters
    ----------
    residual, pulled : array, (star, label)
        Of labels of stars left out, with a ridge of 1 and with another.
    weights : array, (star, label)
        0 where a label is missing.
    margin : float
        Standard errors by which the mean of weighted squares may be larger.
    """
    known = weights > 0
    count = np.maximum(known.sum(axis=0), 1)
    loss = weights * (pulled**2 - residual**2)
    mean = loss.sum(axis=0) / count
    variance = np.where(known, (loss - mean) ** 2, 0).sum(axis=0) / count
    return np.asarray(mean <= margin * np.sqrt(variance / count))


class LabelRegression:
    """Outputs of a linear model, whose labels are regressed with ridges of their own.

    Parameters
    ----------
    data : TrainingData
    outputs : tuple of Arrays
        As training left them.
    find_latents : callable
        Returns the latents of all stars, which are asked for if they are needed.
    """

    def __init__(
        self,
        data: TrainingData,
        outputs: tuple[Arrays, ...],
        find_latents: Callable[[], Latents],
    ) -> None:
        self._data = data
        self._outputs = outputs
        self._find_latents = functools.cache(find_latents)
        self._ridges: list[np.ndarray | float] = [RIDGE] * len(outputs)
        self._tried: dict[bytes, dict[int, list[Arrays]]] = {}

    def improve(self, say: Callable[[str], None]) -> tuple[Arrays, ...]:
        """Return the outputs, with labels regressed again whose errors ask for it.

        Parameters
        ----------
        say : callable
            Told which labels these are.
        """
        improved = list(self._outputs)
        for i, trained in enumerate(self._data.outputs):
            if self._data.informing[i]:
                continue
            proposed = propose_ridges(*trained.read_table())
            if np.all(proposed == RIDGE):
                continue
            ridges = self._accept(i, proposed)
            stronger = ridges != RIDGE
            if not stronger.any():
                continue
            self._ridges[i] = ridges
            improved[i] = self._regress_again(i, stronger)
            names = ", ".join(str(name) for name in trained.grid.values[stronger])
            say(
                f"{names}: errors of these labels are large beside their spread; their weights "
                f"are pulled to 0 by up to {ridges.max():.0f} stars' worth"
            )
        return tuple(improved)

    def leave_out(self, folds: Sequence[np.ndarray]) -> list[Fit]:
        """Return the outputs once for each fold, regressed without its stars."""
        found = dict(self._regress_measured(folds))
        for i, informs in enumerate(self._data.informing):
            if not informs:
                found[i] = self._regress_folds(i, folds, self._ridges[i])
        by_output = [found[i] for i in range(len(self._outputs))]
        return [Fit(arrays) for arrays in zip(*by_output, strict=True)]

    def _accept(self, i: int, proposed: np.ndarray) -> np.ndarray:
        """Return the proposed ridges that do stars left out no harm, 1 for other labels."""
        output, n = self._outputs[i], self._data.n_stars
        fold = self._data.assign_folds(_FOLDS)
        folds = [np.flatnonzero(fold == k) for k in range(_FOLDS)]
        latents = self._infer_left_out(folds)
        values = np.asarray(output.values, float)[:n]
        weights = np.asarray(output.noise.weigh(np.asarray(output.ivar)), float)[:n]

        def find_residual(ridge: np.ndarray | float) -> np.ndarray:
            residual = np.zeros_like(values)
            for rows, part in zip(folds, self._regress_folds(i, folds, ridge), strict=True):
                residual[rows] = values[rows] - latents[rows] @ part.weights.T - part.offset
            return residual

        harmless = find_harmless(find_residual(RIDGE), find_residual(proposed), weights)
        return np.where(harmless, proposed, RIDGE)

    def _infer_left_out(self, folds: Sequence[np.ndarray]) -> np.ndarray:
        """Return the latents of each fold's stars by their spectra alone: (star, latent)."""
        measured = self._regress_measured(folds)
        latents = np.zeros((self._data.n_stars, self._outputs[0].weights.shape[1]))
        for k, rows in enumerate(folds):
            parts = []
            for i, output in enumerate(self._outputs):
                unknown = output._replace(ivar=np.zeros_like(output.ivar))
                parts.append(measured[i][k] if i in measured else unknown)
            latents[rows] = np.asarray(solve_latents(tuple(parts), 1.0).mean)[rows]
        return latents

    def _regress_measured(self, folds: Sequence[np.ndarray]) -> dict[int, list[Arrays]]:
        """Return spectra and bands without each fold, which takes long and is done once."""
        key = b"-".join(rows.tobytes() for rows in folds)
        if key not in self._tried:
            self._tried[key] = {
                i: self._regress_folds(i, folds, RIDGE)
                for i, informs in enumerate(self._data.informing)
                if informs
            }
        return self._tried[key]

    def _regress_folds(
        self, i: int, folds: Sequence[np.ndarray], ridge: np.ndarray | float
    ) -> list[Arrays]:
        output = self._outputs[i]
        zero = np.zeros_like(output.weights)
        return regress_folds(output, self._find_latents(), zero, folds, ridge=ridge)

    def _regress_again(self, i: int, stronger: np.ndarray) -> Arrays:
        """Return an output with new weights of some labels."""
        output = self._outputs[i]
        new = regress_weights(
            output,
            self._find_latents(),
            start=np.zeros_like(output.weights),
            stars=self._data.mark_stars(),
            ridge=self._ridges[i],
        )
        return output._replace(
            weights=np.where(stronger[:, None], new.weights, output.weights),
            offset=np.where(stronger, new.offset, output.offset),
        )
