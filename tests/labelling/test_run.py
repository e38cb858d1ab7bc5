import contextlib
import dataclasses
import datetime
import errno
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
import time

import numpy as np
import pytest
import xarray as xr
import zarr

import luxscale as lux
from luxscale import progress, store
from luxscale.cluster import local_cluster
from luxscale.errors import CannotWrite, InputError, RunError
from luxscale.info.describe import describe
from luxscale.labelling import run
from luxscale.labelling.catalogue import Catalogue
from luxscale.labelling.plan import choose_region_size
from luxscale.runs import log as runlog
from luxscale.runs.executors import OnDask, TaskError, describe_error, run_on_worker

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


def prepare(plan):
    """Make a catalogue or take it up, without a lock; the regions that are pending."""
    catalogue = Catalogue(plan)
    return catalogue.resume() if catalogue.claim() else catalogue.create()


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
    assert {
        v: str(catalog[v].dtype)
        for v in ("chi2", "n_pixels", "flags", "status", "latent", "label_value")
    } == {
        "chi2": "float32",
        "n_pixels": "int32",
        "flags": "uint16",
        "status": "uint8",
        "latent": "float32",
        "label_value": "float64",
    }
    assert catalog["label_value"].chunks[0] == (CHUNK,) * 6
    assert (catalog["status"] == 1).all()
    assert len(catalog["flags"].attrs["flag_masks"]) == len(
        catalog["flags"].attrs["flag_meanings"].split()
    )
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
    regions = prepare(plan)
    for region in regions[1::2]:
        run.run_region(plan, region)
    assert [r.index for r in Catalogue(plan).list_pending()] == [0, 2, 4]
    summary = label(stores, tmp_path / "c.zarr")
    assert (summary.n_stars, summary.n_run) == (N_STARS, 3 * CHUNK)
    assert_same(tmp_path / "c.zarr", undisturbed)
    assert label(stores, tmp_path / "c.zarr").n_run == 0


def test_a_region_half_written_is_done_again(stores, undisturbed, tmp_path):
    plan = plan_of(stores, tmp_path / "c.zarr")
    for region in prepare(plan):
        run.run_region(plan, region)
    group = zarr.open_group(plan.catalog, mode="r+")
    group["label_value"][
        2 * CHUNK : 3 * CHUNK
    ] = -1  # a task that died between its arrays and its status
    group["status"][2 * CHUNK : 3 * CHUNK] = 0
    assert label(stores, tmp_path / "c.zarr").n_run == CHUNK
    assert_same(tmp_path / "c.zarr", undisturbed)


def test_finalise_names_what_is_missing(stores, tmp_path):
    plan = plan_of(stores, tmp_path / "c.zarr")
    prepare(plan)
    run.run_region(plan, plan.regions[0])
    with pytest.raises(RunError, match="5 regions are pending, first 1"):
        Catalogue(plan).finalise()


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


@pytest.mark.slow
def test_a_killed_worker_costs_nothing(stores, undisturbed, tmp_path):
    with local_cluster(2) as client:
        pids = list(client.run(os.getpid).values())
        os.kill(pids[0], signal.SIGKILL)
        label(stores, tmp_path / "c.zarr", client=client)
    np.testing.assert_allclose(
        contents(tmp_path / "c.zarr")["label_value"],
        contents(undisturbed)["label_value"],
        rtol=1e-5,
    )


def test_a_killed_client_resumes_bit_for_bit(stores, undisturbed, tmp_path):
    script = textwrap.dedent("""
        import sys, time
        from luxscale.labelling import run
        def slow(plan, region, *ahead, do=run.run_region):
            done = do(plan, region, *ahead)
            time.sleep(0.3)
            return done
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

    def fails(plan, region, *ahead):
        if region.index == 3:
            raise OSError("disk on fire")
        return do(plan, region, *ahead)

    monkeypatch.setattr(run, "run_region", fails)
    with pytest.raises(
        RunError, match=r"1 of 6 regions could not be done \(3\).*disk on fire.*--region 3"
    ):
        label(stores, tmp_path / "c.zarr")
    monkeypatch.undo()
    assert [r.index for r in Catalogue(plan_of(stores, tmp_path / "c.zarr")).list_pending()] == [3]


def test_refuses_a_catalog_of_another_model(stores, tmp_path, small_model):
    label(stores, tmp_path / "c.zarr")
    changed = dataclasses.replace(small_model, limits=(1.0, 1.0))
    changed.save(tmp_path / "other.zarr")
    with pytest.raises(InputError, match="made with another model"):
        label((stores[0], tmp_path / "other.zarr"), tmp_path / "c.zarr")
    with pytest.raises(InputError, match=r"another covariance \(false, now true; .*--relabel\)"):
        label(stores, tmp_path / "c.zarr", covariance=True)
    with pytest.raises(
        InputError, match=r'made with another given \(\["flux"\], now \["label_value"\]; to replace'
    ):
        label(stores, tmp_path / "c.zarr", given="label_value")


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


@pytest.mark.parametrize(("asked", "stars"), [(5, 20), (30, 20), (40, 40), (59, 40)])
def test_regions_never_share_a_chunk(stores, tmp_path, asked, stars):
    plan = run.make_plan(*stores, tmp_path / "c.zarr", region_stars=asked)
    assert plan.region_stars == stars


def test_refuses_regions_without_stars(stores, tmp_path):
    with pytest.raises(InputError, match="region_stars=0: give the number of stars of a task"):
        run.make_plan(*stores, tmp_path / "c.zarr", region_stars=0)


def test_refuses_a_duplicated_star_before_any_work(stores, small_survey, tmp_path):
    survey = small_survey.isel(star=[0, 1, 1])
    store.write_arrays(survey, tmp_path / "s.zarr")
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


def test_a_run_stopped_while_the_catalog_was_being_made_starts_again(
    stores, undisturbed, tmp_path, monkeypatch
):
    """The attributes are written before the arrays: a kill in between must not block the path."""
    plan = plan_of(stores, tmp_path / "c.zarr")
    prepare(plan)
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
        few = small_survey.isel(star=slice(0, 80))
        store.write_dataset(few, tmp_path / "s.zarr", chunk=chunk, overwrite=True)
        path = tmp_path / f"c{chunk}.zarr"
        lux.label_survey(tmp_path / "s.zarr", stores[1], path, progress=False)
    assert_same(tmp_path / "c20.zarr", tmp_path / "c40.zarr")


def test_a_variable_rewritten_in_other_chunks(stores, small_survey, undisturbed, tmp_path):
    """Metadata that this process, or a worker, read before are no longer those of the survey."""
    damaged = (tmp_path / "s.zarr", stores[1])
    shutil.copytree(stores[0], damaged[0])
    label(damaged, tmp_path / "c.zarr")
    group = zarr.open_group(damaged[0], mode="r+")
    old, dims = group["flux_ivar"], group["flux_ivar"].metadata.dimension_names
    group.create_array(
        "flux_ivar",
        data=old[:],
        chunks=(CHUNK // 2, old.shape[1]),
        dimension_names=dims,
        overwrite=True,
    )
    with pytest.raises(InputError, match="made with another survey .*kinds of its arrays are not"):
        label(damaged, tmp_path / "c.zarr")
    label(damaged, tmp_path / "new.zarr")
    assert_same(tmp_path / "new.zarr", undisturbed)


@pytest.mark.slow
def test_two_clusters_on_one_machine():
    """Neither warns of the other's port, and both listen on this machine only."""
    with local_cluster(1) as first, local_cluster(1) as second:
        for client in (first, second):
            assert "//127.0.0.1:" in client.scheduler.address
            assert client.dashboard_link.startswith("http://127.0.0.1:")


@pytest.mark.slow
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


def damage(stores, folder, number=0):
    """Return the stores with a survey of which a chunk is corrupt, and that chunk's file."""
    survey = folder / "damaged.zarr"
    shutil.copytree(stores[0], survey)
    path = survey / "flux" / "c" / str(number) / "0"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)
    return (survey, stores[1]), path


def test_a_chunk_that_cannot_be_read_is_named_and_done_when_mended(stores, undisturbed, tmp_path):
    """The first chunk is one of those that are looked at before a run."""
    damaged, path = damage(stores, tmp_path)
    with pytest.raises(
        RunError,
        match=r"c.zarr: 1 of 6 regions hold stars whose data cannot be read.*region 0: stars 0 to "
        r"20, 'flux': ",
    ):
        label(damaged, tmp_path / "c.zarr")
    assert contents(tmp_path / "c.zarr")["status"].tolist() == [2] * CHUNK + [1] * (N_STARS - CHUNK)
    path.write_bytes((stores[0] / path.relative_to(damaged[0])).read_bytes())
    assert label(damaged, tmp_path / "c.zarr").n_run == CHUNK
    assert_same(tmp_path / "c.zarr", undisturbed)


def test_a_run_killed_while_it_notes_the_input_resumes(stores, undisturbed, tmp_path, monkeypatch):
    plan = plan_of(stores, tmp_path / "c.zarr")
    run.run_region(plan, prepare(plan)[0])

    def dies(group, name, **options):
        del group[name]
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, contextlib.suppress(KeyboardInterrupt):
        patch.setattr(zarr.Group, "create_array", dies)
        prepare(plan)
    assert label(stores, tmp_path / "c.zarr").n_run == N_STARS - CHUNK
    assert_same(tmp_path / "c.zarr", undisturbed)


def test_what_zarr_leaves_when_it_is_killed_blocks_no_path(stores, tmp_path):
    path = tmp_path / "c.zarr"
    path.mkdir()
    (path / "zarr.0123456789.partial").write_text("{")
    assert label(stores, path).n_run == N_STARS


def test_a_disk_that_is_full_at_the_end_is_told_and_costs_nothing(stores, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(zarr.core.attributes.Attributes, "update", full)
        with pytest.raises(
            CannotWrite, match=r"c.zarr: cannot be written \(No space left on device\)"
        ):
            label(stores, tmp_path / "c.zarr")
    assert label(stores, tmp_path / "c.zarr").n_run == 0


@pytest.mark.parametrize(
    ("n_stars", "chunk", "star_bytes", "stars"),
    [
        (100_000, 1024, 68_600, 1024),  # APOGEE: 70 MB
        (100_000, 64, 68_600, 1088),
        (3_000_000, 1024, 2_744, 26 * 1024),  # Gaia XP: 73 MB
        (100_000, 1024, 500_000, 1024),  # a chunk at least
        (3_072, 64, 3_200, 192),  # small: sixteen regions
        (100, 1024, 3_200, 1024),
    ],
)
def test_size_of_a_region(n_stars, chunk, star_bytes, stars):
    assert choose_region_size(n_stars, chunk, star_bytes) == stars
    assert stars % chunk == 0
    assert stars == chunk or stars * star_bytes <= 75e6


def test_a_small_survey_is_cut_into_its_chunks(stores, tmp_path):
    plan = run.make_plan(*stores, tmp_path / "c.zarr")
    assert [(r.start, r.stop) for r in plan.regions] == [
        (i, i + CHUNK) for i in range(0, N_STARS, CHUNK)
    ]


def test_faults_and_the_second_try_are_told(stores, tmp_path, monkeypatch, capsys):
    do, tries = run.run_region, []

    def fails_once(plan, region, *ahead):
        tries.append(region.index)
        if tries.count(2) == 1 and region.index == 2:
            raise OSError("disk on fire")
        return do(plan, region, *ahead)

    monkeypatch.setattr(run, "run_region", fails_once)
    monkeypatch.setattr(progress, "_EVERY", 0.0)
    log = tmp_path / "log.jsonl"
    lux.label_survey(*stores, tmp_path / "c.zarr", region_stars=CHUNK, log=log)
    assert tries == [0, 1, 2, 3, 4, 5, 2]
    (fault,) = [e for e in map(json.loads, log.read_text().splitlines()) if e["event"] == "fault"]
    assert (fault["region"], fault["round"], fault["error"]) == (2, 0, "OSError: disk on fire")
    told = capsys.readouterr().err.splitlines()
    assert any(re.fullmatch(r"labelling: 20 of 120 stars, [\d,]+ stars/s", line) for line in told)
    assert any("100 of 120 stars" in line for line in told) and told[-1].startswith(
        "labelling: done in "
    )


@pytest.mark.slow
def test_a_survey_that_is_slow_to_read_is_said_to_be(stores, tmp_path, capsys):
    plain = store.open_survey(stores[0]).load().drop_encoding()
    plain = plain.drop_indexes(list(plain.indexes))
    chunks = {name: {"chunks": (CHUNK, 15)} for name in ("flux", "flux_ivar")}
    chunks |= {name: {"chunks": (CHUNK, 4)} for name in ("label_value", "label_err")}
    plain.to_zarr(tmp_path / "s.zarr", consolidated=False, encoding=chunks)
    (slow,) = describe(tmp_path / "s.zarr")["slow"]
    log, catalog = tmp_path / "log.jsonl", tmp_path / "c.zarr"
    for expected in ([f"labelling: {slow}"], []):  # a run with nothing to do reads nothing
        lux.label_survey(tmp_path / "s.zarr", stores[1], catalog, log=log)
        lines = capsys.readouterr().err.splitlines()
        assert [line for line in lines if "write_dataset" in line] == expected
    assert json.loads(log.read_text().splitlines()[0])["slow"] == [slow]
    lux.label_survey(*stores, tmp_path / "plain.zarr")
    assert "write_dataset" not in capsys.readouterr().err


def test_a_run_that_ends_early_says_so_in_its_log(stores, tmp_path, monkeypatch):
    def full(plan, region, *ahead):
        raise CannotWrite("c.zarr: cannot be written")

    monkeypatch.setattr(run, "run_region", full)
    with pytest.raises(CannotWrite):
        label(stores, tmp_path / "c.zarr", log=tmp_path / "log.jsonl")
    last = json.loads((tmp_path / "log.jsonl").read_text().splitlines()[-1])
    assert last["event"] == "stopped" and last["error"] == "CannotWrite: c.zarr: cannot be written"


def test_a_task_left_over_does_not_write_into_another_models_catalog(stores, tmp_path, small_model):
    path = tmp_path / "c.zarr"
    plan = plan_of(stores, path)
    prepare(plan)
    run.run_region(plan, plan.regions[0])
    shutil.rmtree(path)
    dataclasses.replace(small_model, limits=(1.0, 1.0)).save(tmp_path / "other.zarr")
    other = plan_of((stores[0], tmp_path / "other.zarr"), path)
    prepare(other)
    with pytest.raises(InputError, match="no longer the catalogue of this run"):
        run.run_region(plan, plan.regions[1])
    assert len(Catalogue(other).list_pending()) == 6


@pytest.mark.parametrize("content", [None, b""], ids=["missing", "empty"])
def test_labels_that_a_crash_lost_are_made_again(stores, undisturbed, tmp_path, content):
    shutil.copytree(undisturbed, tmp_path / "c.zarr")
    lost = tmp_path / "c.zarr" / "label_value" / "c" / "2" / "0"
    lost.unlink()
    if content is not None:
        lost.write_bytes(content)
    assert label(stores, tmp_path / "c.zarr").n_run == CHUNK
    assert_same(tmp_path / "c.zarr", undisturbed)


@pytest.mark.slow
def test_work_that_the_scheduler_gave_up_is_said_to_be(stores, tmp_path):
    plan = plan_of(stores, tmp_path / "c.zarr")
    with local_cluster(1) as client:

        class GivesUp:
            def map(self, *args, **options):
                futures = client.map(*args, **options)
                client.cancel(futures)
                return futures

            def cancel(self, futures):
                client.cancel(futures)

        with pytest.raises(
            RunError,
            match="what is done is kept: start a cluster and run the same command again",
        ):
            list(OnDask(GivesUp()).run(job_of(plan, _wait), plan.regions))


def job_of(plan, task):
    return dataclasses.replace(run.make_job(plan), task=task)


def _wait(plan, region):
    time.sleep(30)


@pytest.fixture
def plain(stores, small_survey, tmp_path):
    """Paths of a model and of a survey whose chunks all have one size, whatever they hold."""
    survey = small_survey.isel(star=slice(0, N_STARS))
    store.write_dataset(survey, tmp_path / "plain.zarr", chunk=CHUNK)
    group = zarr.open_group(tmp_path / "plain.zarr", mode="r+")
    layout = {
        "chunks": (CHUNK, survey.sizes["wavelength"]),
        "compressors": zarr.codecs.Crc32cCodec(),
    }
    layout |= {"dimension_names": ("star", "wavelength"), "overwrite": True}
    for name in ("flux", "flux_ivar"):
        group.create_array(name, data=survey[name].values, **layout)
    found = tmp_path / "plain.zarr", stores[1]
    label(found, tmp_path / "c.zarr")
    return found


def brighten(survey, star):
    flux = zarr.open_group(survey, mode="r+")["flux"]
    before = (survey / "flux" / "c" / str(star // CHUNK) / "0").stat().st_size
    flux[star] = flux[star] * np.float32(1.5)
    assert (survey / "flux" / "c" / str(star // CHUNK) / "0").stat().st_size == before


def test_a_chunk_rewritten_in_its_size_is_noticed(plain, tmp_path):
    brighten(plain[0], 2 * CHUNK + 3)
    assert label(plain, tmp_path / "c.zarr").n_run == CHUNK
    label(plain, tmp_path / "new.zarr")
    assert_same(tmp_path / "c.zarr", tmp_path / "new.zarr")


class Unprintable(Exception):
    def __str__(self):
        raise RuntimeError("no")

    __repr__ = __str__


class Endless(Exception):
    def __reduce__(self):
        raise RecursionError("maximum recursion depth exceeded while pickling an object")


def _raise(plan, region):
    """Fail on a worker in a way that cannot be sent."""
    deep: list = []
    for _ in range(100_000):
        deep = [deep]
    errors = [
        Unprintable(),
        Endless("so it is"),
        ValueError(threading.Lock()),
        ValueError(deep),
        CannotWrite("full"),
    ]

    try:
        raise Endless("before")
    except Endless as error:
        raise errors[region.index] from error


@pytest.mark.slow
def test_what_goes_wrong_on_a_worker_comes_back_as_text(stores, tmp_path):
    plan = plan_of(stores, tmp_path / "c.zarr")
    with local_cluster(1) as client:
        attempts = OnDask(client).run(job_of(plan, _raise), plan.regions[:4])
        found = {r.index: error for r, error in attempts}
        with pytest.raises(CannotWrite, match="full"):
            list(OnDask(client).run(job_of(plan, _raise), plan.regions[4:5]))
    assert all(type(error) is TaskError for error in found.values())
    told = [describe_error(found[i]) for i in range(4)]
    assert told[:2] == ["Unprintable", "Endless: so it is"] and told[3] == "ValueError"
    assert told[2].startswith("ValueError: <unlocked _thread.lock object")


def test_a_worker_with_another_version_does_nothing(stores, tmp_path):
    plan = plan_of(stores, tmp_path / "c.zarr")
    with pytest.raises(
        TaskError, match=r"^RuntimeError: worker .* has luxscale .*, the run is of 9.9$"
    ):
        run_on_worker(run.run_region, "9.9", plan, plan.regions[0])


def test_the_versions_that_labelled_are_kept(stores, tmp_path):
    path = tmp_path / "c.zarr"
    plan = plan_of(stores, path)
    older, later = (dataclasses.replace(plan, version=v) for v in ("0.0.1", "9.9"))
    run.run_region(older, prepare(older)[0])
    assert describe(path)["luxscale_versions"] == ["0.0.1"]
    for each in (plan, plan):
        prepare(each)
    assert describe(path)["luxscale_versions"] == ["0.0.1", plan.version]
    label(stores, path)
    prepare(later)  # finds nothing to do
    assert describe(path)["luxscale_versions"] == ["0.0.1", plan.version]
    del (attributes := zarr.open_group(path, mode="r+").attrs)["versions"]
    assert "versions" not in attributes and describe(path)["luxscale_versions"] == "unknown"


@pytest.mark.slow
def test_a_worker_that_is_not_needed_is_not_called_lost(tmp_path, capsys):
    path = tmp_path / "log.jsonl"

    def events():
        return [json.loads(line)["event"] for line in path.read_text().splitlines()]

    with (
        runlog.RunLog(path) as log,
        local_cluster(2) as client,
        OnDask(client).watch(log, progress.Progress("x")),
    ):
        first, second = client.run(os.getpid).items()
        client.retire_workers([first[0]])
        until(lambda: events() == ["worker left"])
        assert capsys.readouterr().err == ""
        os.kill(second[1], signal.SIGKILL)
        until(lambda: "worker lost" in events())
    assert "x: a worker was lost; its work is done by others" in capsys.readouterr().err


def until(condition):
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.slow
def test_a_curved_model_labels_a_store_as_it_labels_in_memory(
    curved_model, curved_survey, tmp_path
):
    """Stars with gaps beside complete ones, and one without data."""
    curved_survey["flux_ivar"][1::3, ::3] = 0
    curved_survey["flux_ivar"][5] = 0
    store.write_dataset(curved_survey, tmp_path / "survey.zarr", chunk=60)
    curved_model.save(tmp_path / "model.zarr")
    catalog = tmp_path / "catalog.zarr"
    label((tmp_path / "survey.zarr", tmp_path / "model.zarr"), catalog, covariance=True)
    written = xr.open_zarr(catalog, consolidated=False).load()
    expected = lux.infer(curved_survey, curved_model, covariance=True)
    for name in expected.data_vars:
        np.testing.assert_allclose(written[name], expected[name], rtol=1e-4, atol=1e-5)
    assert (written["status"] == 1).all()
    assert written["flags"].values[5] != 0
    assert np.isfinite(written["label_value"]).all()
