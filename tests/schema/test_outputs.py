"""A model of several outputs carries each to every other: labels, bands, two spectrographs."""

import dataclasses

import numpy as np
import pytest
import xarray as xr

import luxscale as lux
from luxscale import crossval as cv
from luxscale import store
from luxscale.cli.format import format_facts
from luxscale.errors import InputError
from luxscale.info.describe import describe
from luxscale.runs.target import open_target
from luxscale.schema import flags
from luxscale.schema.outputs import Role, list_names

P, D, BOSS, N = 4, 40, 24, 900
RNG = np.random.default_rng(8)
WEIGHTS = {
    "flux": 0.04 * RNG.standard_normal((D, P)),
    "flux_boss": 0.04 * RNG.standard_normal((BOSS, P)),
    "label_value": np.array([300, 0.6, 0.4])[:, None] * RNG.standard_normal((3, P)),
    "label_b": np.array([300, 0.4])[:, None] * RNG.standard_normal((2, P)),
    "mag": 0.3 * RNG.standard_normal((3, P)),
}
OFFSET = {
    "flux": 1 + 0.1 * RNG.standard_normal(D),
    "flux_boss": 1 + 0.1 * RNG.standard_normal(BOSS),
    "label_value": np.array([4800, 2.5, -0.3]),
    "label_b": np.array([4850, -0.25]),
    "mag": np.array([12.0, 11.5, 11]),
}
ERROR = {
    "flux": np.full(D, 0.03),
    "flux_boss": np.full(BOSS, 0.04),
    "label_value": np.array([60, 0.12, 0.08]),
    "label_b": np.array([40, 0.06]),
    "mag": np.array([0.05, 0.05, 0.05]),
}
DIM = {
    "flux": "wavelength",
    "flux_boss": "pixel",
    "label_value": "label",
    "label_b": "label_of_b",
    "mag": "band",
}
ROLE = {
    "flux": "spectrum",
    "flux_boss": "spectrum",
    "label_value": "labels",
    "label_b": "labels",
    "mag": "bands",
}
NOISE = {
    "flux": "flux_ivar",
    "flux_boss": "flux_boss_ivar",
    "label_value": "label_err",
    "label_b": "label_b_err",
    "mag": "mag_err",
}
COORDS = {
    "wavelength": (
        "wavelength",
        15100 + 2.0 * np.arange(D),
        {"units": "Angstrom", "medium": "vacuum"},
    ),
    "pixel": ("pixel", 4000 + 5.0 * np.arange(BOSS), {"units": "Angstrom", "medium": "air"}),
    "label": np.array(["teff", "logg", "fe_h"], object),
    "label_of_b": np.array(["teff", "m_h"], object),
    "band": np.array(["g", "r", "i"], object),
}
EVERYTHING = tuple(DIM)


def make(n, seed, *, only=EVERYTHING, having=None):
    """Stars with some outputs; ``having`` maps an output to the stars that have it."""
    rng = np.random.default_rng(seed)
    z = rng.standard_normal((n, P))
    data, true = {}, {}
    for name in EVERYTHING:
        err = ERROR[name] * rng.uniform(0.7, 1.4, (n, ERROR[name].size))
        true[name] = OFFSET[name] + z @ WEIGHTS[name].T
        value = true[name] + err * rng.standard_normal(err.shape)
        missing = np.zeros(n, bool) if having is None or name not in having else ~having[name]
        if NOISE[name].endswith("_ivar"):
            value, noise = (
                np.where(missing[:, None], 0, value).astype("f4"),
                np.where(missing[:, None], 0, err**-2).astype("f4"),
            )
        else:
            value, noise = (np.where(missing[:, None], np.nan, a) for a in (value, err))
        if name in only:
            data |= {name: (("star", DIM[name]), value), NOISE[name]: (("star", DIM[name]), noise)}
    survey = xr.Dataset(
        data,
        {
            "star": np.array([f"o{seed}-{i}" for i in range(n)], object),
            **{DIM[k]: COORDS[DIM[k]] for k in only},
        },
    )
    return survey, true


def best(survey, given, wanted):
    """The best possible prediction and its error: the posterior under the truth, in float64."""
    value, err = [], []
    for n in range(survey.sizes["star"]):
        h, rhs = np.eye(P), np.zeros(P)
        for name in given:
            y, noise = (survey[k].values[n].astype(float) for k in (name, NOISE[name]))
            with np.errstate(divide="ignore"):
                ivar = (
                    noise
                    if NOISE[name].endswith("_ivar")
                    else np.where(np.isfinite(noise), noise**-2.0, 0)
                )
            w = WEIGHTS[name]
            h += w.T @ (ivar[:, None] * w)
            rhs += w.T @ (ivar * np.where(ivar > 0, y - OFFSET[name], 0))
        cov = np.linalg.inv(h)
        value.append(OFFSET[wanted] + WEIGHTS[wanted] @ cov @ rhs)
        err.append(np.sqrt(np.diag(WEIGHTS[wanted] @ cov @ WEIGHTS[wanted].T)))
    return np.array(value), np.array(err)


def rms(a, b):
    return np.sqrt(np.mean((np.asarray(a) - b) ** 2, axis=0))


def robust(pull):
    return 1.4826 * np.median(np.abs(pull), axis=0)


@pytest.fixture(scope="module")
def training():
    """Spectra for most; labels of A for 500, of B for 500, both for 100; BOSS for some."""
    rows = np.arange(N)
    having = {
        "flux": rows % 10 != 3,
        "label_value": rows < 500,
        "label_b": rows >= 400,
        "flux_boss": rows % 3 != 0,
        "mag": rows % 3 != 1,
    }
    return make(N, 1, having=having)[0]


@pytest.fixture(scope="module")
def model(training):
    return lux.train(training, P, folds=3, progress=False)


@pytest.fixture(scope="module")
def test_stars():
    return make(500, 2)


# label transfer


@pytest.mark.parametrize(
    ("given", "tolerance"),
    [(["flux", "label_value"], 1.25), (["flux"], 1.25), (["label_value"], 1.15)],
    ids=["spectra and labels of A", "spectra", "labels of A alone"],
)
def test_labels_of_b_for_stars_of_a_are_nearly_the_best_possible(
    model, test_stars, given, tolerance
):
    _, true = test_stars
    survey = make(500, 2, only=["flux", "label_value"])[0]  # which holds no label of B
    catalog = lux.infer(survey, model, given=given)
    ideal, ideal_err = best(survey, given, "label_b")
    assert (
        rms(catalog["label_b"], true["label_b"]) < tolerance * rms(ideal, true["label_b"])
    ).all()
    np.testing.assert_allclose((catalog["label_b_err"].values / ideal_err).mean(0), 1, atol=0.3)
    pull = robust((catalog["label_b"].values - true["label_b"]) / catalog["label_b_err"].values)
    np.testing.assert_allclose(pull, 1, atol=0.25)
    assert catalog["label_b"].dims == ("star", "label_of_b")


def test_spectra_and_labels_of_a_give_more_on_b_than_each(model, test_stars):
    survey, true = test_stars
    error = {
        key: rms(lux.infer(survey, model, given=list(key))["label_b"], true["label_b"])
        for key in (("flux", "label_value"), ("flux",), ("label_value",))
    }
    for alone in (("flux",), ("label_value",)):
        assert (error["flux", "label_value"] < error[alone]).all()


@pytest.mark.slow
def test_the_few_stars_with_both_are_what_carries_labels_over(training, test_stars):
    """From A alone: B of stars that share neither spectra nor labels is unknown."""
    survey, true = test_stars
    labels = training[["label_value", "label_err", "label_b", "label_b_err"]]
    model = lux.train(labels, P, folds=1, progress=False)
    ideal, _ = best(survey, ["label_value"], "label_b")
    got = rms(lux.infer(survey, model, given="label_value")["label_b"], true["label_b"])
    assert (got < 1.4 * rms(ideal, true["label_b"])).all()
    assert (got < 0.9 * true["label_b"].std(0)).all()


# photometry


def test_spectrum_and_photometry_together_beat_either(model, test_stars):
    survey, true = test_stars
    catalogs = {
        k: lux.infer(survey, model, given=g)
        for k, g in (("both", ["flux", "mag"]), ("flux", "flux"), ("mag", "mag"))
    }
    both = catalogs["both"]
    for alone in ("flux", "mag"):
        assert (both["label_err"] < catalogs[alone]["label_err"]).all()
        assert (
            rms(both["label_value"], true["label_value"])
            < rms(catalogs[alone]["label_value"], true["label_value"])
        ).all()
    ideal, _ = best(survey, ["flux", "mag"], "label_value")
    assert (
        rms(both["label_value"], true["label_value"]) < 1.25 * rms(ideal, true["label_value"])
    ).all()
    assert (both["n_pixels"] == D + 3).all()


def test_photometry_is_predicted_from_spectra(model, test_stars):
    """Bands are measured, as spectra are: `predict` gives them; catalogues hold labels."""
    survey, true = test_stars
    catalog = lux.infer(survey, model)
    assert [o.name for o in model.labels] == ["label_b", "label_value"]
    assert "mag" not in catalog and "mag_err" not in catalog
    mag, error = lux.predict(catalog, model, "mag"), lux.predict_error(survey, model, "mag")
    assert mag.dims == error.dims == ("star", "band") and list(mag["band"]) == ["g", "r", "i"]
    np.testing.assert_allclose(robust((mag - true["mag"]).values / error.values), 1, atol=0.3)
    assert (rms(mag, true["mag"]) < 0.35 * true["mag"].std(0)).all()


def test_bands_have_a_fitted_scatter_and_no_floor(model):
    mag = model["mag"]
    assert (mag.floor == 0).all() and (model["label_b"].floor > 0).any()
    # nothing but the errors scatters these bands: the least scatter that is fitted is far below
    assert (np.asarray(mag.scatter) < 0.5 * ERROR["mag"]).all()


def test_bands_outside_the_training_range_raise_no_label_flag(model, test_stars):
    """Nor do they make one where a model's labels would."""
    survey, _ = test_stars
    mag = dataclasses.replace(model["mag"], bounds=np.tile([50.0, 51.0], (3, 1)))
    others = [o for o in model.outputs if o.name != "mag"]
    narrow = dataclasses.replace(model, outputs=(*others, mag))
    np.testing.assert_array_equal(
        lux.infer(survey, narrow)["flags"], lux.infer(survey, model)["flags"]
    )
    as_labels = dataclasses.replace(mag, spec=dataclasses.replace(mag.spec, role=Role.LABELS))
    # errors by outputs name those that are measured, of which there is one less
    others = [dataclasses.replace(o, part_errors=()) for o in others]
    flagged = lux.infer(survey, dataclasses.replace(model, outputs=(*others, as_labels)))["flags"]
    assert (flagged & flags.BIT["label_outside_training"]).all()


def test_windows_hold_no_bands(model):
    assert model["mag"].inside(((-np.inf, np.inf),)).size == 0
    assert model["flux"].inside(((15100.0, 15108.0),)).tolist() == [0, 1, 2, 3, 4]


def test_cross_validation_predicts_labels_and_not_bands(training, tmp_path):
    store.write_dataset(training, tmp_path / "survey.zarr", chunk=300)
    grid = cv.make_grid(tmp_path / "survey.zarr", tmp_path / "cv.zarr", latent_dims=[P], folds=3)
    with open_target(cv.Results(grid), progress=False):
        pass
    held = store.open_dataset(tmp_path / "cv.zarr")
    assert {v for v in held if str(v).startswith("trusted_")} == {
        "trusted_label_value",
        "trusted_label_err",
        "trusted_label_b",
        "trusted_label_b_err",
    }


def test_summaries_tell_bands_from_labels(model, training, tmp_path):
    store.write_dataset(training, tmp_path / "survey.zarr", chunk=300)
    model.save(tmp_path / "model.zarr")
    survey, made = (describe(tmp_path / f"{name}.zarr") for name in ("survey", "model"))
    assert list(survey["outputs"]["mag"]["bands"]) == ["g", "r", "i"]
    assert "labels" not in survey["outputs"]["mag"]
    assert any("3 bands" in line for line in format_facts(survey).splitlines())
    assert made["mag"]["bands"] == ["g", "r", "i"]


def test_the_role_of_bands_is_part_of_a_fingerprint_and_that_of_labels_is_not(model):
    """Models of spectra and labels have the fingerprints that they had before there were roles."""
    for output, counts in ((model["mag"], True), (model["label_value"], False)):
        other = Role.LABELS if counts else Role.SPECTRUM
        changed = dataclasses.replace(output, spec=dataclasses.replace(output.spec, role=other))
        before, after = (dataclasses.replace(model, outputs=(o,)) for o in (output, changed))
        assert (before.fingerprint != after.fingerprint) == counts


# two spectrographs


def test_two_spectrographs_together_beat_either(model, test_stars):
    survey, true = test_stars
    both, *each = (
        lux.infer(survey, model, given=g) for g in (["flux", "flux_boss"], "flux", "flux_boss")
    )
    for alone in each:
        assert (both["label_err"] < alone["label_err"]).all()
        assert (
            rms(both["label_value"], true["label_value"])
            < rms(alone["label_value"], true["label_value"])
        ).all()
    assert (both["n_pixels"] == D + BOSS).all()


def test_a_spectrum_of_one_spectrograph_is_predicted_from_the_other(model, test_stars):
    survey, true = test_stars
    spectra = lux.predict(lux.infer(survey, model, given="flux"), model, output="flux_boss")
    assert spectra.dims == ("star", "pixel")
    ideal, _ = best(survey, ["flux"], "flux_boss")
    assert np.median(rms(spectra, true["flux_boss"]) / rms(ideal, true["flux_boss"])) < 1.3
    assert (rms(spectra, true["flux_boss"]) < 0.5 * true["flux_boss"].std(0)).mean() > 0.8


# subsets and gaps


SUBSETS = [
    pytest.param(["flux_boss", "mag"], marks=pytest.mark.slow),
    ["mag", "label_b"],
    pytest.param(["label_b"], marks=pytest.mark.slow),
    pytest.param(["label_b", "flux"], marks=pytest.mark.slow),
    [*EVERYTHING],
]


@pytest.mark.parametrize("given", SUBSETS, ids="+".join)
def test_any_subset_can_be_given(model, test_stars, given):
    survey, true = test_stars
    catalog = lux.infer(survey, model, given=given)
    ideal, _ = best(survey, given, "label_value")
    assert (
        rms(catalog["label_value"], true["label_value"]) < 1.3 * rms(ideal, true["label_value"])
    ).all()
    assert (catalog["n_pixels"] == sum(survey.sizes[DIM[k]] for k in given)).all()
    other = lux.infer(survey[[v for k in given for v in (k, NOISE[k])]], model, given=given[::-1])
    np.testing.assert_allclose(
        (other["label_value"] - catalog["label_value"]) / catalog["label_err"], 0, atol=1e-3
    )


def test_a_star_that_lacks_an_output_is_inferred_from_the_others(model, test_stars):
    survey, _ = test_stars
    rows = np.arange(500)
    gaps, _ = make(
        500, 2, having={"flux": rows % 2 == 0, "mag": rows % 5 > 0, "label_b": rows % 3 > 0}
    )
    catalog = lux.infer(gaps, model, given=["flux", "flux_boss", "mag", "label_b"])
    for n, given in (
        (0, ["flux", "flux_boss"]),
        (1, ["flux_boss", "mag", "label_b"]),
        (2, ["flux", "flux_boss", "mag", "label_b"]),
    ):
        alone = lux.infer(survey.isel(star=[n]), model, given=given)
        for name in ("label_value", "label_err", "label_b", "latent"):
            np.testing.assert_allclose(catalog[name][n], alone[name][0], rtol=1e-4, atol=1e-4)
        assert catalog["n_pixels"][n] == alone["n_pixels"][0]


def test_the_model_of_five_outputs_survives_its_file(model, test_stars, tmp_path):
    survey, _ = test_stars
    model.save(tmp_path / "m.zarr")
    loaded = lux.load_model(tmp_path / "m.zarr")
    assert loaded.fingerprint == model.fingerprint
    assert [o.name for o in loaded.outputs] == [o.name for o in model.outputs]
    assert {o.name: o.spec.dim for o in loaded.outputs} == DIM
    assert {o.name: o.spec.role for o in loaded.outputs} == ROLE
    xr.testing.assert_identical(
        lux.infer(survey, loaded, given=["flux", "mag"]),
        lux.infer(survey, model, given=["flux", "mag"]),
    )


def test_names_that_are_none_are_said():
    with pytest.raises(InputError, match="3 is no name; give one as text, or a list of them"):
        list_names(3)
