"""Builders of files of LAMOST, GALAH and Gaia, and of arrays, from the surveys' descriptions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from astropy.io import fits
from astropy.table import Table

LAMOST_HEADER = {
    "RA": 99.316263,
    "DEC": 27.23237,
    "DESIG": "LAMOST J063715.90+271356.5",
    "OBSID": 101003,
    "Z": -0.0002,
}


def lamost_arrays(wavelength: np.ndarray, seed: int = 0) -> dict[str, np.ndarray]:
    """Return what files hold of each pixel, float32 all of it, by the names from DR9 on."""
    rng = np.random.default_rng(seed)
    n = len(wavelength)
    arrays = {
        "FLUX": rng.uniform(500, 1000, n),
        "IVAR": rng.uniform(0.001, 0.01, n),
        "WAVELENGTH": wavelength,
        "ANDMASK": rng.choice([0, 0, 1, 8, 32], n),
        "ORMASK": rng.choice([0, 1, 9, 33], n),
    }
    return {name: array.astype("f4") for name, array in arrays.items()}


def lamost_table(
    arrays: dict[str, np.ndarray], *, name: str, one_row: bool = True
) -> fits.BinTableHDU:
    if not one_row:
        return fits.BinTableHDU.from_columns(
            [fits.Column(n, "E", array=a) for n, a in arrays.items()], name=name
        )
    columns = [fits.Column(n, f"{len(a)}E", array=a[None]) for n, a in arrays.items()]
    return fits.BinTableHDU.from_columns(columns, name=name)


def build_lrs(
    path: Path, *, layout: str = "new", n_pixels: int = 3909, seed: int = 0, **header: Any
) -> Path:
    """Write a LAMOST LRS file: ``old`` as from DR2 to DR8, ``new`` as from DR9."""
    arrays = lamost_arrays(10 ** (3.5682 + 1e-4 * np.arange(n_pixels)), seed)
    snr = {f"SNR{band}": 20.0 + i for i, band in enumerate("UGRIZ")}
    facts = {
        **LAMOST_HEADER,
        "FILENAME": path.name,
        **snr,
        "COEFF0": 3.5682,
        "COEFF1": 1e-4,
        **header,
    }
    if layout == "old":
        hdus = fits.HDUList([fits.PrimaryHDU(np.array(list(arrays.values())))])
    else:
        hdus = fits.HDUList([fits.PrimaryHDU(), lamost_table(arrays, name="COADD")])
    hdus[0].header.update({k: v for k, v in facts.items() if v is not None})
    hdus.writeto(path, overwrite=True)
    return path


def build_mrs(
    path: Path, *, layout: str = "new", arms: str = "BR", seed: int = 0, **header: Any
) -> Path:
    """Write a LAMOST MRS file with the coadds of some arms and one exposure of each."""
    ranges = {"B": (3.6946, 3370), "R": (3.7994, 3310)}
    hdus = fits.HDUList([fits.PrimaryHDU()])
    hdus[0].header.update({**LAMOST_HEADER, "Z": None, "FILENAME": path.name, **header})
    for name in [f"COADD_{a}" for a in arms] + [f"{a}-84420148" for a in arms]:
        start, n = ranges[name[-1] if "COADD" in name else name[0]]
        loglam = start + 1e-5 * np.arange(n)
        arrays = lamost_arrays(10**loglam, seed)
        if layout == "old":
            arrays["LOGLAM"] = loglam.astype("f4")
            arrays.pop("WAVELENGTH")
        hdus.append(lamost_table(arrays, name=name, one_row=layout == "new"))
        hdus[-1].header["SNR"] = 40.0 if "B" in name[-1:] else 60.0
    hdus.writeto(path, overwrite=True)
    return path


#: First pixel, step and pixels of each camera, Angstrom, of the flux as observed.
HERMES = (
    (4713.6, 0.0457, 4096),
    (5648.9, 0.0546, 4096),
    (6478.5, 0.0632, 4096),
    (7585.0, 0.0737, 4096),
)


def build_galah_dr3(
    folder: Path,
    sobject_id: int = 170418003701205,
    *,
    cameras: str = "1234",
    normalised: bool = True,
    rv: float = 30.0,
) -> dict[str, Path]:
    """Write the files of a star's cameras: normalised flux at rest, of camera 4 cut short."""
    paths = {}
    for camera in cameras:
        rng = np.random.default_rng(int(camera))
        start, step, n = HERMES[int(camera) - 1]
        cut = 1288 if camera == "4" else 0
        lines = [
            rng.uniform(500, 900, n),
            rng.uniform(0.01, 0.02, n),
            rng.uniform(600, 1000, n),
            rng.uniform(5, 9, n),
        ]
        lines += [rng.uniform(0.5, 1.1, n - cut)] if normalised else []
        hdus = fits.HDUList([fits.PrimaryHDU(lines[0].astype("f4"))])
        names = ("input_sigma", "no_sky_subspectrum", "no_sky_sigma", "normalised_spectrum")
        hdus += [
            fits.ImageHDU(a.astype("f4"), name=name)
            for a, name in zip(lines[1:], names, strict=False)
        ]
        for i, hdu in enumerate(hdus):
            shift = 1 + (rv / 299792.458 if i == 4 else 0)
            first = (start + step * (cut if i == 4 else 0)) / shift
            hdu.header.update(CRVAL1=first, CDELT1=step / shift, CRPIX1=1)
        hdus[0].header.update(RV=rv)
        paths[camera] = folder / f"{sobject_id}{camera}.fits"
        hdus.writeto(paths[camera], overwrite=True)
    return paths


def build_galah_dr4(path: Path, *, fitted: bool = True, seed: int = 0) -> Path:
    """Write a table of DR4's pipeline, ``mob`` for pixels it fitted; the star is in the name."""
    rng = np.random.default_rng(seed)
    wave = np.concatenate([s + step * np.arange(n) for s, step, n in HERMES]) / (
        1 - 20 / 299792.458
    )
    columns = [
        fits.Column("wave", "D", array=wave),
        fits.Column("sob", "D", array=rng.uniform(0.5, 1.1, wave.size)),
    ]
    columns += [fits.Column("uob", "D", array=rng.uniform(0.01, 0.02, wave.size))]
    columns += [fits.Column("smod", "D", array=rng.uniform(0.5, 1.1, wave.size))]
    columns += [fits.Column("mob", "L", array=rng.random(wave.size) < 0.7)] if fitted else []
    fits.HDUList([fits.PrimaryHDU(), fits.BinTableHDU.from_columns(columns)]).writeto(
        path, overwrite=True
    )
    return path


#: First pixel on the grid of 3600 + 0.8 i Angstrom of each camera, and how many it has.
DESI = {"B": (0, 2751), "R": (2700, 2326), "Z": (4900, 2881)}


def build_desi(
    path: Path,
    *,
    cameras: str = "BRZ",
    kind: str = "coadd",
    target: Sequence[int] = (39633297352951412, 39633300968442591, 39633297352951500, -1695072),
    objtype: Sequence[str] = ("TGT", "TGT", "SKY", ""),
    seed: int = 0,
) -> Path:
    """Write a file of DESI, of which the first target is of the Milky Way Survey."""
    rng = np.random.default_rng(seed)
    n = len(target)
    columns = [
        fits.Column("TARGETID", "K", array=np.array(target)),
        fits.Column("TARGET_RA", "D", array=215 + np.arange(n)),
        fits.Column("TARGET_DEC", "D", array=53 + np.arange(n)),
        fits.Column("OBJTYPE", "3A", array=np.array(objtype)),
        fits.Column("REF_ID", "K", array=5853498713190525696 + np.arange(n)),
        fits.Column("REF_CAT", "2A", array=np.array(["G2", "", "G2", ""] + [""] * n)[:n]),
        fits.Column("DESI_TARGET", "K", array=np.where(np.arange(n) == 0, 2**61, 1)),
        fits.Column("MWS_TARGET", "K", array=np.where(np.arange(n) == 0, 2**8, 0)),
    ]
    if kind == "coadd":
        columns.append(fits.Column("COADD_NUMEXP", "I", array=1 + np.arange(n)))
        columns.append(fits.Column("COADD_FIBERSTATUS", "J", array=np.arange(n)))
    else:
        columns.append(fits.Column("EXPID", "J", array=85502 + np.arange(n)))
    hdus = fits.HDUList(
        [fits.PrimaryHDU(), fits.BinTableHDU.from_columns(columns, name="FIBERMAP")]
    )
    for name in cameras:
        first, n_pixels = DESI[name]
        wavelength = 3600 + 0.8 * (first + np.arange(n_pixels))
        shape = (n, n_pixels)
        mask = np.where(rng.random(shape) < 0.05, rng.choice([1, 4, 512], shape), 0)
        lines = np.exp(-0.5 * (np.arange(-5, 6) / 1.2)[:, None] ** 2) * np.ones(n_pixels)
        arrays = {
            "WAVELENGTH": wavelength,
            "FLUX": rng.uniform(50, 100, shape).astype("f4"),
            "IVAR": (rng.uniform(0.5, 2, shape) * (rng.random(shape) > 0.02)).astype("f4"),
            "MASK": mask.astype("u4"),
            "RESOLUTION": np.tile(lines, (n, 1, 1)).astype("f4"),
        }
        for what, array in arrays.items():
            hdus.append(fits.ImageHDU(array, name=f"{name}_{what}"))
        if kind == "coadd":  # both ways of writing masks are in use
            packed = fits.CompImageHDU(arrays["MASK"], compression_type="GZIP_1")
            packed.name = f"{name}_MASK"
            hdus[f"{name}_MASK"] = packed
    hdus.writeto(path, overwrite=True)
    return path


def xp_arrays(
    n: int, n_pixels: int = 343, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return identifiers, flux and error as an XP file holds them: float64 flux, float32 error."""
    rng = np.random.default_rng(seed)
    star = 4472832130942575872 + np.arange(n)
    flux = rng.uniform(1e-17, 1e-16, (n, n_pixels))
    return star, flux, rng.uniform(1e-19, 1e-18, (n, n_pixels)).astype("f4")


def _as_text(values: np.ndarray, brackets: str) -> str:
    words = ("null" if np.isnan(v) and brackets == "[]" else str(v) for v in values.tolist())
    return brackets[0] + ", ".join(words) + brackets[1]


def build_xp(
    path: Path,
    arrays: tuple[np.ndarray, ...],
    *,
    sampling: np.ndarray | None = None,
    archive: bool = False,
) -> Path:
    """Write sampled XP spectra as GaiaXPy does, by the name's ending, or as the archive does."""
    star, flux, error = arrays
    wavelength = 336 + 2.0 * np.arange(343) if sampling is None else sampling
    if path.suffix == ".vot":
        table = Table({"source_id": star, "flux": flux, "flux_error": error})
        table.write(path, format="votable", tabledata_format="binary2", overwrite=True)
        return path
    if path.suffix == ".fits":
        columns = [fits.Column("source_id", "K", array=star)]
        columns += [fits.Column("flux", f"{len(wavelength)}D", array=flux)]
        columns += [fits.Column("flux_error", f"{len(wavelength)}E", array=error)]
        table = fits.BinTableHDU.from_columns(columns)
        table.header["Sampling"] = str(tuple(wavelength.tolist()))
        fits.HDUList([fits.PrimaryHDU(), table]).writeto(path, overwrite=True)
        return path
    brackets = "()" if path.suffix == ".csv" and not archive else "[]"
    names = (
        ["source_id", "solution_id", "ra", "dec", "flux", "flux_error"]
        if archive
        else ["source_id", "flux"]
    )
    names += [] if archive else ["flux_error"]
    head = ["# %ECSV 1.0", "# ---", "# delimiter: ','", "# datatype:"] if brackets == "[]" else []
    head += [f"# - {{name: {name}}}" for name in names] if head else []
    if head and not archive:
        head += ["# meta:", f"#   sampling: {wavelength.tolist()}"]
    rows = []
    for i, f, e in zip(star.tolist(), flux, error, strict=True):
        arrays_text = f'"{_as_text(f, brackets)}","{_as_text(e, brackets)}"'
        rows.append(
            f"{i},375316653866487564,45.0,-0.5,{arrays_text}" if archive else f"{i},{arrays_text}"
        )
    path.write_text("\n".join([*head, ",".join(names), *rows, ""]))
    if brackets == "()":
        path.with_name(f"{path.stem}_sampling.csv").write_text(
            f'pos\n"{_as_text(wavelength, brackets)}"\n'
        )
    return path


def xp_coefficients(n: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Return what a table of continuous XP spectra holds, by column; as of DR3."""
    rng = np.random.default_rng(seed)
    columns = {
        "source_id": 5853498713190525696 + np.arange(n),
        "solution_id": np.full(n, 4545469030156206080),
    }
    for band, basis in (("bp", 56), ("rp", 57)):
        draws = rng.normal(size=(n, 55, 400)) + rng.normal(size=(n, 1, 400))
        correlations = np.stack([np.corrcoef(draw) for draw in draws])
        scale = 1e5 / (1 + np.arange(55.0)) ** 2
        columns |= {
            f"{band}_basis_function_id": np.full(n, basis, "i2"),
            f"{band}_n_parameters": np.full(n, 55, "i2"),
            f"{band}_standard_deviation": rng.uniform(1, 1.3, n).astype("f4"),
            f"{band}_coefficients": scale * rng.uniform(0.5, 1, (n, 55)),
            f"{band}_coefficient_errors": rng.uniform(10, 50, (n, 55)).astype("f4"),
            f"{band}_coefficient_correlations": correlations[:, *np.tril_indices(55, -1)].astype(
                "f4"
            ),
        }
    return columns


def build_xp_continuous(path: Path, columns: dict[str, np.ndarray]) -> Path:
    """Write continuous XP spectra by the name's ending, arrays that are all NaN as empty ones."""
    arrays = [name for name, values in columns.items() if values.ndim == 2]
    if path.suffix == ".vot":
        Table(columns).write(path, format="votable", tabledata_format="binary2", overwrite=True)
        return path
    if path.suffix == ".fits":
        forms = {"i2": "I", "i8": "K", "f4": "E", "f8": "D"}
        made = []
        for name, values in columns.items():
            kind = forms[values.dtype.str[1:]]
            if name in arrays:
                rows = np.empty(len(values), object)
                for i, row in enumerate(values):
                    rows[i] = row[:0] if np.isnan(row).all() else row
                made.append(fits.Column(name, f"P{kind}()", array=rows))
            else:
                made.append(fits.Column(name, kind, array=values))
        fits.HDUList([fits.PrimaryHDU(), fits.BinTableHDU.from_columns(made)]).writeto(
            path, overwrite=True
        )
        return path
    brackets = "[]" if path.suffix == ".ecsv" else "()"
    lines = [",".join(columns)]
    for i in range(len(columns["source_id"])):
        cells = []
        for name, values in columns.items():
            if name not in arrays:
                cells.append(str(values[i]))
            elif np.isnan(values[i]).all():
                cells.append("")
            else:
                cells.append(f'"{_as_text(values[i], brackets)}"')
        lines.append(",".join(cells))
    head = ["# %ECSV 1.0", "# ---", "# delimiter: ','"] if brackets == "[]" else []
    path.write_text("\n".join([*head, *lines, ""]))
    return path


def spectra_arrays(n: int = 4, n_pixels: int = 30, seed: int = 0) -> dict[str, np.ndarray]:
    """Return arrays of some stars by name."""
    rng = np.random.default_rng(seed)
    return {
        "flux": rng.uniform(0.5, 1.1, (n, n_pixels)).astype("f4"),
        "ivar": rng.uniform(100, 1000, (n, n_pixels)),
        "error": rng.uniform(0.01, 0.02, (n, n_pixels)),
        "mask": rng.choice([0, 0, 1, 64], (n, n_pixels)).astype("i2"),
        "wavelength": np.linspace(4000, 5000, n_pixels),
        "id": np.arange(n, dtype=np.int64) + 2**60,
        "name": np.array([f"star {i}" for i in range(n)], "S"),
        "snr": rng.uniform(10, 100, n),
    }


def build_arrays(path: Path, arrays: dict[str, np.ndarray]) -> Path:
    """Write arrays by the name's ending: HDF5, npz, ``.table.fits``, or ``.fits`` of images."""
    if path.suffix == ".h5":
        with h5py.File(path, "w") as file:
            for name, array in arrays.items():
                file[name] = array
    elif path.suffix == ".npz":
        np.savez_compressed(
            path, **{k: v.astype("U") if v.dtype.kind == "S" else v for k, v in arrays.items()}
        )
    elif path.name.endswith(".table.fits"):
        n = len(arrays["flux"])
        repeated = {k: np.tile(v, (n, 1)) if k == "wavelength" else v for k, v in arrays.items()}
        columns = [fits.Column(k, _tform(v), array=v) for k, v in repeated.items()]
        fits.HDUList([fits.PrimaryHDU(), fits.BinTableHDU.from_columns(columns)]).writeto(
            path, overwrite=True
        )
    else:
        images = [fits.ImageHDU(v, name=k) for k, v in arrays.items() if v.dtype.kind != "S"]
        fits.HDUList([fits.PrimaryHDU(), *images]).writeto(path, overwrite=True)
    return path


def _tform(array: np.ndarray) -> str:
    kind = {"f4": "E", "f8": "D", "i2": "I", "i8": "K"}.get(
        array.dtype.str[1:], f"{array.itemsize}A"
    )
    return f"{array.shape[1]}{kind}" if array.ndim == 2 else kind
