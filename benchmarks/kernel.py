"""Time the inference kernel against its yardstick, the packed matrix product alone, in one process.

    python benchmarks/kernel.py --pixels 8575 --latents 48

Prints stars per second: the product (star, pixel) @ (pixel, P (P + 1) / 2) alone, and the whole
kernel with weights, solve, labels with errors, chi2 and flags; medians of alternating rounds, and
their ratio.
"""

import os
import platform
import time

import click
import jax
import numpy as np

from luxscale.model import linalg
from luxscale.model.decoders import LinearMap
from luxscale.model.kernel import infer_arrays
from luxscale.model.noise import DiagonalNoise
from luxscale.model.priors import GaussianPrior
from luxscale.model.problem import Design, Head, Problem, put_on_device


def random_problem(stars, pixels, latents, labels, rng):
    """Designs, data and heads of random numbers of realistic scale."""
    weights = rng.standard_normal((pixels, latents)).astype("f4")
    i, j, _ = linalg.packed_index(latents)
    ones = np.ones(pixels, "f4")
    design = Design(
        weights=weights,
        packed=weights.T[i] * weights.T[j],
        offset=0 * ones,
        noise=DiagonalNoise(0.1 * ones),
        unit=ones,
        ivar_unit=ones,
    )
    head = Head(
        map=LinearMap(rng.standard_normal((labels, latents)), np.zeros(labels)),
        floor=np.zeros(labels),
        inflation=np.ones(labels),
        bounds=np.full((labels, 2), np.nan),
    )
    flux = rng.standard_normal((stars, pixels)).astype("f4")
    ivar = rng.uniform(50, 150, (stars, pixels)).astype("f4")
    problem = Problem(
        designs=put_on_device([design]),
        heads=(head,),
        windows=(),
        prior=GaussianPrior(np.ones(latents, "f4")),
    )
    return problem, flux, ivar


def measure(stars=4096, pixels=8575, latents=48, labels=12, rounds=7):
    """Return the median rates of product and kernel, in stars/s by name, and their ratio.

    Rounds of the two alternate.
    """
    problem, flux, ivar = random_problem(stars, pixels, latents, labels, np.random.default_rng(0))
    product = jax.jit(lambda w, packed: linalg.dot(w, packed.T))
    packed = problem.designs[0].packed
    work = {
        "product": lambda: product(ivar, packed).block_until_ready(),
        "kernel": lambda: infer_arrays(problem, [flux], [ivar]),
    }
    seconds = {name: [] for name in work}
    for run in range(rounds + 1):
        for name, function in work.items():
            start = time.perf_counter()
            function()
            if run:  # the first compiles
                seconds[name].append(time.perf_counter() - start)
    rate = {name: round(stars / np.median(times)) for name, times in seconds.items()}
    return {**rate, "ratio": round(rate["kernel"] / rate["product"], 2)}


@click.command(help=__doc__.splitlines()[0])
@click.option("--stars", default=4096, show_default=True)
@click.option("--pixels", default=8575, show_default=True)
@click.option("--latents", default=48, show_default=True)
@click.option("--labels", default=12, show_default=True)
@click.option("--rounds", default=7, show_default=True)
def main(stars, pixels, latents, labels, rounds):
    rate = measure(stars, pixels, latents, labels, rounds)
    click.echo(
        f"{platform.processor() or platform.machine()}, {os.cpu_count()} processors, jax "
        f"{jax.__version__}, "
        f"{pixels} pixels, {latents} latents, {labels} labels"
    )
    for name in ("product", "kernel"):
        click.echo(f"{name:<8} {rate[name]:>10,} stars/s")
    click.echo(f"ratio    {rate['ratio']:>10.2f}")


if __name__ == "__main__":
    main()
