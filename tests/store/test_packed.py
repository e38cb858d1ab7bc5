"""A Zarr store in a zip file is read as it is, and never written to."""

import pickle
import shutil

import pytest

import luxscale as lux
from luxscale import store
from luxscale.errors import InputError


@pytest.fixture
def pack(tmp_path):
    """Write a Dataset into a store in a zip file; return its path."""

    def write(dataset, name, folder="."):
        store.write_dataset(dataset, tmp_path / name / "s.zarr")
        root = tmp_path / name / ("s.zarr" if folder == "." else ".")
        return shutil.make_archive(str(tmp_path / name), "zip", root, folder)

    return write


def test_a_packed_survey_is_a_survey(small_survey, small_model, pack, tmp_path):
    path = pack(small_survey, "survey")
    survey = pickle.loads(pickle.dumps(lux.open_survey(path, check="all")))  # as for a worker
    assert survey.flux.load().equals(small_survey.flux)
    small_model.save(tmp_path / "m.zarr")
    run = path, tmp_path / "m.zarr", tmp_path / "c.zarr"
    summary = lux.label_survey(*run, progress=False)
    assert summary.n_stars == small_survey.sizes["star"]
    labels = store.open_dataset(tmp_path / "c.zarr").label_value.load()
    assert labels.equals(lux.infer(small_survey, small_model).label_value.load())


def test_a_packed_store_is_not_written_to(small_survey, small_model, pack, tmp_path):
    small_model.save(tmp_path / "m.zarr")
    catalog = pack(lux.infer(small_survey, small_model), "catalog")
    survey = pack(small_survey, "survey")
    refused = "in a zip file is there, which is read alone"
    with pytest.raises(InputError, match=refused):
        store.write_dataset(small_survey, survey, overwrite=True)
    with pytest.raises(InputError, match=refused):
        lux.label_survey(survey, tmp_path / "m.zarr", catalog, progress=False)
    assert lux.open_survey(survey).sizes["star"] == small_survey.sizes["star"]


def test_a_store_deeper_in_a_zip_file_is_to_be_unpacked(small_survey, pack):
    path = pack(small_survey, "survey", "s.zarr")
    with pytest.raises(InputError, match="unpack it"):
        lux.open_survey(path)
