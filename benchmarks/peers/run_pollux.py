"""Run pollux on a problem: python run_pollux.py problem.npz result.npz.

It is run as in its tutorial on APOGEE.

Affine outputs with priors from the training stars and a scatter a pixel, 2,000 steps of Adam at
0.01 in double precision; then least squares for the latents of other stars. Missing labels: the
mean, with an error of MISSING.
"""

import sys
import warnings

import jax
import numpy as np
import numpyro
import numpyro.distributions as dist
import pollux as plx
from common import fill, run
from pollux.exceptions import PolluxLinearizationWarning
from pollux.models.transforms import AffineTransform, ScatterTransform

MISSING = 1e10  # error of what is missing, as in the tutorial
STEPS, RATE = 2_000, 1e-2
BATCH = 500  # stars in a call of the test step


def spectra(flux, ivar):
    """Return flux and its error as pollux holds them."""
    err = np.where(ivar > 0, 1 / np.sqrt(np.where(ivar > 0, ivar, 1)), MISSING)
    return plx.data.OutputData(fill(flux, ivar).astype(float), err=err.astype(float))


def priors(values):
    """Return the tutorial's priors on A and b, (star, output) -> dict."""
    mean, spread = values.mean(0), values.std(0)
    # a pixel that no training star has does not vary
    spread = np.where(spread > 0, spread, 1.0)
    return {"A": dist.Normal(scale=spread[:, None]), "b": dist.Normal(loc=mean, scale=spread)}


def build(latents, flux, labels):
    """Return the tutorial's model."""
    model = plx.LVM(latent_size=latents)
    model.register_output(
        "label", AffineTransform(output_size=labels.shape[1], priors=priors(labels))
    )
    scatter = ScatterTransform(output_size=flux.shape[1], priors={"s": dist.HalfNormal(0.02)})
    model.register_output(
        "flux",
        AffineTransform(output_size=flux.shape[1], priors=priors(flux)),
        err_transform=scatter,
    )
    return model


def train(problem):
    known = np.isfinite(problem["label"])
    labels = np.where(known, problem["label"], np.nanmean(problem["label"], 0))
    errors = np.where(known, problem["label_err"], MISSING)
    flux = spectra(problem["flux"], problem["ivar"])
    model = build(int(problem["latents"]), np.asarray(flux.data), labels)
    data = plx.data.PolluxData(flux=flux, label=plx.data.OutputData(labels, err=errors))
    adam = numpyro.optim.Adam(RATE)
    values, _ = model.optimize(
        data, num_steps=STEPS, rng_key=jax.random.PRNGKey(42), optimizer=adam, progress=False
    )
    fixed = jax.block_until_ready(model.output_pars(values))

    def label(flux, ivar):
        found = []
        for start in range(0, len(flux), BATCH):
            stars = slice(start, start + BATCH)
            data = plx.data.PolluxData(flux=spectra(flux[stars], ivar[stars]))
            fit = model.optimize_iterative(
                data,
                fixed_pars=fixed,
                blocks=["latents"],
                rng_key=jax.random.PRNGKey(0),
                progress=False,
            )
            found.append(np.asarray(model.predict_outputs(fit.params, names="label")["label"]))
        return np.concatenate(found), None

    note = f"missing labels have an error of {MISSING:.0e}; float64, {STEPS} steps of Adam"
    return label, {"used": len(labels), "note": note}


if __name__ == "__main__":
    jax.config.update("jax_enable_x64", True)
    warnings.simplefilter(
        "ignore", PolluxLinearizationWarning
    )  # says that Adam is taken for the test step
    run(train, ["pollux", "xmmutablemap", "numpyro", "jax", "numpy"], *sys.argv[1:])
