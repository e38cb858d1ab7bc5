import dataclasses
import datetime
import json
import os
import signal
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest
import xarray as xr
import zarr

import luxscale as lux
from luxscale import catalog as catalogs
from luxscale import run, store
from luxscale.cluster import local_cluster
from luxscale.schema import InputError

N_STARS, CHUNK = 120, 20


@pytest.fixture(scope="module")
def stores(tmp_path_factory, _small_survey, small_model):
    """Paths of a survey of six chunks and of a model."""
    folder = tmp_path_factory.mktemp("run")
    survey = _small_survey.isel(star=slice(0, N_STARS))
    store.write_dataset(survey, folder / "survey.zarr", chunk=CHUNK)
    small_model.save(folder / "model.zarr")
    return folder / "survey.zarr", folder / "model.zarr"


def label(stores, catalog, **options):
    return lux.label_survey(*stores, catalog, progress=False, region_stars=CHUNK, **options)


def plan_of(stores, catalog, **options):
    return run.make_plan(*stores, catalog, region_stars=CHUNK, **options)


def contents(path):
    """Every array of a store, by name."""
    return {name: np.asarray(array[:]) for name, array in zarr.open_group(path, mode="r").arrays()}


def assert_same(first, second):
    assert contents(first).keys() == contents(second).keys()
    for name, array in contents(first).items():
        np.testing.assert_array_equal(array, contents(second)[name], err_msg=name)


@pytest.fixture(scope="module")
def undisturbed(stores, tmp_path_factory):
    path = tmp_path_factory.mktemp("undisturbed") / "catalog.zarr"
    label(stores, path)
    return path


def test_catalog_follows_the_contract(stores, undisturbed, small_model):
    catalog = xr.open_zarr(undisturbed, consolidated=False)
    survey = lux.open_survey(stores[0])
    assert catalog.star.values.tolist() == survey.star.values.tolist()
    assert catalog["label_value"].dims == catalog["label_err"].dims == ("star", "label")
    assert catalog["latent"].sizes == {"star": N_STARS, "latent": small_model.latent_dim}
    assert {v: str(catalog[v].dtype) for v in ("chi2", "n_pixels", "flags", "status", "latent", "label_value")} == {
        "chi2": "float32",
        "n_pixels": "int32",
        "flags": "uint16",
        "status": "uint8",
        "latent": "float32",
        "label_value": "float64",
    }
    assert catalog["label_value"].chunks[0] == (CHUNK,) * 6
    assert (catalog["status"] == 1).all()
    assert len(catalog["flags"].attrs["flag_masks"]) == len(catalog["flags"].attrs["flag_meanings"].split())
    assert catalog.attrs["model_fingerprint"] == small_model.fingerprint
    assert catalog.attrs["complete"] == 1


def test_agrees_with_interactive_inference(stores, undisturbed, small_model):
    survey = lux.open_survey(stores[0])
    interactive = lux.infer(survey, small_model).compute()
    catalog = xr.open_zarr(undisturbed, consolidated=False)
    for name in ("label_value", "label_err", "latent", "chi2", "n_pixels", "flags"):
        np.testing.assert_array_equal(interactive[name].values, catalog[name].values, err_msg=name)


def test_covariance_on_request(stores, tmp_path):
    label(stores, tmp_path / "c.zarr", covariance=True)
    catalog = xr.open_zarr(tmp_path / "c.zarr", consolidated=False)
    assert catalog["label_cov"].dims == ("star", "label", "label_other")
    diagonal = np.diagonal(catalog["label_cov"].values, axis1=1, axis2=2)
    np.testing.assert_allclose(diagonal, catalog["label_err"].values ** 2, rtol=1e-6)


def test_resumes_only_what_is_pending(stores, undisturbed, tmp_path):
    plan = plan_of(stores, tmp_path / "c.zarr")
    regions = catalogs.prepare(plan)
    for region in regions[1::2]:
        run.run_region(plan, region)
    assert [r.index for r in catalogs.pending(plan)] == [0, 2, 4]
    summary = label(stores, tmp_path / "c.zarr")
    assert (summary.n_stars, summary.n_run) == (N_STARS, 3 * CHUNK)
    assert_same(tmp_path / "c.zarr", undisturbed)
    assert label(stores, tmp_path / "c.zarr").n_run == 0


def test_a_region_half_written_is_done_again(stores, undisturbed, tmp_path):
    plan = plan_of(stores, tmp_path / "c.zarr")
    catalogs.prepare(plan)
    run.run(plan, run.Work(plan.regions), progress=False)
    group = zarr.open_group(plan.catalog, mode="r+")
    group["label_value"][2 * CHUNK : 3 * CHUNK] = -1  # a task that died between its arrays and its status
    group["status"][2 * CHUNK : 3 * CHUNK] = 0
    assert label(stores, tmp_path / "c.zarr").n_run == CHUNK
    assert_same(tmp_path / "c.zarr", undisturbed)


def test_finalise_names_what_is_missing(stores, tmp_path):
    plan = plan_of(stores, tmp_path / "c.zarr")
    catalogs.prepare(plan)
    run.run_region(plan, plan.regions[0])
    with pytest.raises(run.RunError, match="5 regions are pending, first 1"):
        run.finalise(plan)


def test_on_worker_processes(stores, undisturbed, tmp_path):
    with local_cluster(2) as client:
        assert all(t == 1 for t in client.nthreads().values())
        threads = client.run(lambda: os.environ["NPROC"])
        assert set(threads.values()) == {str(max(1, len(os.sched_getaffinity(0)) // 2))}
        summary = label(stores, tmp_path / "c.zarr", client=client)
    assert summary.n_run == N_STARS
    ours, theirs = contents(tmp_path / "c.zarr"), contents(undisturbed)
    error = theirs["label_err"]
    assert (np.abs(ours["label_value"] - theirs["label_value"]) < 1e-3 * error).all()
    for name in ("n_pixels", "flags", "status", "star"):
        np.testing.assert_array_equal(ours[name], theirs[name])


def test_a_killed_worker_costs_nothing(stores, undisturbed, tmp_path):
    with local_cluster(2) as client:
        pids = list(client.run(os.getpid).values())
        os.kill(pids[0], signal.SIGKILL)
        label(stores, tmp_path / "c.zarr", client=client)
    np.testing.assert_allclose(
        contents(tmp_path / "c.zarr")["label_value"], contents(undisturbed)["label_value"], rtol=1e-5
    )


def test_a_killed_client_resumes_bit_for_bit(stores, undisturbed, tmp_path):
    script = textwrap.dedent("""
        import sys, time
        from luxscale import run
        def slow(plan, region, do=run.run_region):
            do(plan, region)
            time.sleep(0.3)
        run.run_region = slow
        run.label_survey(*sys.argv[1:], region_stars=20, progress=False)
    """)
    path = tmp_path / "c.zarr"
    process = subprocess.Popen([sys.executable, "-c", script, *map(str, stores), str(path)])
    try:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            if (path / "status" / "c" / "1").exists():
                break
            time.sleep(0.02)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    summary = label(stores, path)
    assert 0 < summary.n_run < N_STARS
    assert_same(path, undisturbed)


def test_regions_that_fail_are_named_and_the_rest_is_done(stores, tmp_path, monkeypatch):
    do = run.run_region

    def fails(plan, region):
        if region.index == 3:
            raise OSError("disk on fire")
        return do(plan, region)

    monkeypatch.setattr(run, "run_region", fails)
    with pytest.raises(run.RunError, match=r"1 of 6 regions could not be done \(3\).*disk on fire.*--region 3"):
        label(stores, tmp_path / "c.zarr")
    monkeypatch.undo()
    assert [r.index for r in catalogs.pending(plan_of(stores, tmp_path / "c.zarr"))] == [3]


def test_refuses_a_catalog_of_another_model(stores, tmp_path, small_model):
    label(stores, tmp_path / "c.zarr")
    changed = dataclasses.replace(small_model, limits=(1.0, 1.0))
    changed.save(tmp_path / "other.zarr")
    with pytest.raises(InputError, match="made with another model"):
        label((stores[0], tmp_path / "other.zarr"), tmp_path / "c.zarr")
    with pytest.raises(InputError, match="made with another covariance"):
        label(stores, tmp_path / "c.zarr", covariance=True)


@pytest.mark.parametrize("kind", ["file", "directory", "survey"])
def test_refuses_a_path_that_holds_something_else(stores, tmp_path, kind):
    path = tmp_path / "held"
    if kind == "file":
        path.write_text("precious")
    elif kind == "directory":
        path.mkdir()
        (path / "thesis.tex").write_text("precious")
    else:
        path = stores[0]
    with pytest.raises(InputError, match="choose another path") as error:
        label(stores, path)
    assert str(path) in str(error.value)


def test_refuses_regions_that_share_a_chunk(stores, tmp_path):
    with pytest.raises(InputError, match="not a multiple of the 20 stars in a chunk"):
        run.make_plan(*stores, tmp_path / "c.zarr", region_stars=30)


def test_refuses_a_duplicated_star_before_any_work(stores, small_survey, tmp_path):
    survey = small_survey.isel(star=[0, 1, 1])
    store.write_dataset(survey, tmp_path / "s.zarr")
    with pytest.raises(InputError, match="repeats"):
        label((tmp_path / "s.zarr", stores[1]), tmp_path / "c.zarr")
    assert not (tmp_path / "c.zarr").exists()


def test_refuses_another_wavelength_grid_before_any_work(stores, small_survey, tmp_path):
    store.write_dataset(small_survey.isel(wavelength=slice(1, None)), tmp_path / "s.zarr")
    with pytest.raises(InputError, match="'wavelength' has"):
        label((tmp_path / "s.zarr", stores[1]), tmp_path / "c.zarr")
    assert not (tmp_path / "c.zarr").exists()


def test_tasks_are_small(stores, tmp_path):
    import pickle

    plan = plan_of(stores, tmp_path / "c.zarr")
    assert len(pickle.dumps((plan, plan.regions[0]))) < 2000


def test_integer_identifiers(stores, small_survey, tmp_path):
    survey = small_survey.isel(star=slice(0, 30)).assign_coords(star=np.arange(30) + 10**15)
    store.write_dataset(survey, tmp_path / "s.zarr", chunk=CHUNK)
    label((tmp_path / "s.zarr", stores[1]), tmp_path / "c.zarr")
    assert contents(tmp_path / "c.zarr")["star"].tolist() == survey.star.values.tolist()


def test_a_run_stopped_while_the_catalog_was_being_made_starts_again(stores, undisturbed, tmp_path, monkeypatch):
    """The attributes are written before the arrays: a kill in between must not block the path."""
    plan = plan_of(stores, tmp_path / "c.zarr")
    catalogs.prepare(plan)
    group = zarr.open_group(plan.catalog, mode="r+")
    group.attrs["complete"] = -1
    del group["status"]
    assert label(stores, tmp_path / "c.zarr").n_run == N_STARS
    assert_same(tmp_path / "c.zarr", undisturbed)
    zarr.open_group(tmp_path / "empty.zarr", mode="w")  # killed before even the attributes
    assert label(stores, tmp_path / "empty.zarr").n_run == N_STARS


def test_refuses_a_model_without_labels(stores, small_survey, tmp_path):
    spectra = small_survey[["flux", "flux_ivar"]]
    lux.train(spectra, 3, folds=1, iterations=1, progress=False).save(tmp_path / "m.zarr")
    with pytest.raises(InputError, match=r"m.zarr: the model predicts no 'label_value'"):
        label((stores[0], tmp_path / "m.zarr"), tmp_path / "c.zarr")


def test_a_survey_rewritten_in_other_chunks_is_read_afresh(stores, small_survey, tmp_path):
    for chunk in (20, 40):
        store.write_dataset(small_survey.isel(star=slice(0, 80)), tmp_path / "s.zarr", chunk=chunk)
        path = tmp_path / f"c{chunk}.zarr"
        lux.label_survey(tmp_path / "s.zarr", stores[1], path, progress=False)
    assert_same(tmp_path / "c20.zarr", tmp_path / "c40.zarr")


def test_two_clusters_on_one_machine():
    """Neither warns of the other's port, and both listen on this machine only."""
    with local_cluster(1) as first, local_cluster(1) as second:
        for client in (first, second):
            assert "//127.0.0.1:" in client.scheduler.address
            assert client.dashboard_link.startswith("http://127.0.0.1:")


def test_a_worker_does_one_region_at_a_time(stores, tmp_path):
    """Regions that overlapped in one process would add up their memory."""
    log = tmp_path / "log.jsonl"
    with local_cluster(1) as client:
        label(stores, tmp_path / "c.zarr", client=client, log=log)
    ends = [json.loads(line) for line in log.read_text().splitlines()]
    regions = [e for e in ends if e["event"] == "region"]
    assert len(regions) == 6 and len({r["worker"] for r in regions}) == 1
    end = [datetime.datetime.fromisoformat(r["time"]).timestamp() for r in regions]
    for before, after, region in zip(end[:-1], end[1:], regions[1:], strict=True):
        assert sum(region["seconds"].values()) < after - before + 0.25
