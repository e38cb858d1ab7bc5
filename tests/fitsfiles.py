"""Builders of survey files from their official descriptions, and where real files are."""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from surveyfiles import (
    build_arrays,
    build_desi,
    build_galah_dr3,
    build_galah_dr4,
    build_lrs,
    build_mrs,
    build_xp,
    build_xp_continuous,
    spectra_arrays,
    xp_arrays,
    xp_coefficients,
)

#: Real files that ship with the tests, and more of them beside the repository on some machines.
DATA = Path(__file__).parent / "data"
SHARED = Path(__file__).resolve().parents[2] / "shared" / "data" / "fixtures"
FILES = SHARED.parent / "files"

APSTAR = DATA / "apStar-dr17-2M19485057+5005279.fits"
APVISIT = DATA / "apVisit-r13-9518-57729-104.fits"
SPEC = DATA / "spec-3586-55181-0500.fits"

APOGEE_PIXELS, BOSS_PIXELS = 8575, 4648


def shared(name: str) -> Path:
    """Return a file that does not ship with the tests; skip where it is not."""
    path = SHARED / name
    if not path.exists():
        pytest.skip(f"no {name} beside the repository")
    return path


def find_real(name: str) -> Path:
    """Return a real file by its name, which may not ship with the tests; skip where it is not."""
    for path in (DATA / name, *FILES.glob(f"*/{name}")):
        if path.exists():
            return path
    pytest.skip(f"no {name} beside the repository")


#: Columns of DR20 by kind of file and instrument, ``name:TFORM``; ``*`` is the number of pixels.
MWM_COLUMNS = {
    ("mwmStar", "APOGEE"): """
    spectrum_pk:K release:4A filetype:6A v_astra:5A healpix:J sdss_id:K apred:4A obj:18A
    telescope:6A min_mjd:J max_mjd:J n_entries:J n_visits:J n_good_visits:J n_good_rvs:J snr:E
    mean_fiber:E std_fiber:E spectrum_flags:K v_rad:E e_v_rad:E std_v_rad:E median_e_v_rad:E
    doppler_teff:E doppler_e_teff:E doppler_logg:E doppler_e_logg:E doppler_fe_h:E doppler_e_fe_h:E
    doppler_rchi2:E doppler_flags:K xcorr_v_rad:E xcorr_v_rel:E xcorr_e_v_rel:E ccfwhm:E autofwhm:E
    n_components:J wavelength:*E flux:*E ivar:*E pixel_flags:*E continuum:*E
    nmf_rectified_model_flux:*E nmf_rchi2:E nmf_flags:K
    """,
    ("mwmStar", "BOSS"): """
    spectrum_pk_id:K release:5A filetype:7A v_astra:5A healpix:J sdss_id:K run2d:6A telescope:6A
    min_mjd:J max_mjd:J n_visits:J n_good_visits:J n_good_rvs:J v_rad:E e_v_rad:E std_v_rad:E
    median_e_v_rad:E xcsao_teff:E xcsao_e_teff:E xcsao_logg:E xcsao_e_logg:E xcsao_fe_h:E
    xcsao_e_fe_h:E xcsao_meanrxc:E snr:E gri_gaia_transform_flags:K zwarning_flags:K wavelength:*E
    flux:*E ivar:*E pixel_flags:*E continuum:*E nmf_rectified_model_flux:*E nmf_rchi2:E nmf_flags:K
    """,
    ("mwmVisit", "APOGEE"): """
    spectrum_pk:K catalogid:K star_pk:K visit_pk:K rv_visit_pk:K release:4A filetype:6A v_astra:5A
    healpix:J sdss_id:K apred:4A plate:5A telescope:6A fiber:J mjd:J field:6A prefix:2A reduction:1A
    obj:18A date_obs:26A jd:E exptime:E dithered:L f_night_time:E input_ra:E input_dec:E n_frames:J
    assigned:J on_target:J valid:J fps:L snr:E in_stack:L spectrum_flags:K v_rad:E v_rel:E e_v_rel:E
    bc:E doppler_teff:E doppler_e_teff:E doppler_logg:E doppler_e_logg:E doppler_fe_h:E
    doppler_e_fe_h:E doppler_rchi2:E doppler_flags:K xcorr_v_rad:E xcorr_v_rel:E xcorr_e_v_rel:E
    ccfwhm:E autofwhm:E n_components:J flux:*E ivar:*E pixel_flags:*E continuum:*E nmf_rchi2:E
    nmf_flags:K
    """,
    ("mwmVisit", "BOSS"): """
    spectrum_pk_id:K drp_spectrum_pk_id:K release:5A filetype:8A v_astra:5A healpix:J sdss_id:K
    run2d:6A mjd:J fieldid:J catalogid:K n_exp:J exptime:E plateid:J cartid:J mapid:J slitid:J
    psfsky:J preject:E n_std:J n_gal:J lowrej:J highrej:J scatpoly:J proftype:J nfitpoly:J skychi2:E
    schi2min:E schi2max:E alt:E az:E telescope:6A seeing:E airmass:E airtemp:E dewpoint:E humidity:E
    pressure:E dust_a:E dust_b:E gust_direction:E gust_speed:E wind_direction:E wind_speed:E
    moon_dist_mean:E moon_phase_mean:E n_guide:J tai_beg:K tai_end:K fiber_offset:L f_night_time:E
    delta_ra:1E delta_dec:1E snr:E in_stack:L gri_gaia_transform_flags:K zwarning_flags:K
    xcsao_v_rad:E xcsao_e_v_rad:E xcsao_teff:E xcsao_e_teff:E xcsao_logg:E xcsao_e_logg:E
    xcsao_fe_h:E xcsao_e_fe_h:E xcsao_rxc:E flux:*E ivar:*E wresl:*E pixel_flags:*E continuum:*E
    nmf_rchi2:E nmf_flags:K
    """,
}

#: (kind, instrument): columns that DR19 has not, or by another name.
MWM_DR19 = {
    ("mwmStar", "APOGEE"): {"spectrum_pk": "spectrum_pk_id"},
    ("mwmVisit", "APOGEE"): {"in_stack": None},
}
MWM_DR19["mwmVisit", "APOGEE"]["spectrum_pk"] = "spectrum_pk_id"

CRVAL = {"APOGEE": (4.179, 6e-6, APOGEE_PIXELS), "BOSS": (3.5523, 1e-4, BOSS_PIXELS)}


def mwm_columns(kind: str, instrument: str, release: str = "DR20") -> dict[str, str]:
    """Return the format of each column, by name."""
    columns = dict(item.split(":") for item in MWM_COLUMNS[kind, instrument].split())
    if release == "DR20":
        return columns
    renamed = MWM_DR19.get((kind, instrument), {})
    return {renamed.get(n, n): form for n, form in columns.items() if renamed.get(n, n)}


def mwm_hdu(
    kind: str, instrument: str, site: str, n: int,
    *, release: str = "DR20", sdss_id: int = 99560000, seed: int = 0,
    **given: Any,
) -> fits.BinTableHDU:  # fmt: skip
    """Return the table of an instrument at a site: n spectra, ``given`` columns as given."""
    rng = np.random.default_rng(seed)
    start, step, n_pixels = CRVAL[instrument]
    width = n_pixels if n else 0
    made: dict[str, Any] = {
        "sdss_id": np.full(n, sdss_id),
        "telescope": [f"{site.lower()}25m"] * n,
        "snr": rng.uniform(20, 200, n),
        "v_rad": rng.uniform(-200, 200, n),
        "xcsao_v_rad": rng.uniform(-200, 200, n),
        "in_stack": np.full(n, True),
        "mjd": 60000 + np.arange(n),
        "spectrum_pk": 1000 * (seed + 1) + np.arange(n),
        "spectrum_pk_id": 1000 * (seed + 1) + np.arange(n),
        "n_visits": np.full(n, 3),
        "wavelength": np.tile(10 ** (start + step * np.arange(n_pixels)), (n, 1))[:, :width],
        "flux": rng.uniform(50, 100, (n, width)),
        "ivar": rng.uniform(0.5, 2, (n, width)),
        "continuum": rng.uniform(80, 90, (n, width)),
        "pixel_flags": rng.choice([0, 1, 4096, 16384 + 8], (n, width)),
        **given,
    }
    columns = []
    for name, form in mwm_columns(kind, instrument, release).items():
        array, dim = made.get(name), f"({width})" if form == "*E" else None
        if array is None and "A" not in form:
            array = np.zeros((n, width) if form == "*E" else n)
        form = f"{width}E" if form == "*E" else form if n or "A" not in form else "1A"
        columns.append(fits.Column(name, form, dim=dim, array=array if n else None))
    hdu = fits.BinTableHDU.from_columns(columns, nrows=n, name=f"{instrument}/{site}")
    hdu.header.update(
        OBSRVTRY=site, INSTRMNT=instrument, CRVAL=start, CDELT=step, CRPIX=1, NPIXELS=n_pixels
    )
    return hdu


@functools.cache
def make_empty_mwm_hdu(*names: Any, **options: Any) -> fits.BinTableHDU:
    """Return the table of an instrument without spectra, which takes as long to make as others."""
    return mwm_hdu(*names, **options)


def write_mwm(
    path: Path,
    kind: str,
    counts: dict[str, int],
    *,
    given: dict[str, dict[str, Any]] | None = None,
    **options: Any,
) -> Path:
    """Write an mwmStar or mwmVisit file with so many spectra in each HDU: ``{"APOGEE/LCO": 1}``."""
    primary = fits.PrimaryHDU()
    primary.header.update(
        V_ASTRA="0.8.1",
        SDSS_ID=99560000,
        APOGEEID="2M12283021-6635525",
        GAIA3_ID=5593130580092485504,
        RA=113.17667,
    )
    primary.header.update(DEC=-31.404102, V_RAD=115.68624)
    hdus = fits.HDUList([primary])
    for seed, name in enumerate(("BOSS/APO", "BOSS/LCO", "APOGEE/APO", "APOGEE/LCO")):
        columns, n = (given or {}).get(name, {}), counts.get(name, 0)
        make = mwm_hdu if n or columns else make_empty_mwm_hdu
        hdus.append(make(kind, *name.split("/"), n, seed=seed, **columns, **options))
    hdus.writeto(path, checksum=True, overwrite=True)
    return path


#: Columns of astraStarASPCAP, of some 300; ``*`` is the number of pixels.
ASTRA_COLUMNS = """
    release:4A sdss_id:K telescope:6A snr:E spectrum_pk_id:K task_pk:K v_astra:5A wavelength:*E
    model_flux:*E continuum:*E model_flux_mg_h:*E teff:E e_teff:E mg_h:E rchi2:E result_flags:K
"""


def write_astrastar(
    path: Path, counts: dict[str, int], *, name: str = "mwmStar-0.6.0-99560000.fits"
) -> Path:
    """Write an astraStarASPCAP file with so many fits in each HDU, and its mwmStar file beside."""
    hdus = fits.HDUList([fits.PrimaryHDU()])
    for seed, hdu in enumerate(("BOSS/APO", "BOSS/LCO", "APOGEE/APO", "APOGEE/LCO")):
        instrument, site = hdu.split("/")
        n, rng = counts.get(hdu, 0), np.random.default_rng(100 + seed)
        start, step, n_pixels = CRVAL[instrument]
        width = n_pixels if n else 0
        made: dict[str, Any] = {
            "sdss_id": np.full(n, 99560000),
            "telescope": [f"{site.lower()}25m"] * n,
            "rchi2": rng.uniform(0.8, 2, n),
            "wavelength": np.tile(10 ** (start + step * np.arange(n_pixels)), (n, 1))[:, :width],
            "model_flux": rng.uniform(0.7, 1, (n, width)),
            "continuum": rng.uniform(80, 90, (n, width)),
        }
        columns = []
        for item in ASTRA_COLUMNS.split():
            column, form = item.split(":")
            array = made.get(column)
            if array is None and "A" not in form:
                array = np.zeros((n, width) if form == "*E" else n)
            form = f"{width}E" if form == "*E" else form
            columns.append(fits.Column(column, form, array=array if n else None))
        hdus.append(fits.BinTableHDU.from_columns(columns, nrows=n, name=hdu))
    hdus.writeto(path, overwrite=True)
    write_mwm(path.with_name(name), "mwmStar", counts)
    return path


def write_apstar(
    path: Path, n_visits: int = 3, *, name: str = "2M00000000+0000000", seed: int = 0
) -> Path:
    """Write an apStar file: coadd, another weighting of it, and the visits."""
    rng = np.random.default_rng(seed)
    shape = (n_visits + 2, APOGEE_PIXELS)
    arrays = (
        rng.uniform(50, 100, shape).astype("f4"),
        rng.uniform(0.5, 2, shape).astype("f4"),
        rng.choice([0, 1, 4096], shape).astype("i2"),
    )
    hdus = fits.HDUList([fits.PrimaryHDU(), *map(fits.ImageHDU, arrays)])
    hdus[0].header.update(OBJID=name, SNR=80.5, NVISITS=n_visits, RA=217.7, DEC=8.97)
    hdus[0].header.update({f"SNRVIS{i + 1}": 40.0 + i for i in range(n_visits)})
    for hdu in hdus:
        hdu.header.update(CRVAL1=4.179, CDELT1=6e-6, CRPIX1=1)
    hdus.writeto(path, overwrite=True)
    return path


def write_aspcapstar(path: Path, *, id_in: str = "OBJ", seed: int = 0) -> Path:
    """Write an aspcapStar file, with the star's name in a keyword of the header or in its table."""
    rng = np.random.default_rng(seed)
    arrays = [
        rng.uniform(low, high, APOGEE_PIXELS).astype("f4")
        for low, high in ((0.7, 1), (0.01, 0.02), (0.7, 1))
    ]
    names = [
        fits.Column("APOGEE_ID", "18A", array=["2M14305591+0858023"]),
        fits.Column("SNR", "E", array=[80.5]),
    ]
    hdus = fits.HDUList(
        [fits.PrimaryHDU(), *map(fits.ImageHDU, arrays), fits.BinTableHDU.from_columns(names)]
    )
    hdus[0].header.update(SNR=80.5, RA=217.7, DEC=8.97)
    if id_in != "APOGEE_ID":
        hdus[0].header[id_in] = "2M14305591+0858023"
    for hdu in hdus[1:4]:
        hdu.header.update(CRVAL1=4.179, CDELT1=6e-6, CRPIX1=1)
    hdus.writeto(path, overwrite=True)
    return path


Seeds = Callable[[Path], list[Path]]

#: Sound files of each format, from which damaged ones are made.
SEEDS: dict[str, Seeds] = {
    "apstar": lambda tmp: [APSTAR, write_apstar(tmp / "apStar.fits")],
    "aspcapstar": lambda tmp: [
        write_aspcapstar(tmp / f"{key}.fits", id_in=key) for key in ("OBJ", "APOGEE_ID")
    ],
    "apvisit": lambda tmp: [APVISIT],
    "spec": lambda tmp: [SPEC],
    "mwmstar-apogee": lambda tmp: [
        write_mwm(tmp / "a.fits", "mwmStar", {"APOGEE/APO": 1, "APOGEE/LCO": 1})
    ],
    "mwmstar-boss": lambda tmp: [write_mwm(tmp / "b.fits", "mwmStar", {"BOSS/LCO": 1})],
    "astrastar-apogee": lambda tmp: [
        write_astrastar(tmp / "astraStarASPCAP-0.6.0-99560000.fits", {"APOGEE/APO": 1})
    ],
    "astrastar-boss": lambda tmp: [
        write_astrastar(
            tmp / "astraStarSlam-0.6.0-99560001.fits",
            {"BOSS/LCO": 1},
            name="mwmStar-0.6.0-99560001.fits",
        )
    ],
    "mwmvisit-apogee": lambda tmp: [
        write_mwm(tmp / "va.fits", "mwmVisit", {"APOGEE/APO": 2, "APOGEE/LCO": 1})
    ],
    "lamost-lrs": lambda tmp: [
        build_lrs(tmp / f"spec-{layout}.fits", layout=layout) for layout in ("old", "new")
    ],
    "lamost-mrs": lambda tmp: [
        build_mrs(tmp / f"med-{layout}.fits", layout=layout) for layout in ("old", "new")
    ],
    "galah-dr3": lambda tmp: [build_galah_dr3(tmp, cameras="3")["3"]],
    "galah-dr4": lambda tmp: [build_galah_dr4(tmp / "170418003701205_allstar_fit_spectrum.fits")],
    "desi": lambda tmp: [
        build_desi(tmp / "coadd-main-bright-1.fits"),
        build_desi(tmp / "spectra-main-bright-1.fits", kind="spectra", cameras="BZ"),
    ],
    "gaia-xp": lambda tmp: [
        build_xp(tmp / f"xp.{kind}", xp_arrays(3)) for kind in ("csv", "ecsv", "fits", "vot")
    ],
    "gaia-xp-continuous": lambda tmp: [
        build_xp_continuous(tmp / f"xpc.{kind}", xp_coefficients(2))
        for kind in ("csv", "ecsv", "fits", "vot")
    ],
    "gaia-xp-coefficients": lambda tmp: [
        build_xp_continuous(tmp / f"xpk.{kind}", xp_coefficients(2))
        for kind in ("fits", "csv", "vot")
    ],
    "arrays": lambda tmp: [
        build_arrays(tmp / f"arrays.{kind}", spectra_arrays())
        for kind in ("h5", "npz", "table.fits", "fits")
    ],
    "mwmvisit-boss": lambda tmp: [
        write_mwm(tmp / "vb.fits", "mwmVisit", {"BOSS/APO": 3, "APOGEE/APO": 1})
    ],
}

#: Those that can be read with what is installed.
READABLE = {
    name: seeds
    for name, seeds in SEEDS.items()
    if name != "gaia-xp-continuous" or importlib.util.find_spec("gaiaxpy")
}
