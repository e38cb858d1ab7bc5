"""Catalogues of which chunks were damaged: labelled again, and named by what reads them."""

import json
import os
import shutil

import numpy as np
import pytest
import zarr
from click.testing import CliRunner

import luxscale as lux
from luxscale import store
from luxscale.cli import main
from luxscale.errors import InputError
from luxscale.labelling import region
from luxscale.labelling.catalogue import Catalogue
from luxscale.labelling.plan import make_plan
from luxscale.store import chunks, damage

CHUNK, N_STARS = 20, 110  # the last chunk is not full

#: One variable more of whole numbers, as the status is.
MORE = pytest.param("n_pixels", marks=pytest.mark.slow)

FILLED = ["chi2", "flags", "label_err", "label_value", "latent", "n_pixels", "status"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory, _small_survey, small_model):
    """A survey of six chunks, a model, and a catalogue with nothing wrong."""
    folder = tmp_path_factory.mktemp("damage")
    store.write_dataset(_small_survey.isel(star=slice(0, N_STARS)), folder / "s.zarr", chunk=CHUNK)
    small_model.save(folder / "m.zarr")
    label(folder, folder / "c.zarr")
    return folder


@pytest.fixture
def damaged(whole, tmp_path):
    """Path of a copy of the catalogue, to be damaged."""
    shutil.copytree(whole / "c.zarr", tmp_path / "c.zarr")
    return tmp_path / "c.zarr"


def label(folder, out, **options):
    return lux.label_survey(
        folder / "s.zarr",
        folder / "m.zarr",
        out,
        region_stars=2 * CHUNK,
        **{"progress": False, **options},
    )


def contents(path):
    return {name: np.asarray(array[:]) for name, array in zarr.open_group(path, mode="r").arrays()}


def empty(path):
    path.write_bytes(b"")


def zeros(path):
    path.write_bytes(bytes(path.stat().st_size))


def garbage(path):
    path.write_bytes(np.random.default_rng(0).bytes(path.stat().st_size))


def spoil(path, name, number, how):
    (folder,) = (path / name / "c").glob(str(number))
    how(folder if folder.is_file() else next(f for f in folder.rglob("*") if f.is_file()))


@pytest.mark.parametrize("how", [empty, zeros, garbage])
@pytest.mark.parametrize("name", ["status", "label_value", MORE])
def test_labelled_again(whole, damaged, tmp_path, capsys, name, how):
    spoil(damaged, name, 3, how)
    log = tmp_path / "log.jsonl"
    assert label(whole, damaged, log=log, progress=True).n_run == 2 * CHUNK
    assert (
        f"1 chunks of the catalogue are damaged and done again: chunk 3 of '{name}' (stars 60 "
        "to 80): " in (capsys.readouterr().err)
    )
    (told,) = [e for e in map(json.loads, log.read_text().splitlines()) if e["event"] == "damage"]
    assert (told["variable"], told["chunk"], told["start"], told["stop"]) == (name, 3, 60, 80)
    for key, array in contents(damaged).items():
        np.testing.assert_array_equal(array, contents(whole / "c.zarr")[key], err_msg=key)


@pytest.mark.parametrize("how", [empty, garbage, "others", "gone"])
def test_identifiers_are_written_anew(whole, damaged, how):
    star = damaged / "star"
    if how == "others":
        zarr.open_group(damaged, mode="r+")["star"][3] = "somebody else"
    elif how == "gone":
        shutil.rmtree(star)
    else:
        how(next(f for f in star.rglob("*") if f.is_file() and f.name != "zarr.json"))
    label(whole, damaged)
    assert contents(damaged)["star"].tolist() == contents(whole / "c.zarr")["star"].tolist()
    assert store.open_dataset(damaged)["star"].identical(
        store.open_dataset(whole / "c.zarr")["star"]
    )
    assert label(whole, damaged).n_run == 0


@pytest.mark.parametrize("name", ["status", "label_value"])
def test_the_last_chunk_too(whole, damaged, name):
    spoil(damaged, name, 5, garbage)
    assert label(whole, damaged).n_run == N_STARS - 4 * CHUNK
    for key, array in contents(damaged).items():
        np.testing.assert_array_equal(array, contents(whole / "c.zarr")[key], err_msg=key)


def test_a_dry_run_counts_what_is_damaged_and_mends_nothing(whole, damaged):
    spoil(damaged, "status", 0, garbage)
    plan = make_plan(whole / "s.zarr", whole / "m.zarr", damaged, region_stars=2 * CHUNK)
    assert [r.index for r in Catalogue(plan).list_pending()] == [0]
    assert next(damage.find_damage(zarr.open_group(damaged, mode="r"), ["status"])).chunk == 0


@pytest.mark.parametrize(
    "arguments",
    [["info", "C"], ["validate", "C", "S"], ["export", "C", "--out", "OUT.fits"]],
    ids=lambda a: a[0],
)
@pytest.mark.parametrize("name", ["status", "label_value"])
def test_named_by_what_reads_it(whole, damaged, tmp_path, arguments, name):
    spoil(damaged, name, 2, garbage)
    paths = {"C": damaged, "S": whole / "s.zarr", "OUT.fits": tmp_path / "c.fits"}
    done = CliRunner().invoke(main, [str(paths.get(a, a)) for a in arguments])
    assert done.exit_code == 1 and done.stderr.count("Error") >= 1, done.output
    assert f"{damaged}: is damaged: chunk 2 of '{name}' (stars 40 to 60): " in done.stderr
    assert "run `luxscale label` again, with the same command" in done.stderr


def test_what_no_region_fills_is_to_be_copied(damaged):
    spoil(damaged, "label", 0, garbage)
    with (
        pytest.raises(InputError, match=r"chunk 0 of 'label' .*copy the catalogue"),
        damage.locate_damage(damaged),
    ):
        contents(damaged)


def test_an_error_that_is_no_damage_stays_what_it_is(damaged):
    with pytest.raises(ZeroDivisionError), damage.locate_damage(damaged):
        1 / 0  # noqa: B018


@pytest.mark.parametrize("harm", [empty, os.remove])
def test_what_was_kept_of_the_input(whole, damaged, harm):
    (file,) = (f for f in (damaged / "run" / "flux" / "c").rglob("*") if f.is_file())
    harm(file)
    with pytest.raises(
        InputError, match=r"c.zarr: what it kept of the survey's chunks, run/flux, is damaged"
    ):
        label(whole, damaged)
    shutil.rmtree(damaged / "run" / "flux")
    zarr.open_group(damaged, mode="r+")["status"][:CHUNK] = 0
    assert label(whole, damaged).n_run == 2 * CHUNK
    assert zarr.open_group(damaged, mode="r")["run/flux"].shape == (6, 2)


@pytest.mark.parametrize("name", ["status", MORE])
@pytest.mark.parametrize("harm", [empty, zeros, os.remove])
def test_metadata(whole, damaged, name, harm):
    harm(damaged / name / "zarr.json")
    arguments = [
        str(x) for x in ("label", whole / "s.zarr", "--model", whole / "m.zarr", "--out", damaged)
    ]
    for more in ([], ["--dry-run"], ["--region", "0"]):
        result = CliRunner().invoke(main, [*arguments, "--region-stars", str(2 * CHUNK), *more])
        assert result.exit_code == 1 and f"{damaged}: cannot be read (" in result.output
        assert "copy it from where it is whole" in result.output


def test_what_regions_fill(damaged):
    assert damage.list_filled(zarr.open_group(damaged, mode="r")) == FILLED


@pytest.mark.parametrize("bad", [[], [0], [5], [1, 2, 4], list(range(6))])
def test_all_that_is_damaged_is_found(damaged, bad, monkeypatch):
    monkeypatch.setattr(damage, "_AT_ONCE", 4)
    for number in bad:
        spoil(damaged, "latent", number, garbage)
    group = zarr.open_group(damaged, mode="r")
    assert [d.chunk for d in damage.find_damage(group, ["chi2", "latent"])] == bad
    missing = np.isnan(damage.read_readable(group["latent"], np.nan)).all(1)
    np.testing.assert_array_equal(missing, np.isin(np.arange(N_STARS) // CHUNK, bad))


def test_on_the_disk_before_it_counts_as_done(whole, tmp_path, monkeypatch):
    plan = make_plan(
        whole / "s.zarr", whole / "m.zarr", tmp_path / "c.zarr", region_stars=2 * CHUNK
    )
    Catalogue(plan).create()
    write, fsync, seen = zarr.Array.__setitem__, os.fsync, []
    monkeypatch.setattr(
        zarr.Array, "__setitem__", lambda a, *item: (seen.append(a.name), write(a, *item))
    )
    monkeypatch.setattr(
        os, "fsync", lambda fd: (seen.append(os.readlink(f"/proc/self/fd/{fd}")), fsync(fd))
    )
    region.run_region(plan, plan.regions[1])
    files = [str(p) for p in seen if p.startswith(str(tmp_path))]
    assert (
        seen[-1] == "/status"
        and str(tmp_path / "c.zarr" / "label_value" / "c" / "3" / "0") in files
    )
    group = store.open_group(plan.catalog, "r")
    stored = sum(
        (chunks.read_sizes(group, name, 2 * CHUNK, 4 * CHUNK) > 0).sum()
        for name in FILLED
        if name != "status"
    )
    assert len(files) == stored


def test_a_damaged_chunk_of_a_survey_is_said_where_it_is_read(small_survey, tmp_path):
    path = tmp_path / "s.zarr"
    store.write_dataset(small_survey, path, chunk=100)
    (path / "flux/c/1/0").write_bytes(bytes(100))
    said = r"cannot be read \(.*\); copy it from where it is whole"
    with pytest.raises(InputError, match=f"s.zarr: {said}"):
        lux.open_survey(path, check="all")
    survey = lux.open_survey(path, check="structure")
    for options in ({"latent_dim": 2}, {}):
        with pytest.raises(InputError, match=f"survey: {said}"):
            lux.train(survey, progress=False, **options)
