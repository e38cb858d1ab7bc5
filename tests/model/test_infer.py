"""Inference agrees with float64, is lazy, flags bad stars, refuses what the model does not fit."""

import dataclasses
import threading

import dask
import jax
import numpy as np
import pytest
import xarray as xr

import luxscale as lux
from luxscale.errors import InputError
from luxscale.model.inference import Inference
from luxscale.model.kernel import infer_arrays
from luxscale.schema import flags

RESULTS = ("latent", "chi2", "n_pixels", "flags", "label_value", "label_err")


@pytest.fixture
def arrays(small_model, held_out):
    """What `infer_arrays` takes: problem, values, ivars."""
    small_model = dataclasses.replace(small_model, limits=(np.inf, np.inf))
    return (
        Inference.of(small_model, "flux").problem,
        [held_out["flux"].values],
        [held_out["flux_ivar"].values],
    )


@pytest.fixture
def expected(small_model, held_out, float64_reference):
    return float64_reference(
        small_model, "flux", held_out["flux"].values, held_out["flux_ivar"].values
    )


def raised(catalog, name):
    return (catalog["flags"].values & flags.BIT[name]) > 0


# the arithmetic


def test_agrees_with_float64(arrays, expected):
    got = infer_arrays(*arrays)
    assert np.max(np.abs(got.value[0] - expected["value"]) / expected["err"]) < 0.01
    np.testing.assert_allclose(got.err[0], expected["err"], rtol=0.01)
    np.testing.assert_allclose(got.latent, expected["latent"], atol=2e-3)
    np.testing.assert_allclose(got.chi2, expected["chi2"], rtol=2e-3)
    np.testing.assert_array_equal(got.n_pixels, expected["n_pixels"])
    assert got.cov == ()


def test_covariance_is_that_of_float64_and_its_diagonal_the_error(arrays, expected):
    got = infer_arrays(*arrays, covariance=True)
    scale = expected["err"][:, :, None] * expected["err"][:, None, :]
    assert np.max(np.abs(got.cov[0] - expected["label_cov"]) / scale) < 0.01
    np.testing.assert_allclose(
        np.diagonal(got.cov[0], axis1=1, axis2=2), got.err[0] ** 2, rtol=1e-6
    )
    np.testing.assert_allclose(got.err[0], infer_arrays(*arrays).err[0], rtol=1e-4)


def test_high_signal_to_noise_keeps_its_digits(small_model, held_out, float64_reference):
    """Errors a hundred times smaller and no scatter: where float32 would lose first."""
    flux = dataclasses.replace(small_model["flux"], scatter=0 * small_model["flux"].scatter)
    label = dataclasses.replace(small_model["label_value"], floor=np.zeros(4))
    model = dataclasses.replace(small_model, outputs=(label, flux))
    ivar = held_out["flux_ivar"].values * np.float32(1e4)
    rng = np.random.default_rng(0)
    y = (
        flux.map(rng.standard_normal((len(ivar), 4))) + 2e-4 * rng.standard_normal(ivar.shape)
    ).astype("f4")
    expected = float64_reference(model, "flux", y, ivar)
    got = infer_arrays(Inference.of(model, "flux").problem, [y], [ivar])
    assert np.max(np.abs(got.value[0] - expected["value"]) / expected["err"]) < 0.05
    np.testing.assert_allclose(got.err[0], expected["err"], rtol=0.01)


def test_the_value_of_a_missing_pixel_changes_nothing(arrays):
    work, (y,), (ivar,) = arrays
    assert np.isnan(y[ivar == 0]).all()
    results = [
        infer_arrays(work, [np.where(ivar > 0, y, fill).astype("f4")], [ivar])
        for fill in (np.nan, 0.0, -9999.0, np.inf)
    ]
    for other in results[1:]:
        for a, b in zip(jax.tree.leaves(results[0]), jax.tree.leaves(other), strict=True):
            np.testing.assert_array_equal(a, b)


def test_a_missing_pixel_is_a_pixel_left_out(arrays, small_model):
    work, (y,), (ivar,) = arrays
    ivar = ivar.copy()
    ivar[:, 10:20] = 0
    kept = np.r_[0:10, 20:40]
    short = dataclasses.replace(work, designs=(work.designs[0].take(kept),))
    a, b = infer_arrays(work, [y], [ivar]), infer_arrays(short, [y[:, kept]], [ivar[:, kept]])
    np.testing.assert_allclose(a.latent, b.latent, atol=1e-4)
    np.testing.assert_array_equal(a.n_pixels, b.n_pixels)


def test_a_star_does_not_depend_on_its_neighbours(arrays):
    work, (y,), (ivar,) = arrays
    whole = infer_arrays(work, [y], [ivar])
    for rows in ([300], list(range(250, 400)), [599, 300, 4]):
        part = infer_arrays(work, [y[rows]], [ivar[rows]])
        np.testing.assert_allclose(part.latent, whole.latent[rows], atol=1e-5)
        np.testing.assert_allclose(part.err[0], whole.err[0][rows], rtol=1e-5)
        np.testing.assert_array_equal(part.flags, whole.flags[rows])


def test_a_bad_neighbour_does_no_harm(arrays):
    work, (y,), (ivar,) = arrays
    whole = infer_arrays(work, [y], [ivar])
    bad_y, bad_ivar = y.copy(), ivar.copy()
    bad_y[7], bad_ivar[7] = np.inf, np.nan
    others = np.arange(len(y)) != 7
    np.testing.assert_allclose(
        infer_arrays(work, [bad_y], [bad_ivar]).latent[others], whole.latent[others], atol=1e-5
    )


# the labelled door


def test_catalogue_in_memory(small_model, held_out, expected):
    catalog = lux.infer(held_out, small_model)
    assert set(catalog.variables) == {*RESULTS, "star", "label", "label_units"}
    assert not catalog.chunks
    np.testing.assert_array_equal(catalog["star"], held_out["star"])
    assert catalog["label"].values.tolist() == held_out["label"].values.tolist()
    assert catalog["label_units"].values.tolist() == held_out["label_units"].values.tolist()
    assert catalog["label_value"].dims == ("star", "label")
    assert catalog["latent"].dims == ("star", "latent")
    assert {k: catalog[k].dtype.str[1:] for k in RESULTS} == {
        "latent": "f4",
        "chi2": "f4",
        "n_pixels": "i4",
        "flags": "u2",
        "label_value": "f8",
        "label_err": "f8",
    }
    assert (
        np.max(np.abs(catalog["label_value"].values - expected["value"]) / expected["err"]) < 0.01
    )
    assert catalog.attrs["model_fingerprint"] == small_model.fingerprint
    assert catalog["flags"].attrs["flag_meanings"].split() == list(flags.BIT)
    assert catalog["flags"].attrs["flag_masks"] == [2**i for i in range(len(flags.FLAGS))]
    assert all(catalog[k].attrs["long_name"] for k in RESULTS)


def test_on_dask_nothing_is_computed_and_the_result_is_the_same(small_model, held_out, no_compute):
    with no_compute():
        lazy = lux.infer(held_out.chunk(star=170), small_model, covariance=True)
        assert lazy["label_value"].chunks[0] == (170, 170, 170, 90)
        with pytest.raises(no_compute.error):
            lazy["flags"].compute()
    got, memory = lazy.compute(), lux.infer(held_out, small_model, covariance=True)
    assert got.attrs == memory.attrs
    assert (
        {k: v.dtype for k, v in got.items()}
        == {k: v.dtype for k, v in memory.items()}
        == {k: v.dtype for k, v in lazy.items()}
    )
    for name in ("n_pixels", "flags"):
        np.testing.assert_array_equal(got[name], memory[name])
    np.testing.assert_allclose(got["latent"], memory["latent"], atol=1e-5)
    for name in ("label_value", "label_err"):
        np.testing.assert_allclose(
            got[name] / memory["label_err"], memory[name] / memory["label_err"], atol=1e-4
        )
    assert got["label_cov"].dims == ("star", "label", "label_other")
    np.testing.assert_allclose(got["label_cov"], memory["label_cov"], rtol=1e-3, atol=1e-8)
    np.testing.assert_allclose(
        np.diagonal(got["label_cov"], axis1=1, axis2=2), got["label_err"] ** 2, rtol=1e-6
    )


def test_a_survey_opened_from_disk(small_model, held_out, tmp_path):
    from luxscale.store import write_dataset

    write_dataset(held_out, tmp_path / "survey.zarr", chunk=128)
    catalog = lux.infer(lux.open_survey(tmp_path / "survey.zarr"), small_model)
    assert catalog["label_value"].chunks[0] == (128, 128, 128, 128, 88)
    np.testing.assert_allclose(
        catalog["latent"], lux.infer(held_out, small_model)["latent"], atol=1e-5
    )
    assert (
        catalog.sel(star="s2-00321")["chi2"].compute()
        == lux.infer(held_out, small_model)["chi2"][321]
    )


def test_eight_threads_do_not_deadlock(small_model, held_out):
    """Under some versions two JAX programs at once hang for good; a thread of our own notices."""
    lazy, got = lux.infer(held_out.chunk(star=20), small_model), []

    def work():
        with dask.config.set(scheduler="threads", num_workers=8):
            got.append(lazy.compute())

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(timeout=60)
    assert got, "inference hangs under Dask's threaded scheduler"
    np.testing.assert_allclose(
        got[0]["latent"], lux.infer(held_out, small_model)["latent"], atol=1e-5
    )


def test_spectra_from_labels(small_model, held_out, float64_reference):
    """Equation 11: latents from labels alone."""
    catalog = lux.infer(held_out, small_model, given="label_value")
    err = held_out["label_err"].values
    ivar = np.where(np.isfinite(err), 1 / err**2, 0)
    expected = float64_reference(small_model, "label_value", held_out["label_value"].values, ivar)
    assert (
        np.max(np.abs(catalog["label_value"].values - expected["value"]) / expected["err"]) < 0.01
    )
    np.testing.assert_allclose(catalog["label_err"], expected["err"], rtol=0.01)
    np.testing.assert_array_equal(catalog["n_pixels"], expected["n_pixels"])


def test_labels_and_spectra_together_know_more_than_each(
    small_model, held_out, float64_reference, joined_outputs
):
    both = lux.infer(held_out, small_model, given=["flux", "label_value"])
    model, values, ivars = joined_outputs(small_model, held_out)
    expected = float64_reference(model, "flux", values, ivars)
    assert np.max(np.abs(both["label_value"].values - expected["value"]) / expected["err"]) < 0.01
    np.testing.assert_allclose(both["label_err"], expected["err"], rtol=0.01)
    np.testing.assert_array_equal(both["n_pixels"], expected["n_pixels"])
    for alone in ("flux", "label_value"):
        assert (
            both["label_err"]
            < lux.infer(held_out, small_model, given=alone)["label_err"] * (1 + 1e-6)
        ).all()


# flags


def test_good_stars_carry_few_flags(small_model, held_out):
    catalog = lux.infer(held_out, small_model)
    for name in ("invalid_values", "no_data", "few_pixels", "prior_dominated"):
        assert not raised(catalog, name).any()
    for name in ("bad_fit", "unlike_training"):
        assert raised(catalog, name).mean() < 0.02


def test_a_star_with_few_pixels(small_model, held_out):
    held_out["flux_ivar"][3, 9:] = 0
    held_out["flux_ivar"][4, 12:] = 0
    held_out["flux_ivar"][3:5, :9] = 2500
    held_out["flux"][3:5, :12] = held_out["flux"].mean("star")[:12]
    held_out["flux_ivar"][4, :12] = 2500
    assert np.flatnonzero(raised(lux.infer(held_out, small_model), "few_pixels")).tolist() == [3]


def test_a_star_without_data_is_the_average_star(small_model, held_out):
    held_out["flux_ivar"][5] = 0
    star = lux.infer(held_out, small_model).isel(star=[5])
    label = small_model["label_value"]
    assert (
        raised(star, "no_data").all()
        and raised(star, "few_pixels").all()
        and raised(star, "prior_dominated").all()
    )
    assert star["n_pixels"] == 0 and star["chi2"] == 0
    np.testing.assert_array_equal(star["latent"], np.zeros((1, 4)))
    np.testing.assert_allclose(star["label_value"][0], label.map.offset)
    prior = np.sqrt((label.map.weights**2).sum(1) + label.floor**2)
    np.testing.assert_allclose(star["label_err"][0], prior, rtol=1e-5)


@pytest.mark.parametrize(
    ("flux", "ivar"),
    [(1.0, -5.0), (np.nan, 5.0), (np.inf, 5.0), (1.0, np.nan), (1.0, np.inf)],
    ids=["negative ivar", "NaN flux", "infinite flux", "NaN ivar", "infinite ivar"],
)
def test_values_that_break_the_contract_are_left_out_and_flagged(small_model, held_out, flux, ivar):
    clean = held_out.copy(deep=True)
    clean["flux_ivar"][8, 2:4] = 0
    held_out["flux"][8, 2:4] = flux
    held_out["flux_ivar"][8, 2:4] = ivar
    catalog, expected = lux.infer(held_out, small_model), lux.infer(clean, small_model)
    assert np.flatnonzero(raised(catalog, "invalid_values")).tolist() == [8]
    for name in RESULTS:
        assert np.isfinite(catalog[name]).all()
        if name != "flags":
            np.testing.assert_array_equal(catalog[name], expected[name])
    counts = flags.count(catalog["flags"].values)
    assert counts["invalid_values"] == 1
    assert "no_data" not in counts


@pytest.mark.parametrize("err", [0.0, -0.1, np.inf])
def test_label_errors_that_break_the_contract_are_left_out_and_flagged(small_model, held_out, err):
    clean = held_out.copy(deep=True)
    for survey, value in ((clean, np.nan), (held_out, err)):
        survey["label_value"][8, 2] = -0.3
        survey["label_err"][8, 2] = value
    catalog = lux.infer(held_out, small_model, given="label_value")
    expected = lux.infer(clean, small_model, given="label_value")
    assert raised(catalog, "invalid_values").sum() == 1
    np.testing.assert_array_equal(catalog["label_value"], expected["label_value"])


def test_labels_that_a_survey_lacks_are_put_in_as_is_advised(small_model, held_out):
    two = held_out.isel(label=[1, 0])
    names = list(small_model["label_value"].coord)
    filled = two.drop_vars("label_units", errors="ignore").reindex(label=names)
    gaps = held_out.assign(label_value=held_out.label_value.where(held_out.label.isin(names[:2])))
    catalog, expected = (
        lux.infer(survey, small_model, given="label_value") for survey in (filled, gaps)
    )
    np.testing.assert_array_equal(catalog["latent"], expected["latent"])


def test_a_spectrum_the_model_cannot_describe(small_model, held_out):
    held_out["flux"][11] = 1 + 0.5 * (-1.0) ** np.arange(40)
    assert raised(lux.infer(held_out, small_model), "bad_fit")[11]


def test_a_star_unlike_training(small_model, held_out):
    flux = small_model["flux"]
    held_out["flux"][12] = flux.map(np.array([8.0, -8, 8, -8]))
    held_out["flux_ivar"][12] = 2500
    catalog = lux.infer(held_out, small_model)
    assert raised(catalog, "unlike_training")[12]
    assert raised(catalog, "label_outside_training")[12]
    bounds = small_model["label_value"].bounds
    value, err = catalog["label_value"].values, catalog["label_err"].values
    outside = ((value + 2 * err < bounds[:, 0]) | (value - 2 * err > bounds[:, 1])).any(1)
    np.testing.assert_array_equal(raised(catalog, "label_outside_training"), outside)


def test_limits_are_where_flags_begin(arrays, expected):
    work, *data = arrays
    got = infer_arrays(dataclasses.replace(work, limits=(1.0, 6.0)), *data)
    clear = np.abs(expected["chi2"] / expected["n_pixels"] - 1) > 0.01
    bad = expected["chi2"] > expected["n_pixels"]
    np.testing.assert_array_equal((got.flags & flags.BIT["bad_fit"] > 0)[clear], bad[clear])
    far = (expected["latent"] ** 2).sum(1)
    clear = np.abs(far - 6) > 0.05
    np.testing.assert_array_equal(
        (got.flags & flags.BIT["unlike_training"] > 0)[clear], (far > 6)[clear]
    )
    assert 0 < bad.sum() < 600 and 0 < (far > 6).sum() < 600


def test_noise_that_hides_the_labels(small_model, held_out):
    held_out["flux_ivar"][20] *= 1e-5
    assert np.flatnonzero(raised(lux.infer(held_out, small_model), "prior_dominated")).tolist() == [
        20
    ]


# what is refused


def shift(survey):
    return survey.assign_coords(
        wavelength=("wavelength", survey["wavelength"].values + 0.1, survey["wavelength"].attrs)
    )


def attr(key, value):
    def change(survey):
        survey["wavelength"].attrs[key] = value
        return survey

    return change


@pytest.mark.parametrize(
    ("change", "given", "message"),
    [
        (
            lambda s: s.isel(wavelength=slice(39)),
            "flux",
            r"'wavelength' has 39 values, the model 40 \(15100.0 to 15178.0\)",
        ),
        (
            shift,
            "flux",
            "'wavelength' differs from the model's grid at 40 of 40 pixels, first 15100.1 "
            "where .* 15100.0; resample",
        ),
        (
            attr("units", "nm"),
            "flux",
            "'wavelength' has units 'nm', the model 'Angstrom'; convert it",
        ),
        (
            attr("medium", "air"),
            "flux",
            "'wavelength' has medium 'air', the model 'vacuum'; convert it",
        ),
        (
            lambda s: s.drop_vars(["flux", "flux_ivar"]),
            "flux",
            "no variable 'flux', .* has the outputs: label_value",
        ),
        (lambda s: s.drop_vars("flux"), "flux", "no variable 'flux', to which 'flux_ivar' belongs"),
        (
            lambda s: s.drop_vars("flux_ivar"),
            "flux",
            "no variable 'flux_ivar' or 'flux_err', which 'flux' needs",
        ),
        (
            lambda s: s.isel(label=[1, 0, 2, 3]),
            "label_value",
            r"'label' is \['logg', 'teff'.*select them in the model's order",
        ),
        (
            lambda s: s.isel(label=[0, 1]),
            ["flux", "label_value"],
            r"'label' has no fe_h, mg_fe, which the model has; .*\.reindex\(label=list\(model",
        ),
        (
            lambda s: s.assign_coords(label_units=("label", ["kK", "dex", "dex", "dex"])),
            "label_value",
            "'teff' of 'label_value' is in kK, the model's in K; convert it",
        ),
        (lambda s: s, "mag", "the model has no output 'mag'; it has label_value, flux"),
        (lambda s: s, [], "names no output, or one twice"),
        (lambda s: s, ["flux", "flux"], "names no output, or one twice"),
    ],
)
def test_a_survey_that_does_not_match_is_refused(small_model, held_out, change, given, message):
    with pytest.raises(InputError, match=message):
        lux.infer(change(held_out), small_model, given=given)


def test_labels_of_the_survey_do_not_matter_when_only_spectra_are_given(
    small_model, held_out, expected
):
    survey = held_out.isel(label=[1, 0])
    catalog = lux.infer(survey, small_model)
    assert catalog["label"].values.tolist() == ["teff", "logg", "fe_h", "mg_fe"]
    assert (
        np.max(np.abs(catalog["label_value"].values - expected["value"]) / expected["err"]) < 0.01
    )


def test_a_grid_equal_to_rounding_is_accepted(small_model, held_out):
    grid = held_out["wavelength"].astype("f4").astype("f8") * (1 + 1e-9)
    lux.infer(
        held_out.assign_coords(
            wavelength=("wavelength", grid.values, held_out["wavelength"].attrs)
        ),
        small_model,
    )


def test_no_stars_give_an_empty_catalogue(small_model, held_out):
    empty = held_out.isel(star=slice(0))
    for survey in (empty, held_out.chunk(star=100).isel(star=slice(0))):
        catalog = lux.infer(survey, small_model, covariance=True).compute()
        assert catalog.sizes == {"star": 0, "latent": 4, "label": 4, "label_other": 4}
        assert catalog["label_value"].shape == (0, 4)


def test_other_columns_of_the_survey_are_left_alone(small_model, held_out):
    before = held_out.copy(deep=True)
    lux.infer(held_out, small_model)
    xr.testing.assert_identical(held_out, before)


# flags as bits


def test_flags_combine_bit_by_bit():
    got = flags.combine(no_data=np.array([True, False]), bad_fit=np.array([True, True]))
    assert got.dtype == np.uint16
    assert got.tolist() == [2 + 8, 8]
    assert flags.count(got) == {"no_data": 1, "bad_fit": 2}


def test_every_flag_is_explained():
    assert len(flags.BIT) == len(set(flags.BIT.values())) == len(flags.ATTRS["flag_masks"])
    for name, doc in flags.FLAGS:
        assert f"{name}: {doc}" in flags.ATTRS["comment"]
