"""Measure what more stars with trusted labels buy, on real Gaia XP giants.

    python benchmarks/learning.py DIR --out learning.jsonl --figure learning.png
    python benchmarks/learning.py DIR --out learning.jsonl --stars 300 --unlabelled 5000
    python benchmarks/learning.py DIR --out learning.jsonl --show

Giants are those of `peers/spectra.py`. The last 1,500 of its validation stars are labelled; any
others train, as many as asked for, drawn anew for each draw. Each training adds a line to the file,
and those that are there are not done again. Models are trained without folds, which only their
errors need, and without refinement, so that a curve is of one method. With --unlabelled, so many
further stars take part whose labels are hidden.
"""

import json
import time
from pathlib import Path

import click
import numpy as np
import xarray as xr
from giants import find_scatter, make_survey
from peers.spectra import XP_TEST, read_xp

import luxscale as lux
from luxscale.errors import InputError
from luxscale.training.recipes import find_recipe

SIZES = (300, 600, 1_250, 2_500, 5_000, 10_000, 14_931)
DRAWS = {300: 3, 600: 3, 1_250: 3, 2_500: 3, 5_000: 2}  # one where no number is given
RECIPES = ("linear", "curved", "cubic")
LABELLED = 1_500


def split(n_stars):
    """Return the rows that are labelled, and those that may train."""
    last = n_stars - XP_TEST
    labelled = np.arange(last - LABELLED, last)
    return labelled, np.setdiff1d(np.arange(n_stars), labelled)


def draw(pool, number, seed):
    """Return so many training rows; those of a smaller number are among them."""
    return np.random.default_rng(seed).permutation(pool)[:number]


def hide_labels(survey, first):
    """Return the stars without the labels of those from a position on."""
    hidden = np.arange(survey.sizes["star"]) >= first
    names = ["label_value", "label_err"]
    return survey.assign(survey[names].where(~xr.DataArray(hidden, dims="star")))


def measure(model, survey):
    """Return RMSE, its standard error by the stars, and robust scatter of each label."""
    truth = survey["label_value"].values
    miss = lux.infer(survey, model)["label_value"].values - truth
    square = miss**2
    rmse = np.sqrt(np.nanmean(square, 0))
    count = np.isfinite(miss).sum(0)
    error = np.nanstd(square, 0) / (2 * rmse * np.sqrt(count))
    found = {"rmse": rmse, "rmse_err": error, "scatter": find_scatter(miss)}
    return {name: [float(f"{v:.4g}") for v in values] for name, values in found.items()}


def run(survey, recipe, number, seed, unlabelled):
    """Train on some stars, and return the figures of those that are labelled."""
    labelled, pool = split(survey.sizes["star"])
    start = time.process_time()
    rows = draw(pool, number + unlabelled, seed)
    known = survey.isel(star=rows)
    if unlabelled:
        known = hide_labels(known, number)
    sizes = (number, known.sizes["label"], known.sizes["wavelength"], unlabelled)
    found = find_recipe(recipe, *sizes).plain
    model = lux.train(
        known,
        found.latent_dim,
        method=found.method,
        unlabelled=unlabelled,
        folds=1,
        progress=False,
        **found.settings,
    )
    seconds = time.process_time() - start
    figures = measure(model, survey.isel(star=labelled))
    key = {"recipe": recipe, "stars": number, "draw": seed, "unlabelled": unlabelled}
    return {**key, "seconds": round(seconds, 1), **figures}


def read_results(path):
    """Return what is in the file, by recipe, number of stars, draw and stars without labels."""
    lines = path.read_text().splitlines() if path.exists() else []
    results = [json.loads(line) for line in lines]
    return {(r["recipe"], r["stars"], r["draw"], r["unlabelled"]): r for r in results}


def summarise(results, what):
    """Return (recipe, unlabelled, stars, figures, standard error of draws, number of draws)."""
    groups = {}
    for (recipe, number, _, unlabelled), result in results.items():
        groups.setdefault((recipe, unlabelled, number), []).append(result[what])
    rows = []
    for key in sorted(groups, key=lambda key: (RECIPES.index(key[0]), *key[1:])):
        values = groups[key]
        n = len(values)
        spread = np.std(values, axis=0, ddof=1) / np.sqrt(n) if n > 1 else None
        rows.append((*key, np.mean(values, axis=0), spread, n))
    return rows


def show(results, names):
    """Yield the lines of a table: robust scatter (RMSE), and the error of the RMSE by draws."""
    yield f"| recipe | with labels | without | draws | {' | '.join(names)} |"
    yield "|---" * (4 + len(names)) + "|"
    scatters, rmses = (summarise(results, what) for what in ("scatter", "rmse"))
    for row, (*_, rmse, error, _) in zip(scatters, rmses, strict=True):
        recipe, unlabelled, number, scatter, _, n = row
        cells = []
        for m in range(len(names)):
            by_draw = f" +- {error[m]:.1g}" if error is not None else ""
            cells.append(f"{scatter[m]:.3g} ({rmse[m]:.3g}{by_draw})")
        yield f"| {recipe} | {number:,} | {unlabelled:,} | {n} | {' | '.join(cells)} |"


def plot(results, names, path):
    """Draw RMSE and robust scatter against the number of stars with labels."""
    import matplotlib.pyplot as plt

    size = (2.4 * len(names), 4.6)
    figure, axes = plt.subplots(2, len(names), figsize=size, sharex=True, layout="constrained")
    for row, what in zip(axes, ("rmse", "scatter"), strict=True):
        groups = {}
        for recipe, unlabelled, *point in summarise(results, what):
            groups.setdefault((recipe, unlabelled), []).append(point)
        for (recipe, unlabelled), points in groups.items():
            label = recipe + (f", {unlabelled:,} without labels" if unlabelled else "")
            stars = [point[0] for point in points]
            for m, ax in enumerate(row):
                errors = [0 if point[2] is None else point[2][m] for point in points]
                values = [point[1][m] for point in points]
                ax.errorbar(
                    stars, values, errors, fmt="o:" if unlabelled else "o-", ms=4, label=label
                )
                ax.set(xscale="log", yscale="log")
                ax.set_xlabel("training stars with labels" if what == "scatter" else "")
                ax.set_ylabel({"rmse": "RMSE", "scatter": "robust scatter"}[what] if not m else "")
    for ax in axes.flat:
        ticks = np.geomspace(*ax.get_ylim(), 5)[1:-1]
        ax.set_yticks(ticks, [f"{tick:.3g}" for tick in ticks])
        ax.set_yticks([], minor=True)
    for ax, name in zip(axes[0], names, strict=True):
        ax.set_title(name)
    axes[0, 0].legend(fontsize="x-small")
    figure.savefig(path, dpi=80)


@click.command(help=__doc__.splitlines()[0])
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Lines of figures.")
@click.option("--recipe", "recipes", multiple=True, type=click.Choice(RECIPES), default=RECIPES)
@click.option("--stars", "sizes", multiple=True, type=int, default=SIZES)
@click.option("--unlabelled", default=0, show_default=True, help="Stars without labels beside.")
@click.option("--show", "shown", is_flag=True, help="Train nothing; print the table.")
@click.option("--figure", type=click.Path(path_type=Path), help="Draw the curves.")
def main(folder, out, recipes, sizes, unlabelled, shown, figure):
    sample = read_xp(folder / "xp_apogee.h5")
    results = read_results(out)
    draws = [(n, k) for n in sizes for k in range(DRAWS.get(n, 1))]
    tasks = [(r, n, k, unlabelled) for n, k in draws for r in recipes]
    survey = make_survey(sample)
    for task in [] if shown else tasks:
        if task in results:
            continue
        try:
            results[task] = run(survey, *task)
        except InputError as error:  # a recipe that so few stars do not carry
            click.echo(f"{task}: {error}", err=True)
            continue
        with out.open("a") as file:
            file.write(json.dumps(results[task]) + "\n")
        click.echo(json.dumps(results[task]))
    click.echo("\n".join(show(results, sample.names)))
    if figure:
        plot(results, sample.names, figure)


if __name__ == "__main__":
    main()
