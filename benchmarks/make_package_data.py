"""Make the two data files that ship inside luxscale/data from their published sources.

`xp` selects real Gaia XP spectra of red giants with APOGEE labels; `emulator` reduces a neural
emulator of giant spectra to what `luxscale.examples.simulate` needs. The same sources and seed
select the same stars. What is selected and how far it is rounded is written in
luxscale/data/README.md.

    cd benchmarks
    python make_package_data.py xp XP_APOGEE.h5 ../luxscale/data/xp_giants.npz
    python make_package_data.py emulator BOSS22.npz RGB_LABELS.npz DIR/giants_emulator.npz

Needs numpy, click and, for `xp`, h5py.
"""

import click
import numpy as np

from luxscale.examples.giants import TRENDS, draw_labels, run_networks

XP_LABELS = {"teff": "teff", "logg": "logg", "fe_h": "fe_h", "alpha_m": "alpha_m", "ak_targ": "a_k"}
XP_UNITS = {"teff": "K", "logg": "dex(cm s-2)", "fe_h": "dex", "alpha_m": "dex", "a_k": "mag"}
# Catalogue errors are formal: the floor is the external accuracy of the labels.
XP_ERROR_FLOOR = {"teff": 30.0, "logg": 0.05, "fe_h": 0.03, "alpha_m": 0.02, "a_k": 0.03}
FLUX_STEP = 0.098  # of flux_err: rounding moves a flux by less than 1/20 of its error
LOG_ERR_STEP = 0.0098  # natural log: rounding moves an error by less than 0.5%

BAND = (4000.0, 8288.0)  # Angstrom; 0.5 A pixels, averaged in pairs
NET_NAMES = {"mh": "m_h"} | {name.replace("_", ""): name for name in TRENDS}


def find_giants(catalog, flux, error):
    """Return rows of giants with a finite spectrum, S/N above 20 and a believable extinction."""
    teff, logg, a_k = (catalog[k] for k in ("teff", "logg", "ak_targ"))
    good = np.isfinite(flux).all(axis=1)
    good &= np.median(flux / error, axis=1) > 20
    good &= np.abs(a_k - 1) < 2
    giant = (teff > 3500) & (teff < 5500) & (logg > 0) & (logg < 3.5)
    return np.flatnonzero(good & giant)


def read_labels(catalog, rows):
    """Return label values and errors (star, label), NaN where either is missing.

    The floor of an error is added in quadrature.
    """
    value = np.stack([catalog[k][rows] for k in XP_LABELS], axis=1)
    formal = [catalog.get(f"{k}_err", np.zeros_like(catalog[k]))[rows] for k in XP_LABELS]
    floor = np.array(list(XP_ERROR_FLOOR.values()), "f4")
    error = np.hypot(np.stack(formal, axis=1), floor)
    missing = ~(np.isfinite(value) & np.isfinite(error))
    value[missing] = error[missing] = np.nan
    return value, error


def round_spectra(flux, error):
    """Return integers that stand for spectra.

    They are steps of the error, and steps of the logarithm of that error.
    """
    log_steps = np.rint(np.log(error.astype("f8")) / LOG_ERR_STEP)
    step = FLUX_STEP * np.exp(LOG_ERR_STEP * log_steps)
    steps = np.rint(flux / step)
    assert max(np.abs(steps).max(), np.abs(log_steps).max()) < 2**15
    return {
        "flux_steps": steps.astype("i2"),
        "log_err_steps": log_steps.astype("i2"),
        "flux_step": FLUX_STEP,
        "log_err_step": LOG_ERR_STEP,
    }


def find_band(wavelength):
    """Return the slice of the pixels in BAND, and the mean wavelength of each pair."""
    first, last = np.searchsorted(wavelength, BAND)
    pairs = wavelength[first:last].reshape(-1, 2)
    return slice(first, last), pairs.mean(axis=1)


def stack_networks(full, pixels):
    """Return the three networks as arrays (net, input, output).

    The weights of the last layer, and its offsets, come by themselves, averaged over pairs of
    pixels.
    """
    tags = [str(t) for t in full["tags"]]
    nets = {k: np.stack([full[f"{k}_{t}"].T for t in tags]) for k in ("w0", "b0", "w1", "b1")}
    nets["label_min"] = np.stack([full[f"xmin_{t}"] for t in tags])
    nets["label_max"] = np.stack([full[f"xmax_{t}"] for t in tags])
    last_w = np.stack([full[f"w2_{t}"][pixels].T for t in tags])
    last_b = np.stack([full[f"b2_{t}"][pixels] for t in tags])
    return nets, average_pairs(last_w), average_pairs(last_b)


def average_pairs(array):
    """Average neighbours along the last axis, two by two."""
    return array.reshape(*array.shape[:-1], -1, 2).mean(axis=-1)


def sample_catalog(catalog, size, rng):
    """Draw rows (teff, logg, m_h, alpha_m) of real giants that lie inside the emulator's range."""
    teff, logg, m_h, alpha = catalog.T
    inside = (teff > 3600) & (teff < 5400) & (logg > 0.1) & (logg < 3.4)
    inside &= (m_h > -2) & (m_h < 0.4) & (np.abs(alpha) < 0.45)
    rows = rng.choice(np.flatnonzero(inside), size, replace=False)
    return catalog[np.sort(rows)].astype("f4")


def find_components(flux, rank):
    """Return the mean (wavelength,) and leading directions (rank, wavelength) of spectra."""
    mean = flux.mean(axis=0)
    off = flux - mean
    _, vectors = np.linalg.eigh(off.T @ off)
    return mean, vectors[:, ::-1][:, :rank].T.copy()


def reduce_emulator(nets, last_w, last_b, mean, basis):
    """Return the emulator with its last layer projected on `basis`.

    It goes from labels to coefficients to a spectrum.
    """
    half = {k: v.astype("f2") for k, v in nets.items() if not k.startswith("label")}
    last = {"w2": last_w @ basis.T, "b2": (last_b - mean) @ basis.T, "mean": mean}
    single = {k: v.astype("f4") for k, v in last.items()}
    return nets | half | single | {"basis": basis.astype("f2")}


def report(miss):
    """Print how far reduced spectra (star, wavelength) are from the full emulator's."""
    squared = miss.astype("f8") ** 2
    rms = np.sqrt(squared.mean())
    star = np.sqrt(squared.mean(axis=1))
    pixel = np.sqrt(squared.mean(axis=0))
    star = np.percentile(star, [50, 99, 100]).round(6)
    click.echo(
        f"rms error {rms:.6f}; of a star: median, 99%, worst {star}; worst pixel {pixel.max():.6f}"
    )


@click.group(help=__doc__.splitlines()[0])
def main():
    pass


@main.command()
@click.argument("source", type=click.Path(exists=True))
@click.argument("out", type=click.Path())
@click.option("--stars", default=6000, show_default=True)
@click.option("--seed", default=0, show_default=True)
def xp(source, out, stars, seed):
    """Select and round XP spectra from SOURCE (HDF5)."""
    import h5py

    with h5py.File(source) as h:
        catalog = {k: h["catalog"][k][:] for k in h["catalog"]}
        flux, error, wavelength = h["flux"][:], h["flux_error"][:], h["wavelength_nm"][:]
    rows = np.random.default_rng(seed).choice(
        find_giants(catalog, flux, error), stars, replace=False
    )
    value, label_error = read_labels(catalog, rows)
    np.savez_compressed(
        out,
        apogee_id=catalog["apogee_id"][rows].astype("S18"),
        gaia_source_id=catalog["gaiaedr3_source_id"][rows],
        wavelength_nm=wavelength,
        **round_spectra(flux[rows], error[rows]),
        label=np.array(list(XP_UNITS)),
        label_units=np.array(list(XP_UNITS.values())),
        label_value=value,
        label_err=label_error,
    )


@main.command()
@click.argument("source", type=click.Path(exists=True))
@click.argument("catalog", type=click.Path(exists=True))
@click.argument("out", type=click.Path())
@click.option("--rank", default=100, show_default=True, help="Principal components kept.")
@click.option("--rows", default=10_000, show_default=True, help="Real giants kept.")
@click.option("--seed", default=0, show_default=True)
def emulator(source, catalog, out, rank, rows, seed):
    """Reduce the emulator SOURCE (npz) and sample the labels in CATALOG (npz)."""
    rng = np.random.default_rng(seed)
    full = dict(np.load(source))
    pixels, wavelength = find_band(full["wavelength_A"])
    nets, last_w, last_b = stack_networks(full, pixels)
    sample = sample_catalog(np.load(catalog)["labels"], rows, rng)
    names = [NET_NAMES.get(str(name), str(name)) for name in full["label_names"]]
    nets["label_names"] = np.array(names)
    # one set of stars to find the components, another to measure what they miss
    seen_labels = draw_labels(rows, sample, rng)
    unseen_labels = draw_labels(rows, sample, rng)
    whole = nets | {"w2": last_w, "b2": last_b}
    mean, basis = find_components(run_networks(seen_labels, whole), rank)
    unseen = run_networks(unseen_labels, whole)
    small = reduce_emulator(nets, last_w, last_b, mean, basis)
    coefficients = run_networks(unseen_labels, small)
    report(coefficients @ small["basis"].astype("f4") + small["mean"] - unseen)
    np.savez_compressed(out, wavelength_angstrom=wavelength, sample=sample, **small)


if __name__ == "__main__":
    main()
