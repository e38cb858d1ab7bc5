import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import luxscale as lux
from luxscale import store
from luxscale.cli import main
from luxscale.labelling import plan as planning
from luxscale.labelling import region
from luxscale.labelling.catalogue import Catalogue
from luxscale.labelling.estimate import estimate_run, guess_saving
from luxscale.labelling.plan import make_plan
from luxscale.labelling.region import run_region
from luxscale.model import file as model_file
from luxscale.model.lux import LuxModel


@pytest.fixture(scope="module")
def stores(tmp_path_factory, _small_survey, small_model):
    folder = tmp_path_factory.mktemp("estimate")
    store.write_dataset(_small_survey.isel(star=slice(0, 110)), folder / "s.zarr", chunk=20)
    small_model.save(folder / "m.zarr")
    return folder / "s.zarr", folder / "m.zarr"


@pytest.fixture
def plan(stores, tmp_path):
    return make_plan(*stores, tmp_path / "c.zarr", region_stars=40)


def bytes_on_disk(plan, chunks):
    files = [
        Path(plan.survey, name, "c", str(i), "0") for name in ("flux", "flux_ivar") for i in chunks
    ]
    return sum(f.stat().st_size for f in files)


def snapshot(folder):
    return {p: (p.stat().st_mtime_ns, p.is_file() and p.read_bytes()) for p in folder.rglob("*")}


def test_before_anything(plan):
    todo = estimate_run(plan, cores=2)
    assert (todo.stars, todo.regions, todo.region_stars, todo.cores) == (110, 3, 40, 2)
    assert todo.read_bytes == bytes_on_disk(plan, range(6))
    assert todo.core_seconds >= todo.seconds >= 0


def test_what_is_written_adds_up(plan):
    written = estimate_run(plan).write_bytes
    Catalogue(plan).create()
    group = store.open_group(plan.catalog, "r")
    per_star = [a for name, a in group.arrays() if a.shape[0] == 110 and name != "star"]
    assert written == sum(int(np.prod(a.shape)) * a.dtype.itemsize for a in per_star)


def test_what_is_left(plan):
    Catalogue(plan).create()
    run_region(plan, plan.regions[1])
    todo = estimate_run(plan)
    assert (todo.stars, todo.regions) == (70, 2)
    assert todo.read_bytes == bytes_on_disk(plan, [0, 1, 4, 5])
    for each in plan.regions:
        run_region(plan, each)
    todo = estimate_run(plan)
    assert (todo.stars, todo.regions, todo.read_bytes, todo.write_bytes, todo.seconds) == (
        0,
        0,
        0,
        0,
        0,
    )


def test_memory_of_a_worker_grows_with_the_region_alone(stores, tmp_path):
    small, large = (
        estimate_run(make_plan(*stores, tmp_path / "c.zarr", region_stars=n)) for n in (20, 100)
    )
    assert 0 < (large.worker_bytes - small.worker_bytes) / (80 * 40 * 2 * 4) < 10


@pytest.mark.parametrize("begun", [False, True])
def test_a_dry_run_says_it_and_changes_nothing(plan, stores, tmp_path, begun):
    if begun:
        Catalogue(plan).create()
        run_region(plan, plan.regions[0])
    before = snapshot(tmp_path), snapshot(stores[0])
    command = [
        "label",
        plan.survey,
        "--model",
        plan.model,
        "--out",
        plan.catalog,
        "--region-stars",
        "40",
        "--dry-run",
    ]
    text, as_json = (
        CliRunner().invoke(main, command),
        CliRunner().invoke(main, [*command, "--json"]),
    )
    assert text.exit_code == as_json.exit_code == 0, text.output
    stars = 70 if begun else 110
    assert f"{stars} of 110 stars, in {2 if begun else 3} regions of 40" in text.stdout
    assert all(word in text.stdout for word in ("to read", "to write", "memory", "time"))
    assert json.loads(as_json.stdout)["stars"] == stars
    assert (snapshot(tmp_path), snapshot(stores[0])) == before


def test_a_dry_run_reckons_with_the_workers_that_are_asked_for(plan):
    command = [
        "label",
        plan.survey,
        "--model",
        plan.model,
        "--out",
        plan.catalog,
        "--region-stars",
        "40",
        "--dry-run",
    ]
    one = CliRunner().invoke(main, [*command, "--workers", "1", "--json"])
    assert json.loads(one.stdout)["cores"] == 1
    jobs = CliRunner().invoke(main, [*command, "--slurm", "--adapt", "1:20", "--json"])
    assert json.loads(jobs.stdout)["cores"] == 20, jobs.output


def test_a_dry_run_counts_stars_whose_data_changed(stores, tmp_path):
    shutil.copytree(stores[0], tmp_path / "s.zarr")
    plan = make_plan(tmp_path / "s.zarr", stores[1], tmp_path / "c.zarr", region_stars=40)
    Catalogue(plan).create()
    run_region(plan, plan.regions[0])
    flux = store.open_group(plan.survey, "r+")["flux"]
    flux[100:] = flux[100:] * np.float32(1.5)  # not done yet
    assert estimate_run(plan).regions == 2
    flux[20:40] = flux[20:40] * np.float32(1.5)
    todo = estimate_run(plan)
    assert (todo.regions, todo.new_stars, todo.changed_stars) == (3, 0, 20)


def test_workers_save_time_on_many_stars_alone(small_model):
    def saving(stars, workers):
        return guess_saving(small_model, ("flux",), stars, workers)

    assert saving(10**6, 1) == pytest.approx(0)
    assert saving(10**6, 2) == pytest.approx(100 * saving(10**4, 2))
    assert saving(5_420, 16) < 1
    assert 4 < saving(10**6, 2) < saving(10**6, 16)


class Counts(list):
    """Models that were loaded, and how often a model was hashed."""

    hashes = 0


@pytest.fixture
def loads(monkeypatch):
    found, load, hashed = Counts(), model_file.from_dataset, LuxModel.fingerprint.fget

    def count_load(dataset, where):
        found.append(where)
        return load(dataset, where)

    def count_hash(model):
        found.hashes += 1
        return hashed(model)

    for module in (planning, model_file):
        monkeypatch.setattr(module, "from_dataset", count_load)
    monkeypatch.setattr(LuxModel, "fingerprint", property(count_hash))
    planning._load_model.cache_clear()
    region.open_workplace.cache_clear()
    return found


def test_a_dry_run_loads_and_hashes_the_model_once(stores, tmp_path, loads):
    command = ["label", stores[0], "--model", stores[1], "--out", tmp_path / "c.zarr", "--dry-run"]
    result = CliRunner().invoke(main, list(map(str, command)))
    assert result.exit_code == 0, result.output
    assert loads == [str(stores[1])] and loads.hashes == 1


def test_a_run_in_this_process_loads_the_model_once(stores, tmp_path, loads):
    lux.label_survey(*stores, tmp_path / "c.zarr", region_stars=40, progress=False)
    assert loads == [str(stores[1])]
    lux.label_survey(*stores, tmp_path / "other.zarr", region_stars=40, progress=False)
    assert len(loads) == 1  # it is the same model


def test_another_model_at_the_path_is_loaded(stores, tmp_path, loads, small_model):
    path = tmp_path / "m.zarr"
    small_model.save(path)
    first = make_plan(stores[0], path, tmp_path / "c.zarr")
    dataclasses.replace(small_model, limits=(1.0, 1.0)).save(path, overwrite=True)
    second = make_plan(stores[0], path, tmp_path / "c.zarr")
    assert loads == [str(path)] * 2 and first.fingerprint != second.fingerprint
