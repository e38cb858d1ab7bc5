"""Nothing is written over what is not to be replaced; what is written appears complete."""

import errno
import functools
import os
import types
from pathlib import Path

import numpy as np
import pytest
import zarr
from matplotlib.figure import Figure

from luxscale.errors import CannotWrite, InputError
from luxscale.store import moves, open_survey, write_dataset
from luxscale.store.atomic import (
    claim_figure,
    claim_figure_in,
    claim_file,
    claim_place,
    is_store,
    read_attributes,
    save_figure,
    write_then_move,
)


@pytest.fixture
def path(small_survey, tmp_path):
    write_dataset(small_survey, tmp_path / "survey.zarr", chunk=100)
    return tmp_path / "survey.zarr"


def make_array(path):
    zarr.save_array(path, np.arange(3))


def make_directory(path):
    path.mkdir()
    (path / "notes.txt").write_text("hello")


def make_file(path):
    path.write_text("hello")


def test_attributes(path, tmp_path, small_survey):
    assert read_attributes(path) == {"format": "luxscale-survey"}
    assert read_attributes(tmp_path / "nothing") is None
    (tmp_path / "empty").mkdir()
    assert read_attributes(tmp_path / "empty") is None
    write_dataset(small_survey.assign_attrs(format="x", n=3), tmp_path / "x.zarr")
    path = tmp_path / "x.zarr"
    assert read_attributes(path) == {"format": "x", "n": 3}


def test_claim(path, small_survey, tmp_path):
    claim_place(tmp_path / "nothing", "luxscale-catalog")
    with pytest.raises(
        InputError,
        match=r"survey.zarr is a survey, not a catalogue; choose another",
    ):
        claim_place(path, "luxscale-catalog", overwrite=True)
    with pytest.raises(
        InputError,
        match=r"survey.zarr: a survey is there already; .* overwrite=True .*--overwrite",
    ):
        claim_place(path, "luxscale-survey")
    claim_place(path, "luxscale-survey", overwrite=True)
    assert open_survey(path).sizes["star"] == 300  # claiming removes nothing


def test_claim_never_takes_a_zarr_store_that_is_not_marked(tmp_path):
    zarr.open_group(tmp_path / "a.zarr", mode="w").create_array("x", data=np.arange(3))
    with pytest.raises(InputError, match=r"a.zarr: a Zarr store that luxscale did not mark as its"):
        claim_place(tmp_path / "a.zarr", "luxscale-survey", overwrite=True)


def test_claim_of_a_place_that_cannot_be_written(tmp_path, monkeypatch):
    (tmp_path / "locked").mkdir()
    # the superuser may write anywhere, so that modes of folders show nothing
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path).name != "locked")
    for claim in (functools.partial(claim_place, kind="luxscale-survey"), claim_figure):
        with pytest.raises(InputError, match=r"locked cannot be written to; choose another path"):
            claim(tmp_path / "locked" / "a.png")


@pytest.mark.parametrize("make", [make_array, make_directory, make_file])
def test_claim_never_takes_what_is_not_zarr(tmp_path, make):
    make(tmp_path / "a.zarr")
    with pytest.raises(
        InputError,
        match=r"a\.zarr: something other than a Zarr group is there; choose another path",
    ):
        claim_place(tmp_path / "a.zarr", "luxscale-model", overwrite=True)


def test_claim_of_a_file(tmp_path):
    place = tmp_path / "a.html"
    claim = functools.partial(claim_file, place, "report", lambda path: path.read_text() == "old")
    assert claim() == place
    place.write_text("old")
    with pytest.raises(InputError, match=r"a.html: a report is there already; .* --overwrite"):
        claim()
    assert claim(overwrite=True) == place
    assert place.read_text() == "old"
    place.write_text("mine")
    with pytest.raises(InputError, match=r"a.html: something other than a report is there"):
        claim(overwrite=True)


def test_claim_refuses_urls_and_directories_that_are_not_there(tmp_path):
    with pytest.raises(InputError, match="reports go to local files; write it here and copy it"):
        claim_file("s3://bucket/a.html", "report", Path.is_file)
    with pytest.raises(InputError, match=r"there is no directory .*nowhere; make it first"):
        claim_file(tmp_path / "nowhere" / "a.html", "report", Path.is_file)
    (tmp_path / "file").write_text("mine")
    with pytest.raises(InputError, match=r"file is a file, not a directory; choose another"):
        claim_place(tmp_path / "file" / "a.zarr", "luxscale-survey")


def write_file(path, text):
    path.write_text(text)


def write_folder(path, text):
    path.mkdir()
    (path / "part").write_text(text)


def read(path):
    return (path / "part").read_text() if path.is_dir() else path.read_text()


@pytest.mark.parametrize("write", [write_file, write_folder])
@pytest.mark.parametrize("before", [None, write_file, write_folder])
def test_what_is_written_appears_when_it_is_complete(tmp_path, write, before):
    target = tmp_path / "target"
    if before:
        before(target, "old")
    with write_then_move(target) as made:
        write(made, "new")
        assert made.parent.parent == tmp_path
        assert target.exists() == bool(before)
        assert not before or read(target) == "old"
    assert read(target) == "new"
    assert list(tmp_path.iterdir()) == [target]


def write_half(write, target):
    with write_then_move(target) as made:
        write(made, "half")
        raise ZeroDivisionError


@pytest.mark.parametrize("write", [write_file, write_folder])
def test_what_fails_leaves_all_as_it_was(tmp_path, write):
    target = tmp_path / "target"
    write(target, "old")
    with pytest.raises(ZeroDivisionError):
        write_half(write, target)
    assert read(target) == "old"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("args", [(errno.ENOSPC, "No space left"), ("9 requested and 4 written",)])
def test_a_full_disk_names_what_was_being_written(tmp_path, monkeypatch, args):
    monkeypatch.setattr("shutil.disk_usage", lambda place: types.SimpleNamespace(free=0))
    full = pytest.raises(CannotWrite, match=r"target: .* \(the disk is full\); make room")
    with full, write_then_move(tmp_path / "target"):
        raise OSError(*args)
    assert not any(tmp_path.iterdir())


def test_other_errors_of_writing_stay_what_they_are(tmp_path):
    with pytest.raises(OSError, match="damaged"), write_then_move(tmp_path / "target"):
        raise OSError("a damaged chunk")


def test_a_move_that_fails_leaves_what_was_there(tmp_path, monkeypatch):
    write_folder(tmp_path / "a", "old")
    move = os.replace

    def fail(source, target):
        if Path(target).name == "a" and Path(source).name == "new":
            raise OSError("no")
        move(source, target)

    monkeypatch.setattr(os, "replace", fail)
    monkeypatch.setattr(moves, "_exchange", lambda first, second: False)
    with pytest.raises(OSError, match="no"), write_then_move(tmp_path / "a") as made:
        write_folder(made, "new")
    assert (tmp_path / "a" / "part").read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def test_what_somebody_else_wrote_meanwhile_is_left_alone(tmp_path):
    def write():
        with write_then_move(tmp_path / "a") as made:
            write_file(made, "mine")
            write_file(tmp_path / "a", "theirs")

    with pytest.raises(InputError, match="made by somebody else meanwhile"):
        write()
    assert (tmp_path / "a").read_text() == "theirs"


@pytest.mark.parametrize("name", ["dr3.h5.partial", "notes.txt"])
def test_files_beside_an_empty_group_are_not_nothing(tmp_path, name):
    place = tmp_path / "a.zarr"
    zarr.open_group(place, mode="w")
    (place / name).write_text("mine")
    with pytest.raises(InputError, match="did not mark as"):
        claim_place(place, "luxscale-survey", overwrite=True)
    (place / "zarr.json").unlink()
    with pytest.raises(InputError, match="something other than a Zarr group is there"):
        claim_place(place, "luxscale-survey", overwrite=True)


def test_a_text_that_ends_like_a_figure_is_none(tmp_path):
    (tmp_path / "thesis.pdf").write_text("mine")
    with pytest.raises(InputError, match="something other than a figure is there"):
        claim_figure(tmp_path / "thesis.pdf", overwrite=True)


def test_stores_are_told_from_files_and_folders(path, tmp_path):
    (tmp_path / "a.fits").touch()
    zarr.open_group(str(tmp_path / "old.zarr"), mode="w", zarr_format=2)
    assert is_store(path)
    assert is_store(tmp_path / "old.zarr")
    assert is_store("s3://bucket/survey.zarr")
    assert not any(map(is_store, (tmp_path, tmp_path / "a.fits", tmp_path / "none")))


def test_the_directory_of_a_figure_is_made_as_it_is_drawn(tmp_path):
    target = claim_figure_in(tmp_path / "new" / "folder", "f.png")
    assert list(tmp_path.iterdir()) == []
    save_figure(Figure(), target)
    with pytest.raises(InputError, match="a figure is there already"):
        claim_figure_in(target.parent, "f.png")
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="file is a file, not a directory"):
        claim_figure_in(tmp_path / "file" / "folder", "f.png")
