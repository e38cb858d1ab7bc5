"""Infer labels with pollux as its tutorials do.

benchmarks/peers.py runs it, in an environment that has pollux.

Reads a model and spectra, writes labels (star, label), and prints a line of JSON: seconds and CPU
seconds of each pass over the stars, of which the first compiles; the solver that pollux chose;
versions.
"""

import argparse
import json
import platform
import time
import warnings
from importlib.metadata import version

import jax
import jax.numpy as jnp
import numpy as np
import pollux as plx
from pollux.exceptions import PolluxLinearizationWarning
from pollux.models.transforms import AffineTransform, ScatterTransform

MISSING = 1e10  # error of a missing pixel, as in pollux's tutorial on APOGEE


def load_model(problem):
    """Return the model of pollux's tutorial on APOGEE, and its values.

    It is A z + b for each output, with a scatter of the flux.

    The prior on the latents is pollux's default, of variance 1.
    """
    n_pixels, n_latents = problem["flux_weights"].shape
    model = plx.LVM(latent_size=n_latents)
    model.register_output("label", AffineTransform(output_size=len(problem["label_offset"])))
    scatter = ScatterTransform(output_size=n_pixels)
    model.register_output("flux", AffineTransform(output_size=n_pixels), err_transform=scatter)
    values = {
        name: {
            "data": {
                "A": jnp.array(problem[f"{name}_weights"], float),
                "b": jnp.array(problem[f"{name}_offset"], float),
            },
            "err": {},
        }
        for name in ("label", "flux")
    }
    values["flux"]["err"] = {"s": jnp.array(problem["scatter"], float)}
    return model, values


def load_spectra(problem, dtype):
    """Return flux and its error, (star, pixel)."""
    missing = problem["flux_ivar"] == 0
    flux = np.where(missing, 1, problem["flux"])
    err = np.where(missing, MISSING, 1 / np.sqrt(np.where(missing, 1, problem["flux_ivar"])))
    return flux.astype(dtype), err.astype(dtype)


def infer(model, values, flux, err, args):
    """Return the labels of all stars, and the solver that pollux took for the last batch."""
    labels = []
    for start in range(0, len(flux), args.batch):
        stars = slice(start, start + args.batch)
        data = plx.data.PolluxData(flux=plx.data.OutputData(flux[stars], err=err[stars]))
        result = model.optimize_iterative(
            data,
            blocks=["latents"],
            fixed_pars=values,
            max_cycles=args.cycles,
            rng_key=jax.random.PRNGKey(0),
            progress=False,
        )
        labels.append(np.asarray(model.predict_outputs(result.params, names="label")["label"]))
    return np.concatenate(
        labels
    ), f"{result.blocks[0].optimizer or 'Adam'}, cycles: {result.n_cycles}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("problem", help="npz with model and spectra, to read")
    parser.add_argument("labels", help="npy with labels, to write")
    parser.add_argument(
        "--x64", action="store_true", help="double precision, as in pollux's tutorials"
    )
    parser.add_argument(
        "--cycles", type=int, default=10, help="most cycles; 10 is pollux's default"
    )
    parser.add_argument("--batch", type=int, default=500, help="stars in a call")
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    jax.config.update("jax_enable_x64", args.x64)
    warnings.simplefilter(
        "ignore", PolluxLinearizationWarning
    )  # says that Adam is taken; so does the result
    problem = np.load(args.problem)
    model, values = load_model(problem)
    flux, err = load_spectra(problem, "f8" if args.x64 else "f4")
    seconds, cpu = [], []
    for _ in range(args.rounds + 1):
        start, cpu_start = time.perf_counter(), time.process_time()
        labels, solver = infer(model, values, flux, err, args)
        seconds.append(time.perf_counter() - start)
        cpu.append(time.process_time() - cpu_start)
    np.save(args.labels, labels)
    versions = {name: version(name) for name in ("pollux", "xmmutablemap", "numpyro", "jax")}
    versions["python"] = platform.python_version()
    print(json.dumps({"seconds": seconds, "cpu": cpu, "solver": solver, "versions": versions}))


if __name__ == "__main__":
    main()
