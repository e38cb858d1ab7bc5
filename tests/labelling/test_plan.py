"""A survey is labelled whatever its layout, and whatever is wrong with what is not read."""

import numpy as np
import pytest
import xarray as xr
import zarr

import luxscale as lux
from luxscale import store

N_STARS, CHUNK = 60, 20


@pytest.fixture(scope="module")
def model_path(tmp_path_factory, small_model):
    path = tmp_path_factory.mktemp("model") / "model.zarr"
    small_model.save(path)
    return path


@pytest.fixture
def few_stars(small_survey):
    return small_survey.isel(star=slice(0, N_STARS))


def write(survey, path, **chunks):
    """Write a survey as it is, in chunks of any shape; as Zarr lays it out where none are named."""
    plain = survey.drop_encoding().drop_indexes(list(survey.indexes))
    plain.to_zarr(path, consolidated=False, encoding={k: {"chunks": v} for k, v in chunks.items()})
    return path


def label(survey_path, model_path, **options):
    catalog = survey_path.with_name("catalog.zarr")
    lux.label_survey(survey_path, model_path, catalog, progress=False, **options)
    return store.open_dataset(catalog).load()


LAYOUTS = {
    "labels in chunks of features": {"label_value": (20, 3), "label_err": (20, 2)},
    "spectra in chunks of features": {"flux": (20, 9), "flux_ivar": (20, 7)},
    "errors in chunks of other stars": {"flux": (20, 40), "flux_ivar": (50, 40)},
    "both, and stars not aligned": {"flux": (30, 11), "flux_ivar": (17, 40)},
    "one chunk": {"flux": (60, 40), "flux_ivar": (60, 40)},
    "a chunk a star": {"flux": (1, 40), "flux_ivar": (1, 40)},
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_gives_the_same_labels(few_stars, small_model, model_path, tmp_path, layout):
    path = write(few_stars, tmp_path / "survey.zarr", **LAYOUTS[layout])
    catalog = label(path, model_path, region_stars=CHUNK)
    expected = lux.infer(few_stars, small_model)
    assert (catalog["status"] == 1).all()
    for name in ("label_value", "label_err", "latent"):
        np.testing.assert_allclose(catalog[name], expected[name], rtol=1e-5, atol=1e-6)
    lazy = lux.infer(lux.open_survey(path), small_model)
    np.testing.assert_allclose(lazy["latent"], expected["latent"], rtol=1e-5, atol=1e-6)


def test_a_large_table_as_zarr_chunks_it_by_itself(few_stars, model_path, tmp_path):
    """Zarr cuts arrays of about a million values along both dims."""
    labels = {"label": np.array([f"x{i}" for i in range(2000)], object)}
    value = xr.DataArray(np.zeros((N_STARS, 2000)), labels, ("star", "label"))
    survey = few_stars[["flux", "flux_ivar"]].assign(label_value=value, label_err=value + 1)
    path = write(survey, tmp_path / "survey.zarr")
    chunks = zarr.open_group(path, mode="r")["label_value"].chunks
    assert chunks[1] < 2000
    assert (label(path, model_path)["status"] == 1).all()


def test_a_change_in_any_chunk_of_features_is_noticed(few_stars, model_path, tmp_path):
    path = write(few_stars, tmp_path / "survey.zarr", flux=(20, 9), flux_ivar=(20, 40))
    label(path, model_path)
    zarr.open_group(path, mode="r+")["flux"][50, 30] = 3.0
    catalog = path.with_name("catalog.zarr")
    again = lux.label_survey(path, model_path, catalog, progress=False)
    assert again.n_run == 20


def whole_numbers(survey):
    scaled = (survey["flux"].where(np.isfinite(survey["flux"]), 0) * 1000).round()
    return survey.assign(flux=scaled.astype("i4"))


def mask_by_nan(survey):
    missing = survey["flux_ivar"] == 0
    assert missing.any()
    return survey.assign({v: survey[v].where(~missing) for v in ("flux", "flux_ivar")})


FORMS = {
    "missing pixels as NaN in both": mask_by_nan,
    "big-endian": lambda s: s.assign({v: s[v].astype(">f4") for v in ("flux", "flux_ivar")}),
    "double": lambda s: s.assign({v: s[v].astype("f8") for v in ("flux", "flux_ivar")}),
    "spelling of the unit": lambda s: set_attrs(s, units="AA"),
    "spelling of the medium": lambda s: set_attrs(s, medium="Vacuum"),
    "grid in float32": lambda s: set_attrs(s, np.float32),
    "stars as 4-byte integers": lambda s: s.assign_coords(star=np.arange(N_STARS, dtype=">i4")),
    "stars as unsigned integers": lambda s: s.assign_coords(star=np.arange(N_STARS, dtype="u8")),
    "more dims": lambda s: s.assign(cube=(("star", "x", "y"), np.zeros((N_STARS, 2, 3)))),
    "labels without errors": lambda s: s.drop_vars("label_err"),
    "label errors of 0": lambda s: s.assign(label_err=0 * s["label_err"]),
    "labels as text": lambda s: s.assign(label_value=s["label_value"].astype(str)),
}


def set_attrs(survey, dtype=np.float64, **attrs):
    grid = survey["wavelength"]
    return survey.drop_indexes("wavelength").assign_coords(
        wavelength=("wavelength", grid.values.astype(dtype), {**grid.attrs, **attrs})
    )


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.filterwarnings("ignore::zarr.errors.UnstableSpecificationWarning")
def test_every_form_gives_the_same_labels(few_stars, small_model, model_path, tmp_path, form):
    survey = FORMS[form](few_stars)
    expected = lux.infer(few_stars, small_model)
    catalog = label(write(survey, tmp_path / "survey.zarr"), model_path)
    np.testing.assert_allclose(catalog["latent"], expected["latent"], rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(catalog["flags"], expected["flags"])
    direct = lux.infer(survey, small_model)
    np.testing.assert_array_equal(direct["flags"], expected["flags"])
    np.testing.assert_allclose(direct["latent"], expected["latent"], rtol=1e-5, atol=1e-6)


@pytest.mark.filterwarnings("ignore::zarr.errors.UnstableSpecificationWarning")
def test_stars_in_bytes_are_named_in_text(few_stars, model_path, tmp_path):
    encoded = few_stars.assign_coords(star=few_stars["star"].values.astype(str).astype("S"))
    catalog = label(write(encoded, tmp_path / "survey.zarr"), model_path)
    assert catalog["star"].values.tolist() == few_stars["star"].values.tolist()


def test_whole_numbers_are_as_good_as_floats(few_stars, small_model, model_path, tmp_path):
    survey = whole_numbers(few_stars)
    expected = lux.infer(survey.assign(flux=survey["flux"].astype("f4")), small_model)
    catalog = label(write(survey, tmp_path / "survey.zarr"), model_path)
    np.testing.assert_allclose(catalog["latent"], expected["latent"], rtol=1e-5, atol=1e-6)


def test_what_is_read_is_still_checked(few_stars, model_path, tmp_path):
    few_stars["flux_ivar"][5, 2] = -1
    with pytest.raises(lux.InputError, match=r"'flux_ivar' = -1.0 .* star 's1-00005'"):
        label(write(few_stars, tmp_path / "survey.zarr"), model_path)
