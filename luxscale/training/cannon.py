"""The Cannon (Ness et al. 2015), the baseline of the field: flux is quadratic in the labels.

It is the special case of Lux whose latents are the scaled labels themselves, taken as exact: the
map of the labels is linear and given, that of each spectrum quadratic, and training is one weighted
regression per pixel with its scatter. At the test step the labels that fit a spectrum best are
searched for; no prior holds them but one ten times wider than the training labels, without which a
star with fewer good pixels than labels has no solution.

A star that lacks a label cannot be used, nor can errors of labels: that is what Lux adds.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from luxscale.errors import InputError
from luxscale.model.decoders import LinearMap, PolynomialMap
from luxscale.model.features import quadratic_features
from luxscale.training.data import Arrays, Fit, Trained, TrainingData
from luxscale.training.latents import Latents, log_likelihood
from luxscale.training.regression import regress_weights
from luxscale.training.reporting import Report

#: Rounds of scatter and weights: each pixel's scatter changes the weights of its stars little.
_ROUNDS, _STEPS = 4, 8

#: Pull of the coefficients to 0, in stars: none but what a pixel that no star has needs.
_RIDGE = 1e-4

_Outputs = tuple[Arrays, ...]


def train_cannon(
    data: TrainingData, latent_dim: int, *, report: Report, start: None = None
) -> Trained:
    """Fit The Cannon.

    Parameters
    ----------
    data : TrainingData
    latent_dim : int
        The number of labels.
    report : callable
        See `Report`.
    start : None
        It has nothing to go on from.

    Returns
    -------
    Trained
        The objective is the log-likelihood of the spectra per star after each round.
    """
    labels = np.concatenate([np.asarray(o.arrays.values) for o in data.labels], 1)
    terms = quadratic_features(labels)
    latents = Latents.certain(terms)
    complete = find_complete_stars(data)
    outputs = tuple(_start(o, terms.shape[1]) for o in data.arrays)
    history: list[float] = []
    maps = _make_label_maps(data, latent_dim)
    kinds = tuple(LinearMap if o.is_label else PolynomialMap.quadratic for o in data.outputs)

    def put_label_maps(regressed: _Outputs) -> _Outputs:
        names = [o.spec.name for o in data.outputs]
        return tuple(maps.get(name, o) for name, o in zip(names, regressed, strict=True))

    def describe(regressed: _Outputs, objectives: Sequence[float]) -> Trained:
        return Trained(put_label_maps(regressed), list(objectives), kinds)

    outputs = _regress(outputs, latents, complete, data, 0)
    for number in range(_ROUNDS):
        outputs = _regress(outputs, latents, complete, data, _STEPS)
        history.append(_compute_objective(outputs, terms, complete, data))
        take = functools.partial(describe, outputs, tuple(history))
        report(number, _ROUNDS, history[-1], take)

    def leave_out(folds: Sequence[np.ndarray]) -> Iterator[Fit]:
        for fold in folds:
            others = complete.copy()
            others[fold] = 0
            # scatter too: with many coefficients that of stars that were fitted is too small
            yield Fit(put_label_maps(_regress(outputs, latents, others, data, _STEPS)))

    return describe(outputs, history)._replace(leave_out=leave_out)


def select_complete_stars(
    data: TrainingData, latent_dim: int, folds: int, where: str, say: Callable[[str], None]
) -> TrainingData:
    """Count the stars that The Cannon cannot use, and refuse what leaves too few.

    Parameters
    ----------
    data : TrainingData
    latent_dim, folds : int
    where : str
        Name of the survey in messages.
    say : callable
        Called with what the user should know.

    Raises
    ------
    InputError
        If there are not more stars that have every label than coefficients per pixel.
    """
    complete = int(find_complete_stars(data).sum())
    incomplete = data.n_stars - complete
    terms = quadratic_features(np.zeros(latent_dim)).size + 1
    fitted, in_folds = complete, ""
    if folds > 1:
        fitted = complete * (folds - 1) // folds
        in_folds = f" (folds={folds} leave {fitted})"
    if fitted <= terms:
        raise InputError(
            f"{where}: The Cannon needs stars that have every label: {complete} of {data.n_stars} "
            f"do{in_folds}, for {terms} coefficients per pixel; select fewer labels, e.g. "
            "survey.sel(label=[...]), add stars, or use method 'marginal', which bears missing "
            "labels"
        )
    if fitted < 2 * terms:
        say(
            f"{fitted:,} stars fit {terms} coefficients per pixel: expect poor labels, and limits "
            "that flag little"
        )
    if incomplete:
        say(
            f"{incomplete:,} of {data.n_stars:,} stars lack a label and are of no use to The Cannon"
        )
    left_out = (*data.left_out, ("stars_without_every_label", incomplete))
    return dataclasses.replace(data, left_out=left_out)


def find_complete_stars(data: TrainingData) -> np.ndarray:
    """Return 1 for stars that have every label, 0 for others and for padding: (star,), float32."""
    complete = data.mark_stars()
    for output in data.labels:
        _, ivar = output.read_table()
        complete[: data.n_stars] *= (ivar > 0).all(1)
    return complete


def _start(output: Arrays, terms: int) -> Arrays:
    d = output.values.shape[1]
    return output._replace(
        weights=np.zeros((d, terms), np.float32),
        offset=np.zeros(d, np.float32),
    )


def _regress(
    outputs: _Outputs, latents: Latents, stars: np.ndarray, data: TrainingData, steps: int
) -> _Outputs:
    """Fit the scatter (unless ``steps`` is 0), then the coefficients, of all but the labels."""
    fitted = []
    for arrays, output in zip(outputs, data.outputs, strict=True):
        if not output.is_label:
            zero = 0 * arrays.weights
            arrays = regress_weights(
                arrays, latents, zero, stars, scatter_steps=steps, ridge=_RIDGE
            )
        fitted.append(arrays)
    return tuple(fitted)


def _compute_objective(
    outputs: _Outputs, terms: np.ndarray, stars: np.ndarray, data: TrainingData
) -> float:
    """Return the log-likelihood of the spectra per star that took part."""
    total = 0.0
    for arrays, output in zip(outputs, data.outputs, strict=True):
        if not output.is_label:
            total += float(np.asarray(log_likelihood(arrays, terms)) @ stars)
    return total / float(stars.sum())


def _make_label_maps(data: TrainingData, latent_dim: int) -> dict[str, Arrays]:
    """Return the labels' own outputs, whose map gives the latents as they are, by name."""
    maps = {}
    first = 0
    for output in data.labels:
        m, d = output.size, output.arrays.values.shape[1]
        weights = np.zeros((d, latent_dim), np.float32)
        weights[np.arange(m), first + np.arange(m)] = 1
        maps[output.spec.name] = output.arrays._replace(weights=weights)
        first += m
    return maps
