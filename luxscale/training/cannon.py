"""The Cannon (Ness et al. 2015), the baseline that every user compares with: flux is quadratic in the labels.

It is the special case of Lux whose latents are the scaled labels themselves, taken as exact: the
map of the labels is linear and given, that of each spectrum quadratic, and training is one weighted
regression per pixel with its scatter. At the test step the labels that fit a spectrum best are
searched for; no prior holds them but one ten times wider than the training labels, without which a
star with fewer good pixels than labels has no solution.

A star that lacks a label cannot be used, nor can errors of labels: that is what Lux adds.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from luxscale.model.decoders import LinearMap, QuadraticMap, quadratic_features
from luxscale.training.data import Report, Trained, TrainingData
from luxscale.training.steps import Arrays, Latents, log_likelihood, weight_step

#: Rounds of scatter and weights: each pixel's scatter changes the weights of its stars little.
_ROUNDS, _STEPS = 4, 8

#: Pull of the coefficients to 0, in stars: none but what a pixel that no star has needs.
_RIDGE = 1e-4

#: Precision of the prior at the test step, in units of the spread of the training labels.
_PRIOR = 1e-2


def train_cannon(data: TrainingData, latent_dim: int, *, report: Report) -> Trained:
    """Fit The Cannon.

    Parameters
    ----------
    data : TrainingData
    latent_dim : int
        The number of labels.
    report : callable
        Called with (method, round, objective per star).

    Returns
    -------
    Trained
        The objective is the log-likelihood of the spectra per star after each round.
    """
    labels = [i for i, spectral in enumerate(data.spectral) if not spectral]
    z = np.concatenate([np.asarray(data.arrays[i].values) for i in labels], 1)
    complete = complete_stars(data)
    terms = quadratic_features(z)
    latents = Latents.certain(terms)
    outputs = tuple(_start(o, terms.shape[1]) for o in data.arrays)
    history: list[float] = []
    outputs = _regress(outputs, latents, complete, data.spectral, 0)
    for number in range(_ROUNDS):
        outputs = _regress(outputs, latents, complete, data.spectral, _STEPS)
        history.append(_objective(outputs, terms, complete, data.spectral))
        report("cannon", number, history[-1])
    given = _label_maps(outputs, data, labels, latent_dim)

    def with_labels(regressed: tuple[Arrays, ...]) -> tuple[Arrays, ...]:
        return tuple(g if g is not None else o for g, o in zip(given, regressed, strict=True))

    def leave_out(folds: Sequence[np.ndarray]) -> Iterator[tuple[Arrays, ...]]:
        for fold in (
            folds
        ):  # scatter too: with many coefficients that of stars that were fitted is too small
            others = complete.copy()
            others[fold] = 0
            yield with_labels(_regress(outputs, latents, others, data.spectral, _STEPS))

    kinds = tuple(QuadraticMap if s else LinearMap for s in data.spectral)
    return Trained(with_labels(outputs), history, leave_out, kinds, _PRIOR, True)


def complete_stars(data: TrainingData) -> np.ndarray:
    """Return 1 for stars that have every label, 0 for others and for padding: (star,), float32."""
    have = data.present()
    for i, spectral in enumerate(data.spectral):
        if not spectral:
            have[: data.n_stars] *= (data.table(i)[1] > 0).all(1)
    return have


def _start(output: Arrays, terms: int) -> Arrays:
    d = output.values.shape[1]
    return output._replace(weights=np.zeros((d, terms), np.float32), offset=np.zeros(d, np.float32))


def _regress(
    outputs: tuple[Arrays, ...],
    latents: Latents,
    stars: np.ndarray,
    spectral: tuple[bool, ...],
    steps: int,
) -> tuple[Arrays, ...]:
    """Fit the scatter (unless ``steps`` is 0), then the coefficients, of every spectrum."""

    def fit(o: Arrays) -> Arrays:
        return weight_step(o, latents, 0 * o.weights, stars, scatter_steps=steps, ridge=_RIDGE)

    return tuple(fit(o) if s else o for o, s in zip(outputs, spectral, strict=True))


def _objective(
    outputs: tuple[Arrays, ...], terms: np.ndarray, stars: np.ndarray, spectral: tuple[bool, ...]
) -> float:
    """Return the log-likelihood of the spectra per star that took part."""
    total = 0.0
    for o, is_spectrum in zip(outputs, spectral, strict=True):
        if is_spectrum:
            total += float(np.asarray(log_likelihood(o, terms)) @ stars)
    return total / float(stars.sum())


def _label_maps(
    outputs: tuple[Arrays, ...], data: TrainingData, labels: list[int], latent_dim: int
) -> list[Arrays | None]:
    """Return the labels' own outputs, latents as they are; None for spectra."""
    given: list[Arrays | None] = [None] * len(outputs)
    first = 0
    for i in labels:
        m, d = data.grids[i].size, outputs[i].values.shape[1]
        weights = np.zeros((d, latent_dim), np.float32)
        weights[np.arange(m), first + np.arange(m)] = 1
        given[i] = outputs[i]._replace(weights=weights)
        first += m
    return given
