"""Look at a model of real Gaia XP giants from every side, on giants that it was not trained on.

    python benchmarks/giants.py DIR model.zarr --recipe curved --refine 0
    python benchmarks/giants.py DIR model.zarr --stars test

Trains where MODEL does not exist yet. Giants and training stars are those of `peers/spectra.py`.
Prints seconds of training; of each label robust scatter, RMSE, misfit, the factor on formal
errors, and pulls in thirds of S/N and of magnitude: over the errors of inferred and given labels,
with formal errors in place of the former, and over those of given labels alone, which no pull
exceeds; chi2, flags and the robust scatter of spectra that are predicted from labels.
"""

import dataclasses
import time
from pathlib import Path

import click
import h5py
import numpy as np
import xarray as xr
from make_package_data import find_giants
from peers.spectra import XP_TEST, XP_TRAINING, XP_UNITS, read_xp

import luxscale as lux
from luxscale.analysis.stats import MAD_TO_SIGMA
from luxscale.model.calibration import make_constants
from luxscale.schema import flags
from luxscale.training.held_out import describe_factor
from luxscale.training.recipes import NAMES, find_recipe

THIRDS = 3
PULLS = ("both errors", "formal errors", "given ones alone")
SPECTRA = 600  # stars whose spectra are predicted from labels


def find_scatter(values, axis=0):
    """Return the robust scatter."""
    middle = np.nanmedian(values, axis=axis, keepdims=True)
    return MAD_TO_SIGMA * np.nanmedian(np.abs(values - middle), axis=axis)


def make_survey(sample):
    """Return a sample as a survey."""
    grid = ("wavelength", sample.wavelength, {"units": "Angstrom", "medium": "vacuum"})
    return xr.Dataset(
        {
            "flux": (("star", "wavelength"), sample.flux),
            "flux_ivar": (("star", "wavelength"), sample.ivar.astype("f4")),
            "label_value": (("star", "label"), sample.label),
            "label_err": (("star", "label"), sample.label_err),
        },
        {
            "star": np.arange(len(sample.flux)),
            "wavelength": grid,
            "label": np.array(sample.names, object),
            "label_units": ("label", np.array([XP_UNITS[n] for n in sample.names], object)),
        },
    )


def read_magnitudes(path, seed=0):
    """Return Gaia's G of the stars, in the order of `read_xp`."""
    with h5py.File(path) as file:
        catalog = {name: values[:] for name, values in file["catalog"].items()}
        giants = find_giants(catalog, file["flux"][:], file["flux_error"][:])
    rows = np.random.default_rng(seed).permutation(giants)
    return catalog["gaiaedr3_phot_g_mean_mag"][rows]


def train(survey, recipe, refine):
    """Return a model by a recipe, or by those that luxscale compares; with other refinement."""
    if refine is None:
        return lux.train(survey, recipe=recipe, progress=False)
    sizes = (survey.sizes["star"], survey.sizes["label"], survey.sizes["wavelength"])
    found = find_recipe(recipe, *sizes)
    settings = {**found.settings, "refine": refine}
    return lux.train(survey, found.latent_dim, method=found.method, progress=False, **settings)


def describe_labels(model, survey, brightness):
    """Yield the lines of the table: a label each."""
    label = model["label_value"]
    truth, truth_err = survey["label_value"].values, survey["label_err"].values
    catalog = lux.infer(survey, model)
    miss = catalog["label_value"].values - truth
    err = catalog["label_err"].values
    bare = dataclasses.replace(label, inflation=(), floor=np.zeros_like(label.floor))
    others = tuple(output for output in model.outputs if output is not label)
    formal = lux.infer(survey, dataclasses.replace(model, outputs=(bare, *others)))
    formal_err = formal["label_err"].values
    pulls = []
    for own in (err, formal_err, np.zeros_like(err)):
        pull = miss / np.hypot(own, truth_err)
        pulls.append([find_scatter(pull)[None], *(find_thirds(pull, b) for b in brightness)])
    rmse, scatter = np.sqrt(np.nanmean(miss**2, 0)), find_scatter(miss)
    factors = label.inflation or make_constants(np.ones(len(label.coord)))
    yield "label    scatter     RMSE  misfit  factor | pulls: all | S/N, faint first | G"
    for m, name in enumerate(label.coord):
        yield (
            f"{name:8} {scatter[m]:7.4g} {rmse[m]:8.4g} {label.floor[m]:7.4g}  "
            f"{describe_factor(factors[m])}"
        )
        for what, parts in zip(PULLS, pulls, strict=True):
            cells = " | ".join(" ".join(f"{p:.2f}" for p in part[:, m]) for part in parts)
            yield f"    {what:34} {cells}"
    raised = {name: n for name, n in flags.count(catalog["flags"].values).items() if n}
    reduced = np.median(catalog["chi2"] / catalog["n_pixels"])
    yield f"chi2 per independent value {reduced:.3f}; flags {raised}"


def find_thirds(pull, brightness):
    """Return the robust scatter of pulls in thirds of a brightness: (third, label)."""
    parts = np.array_split(np.argsort(brightness), THIRDS)
    return np.array([find_scatter(pull[rows]) for rows in parts])


def measure_spectra(model, survey):
    """Return the robust scatter of spectra from labels, over the flux."""
    stars = survey.isel(star=slice(0, SPECTRA))
    latents = lux.infer(stars, model, given="label_value")
    predicted = lux.predict(latents, model, output="flux").values
    miss = predicted / stars["flux"].values - 1
    return MAD_TO_SIGMA * np.nanmedian(np.abs(miss))


@click.command(help=__doc__.splitlines()[0])
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.argument("model_path", metavar="MODEL", type=click.Path(path_type=Path))
@click.option("--recipe", type=click.Choice(NAMES), help="Compared if not given.")
@click.option("--refine", type=int, help="Steps, in place of the recipe's; with --recipe.")
@click.option("--training", default=XP_TRAINING, show_default=True, help="Training stars.")
@click.option(
    "--stars", type=click.Choice(["validation", "test"]), default="validation", show_default=True
)
def main(folder, model_path, recipe, refine, training, stars):
    if refine is not None and not recipe:
        raise click.UsageError("--refine needs --recipe")
    path = folder / "xp_apogee.h5"
    survey = make_survey(read_xp(path))
    first_test = survey.sizes["star"] - XP_TEST
    if not model_path.exists():
        start = time.process_time(), time.perf_counter()
        model = train(survey.isel(star=slice(0, training)), recipe, refine)
        seconds = time.process_time() - start[0], time.perf_counter() - start[1]
        click.echo("training {:.0f} s of processor time, {:.0f} s in all".format(*seconds))
        model.save(model_path)
    model = lux.load_model(model_path)
    rows = slice(first_test, None) if stars == "test" else slice(training, first_test)
    seen = survey.isel(star=rows)
    signal = np.median(seen["flux"].values * np.sqrt(seen["flux_ivar"].values), axis=1)
    brightness = (signal, -read_magnitudes(path)[rows])
    click.echo(f"{model!r}\nsettings {model.provenance.settings}")
    click.echo(f"{seen.sizes['star']:,} {stars} stars")
    click.echo("\n".join(describe_labels(model, seen, brightness)))
    click.echo(f"spectra from labels: {measure_spectra(model, seen):.4f} of the flux")


if __name__ == "__main__":
    main()
