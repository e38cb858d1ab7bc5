"""What says the same in another form becomes the contract's own; the rest stays as it is."""

import numpy as np
import pytest
import xarray as xr

from luxscale.schema.checks import check_structure
from luxscale.schema.outputs import Role, find_outputs
from luxscale.schema.standard import (
    decode_names,
    find_shifted,
    is_same_unit,
    measure_otherwise,
    standardize_survey,
)


def set_grid(survey, values, **attrs):
    attrs = {**survey["wavelength"].attrs, **attrs}
    return survey.drop_indexes("wavelength").assign_coords(wavelength=("wavelength", values, attrs))


def test_a_survey_in_the_contracts_form_is_returned_as_it_is(small_survey):
    assert standardize_survey(small_survey) is small_survey
    lazy = small_survey.chunk(star=100)
    assert standardize_survey(lazy) is lazy


@pytest.mark.parametrize(
    ("given", "expected"),
    [("<f4", "f4"), (">f4", "f4"), (">f8", "f8"), ("u1", "f4"), ("i2", "f4"), (">i4", "f8")],
)
def test_values_become_native_floats(small_survey, given, expected):
    values = np.arange(300 * 40).reshape(300, 40) % 200
    survey = small_survey.assign(flux=(("star", "wavelength"), values.astype(given)))
    standard = standardize_survey(survey)["flux"]
    assert standard.dtype == np.dtype(expected)
    assert standard.dtype.isnative
    np.testing.assert_array_equal(standard, values)
    check_structure(standardize_survey(survey), "s.zarr")


@pytest.mark.parametrize("dtype", [">f8", "i4", "u2"])
def test_wavelengths_become_native_floats(small_survey, dtype):
    grid = np.arange(15100, 15140)
    standard = standardize_survey(set_grid(small_survey, grid.astype(dtype)))
    assert standard["wavelength"].dtype == np.float64
    assert standard["wavelength"].attrs == small_survey["wavelength"].attrs
    assert standard.indexes["wavelength"].tolist() == grid.tolist()
    assert {o.name: o.role for o in find_outputs(standard)}["flux"] is Role.SPECTRUM


def test_whole_numbers_without_a_unit_stay_names(small_survey):
    survey = set_grid(small_survey, np.arange(40))
    del survey["wavelength"].attrs["units"]
    assert standardize_survey(survey) is survey


def test_media_are_lower_case(small_survey):
    for medium in "Vacuum", "VAC":
        standard = standardize_survey(set_grid(small_survey, np.arange(40.0), medium=medium))
        assert standard["wavelength"].attrs["medium"] == "vacuum"


@pytest.mark.parametrize("lazy", [False, True])
def test_names_in_bytes_become_text(small_survey, lazy):
    encoded = small_survey.assign_coords(
        star=small_survey["star"].values.astype(str).astype("S"),
        label=small_survey["label"].values.astype(str).astype("S"),
    )
    if lazy:
        encoded = encoded.drop_indexes("star")
        encoded = encoded.assign_coords(star=encoded["star"].chunk(star=100))
    decoded = decode_names(encoded)
    for name in ("star", "label"):
        assert decoded[name].dtype.kind == "U"
        np.testing.assert_array_equal(decoded[name], small_survey[name].values.astype(str))


def test_on_dask_a_star_is_in_one_chunk_and_nothing_is_read(small_survey, no_compute):
    lazy = small_survey.chunk(star=100, wavelength=9, label=3)
    with no_compute():
        standard = standardize_survey(lazy.assign(flux=lazy["flux"].astype(">f4")))
    assert standard["flux"].chunks == ((100, 100, 100), (40,))
    assert standard["label_value"].chunks == ((100, 100, 100), (4,))
    xr.testing.assert_equal(standard.compute(), small_survey)


@pytest.mark.parametrize("unit", ["AA", "angstrom", "Angstroms", " Å ", "A", "0.1 nm"])
def test_spellings_of_angstrom(unit):
    assert is_same_unit(unit, "Angstrom")
    assert not is_same_unit(unit, "nm")


def test_units_that_are_not_known_are_compared_as_they_are():
    assert is_same_unit("furlong", "furlong")
    assert not is_same_unit("furlong", "Furlong")


@pytest.mark.parametrize(
    "units",
    [("K", "kK"), ("dex(cm s-2)", "dex(m s-2)"), ("km/s", "m/s"), ("ANGSTROMS", "NM")],
)
def test_units_of_other_values(units):
    assert measure_otherwise(*units)


@pytest.mark.parametrize(
    "units", [("K", "K"), ("K", ""), ("dex", "dex(cm s-2)"), ("km/s", "km s-1"), ("K", "furlong")]
)
def test_units_that_may_be_of_the_same_values(units):
    assert not measure_otherwise(*units) and not measure_otherwise(*units[::-1])


def test_a_grid_of_one_pixel_is_compared():
    one = np.array([5000.0])
    assert not find_shifted(one, one).any()
    assert find_shifted(one + 0.1, one).all()
