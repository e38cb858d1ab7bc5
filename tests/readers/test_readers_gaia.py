"""Files as GaiaXPy and Gaia's archive write them agree with what was written."""

from __future__ import annotations

import ast
import bz2
import gzip

import numpy as np
import pandas as pd
import pytest
from astropy.io import fits
from fitsfiles import DATA
from surveyfiles import build_xp, xp_arrays

from luxscale.ingest import find_files
from luxscale.readers import FORMATS, BadFile
from luxscale.readers import gaia_text as reader
from luxscale.readers.base import BLOCK

XP = FORMATS["gaia-xp"]
NAMES = ("xp.csv", "xp.ecsv", "xp.fits")


def read(path):
    (spectra,) = XP.read(path)
    return spectra


def same_values(spectra, arrays) -> None:
    star, flux, error = arrays
    assert spectra.star.dtype == np.int64
    np.testing.assert_array_equal(spectra.star, star)
    np.testing.assert_array_equal(spectra.flux, flux)
    np.testing.assert_allclose(spectra.ivar, error.astype(float) ** -2, rtol=1e-7)


@pytest.mark.parametrize("name", NAMES)
def test_what_gaiaxpy_writes(name, tmp_path):
    arrays = xp_arrays(3)
    spectra = read(build_xp(tmp_path / name, arrays))
    same_values(spectra, arrays)
    np.testing.assert_array_equal(spectra.wavelength, 336 + 2.0 * np.arange(343))
    np.testing.assert_array_equal(spectra.wavelength, XP.grid)
    assert (XP.units, XP.medium, XP.continuum, XP.many) == ("nm", "vacuum", "scale", True)


@pytest.mark.parametrize("name", NAMES)
def test_a_sampling_of_ones_own(name, tmp_path):
    sampling = np.linspace(400, 900, 51)
    arrays = xp_arrays(2, 51)
    spectra = read(build_xp(tmp_path / name, arrays, sampling=sampling))
    same_values(spectra, arrays)
    np.testing.assert_array_equal(spectra.wavelength, sampling)


@pytest.mark.parametrize("packer", [None, gzip, bz2])
def test_what_the_archive_gives(packer, tmp_path):
    arrays = xp_arrays(3)
    path = build_xp(tmp_path / "XpSampledMeanSpectrum_000000-003111.csv", arrays, archive=True)
    if packer:
        raw, path = path.read_bytes(), path.with_suffix(".csv.packed")
        path.write_bytes(packer.compress(raw))
    spectra = read(path)
    same_values(spectra, arrays)
    assert (
        spectra.columns["ra"].tolist() == [45.0] * 3
        and spectra.columns["dec"].tolist() == [-0.5] * 3
    )


def test_columns_apart_by_spaces(tmp_path):
    """What Astropy writes as ECSV unless told otherwise."""
    path = tmp_path / "xp.ecsv"
    values = ",".join(["1.5"] * 343)
    path.write_text(
        f'# %ECSV 1.0\n# ---\n# datatype:\nsource_id flux flux_error\n7 "[{values}]" [{values}]\n'
    )
    assert read(path).star.tolist() == [7] and (read(path).flux == 1.5).all()


def test_numbers_as_numpy_2_writes_them_and_missing_ones():
    text = "(np.float64(1.25e-17), np.float32(2.0), nan, null)"
    np.testing.assert_array_equal(
        reader.parse_arrays([text], "flux"), [[1.25e-17, 2, np.nan, np.nan]]
    )


def test_a_flux_that_is_no_numbers_costs_its_star_alone():
    found = reader.parse_arrays(["(1,2)", "(1,rubbish)", "", "(3,4)"], "flux")
    np.testing.assert_array_equal(found, [[1, 2], [np.nan] * 2, [np.nan] * 2, [3, 4]])
    with pytest.raises(BadFile, match="flux is no array of numbers"):
        reader.parse_arrays(["(1,rubbish)"], "flux")
    with pytest.raises(
        BadFile, match=r"flux is no array of numbers: commas are missing.*map\(list"
    ):
        reader.parse_arrays(["[1.5e-16 2.5e-16]"], "flux")


@pytest.mark.parametrize("name", ["xp.csv", "xp.fits"])
def test_blocks_of_stars(name, tmp_path):
    arrays = xp_arrays(BLOCK + 5, 7)
    blocks = list(XP.read(build_xp(tmp_path / name, arrays, sampling=np.arange(400.0, 407))))
    assert [len(b.star) for b in blocks] == [BLOCK, 5]
    np.testing.assert_array_equal(np.concatenate([b.flux for b in blocks]), arrays[1])


def test_memory_does_not_grow_with_the_file(tmp_path):
    """The first stars come before the rest is read, be it readable or not."""
    path = build_xp(tmp_path / "xp.csv", xp_arrays(BLOCK, 7), sampling=np.arange(400.0, 407))
    with path.open("a") as file:
        file.write("rubbish\n" * 10)
    blocks = iter(XP.read(path))
    assert len(next(blocks).star) == BLOCK
    with pytest.raises(BadFile, match="damaged table"):
        next(blocks)


@pytest.mark.parametrize("name", NAMES)
def test_pixels_without_value_and_stars_without_spectrum(name, tmp_path):
    star, flux, error = xp_arrays(2)
    flux[0, 5] = error[0, 6] = np.nan
    spectra = read(build_xp(tmp_path / name, (star, flux, error)))
    assert np.argwhere(np.isnan(spectra.flux)).tolist() == [[0, 5]]
    assert np.argwhere(spectra.ivar == 0).tolist() == [[0, 6]]
    if name == "xp.ecsv":
        path = tmp_path / name
        path.write_text(path.read_text() + '9,"[]",""\n')
        assert np.isnan(read(path).flux[2]).all() and (read(path).ivar[2] == 0).all()


def test_files_of_samplings_are_not_taken_for_spectra(tmp_path):
    path = build_xp(tmp_path / "xp.csv", xp_arrays(1))
    assert find_files([tmp_path], XP) == (str(path),)


def edited(tmp_path, old, new, name="xp.csv", stars=2, **options):
    path = build_xp(tmp_path / name, xp_arrays(stars), **options)
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    return path


def test_what_is_no_file_of_sampled_spectra(tmp_path):
    for old, new, reason in (
        ("flux_error", "error", "no column 'flux_error'; there are: source_id, flux, error"),
        ("source_id,flux", "bp_coefficients,flux", "continuous spectra"),
        ("source_id,flux", "wavelength,flux", "spectrum of one star.* structure RAW"),
        ("source_id", "source_id,xp", "BP and RP apart"),
        ("4472832130942575872", "star", "damaged table"),
        ("(", "(1.0, ", "343 to 344 numbers, where all should have as many"),
        (", ", ", __import__('os'), ", "343 to 344 numbers"),
        ("(", "(__import__('os'), *", "343 to 344 numbers"),
    ):
        with pytest.raises(BadFile, match=reason):
            read(edited(tmp_path, old, new))
    for old, new, reason in (
        ('"(', '"((', "flux of the star in row 1 or one after is no array of numbers"),
        (", ", "/0, ", "is no array of numbers"),
    ):
        with pytest.raises(BadFile, match=reason):
            read(edited(tmp_path, old, new, stars=1))
        flux = read(edited(tmp_path, old, new)).flux  # one of two: the other is read
        assert np.isnan(flux[0]).all() and np.isfinite(flux[1]).all()
    path = build_xp(tmp_path / "xp.csv", xp_arrays(1, 7))
    (tmp_path / "xp_sampling.csv").unlink()
    with pytest.raises(BadFile, match="7 pixels, and no file of the sampling beside it"):
        read(path)
    path.write_text("source_id,flux,flux_error\n")
    with pytest.raises(BadFile, match="a table without rows"):
        read(path)
    with pytest.raises(BadFile, match="no such file"):
        read(tmp_path / "none.csv")


def test_a_line_without_end_is_not_read_to_it(tmp_path, monkeypatch):
    monkeypatch.setattr(reader, "_MOST_LINE", 1000)
    path = build_xp(tmp_path / "xp.csv", xp_arrays(1))
    with pytest.raises(BadFile, match="a line of more than 1,000 bytes"):
        read(path)


def test_what_is_no_table_of_gaiaxpy(tmp_path):
    path = tmp_path / "xp.fits"
    fits.PrimaryHDU(np.ones(5)).writeto(path)
    with pytest.raises(BadFile, match="has no HDU 1"):
        read(path)
    whole = build_xp(path, xp_arrays(3)).read_bytes()
    path.write_bytes(whole[:-5760])
    with pytest.raises(BadFile, match="truncated"):
        read(path)
    path.write_bytes(
        whole.replace(b"NAXIS2  =                    3", b"NAXIS2  =     3000000000000000", 1)
    )
    with pytest.raises(BadFile, match="truncated"):
        read(path)


@pytest.mark.parametrize("ending", ["csv", "fits"])
def test_real_files_of_the_archive(ending):
    """FITS of the archive has arrays of varying length; both are read by astropy and ast, too."""
    path = DATA / f"XP_SAMPLED_RAW_dr3int6.{ending}"
    if ending == "fits":
        table = fits.getdata(path)
    else:
        texts = pd.read_csv(path)
        table = {
            name: texts[name].map(ast.literal_eval if "flux" in name else int) for name in texts
        } | {name: texts[name] for name in ("ra", "dec")}
    spectra = read(path)
    flux, error = (np.stack([np.array(row) for row in table[n]]) for n in ("flux", "flux_error"))
    assert spectra.star.tolist() == list(table["source_id"])
    np.testing.assert_array_equal(spectra.flux, flux)
    np.testing.assert_allclose(spectra.ivar, error.astype(float) ** -2.0, rtol=1e-7)
    np.testing.assert_array_equal(spectra.wavelength, XP.grid)
    for name in ("ra", "dec"):
        assert spectra.columns[name].tolist() == list(table[name])


def test_rows_of_more_values_than_names(tmp_path):
    names, *rows = (DATA / "XP_SAMPLED_RAW_dr3int6.csv").read_text().splitlines()
    path = tmp_path / "xp.csv"
    path.write_text("\n".join([names, *(f"{row}," for row in rows)]))  # nothing after the last
    np.testing.assert_array_equal(read(path).flux, read(DATA / "XP_SAMPLED_RAW_dr3int6.csv").flux)
    path.write_text("\n".join([names, *(row.replace('"', "") for row in rows)]))
    with pytest.raises(BadFile, match="690 values in a row under 6 names; arrays are to be in quo"):
        read(path)
