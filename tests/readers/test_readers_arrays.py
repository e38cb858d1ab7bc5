"""Arrays of any file agree with what was written there, by whatever name."""

from __future__ import annotations

import gzip
import zipfile

import h5py
import numpy as np
import pytest
import xarray as xr
from astropy.io import fits
from fitsfiles import shared
from surveyfiles import build_arrays, spectra_arrays

from luxscale.errors import InputError
from luxscale.ingest import ingest
from luxscale.readers import FORMATS, BadFile, fields, get_format
from luxscale.readers import field as field_module
from luxscale.readers import grids as grids_module
from luxscale.readers.base import BLOCK

ARRAYS = FORMATS["arrays"]
NAMES = ("a.h5", "a.npz", "a.table.fits", "a.fits")


def read(path, **options):
    (spectra,) = ARRAYS.read(path, **options)
    return spectra


@pytest.mark.parametrize("name", NAMES)
def test_arrays_by_their_names(name, tmp_path):
    arrays = spectra_arrays()
    spectra = read(build_arrays(tmp_path / name, arrays), star="id", mask="mask", columns="snr")
    for field in ("flux", "ivar", "wavelength"):
        np.testing.assert_array_equal(getattr(spectra, field), arrays[field])
    np.testing.assert_array_equal(spectra.mask, arrays["mask"] != 0)
    np.testing.assert_array_equal(spectra.star, arrays["id"])
    np.testing.assert_array_equal(spectra.columns["snr"], arrays["snr"])


@pytest.mark.parametrize("name", NAMES[:3])
def test_errors_and_names_of_stars(name, tmp_path):
    arrays = spectra_arrays()
    spectra = read(
        build_arrays(tmp_path / name, arrays), error="error", star="name", columns="name"
    )
    np.testing.assert_allclose(spectra.ivar, arrays["error"] ** -2.0, rtol=1e-12)
    assert (
        spectra.star.tolist() == spectra.columns["name"].tolist() == [f"star {i}" for i in range(4)]
    )
    assert spectra.mask is None


@pytest.mark.parametrize("name", NAMES)
def test_blocks_of_stars_without_names(name, tmp_path):
    arrays = spectra_arrays(BLOCK + 3, 5)
    blocks = list(ARRAYS.read(build_arrays(tmp_path / name, arrays)))
    assert [len(b.star) for b in blocks] == [BLOCK, 3]
    np.testing.assert_array_equal(np.concatenate([b.flux for b in blocks]), arrays["flux"])
    assert blocks[1].star.tolist() == [f"{name}:{BLOCK + i}" for i in range(3)]


def test_one_star_and_names_in_groups(tmp_path):
    arrays = {k: v[0] for k, v in spectra_arrays().items() if v.ndim == 2}
    path = build_arrays(
        tmp_path / "a.h5",
        {f"spectrum/{k}": v for k, v in arrays.items()} | {"wave": np.arange(1.0, 31)},
    )
    spectra = read(path, flux="spectrum/flux", ivar="spectrum/ivar", wavelength="wave")
    np.testing.assert_array_equal(spectra.flux, arrays["flux"][None])


def test_images_of_fits_by_number(tmp_path):
    arrays = spectra_arrays()
    images = [
        fits.PrimaryHDU(arrays["flux"]),
        fits.ImageHDU(arrays["ivar"]),
        fits.ImageHDU(arrays["wavelength"]),
    ]
    fits.HDUList(images).writeto(tmp_path / "a.fits")
    spectra = read(tmp_path / "a.fits", flux="0", ivar="1", wavelength="2")
    np.testing.assert_array_equal(spectra.flux, arrays["flux"])


def test_values_that_are_none_stay(tmp_path):
    arrays = spectra_arrays()
    arrays["flux"][1, 2], arrays["ivar"][1, 3] = np.nan, -9999
    spectra = read(build_arrays(tmp_path / "a.npz", arrays))
    assert np.isnan(spectra.flux[1, 2]) and spectra.ivar[1, 3] == -9999


def test_the_unit_and_medium_are_options():
    assert {o.name: o.choices for o in ARRAYS.options if o.choices} == {
        "units": ("Angstrom", "nm", "um", "log10"),
        "medium": ("vacuum", "air"),
    }


@pytest.mark.parametrize("name", NAMES[:3])
def test_identifiers_are_those_of_the_array_star_where_none_is_named(name, tmp_path):
    arrays = spectra_arrays()
    arrays["star"] = arrays.pop("name")
    path = build_arrays(tmp_path / name, arrays)
    assert read(path).star.tolist() == [f"star {i}" for i in range(4)]
    np.testing.assert_array_equal(read(path, star="id").star, arrays["id"])


@pytest.mark.parametrize("name", NAMES[:3])
def test_wavelengths_that_descend_are_reversed_with_all_pixels(name, tmp_path):
    arrays = spectra_arrays()
    reverse = {key: arrays[key][..., ::-1] for key in ("wavelength", "flux", "ivar", "mask")}
    path = build_arrays(tmp_path / name, arrays | reverse)
    found = read(path, mask="mask", columns="snr")
    expected = read(build_arrays(tmp_path / f"b{name}", arrays), mask="mask", columns="snr")
    for field in ("flux", "ivar", "mask", "wavelength"):
        np.testing.assert_array_equal(getattr(found, field), getattr(expected, field))
    assert found.columns["snr"].tolist() == arrays["snr"].tolist()
    assert set(found.note) == {"whose wavelengths descend: all their pixels are put in reverse"}
    assert set(expected.note) == {""}


def test_each_star_whose_wavelengths_descend_is_reversed(tmp_path):
    arrays = spectra_arrays()
    grids = arrays["wavelength"] + np.arange(4.0)[:, None] / 8
    plain = list(ARRAYS.read(build_arrays(tmp_path / "a.npz", arrays | {"wavelength": grids})))
    for key, values in ("wavelength", grids), ("flux", arrays["flux"]), ("ivar", arrays["ivar"]):
        arrays[key] = values.copy()
        arrays[key][[0, 2]] = values[[0, 2], ::-1]
    found = list(ARRAYS.read(build_arrays(tmp_path / "b.npz", arrays)))
    assert [block.note[0] != "" for block in found] == [True, False, True, False]
    for one, other in zip(found, plain, strict=True):
        for field in ("flux", "ivar", "wavelength"):
            np.testing.assert_array_equal(getattr(one, field), getattr(other, field))


@pytest.mark.parametrize(
    ("array", "unit", "options"),
    [
        ("loglam", "", {}),
        ("LOG10_WAVE", "Angstrom", {}),
        ("wavelength", "log10(Angstrom)", {}),
        ("wavelength", "[log Angstrom]", {}),
        ("wavelength", "dex(AA)", {}),
        ("wavelength", "", {"units": "log10"}),
    ],
)
def test_wavelengths_that_are_said_to_be_log10_are_raised(array, unit, options, tmp_path):
    arrays = spectra_arrays()
    expected = arrays.pop("wavelength")
    for name, numbers in ("a.h5", np.log10(expected)), ("b.h5", np.log10(expected)[::-1]):
        with h5py.File(build_arrays(tmp_path / name, arrays), "a") as file:
            file[array] = numbers
            if unit:
                file[array].attrs["units"] = unit
        found = read(tmp_path / name, wavelength=array, **options)
        np.testing.assert_allclose(found.wavelength, expected, rtol=1e-12)
        assert found.note[0].startswith("whose wavelengths are log10 of Angstrom: 10**")
    assert get_format("arrays", options).units == "Angstrom"


def test_natural_logarithms_are_told(tmp_path):
    """They would be taken for Angstrom without a word, and may be micron."""
    arrays = spectra_arrays()
    natural = np.log(arrays["wavelength"])
    path = build_arrays(tmp_path / "a.npz", arrays | {"wavelength": natural})
    with pytest.raises(BadFile, match=r"8\.29405 to 8\.51719 look like natural .*np\.exp"):
        read(path)
    np.testing.assert_array_equal(read(path, units="um").wavelength, natural)


def test_logarithms_that_are_none_are_refused(tmp_path):
    """Natural ones, and wavelengths by the name of logarithms."""
    arrays = spectra_arrays()
    wavelength = arrays.pop("wavelength")
    for numbers in np.log(wavelength), wavelength:
        path = build_arrays(tmp_path / "a.npz", arrays | {"loglam": numbers})
        with pytest.raises(BadFile, match="are said to be log10 of Angstrom, and are "):
            read(path, wavelength="loglam")
    with h5py.File(build_arrays(tmp_path / "a.h5", arrays), "a") as file:
        file["wavelength"] = np.log10(wavelength / 10)
        file["wavelength"].attrs["units"] = "log10(nm)"
    with pytest.raises(BadFile, match="logarithms of nm; write 10"):
        read(tmp_path / "a.h5")


@pytest.mark.parametrize("name", NAMES)
def test_what_is_missing_or_of_the_wrong_shape_is_named(name, tmp_path):
    arrays = spectra_arrays()
    path = build_arrays(tmp_path / name, arrays)
    with pytest.raises(BadFile, match="no array 'counts'; there are: .*flux"):
        read(path, flux="counts")
    with pytest.raises(BadFile, match="4 pixels of flux, 30 wavelengths"):
        read(path, flux="snr")
    with pytest.raises(BadFile, match=r"mask has shape \(4,\), expected \(4, 30\)"):
        read(path, mask="snr")
    with pytest.raises(BadFile, match="star holds float64"):
        read(path, star="snr")


@pytest.mark.parametrize("name", ["a.h5", "a.npz", "a.fits"])
def test_stars_that_differ_in_wavelengths(name, tmp_path):
    """Each is a block on its own grid, and a survey has them on one."""
    arrays = spectra_arrays()
    grids = arrays["wavelength"] + np.arange(4.0)[:, None] / 8
    flux = np.sin(grids / 300) + 2
    path = build_arrays(tmp_path / name, arrays | {"wavelength": grids, "flux": flux})
    blocks = list(ARRAYS.read(path, star="id", mask="mask"))
    assert [block.star.tolist() for block in blocks] == [[i] for i in arrays["id"]]
    for field, values in ("flux", flux), ("wavelength", grids):
        read_values = [np.squeeze(getattr(block, field)) for block in blocks]
        np.testing.assert_array_equal(read_values, values)
    ingest("arrays", [path], tmp_path / "s.zarr", options={"star": "id"}, progress=False)
    with xr.open_zarr(tmp_path / "s.zarr", consolidated=False) as survey:
        np.testing.assert_array_equal(survey.wavelength, grids[0])
        known = survey.flux_ivar.values > 0
        assert known[:, 1:-1].all()
        expected = np.broadcast_to(np.sin(grids[0] / 300) + 2, known.shape)
        np.testing.assert_allclose(survey.flux.values[known], expected[known], atol=1e-3)


def test_a_star_whose_wavelengths_are_none_is_put_down_alone(tmp_path, monkeypatch):
    arrays = spectra_arrays()
    grids = arrays["wavelength"] + np.arange(4.0)[:, None] / 8
    grids[0, 3], grids[2] = np.nan, 0
    both = arrays | {"wavelength": grids[[0, 0, 2, 2]]}
    path = build_arrays(tmp_path / "a.npz", arrays | {"wavelength": grids})
    blocks = list(ARRAYS.read(path, star="id"))
    assert [block.unfit[0] != "" for block in blocks] == [True, False, True, False]
    # as where it is alone in its block
    monkeypatch.setattr(grids_module, "BLOCK", 1)
    again = list(ARRAYS.read(path, star="id"))
    assert [block.unfit[0] for block in again] == [block.unfit[0] for block in blocks]
    with pytest.raises(BadFile, match="do not ascend"):
        list(ARRAYS.read(build_arrays(tmp_path / "b.npz", both)))


@pytest.mark.parametrize("pad", [0, np.nan])
def test_pixels_without_a_wavelength_at_the_ends_are_left_out(pad, tmp_path):
    """As spectra of other lengths are filled up in one array."""
    arrays = spectra_arrays()
    grids = np.tile(arrays["wavelength"], (4, 1))
    grids[1, 25:], grids[2, :3] = pad, pad
    grids[3] = grids[2, ::-1]
    blocks = list(ARRAYS.read(build_arrays(tmp_path / "a.npz", arrays | {"wavelength": grids})))
    taken = [slice(None), slice(25), slice(3, None), slice(26, None, -1)]
    for row, (block, pixels) in enumerate(zip(blocks, taken, strict=True)):
        np.testing.assert_array_equal(block.wavelength, grids[row, pixels])
        np.testing.assert_array_equal(block.flux[0], arrays["flux"][row, pixels])
        assert block.unfit.tolist() == [""]
    assert ["no wavelength" in block.note[0] for block in blocks] == [False, True, True, True]


@pytest.mark.parametrize(
    ("scale", "units", "said"),
    [(1, "Angstrom", False), (10, "Angstrom", True), (1e4, "Angstrom", True), (10, "nm", False)],
)
def test_angstrom_that_look_like_another_unit_are_said(scale, units, said, tmp_path):
    arrays = spectra_arrays()
    arrays["wavelength"] = arrays["wavelength"] / scale
    found = read(build_arrays(tmp_path / "a.npz", arrays), units=units)
    assert ["look like nm or micron" in note for note in found.note] == [said] * 4


@pytest.mark.parametrize(("scale", "said"), [(1, False), (10, True)])
def test_logarithms_that_look_like_those_of_nm_are_said(scale, said, tmp_path):
    arrays = spectra_arrays()
    arrays["wavelength"] = np.log10(arrays["wavelength"] / scale)
    found = read(build_arrays(tmp_path / "a.npz", arrays), units="log10")
    assert ["look like log10 of nm" in note for note in found.note] == [said] * 4


def test_micron_are_no_logarithms(tmp_path):
    """Those of JWST, 3 to 5, are what log10 of Angstrom may be."""
    grid = np.linspace(3, 5, 30)
    for name, grids in ("a.npz", grid), ("b.npz", grid + np.arange(4)[:, None] / 8):
        path = build_arrays(tmp_path / name, spectra_arrays() | {"wavelength": grids})
        np.testing.assert_array_equal(next(ARRAYS.read(path, units="um")).wavelength, grid)
        with pytest.raises(
            BadFile, match=r"look like log10, or are micron: .*units=log10, or --option units=um"
        ):
            read(path)


@pytest.mark.parametrize(
    ("stated", "do"),
    [
        ("nm", "say --option units=nm"),
        ("micron", "units=um"),
        ("Microns", "units=um"),
        ("m", "write them"),
    ],
)
@pytest.mark.parametrize("name", ["a.h5", "a.table.fits", "a.fits"])
def test_the_unit_that_a_file_states(name, stated, do, tmp_path):
    """Wavelengths in nm would be taken for Angstrom without a word."""
    path = build_arrays(tmp_path / name, spectra_arrays())
    state_unit(path, stated)
    with pytest.raises(BadFile, match=f"wavelengths are in {stated}, not Angstrom; .*{do}"):
        read(path)
    state_unit(path, "Angstroms")
    assert len(read(path).star) == 4


@pytest.mark.parametrize("stated", [["nm"], np.array([b"nm"])], ids=["text", "bytes"])
@pytest.mark.parametrize("name", ["units", "UNITS", "Unit"])
def test_the_unit_as_other_programs_write_it(name, stated, tmp_path):
    path = build_arrays(tmp_path / "a.h5", spectra_arrays())
    with h5py.File(path, "a") as file:
        file["wavelength"].attrs[name] = stated
    with pytest.raises(BadFile, match="states that wavelengths are in nm, not Angstrom"):
        read(path)


def state_unit(path, unit):
    if path.suffix == ".h5":
        with h5py.File(path, "a") as file:
            file["wavelength"].attrs["units"] = unit
        return
    with fits.open(path, mode="update") as hdus:
        for hdu in hdus:
            if isinstance(hdu, fits.BinTableHDU):
                number = hdu.columns.names.index("wavelength") + 1
                hdu.header[f"TUNIT{number}"] = unit
            elif hdu.name == "WAVELENGTH":
                hdu.header["BUNIT"] = unit


def test_text_of_pandas_in_npz_is_refused_with_what_to_do(tmp_path):
    arrays = spectra_arrays()
    path = build_arrays(tmp_path / "a.npz", arrays | {"star": np.array(list("abcd"), object)})
    with pytest.raises(BadFile, match=r"'star' holds object.*array.astype\(str\)"):
        read(path)


def test_a_table_of_text_is_refused_with_what_to_write(tmp_path):
    (tmp_path / "a.csv").write_text("id,4000,4001\n1,1.0,0.9\n")
    with pytest.raises(BadFile, match=r"not a FITS file, nor HDF5 or npz; .*np\.savez"):
        read(tmp_path / "a.csv")


def test_arrays_in_the_order_of_fortran(tmp_path, monkeypatch):
    """As a transpose is written by numpy."""
    arrays = spectra_arrays(1100, 5)
    turned = arrays | {key: np.asfortranarray(arrays[key]) for key in ("flux", "ivar")}
    turned["flux"] = turned["flux"].astype(">f4")
    path = build_arrays(tmp_path / "a.npz", turned)
    for field in "flux", "ivar":
        found = np.concatenate([getattr(block, field) for block in ARRAYS.read(path)])
        np.testing.assert_array_equal(found, turned[field])
    monkeypatch.setattr(fields, "MOST_BYTES", turned["flux"].nbytes - 1)
    with pytest.raises(BadFile, match=r"in Fortran's order, .* write np\.ascontiguousarray"):
        read(path)


def test_columns_of_arrays_of_one_are_columns(tmp_path):
    arrays = spectra_arrays()
    turned = arrays | {key: arrays[key][:, None] for key in ("id", "snr")}
    for name in ("a.h5", "a.npz"):
        found = read(build_arrays(tmp_path / name, turned), star="id", columns="snr")
        assert found.star.tolist() == arrays["id"].tolist()
        assert found.columns["snr"].tolist() == arrays["snr"].tolist()


def test_columns_of_a_table_in_hdf5(tmp_path):
    arrays = spectra_arrays()
    table = np.zeros(4, [("id", "S8"), ("flux", "f4", arrays["flux"].shape[1])])
    table["id"], table["flux"] = [b"a", b"b", b"c", b"d"], arrays["flux"]
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["spectra/table"] = table
        file["ivar"], file["wavelength"] = arrays["ivar"], arrays["wavelength"][:, None]
        file["nothing"] = h5py.Empty("f4")
    for options in ({"star": "id"}, {"star": "id", "flux": "/spectra/table/flux"}):
        spectra = read(tmp_path / "a.h5", **options)
        assert spectra.star.tolist() == ["a", "b", "c", "d"]
        np.testing.assert_array_equal(spectra.flux, arrays["flux"].astype("f4"))
    with pytest.raises(BadFile, match="array 'nothing' is empty"):
        read(tmp_path / "a.h5", mask="nothing")


def test_images_of_one_name_are_told_apart_by_number(tmp_path):
    images = [fits.ImageHDU(np.ones((2, 5)) * i, name="flux") for i in (1, 2)]
    images += [fits.ImageHDU(5000.0 + np.arange(5), name="wavelength")]
    fits.HDUList([fits.PrimaryHDU(), *images]).writeto(tmp_path / "a.fits")
    with pytest.raises(BadFile, match="HDUs 1 and 2 are both called 'flux'"):
        read(tmp_path / "a.fits", ivar="1")
    assert (read(tmp_path / "a.fits", flux="2", ivar="1").flux == 2).all()


def test_whole_identifiers_in_floats_are_whole(tmp_path):
    arrays = spectra_arrays()
    for star, expected in [([1.0, np.nan, 2.0**53 - 1, 0.0], [1, -1, 2**53 - 1, 0])]:
        path = build_arrays(tmp_path / "a.npz", arrays | {"id": np.array(star)})
        found = read(path, star="id").star
        assert found.dtype == np.int64
        assert found.tolist() == expected
    for number in (0.5, 2.0**53):
        path = build_arrays(tmp_path / "b.npz", arrays | {"id": np.full(4, number)})
        with pytest.raises(BadFile, match="star holds float64, expected whole numbers or text"):
            read(path, star="id")


def test_a_column_takes_no_name_of_the_survey(tmp_path):
    path = build_arrays(tmp_path / "a.npz", spectra_arrays())
    assert list(read(path, columns="snr, id").columns) == ["snr", "id"]
    with pytest.raises(BadFile, match="a survey has something else that is called 'wavelength'"):
        read(path, columns="snr,wavelength")


def test_spectra_in_columns_are_told(tmp_path):
    arrays = spectra_arrays()
    path = build_arrays(tmp_path / "a.npz", arrays | {"flux": arrays["flux"].T})
    with pytest.raises(BadFile, match=r"4 pixels of flux, 30 wavelengths; .* write flux\.T"):
        read(path)


@pytest.mark.parametrize("name", ["a.h5", "a.npz"])
def test_noise_and_bad_pixels_of_all_stars_together(name, tmp_path):
    arrays = spectra_arrays(BLOCK + 10, 6)
    together = {"sigma": np.linspace(0.1, 0.6, 6), "bad": np.arange(6) == 4}
    path = build_arrays(tmp_path / name, arrays | together)
    blocks = list(ARRAYS.read(path, error="sigma", mask="bad"))
    assert [len(block.star) for block in blocks] == [BLOCK, 10]
    for block in blocks:
        np.testing.assert_allclose(block.ivar[-1], together["sigma"] ** -2.0)
        assert block.mask.any(0).tolist() == block.mask.all(0).tolist() == together["bad"].tolist()


def test_a_number_of_each_star_is_no_noise_of_all(tmp_path):
    arrays = spectra_arrays(6, 6) | {"sigma": np.ones(6)}
    with pytest.raises(BadFile, match=r"error has shape \(6,\), expected \(6, 6\)"):
        read(build_arrays(tmp_path / "a.npz", arrays), error="sigma")


@pytest.mark.parametrize(
    ("cards", "wavelength"),
    [
        ({"CRVAL1": 4000.0, "CDELT1": 2.0}, 4000 + 2 * np.arange(5)),
        ({"CRVAL1": 4000, "CD1_1": 2, "CRPIX1": 3, "CTYPE1": "WAVE"}, 3996 + 2 * np.arange(5)),
        ({"CRVAL1": 4000.0, "CDELT1": 1.0, "CD1_1": 0.5}, 4000 + 0.5 * np.arange(5)),
        ({"CRVAL1": 4000.0, "CDELT1": 2.0, "PC1_1": 0.5}, 4000 + np.arange(5)),
        ({"CRVAL1": 3.6, "CDELT1": 1e-4, "DC-FLAG": 1}, 10 ** (3.6 + 1e-4 * np.arange(5))),
        (
            {"CRVAL1": 3.6, "CDELT1": 1e-4, "CTYPE1": "LOG-LINEAR"},
            10 ** (3.6 + 1e-4 * np.arange(5)),
        ),
    ],
)
def test_wavelengths_that_a_header_states(cards, wavelength, tmp_path):
    path = write_images(tmp_path / "a.fits", cards)
    found = read(path, flux="0", error="error")
    np.testing.assert_allclose(found.wavelength, wavelength, rtol=1e-12)
    assert found.flux.tolist() == [[1, 2, 3, 4, 5]]


@pytest.mark.parametrize(
    ("cards", "reason"),
    [
        ({"CRVAL1": 1.0, "CDELT1": 1.0}, "no array 'wavelength'"),
        ({"CRVAL1": 0.0, "CDELT1": 1.0}, "no array 'wavelength'"),
        ({"CRVAL1": 4000.0}, "no array 'wavelength'"),
        ({"CRVAL1": 400.0, "CDELT1": 2.0, "CUNIT1": "nm"}, "in nm, not Angstrom; .*units=nm"),
        ({"CRVAL1": 4000.0, "CDELT1": 2.0, "CTYPE1": "AWAV"}, "those in air; .*medium=air"),
        ({"CRVAL1": 4000.0, "CDELT1": 2.0, "CTYPE1": "WAVE-LOG"}, "CTYPE1 = 'WAVE-LOG'"),
        ({"CRVAL1": "x", "CDELT1": 2.0}, "CRVAL1 = 'x', which is no number"),
        ({"CRVAL1": 4000.0, "CDELT1": 2.0, "DC-FLAG": 1}, "log10 wavelengths of 4000"),
    ],
)
def test_a_header_that_states_none_or_others(cards, reason, tmp_path):
    with pytest.raises(BadFile, match=reason):
        read(write_images(tmp_path / "a.fits", cards), flux="0", error="error")


def write_images(path, cards):
    """Write a spectrum of five pixels and its errors as images, (pixel,), as IRAF does."""
    flux = fits.PrimaryHDU(np.arange(1.0, 6))
    flux.header.update(cards)
    fits.HDUList([flux, fits.ImageHDU(np.ones(5), name="ERROR")]).writeto(path)
    return path


def test_a_compressed_file_of_arrays_is_to_be_unpacked(tmp_path):
    path = build_arrays(tmp_path / "a.h5", spectra_arrays())
    path.with_name("a.h5.gz").write_bytes(gzip.compress(path.read_bytes()))
    with pytest.raises(BadFile, match="not a FITS file; HDF5 and npz .*: unpack it first"):
        read(path.with_name("a.h5.gz"))


def test_no_other_file_is_opened(tmp_path):
    arrays = spectra_arrays()
    secret = build_arrays(tmp_path / "secret.h5", arrays)
    rest = {k: v for k, v in arrays.items() if k != "flux"}
    with h5py.File(build_arrays(tmp_path / "link.h5", rest), "a") as file:
        file["flux"] = h5py.ExternalLink(str(secret), "/flux")
    with pytest.raises(BadFile, match="no array 'flux'"):
        read(tmp_path / "link.h5")
    with h5py.File(build_arrays(tmp_path / "virtual.h5", rest), "a") as file:
        layout = h5py.VirtualLayout((4, 30), "f4")
        layout[:] = h5py.VirtualSource(str(secret), "flux", (4, 30))
        file.create_virtual_dataset("flux", layout)
    with h5py.File(build_arrays(tmp_path / "external.h5", rest), "a") as file:
        file.create_dataset("flux", (4, 30), "f4", external=[(str(secret), 0, 480)])
    for name in ("virtual.h5", "external.h5"):
        with pytest.raises(BadFile, match="'flux' lies in another file"):
            read(tmp_path / name)


def test_nothing_is_unpickled(tmp_path):
    arrays = spectra_arrays()
    np.savez(tmp_path / "a.npz", **{**arrays, "flux": arrays["flux"].astype(object)})
    with pytest.raises(BadFile, match="array 'flux' holds object"):
        read(tmp_path / "a.npz")


def test_arrays_that_are_larger_than_their_file_says(tmp_path):
    arrays = spectra_arrays()
    with h5py.File(
        build_arrays(tmp_path / "a.h5", {k: v for k, v in arrays.items() if k != "flux"}), "a"
    ) as file:
        file.create_dataset("flux", (10**9, 30), "f4", chunks=(100, 30))
    with pytest.raises(BadFile, match=r"would be 120,000,000,000 bytes, and takes 0"):
        read(tmp_path / "a.h5")
    np.savez(tmp_path / "a.npz", **arrays)
    _lie(tmp_path / "a.npz", b"'shape': (4, 30), }      ", b"'shape': (400000, 30), }")
    with pytest.raises(BadFile, match="ivar has shape|truncated|damaged"):
        read(tmp_path / "a.npz")


def _lie(path, old, new) -> None:
    """Change an array's header, and keep the archive sound."""
    with zipfile.ZipFile(path) as packed:
        members = {i.filename: packed.read(i) for i in packed.infolist()}
    raw = members["flux.npy"]
    assert old[:17] in raw
    members["flux.npy"] = raw.replace(old, new.ljust(len(old)), 1)
    with zipfile.ZipFile(path, "w") as packed:
        for name, content in members.items():
            packed.writestr(name, content)


def test_a_bomb(tmp_path, monkeypatch):
    monkeypatch.setattr(field_module, "_LARGE", 2**20)
    arrays = spectra_arrays() | {"flux": np.zeros((200_000, 30), "f4")}
    with pytest.raises(BadFile, match="'flux' would be 24,000,128 bytes, and takes"):
        read(build_arrays(tmp_path / "a.npz", arrays))


def test_what_is_no_file_of_arrays(tmp_path):
    path = tmp_path / "a.npz"
    for raw, reason in (
        (b"", "empty file"),
        (b"rubbish", "not a FITS file"),
        (b"PK\x03\x04", "damaged file"),
    ):
        path.write_bytes(raw)
        with pytest.raises(BadFile, match=reason):
            read(path)
    with pytest.raises(BadFile, match="no such file"):
        read(tmp_path / "none.h5")


def test_a_survey_in_nanometres(tmp_path):
    """The continuum's length is in Angstrom: spectra in another unit have the same continuum."""
    arrays = spectra_arrays(6, 400)
    arrays["wavelength"] = np.linspace(4000, 8000, 400)
    surveys = []
    for units, scale in (("Angstrom", 1), ("nm", 10)):
        path = build_arrays(
            tmp_path / f"{units}.npz", arrays | {"wavelength": arrays["wavelength"] / scale}
        )
        options, recipe = (
            {"units": units, "medium": "air"},
            {"continuum": "sines", "length": 5000.0},
        )
        ingest(
            "arrays",
            [path],
            tmp_path / f"{units}.zarr",
            options=options,
            recipe=recipe,
            progress=False,
        )
        surveys.append(xr.open_zarr(tmp_path / f"{units}.zarr", consolidated=False).compute())
    ours, theirs = surveys
    np.testing.assert_allclose(ours.flux, theirs.flux, rtol=1e-4)
    np.testing.assert_allclose(ours.wavelength, 10 * theirs.wavelength)
    assert theirs.wavelength.attrs["units"] == "nm" and theirs.wavelength.attrs["medium"] == "air"


def test_real_spectra_of_lamost_in_npz():
    path = shared("../spectra/lamost_lrs_176.npz")
    spectra = read(
        path, wavelength="wavelength_A", star="filename", mask="andmask", columns="subclass"
    )
    with np.load(path, allow_pickle=False) as arrays:
        for field, name in (
            ("flux", "flux"),
            ("ivar", "ivar"),
            ("wavelength", "wavelength_A"),
            ("star", "filename"),
        ):
            np.testing.assert_array_equal(getattr(spectra, field), arrays[name])
        np.testing.assert_array_equal(spectra.mask, arrays["andmask"] != 0)
        np.testing.assert_array_equal(spectra.columns["subclass"], arrays["subclass"])


def test_real_spectra_of_gaia_in_hdf5():
    path = shared("../spectra/xp_apogee.h5")
    names = {
        "error": "flux_error",
        "wavelength": "wavelength_nm",
        "star": "catalog/gaiaedr3_source_id",
    }
    start = 0
    with h5py.File(
        path, locking=False
    ) as file:  # as the reader opens it, for file systems without locks
        for block in ARRAYS.read(path, **names):
            rows = slice(start, start + len(block.star))
            np.testing.assert_array_equal(block.flux, file["flux"][rows])
            np.testing.assert_allclose(
                block.ivar, file["flux_error"][rows].astype(float) ** -2, rtol=1e-12
            )
            np.testing.assert_array_equal(block.star, file["catalog/gaiaedr3_source_id"][rows])
            start = rows.stop
        assert start == len(file["flux"]) == 29880


def test_a_path_where_no_file_could_be_read_takes_another_format(tmp_path):
    build_arrays(tmp_path / "a.npz", spectra_arrays(3, 20))
    for wrong in ("apstar", "lamost-lrs"):
        with pytest.raises(InputError, match="no file could be used"):
            ingest(wrong, [tmp_path / "a.npz"], tmp_path / "s.zarr", progress=False)
    made = ingest("arrays", [tmp_path / "a.npz"], tmp_path / "s.zarr", progress=False)
    assert made.n_stars == 3
