"""A newer model: the old catalogue stays whole until the new one, made beside it, replaces it."""

import contextlib
import errno
import shutil
import tempfile
import types

import numpy as np
import pytest
import zarr
from click.testing import CliRunner

import luxscale as lux
from luxscale import store
from luxscale.cli import main
from luxscale.labelling import run
from luxscale.store import moves

CHUNK = 20


class Cut(BaseException):
    pass


@pytest.fixture(scope="module")
def stores(_small_survey, small_model, tmp_path_factory):
    """A survey of 90 stars, two models, and the catalogue of the second."""
    folder = tmp_path_factory.mktemp("stores")
    few = _small_survey.isel(star=slice(0, 90))
    store.write_dataset(few, folder / "survey.zarr", chunk=CHUNK)
    small_model.save(folder / "first.zarr")
    lux.train(_small_survey, 3, folds=2, iterations=2, progress=False).save(folder / "second.zarr")
    label(folder, "second.zarr", folder / "right.zarr")
    return folder


@pytest.fixture
def catalog(stores, tmp_path):
    """A catalogue of the first model."""
    path = tmp_path / "catalog.zarr"
    label(stores, "first.zarr", path)
    return path


def label(stores, model, catalog, **how):
    survey = stores / "survey.zarr"
    how = {"region_stars": CHUNK, "progress": False, **how}
    return lux.label_survey(survey, stores / model, catalog, **how)


def relabel(stores, catalog, **how):
    return label(stores, "second.zarr", catalog, relabel=True, **how)


def read_files(path):
    return {f.relative_to(path): f.read_bytes() for f in path.rglob("*") if f.is_file()}


def assert_replaced(stores, catalog):
    """The catalogue is that which the second model makes, and nothing is beside it."""
    one, two = (zarr.open_group(path, mode="r") for path in (catalog, stores / "right.zarr"))
    assert one.attrs["complete"] == 1
    assert one.attrs["identity"] == two.attrs["identity"]
    for name, array in two.arrays():
        np.testing.assert_array_equal(one[name][:], array[:], err_msg=name)
    assert [path.name for path in catalog.parent.iterdir()] == [catalog.name]


def test_the_new_catalogue_takes_the_place_of_the_old_one(stores, catalog):
    summary = relabel(stores, catalog)
    assert (summary.catalog, summary.n_run) == (str(catalog), 90)
    assert_replaced(stores, catalog)
    # the same again finds a catalogue of this model
    assert relabel(stores, catalog).n_run == 0
    assert_replaced(stores, catalog)


def test_a_catalogue_behind_a_link_is_replaced_where_it_is(stores, catalog, tmp_path_factory):
    link = tmp_path_factory.mktemp("links") / "catalog.zarr"
    link.symlink_to(catalog)
    relabel(stores, link)
    assert link.is_symlink()
    assert_replaced(stores, catalog)


def test_a_survey_in_other_chunks_is_labelled_anew(stores, catalog, _small_survey):
    survey = catalog.with_name("survey.zarr")
    store.write_dataset(_small_survey.isel(star=slice(0, 90)), survey, chunk=30)
    paths = (survey, stores / "first.zarr", catalog)
    with pytest.raises(lux.InputError, match=r"\(chunks of 20 stars, .* have 30; .*--relabel\)"):
        lux.label_survey(*paths, progress=False)
    labels = zarr.open_array(catalog / "label_value", mode="r")[:]
    assert lux.label_survey(*paths, relabel=True, progress=False).n_run == 90
    made = zarr.open_array(catalog / "label_value", mode="r")
    assert made.chunks[0] == 30
    np.testing.assert_allclose(made[:], labels, rtol=1e-5)
    assert lux.label_survey(*paths, relabel=True, progress=False).n_run == 0


@pytest.mark.parametrize("number", [0, 2, 4])
def test_the_old_catalogue_stays_whole_while_regions_are_done(stores, catalog, monkeypatch, number):
    before = read_files(catalog)
    done = []

    def run_region(plan, region, *ahead, call=run.run_region):
        if len(done) == number:
            raise Cut
        done.append(region)
        return call(plan, region, *ahead)

    with monkeypatch.context() as patched:
        patched.setattr(run, "run_region", run_region)
        with pytest.raises(Cut):
            relabel(stores, catalog)
    assert read_files(catalog) == before
    assert relabel(stores, catalog).n_run == 90 - number * CHUNK
    assert_replaced(stores, catalog)


def cut(*args, **options):
    raise Cut


def test_one_that_is_complete_and_not_yet_in_place_is_put_there(stores, catalog, monkeypatch):
    before = read_files(catalog)
    with monkeypatch.context() as patched:
        patched.setattr(moves, "move_over", cut)
        with pytest.raises(Cut):
            relabel(stores, catalog)
    assert read_files(catalog) == before
    assert relabel(stores, catalog).n_run == 0
    assert_replaced(stores, catalog)


def test_one_that_was_cut_off_between_two_renames_is_put_in_place(stores, catalog, monkeypatch):
    """Where the file system cannot exchange two places, nothing is there for a moment."""
    renamed = []

    def leave(**where):
        return contextlib.nullcontext(tempfile.mkdtemp(**where))

    def replace(source, target):
        renamed.append(source)
        if len(renamed) > 1:
            raise Cut
        source.rename(target)

    with monkeypatch.context() as patched:
        patched.setattr(moves, "_exchange", lambda first, second: False)
        patched.setattr(moves, "os", types.SimpleNamespace(replace=replace))
        patched.setattr(moves, "tempfile", types.SimpleNamespace(TemporaryDirectory=leave))
        with pytest.raises(Cut):
            relabel(stores, catalog)
    assert not catalog.exists()
    assert relabel(stores, catalog).n_run == 0
    (left,) = catalog.parent.glob(".*")
    shutil.rmtree(left)
    assert_replaced(stores, catalog)


def test_without_an_exchange_it_is_renamed(stores, catalog, monkeypatch):
    monkeypatch.setattr(moves, "_exchange", lambda first, second: False)
    relabel(stores, catalog)
    assert_replaced(stores, catalog)


def test_places_are_exchanged_at_once(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).touch()
    if not moves._exchange(tmp_path / "one", tmp_path / "two"):
        pytest.skip("this file system cannot exchange two places")
    assert (tmp_path / "one" / "two").exists() and (tmp_path / "two" / "one").exists()
    with pytest.raises(OSError, match="No such file") as failed:
        moves._exchange(tmp_path / "one", tmp_path / "three")
    assert failed.value.errno == errno.ENOENT


def test_what_is_no_catalogue_of_these_stars_is_not_replaced(stores, tmp_path):
    with pytest.raises(lux.InputError, match="there is no catalogue to replace; leave out"):
        relabel(stores, tmp_path / "catalog.zarr")
    with pytest.raises(lux.InputError, match="is a survey, not a catalogue"):
        relabel(stores, stores / "survey.zarr")
    zarr.open_group(tmp_path / "other.zarr", mode="w", attributes={"title": "x"})
    with pytest.raises(lux.InputError, match="is a Zarr store of another program, not a catalogue"):
        relabel(stores, tmp_path / "other.zarr")
    few = lux.open_survey(stores / "survey.zarr").isel(star=slice(1, 60))
    store.write_dataset(few, tmp_path / "few.zarr", chunk=CHUNK)
    catalog = tmp_path / "catalog.zarr"
    lux.label_survey(tmp_path / "few.zarr", stores / "first.zarr", catalog, progress=False)
    before = read_files(catalog)
    with pytest.raises(lux.InputError, match=r"of another survey \(star 0 was (\S+) and is (\S+):"):
        relabel(stores, catalog)
    assert read_files(catalog) == before
    assert not (tmp_path / "catalog.zarr.new").exists()


def test_a_catalogue_that_grew_meanwhile_is_not_replaced(stores, tmp_path, monkeypatch):
    survey, catalog = tmp_path / "survey.zarr", tmp_path / "catalog.zarr"
    whole = lux.open_survey(stores / "survey.zarr")
    store.write_dataset(whole.isel(star=slice(0, 50)), survey, chunk=CHUNK)
    lux.label_survey(survey, stores / "first.zarr", catalog, progress=False)

    def grow(plan, summary, log, call=run.replace_old):
        if not plan.replaces:
            return summary
        for name, array in zarr.open_group(survey, mode="r+").arrays():
            if array.metadata.dimension_names[0] == "star":
                array.append(whole[name].values[50:].astype(array.dtype))
        lux.label_survey(survey, stores / "first.zarr", catalog, progress=False)
        return call(plan, summary, log)

    how = {"relabel": True, "progress": False}
    with monkeypatch.context() as patched:
        patched.setattr(run, "replace_old", grow)
        with pytest.raises(lux.InputError, match="has got 40 more stars meanwhile; run the same"):
            lux.label_survey(survey, stores / "second.zarr", catalog, **how)
    assert lux.label_survey(survey, stores / "second.zarr", catalog, **how).n_stars == 90
    survey.rename(stores / "grown.zarr")
    assert_replaced(stores, catalog)


def test_another_model_is_refused_and_the_way_to_replace_is_named(stores, catalog):
    with pytest.raises(lux.InputError, match="another model .*relabel=True, on the command line"):
        label(stores, "second.zarr", catalog)


def test_the_command_says_what_it_replaces(stores, catalog):
    paths = [stores / "survey.zarr", "--model", stores / "second.zarr", "--out", catalog]
    command = ["label", *map(str, paths), "--relabel", "--region-stars", "20"]
    before = read_files(catalog)
    told = CliRunner().invoke(main, [*command, "--dry-run"])
    assert f"to do     90 of 90 stars, in 5 regions of 20\nreplaces  {catalog}, " in told.stdout
    assert read_files(catalog) == before
    alone = CliRunner().invoke(main, [*command, "--region", "1"])
    assert f"{catalog}.new: region 1 done" in alone.stdout
    done = CliRunner().invoke(main, [*command, "--workers", "0"])
    assert f"made beside {catalog}, which it replaces when it is complete" in done.stderr
    assert f"{catalog}: 90 stars labelled, 70 of them in this run" in done.stdout
    log = catalog.with_name("catalog.zarr.log.jsonl")
    assert '"event": "replaced"' in log.read_text().splitlines()[-1]
    log.unlink()
    assert_replaced(stores, catalog)
