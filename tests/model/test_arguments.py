"""Paths and objects both do, one star without its dim does, and swapped arguments are named."""

import re

import numpy as np
import pytest
import xarray as xr

import luxscale as lux
from luxscale import crossval, plot, store
from luxscale.analysis.changes import compare_catalogs
from luxscale.analysis.evaluate import compare, match_labels
from luxscale.analysis.goodness import effective_parameters, reduced_chi2, residuals
from luxscale.errors import InputError
from luxscale.model.predict import predict_mean
from luxscale.report import write_report


@pytest.fixture(scope="module")
def folder(tmp_path_factory, _held_out, small_model):
    """A survey, a model and a catalogue."""
    folder = tmp_path_factory.mktemp("arguments")
    few = _held_out.isel(star=slice(0, 40))
    store.write_dataset(few, folder / "survey.zarr")
    small_model.save(folder / "model.zarr")
    catalog = lux.infer(few, small_model).assign(status=("star", np.ones(40, "u1")))
    catalog.attrs["format"] = "luxscale-catalog"
    store.write_dataset(catalog, folder / "catalog.zarr")
    return folder


@pytest.fixture(scope="module")
def paths(folder):
    """Paths of a survey and a model."""
    return folder / "survey.zarr", folder / "model.zarr"


@pytest.mark.parametrize("kind", [str, lambda path: path], ids=["str", "Path"])
def test_infer_takes_paths(paths, held_out, small_model, kind):
    catalog = lux.infer(*(kind(path) for path in paths))
    expected = lux.infer(held_out.isel(star=slice(0, 40)), small_model)
    np.testing.assert_allclose(catalog["label_value"], expected["label_value"], rtol=1e-4)


def test_train_takes_a_path(paths):
    model = lux.train(str(paths[0]), 2, folds=1, progress=False)
    assert model == lux.train(lux.open_survey(paths[0]), 2, folds=1, progress=False)


def test_predict_and_compare_take_paths(folder):
    names = ("survey", "model", "catalog")
    survey, model, catalog = paths = [str(folder / f"{name}.zarr") for name in names]
    objects = [lux.open_survey(survey), lux.load_model(model), store.open_dataset(catalog)]
    functions = {
        lux.predict: (2, 1),
        lux.predict_error: (0, 1),
        predict_mean: (0, 1),
        compare: (2, 0),
        match_labels: (2, 0),
        residuals: (0, 2, 1),
        reduced_chi2: (2, 1),
        effective_parameters: (0, 1),
    }
    for function, wanted in functions.items():
        by_path = function(*(paths[i] for i in wanted))
        xr.testing.assert_equal(by_path, function(*(objects[i] for i in wanted)))


def test_figures_take_paths(folder):
    survey, model, catalog = (folder / f"{name}.zarr" for name in ("survey", "model", "catalog"))
    star = store.open_dataset(survey)["star"].values[3]
    drawn = [
        plot.kiel(catalog),
        plot.abundances(catalog, "mg_fe"),
        plot.one_to_one(catalog, survey, "teff"),
        *plot.spectrum(survey, star, catalog, model),
        *plot.spectra(survey, catalog, model, star),
        *plot.reconstructions(survey, {"a": catalog}, model, star, [(15100, 15140)]).flat,
        *plot.diagrams({"a": catalog, "b": str(catalog)}, ("fe_h", "mg_fe")).axes,
    ]
    assert all(ax.has_data() for ax in drawn)


def test_an_object_where_a_path_is_needed_is_named(folder, held_out, small_model, tmp_path):
    asked = "is given where the path of a store is asked for; give the path"
    calls = [
        lambda: crossval.cross_validate(held_out, tmp_path / "cv.zarr", progress=False),
        lambda: write_report(held_out, tmp_path / "a.html", progress=False),
        lambda: write_report(
            folder / "catalog.zarr", tmp_path / "a.html", truth=held_out, progress=False
        ),
        lambda: lux.load_model(small_model),
        lambda: lux.open_survey(held_out),
        lambda: store.open_dataset(held_out),
    ]
    for call in calls:
        with pytest.raises(InputError, match=f"a (Dataset|LuxModel) {asked}"):
            call()
    with pytest.raises(InputError, match="the catalogue is a LuxModel, not a Dataset"):
        lux.to_table(small_model, progress=False)


def test_one_star_gets_its_dim(held_out, small_model, paths):
    expected = lux.infer(held_out.isel(star=[3]), small_model)
    name = held_out["star"].values[3]
    opened = lux.open_survey(paths[0])
    for one in (held_out.isel(star=3), held_out.sel(star=name), opened.sel(star=name)):
        catalog = lux.infer(one, small_model)
        assert catalog["star"].values.tolist() == [name]
        assert catalog["label_value"].dims == ("star", "label")
        np.testing.assert_allclose(catalog["label_value"], expected["label_value"], rtol=1e-4)


def test_one_star_without_a_name_gets_the_remedy(held_out, small_model):
    few = held_out.isel(star=slice(0, 3))
    nameless = few.isel(star=1, drop=True)
    with pytest.raises(InputError, match=r"\.assign_coords\(star='NAME'\)"):
        lux.infer(nameless, small_model)
    named = lux.infer(nameless.assign_coords(star="NAME"), small_model)
    expected = lux.infer(few.isel(star=[1]), small_model)
    assert named.equals(expected.assign_coords(named.star.coords))


def test_dims_may_be_in_any_order(held_out, small_model):
    catalog = lux.infer(held_out, small_model)
    turned = catalog.transpose()
    xr.testing.assert_equal(lux.infer(held_out.transpose(), small_model), catalog)
    xr.testing.assert_equal(lux.predict(turned, small_model), lux.predict(catalog, small_model))
    xr.testing.assert_equal(compare(turned, held_out.transpose()), compare(catalog, held_out))
    found = lux.select(turned, "teff < 4800").star.values.tolist()
    assert found == lux.select(catalog, "teff < 4800").star.values.tolist()
    assert lux.to_table(turned, progress=False)["teff"][3] == catalog.label_value[3, 0]


def test_one_star_of_a_catalogue_gets_its_dim(held_out, small_model):
    catalog = lux.infer(held_out, small_model)
    one = residuals(held_out.isel(star=3), catalog.isel(star=3), small_model)
    xr.testing.assert_equal(one, residuals(held_out, catalog.isel(star=[3]), small_model))
    few = compare(catalog.isel(star=[3]), held_out)
    xr.testing.assert_equal(compare(catalog.isel(star=3), held_out), few)


def test_catalogues_without_stars_are_refused_alike(held_out, small_model):
    catalog = lux.infer(held_out, small_model).rename(star="id")
    for call in (
        lambda: lux.predict(catalog, small_model),
        lambda: compare_catalogs(catalog, catalog),
        lambda: residuals(held_out, catalog, small_model),
    ):
        with pytest.raises(InputError, match="catalogue: no dim 'star'; its dims are id, "):
            call()


def test_swapped_arguments_are_named(held_out, small_model, tmp_path):
    swapped = "model is a Dataset, not a LuxModel .* call it as lux.infer(survey, model)"
    cases = [
        (lambda: lux.infer(small_model, held_out), swapped),
        (lambda: lux.infer(small_model, small_model), "survey is a LuxModel, not a Dataset"),
        (lambda: lux.infer(held_out["flux"], small_model), "survey is a DataArray, not a Dataset"),
        (
            lambda: lux.predict(small_model, held_out),
            "catalog is a LuxModel, not a Dataset .* call it as lux.predict(catalog, model)",
        ),
        (
            lambda: lux.predict_error(small_model, held_out),
            "survey is a LuxModel, .* call it as lux.predict_error(survey, model)",
        ),
        (
            lambda: plot.spectrum(small_model, "s2-00000"),
            "survey is a LuxModel, .* call it as lux.plot.spectrum(survey, star)",
        ),
        (
            lambda: plot.spectra(held_out, small_model, held_out, "s2-00000"),
            "catalog is a LuxModel, .* lux.plot.spectra(survey, catalog, model, stars)",
        ),
        (
            lambda: compare(held_out, small_model),
            "truth is a LuxModel, .* call it as match_labels(catalog, truth)",
        ),
        (lambda: lux.train(small_model), "survey is a LuxModel, .* lux.train(survey)"),
        (
            lambda: lux.label_survey(held_out, small_model, tmp_path / "c.zarr"),
            "survey is a Dataset, not the path of a store; .* lux.infer(survey, model)",
        ),
    ]
    for call, message in cases:
        with pytest.raises(InputError, match=message.replace("(", r"\(").replace(")", r"\)")):
            call()


def test_an_output_is_shown_in_one_line(small_model):
    assert repr(small_model["flux"]) == "<Output flux (wavelength: 40), spectrum, map linear>"
    assert re.fullmatch(r"\(<Output label_value [^\n]*>,\)", repr(small_model.labels))


def test_a_model_lists_its_outputs(small_model):
    assert list(small_model) == [output.name for output in small_model.outputs]
    assert "flux" in small_model
    assert "mag" not in small_model


def test_models_are_equal_by_content(paths, small_model):
    loaded = lux.load_model(paths[1])
    assert loaded == small_model
    assert hash(loaded) == hash(small_model)
    assert loaded["flux"] == small_model["flux"]
    assert len({loaded["flux"], small_model["flux"], small_model["label_value"]}) == 2
    assert loaded["flux"] != small_model["label_value"]
    assert small_model != "model.zarr"
