"""Further members of an ensemble: models of other recipes, on the same stars.

For stars that were not among those, two models differ by half of the errors that they have, and
their mean misses by less than either. The more they differ in kind, the more it gains: a cubic
model beside a quadratic one is worth what two more quadratic ones are, of fewer and more latents.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from luxscale.training.data import Fit, Trained, TrainingData
from luxscale.training.initial import Start
from luxscale.training.methods import complete_settings, pick_method
from luxscale.training.recipes import Recipe
from luxscale.training.reporting import Report


def train_others(
    recipes: Sequence[Recipe],
    data: TrainingData,
    report: Report,
    start: Start | None,
    asked: Mapping[str, Any],
) -> list[Trained]:
    """Train the further members of an ensemble.

    Parameters
    ----------
    recipes : sequence of Recipe
        Of each.
    data : TrainingData
    report : Report
        Of the whole training.
    start : Start, optional
        What the first member went on from; others do if its model has them, and begin if not.
    asked : mapping
        Settings that were asked for where training goes on.
    """
    found = []
    for number, recipe in enumerate(recipes):
        told = MemberReport(report, f"member {number + 2} of {len(recipes) + 1}")
        known = start.of_member(number) if start else None
        chosen = recipe.settings if known is None else _go_on(recipe, asked)
        settings = complete_settings(recipe.method, chosen)
        fit = pick_method(recipe.method).fit
        found.append(fit(data, recipe.latent_dim, told, settings, known))
    return found


def _go_on(recipe: Recipe, asked: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a member that goes on: its sizes, and what is asked of its method."""
    known = pick_method(recipe.method).settings
    sizes = {name: value for name, value in recipe.settings.items() if known[name].kept}
    return sizes | {n: v for n, v in asked.items() if n in known and not known[n].kept}


def join_members(first: Trained, others: Sequence[Trained]) -> Trained:
    """Return the first member with the others, as one training."""
    if not others:
        return first

    def leave_out(folds: Sequence[np.ndarray]) -> Iterator[Fit]:
        members = [member.leave_out(folds) for member in (first, *others)]
        for fit, *rest in zip(*members, strict=True):
            yield fit._replace(others=tuple(rest))

    return first._replace(others=tuple(others), leave_out=leave_out)


class MemberReport:
    """What a further member says of how far it has come, as part of the whole training.

    Parameters
    ----------
    report : Report
        Of the whole.
    name : str
        Of the member.
    """

    def __init__(self, report: Report, name: str) -> None:
        self._report = report
        self._name = name

    def __call__(
        self, iteration: int, most: int, objective: float, take: Callable[[], Trained]
    ) -> None:
        """Say that an iteration has ended."""
        self.tell(f"iteration {iteration + 1} of {most}")

    def tell(self, text: str) -> None:
        """Say how far work has come that is no iteration."""
        self._report.tell(f"{self._name}: {text}")

    def say(self, text: str) -> None:
        """Say what was decided, in a line that stays."""
        self._report.say(f"{self._name}: {text}")
