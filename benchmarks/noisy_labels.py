"""Train on few simulated stars whose labels have large errors, and label others.

    python benchmarks/noisy_labels.py

Prints, for each number of training stars and each error of the labels in units of their spread, the
RMSE of inferred labels about the truth, in the same units, over all labels and draws; that of the
worst label of any draw; and the RMSE of the mean of the training labels.
"""

import click
import numpy as np

import luxscale as lux
from luxscale.examples.simulate import simulate


def draw(seed, most, tested, pixels):
    """Return stars to train on and others, and the spread of each label."""
    stars = simulate(most + tested, n_pixels=pixels, missing_labels=0.0, seed=seed)
    spread = stars["label_true"].values.std(axis=0)
    return stars.isel(star=slice(most)), stars.isel(star=slice(most, None)), spread


def perturb(stars, error, seed):
    """Return stars with labels of these errors about the truth: (label,)."""
    noise = np.random.default_rng(seed).normal(size=stars["label_true"].shape) * error
    return stars.assign(
        label_value=stars["label_true"] + noise,
        label_err=(("star", "label"), np.broadcast_to(error, noise.shape).copy()),
    )


def measure(training, others, spread):
    """Return the RMSE of inferred labels and of the mean, each label in units of its spread."""
    model = lux.train(training, progress=False, recipe="linear", folds=1)
    spectra = others.drop_vars(["label_value", "label_err"])
    truth = others["label_true"].values
    inferred = lux.infer(spectra, model)["label_value"].values
    mean = training["label_value"].values.mean(axis=0)
    misses = (inferred - truth, mean - truth)
    return [np.sqrt((miss**2).mean(axis=0)) / spread for miss in misses]


@click.command(help=__doc__.splitlines()[0])
@click.option("--draws", default=3, show_default=True)
@click.option("--tested", default=300, show_default=True)
@click.option("--pixels", default=500, show_default=True)
def main(draws, tested, pixels):
    sizes, errors = (30, 60, 120), (0.1, 0.5, 1.0, 2.0)
    found = {}
    for seed in range(draws):
        stars, others, spread = draw(200 + seed, max(sizes), tested, pixels)
        for n in sizes:
            for error in errors:
                training = perturb(stars.isel(star=slice(n)), error * spread, seed)
                found.setdefault((n, error), []).append(measure(training, others, spread))
    for (n, error), each in found.items():
        inferred, mean = np.swapaxes(each, 0, 1)
        click.echo(
            f"{n} stars, errors of {error} spreads: RMSE {np.sqrt((inferred**2).mean()):.3f}, "
            f"worst label {inferred.max():.2f}, mean of the labels {np.sqrt((mean**2).mean()):.3f}"
        )


if __name__ == "__main__":
    main()
