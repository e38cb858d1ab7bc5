"""What containers say of packed and missing values counts, in every reader."""

import h5py
import numpy as np
import pytest
from astropy.io import fits

from luxscale.readers import FORMATS, BadFile
from luxscale.readers.arrays import read_arrays
from luxscale.readers.packing import unpack

WAVELENGTH = 5000.0 + np.arange(6)
NAMES = {"error": "error", "star": "star"}


def read(path, **options):
    (spectra,) = read_arrays(path, **{**NAMES, **options})
    return spectra


def write_hdf5(path, flux, star, attributes, star_attributes=()):
    with h5py.File(path, "w") as file:
        file.create_dataset("flux", data=flux).attrs.update(attributes)
        file["error"] = np.full(np.shape(flux), 0.01)
        file["wavelength"] = WAVELENGTH
        file.create_dataset("star", data=star).attrs.update(dict(star_attributes))
    return path


def test_numbers_of_netcdf_are_unpacked():
    stored = np.array([-32768, 0, 10000, -1], np.int16)
    found = unpack(stored, {"_FillValue": stored[0], "scale_factor": 1e-4, "add_offset": 1.0})
    np.testing.assert_allclose(found.filled(np.nan), [np.nan, 1, 2, 0.9999])
    assert unpack(stored, {"_Unsigned": "true"}).tolist() == [32768, 0, 10000, 65535]
    assert unpack(stored, {"missing_value": [0, 10000]}).mask.tolist() == [0, 1, 1, 0]
    assert unpack(stored, {"valid_min": -1, "valid_max": [5.0]}).mask.tolist() == [1, 0, 1, 0]
    assert unpack(stored, {"valid_range": [-2, 5]}).mask.tolist() == [1, 0, 1, 0]
    assert unpack(stored, {"units": "erg"}).tolist() == stored.tolist()


def test_hdf5_as_netcdf_packs_it(tmp_path):
    flux = np.full((2, 6), 2000, np.int16)
    flux[0, 3] = -32768
    attributes = {"_FillValue": np.int16(-32768), "scale_factor": [1e-4], "add_offset": 0.8}
    ids = np.array([7, -9])
    path = write_hdf5(tmp_path / "a.h5", flux, ids, attributes, {"_FillValue": -9})
    found = read(path)
    assert np.flatnonzero(np.isnan(found.flux[0])).tolist() == [3]
    np.testing.assert_allclose(found.flux[1], 1.0)
    assert found.star.tolist() == [7, -1]


@pytest.mark.parametrize("container", ["npz", "h5"])
def test_one_star_with_a_scalar_name(container, tmp_path):
    path = tmp_path / f"a.{container}"
    flux, rv = np.ones(6), np.float64(12.5)
    if container == "npz":
        arrays = {"flux": flux, "error": flux, "wavelength": WAVELENGTH, "rv": rv}
        np.savez(path, star=np.array("HD 1"), **arrays)
    else:
        write_hdf5(path, flux, "HD 1", {})
        with h5py.File(path, "a") as file:
            file["rv"] = rv
    found = read(path, columns="rv")
    assert found.star.tolist() == ["HD 1"]
    assert found.columns["rv"].tolist() == [12.5]


def test_tables_of_fits_have_missing_whole_numbers(tmp_path):
    columns = [
        fits.Column("flux", "6I", array=np.array([[100] * 6, [-1] + [100] * 5]), null=-1),
        fits.Column("error", "6E", array=np.ones((2, 6))),
        fits.Column("wavelength", "6D", array=np.stack([WAVELENGTH] * 2)),
        fits.Column("star", "K", array=np.array([2**60 + 1, -99]), null=-99),
    ]
    fits.BinTableHDU.from_columns(columns).writeto(tmp_path / "a.fits")
    found = read(tmp_path / "a.fits")
    assert np.isnan(found.flux).sum() == 1
    assert np.isnan(found.flux[1, 0])
    assert found.star.tolist() == [2**60 + 1, -1]


def test_scaled_images_of_fits_have_missing_values(tmp_path):
    image = fits.ImageHDU(np.array([[100] * 6, [-1] + [100] * 5], np.int16), name="flux")
    image.header.update({"BSCALE": 0.01, "BZERO": 0.5, "BLANK": -1})
    path = tmp_path / "a.fits"
    others = [fits.ImageHDU(np.ones((2, 6)), name="error"), fits.ImageHDU(WAVELENGTH, name="w")]
    fits.HDUList([fits.PrimaryHDU(), image, *others]).writeto(path)
    with fits.open(path, mode="update", do_not_scale_image_data=True) as hdus:
        hdus[1].header.update({"BSCALE": 0.01, "BZERO": 0.5, "BLANK": -1})
    found = read(path, star="", wavelength="w")
    assert np.isnan(found.flux).sum() == 1
    np.testing.assert_allclose(found.flux[0], 1.5)


def test_unsigned_identifiers_keep_their_digits(tmp_path):
    path = tmp_path / "a.npz"
    ones = np.ones((2, 6))
    ids = np.array([5, 2**63 + 5], np.uint64)
    np.savez(path, flux=ones, error=ones, wavelength=WAVELENGTH, star=ids)
    assert read(path).star.tolist() == ["5", str(2**63 + 5)]


def test_wavelengths_that_differ_far_down_are_seen(tmp_path):
    grids = np.stack([WAVELENGTH] * 2000)
    grids[1900] += 1
    ones = np.ones((2000, 6))
    np.savez(tmp_path / "a.npz", flux=ones, ivar=ones, wavelength=grids)
    blocks = list(read_arrays(tmp_path / "a.npz"))
    assert len(blocks) == 2000
    np.testing.assert_array_equal(blocks[1900].wavelength, WAVELENGTH + 1)


def test_netcdf_3_is_named(tmp_path):
    (tmp_path / "a.nc").write_bytes(b"CDF\x01" + bytes(100))
    with pytest.raises(BadFile, match="netCDF 3, which is not read; write netCDF 4"):
        read(tmp_path / "a.nc")


def test_a_blank_source_of_gaia_is_no_star(tmp_path):
    numbers = "(" + ", ".join(["1.0"] * 343) + ")"
    rows = [f'{name},"{numbers}","{numbers}"' for name in ("11", "", "22")]
    text = "\n".join(["source_id,flux,flux_error", *rows, ""])
    (tmp_path / "a.csv").write_text("\ufeff" + text, encoding="utf-8")
    (found,) = FORMATS["gaia-xp"].read(tmp_path / "a.csv")
    assert found.star.tolist() == [11, -1, 22]


def test_fill_values_that_a_type_does_not_hold_mark_nothing():
    stored = np.array([0, -14336, 7], np.int16)
    for fill in (np.nan, 1e20, 116736, 0.5, "-9999"):  # 116736 is -14336 in 16 bits
        assert not unpack(stored, {"missing_value": fill}).mask.any()
    bits = unpack(stored, {"_Unsigned": "true", "_FillValue": np.int16(-14336)})
    assert bits.mask.tolist() == [False, True, False]


def test_unsigned_identifiers_with_missing_ones_keep_their_digits(tmp_path):
    path = write_hdf5(tmp_path / "a.h5", np.ones((2, 6)), np.arange(2), {})
    gaia = np.array([5853498713190525697, 0], np.uint64)
    with h5py.File(path, "a") as file:
        file.create_dataset("gaia", data=gaia).attrs["_FillValue"] = np.uint64(0)
        file["beyond"] = gaia + np.uint64(2**63)
    columns = read(path, columns="gaia,beyond").columns
    assert columns["gaia"].tolist() == [5853498713190525697, -1]
    assert columns["beyond"].tolist() == [str(5853498713190525697 + 2**63), str(2**63)]


def test_scaled_columns_of_fits_with_missing_ones_keep_their_fractions(tmp_path):
    rows = np.zeros(2, [("flux", ">f4", 6), ("error", ">f4", 6), ("star", "S1"), ("rv", ">i2")])
    rows["flux"], rows["error"], rows["star"], rows["rv"] = 1, 0.01, [b"a", b"b"], [37, -999]
    path = tmp_path / "a.fits"
    grid = fits.ImageHDU(WAVELENGTH, name="wavelength")
    fits.HDUList([fits.PrimaryHDU(), fits.BinTableHDU(rows), grid]).writeto(path)
    cards = b"".join(
        f"{name:8}= {value:>20}".encode().ljust(80) for name, value in SCALED_CARDS.items()
    )
    raw = path.read_bytes()
    end = raw.index(b"END".ljust(80), 2880)
    path.write_bytes(raw[:end] + cards + b"END".ljust(80) + raw[end + len(cards) + 80 :])
    found = read(path, columns="rv").columns["rv"]
    np.testing.assert_allclose(found, [3.7, np.nan])


SCALED_CARDS = {"TSCAL4": "0.1", "TZERO4": "0.0", "TNULL4": "-999"}


def test_what_was_never_written_to_hdf5_is_missing(tmp_path):
    path = write_hdf5(tmp_path / "a.h5", np.ones((4, 6)), ["a", "b", "c", "d"], {})
    with h5py.File(path, "r+") as file:
        del file["flux"]
        file.create_dataset("flux", (4, 6), "f8", chunks=(2, 6), fillvalue=-777.0)[:2] = 1.5
    assert np.isnan(read(path).flux).all(1).tolist() == [False, False, True, True]


def test_a_fill_value_of_0_or_1_is_a_number(tmp_path):
    path = write_hdf5(tmp_path / "a.h5", np.zeros((1, 6)), ["a"], {})
    with h5py.File(path, "r+") as file:
        del file["error"]
        file.create_dataset("error", (1, 6), "f8", fillvalue=1.0)
    found = read(path)
    assert found.flux.tolist() == [[0.0] * 6]
    assert found.ivar.tolist() == [[1.0] * 6]


def test_arrays_are_called_as_h5py_and_lists_of_words_call_them(tmp_path):
    path = write_hdf5(tmp_path / "a.h5", np.ones((1, 6)), ["a"], {})
    with h5py.File(path, "r+") as file:
        file["seen/ra"], file["seen/dec"] = [1.0], [2.0]
    found = read(path, flux="/flux", columns="/seen/ra, seen/dec")
    assert {name: values.tolist() for name, values in found.columns.items()} == {
        "seen_ra": [1.0],
        "seen_dec": [2.0],
    }
