"""Time the trainers on a simulated survey, and compare their labels of other stars with the truth.

    python benchmarks/trainers.py --stars 1000 --pixels 300 --latents 24
    python benchmarks/trainers.py --stars 5000 --pixels 8575 --latents 48 --folds 5 --only marginal

Prints, for the marginal trainer and for the alternating one with exact steps and with the paper's
solvers (jaxopt), the seconds of a first run, which compiles, and of a second, with the processor's
seconds of the second and with those of a third by the exact way alone, as where a GPU multiplies;
the final objective per star (that of the marginal trainer is another quantity); and the RMSE of
each label, inferred from held-out spectra.
"""

import os
import platform
import time
from unittest import mock

import click
import jax
import numpy as np

import luxscale as lux
from luxscale.examples.simulate import simulate

TRAINERS = {
    "marginal": {"method": "marginal"},
    "exact": {"method": "alternating", "solver": "exact"},
    "jaxopt": {"method": "alternating", "solver": "jaxopt"},
}


def train(survey, latents, settings):
    """Return the model, and the seconds that it took, of this process's processors too."""
    start, processor = time.perf_counter(), time.process_time()
    model = lux.train(survey, latents, progress=False, **settings)
    return model, time.perf_counter() - start, time.process_time() - processor


def train_exactly(survey, latents, settings):
    """Return as `train` does, with the normal matrices of all stars and pixels."""
    with mock.patch.object(jax, "default_backend", return_value="gpu"):
        return train(survey, latents, settings)


@click.command(help=__doc__.splitlines()[0])
@click.option(
    "--stars", default=1000, show_default=True, help="Training stars; as many are held out."
)
@click.option("--pixels", default=300, show_default=True)
@click.option("--latents", default=24, show_default=True)
@click.option("--folds", default=1, show_default=True)
@click.option("--only", type=click.Choice(list(TRAINERS)), multiple=True, help="Of the trainers.")
@click.option("--seed", default=0, show_default=True)
def main(stars, pixels, latents, folds, only, seed):
    survey = simulate(2 * stars, n_pixels=pixels, seed=seed)
    training, held_out = survey.isel(star=slice(stars)), survey.isel(star=slice(stars, None))
    rows = {}
    for name in only or TRAINERS:
        settings = TRAINERS[name] | {"folds": folds}
        _, first, _ = train(training, latents, settings)
        model, second, processor = train(training, latents, settings)
        _, _, exact = train_exactly(training, latents, settings)
        labels = lux.infer(held_out, model)["label_value"]
        rmse = np.sqrt(((labels - held_out["label_true"]) ** 2).mean("star")).values
        rows[name] = (first, second, processor, exact, model.objective[-1], rmse)
    click.echo(
        f"{platform.processor() or platform.machine()}, {os.cpu_count()} processors, jax "
        f"{jax.__version__}, "
        f"{stars} stars, {pixels} pixels, {latents} latents"
    )
    click.echo(f"{'':<14}" + "".join(f"{name:>12}" for name in rows))
    titles = ("first run, s", "second run, s", "processor s", "exactly", "objective")
    for i, title in enumerate(titles):
        click.echo(f"{title:<14}" + "".join(f"{row[i]:>12.3f}" for row in rows.values()))
    for m, label in enumerate(survey["label"].values.tolist()):
        click.echo(f"{label:<14}" + "".join(f"{row[-1][m]:>12.4g}" for row in rows.values()))


if __name__ == "__main__":
    main()
