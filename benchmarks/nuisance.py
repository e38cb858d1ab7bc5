"""How far labels move with velocity, continuum and resolution, and what it costs to infer these.

    python benchmarks/nuisance.py

Giants are simulated at the sampling of APOGEE: 4,288 pixels of 4.14 km/s, lines of at least 3.2
pixels (FWHM, R = 22,500), S/N 100 to 200. One linear model is trained as ever, others with
nuisances. Test stars are distorted; prints how far labels move from those of the same stars
without distortion, in units of their errors: without noise, what is left is bias. Velocities have
pulls, and the errors of ordinary stars are compared.
"""

import time

import click
import numpy as np
from scipy import ndimage
from scipy.constants import c as LIGHT

import luxscale as lux
from luxscale.examples.simulate import simulate
from luxscale.schema import flags

PIXEL, POWER = 4.14, 22500.0

#: Standard deviation of the line spread function, pixels.
SPREAD = LIGHT / 1e3 / POWER / np.sqrt(8 * np.log(2)) / PIXEL

#: What models have beside latents.
MODELS = {
    "none": None,
    "velocity": "velocity:5km/s",
    "continuum": "continuum:3",
    "resolution": f"resolution:0.1:{POWER:g}",
    "all": f"velocity:5km/s,continuum:3,resolution:0.1:{POWER:g}",
}


@click.command(help=__doc__.splitlines()[0])
@click.option("--stars", default=1500, show_default=True, help="Training stars.")
@click.option("--test-stars", default=512, show_default=True)
@click.option("--latents", default=24, show_default=True)
@click.option("--seed", default=0, show_default=True)
def main(stars, test_stars, latents, seed):
    train_flux, training = simulate_giants(stars, seed + 1)
    training = observe(training, train_flux, seed + 1)
    models = {
        name: lux.train(training, latents, nuisance=text, progress=False)
        for name, text in MODELS.items()
    }
    rng = np.random.default_rng(seed)
    velocity = rng.uniform(-10, 10, test_stars)
    broader = 0.1 * rng.normal(size=test_stars)
    plain, test = simulate_giants(test_stars, seed + 2)
    tilted = plain * (1 + 0.02 * np.linspace(-1, 1, plain.shape[1]))
    resolved, _ = simulate_giants(test_stars, seed + 2, SPREAD * (1 + broader))
    moved = shift(plain, velocity / PIXEL)
    every = shift(resolved, velocity / PIXEL) * (1 + 0.02 * np.linspace(-1, 1, plain.shape[1]))
    cases = {
        "velocity, up to 10 km/s": moved,
        "tilt of 2%": tilted,
        "resolution, 10% of scatter": resolved,
        "all three": every,
    }
    show_errors(models, observe(test, plain, seed + 2))
    click.echo("\n| distortion | nuisances | moved, typical | most | flagged | settled |")
    click.echo("| --- | --- | --- | --- | --- | --- |")
    for case, flux in cases.items():
        for name, model in models.items():
            show_case(case, name, model, test, plain, flux, seed + 2)
    click.echo("")
    for name in ("velocity", "all"):
        for case, flux in (("at rest", plain), ("moved", moved), ("all three", every)):
            true = 0 if case == "at rest" else velocity
            found = lux.infer(observe(test, flux, seed + 2), models[name])
            pull = (found.velocity - true) / found.velocity_err
            click.echo(
                f"velocity, model {name}, stars {case}: pull {float(pull.std()):.2f}, mean "
                f"{float(pull.mean()):.2f}, median error {float(found.velocity_err.median()):.3f}"
                " km/s"
            )


def simulate_giants(n, seed, spread=SPREAD):
    """Return noiseless spectra on pixels like APOGEE's, and their labels."""
    survey = simulate(n, seed=seed, missing_labels=0, bad_pixels=0, snr=(1e5, 1e5))
    wide = np.broadcast_to(spread, n)
    flux = [
        ndimage.gaussian_filter1d(row.astype(float), sigma, mode="nearest")
        for row, sigma in zip(survey.flux.values, wide, strict=True)
    ]
    grid = 15100 * np.exp(np.arange(survey.sizes["wavelength"]) * PIXEL * 1e3 / LIGHT)
    units = {"units": "Angstrom", "medium": "vacuum"}
    return np.array(flux), survey.assign_coords(wavelength=("wavelength", grid, units))


def shift(flux, pixels):
    """Return spectra that are moved, in Fourier space: exact for lines of three pixels."""
    n = flux.shape[1]
    mirrored = np.concatenate([flux, flux[:, ::-1]], 1)
    waves = np.exp(-2j * np.pi * np.fft.rfftfreq(2 * n) * pixels[:, None])
    return np.fft.irfft(np.fft.rfft(mirrored) * waves, 2 * n)[:, :n]


def observe(survey, flux, seed, noise=True):
    """Return a survey of spectra, with noise or only its errors."""
    rng = np.random.default_rng(seed)
    snr = rng.uniform(100, 200, len(flux))[:, None]
    sigma = np.sqrt(np.clip(flux, 0.05, None)) / snr
    ivar = np.where(rng.random(flux.shape) < 0.03, 0, 1 / sigma**2)
    drawn = sigma * rng.normal(size=flux.shape) if noise else 0
    dims = ("star", "wavelength")
    seen = {"flux": flux + drawn, "flux_ivar": ivar}
    return survey.assign({name: (dims, a.astype(np.float32)) for name, a in seen.items()})


def show_errors(models, survey):
    """Print how errors of ordinary stars grow, and the time that labelling takes."""
    click.echo("| nuisances | label errors | formal errors | ms a star |")
    click.echo("| --- | --- | --- | --- |")
    floor = models["none"]["label_value"].floor
    before = lux.infer(survey, models["none"])
    formal = np.sqrt(before.label_err**2 - floor**2)
    for name, model in models.items():
        found = lux.infer(survey, model)
        start = time.process_time()
        lux.infer(survey, model)
        seconds = time.process_time() - start
        err = float((found.label_err / before.label_err).median())
        own = np.sqrt(found.label_err**2 - model["label_value"].floor ** 2)
        click.echo(
            f"| {name} | {err:.3f} | {float((own / formal).median()):.3f} | "
            f"{1e3 * seconds / survey.sizes['star']:.2f} |"
        )


def show_case(case, name, model, test, plain, flux, seed):
    """Print how far labels move, and how many stars are flagged."""
    before = lux.infer(observe(test, plain, seed, noise=False), model)
    after = lux.infer(observe(test, flux, seed, noise=False), model)
    by = (after.label_value - before.label_value) / before.label_err
    move = np.sqrt((by**2).mean("star"))
    found = lux.infer(observe(test, flux, seed), model)
    flagged = float((found["flags"] > 0).mean())
    settled = float((found["flags"] & flags.BIT["not_settled"] == 0).mean())
    click.echo(
        f"| {case} | {name} | {float(move.median()):.2f} | {float(move.max()):.2f} | "
        f"{flagged:.1%} | {settled:.1%} |"
    )


if __name__ == "__main__":
    main()
