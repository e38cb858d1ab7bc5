"""Figure 14: cross-validation of the number of latents and of their prior."""

from __future__ import annotations

from matplotlib.figure import Figure

from luxscale import plot
from luxscale.crossval import choose, cross_validate, scores
from luxscale.errors import InputError
from luxscale.examples.drawing import REPORTED
from luxscale.examples.simulate import simulate_survey
from luxscale.paper.base import Study, register_figure
from luxscale.training.methods import pick_method
from luxscale.training.recipes import find_recipe

STARS, SEED = 5000, 1
#: No more than so many stars and pixels: the full grid is 80 trainings.
MOST_STARS, MOST_PIXELS = 1000, 1000
#: The greatest P, 96, must stay below the stars of four folds.
LEAST_STARS = 150
LATENT_DIMS = tuple(k * len(REPORTED) for k in (1, 2, 4, 8))
OMEGAS = (1.0, 10.0, 100.0, 1000.0)
#: Of the first agenda of training, as in the paper.
ITERATIONS = 5


@register_figure("14", "cross-validation over the number of latents and their prior")
def crossvalidation(study: Study) -> Figure:
    """Draw chi2 of stars left out, for P = 1, 2, 4 and 8 times the labels and Omega = 1 to 1000.

    The paper takes 5,000 stars of 8,575 pixels; here it is a survey of its own, simulated as sample
    A is but with 10% of labels missing, of at most 1,000 stars on at most 1,000 pixels, because 80
    trainings take hours otherwise. The prior is that of equation 7 read as a Gaussian of standard
    deviation Omega: of precision 1/Omega^2. Training is the paper's, by alternating steps, in
    closed form. The upper row is chi2 per label, by which a setting is chosen; the lower row is the
    paper's sum, equation A1, in which pixels far outnumber labels. What is done is kept, so a run
    that was stopped goes on.

    Raises
    ------
    InputError
        If the recipe of the study has a prior of its own: there is no Omega to choose.
    """
    n = min(MOST_STARS, study.count_stars(STARS, LEAST_STARS))
    pixels = min(MOST_PIXELS, study.pixels)
    _check_recipe(study, n, pixels)
    work = study.out / "work"
    work.mkdir(parents=True, exist_ok=True)
    path = work / f"crossvalidated-{n}x{pixels}.zarr"
    if not path.exists():
        simulate_survey(path, n, snr=(100.0, 200.0), n_pixels=pixels, seed=SEED)
    results = cross_validate(
        path,
        work / f"crossvalidation-{n}x{pixels}.zarr",
        latent_dims=LATENT_DIMS,
        priors=[1 / omega**2 for omega in OMEGAS],
        method="alternating",
        iterations=ITERATIONS,
        progress=study.progress,
    )
    axes = plot.crossval(scores(results), choose(results), ("label_chi2", "total_chi2"), omega=True)
    drawing: Figure = axes[0, 0].get_figure(root=True)
    return drawing


def _check_recipe(study: Study, n_stars: int, n_pixels: int) -> None:
    """Refuse a recipe whose prior is not free."""
    if study.recipe is None:
        return
    recipe = find_recipe(study.recipe, n_stars, len(REPORTED), n_pixels)
    if pick_method(recipe.method).prior is not None:
        raise InputError(
            f"recipe {study.recipe!r} fits its prior, so there is no Omega to choose; "
            "`luxscale crossval` compares its sizes"
        )
