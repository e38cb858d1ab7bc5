"""Curved maps under a mixture of Gaussians, by expectation-maximisation.

Outputs are W phi(z), phi with products of latents (`luxscale.model.features`), and a network beside
them if asked for (`luxscale.training.networks`). Spectra have correlated noise
(`luxscale.training.component_noise`), labels and bands that of their errors; or all but labels have
independent noise with a fitted scatter (`luxscale.training.pixels`).
In the first iterations z ~ N(0, I), with the latents brought to mean 0 and covariance 1 before each
M-step; in the later ones z ~ sum_k pi_k N(mu_k, S_k), fitted along (`luxscale.training.mixture`).

Labels and spectra of correlated noise have heavy tails, Student's t: each label, and the spectra of
each star, have weights that follow from what they were off after the last E-step.

- E-step: the maximum of each star's posterior by damped Gauss-Newton from where it was, C the
  inverse of the matrix there; under the mixture with the Gaussian that it is near the star.
- M-step: regression on E[f] with E[f f^T], f = (1, phi), both from N(z, C).

Steps down what inferred labels miss follow, if they serve stars left out
(`luxscale.training.refine`).
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from luxscale.errors import InputError
from luxscale.model.priors import MixturePrior
from luxscale.training import mixture
from luxscale.training import refine as refinement
from luxscale.training.curved_features import Learner, Products, pick_learner
from luxscale.training.curved_noise import NOISES
from luxscale.training.curved_state import Shape, State, Tables
from luxscale.training.curved_steps import expect, maximise, standardise, update_prior
from luxscale.training.data import Fit, Trained, TrainingData
from luxscale.training.initial import Start
from luxscale.training.reporting import Report

#: Iterations under one Gaussian.
_PLAIN = 6

#: Iteration from which stars that the model does not describe have less weight in the E-step.
_HEAVY_FROM = 3

#: Steps of the search in the first E-step, and in later ones.
_FIRST_STEPS, _STEPS = 14, 4

#: One star in so many is left out where refinement is tried.
_SHARE_LEFT_OUT = 5


def train_curved(
    data: TrainingData,
    latent_dim: int,
    *,
    iterations: int,
    noise: str,
    quadratic: int,
    cubic: int,
    network: int,
    components: int,
    gaussians: int,
    refine: int,
    report: Report,
    start: Start | None = None,
) -> Trained:
    """Fit curved maps, noise and prior.

    Parameters
    ----------
    data : TrainingData
    latent_dim, quadratic, cubic, components, gaussians : int
        See `Shape`.
    noise : str
        One of `NOISES`.
    network : int
        Its units.
    iterations : int
        The first 6 under one Gaussian.
    refine : int
        Steps of refinement on the labels; whether they are taken, labels of stars left out say.
    report : callable
        See `Report`.
    start : Start, optional
        What to go on from.

    Returns
    -------
    Trained
        The objective is the log-likelihood of the data at the latents found, per star.

    Raises
    ------
    InputError
        If there is nothing but labels, or refinement is asked for with independent noise.
    """
    shape = Shape(
        latent_dim=latent_dim,
        quadratic=min(quadratic, latent_dim),
        cubic=min(cubic, latent_dim),
        units=network,
        components=components,
        gaussians=gaussians,
    )
    learner = pick_learner(shape)
    _check(data, refine, noise)
    tables = NOISES[noise].load(data, shape)
    state = _resume(start, tables) if start else NOISES[noise].find_start(data, tables, shape)
    state = dataclasses.replace(state, is_labelled=data.is_labelled)
    first = start.number if start else 0
    last = first + iterations
    history = start.history if start else []
    training = _Training(data, tables, learner, NOISES[noise].forgetting)
    for number in range(first, last):
        state, objective = _iterate(state, tables, number, learner, shape)
        history.append(objective)
        so_far = functools.partial(training.make_trained, state, tuple(history))
        report(number, last, objective, so_far)
    state = maximise(state, tables)
    tried, steps = training.choose_steps(state, refine, report)
    refined = training.refine(state, np.arange(data.n_stars), steps, report)
    record = {} if steps == refine else {"refine": steps, "refine_tried": refine}
    trained = training.make_trained(refined, history)
    leave_out = functools.partial(training.leave_out, state, tried, steps, report)
    return trained._replace(leave_out=leave_out, settings=record)


class _Training(NamedTuple):
    """What parameters are learnt from, how features are, and iterations to forget stars in."""

    data: TrainingData
    tables: Tables
    learner: Learner
    forgetting: int

    def pick_learner(self, state: State) -> Learner:
        """Return how features are learnt now: a network joins when the prior becomes a mixture."""
        return self.learner if state.prior else Products()

    def make_trained(self, state: State, history: Sequence[float]) -> Trained:
        """Return what is trained with a state, but for its folds."""
        fit = self.describe(state)
        return Trained(
            fit.arrays, list(history), kinds=fit.kinds, prior=fit.prior, noises=fit.noises
        )

    def describe(self, state: State) -> Fit:
        """Return the parameters as those of pixels, bands and labels, in units of training."""
        arrays, noises = [], []
        for output, table, fitted in zip(self.data.outputs, self.tables, state.fitted, strict=True):
            weights, scatter, noise = table.describe(fitted)
            slopes, offset = weights[:, 1:], weights[:, 0]
            arrays.append(output.arrays._replace(weights=slopes, offset=offset, scatter=scatter))
            noises.append(noise)
        kinds = (self.pick_learner(state).finish(state),) * len(arrays)
        return Fit(tuple(arrays), state.prior, tuple(noises), kinds)

    def leave_out(
        self,
        state: State,
        tried: dict[bytes, State],
        steps: int,
        report: Report,
        folds: Sequence[np.ndarray],
    ) -> Iterator[Fit]:
        """Yield the parameters without the stars of each fold; see `choose_steps` for tried."""
        for fold in folds:
            others = np.setdiff1d(np.arange(self.data.n_stars), fold)
            part = tried.get(others.tobytes())
            if part is None:
                part = self.refine(self.refit(state, others), others, steps, report)
            yield self.describe(part)

    def refit(self, state: State, rows: np.ndarray) -> State:
        """Go on for a few iterations without the other stars, to forget what they taught."""
        learner = self.pick_learner(state)
        some = [table.take(rows) for table in self.tables]
        part = learner.forget(state.take(rows), some)
        for _ in range(max(learner.fold_iterations, self.forgetting)):
            part = learner.improve(part, some)
            part = maximise(update_prior(part), some)
            part, _ = expect(part, some, _STEPS, heavy=True)
        return maximise(update_prior(part), some)

    def refine(
        self,
        state: State,
        rows: np.ndarray,
        steps: int,
        report: Report,
        title: str = "refinement",
    ) -> State:
        """Refine the parameters on some of the stars, of which the state is: those with labels."""
        if not steps:
            return state

        known = state.labelled
        refined = refinement.refine(
            state.take(known),
            refinement.Sample.of(self.data, self.tables, rows[known]),
            steps=steps,
            tell=lambda number: report.tell(f"{title}, step {number} of {steps}"),
        )
        return dataclasses.replace(state, fitted=refined.fitted)

    def choose_steps(
        self, state: State, steps: int, report: Report
    ) -> tuple[dict[bytes, State], int]:
        """Return the steps of refinement if they serve a fifth of the stars, left out, else 0.

        These are forgotten first, as those of every fold are: what is left of them in the
        parameters would be lost in the steps, and speak against these. Returned first is what the
        other stars give, by their positions as bytes: where folds are as many, one of them.
        """
        if not steps:
            return {}, 0
        fold = self.data.assign_folds(_SHARE_LEFT_OUT)
        others = np.flatnonzero(fold != 0)
        rows = np.intersect1d(state.labelled, np.flatnonzero(fold == 0))
        left_out = refinement.Sample.of(self.data, self.tables, rows)
        tried = {}
        if left_out.find_told().any():
            part = self.refit(state, others)
            refined = self.refine(part, others, steps, report, title="trying refinement")
            if refinement.helps(left_out, state.take(rows), part.fitted, refined.fitted):
                return {others.tobytes(): refined}, steps
            tried = {others.tobytes(): part}
        report.say("labels of stars left out are no better for refinement: it is not taken")
        return tried, 0


def _check(data: TrainingData, refine: int, noise: str) -> None:
    """Refuse data without spectra, and refinement with noise that it does not know."""
    if not data.measured:
        raise InputError(
            "the curved method needs spectra or bands, and these outputs are labels alone; name "
            "others in outputs, or use method 'marginal'"
        )
    if refine and not NOISES[noise].can_refine:
        raise InputError(
            f"refine={refine} is for correlated noise, and this is {noise}; leave one of them out"
        )


def _iterate(
    state: State, tables: Tables, number: int, learner: Learner, shape: Shape
) -> tuple[State, float]:
    """Take an iteration; return the log-likelihood per star, too."""
    # a model that training goes on from may have its mixture after few iterations on other stars
    if state.prior is not None:
        state = learner.improve(state, tables)
    elif number < _PLAIN:
        state = standardise(state)
    else:
        rows = state.labelled
        prior = mixture.fit_mixture(state.z[rows], state.covariance[rows], shape.gaussians)
        state = learner.begin(dataclasses.replace(state, prior=prior))
    state = maximise(state, tables)
    steps = _STEPS if number else _FIRST_STEPS
    heavy = number >= _HEAVY_FROM or state.prior is not None
    state, objective = expect(state, tables, steps, heavy=heavy)
    return update_prior(state), objective


def _resume(start: Start, tables: Tables) -> State:
    """Return the latents under a model, and what follows from them."""
    z, covariance = start.find_latents()
    prior = start.model.prior
    state = State(
        features=start.model.outputs[0].map.features,
        z=z,
        covariance=covariance,
        robust_weights=(np.ones((len(z), 1)),) * len(tables),
        prior=prior if isinstance(prior, MixturePrior) else None,
    )
    return maximise(state, tables)
