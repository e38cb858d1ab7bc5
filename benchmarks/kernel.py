"""Time the inference kernel against its yardstick, the packed matrix product alone, in one process.

    python benchmarks/kernel.py --pixels 8575 --latents 48

Prints stars per second: the product (star, pixel) @ (pixel, P (P + 1) / 2) alone, the whole kernel
by the exact way and by the fast one, with weights, solve, labels with errors, chi2 and flags;
medians of alternating rounds, their ratios to the product, and the share of stars that fell back to
the exact way. Spectra are simulated giants of S/N 30 to 200, uniform in its logarithm, variance in
proportion to flux and 3% of pixels bad; the model is their principal components, with a scatter as
large as what those leave. Then the same for stars with errors of pixels over six decades, which no
approximation serves; and the shares of time of the parts of the fast way.
"""

import dataclasses
import functools
import os
import platform
import time

import click
import jax
import numpy as np

from luxscale.cluster.environment import keep_freed_memory
from luxscale.examples.drawing import draw_bad
from luxscale.examples.giants import draw_labels, load_emulator, render
from luxscale.model import linalg
from luxscale.model.blocks import Data, run_blocks, weigh_outputs
from luxscale.model.calibration import Errors, make_constants
from luxscale.model.decoders import LinearMap
from luxscale.model.designs import add_components
from luxscale.model.head import Head
from luxscale.model.jit import compile_program
from luxscale.model.kernel import infer_arrays
from luxscale.model.noise import DiagonalNoise
from luxscale.model.priors import GaussianPrior
from luxscale.model.problem import Design, Problem, put_on_device

TRAINING = 2000


def make_problem(pixels, latents, labels, rng):
    """Return the inference of labels of giants by their principal components."""
    emulator = load_emulator(pixels)
    known = draw_labels(TRAINING, emulator["sample"], rng)
    flux = render(known, emulator).astype("f4")
    rest = flux - flux.mean(0)
    left = np.linalg.eigh(rest @ rest.T)[1][:, ::-1][:, :latents]
    z = left * np.sqrt(TRAINING)
    weights = (rest.T @ z / TRAINING).astype("f4")
    scatter = 1e-3 + (rest - z @ weights.T).std(0)
    slopes = np.linalg.lstsq(z, known - known.mean(0), rcond=None)[0].T[:labels]
    ones = np.ones(pixels, "f4")
    design = Design(
        weights=weights,
        offset=flux.mean(0),
        noise=DiagonalNoise(scatter.astype("f4")),
        unit=ones,
        ivar_unit=ones,
    )
    head = Head(
        map=LinearMap(slopes, known.mean(0)[:labels]),
        bounds=np.outer(np.ones(labels), [-np.inf, np.inf]),
        errors=Errors(scale=make_constants([1] * labels), floor=make_constants([0] * labels)),
    )
    return Problem(
        designs=put_on_device([design]),
        heads=(head,),
        windows=(),
        prior=GaussianPrior(np.ones(latents, "f4")),
    )


def add_fast_way(problem):
    """Return the same inference with what `Inference.of` adds where it pays."""
    designs = put_on_device([add_components(d, problem.heads) for d in problem.designs])
    return dataclasses.replace(problem, designs=designs)


def draw_spectra(stars, pixels, rng):
    """Return flux and inverse variance of giants."""
    emulator = load_emulator(pixels)
    flux = render(draw_labels(stars, emulator["sample"], rng), emulator).astype("f4")
    snr = np.exp(rng.uniform(np.log(30), np.log(200), (stars, 1))).astype("f4")
    sigma = np.sqrt(np.maximum(flux, 0.05)) / snr
    good = ~draw_bad(flux.shape, 0.03, rng)
    noisy = flux + sigma * rng.standard_normal(flux.shape, dtype="f4")
    return noisy * good, (good / sigma**2).astype("f4")


def alternate(work, rounds):
    """Return the median seconds of each function, in rounds of all."""
    seconds = {name: [] for name in work}
    # with one processor, that of this process: other work beside does not count
    clock = time.process_time if len(os.sched_getaffinity(0)) == 1 else time.perf_counter
    for run in range(rounds + 1):
        for name, function in work.items():
            start = clock()
            function()
            if run:  # the first compiles
                seconds[name].append(clock() - start)
    return {name: np.median(times) for name, times in seconds.items()}


def measure(stars=4096, pixels=8575, latents=48, labels=12, rounds=7, scattered=False):
    """Return the median rates of product and kernels, in stars/s by name, and their ratios.

    The kernel is what inference has: the fast one if there is one. Rounds alternate.
    """
    rng = np.random.default_rng(0)
    exact = make_problem(pixels, latents, labels, rng)
    fast = add_fast_way(exact)
    flux, ivar = draw_spectra(stars, pixels, rng)
    if scattered:
        ivar *= (10 ** rng.uniform(-3, 3, ivar.shape)).astype("f4")
    product = jax.jit(lambda w, packed: linalg.dot(w, packed.T))
    packed = exact.designs[0].multiplied.packed
    work = {
        "product": lambda: product(ivar, packed).block_until_ready(),
        "exact": lambda: infer_arrays(exact, [flux], [ivar]),
        "kernel": lambda: infer_arrays(fast, [flux], [ivar]),
    }
    rate = {name: round(stars / s) for name, s in alternate(work, rounds).items()}
    return {
        **rate,
        "ratio": round(rate["kernel"] / rate["product"], 2),
        "exact_ratio": round(rate["exact"] / rate["product"], 2),
        "fell_back": float(infer_arrays(fast, [flux], [ivar]).fell_back.mean()),
    }


def measure_parts(stars=1024, pixels=8575, latents=48, labels=12, rounds=7):
    """Return the share of the fast kernel's time that each of its parts takes, by name."""
    rng = np.random.default_rng(0)
    problem = add_fast_way(make_problem(pixels, latents, labels, rng))
    data = [Data(*draw_spectra(stars, pixels, rng))]

    def run_until(part):
        return lambda: run_blocks(
            functools.partial(_run_part, part=part),
            problem,
            data,
            (),
            problem.prior,
            n=stars,
            covariance=False,
        )

    work = {part: run_until(part) for part in PARTS[:-1]}
    work[PARTS[-1]] = lambda: infer_arrays(problem, *([array] for array in data[0]))
    seconds = alternate(work, rounds)
    ends = [seconds[part] for part in PARTS]
    starts = [0, *ends[:-1]]
    return {
        part: round((end - start) / ends[-1], 2)
        for part, start, end in zip(PARTS, starts, ends, strict=True)
    }


#: Parts of the fast kernel in their order; the last is what refinement and results take.
PARTS = ("copy", "weights", "products", "solve", "steps")


@compile_program(static_argnames=("part", "covariance"))
def _run_part(designs, data, targets, prior, part, covariance):
    """Run the fast kernel until a part is done, and return as little as keeps that part alive."""
    (design,), (given,) = designs, data
    if part == "copy":
        return given.value[:, 0] + given.ivar[:, 0]
    weighed = weigh_outputs(designs, data)
    (w,), (r,) = weighed.weights, weighed.residuals
    w, weighted = jax.lax.optimization_barrier((w, w * r))
    counts = w[:, 0] + weighted[:, 0] + weighed.wrong + weighed.n_values
    if part == "weights":
        return counts
    h, rhs, _ = design.approximate_equations(w, weighted)
    if part == "products":
        return counts, h, rhs
    root = linalg.invert_root(linalg.unpack(h, rhs.shape[1]) + prior.hessian())
    return counts, linalg.dot(root, rhs[..., None])


@click.command(help=__doc__.splitlines()[0])
@click.option("--stars", default=4096, show_default=True)
@click.option("--pixels", default=8575, show_default=True)
@click.option("--latents", default=48, show_default=True)
@click.option("--labels", default=12, show_default=True)
@click.option("--rounds", default=7, show_default=True)
def main(stars, pixels, latents, labels, rounds):
    keep_freed_memory()  # as runs do: else fresh pages are a tenth of the product's time
    click.echo(
        f"{platform.processor() or platform.machine()}, {os.cpu_count()} processors, jax "
        f"{jax.__version__}, "
        f"{pixels} pixels, {latents} latents, {labels} labels"
    )
    click.echo("rates in stars/s, ratios to the product")
    for weights, scattered in (("as of surveys", False), ("that nothing describes", True)):
        found = measure(stars, pixels, latents, labels, rounds, scattered)
        click.echo(
            f"weights {weights}: product {found['product']:,}, exact {found['exact']:,} "
            f"({found['exact_ratio']:.2f}), kernel {found['kernel']:,} ({found['ratio']:.2f}), "
            f"fell back {found['fell_back']:.1%}"
        )
    parts = measure_parts(min(stars, 1024), pixels, latents, labels, rounds)
    click.echo(f"time of the fast way: {', '.join(f'{p} {s:.0%}' for p, s in parts.items())}")


if __name__ == "__main__":
    main()
