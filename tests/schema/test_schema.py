"""Every breach of the contract is refused: file and variable are named, and what to do."""

import re

import numpy as np
import pytest
import xarray as xr

from luxscale.errors import InputError
from luxscale.schema.checks import check_structure, check_unique, check_values
from luxscale.schema.outputs import OutputSpec, Role, find_invalid, find_outputs, pick_outputs
from luxscale.schema.variables import CATALOG, MODEL, SURVEY, describe_variables

WHERE = "my.zarr"


def set_grid(survey, values):
    attrs = survey["wavelength"].attrs
    return survey.drop_indexes("wavelength").assign_coords(
        wavelength=("wavelength", np.asarray(values, float), attrs)
    )


def change_grid(survey, change):
    grid = survey["wavelength"].values.copy()
    change(grid)
    return set_grid(survey, grid)


def set_attr(survey, key, value):
    survey["wavelength"].attrs[key] = value
    return survey


def without_units(survey):
    del survey["wavelength"].attrs["units"]
    return survey


def swap(grid):
    grid[[7, 8]] = grid[[8, 7]]


def repeat(grid):
    grid[5] = grid[4]


def blank(grid):
    grid[3] = np.nan


STRUCTURE = {  # what is wrong: (how to make it so, what the message names, what it says to do)
    "no star": (lambda s: s.drop_vars("star"), ["'star'"], "add it as a coordinate"),
    "no errors of the flux": (
        lambda s: s.drop_vars("flux_ivar"),
        ["'flux_ivar'", "'flux'"],
        "if all values have the same error, set ",
    ),
    "no errors of labels": (
        lambda s: s.drop_vars("label_err"),
        ["'label_err'", "'label_value'"],
        "if all values have the same error, set ",
    ),
    "flux transposed": (
        lambda s: s.assign(flux=s["flux"].transpose("wavelength", "star")),
        ["'flux'", "('wavelength', 'star')"],
        ".transpose('star', 'wavelength')",
    ),
    "labels transposed": (
        lambda s: s.assign(label_value=s["label_value"].T),
        ["'label_value'"],
        ".transpose('star', 'label')",
    ),
    "flux of whole numbers": (
        lambda s: s.assign(flux=s["flux"].fillna(0).astype(int)),
        ["'flux'", "int64", "float"],
        ".astype('float32')",
    ),
    "labels are text": (
        lambda s: s.assign(label_value=s["label_value"].astype(str)),
        ["'label_value'", "<U"],
        ".astype('float64')",
    ),
    "star is a real number": (
        lambda s: s.assign_coords(star=np.arange(s.sizes["star"]) / 2),
        ["'star'", "float64"],
        "read the identifiers again as whole numbers or as text",
    ),
    "wavelength is text": (
        lambda s: s.assign_coords(wavelength=s["wavelength"].astype(str).values),
        ["'wavelength'"],
        ".astype('float64')",
    ),
    "wavelength out of order": (
        lambda s: change_grid(s, swap),
        ["'wavelength'", "not ascending at index 7", "15116.0 then 15114.0"],
        ".sortby('wavelength')",
    ),
    "wavelength repeated": (
        lambda s: change_grid(s, repeat),
        ["'wavelength'", "repeated at index 4"],
        ".drop_duplicates('wavelength')",
    ),
    "wavelength NaN": (
        lambda s: change_grid(s, blank),
        ["'wavelength'", "at index 2", "nan"],
        ".sortby('wavelength')",
    ),
    "no units": (without_units, ["'wavelength'", "'units'"], ".attrs['units'] = 'Angstrom'"),
    "bad medium": (
        lambda s: set_attr(s, "medium", "Air"),
        ["'wavelength'", "'Air'"],
        "must be 'vacuum' or 'air'",
    ),
    "label repeated": (
        lambda s: s.drop_indexes("label").assign_coords(
            label=np.array(["teff", "logg", "logg", "mg_fe"], object)
        ),
        ["'label'", "'label_value'"],
        "needs its own",
    ),
    "no stars": (lambda s: s.isel(star=slice(0)), ["no stars"], ""),
    "no output": (lambda s: s[["snr"]], ["'flux'", "'label_value'"], "it needs"),
    "no coordinate": (
        lambda s: s.drop_vars("wavelength"),
        ["'wavelength'", "'flux'"],
        "which says what the columns",
    ),
    "errors on other dims": (
        lambda s: s.assign(
            mag=(("star", "band"), np.ones((300, 2))),
            mag_err=(("star",), np.ones(300)),
            band=("band", ["g", "r"]),
        ),
        ["'mag_err'", "'mag'"],
        "must agree",
    ),
    "another output of whole numbers": (
        lambda s: s.assign(
            mag=(("star", "band"), np.ones((300, 2), int)),
            mag_err=(("star", "band"), np.ones((300, 2))),
            band=("band", ["g", "r"]),
        ),
        ["'mag'", "int64"],
        "expected float",
    ),
}


def test_a_good_survey_passes(small_survey):
    check_structure(small_survey, WHERE)
    check_structure(small_survey.chunk(star=100), WHERE)
    check_values(small_survey, find_outputs(small_survey), WHERE)
    check_unique(small_survey["star"].values, WHERE)


@pytest.mark.parametrize("case", STRUCTURE)
def test_structure_is_refused(small_survey, case):
    spoil, names, advice = STRUCTURE[case]
    with pytest.raises(InputError) as error:
        check_structure(spoil(small_survey), WHERE)
    message = str(error.value)
    assert message.startswith(WHERE + ": ")
    for part in [*names, advice]:
        assert part in message


def test_chunks_of_any_shape_pass(small_survey):
    check_structure(small_survey.chunk(star=100, wavelength=20, label=3), WHERE)
    uneven = small_survey.assign(flux_ivar=small_survey["flux_ivar"].chunk(star=70, wavelength=9))
    check_structure(uneven, WHERE)


@pytest.mark.parametrize(
    "case",
    [
        "no errors of labels",
        "labels transposed",
        "labels are text",
        "label repeated",
        "errors on other dims",
        "another output of whole numbers",
    ],
)
def test_outputs_that_are_not_used_are_not_checked(small_survey, case):
    spoil, _, _ = STRUCTURE[case]
    check_structure(spoil(small_survey), WHERE, "flux")


@pytest.mark.parametrize("case", ["no errors of the flux", "flux transposed", "no units"])
def test_outputs_that_are_used_are_checked(small_survey, case):
    spoil, names, advice = STRUCTURE[case]
    with pytest.raises(InputError, match=re.escape(advice)) as error:
        check_structure(spoil(small_survey), WHERE, ["flux"])
    assert all(name in str(error.value) for name in names)


def test_an_output_that_is_used_must_be_there(small_survey):
    with pytest.raises(
        InputError, match="no variable 'mag', .* has the outputs: label_value, flux"
    ):
        check_structure(small_survey, WHERE, "mag")


def test_structure_reads_no_data(small_survey, no_compute):
    with no_compute():
        check_structure(small_survey.chunk(star=100), WHERE)


@pytest.mark.parametrize(
    "without",
    [["flux", "flux_ivar", "wavelength"], ["label_value", "label_err", "label", "label_units"]],
)
def test_labels_without_spectra_and_spectra_without_labels_are_surveys(small_survey, without):
    check_structure(small_survey.drop_vars(without), WHERE)


def test_medium_may_be_left_unsaid(small_survey):
    del small_survey["wavelength"].attrs["medium"]
    check_structure(small_survey, WHERE)


VALUES = {  # variable: (value put at star 5, feature 2; what the message says)
    "negative ivar": ("flux_ivar", -1.0, "finite and not negative"),
    "infinite ivar": ("flux_ivar", np.inf, "finite and not negative"),
    "NaN ivar": ("flux_ivar", np.nan, "finite and not negative"),
    "infinite label": ("label_value", np.inf, "; values must be finite, and NaN where"),
    "zero label error": ("label_err", 0.0, "positive and finite"),
    "negative label error": ("label_err", -0.1, "positive and finite"),
    "infinite label error": ("label_err", np.inf, "positive and finite"),
}


@pytest.mark.parametrize("case", VALUES)
def test_values_are_refused(small_survey, case):
    name, value, rule = VALUES[case]
    small_survey[name][5, 2] = value
    with pytest.raises(InputError) as error:
        check_values(small_survey, find_outputs(small_survey), WHERE)
    noise = "flux_ivar" if name.startswith("flux") else "label_err"
    feature = "wavelength 15104.0" if name.startswith("flux") else "label fe_h"
    for part in (f"{WHERE}: ", f"{noise!r}", f"star 's1-00005', {feature}; ", rule):
        assert part in str(error.value)


def test_flux_that_is_not_finite_needs_weight_zero(small_survey):
    small_survey["flux"][3, 1:4] = np.nan
    small_survey["flux_ivar"][3, 1:4] = [0, 5, 5]
    with pytest.raises(
        InputError,
        match=r"star 's1-00003', wavelength 15104.0, and 1 more .* 0 where the value is not finite",
    ):
        check_values(small_survey, find_outputs(small_survey), WHERE)


def test_invalid_finds_each_value_and_no_other():
    ivar = OutputSpec("flux", "wavelength", "flux_ivar", Role.SPECTRUM)
    y, w = (
        np.array([[1, np.nan, np.nan, 1, 1, 1, np.inf]]),
        np.array([[0, 0, 1, -1, np.inf, np.nan, 2.0]]),
    )
    assert find_invalid(ivar, y, w).tolist() == [[False, False, True, True, True, True, True]]
    err = OutputSpec("label_value", "label", "label_err", Role.LABELS)
    y, e = (
        np.array([[1, np.nan, 1, 1, 1, 1, np.inf]]),
        np.array([[1, np.nan, np.nan, 0, -1, np.inf, 1.0]]),
    )
    assert find_invalid(err, y, e).tolist() == [[False, False, False, True, True, True, True]]


def test_a_star_named_twice_is_refused():
    with pytest.raises(
        InputError,
        match=r"my.zarr: 'star' repeats 'b' \(2 repeated in all\).*drop_duplicates\('star'\)",
    ):
        check_unique(np.array(["a", "b", "b", "c", "b"], object), WHERE)


def test_errors_become_inverse_variances_without_warnings():
    spec = OutputSpec("label_value", "label", "label_err", Role.LABELS)
    value = np.array([[1.0, np.nan, 3.0, 4.0, 5.0, 6.0, 7.0, np.inf]])
    err = np.array([[0.5, 0.5, np.nan, 0.1, 0.0, -1.0, np.inf, 1.0]])
    np.testing.assert_allclose(
        spec.ivar(value, err), [[4, 0, 0, 100, np.nan, np.nan, np.nan, np.nan]]
    )
    assert not spec.is_ivar


def with_more_outputs(survey):
    n = survey.sizes["star"]
    return survey.assign_coords(
        wavelength_boss=("wavelength_boss", np.linspace(4000.0, 9000, 6), {"units": "Angstrom"}),
        band=("band", np.array(["g", "r"], object)),
        galah_label=("galah_label", np.array(["teff"], object)),
    ).assign(
        flux_boss=(("star", "wavelength_boss"), np.ones((n, 6), "f4")),
        flux_boss_ivar=(("star", "wavelength_boss"), np.ones((n, 6), "f4")),
        mag=(("star", "band"), np.ones((n, 2))),
        mag_err=(("star", "band"), np.ones((n, 2))),
        galah_value=(("star", "galah_label"), np.ones((n, 1))),
        galah_err=(("star", "galah_label"), np.ones((n, 1))),
    )


def test_all_outputs_are_found_and_the_truth_is_not_one(small_survey):
    survey = with_more_outputs(small_survey)
    check_structure(survey, WHERE)
    assert {(o.name, o.dim, o.noise) for o in find_outputs(survey)} == {
        ("flux", "wavelength", "flux_ivar"),
        ("flux_boss", "wavelength_boss", "flux_boss_ivar"),
        ("label_value", "label", "label_err"),
        ("mag", "band", "mag_err"),
        ("galah_value", "galah_label", "galah_err"),
    }
    assert "label_true" in survey


@pytest.mark.parametrize(
    ("dim", "stated", "role"),
    [
        ("band", None, "bands"),
        ("band_gaia", None, "bands"),
        ("gaia_band", None, "bands"),
        ("sideband", None, "labels"),
        ("colour", None, "labels"),
        ("colour", "bands", "bands"),
        ("band", "labels", "labels"),
    ],
)
def test_role_follows_dim_unless_the_attribute_states_it(small_survey, dim, stated, role):
    survey = with_more_outputs(small_survey).rename(band=dim)
    if stated:
        survey["mag"].attrs["role"] = stated
    check_structure(survey, WHERE)
    roles = {o.name: o.role for o in find_outputs(survey)}
    assert roles == {
        "flux": Role.SPECTRUM,
        "flux_boss": Role.SPECTRUM,
        "label_value": Role.LABELS,
        "mag": role,
        "galah_value": Role.LABELS,
    }


@pytest.mark.parametrize(
    ("name", "stated", "message"),
    [
        ("mag", "colours", "'mag' has role 'colours'.*must be 'labels' or 'bands'"),
        ("mag", "spectrum", "'mag' has role 'spectrum'.*must be 'labels' or 'bands'"),
        ("flux", "bands", "'flux' has role 'bands', but 'wavelength' is a grid of numbers"),
    ],
)
def test_a_role_that_cannot_be_is_refused(small_survey, name, stated, message):
    survey = with_more_outputs(small_survey)
    survey[name].attrs["role"] = stated
    with pytest.raises(InputError, match=message):
        check_structure(survey, WHERE)


def test_outputs_are_picked_by_name_in_the_order_asked_for(small_survey):
    survey = with_more_outputs(small_survey)
    assert [o.name for o in pick_outputs(survey, "flux", WHERE)] == ["flux"]
    assert [o.name for o in pick_outputs(survey, ["mag", "flux"], WHERE)] == ["mag", "flux"]
    assert len(pick_outputs(survey, None, WHERE)) == 5


@pytest.mark.parametrize(
    ("name", "need"),
    [("flux_uves", "flux_uves"), ("label_true", "label_true_ivar' or label_true_err")],
)
def test_an_output_that_is_not_there_is_refused(small_survey, name, need):
    with pytest.raises(InputError) as error:
        pick_outputs(small_survey, ["flux", name], WHERE)
    message = str(error.value)
    assert message.startswith(WHERE) and repr(name) in message
    assert need.split("'")[0] in message
    assert "label_value" in message and "flux" in message  # what there is


@pytest.mark.parametrize("registry", [SURVEY, CATALOG, MODEL], ids=["survey", "catalog", "model"])
def test_description_mentions_every_variable(registry):
    rows = describe_variables(registry).splitlines()
    assert len(rows) == 2 + len(registry)
    for variable, row in zip(registry, rows[2:], strict=True):
        for part in (f"`{variable.name}`", ", ".join(variable.dims), variable.dtype, variable.doc):
            assert part in row


def test_input_error_is_a_value_error():
    assert issubclass(InputError, ValueError)


def test_integer_stars_are_fine():
    survey = xr.Dataset(
        {
            "label_value": (("star", "label"), np.ones((2, 1))),
            "label_err": (("star", "label"), np.ones((2, 1))),
        },
        {"star": np.array([5, 7]), "label": np.array(["teff"], object)},
    )
    check_structure(survey, WHERE)
