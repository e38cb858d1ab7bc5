"""Expectation-maximisation over chunks: `luxscale.training.marginal`, from sums over regions."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from luxscale.chunked.folder import Folder, Found
from luxscale.chunked.labels import FarData
from luxscale.chunked.passes import (
    PRINCIPAL,
    Expect,
    Maximise,
    MaximiseOthers,
    SumFold,
    put_parameters,
    take_parameters,
)
from luxscale.chunked.scatter import FIRST, LATER, begin_fit, go_on
from luxscale.chunked.start import FindLatents, find_components
from luxscale.training.data import Arrays, Fit, Trained
from luxscale.training.gauge import turn_outputs
from luxscale.training.marginal import (
    RELAX,
    count_scatter_steps,
    describe,
    has_converged,
)
from luxscale.training.principal_start import begin_output, measure_label_scatter
from luxscale.training.regression import extrapolate_step, put_tile


@dataclasses.dataclass(frozen=True)
class Em:
    """Expectation-maximisation of one training.

    Parameters
    ----------
    folder : Folder
    data : FarData
    iterations : int
        At most this many.
    tolerance : float
        As of `luxscale.training.marginal.train_marginal`.
    """

    folder: Folder
    data: FarData
    iterations: int
    tolerance: float

    def train(self, report: Callable[[int, int, float], None]) -> Trained:
        """Return what training in memory does, with the weights that each fold leaves yet to find.

        Parameters
        ----------
        report : callable
            Told the iteration, the most there are, and the log evidence per star.
        """
        self._begin()
        least_gain = self.tolerance * self.data.values_per_star()
        history: list[float] = []
        done = 0
        while True:
            sums = self._sum_latents(done)
            if done:
                history.append(float(sums["objective"][0]) / self.data.n_stars)
                report(done - 1, self.iterations, history[-1])
            if done == self.iterations or has_converged(history, least_gain):
                break
            self._step(done, sums)
            done += 1

        def turn() -> Found:
            return put_parameters(self._turn(self._load(f"state-{done}"), sums))

        self.folder.take("trained", turn, drop=[f"iteration-{done}"])
        return describe(self._load("trained"), history)

    def leave_out(self, folds: int) -> list[Fit]:
        """Return the outputs once for each fold, regressed without its stars."""
        folder, plan = self.folder, self.folder.plan
        fold = self.data.assign_folds(folds)
        folder.take("folds", lambda: {"fold": fold})

        def find() -> Found:
            names = []
            for k in range(folds):
                names.append(f"fold-sum-{k}")
                self._sum_fold(k, names[-1], folds)
            stage = MaximiseOthers(plan=plan, name="fold-weights", sums=tuple(names))
            folder.run(stage, plan.tiles, "weights without each fold", "features")
            found: Found = {}
            for k in range(folds):
                outputs = self._gather_tiles(self._load("trained"), "fold-weights", k)
                found |= {f"{k}-{name}": a for name, a in put_parameters(outputs).items()}
            return found

        drop = ["fold-weights", *(f"fold-sum-{k}" for k in range(folds))]
        found = folder.take("left-out", find, drop=drop)
        fits = []
        for k in range(folds):
            of_fold = {
                n.removeprefix(f"{k}-"): a for n, a in found.items() if n.startswith(f"{k}-")
            }
            fits.append(Fit(take_parameters(self.data.arrays, of_fold)))
        return fits

    def _sum_fold(self, k: int, name: str, folds: int) -> None:
        """Take the sums over the stars of a fold, and keep them of each tile."""
        folder, plan = self.folder, self.folder.plan

        def find() -> Found:
            stage = Expect(
                plan=plan,
                name=f"fold-{k}",
                state="trained",
                latents="trained",
                statistics=True,
                fold=k,
            )
            folder.run(stage, plan.regions, f"fold {k + 1} of {folds}")
            total = SumFold(plan=plan, name=name, sums=stage.name)
            folder.run(total, plan.tiles, f"fold {k + 1} of {folds}, sums", "features")
            return {}

        folder.take(f"fold-{k}", find, drop=[f"fold-{k}"])

    def _load(self, step: str) -> tuple[Arrays, ...]:
        """Return the outputs with the parameters that a step found."""
        return take_parameters(self.data.arrays, self.folder.take(step, dict))

    def _begin(self) -> None:
        """Find the parameters before the first iteration."""
        folder, plan = self.folder, self.folder.plan
        find_components(folder)

        def find_start() -> Found:
            folder.run(FindLatents(plan=plan), plan.regions, "start, latents")
            z = folder.collect("principal-latents", "z")
            scatters = measure_label_scatter(self.data, z)
            begun = []
            for arrays, scatter in zip(self.data.arrays, scatters, strict=True):
                begun.append(begin_output(arrays, scatter, plan.latent_dim))
            return put_parameters(begun)

        folder.take("start", find_start, drop=["principal-latents"])

        def regress() -> Found:
            stage = Expect(
                plan=plan, name="start/sums", state="start", latents=PRINCIPAL, statistics=True
            )
            folder.run(stage, plan.regions, "start, weights")
            return put_parameters(self._maximise(self._load("start"), "start"))

        folder.take("state-0", regress, drop=["start"])

    def _sum_latents(self, done: int) -> Found:
        """Return sums over the latents at the parameters after so many iterations.

        The same pass takes the sums that the next iteration needs, as far as it can.
        """
        goes_on = done < self.iterations
        fits = goes_on and count_scatter_steps(done) > 0
        stage = self._expect(
            done,
            "latents" if fits or not goes_on else "sums",
            window=_choose_window(done) if fits else None,
            statistics=goes_on and not fits,
        )

        def find() -> Found:
            self._run(stage, done, "latents")
            return self._sum_gauge(stage)

        return self.folder.take(f"iteration-{done}-latents", find)

    def _expect(self, done: int, name: str, state: str = "", **options: Any) -> Expect:
        """Return a pass at the latents after so many iterations."""
        return Expect(
            plan=self.folder.plan,
            name=f"iteration-{done}/{name}",
            state=state or f"state-{done}",
            latents=f"state-{done}" if done else PRINCIPAL,
            **options,
        )

    def _run(self, stage: Expect, done: int, what: str) -> None:
        title = f"iteration {done + 1} of at most {self.iterations}, {what}"
        self.folder.run(stage, self.folder.plan.regions, title)

    def _sum_gauge(self, stage: Expect) -> Found:
        """Return the sums of a pass that set the gauge, and of the objective."""
        names = ["mean", "square", "objective"]
        names += [f"weight-{i}" for i, informs in enumerate(self.folder.plan.informing) if informs]
        return {name: self.folder.sum(stage.name, name) for name in names}

    def _step(self, done: int, sums: Found) -> None:
        """Find the parameters of the next iteration."""

        def find() -> Found:
            old = self._load(f"state-{done}")
            of_gauge = sums
            if count_scatter_steps(done):
                name = f"iteration-{done}-scatter"
                self.folder.take(name, lambda: put_parameters(self._fit_scatter(done, old)))
                stage = self._expect(done, "sums", name, statistics=True)
                self._run(stage, done, "weights")
                old, of_gauge = self._load(name), self._sum_gauge(stage)
            new = self._maximise(old, f"iteration-{done}")
            if done:
                pairs = zip(old, new, strict=True)
                new = tuple(extrapolate_step(*pair, RELAX) for pair in pairs)
            return put_parameters(self._turn(new, of_gauge))

        self.folder.take(f"state-{done + 1}", find, drop=[f"iteration-{done}"])

    def _fit_scatter(self, done: int, outputs: tuple[Arrays, ...]) -> tuple[Arrays, ...]:
        """Return outputs with the scatter of the next iteration."""
        window = _choose_window(done)
        fits = {
            i: begin_fit(outputs[i].scatter, count_scatter_steps(done))
            for i, informs in enumerate(self.folder.plan.informing)
            if informs
        }
        stage = self._expect(done, "latents")  # which took the first sums
        number = 1
        while True:
            for i, fit in fits.items():
                fits[i] = go_on(fit, window, self.folder.sum(stage.name, f"slopes-{i}"))
            if all(fit.is_done for fit in fits.values()):
                return _put_scatter(outputs, fits)
            # of features whose scatter has left the window: once more, about where it is
            now = put_parameters(_put_scatter(outputs, fits))
            state = f"iteration-{done}-scatter-{number}"
            self.folder.take(state, functools.partial(dict, now))
            stage = self._expect(done, f"scatter-{number}", state, window=window)
            self._run(stage, done, f"scatter, pass {number + 1}")
            number += 1

    def _maximise(self, outputs: tuple[Arrays, ...], stages: str) -> tuple[Arrays, ...]:
        """Return outputs with the weights and offsets that sums over all stars make most likely."""
        plan = self.folder.plan
        stage = Maximise(plan=plan, name=f"{stages}/weights", sums=f"{stages}/sums")
        self.folder.run(stage, plan.tiles, "solving for weights", "features")
        return self._gather_tiles(outputs, stage.name)

    def _gather_tiles(
        self, outputs: Sequence[Arrays], stage: str, fold: int | None = None
    ) -> tuple[Arrays, ...]:
        """Return outputs with what a stage found of their tiles."""
        folder, plan = self.folder, self.folder.plan
        made = [
            o._replace(
                weights=np.zeros((d, plan.latent_dim), np.float32), offset=np.zeros(d, np.float32)
            )
            for o, d in zip(outputs, plan.sizes, strict=True)
        ]
        for tile in plan.tiles:
            for name in ("weights", "offset"):
                part = folder.load(stage, tile.index, name)
                whole = getattr(made[tile.output], name)
                put_tile(whole, tile.start, part if fold is None else part[fold])
        return tuple(made)

    def _turn(self, outputs: tuple[Arrays, ...], sums: Found) -> tuple[Arrays, ...]:
        """Return outputs in the canonical gauge of latents of which these are the sums."""
        n = self.data.n_stars
        mean = sums["mean"] / n
        covariance = sums["square"] / n - np.outer(mean, mean)
        weights: list[np.ndarray | None] = []
        for i, informs in enumerate(self.folder.plan.informing):
            weights.append(sums[f"weight-{i}"] / n if informs else None)
        turned, _ = turn_outputs(outputs, mean, covariance, weights)
        return turned


def _choose_window(done: int) -> Any:
    return LATER if done else FIRST


def _put_scatter(outputs: tuple[Arrays, ...], fits: dict[int, Any]) -> tuple[Arrays, ...]:
    made = list(outputs)
    for i, fit in fits.items():
        made[i] = outputs[i]._replace(scatter=np.sqrt(fit.s2).astype(np.float32))
    return tuple(made)
