"""Compare the precision of labels by draws of noise with that by formula: the paper's figure 10.

    python benchmarks/precision.py --stars 1000 --pixels 300

The survey is simulated. Trains on half of the stars and draws noise on the others. Prints, for each
label and bin of S/N, the median over the stars of the scatter of the inferred label by draws, of
the same by formula, and their ratio; and last the ratio of each label over all stars, with its
standard error. The median of few draws is low (by 1% for ten), their mean is not.
"""

import os
import platform
import time
from pathlib import Path

import click
import jax
import numpy as np

import luxscale as lux
from luxscale.analysis.precision import draw_precision, precision_by_snr
from luxscale.examples.simulate import simulate


@click.command(help=__doc__.splitlines()[0])
@click.option(
    "--stars", default=1000, show_default=True, help="Training stars; as many are held out."
)
@click.option("--pixels", default=300, show_default=True)
@click.option("--latents", default=24, show_default=True)
@click.option("--draws", default=10, show_default=True, help="Draws of noise for each star.")
@click.option("--bins", default=4, show_default=True, help="Bins of S/N, with as many stars each.")
@click.option("--seed", default=0, show_default=True)
@click.option(
    "--figure", type=click.Path(path_type=Path), default=None, help="File to draw the figure in."
)
def main(stars, pixels, latents, draws, bins, seed, figure):
    survey = simulate(2 * stars, n_pixels=pixels, seed=seed)
    start = time.perf_counter()
    model = lux.train(survey.isel(star=slice(stars)), latents, folds=1, progress=False)
    trained = time.perf_counter()
    found = draw_precision(survey.isel(star=slice(stars, None)), model, n_draws=draws, seed=seed)
    drawn = time.perf_counter()
    processor = platform.processor() or platform.machine()
    click.echo(
        f"{processor}, {os.cpu_count()} processors, jax {jax.__version__}, {stars} stars, "
        f"{pixels} pixels, {latents} latents, {draws} draws; training {trained - start:.1f} s, "
        f"draws and formulas {drawn - trained:.1f} s"
    )
    edges = np.quantile(found["snr"].dropna("star"), np.linspace(0, 1, bins + 1))
    binned = precision_by_snr(found, edges)
    click.echo("\n".join(format_lines(found, binned)))
    if figure:
        from luxscale import plot

        plot.precision(binned)[0].figure.savefig(figure, dpi=150)


def format_lines(found, binned):
    """Yield the lines of the table: a label each, three columns a bin, the ratio over all stars."""
    edges = zip(binned["snr_low"].values, binned["snr_high"].values, strict=True)
    spans = [f"S/N {low:.0f}-{high:.0f}" for low, high in edges]
    bins = "".join(f"{span:>27}" for span in spans)
    columns = f"{'draws':>11}{'formula':>10}{'ratio':>6}" * len(spans)
    yield f"{'':<8}{bins}{'all stars':>18}"
    yield f"{'label':<8}{columns}{'ratio':>18}"
    middle = binned["precision"].sel(quantile=0.5).transpose("label", "snr_bin", "kind")
    ratio = found["draws"] / found["noise"]
    for label in found["label"].values.tolist():
        pairs = middle.sel(label=label, kind=["draws", "noise"]).values
        cells = "".join(f"{a:>11.4g}{b:>10.4g}{a / b:>6.2f}" for a, b in pairs)
        over = ratio.sel(label=label)
        mean = float(over.mean("star"))
        error = float(over.std("star")) / np.sqrt(over.sizes["star"])
        yield f"{label:<8}{cells}{mean:>10.3f} ± {error:.3f}"


if __name__ == "__main__":
    main()
