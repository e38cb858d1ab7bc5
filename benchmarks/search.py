"""Time the search for latents of a curved model, and compare its labels with those of all terms.

    python benchmarks/giants.py DIR model.zarr --recipe curved-cubic
    python benchmarks/search.py DIR model.zarr

Labels real Gaia XP giants that the model was not trained on, none of them test stars, by each
member of an ensemble alone: by the lead of each star and the full search for those that surprise,
as `luxscale label` does; by the full search for all; by the same with every Gaussian of the prior
tried for every star; and by the general search, which stars with gaps have. Prints stars per second
of processor time, the best of three passes, the share of stars that were searched for again, robust
scatter, RMSE and pull, how far labels are from those of all Gaussians, in units of their errors,
and how many flags differ; last, for how many stars latents are less probable, by a factor e and
more, than those of another way.
"""

import contextlib
import dataclasses
import time
from pathlib import Path
from unittest import mock

import click
import numpy as np
from giants import find_scatter, make_survey
from peers.spectra import XP_TEST, XP_TRAINING, read_xp

import luxscale as lux
from luxscale.model import levels, maxima
from luxscale.model.blocks import Data
from luxscale.model.inference import Inference
from luxscale.schema import flags

QUANTILES = (0.5, 0.9, 0.99, 0.999)
PASSES = 3


def prepare(model):
    """Yield the ways to search: name, inference, and what to change meanwhile."""
    by_terms = Inference.of(dataclasses.replace(model, every_term=False))
    problem = dataclasses.replace(by_terms.problem, landmarks=None)

    def follow_none(common, ascent):
        return np.ones(ascent.first.size, bool)

    full = {"follow_leads": follow_none}
    everything = mock.patch.multiple(levels, TRIED=10**9, LIKELY=np.inf, **full)
    yield "every Gaussian", by_terms, everything
    yield "full", by_terms, mock.patch.multiple(levels, **full)
    yield "by leads", by_terms, contextlib.nullcontext()
    yield "general", dataclasses.replace(by_terms, problem=problem), contextlib.nullcontext()


def measure(inference, data, first):
    """Return the labels, seconds of processor time, and the share of stars searched for again."""
    inference.infer({name: array[:first] for name, array in data.items()})  # compiles
    seconds = []
    for _ in range(PASSES):
        start = time.process_time()
        found, again = inference.infer_and_count(data)
        seconds.append(time.process_time() - start)
    return found, min(seconds), again / len(data[inference.variables[0]])


def measure_probability(problem, data, latents):
    """Return ln p(data, z), but for a constant: (star,)."""
    reduced = levels.reduce_spectra(problem, [Data(data["flux"], data["flux_ivar"])])
    return maxima.find_log_probability(problem, reduced, latents)


def compare(model, survey):
    """Print what each way to search takes and finds."""
    truth, names = survey["label_value"].values, model["label_value"].coord
    truth_err = survey["label_err"].values
    click.echo(f"of {', '.join(names)}:")
    whole, probabilities = None, {}
    for name, inference, change in prepare(model):
        data = {variable: survey[variable].values for variable in inference.variables}
        with change:
            found, seconds, again = measure(inference, data, 400)
        probabilities[name] = measure_probability(inference.problem, data, found["latent"])
        miss = found["label_value"] - truth
        click.echo(f"{name}: {len(truth) / seconds:,.0f} stars/s, {again:.1%} searched for again")
        for word, values in (
            ("scatter", find_scatter(miss)),
            ("RMSE", np.sqrt(np.nanmean(miss**2, 0))),
            ("pull", find_scatter(miss / np.hypot(found["label_err"], truth_err))),
        ):
            click.echo(f"  {word:8}" + " ".join(f"{value:8.4g}" for value in values))
        whole = whole or found
        away = abs(found["label_value"] - whole["label_value"]) / whole["label_err"]
        parts = np.quantile(away.max(1), QUANTILES)
        words = [f"{q:.1%}: {x:.4f}" for q, x in zip(QUANTILES, parts, strict=True)]
        click.echo(f"  from every Gaussian's, the worst label: {', '.join(words)}")
        for flag, bit in flags.BIT.items():
            differ = ((found["flags"] ^ whole["flags"]) & bit > 0).mean()
            if differ:
                click.echo(f"  flag {flag} differs for {differ:.2%}")
    best = np.max(list(probabilities.values()), axis=0)
    for name, values in probabilities.items():
        click.echo(f"{name}: less probable than by another way {np.mean(best - values > 1):.2%}")


@click.command(help=__doc__.splitlines()[0])
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.argument("model_path", metavar="MODEL", type=click.Path(path_type=Path, exists=True))
@click.option("--number", default=6000, show_default=True, help="Most stars.")
@click.option("--training", default=XP_TRAINING, show_default=True, help="Training stars.")
def main(folder, model_path, number, training):
    survey = make_survey(read_xp(folder / "xp_apogee.h5"))
    first_test = survey.sizes["star"] - XP_TEST
    survey = survey.isel(star=slice(training, min(training + number, first_test)))
    for member in lux.load_model(model_path).members:
        products = member["flux"].map.features.description
        click.echo(f"{member.latent_dim} latents, {products}; {survey.sizes['star']:,} stars:")
        compare(dataclasses.replace(member, others=()), survey)


if __name__ == "__main__":
    main()
