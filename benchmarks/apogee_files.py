"""Make apStar files and an allStar catalogue from a real apStar file and an emulator.

    python benchmarks/apogee_files.py apStar-dr17-2M19485057+5005279.fits apogee_nn5.npz DIR

Every star has labels of a giant of the package's sample, the spectrum that the emulator gives for
them on the pixels it has, the real star's elsewhere, the real star's continuum and mask, noise of a
signal-to-noise ratio of its own, and labels with errors in DIR/allStar-replicas.fits, in the
columns of DR17. DIR/apstar holds the files; a few are damaged. The emulator (per-pixel networks of
five labels, fitted to real APOGEE spectra) is that of tingyuansen/binspec_plus.
"""

from pathlib import Path

import click
import numpy as np
from astropy.io import fits
from astropy.table import Table

from luxscale.examples.giants import LABELS, draw_labels, load_emulator
from luxscale.prepare import default_recipe, prepare
from luxscale.progress import Progress
from luxscale.readers import get_format

#: Errors of the labels, about ASPCAP's.
ERRORS = {"TEFF": 20.0, "LOGG": 0.05, "FE_H": 0.02, "MG_FE": 0.03}

#: Files that are spoilt, one each of: cut short, not FITS, a second file of a star.
SPOILT = 3


def draw_giants(stars, net, rng):
    """Draw labels (star, label) of giants inside the emulator's range, in its order."""
    drawn = draw_labels(40 * stars, load_emulator()["sample"], rng)
    teff, logg, m_h, mg = (drawn[:, LABELS.index(n)] for n in ("teff", "logg", "m_h", "mg_m"))
    # km/s, the relation of ASPCAP
    vmacro = 10 ** (0.741 - 0.0998 * logg - 0.225 * m_h)
    labels = np.stack([teff, logg, m_h, mg, vmacro], axis=1)
    inside = (labels > net["x_min"]) & (labels < net["x_max"])
    return labels[inside.all(axis=1)][:stars]


def render(labels, net):
    """Return continuum-normalised flux (pixel,) of one star."""
    low, high = net["x_min"], net["x_max"]
    x = (labels - low) / (high - low) - 0.5
    inner = 1 / (1 + np.exp(-(net["w_array_0"] @ x + net["b_array_0"])))
    return np.einsum("pk,pk->p", net["w_array_1"], inner) + net["b_array_1"]


def read_template(path):
    """Return header, normalised flux, continuum and mask of the real star."""
    fmt = get_format("apstar")
    (spectra,) = fmt.read(path)
    ready = prepare(spectra, fmt, default_recipe(fmt), fmt.grid)
    good = ready.flux_ivar[0] > 0
    flux = np.where(good, ready.flux[0], 1)
    # where a pixel is bad the continuum is interpolated
    ratio = spectra.flux[0][good] / ready.flux[0][good]
    continuum = np.interp(fmt.grid, fmt.grid[good], ratio)
    mask = spectra.mask[0].astype(np.int16)
    return fits.getheader(path), flux, continuum, mask


def write_star(path, header, name, snr, arrays):
    """Write an apStar file of one row."""
    hdus = [fits.PrimaryHDU(), *(fits.ImageHDU(a) for a in arrays)]
    primary = hdus[0].header
    for key in ("CRVAL1", "CDELT1", "RA", "DEC", "FIELD"):
        primary[key] = header[key]
    primary.update({"OBJID": name, "SNR": snr, "NVISITS": 1})
    path.parent.mkdir(parents=True, exist_ok=True)
    fits.HDUList(hdus).writeto(path, overwrite=True)


@click.command()
@click.argument("star", type=click.Path(exists=True))
@click.argument("emulator", type=click.Path(exists=True))
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--stars", default=5000, show_default=True)
@click.option("--seed", default=0, show_default=True)
def main(star, emulator, out, stars, seed):
    rng = np.random.default_rng(seed)
    with np.load(emulator, allow_pickle=False) as file:
        net = {name: file[name] for name in file.files if name != "label_names"}
    grid = get_format("apstar").grid
    pixels = np.rint(np.log10(net["wavelength_A"] / grid[0]) / 6e-6).astype(int)
    header, flux, continuum, mask = read_template(star)
    labels = draw_giants(stars, net, rng)
    rows = []
    with Progress("writing files", len(labels), unit="files") as shown:
        for i, truth in enumerate(labels):
            name = f"2M{i:08d}+{i % 10_000_000:07d}"
            snr = float(rng.uniform(30, 200))
            spectrum = flux.copy()
            spectrum[pixels] = render(truth, net)
            error = continuum * np.sqrt(np.maximum(spectrum, 0.05)) / snr
            observed = continuum * spectrum + error * rng.standard_normal(error.size)
            path = out / "apstar" / f"{i // 1000:03d}" / f"apStar-replica-{name}.fits"
            write_star(path, header, name, snr, [observed.astype("f4"), error.astype("f4"), mask])
            noisy = truth[:4] + rng.standard_normal(4) * list(ERRORS.values())
            flags = (0, 0, 0)
            rows.append((name, snr, *flags, *noisy, *ERRORS.values(), 0, 0))
            shown.update(i + 1)
    write_spoilt_files(out, path)
    write_catalog(out / "allStar-replicas.fits", rows)
    click.echo(f"{out}: {len(labels):,} stars, {SPOILT} spoilt files, allStar-replicas.fits")


def write_catalog(path, rows):
    """Write the labels of all stars, in the columns of DR17."""
    names = ["APOGEE_ID", "SNR", "STARFLAG", "ASPCAPFLAG", "EXTRATARG"]
    names += [*ERRORS, *(f"{name}_ERR" for name in ERRORS)]
    names += ["FE_H_FLAG", "MG_FE_FLAG"]
    Table(rows=rows, names=names).write(path, overwrite=True)


def write_spoilt_files(out, path):
    """Write files that cannot be used, from a whole one."""
    whole = path.read_bytes()
    folder = out / "apstar"
    (folder / "apStar-replica-cut.fits").write_bytes(whole[: len(whole) // 2])
    (folder / "apStar-replica-text.fits").write_text("this is no FITS file\n")
    (folder / "apStar-replica-again.fits").write_bytes(whole)


if __name__ == "__main__":
    main()
