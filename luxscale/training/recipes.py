"""Recipes of training, and the choice between them by stars left out.

A recipe is a method with its sizes. Those with enough training stars are trained on most of
the stars and asked for the labels of the others; what they cost there decides.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from luxscale.errors import InputError
from luxscale.training.methods import LATENT_DIM

if TYPE_CHECKING:
    import numpy as np
    import xarray as xr

#: Names of the recipes, the simplest first.
NAMES = ("linear", "curved", "cubic", "network", "mixed")

#: How recipes take the noise of pixels.
INDEPENDENT, CORRELATED = "independent", "correlated"

#: Most stars that a comparison trains on, and that it leaves out.
_MOST_TRAINED, _MOST_LEFT_OUT = 5000, 1500

#: One star in so many is left out.
_SHARE = 5

#: Fewest stars for each latent of the mixed recipe.
_STARS_PER_LATENT = 7

#: Stars for each term of a curved map, for each Gaussian of the prior, and for each component.
_STARS_PER_TERM, _STARS_PER_GAUSSIAN, _STARS_PER_COMPONENT = 15, 60, 5

#: Most latents, components and Gaussians, and latents that have products of three.
_LATENTS, _COMPONENTS, _GAUSSIANS, _CUBIC = 12, 80, 80, 5

#: Stars from which curved maps are refined, and steps for each thousand, the batch of a step.
_REFINED_FROM, _STEPS_PER_1000 = 2500, 12

#: Units of each layer of a network.
_UNITS = 32

#: Latents of the mixed recipe, those of them that have products of two, and the Gaussians of its
#: prior, with stars for each. With 46 latents, fewer than the linear recipe has, labels that curve
#: little are worse than there: [Ni/M] of simulated giants by 6%, with 54 by 2%.
_MIXED_LATENTS, _MIXED_CURVED, _WIDE_GAUSSIANS, _STARS_PER_WIDE_GAUSSIAN = 54, 4, 20, 200

#: Iterations of the mixed recipe: twice as many take twice as long, and labels of other simulated
#: giants (4,000 to train on, twelve labels) have an RMSE larger by 0.2%.
_MIXED_ITERATIONS = 12

#: Stars from which products of three are tried.
_CUBIC_FROM = 8000

#: Pixels beyond which noise is taken as independent: it is where few numbers make many pixels that
#: it is not. Recipes are compared on no more, so that this takes no longer than the training.
_MOST_PIXELS = 2000


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe:
    """A method of training with its sizes.

    Parameters
    ----------
    name : str
    method : str
    latent_dim : int
    settings : mapping
        Of the method.
    """

    name: str
    method: str
    latent_dim: int
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def unrefined(self) -> Recipe:
        """The same without refinement, which recipes are compared without."""
        return self if "refine" not in self.settings else self._replace_settings(refine=0)

    def _replace_settings(self, **changes: Any) -> Recipe:
        return dataclasses.replace(self, settings={**self.settings, **changes})

    @property
    def noise(self) -> str:
        """How it takes the noise of pixels."""
        return str(self.settings.get("noise", INDEPENDENT))

    @property
    def description(self) -> str:
        """What it is, in a few words."""
        if self.method == "marginal":
            return f"linear, {self.latent_dim} latents, independent noise"
        products = "products of two"
        if self.settings["quadratic"] < self.latent_dim:
            products += f" of the first {self.settings['quadratic']}"
        if self.settings["cubic"]:
            products += f", of three of the first {self.settings['cubic']}"
        if self.settings["network"]:
            products += f", a network of {self.settings['network']} units a layer"
        return (
            f"{self.latent_dim} latents, {products}, {self.settings['noise']} noise, "
            f"{self.settings['gaussians']} Gaussians"
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Trial:
    """How a recipe did on stars left out.

    Parameters
    ----------
    recipe : Recipe
    loss : array, (star,)
        Mean over the labels of ln(1 + d^2), d the error of a label in units of the robust scatter
        of the simplest recipe.
    scatter : mapping of str to float
        Robust scatter of each label.
    misfit : float
        Median over stars of the mean squared residual of a pixel, in units of its error.
    seconds : float
        Of training.
    """

    recipe: Recipe
    loss: np.ndarray
    scatter: Mapping[str, float]
    misfit: float
    seconds: float


def list_recipes(n_stars: int, n_labels: int, n_pixels: int) -> tuple[list[Recipe], str]:
    """Return the recipes with enough training stars, and why others are not among them.

    Parameters
    ----------
    n_stars, n_labels, n_pixels : int

    Returns
    -------
    recipes : list of Recipe
        The simplest first.
    reason : str
        Empty if all are there.
    """
    fewest = min(n_stars - -(-n_stars // _SHARE), n_labels + n_pixels)
    linear = Recipe(
        name="linear", method="marginal", latent_dim=max(min(LATENT_DIM, fewest - 1), 1)
    )
    if not n_pixels or not n_labels:
        return [linear], "curved recipes need labels and spectra"
    mixed = _make_mixed(n_stars, n_labels + n_pixels)
    independent = [linear]
    if mixed.latent_dim * _STARS_PER_LATENT <= n_stars:
        independent.append(mixed)
    if n_pixels > _MOST_PIXELS:
        return independent, f"{n_pixels:,} pixels: their noise is taken as independent"
    latents = _count_latents(n_stars)
    if latents < max(3, min(n_labels, 6)):
        return independent, f"{n_stars:,} stars are too few for products of {n_labels} labels"
    curved = _make_curved("curved", latents, 0, n_stars)
    if n_stars < _CUBIC_FROM:
        return [*independent, curved], f"products of three need {_CUBIC_FROM:,} stars"
    return [*independent, curved, _make_curved("cubic", latents, _CUBIC, n_stars)], ""


def find_recipe(
    name: str, n_stars: int, n_labels: int, n_pixels: int, unlabelled: int = 0
) -> Recipe:
    """Return the recipe of a name, sized for so many stars.

    There are those of `list_recipes`, and one that is not compared: the network, which takes longer
    than products of three (on 8,000 Gaia XP giants 162 s to 64 s of one core, and labels of others
    were no better).

    With so many stars ``unlabelled`` beside, it is sized for all, but for its refinement, which is
    on labels.

    Raises
    ------
    InputError
        If there is none, or the data cannot carry it.
    """
    if name not in NAMES:
        raise InputError(f"recipe {name!r} is unknown; choose one of {', '.join(NAMES)}")
    if unlabelled:
        found = find_recipe(name, n_stars + unlabelled, n_labels, n_pixels)
        if "refine" in found.settings:
            found = found._replace_settings(refine=_count_steps(n_stars))
        return found
    recipes, reason = list_recipes(n_stars, n_labels, n_pixels)
    recipes += [_add_network(recipe) for recipe in recipes if recipe.name == "curved"]
    if name == "mixed" and n_labels and n_pixels:
        mixed = _make_mixed(n_stars, n_labels + n_pixels)
        reason = f"{n_stars:,} stars are too few for {mixed.latent_dim} latents"
    for recipe in recipes:
        if recipe.name == name:
            return recipe
    raise InputError(
        f"recipe {name!r} does not fit these data: {reason}; choose "
        f"{' or '.join(r.name for r in recipes)}, or give method and sizes yourself"
    )


def find_pixel_step(n_pixels: int) -> int:
    """Return one in how many pixels recipes are compared on; 1 for all of them."""
    return max(-(-n_pixels // _MOST_PIXELS), 1)


def choose(trials: Sequence[Trial]) -> Trial:
    """Return the simplest trial whose loss is within one standard error of the least.

    Parameters
    ----------
    trials : sequence of Trial
        The simplest first, on the same stars.
    """
    best = min(trials, key=lambda trial: float(trial.loss.mean()))
    for trial in trials:
        excess = trial.loss - best.loss
        if excess.mean() <= excess.std() / math.sqrt(excess.size):
            return trial
    return best


def format_trials(trials: Sequence[Trial], chosen: Trial, step: int = 1) -> str:
    """Return a table of what was compared, on one pixel in ``step``, and what was chosen."""
    # here, because the command line asks for the names of recipes before anything else is loaded
    from luxscale.analysis.tables import fold_rows

    names = list(trials[0].scatter)
    head = ["recipe", "loss", *names, "spectra", "seconds", ""]
    rows = [head]
    for trial in trials:
        mark = "chosen" if trial is chosen else ""
        rows.append(
            [
                trial.recipe.name,
                f"{trial.loss.mean():.3f}",
                *(f"{trial.scatter[name]:.3g}" for name in names),
                f"{trial.misfit:.3g}",
                f"{trial.seconds:.0f}",
                mark,
            ]
        )
    notes = [
        "labels: robust scatter, in their units; spectra: chi2 per pixel, were pixels independent",
        "loss, which decides: mean of ln(1 + (difference / scatter by "
        f"{trials[0].recipe.name})^2) of the labels",
    ]
    notes += [f"{t.recipe.name}: {t.recipe.description}" for t in trials]
    if step > 1:
        notes.append(f"compared on one pixel in {step}; the one chosen is trained on all")
    groups = [1] * (len(head) - 3)
    return "\n".join([fold_rows(rows, [*groups, 2]), *notes])


def split_stars(stars: xr.DataArray) -> tuple[np.ndarray, np.ndarray]:
    """Return positions of the stars to train on and to leave out, chosen by their names."""
    import numpy as np

    from luxscale.training.folds import assign_folds

    fold = assign_folds(stars.values, _SHARE)
    left_out, others = np.flatnonzero(fold == 0), np.flatnonzero(fold != 0)
    return _thin(others, _MOST_TRAINED), _thin(left_out, _MOST_LEFT_OUT)


def _thin(rows: np.ndarray, most: int) -> np.ndarray:
    """Return at most so many rows, evenly spaced."""
    import numpy as np

    if rows.size <= most:
        return rows
    return rows[np.linspace(0, rows.size - 1, most).astype(int)]


def _count_latents(n_stars: int) -> int:
    """Return how many latents may have all products of two."""
    latents = 0
    while latents < _LATENTS:
        more = latents + 1
        terms = 1 + more + more * (more + 1) // 2
        if terms * _STARS_PER_TERM > n_stars:
            break
        latents = more
    return latents


def _make_mixed(n_stars: int, n_features: int) -> Recipe:
    fewest = min(n_stars - -(-n_stars // _SHARE), n_features)
    latents = max(min(_MIXED_LATENTS, fewest - 1), 1)
    settings = {
        "iterations": _MIXED_ITERATIONS,
        "noise": INDEPENDENT,
        "quadratic": min(_MIXED_CURVED, latents),
        "cubic": 0,
        "network": 0,
        "gaussians": min(max(n_stars // _STARS_PER_WIDE_GAUSSIAN, 1), _WIDE_GAUSSIANS),
    }
    return Recipe(name="mixed", method="curved", latent_dim=latents, settings=settings)


def _make_curved(name: str, latents: int, cubic: int, n_stars: int) -> Recipe:
    settings = {
        "noise": CORRELATED,
        "quadratic": latents,
        "cubic": min(cubic, latents),
        "network": 0,
        "components": min(_COMPONENTS, max(n_stars // _STARS_PER_COMPONENT, latents)),
        "gaussians": min(_GAUSSIANS, max(n_stars // _STARS_PER_GAUSSIAN, 1)),
        "refine": _count_steps(n_stars),
    }
    return Recipe(name=name, method="curved", latent_dim=latents, settings=settings)


def _count_steps(n_stars: int) -> int:
    """Return how many steps of refinement so many labelled stars have."""
    return _STEPS_PER_1000 * round(n_stars / 1000) if n_stars >= _REFINED_FROM else 0


def _add_network(curved: Recipe) -> Recipe:
    changed = curved.unrefined._replace_settings(network=_UNITS)
    return dataclasses.replace(changed, name="network")
