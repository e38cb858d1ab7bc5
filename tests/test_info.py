"""What is said of a store, by kind."""

import json
import shutil

import pytest
import zarr

from luxscale import crossval, store
from luxscale.info import describe
from luxscale.schema import InputError


@pytest.fixture(scope="module")
def crossvalidated(_small_survey, tmp_path_factory):
    folder = tmp_path_factory.mktemp("info")
    store.write_dataset(_small_survey.isel(star=slice(0, 120)), folder / "survey.zarr")
    options = {"latent_dims": (2, 4), "folds": 2, "iterations": 3, "stars": slice(10, 110)}
    results = crossval.cross_validate(folder / "survey.zarr", folder / "cv.zarr", progress=False, **options)
    return folder / "cv.zarr", results.compute()


def test_a_cross_validation(crossvalidated):
    path, results = crossvalidated
    facts = describe(path)
    assert json.loads(json.dumps(facts)) == facts
    assert facts["kind"] == "cross-validation" and facts["path"] == str(path)
    assert (facts["latent_dims"], facts["priors"], facts["folds"]) == ([2, 4], [1.0], 2)
    assert facts["method"] == "marginal" and facts["settings"] == {"iterations": 3}
    assert (facts["outputs"], facts["survey_stars"]) == (["label_value", "flux"], "10:110")
    assert (facts["tasks"], facts["done"], facts["pending"]) == (4, 4, 0)
    assert facts["stars"] == results.sizes["star"]
    expected = crossval.scores(results).sel(given="spectra", prior=1).median("fold")
    for score in ("label_chi2", "spectrum_chi2"):
        for p in (2, 4):
            assert facts[score][f"P={p}, prior=1"] == pytest.approx(float(expected[score].sel(latent_dim=p)), abs=1e-4)
    assert facts["chosen"] == f"P={crossval.choose(results).latent_dim}, prior=1"


def test_a_cross_validation_under_way(crossvalidated, tmp_path):
    path = tmp_path / "cv.zarr"
    shutil.copytree(crossvalidated[0], path)
    group = zarr.open_group(path, mode="r+")
    shutil.rmtree(path / crossval.Task(4, 1.0, 1).group)
    group[crossval.Task(4, 1.0, 0).group].attrs["status"] = 0
    group.attrs["complete"] = 0
    facts = describe(path)
    assert (facts["tasks"], facts["done"], facts["pending"]) == (4, 2, 2)
    assert "label_chi2" not in facts and "chosen" not in facts


def test_nothing_there(tmp_path):
    with pytest.raises(InputError, match="nothing there; give the path of a survey, model, catalogue or cross-valid"):
        describe(tmp_path / "none.zarr")
