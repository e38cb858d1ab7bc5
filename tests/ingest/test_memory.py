"""A few stars in memory are what an ingest makes of their files."""

import json

import numpy as np
import pytest
import xarray as xr
import zarr
from fitsfiles import APSTAR, READABLE, SEEDS, SPEC, shared, write_apstar, write_mwm
from surveyfiles import build_arrays, build_xp, xp_arrays

import luxscale as lux
from luxscale import store
from luxscale.errors import InputError
from luxscale.ingest import ingest, make_grid
from luxscale.ingest.memory import MOST_FILES, read_few
from luxscale.model.file import from_dataset
from luxscale.prepare import default_recipe, prepare
from luxscale.readers import FORMATS
from luxscale.readers.base import explain_unfit, take_stars

#: Real files of surveys, some of them beside the repository.
REAL = (
    "apogee/apStar-r6-2M14305591+0858023.fits",
    "apogee/aspcapStar-r6-l30e.2-2M14305591+0858023.fits",
    "lamost/spec-55862-B6212_sp06-003.fits",
    "../files/lamost/spec-58575-sp03-002.fits",
    "../files/lamost_mrs/med-58625-TD192102N424113K01_sp12-076.fits.gz",
    "../files/gaia_xp/XP_SAMPLED_RAW_dr3int6.csv",
)


def write_arrays(path, survey):
    """Write the spectra of a survey as named arrays."""
    arrays = {
        "flux": survey.flux.values,
        "ivar": survey.flux_ivar.values,
        "wavelength": survey.wavelength.values,
        "name": survey.star.values.astype("S"),
    }
    return build_arrays(path, arrays)


@pytest.fixture(scope="module")
def arrays(tmp_path_factory, _small_survey):
    """A file of the 300 stars, and another of the first two."""
    folder = tmp_path_factory.mktemp("arrays")
    few = _small_survey.isel(star=slice(0, 2))
    return write_arrays(folder / "all.npz", _small_survey), write_arrays(folder / "few.npz", few)


@pytest.fixture(scope="module")
def survey(arrays, _small_survey):
    """The 300 stars as they are read from the file, with their labels."""
    read = lux.read(arrays[0], options={"star": "name"}, recipe={"continuum": "scale"})
    return read.assign(
        {name: _small_survey[name].variable for name in ("label_value", "label_err")}
    ).assign_coords(label=_small_survey.label, label_units=_small_survey.label_units)


@pytest.fixture(scope="module")
def model(survey):
    return lux.train(survey, latent_dim=4, folds=1, progress=False)


def assert_same_survey(read, path):
    """Check that a Dataset is what is stored, whatever the order of its variables."""
    stored = store.open_survey(path, check="all").load()
    assert stored.attrs.pop("complete") == 1
    names = sorted(map(str, stored.data_vars))
    assert sorted(map(str, read.data_vars)) == names
    xr.testing.assert_identical(read[names], stored[names])


@pytest.mark.parametrize("name", READABLE)
def test_every_format_is_prepared_as_usual(name, tmp_path):
    path = SEEDS[name](tmp_path)[0]
    fmt = FORMATS[name]
    read = lux.read(path, name)
    (spectra,) = fmt.read(path)
    spectra = take_stars(spectra, explain_unfit(spectra) == "")
    assert len(spectra.star)
    grid = spectra.wavelength if fmt.grid is None else fmt.grid
    expected = prepare(spectra, fmt, default_recipe(fmt), grid)
    np.testing.assert_array_equal(read.flux, expected.flux)
    np.testing.assert_array_equal(read.flux_ivar, expected.flux_ivar)
    assert read.wavelength.attrs == {"units": fmt.units, "medium": fmt.medium}
    assert json.loads(read.flux.attrs["preparation"])["format"] == name


def test_several_files_are_what_an_ingest_makes_of_them(tmp_path):
    files = [APSTAR, *(write_apstar(tmp_path / f"{i}.fits", name=f"2M{i}") for i in range(2))]
    ingest("apstar", files, tmp_path / "s.zarr", recipe={"order": 2}, progress=False)
    assert_same_survey(lux.read(files, recipe={"order": 2}), tmp_path / "s.zarr")


def test_a_file_of_many_stars_is_what_an_ingest_makes_of_it(tmp_path):
    path = build_xp(tmp_path / "xp.csv", xp_arrays(3))
    ingest("gaia-xp", [path], tmp_path / "s.zarr", progress=False)
    assert_same_survey(lux.read(path), tmp_path / "s.zarr")


@pytest.mark.slow
@pytest.mark.parametrize("name", REAL)
def test_real_files_are_what_an_ingest_makes_of_them(name, tmp_path):
    path = shared(name).resolve()
    read = lux.read(path)
    fmt = json.loads(read.flux.attrs["preparation"])["format"]
    ingest(fmt, [path], tmp_path / "s.zarr", progress=False)
    assert_same_survey(read, tmp_path / "s.zarr")


def test_a_model_hands_on_how_its_spectra_were_prepared(arrays, survey, model):
    stored = from_dataset(model.to_dataset())
    assert stored["flux"].preparation == model["flux"].preparation
    facts = json.loads(stored["flux"].preparation)
    assert (facts["options"]["star"], facts["recipe"]["continuum"]) == ("name", "scale")
    assert stored == model
    read = lux.read(arrays[1], like=stored)
    assert read.star.values.tolist() == survey.star.values[:2].tolist()
    np.testing.assert_array_equal(read.flux, survey.flux[:2])


def test_labels_of_a_file_are_those_of_the_survey(arrays, survey, model, tmp_path):
    model.save(tmp_path / "model.zarr")
    ingest(
        "arrays",
        [arrays[0]],
        tmp_path / "s.zarr",
        options={"star": "name"},
        recipe={"continuum": "scale"},
        progress=False,
    )
    lux.label_survey(
        tmp_path / "s.zarr", tmp_path / "model.zarr", tmp_path / "c.zarr", progress=False
    )
    stored = store.open_dataset(tmp_path / "c.zarr").isel(star=slice(0, 2))
    found = lux.infer(lux.read(arrays[1], like=tmp_path / "model.zarr"), model)
    for name in ("label_value", "label_err", "chi2", "flags"):
        np.testing.assert_allclose(found[name], stored[name], rtol=1e-5)


def test_spectra_prepared_otherwise_are_refused_with_the_cure(arrays, model, tmp_path):
    other = lux.read(arrays[1], recipe={"continuum": "none"})
    refusal = "continuum is 'none', the model's 'scale'.*like=model"
    with pytest.raises(InputError, match=refusal):
        lux.infer(other, model)
    store.write_dataset(other, tmp_path / "s.zarr")
    model.save(tmp_path / "m.zarr")
    with pytest.raises(InputError, match=refusal):
        lux.label_survey(tmp_path / "s.zarr", tmp_path / "m.zarr", tmp_path / "c.zarr")
    assert not (tmp_path / "c.zarr").exists()
    other.flux.attrs.pop("preparation")
    lux.infer(other, model)
    # which pixels are bad makes no other flux
    lux.infer(lux.read(arrays[1], like=model, recipe={"most_error": None}), model)


def test_a_survey_is_as_good_an_example_as_a_model(arrays, survey):
    cut = survey.isel(wavelength=slice(3, 30))
    read = lux.read(arrays[1], like=cut)
    np.testing.assert_array_equal(read.wavelength, cut.wavelength)
    assert read.flux.attrs["preparation"] == cut.flux.attrs["preparation"]


def test_files_of_another_format_keep_what_formats_share(tmp_path):
    like = lux.read(APSTAR, recipe={"continuum": "sines", "bad": ("BADPIX",)})
    path = write_mwm(tmp_path / "m.fits", "mwmStar", {"APOGEE/APO": 1, "BOSS/LCO": 1})
    read = lux.read(path, "mwmstar-apogee", like=like)
    facts = json.loads(read.flux.attrs["preparation"])
    assert (facts["recipe"]["continuum"], facts["recipe"]["order"]) == ("sines", 3)
    assert facts["recipe"]["bad"] == list(FORMATS["mwmstar-apogee"].bad)


def test_the_format_of_the_example_decides_where_several_fit(tmp_path):
    path = write_mwm(tmp_path / "m.fits", "mwmStar", {"APOGEE/APO": 1, "BOSS/LCO": 1})
    like = lux.read(path, "mwmstar-boss")
    assert lux.read(path, like=like).identical(like)


def test_wavelengths_of_another_kind_are_refused(tmp_path):
    like = lux.read(build_xp(tmp_path / "xp.csv", xp_arrays(1)))
    with pytest.raises(InputError, match="wavelengths of apstar have units 'Angstrom', those of"):
        lux.read(APSTAR, like=like)


def test_what_is_said_of_wavelengths_counts_where_an_example_is_given(tmp_path):
    like = lux.read(APSTAR).isel(star=0)
    like.wavelength.attrs["medium"] = "air"
    del like.flux.attrs["preparation"]
    arrays = {"flux": like.flux.values, "ivar": like.flux_ivar.values}
    path = build_arrays(tmp_path / "a.npz", arrays | {"wavelength": like.wavelength.values})
    like = like.expand_dims("star")
    with pytest.raises(
        InputError, match=r"say --option medium=air \(options=\{'medium': 'air'\}\)"
    ):
        lux.read(path, like=like)
    read = lux.read(path, like=like, options={"medium": "air"})
    assert read.wavelength.attrs["medium"] == "air"


def test_folders_patterns_and_grids(tmp_path):
    for i in range(3):
        write_apstar(tmp_path / f"apStar-{i}.fits", name=f"2M{i}")
    (tmp_path / "notes.txt").touch()
    grid = make_grid(15200.0, 15300.0, 0.25)
    recipe = {"continuum": "none"}
    for paths in (tmp_path, str(tmp_path / "apStar-*.fits")):
        read = lux.read(paths, grid=grid, recipe=recipe)
        assert read.star.values.tolist() == ["2M0", "2M1", "2M2"]
        np.testing.assert_array_equal(read.wavelength, grid)


def test_a_file_that_cannot_be_used_is_named_with_the_reason(tmp_path):
    cut = tmp_path / "cut.fits"
    cut.write_bytes(APSTAR.read_bytes()[:30_000])
    with pytest.raises(InputError, match=r"cut\.fits: truncated: HDU"):
        lux.read([APSTAR, cut])
    with pytest.raises(InputError, match=r"cut\.fits: truncated: .*; and 1 more cannot be used"):
        lux.read([APSTAR, cut, SPEC])
    few = read_few([APSTAR, cut])
    assert few.survey.sizes["star"] == 1
    assert [(path, star) for path, star, _ in few.refused] == [(str(cut), "")]


def test_a_file_is_told_as_one_of_the_example(arrays, model, tmp_path):
    cut = tmp_path / "cut.npz"
    cut.write_bytes(arrays[1].read_bytes()[:300])
    with pytest.raises(InputError, match=r"cut\.npz: damaged file: .*\(read as arrays\)"):
        lux.read(cut, like=model)


def test_stars_of_a_file_that_cannot_be_used_are_left_out_and_named(tmp_path, capsys):
    star, flux, error = xp_arrays(3)
    path = build_xp(tmp_path / "xp.csv", (star, flux, np.where([[0], [1], [0]], np.nan, error)))
    assert lux.read(path).sizes["star"] == 2
    said = capsys.readouterr().err
    assert said.startswith(f"lux.read: left out: {path}, star {star[1]}: no good pixel: ")


@pytest.mark.parametrize(
    ("paths", "message"),
    [
        ([], "no files given"),
        (None, "NoneType is no path"),
        ([5], "int is no path"),
        (xr.Dataset({"flux": 1}), "Dataset is no path"),
        ("nothing-*.fits", r"nothing-\*\.fits: matches no file"),
        (".", r"\.: no file in it is named as those of a format are"),
    ],
)
def test_what_leads_to_no_file(paths, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=message):
        lux.read(paths)


def test_stores_and_too_many_files_are_refused_with_the_way(survey, tmp_path):
    store.write_dataset(survey.isel(star=slice(0, 3)), tmp_path / "s.zarr")
    with pytest.raises(InputError, match=r"a survey, no survey file; open it with lux\.open_s"):
        lux.read(tmp_path / "s.zarr")
    zarr.create_group(tmp_path / "m.zarr", attributes={"format": "luxscale-model"})
    with pytest.raises(InputError, match=r"a model, no survey file; open it with lux\.load_model"):
        lux.read(tmp_path / "m.zarr")
    many = [tmp_path / f"{i}.fits" for i in range(MOST_FILES + 1)]
    with pytest.raises(InputError, match=r"1,001 files; at most 1,000 .*`luxscale ingest apstar"):
        lux.read(many, "apstar")
    with pytest.raises(InputError, match="like is a int, not a model, a survey or the path of one"):
        lux.read(APSTAR, like=1)
