"""Compare means of the labels that models of several kinds infer for the same giants.

    python benchmarks/ensembles.py DIR MODELS --members curved12+cubic10 --members curved12+curved14

DIR is that of `peers/spectra.py`. Of its giants that are not tested 5,000 are drawn to train, as
often as --draws says; labels of the others are judged. A member is a method and its latents:
curved, cubic (products of three of the first 5) or network, and settings that are not those of the
recipe (curved14-gaussians120); models are refined where recipes are, and kept in MODELS. Says how
long each took to train, without folds. Prints, for each mean, the mean over labels and draws of
its robust scatter and RMSE, over those of curved12 alone, and of RMSE by label; and the share of
the variance of errors that the first and the last member have each for itself: half of the variance
by which their labels differ, over that of their misses less that of the given labels, the median
over labels.
"""

import re
import time
from pathlib import Path

import click
import numpy as np
from giants import find_scatter, make_survey
from peers.spectra import XP_TEST, XP_TRAINING, read_xp

import luxscale as lux
from luxscale.training.recipes import find_recipe

REFERENCE = "curved12"
CUBIC = {"cubic": 5}


def make_member(name, survey):
    """Return a model of a kind and a number of latents, and of other settings if named."""
    member, *changes = name.split("-")
    kind, latents = re.fullmatch(r"(curved|cubic|network)(\d+)", member).groups()
    sizes = (survey.sizes["star"], survey.sizes["label"], survey.sizes["wavelength"])
    recipe = find_recipe("network" if kind == "network" else "curved", *sizes)
    settings = {**recipe.settings, "quadratic": int(latents)}
    if kind == "cubic":
        settings |= CUBIC
    for change in changes:
        setting, number = re.fullmatch(r"([a-z]+)(\d+)", change).groups()
        settings[setting] = int(number)
    method = recipe.method
    start = time.process_time(), time.perf_counter()
    model = lux.train(survey, int(latents), method=method, folds=1, progress=False, **settings)
    spent = time.process_time() - start[0], time.perf_counter() - start[1]
    click.echo("{}: {:.0f} s of processor time, {:.0f} s in all".format(name, *spent), err=True)
    return model


def infer_labels(name, draw, survey, rows, others, folder):
    """Return the labels of others by a member, which is kept."""
    path = folder / f"{name}_{len(rows)}_{draw}.zarr"
    if not path.exists():
        make_member(name, survey.isel(star=rows)).save(path)
    return lux.infer(survey.isel(star=others), lux.load_model(path))["label_value"].values


def find_own_share(one, two, seen):
    """Return the share of the errors of two members that they do not have in common."""
    truth, given = seen["label_value"].values, np.nanmedian(seen["label_err"].values, axis=0)
    missed = (find_scatter(one - truth) ** 2 + find_scatter(two - truth) ** 2) / 2
    return np.median(find_scatter(one - two) ** 2 / 2 / (missed - given**2))


def measure(labels, truth):
    """Return robust scatter and RMSE of each label: (2, label)."""
    miss = labels - truth
    return np.stack([find_scatter(miss), np.sqrt(np.nanmean(miss**2, 0))])


@click.command(help=__doc__.splitlines()[0])
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.argument("models", type=click.Path(path_type=Path, file_okay=False))
@click.option("--members", multiple=True, required=True, help="Joined by +; again for more.")
@click.option("--draws", default=2, show_default=True, help="Draws of the training stars.")
@click.option("--training", default=XP_TRAINING, show_default=True, help="Training stars.")
def main(folder, models, members, draws, training):
    survey = make_survey(read_xp(folder / "xp_apogee.h5"))
    survey = survey.isel(star=slice(0, survey.sizes["star"] - XP_TEST))
    wanted = [REFERENCE, *members]
    kinds = dict.fromkeys(kind for names in wanted for kind in names.split("+"))
    ratios = {names: [] for names in wanted}
    shares = {names: [] for names in wanted}
    for draw in range(draws):
        order = np.random.default_rng(draw).permutation(survey.sizes["star"])
        rows, others = np.sort(order[:training]), np.sort(order[max(training, XP_TRAINING) :])
        seen = survey.isel(star=others)
        truth = seen["label_value"].values
        found = {kind: infer_labels(kind, draw, survey, rows, others, models) for kind in kinds}
        reference = measure(found[REFERENCE], truth)
        for names in wanted:
            parts = names.split("+")
            labels = [found[kind] for kind in parts]
            ratios[names].append(measure(np.mean(labels, axis=0), truth) / reference)
            shares[names].append(find_own_share(labels[0], labels[-1], seen))
    for names, parts in ratios.items():
        scatter, rmse = np.mean(parts, axis=0)
        by_label = " ".join(f"{ratio:.3f}" for ratio in rmse)
        own = np.mean(shares[names])
        click.echo(f"{names:34} {scatter.mean():.3f} {rmse.mean():.3f} | {by_label} | {own:.2f}")


if __name__ == "__main__":
    main()
