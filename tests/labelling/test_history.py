"""A catalogue knows which run labelled which of its stars."""

import json

import numpy as np
import pytest
import zarr
from click.testing import CliRunner

import luxscale as lux
from luxscale import store
from luxscale.cli import main
from luxscale.info.describe import describe
from luxscale.labelling import history
from luxscale.labelling.catalogue import Catalogue
from luxscale.labelling.plan import make_plan
from luxscale.labelling.region import run_region

CHUNK = 20


@pytest.fixture
def paths(_small_survey, small_model, tmp_path):
    """Survey of 70 stars, model, catalogue."""
    few = _small_survey.isel(star=slice(0, 70))
    store.write_dataset(few, tmp_path / "survey.zarr", chunk=CHUNK)
    small_model.save(tmp_path / "model.zarr")
    return [tmp_path / f"{name}.zarr" for name in ("survey", "model", "catalog")]


def label(paths):
    return lux.label_survey(*paths, region_stars=CHUNK, progress=False)


def list_spans(paths):
    return [run["stars"] for run in history.read_runs(zarr.open_group(paths[2], mode="r"))]


def test_stars_belong_to_the_run_that_labelled_them(paths, _small_survey, small_model):
    label(paths)
    assert list_spans(paths) == [[[0, 70]]]
    for name, array in zarr.open_group(paths[0], mode="r+").arrays():
        if array.metadata.dimension_names[0] == "star":
            array.append(_small_survey[name].values[70:110].astype(array.dtype))
    label(paths)
    assert list_spans(paths) == [[[0, 60]], [[60, 110]]]
    flux = zarr.open_group(paths[0], mode="r+")["flux"]
    flux[25] = flux[25] * np.float32(1.01)
    label(paths)
    label(paths)  # which finds nothing to do
    assert list_spans(paths) == [[[0, 20], [40, 60]], [[60, 110]], [[20, 40]]]
    runs = describe(paths[2])["runs"]
    assert [run["stars"] for run in runs] == [40, 50, 20]
    assert runs[0]["where"] == ["0:20", "40:60"]
    assert {run["model"] for run in runs} == {small_model.fingerprint}
    assert {run["version"] for run in runs} == {history.Plan.version}
    assert all(run["started"].endswith("Z") for run in runs)


def test_what_a_stopped_run_did_is_counted_apart_from_what_is_left(paths):
    plan = make_plan(*paths, region_stars=CHUNK)
    regions = Catalogue(plan).create()
    run_region(plan, regions[1])
    assert [run["stars"] for run in describe(paths[2])["runs"]] == [20]
    label(paths)
    assert [run["where"] for run in describe(paths[2])["runs"]] == [["20:40"], ["0:20", "40:70"]]


def test_stars_of_a_catalogue_without_history_are_counted_too(paths):
    label(paths)
    del zarr.open_group(paths[2] / store.RUN, mode="r+")["history"]
    assert describe(paths[2])["runs"] == [{"stars": 70}]
    shown = CliRunner().invoke(main, ["info", str(paths[2])]).stdout
    assert "unknown  unknown  unknown  -         70" in shown


def test_the_table_of_many_runs_is_short(paths):
    label(paths)
    group = zarr.open_group(paths[2], mode="r+")
    plan = make_plan(*paths, region_stars=1)
    regions = [history.Region(i, i, i + 1) for i in range(70)]
    for i in range(20):
        history.record_run(group, plan, regions[3 * i : 3 * i + 1])
    history.record_run(group, plan, regions[1::2][:9])
    shown = CliRunner().invoke(main, ["info", str(paths[2])]).stdout
    assert "1:2, 3:4, 5:6 and 6 more" in shown and "earlier ones labelled" in shown
    found = json.loads(CliRunner().invoke(main, ["info", str(paths[2]), "--json"]).stdout)["runs"]
    assert sum(run["stars"] for run in found) == 70
    assert len(found) > 12


def test_spans_are_taken_out_star_by_star():
    rng = np.random.default_rng(0)
    for _ in range(50):
        sides = []
        for _ in range(2):
            starts = rng.choice(60, 6, replace=False).tolist()
            sides.append(history._merge([[a, a + int(rng.integers(1, 9))] for a in starts]))
        expand = [{star for a, b in spans for star in range(a, b)} for spans in sides]
        left = history._subtract(*sides)
        assert {star for a, b in left for star in range(a, b)} == expand[0] - expand[1]
        assert sum(b - a for a, b in left) == len(expand[0] - expand[1])
