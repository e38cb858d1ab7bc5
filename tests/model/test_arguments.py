"""Paths and objects both do, one star without its dim does, and swapped arguments are named."""

import re

import numpy as np
import pytest

import luxscale as lux
from luxscale import store
from luxscale.errors import InputError


@pytest.fixture(scope="module")
def paths(tmp_path_factory, _held_out, small_model):
    """Paths of a survey and a model."""
    folder = tmp_path_factory.mktemp("arguments")
    store.write_dataset(_held_out.isel(star=slice(0, 40)), folder / "survey.zarr")
    small_model.save(folder / "model.zarr")
    return folder / "survey.zarr", folder / "model.zarr"


@pytest.mark.parametrize("kind", [str, lambda path: path], ids=["str", "Path"])
def test_infer_takes_paths(paths, held_out, small_model, kind):
    catalog = lux.infer(*(kind(path) for path in paths))
    expected = lux.infer(held_out.isel(star=slice(0, 40)), small_model)
    np.testing.assert_allclose(catalog["label_value"], expected["label_value"], rtol=1e-4)


def test_train_takes_a_path(paths):
    model = lux.train(str(paths[0]), 2, folds=1, progress=False)
    assert model == lux.train(lux.open_survey(paths[0]), 2, folds=1, progress=False)


def test_one_star_gets_its_dim(held_out, small_model, paths):
    expected = lux.infer(held_out.isel(star=[3]), small_model)
    name = held_out["star"].values[3]
    opened = lux.open_survey(paths[0])
    for one in (held_out.isel(star=3), held_out.sel(star=name), opened.sel(star=name)):
        catalog = lux.infer(one, small_model)
        assert catalog["star"].values.tolist() == [name]
        assert catalog["label_value"].dims == ("star", "label")
        np.testing.assert_allclose(catalog["label_value"], expected["label_value"], rtol=1e-4)


def test_swapped_arguments_are_named(held_out, small_model, tmp_path):
    swapped = "model is a Dataset, not a LuxModel .* call it as lux.infer(survey, model)"
    cases = [
        (lambda: lux.infer(small_model, held_out), swapped),
        (lambda: lux.infer(small_model, small_model), "survey is a LuxModel, not a Dataset"),
        (lambda: lux.infer(held_out["flux"], small_model), "survey is a DataArray, not a Dataset"),
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
