"""Recipes of training: a method with its sizes, for so many stars.

Which are tried on how many stars is here, and what comes of it in `luxscale.training.trials`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from luxscale.errors import InputError
from luxscale.training.methods import LATENT_DIM, complete_settings, pick_method
from luxscale.training.settings import check_whole

#: Names of the recipes, the simplest first.
NAMES = ("linear", "curved", "cubic", "network", "mixed", "curved-linear", "curved-cubic")

#: How recipes take the noise of pixels.
INDEPENDENT, CORRELATED = "independent", "correlated"

#: One star in so many is left out where recipes are compared.
SHARE = 5

#: Fewest stars for each latent of the mixed recipe.
_STARS_PER_LATENT = 7

#: Stars for each term of a curved map, for each Gaussian of the prior, and for each component.
_STARS_PER_TERM, _STARS_PER_GAUSSIAN, _STARS_PER_COMPONENT = 15, 60, 5

#: Most latents, components and Gaussians, and latents that have products of three.
_LATENTS, _COMPONENTS, _GAUSSIANS, _CUBIC = 12, 80, 80, 5

#: Stars from which curved maps are refined, and steps for each thousand, the batch of a step.
_REFINED_FROM, _STEPS_PER_1000 = 2500, 12

#: How many latents fewer the cubic member of an ensemble has, and its fewest. With as many as the
#: other it takes longer, and labels of other XP giants are the same to 1%.
_FEWER, _LEAST_CUBIC = 2, 3

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
    others : tuple of Recipe
        Those of further members of an ensemble, whose labels are averaged.
    """

    name: str
    method: str
    latent_dim: int
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    others: tuple[Recipe, ...] = ()

    @property
    def members(self) -> tuple[Recipe, ...]:
        """The recipes of all members, its own first."""
        return (dataclasses.replace(self, others=()), *self.others)

    @property
    def plain(self) -> Recipe:
        """The same without refinement, which recipes are compared without."""
        others = tuple(other.plain for other in self.others)
        settings = dict(self.settings)
        if "refine" in settings:
            settings["refine"] = 0
        return dataclasses.replace(self, settings=settings, others=others)

    def trains_as(self, other: Recipe) -> bool:
        """Whether another recipe of one member makes the same model, whatever its name."""
        return self.describe() | {"name": other.name} == other.describe()

    def describe(self) -> dict[str, Any]:
        """Return it as JSON can hold it, with keywords that make the same again."""
        others = [other.describe() for other in self.others]
        return {
            "name": self.name,
            "method": self.method,
            "latent_dim": self.latent_dim,
            "settings": dict(self.settings),
            **({"others": others} if others else {}),
        }

    def _replace_settings(self, **changes: Any) -> Recipe:
        return dataclasses.replace(self, settings={**self.settings, **changes})

    @property
    def noise(self) -> str:
        """How it takes the noise of pixels."""
        return str(self.settings.get("noise", INDEPENDENT))

    @property
    def description(self) -> str:
        """What it is, in a few words."""
        if self.others:
            return "mean of " + " and of ".join(member.description for member in self.members)
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
    fewest = min(n_stars - -(-n_stars // SHARE), n_labels + n_pixels)
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
    ensembles = [_join("curved-linear", curved, linear)]
    if latents >= _LEAST_CUBIC + _FEWER:
        partner = _make_curved("cubic", latents - _FEWER, _CUBIC, n_stars)
        ensembles.append(_join("curved-cubic", curved, partner))
    if n_stars < _CUBIC_FROM:
        reason = f"products of three need {_CUBIC_FROM:,} stars"
        return [*independent, curved, *ensembles], reason
    cubic = _make_curved("cubic", latents, _CUBIC, n_stars)
    return [*independent, curved, cubic, *ensembles], ""


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


def check_members(recipe: Recipe) -> None:
    """Refuse an ensemble whose members cannot be trained, or not on the same stars.

    Raises
    ------
    InputError
    """
    others = recipe.others
    if not isinstance(others, tuple | list) or not all(isinstance(o, Recipe) for o in others):
        raise InputError(f"others of recipe {recipe.name!r} is {others!r}; give a tuple of recipes")
    for member in recipe.members if others else ():
        check_whole("latent_dim", member.latent_dim, 1)
        complete_settings(member.method, member.settings)
        if member.others:
            raise InputError(f"recipe {member.name!r} is an ensemble, and no member of another")
        if pick_method(member.method).latents_are_labels:
            raise InputError(
                f"method {member.method!r} trains on stars with every label, and cannot be a "
                "member of an ensemble"
            )


def find_pixel_step(n_pixels: int) -> int:
    """Return one in how many pixels recipes are compared on; 1 for all of them."""
    return max(-(-n_pixels // _MOST_PIXELS), 1)


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
    fewest = min(n_stars - -(-n_stars // SHARE), n_features)
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


def _join(name: str, first: Recipe, other: Recipe) -> Recipe:
    """Return the recipe of an ensemble."""
    return dataclasses.replace(first, name=name, others=(other,))


def _count_steps(n_stars: int) -> int:
    """Return how many steps of refinement so many labelled stars have."""
    return _STEPS_PER_1000 * round(n_stars / 1000) if n_stars >= _REFINED_FROM else 0


def _add_network(curved: Recipe) -> Recipe:
    changed = curved.plain._replace_settings(network=_UNITS)
    return dataclasses.replace(changed, name="network")
