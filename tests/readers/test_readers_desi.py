"""Files of DESI: what is read agrees with a direct reading, what is no star is told."""

from __future__ import annotations

import gzip

import numpy as np
import pytest
from astropy.io import fits
from fitsfiles import find_real
from scipy.sparse import dia_array
from surveyfiles import DESI, build_desi

from luxscale.ingest import ingest
from luxscale.readers import FORMATS, BadFile
from luxscale.readers import desi as reader
from luxscale.readers.desi_cameras import compute_resolution
from luxscale.readers.fitsfile import open_large_fits
from luxscale.store import open_survey

NAME = "coadd-main-bright-1.fits"
OFF_SKY = 39633300968442591


def read(path, **options):
    (spectra,) = FORMATS["desi"].read(path, **options)
    return spectra


def join(path):
    """Join the cameras of a file pixel by pixel."""
    with fits.open(path) as hdus:
        n = len(hdus["FIBERMAP"].data)
        flux, ivar, mask = np.zeros((3, n, 7781))
        names = [name for name in "BRZ" if f"{name}_FLUX" in hdus]
        arrays = {
            name: [hdus[f"{name}_{what}"].data for what in ("WAVELENGTH", "FLUX", "IVAR", "MASK")]
            for name in names
        }
    for star in range(n):
        given = [[] for _ in range(7781)]
        for wavelength, *data in arrays.values():
            for i, values in enumerate(zip(*(array[star] for array in data), strict=True)):
                given[round((wavelength[i] - 3600) / 0.8)].append(values)
        for i, values in enumerate(given):
            good = [v for v in values if v[1] > 0 and v[2] == 0]
            mask[star, i] = 0 if good else np.bitwise_or.reduce([int(v[2]) for v in values] or [0])
            used = good or [v for v in values if v[1] > 0]
            if used:
                weights = [float(v[1]) for v in used]
                ivar[star, i] = sum(weights)
                flux[star, i] = np.average([float(v[0]) for v in used], weights=weights)
    return flux, ivar, mask


def same_spectra(spectra, path):
    flux, ivar, mask = join(path)
    np.testing.assert_allclose(spectra.flux, flux, rtol=1e-12)
    np.testing.assert_allclose(spectra.ivar, ivar, rtol=1e-12)
    np.testing.assert_array_equal(spectra.mask, mask)


def test_the_real_file():
    path = find_real("spectra-5-169-thru20210419.fits")
    spectra = read(path, targets="all")
    same_spectra(spectra, path)
    with fits.open(path) as hdus:
        fibers = hdus["FIBERMAP"].data
        assert spectra.star.tolist() == fibers["TARGETID"].tolist()
        assert spectra.columns["ra"].tolist() == fibers["TARGET_RA"].tolist()
        assert spectra.columns["fiberstatus"].tolist() == fibers["FIBERSTATUS"].tolist()
        for name in "brz":
            diagonals = hdus[f"{name}_resolution"].data[1].astype(float)
            n = diagonals.shape[1]
            matrix = dia_array((diagonals, np.arange(5, -6, -1)), shape=(n, n)).toarray()
            middle = n // 2  # how a line is spread there
            line = matrix[:, middle]
            mean = np.average(np.arange(n), weights=line)
            sigma = np.sqrt(np.average((np.arange(n) - mean) ** 2, weights=line))
            expected = hdus[f"{name}_wavelength"].data[middle] / (2.35482 * 0.8 * sigma)
            found = spectra.columns[f"resolution_{name}"]
            assert found[1] == pytest.approx(expected, rel=0.2)  # of all pixels
            one = compute_resolution(
                diagonals[None, :, middle : middle + 1],
                hdus[f"{name}_wavelength"].data[middle : middle + 1],
            )
            np.testing.assert_allclose(one, expected, rtol=1e-5)
    reasons = spectra.unfit.tolist()
    assert reasons == ["no target: the fibre was on none", "", *reasons[:1] * 2, ""]
    assert all(reason.startswith("no ") for reason in read(path).unfit)


@pytest.mark.parametrize("cameras", ["BRZ", "BZ", "R"])
@pytest.mark.parametrize("kind", ["coadd", "spectra"])
def test_cameras_are_joined(kind, cameras, tmp_path):
    path = build_desi(tmp_path / NAME, kind=kind, cameras=cameras)
    spectra = read(path)
    same_spectra(spectra, path)
    np.testing.assert_array_equal(spectra.wavelength, 3600 + 0.8 * np.arange(7781))
    for name in "BRZ":
        resolution = spectra.columns[f"resolution_{name.lower()}"]
        first, n = DESI[name]
        middle = np.median(3600 + 0.8 * (first + np.arange(n)))
        # of a Gaussian of 1.2 pixels, cut off at five
        expected = middle / (2.35482 * 0.8 * 1.2) if name in cameras else np.nan
        np.testing.assert_allclose(resolution, expected, rtol=0.01)
    assert spectra.columns["n_cameras"].tolist() == [len(cameras)] * 4
    assert spectra.columns["gaia_source_id"].tolist() == [
        5853498713190525696,
        -1,
        5853498713190525698,
        -1,
    ]
    assert np.isnan(spectra.velocity).all()


def test_sky_fibres_and_what_is_no_star_are_put_down(tmp_path):
    path = build_desi(tmp_path / NAME)
    done = ingest("desi", [path], tmp_path / "s.zarr", progress=False)
    assert (done.n_new, done.n_spectra) == (1, 4)
    assert [(star, reason.partition(":")[0]) for _, star, reason in done.quarantined] == [
        ("row 1", "no star"),
        ("row 2", "no target"),
        ("row 3", "no target"),
    ]
    done = ingest("desi", [path], tmp_path / "a.zarr", options={"targets": "all"}, progress=False)
    assert (done.n_new, len(done.quarantined)) == (2, 2)


def test_a_target_without_bits_is_no_star(tmp_path):
    path = build_desi(tmp_path / NAME, objtype=["TGT"] * 4)
    with fits.open(path, mode="update") as hdus:
        bits = hdus["FIBERMAP"].columns
        bits["DESI_TARGET"].null = bits["MWS_TARGET"].null = 999999
        hdus["FIBERMAP"].data["DESI_TARGET"][1:3] = 999999
        hdus["FIBERMAP"].data["MWS_TARGET"][1:3] = 999999
    with open_large_fits(path) as hdus:
        assert hdus["FIBERMAP"].read_rows(0, 4).find_missing("MWS_TARGET").sum() == 2
    assert [bool(reason) for reason in read(path).unfit] == [False, True, True, True]


def test_a_target_of_several_exposures(tmp_path):
    target = [OFF_SKY] * 3
    path = build_desi(
        tmp_path / NAME.replace("coadd", "spectra"),
        kind="spectra",
        target=target,
        objtype=["TGT"] * 3,
    )
    options = {"targets": "all"}
    done = ingest("desi", [path], tmp_path / "s.zarr", options=options, progress=False)
    assert (done.n_new, len(done.quarantined)) == (1, 2)
    assert all(reason.startswith("duplicate") for _, _, reason in done.quarantined)
    options["rows"] = "exposures"
    done = ingest("desi", [path], tmp_path / "e.zarr", options=options, progress=False)
    assert (done.n_new, done.quarantined) == (3, [])
    survey = open_survey(tmp_path / "e.zarr")
    assert survey.star.values.tolist() == [f"{OFF_SKY}-{85502 + i}" for i in range(3)]
    assert survey.catalog_id.values.tolist() == target
    with pytest.raises(BadFile, match="no EXPID in FIBERMAP: a file of coadds"):
        read(build_desi(tmp_path / NAME), rows="exposures")


def test_redshifts_of_the_redrock_file_beside(tmp_path):
    path = build_desi(tmp_path / NAME)
    columns = [
        fits.Column("TARGETID", "K", array=np.array([OFF_SKY, 39633297352951412])),
        fits.Column("Z", "D", array=np.array([0.5, 1e-4])),
    ]
    beside = path.with_name(NAME.replace("coadd", "redrock"))
    fits.BinTableHDU.from_columns(columns, name="REDSHIFTS").writeto(beside)
    velocity = read(path).velocity
    np.testing.assert_allclose(velocity[:2], [29.9792458, 149896.229])
    assert np.isnan(velocity[2:]).all()
    columns.append(fits.Column("ZWARN", "K", array=np.array([4, 0])))
    table = fits.BinTableHDU.from_columns(columns, name="REDSHIFTS")
    table.writeto(beside, overwrite=True)
    velocity = read(path).velocity
    np.testing.assert_allclose(velocity[0], 29.9792458)
    assert np.isnan(velocity[1:]).all()  # of one of them redrock warns
    beside.write_bytes(b"rubbish")
    with pytest.raises(BadFile, match="redrock-main-bright-1.fits beside it: not a FITS file"):
        read(path)


def test_compressed_files_and_blocks(tmp_path, monkeypatch):
    path = build_desi(tmp_path / NAME)
    packed = tmp_path / f"{NAME}.gz"
    packed.write_bytes(gzip.compress(path.read_bytes(), 1))
    np.testing.assert_array_equal(read(packed).flux, read(path).flux)
    monkeypatch.setattr(reader, "_BLOCK", 3)
    blocks = list(FORMATS["desi"].read(path))
    assert [len(block.star) for block in blocks] == [3, 1]
    flux = np.concatenate([block.flux for block in blocks])
    monkeypatch.undo()
    np.testing.assert_array_equal(flux, read(path).flux)


def change_file(path, change):
    with fits.open(path) as hdus:
        change(hdus)
        hdus.writeto(path.with_name(f"changed-{path.name}"), overwrite=True)
    return path.with_name(f"changed-{path.name}")


def rename_column(hdus, name, other):
    hdus["FIBERMAP"].columns.change_name(name, other)


def shift_grid(hdus, step):
    hdus["R_WAVELENGTH"].data += step


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda h: h.pop(1), "no FIBERMAP in it"),
        (lambda h: shift_grid(h, 0.3), "wavelengths of camera R that are not 3600"),
        (lambda h: shift_grid(h, -9000), "wavelengths of camera R that are not 3600"),
        (lambda h: shift_grid(h, np.nan), "wavelengths of camera R that are not 3600"),
        (lambda h: h.pop(h.index_of("B_IVAR")), "has no HDU 'B_IVAR'"),
        (lambda h: h.pop(h.index_of("B_WAVELENGTH")), "has no HDU 'B_WAVELENGTH'"),
        (lambda h: rename_column(h, "TARGETID", "ID"), "without column 'TARGETID'"),
        (
            lambda h: [rename_column(h, name, name[:3]) for name in ("DESI_TARGET", "MWS_TARGET")],
            "by which stars are told; --option targets=all",
        ),
    ],
)
def test_what_makes_a_file_bad(change, reason, tmp_path):
    with pytest.raises(BadFile, match=reason):
        read(change_file(build_desi(tmp_path / NAME), change))


def test_a_file_without_cameras(tmp_path):
    with pytest.raises(BadFile, match="no camera in it"):
        read(build_desi(tmp_path / NAME, cameras=""))
