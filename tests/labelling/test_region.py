import dataclasses
import errno
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import zarr

import luxscale as lux
from luxscale import store
from luxscale.errors import CannotWrite, InputError
from luxscale.labelling import plan as planning
from luxscale.labelling import region
from luxscale.labelling.catalogue import Catalogue
from luxscale.labelling.plan import make_plan
from luxscale.model.inference import Inference
from luxscale.schema import flags
from luxscale.store import chunks

CHUNK, N_STARS = 20, 120


@pytest.fixture(scope="module")
def begun(tmp_path_factory, _small_survey, small_model):
    """A folder of a survey, a model and a catalogue to fill: two regions of three chunks."""
    folder = tmp_path_factory.mktemp("region")
    survey = _small_survey.isel(star=slice(0, N_STARS))
    store.write_dataset(survey, folder / "s.zarr", chunk=CHUNK)
    small_model.save(folder / "m.zarr")
    Catalogue(plan_in(folder)).create()
    return folder


@pytest.fixture
def plan(tmp_path, begun):
    """The plan of a copy of them."""
    shutil.copytree(begun, tmp_path, dirs_exist_ok=True)
    return plan_in(tmp_path)


def plan_in(folder):
    return make_plan(*(folder / f"{x}.zarr" for x in "smc"), region_stars=3 * CHUNK)


def chunk_file(plan, name, number):
    return Path(plan.survey, name, "c", str(number), "0")


def filled(plan, name):
    return store.open_array(store.open_group(plan.catalog, "r"), name)[:]


def corrupt(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)


def test_counts_stars_for_which_the_fast_way_was_not_good_enough(plan, monkeypatch):
    infer = Inference.infer_and_count
    monkeypatch.setattr(Inference, "infer_and_count", lambda *args: (infer(*args)[0], 7))
    outcomes = [region.run_region(plan, each) for each in plan.regions]
    assert [outcome.fell_back for outcome in outcomes] == [7, 7]


def test_says_what_it_did_and_who_and_how_long(plan):
    outcome = region.run_region(plan, plan.regions[1])
    assert (outcome.region, outcome.stars, outcome.unreadable) == (1, 60, ())
    assert set(outcome.seconds) == {"read", "infer", "write"} and all(
        s >= 0 for s in outcome.seconds.values()
    )
    assert outcome.worker.endswith(f":{os.getpid()}")
    assert filled(plan, "status").tolist() == [0] * 60 + [1] * 60


def test_what_was_read_ahead_gives_the_same_bits(plan):
    corrupt(chunk_file(plan, "flux", 1))
    names = ("label_value", "label_err", "latent", "chi2", "flags", "status")
    outcome = region.run_region(plan, plan.regions[0])
    expected = [filled(plan, name)[:60] for name in names]
    for name in names:
        shutil.rmtree(Path(plan.catalog, name, "c"))
    ahead = region.read_ahead(plan, plan.regions[0])
    ahead.result()
    shutil.rmtree(Path(plan.survey, "flux", "c"))  # nothing is read again
    again = region.run_region(plan, plan.regions[0], ahead)
    assert again.unreadable == outcome.unreadable != ()
    for name, values in zip(names, expected, strict=True):
        np.testing.assert_array_equal(filled(plan, name)[:60], values)


@pytest.mark.parametrize("name", ["flux", "flux_ivar"])
def test_one_bad_chunk_costs_its_own_stars_only(plan, name, small_survey, small_model):
    corrupt(chunk_file(plan, name, 1))
    outcome = region.run_region(plan, plan.regions[0])
    ((start, stop, reason),) = outcome.unreadable
    assert (
        (start, stop) == (20, 40)
        and reason.startswith(f"{name!r}: ")
        and "crc32c" in reason.lower().replace("checksum", "crc32c")
    )
    assert filled(plan, "status")[:60].tolist() == [1] * 20 + [2] * 20 + [1] * 20
    assert (filled(plan, "flags")[20:40] == flags.BIT["unreadable"]).all()
    assert (
        np.isnan(filled(plan, "label_value")[20:40]).all()
        and np.isnan(filled(plan, "label_err")[20:40]).all()
    )
    right = lux.infer(small_survey.isel(star=slice(0, 60)), small_model)
    good = np.r_[0:20, 40:60]
    np.testing.assert_allclose(
        filled(plan, "label_value")[good], right["label_value"].values[good], rtol=1e-4
    )
    assert (filled(plan, "flags")[good] & flags.BIT["unreadable"] == 0).all()


def test_a_chunk_cut_short(plan):
    os.truncate(chunk_file(plan, "flux", 2), 100)
    (bad,) = region.run_region(plan, plan.regions[0]).unreadable
    assert bad[:2] == (40, 60)


def test_a_missing_chunk_is_not_taken_for_fill_values(plan):
    chunk_file(plan, "flux_ivar", 0).unlink()
    (bad,) = region.run_region(plan, plan.regions[0]).unreadable
    assert bad == (0, 20, "'flux_ivar': FileNotFoundError: chunk 'flux_ivar/c/0/0' is missing")
    assert filled(plan, "status")[:60].tolist() == [2] * 20 + [1] * 40


@pytest.mark.parametrize("n_chunks", [1, 3])
def test_a_chunk_that_is_away_for_a_moment_is_not_taken_for_fill_values(
    plan, monkeypatch, n_chunks
):
    there, asked = chunks._require_chunk, []
    one = dataclasses.replace(
        plan.regions[0], start=0 if n_chunks == 3 else 20, stop=60 if n_chunks == 3 else 40
    )

    def away_once(key, found):
        asked.append(key)
        return there(key, None if "flux/c/1" in key and asked.count(key) == 1 else found)

    monkeypatch.setattr(chunks, "_require_chunk", away_once)
    assert region.run_region(plan, one).unreadable == ()  # read again, chunk by chunk
    assert any("flux/c/1" in key for key in asked)
    assert np.isfinite(filled(plan, "label_value")[one.start : one.stop]).all()
    assert (filled(plan, "n_pixels")[one.start : one.stop] > 0).all()


def test_a_survey_that_is_away_is_an_outage(plan):
    region.run_region(plan, plan.regions[0])
    Path(plan.survey).rename(Path(plan.survey).with_name("away"))
    with pytest.raises(FileNotFoundError, match="is not there for now"):
        region.run_region(plan, plan.regions[0])


def test_mended_it_is_pending_and_done(plan):
    data = chunk_file(plan, "flux", 1).read_bytes()
    chunk_file(plan, "flux", 1).unlink()
    for each in plan.regions:
        region.run_region(plan, each)
    chunk_file(plan, "flux", 1).write_bytes(data)
    (again,) = Catalogue(plan).list_pending()
    assert again.index == 0 and region.run_region(plan, again).unreadable == ()
    assert (filled(plan, "status") == 1).all() and np.isfinite(filled(plan, "label_value")).all()


@pytest.mark.parametrize(
    "error", [PermissionError, ConnectionResetError, TimeoutError, MemoryError]
)
def test_an_outage_is_no_damage(plan, monkeypatch, error):
    def fails(*args):
        raise error("for now")

    monkeypatch.setattr(chunks, "_require_chunk", fails)
    with pytest.raises(error, match="for now"):
        region.run_region(plan, plan.regions[0])
    assert (filled(plan, "status") == 0).all()


def test_what_cannot_be_written_is_not_done(plan, monkeypatch):
    write = zarr.Array.__setitem__

    def full(array, *item):
        if array.name == "/chi2":
            raise OSError(errno.ENOSPC, "No space left on device")
        write(array, *item)

    monkeypatch.setattr(zarr.Array, "__setitem__", full)
    with pytest.raises(CannotWrite, match=r"c.zarr: cannot be written \(No space left on device\)"):
        region.run_region(plan, plan.regions[0])
    assert (filled(plan, "status") == 0).all()


def test_status_is_written_last(plan, monkeypatch):
    write, names = zarr.Array.__setitem__, []
    monkeypatch.setattr(
        zarr.Array, "__setitem__", lambda a, *item: (names.append(a.name), write(a, *item))
    )
    region.run_region(plan, plan.regions[0])
    assert names[-1] == "/status" and names.count("/status") == 1 and "/label_value" in names


def test_another_model_meanwhile(plan, small_model):
    dataclasses.replace(small_model, limits=(1.0, 1.0)).save(plan.model, overwrite=True)
    planning._load_model.cache_clear()
    region.open_workplace.cache_clear()
    with pytest.raises(InputError, match=r"m.zarr: the model changed while the run was under way"):
        region.run_region(plan, plan.regions[0])


def test_a_survey_that_is_away_for_a_while_is_no_damage(plan):
    region.run_region(plan, plan.regions[0])
    survey = Path(plan.survey)
    away = survey.rename(survey.with_suffix(".away"))
    with pytest.raises(FileNotFoundError, match=r"s.zarr: is not there for now"):
        region.run_region(plan, plan.regions[1])
    assert filled(plan, "status").tolist() == [1] * 60 + [0] * 60
    away.rename(survey)
    assert region.run_region(plan, plan.regions[1]).unreadable == ()


def test_a_process_that_is_warm_has_the_model_and_has_labelled(begun, monkeypatch):
    planning._load_model.cache_clear()
    labelled = []
    infer = Inference.infer
    monkeypatch.setattr(Inference, "infer", lambda *given: labelled.append(infer(*given)))
    region.warm_up(str(begun / "s.zarr"), str(begun / "m.zarr"), ("flux",), False)
    (found,) = labelled
    assert np.isfinite(found["label_value"]).all() and len(found["label_value"]) == N_STARS
    plan_in(begun).load_model()
    assert planning._load_model.cache_info().misses == 1


def test_what_keeps_a_process_from_warming_up_the_plan_says(begun):
    region.warm_up(str(begun / "s.zarr"), str(begun / "none.zarr"), ("flux",), False)
    with pytest.raises(InputError, match="none.zarr: no Zarr group there"):
        make_plan(begun / "s.zarr", begun / "none.zarr", begun / "c.zarr")
