import contextlib
import csv
import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from click.testing import CliRunner
from fitsfiles import SPEC

from luxscale import store
from luxscale.cli import main
from luxscale.cli.workplace import Cluster
from luxscale.cluster import local_cluster
from luxscale.errors import InputError, NoUsableFile, RunError
from luxscale.info.describe import describe
from luxscale.info.survey import quarantine
from luxscale.ingest import find_files, ingest, ledger, make_grid, make_target, run
from luxscale.ingest.batch import run_batch
from luxscale.ingest.part import Part
from luxscale.ingest.plan import Batch, Session, choose_batch_size, compute_grid_checksum
from luxscale.labels import LabelTable
from luxscale.prepare import default_recipe, prepare
from luxscale.readers import FORMATS, get_format
from luxscale.runs.target import open_target
from luxscale.store.lock import hold_lock

APSTAR = get_format("apstar")


def write_apstar(path: Path, name: str, *, seed: int = 0, snr: float = 100.0) -> Path:
    """Write a small but whole apStar file of a star that nobody has seen."""
    from astropy.io import fits

    rng = np.random.default_rng(seed)
    x = np.linspace(-1, 1, APSTAR.grid.size)
    flux = 1000 * (1 + 0.2 * x) * (1 - 0.3 * np.exp(-(((x - rng.uniform(-0.9, 0.9)) / 0.01) ** 2)))
    error = flux / snr
    mask = np.zeros(flux.shape, np.int16)
    mask[rng.integers(0, flux.size, 40)] = 1
    hdus = [fits.PrimaryHDU()]
    hdus[0].header.update({"OBJID": name, "SNR": snr, "RA": 10.0, "DEC": 20.0, "NVISITS": 1})
    hdus += [
        fits.ImageHDU(a)
        for a in (
            (flux + error * rng.normal(size=flux.size)).astype("f4"),
            error.astype("f4"),
            mask,
        )
    ]
    hdus[1].header.update({"CRVAL1": 4.179, "CDELT1": 6e-6, "CTYPE1": "LOG-LINEAR"})
    path.parent.mkdir(parents=True, exist_ok=True)
    fits.HDUList(hdus).writeto(path, overwrite=True)
    return path


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    for i in range(20):
        write_apstar(folder / f"{i // 8}" / f"apStar-{i:02d}.fits", f"2M{i:04d}", seed=i)
    return folder


@pytest.fixture(scope="module")
def undisturbed(files, tmp_path_factory):
    """The survey of all the files, made at once."""
    out = tmp_path_factory.mktemp("undisturbed") / "s.zarr"
    ingest("apstar", found(files), out, chunk=8, progress=False)
    return out


def found(folder):
    return find_files([folder], APSTAR)


def read_again(path):
    """What a survey should hold of a file, by the parts that have tests of their own."""
    (spectra,) = APSTAR.read(path)
    return prepare(spectra, APSTAR, default_recipe(APSTAR), APSTAR.grid)


def same(one, other):
    """Whether two surveys are alike, bit for bit, but for the place of their files."""
    first, second = (store.open_dataset(p).load() for p in (one, other))
    xr.testing.assert_identical(first.drop_attrs(), second.drop_attrs())
    return True


def test_every_file_becomes_a_star_in_the_order_of_the_files(files, tmp_path):
    out = tmp_path / "s.zarr"
    made = ingest("apstar", found(files), out, chunk=8, progress=False)
    assert (made.n_stars, made.n_files, made.n_spectra, made.quarantined) == (20, 20, 20, [])
    survey = store.open_survey(out, check="all").load()
    assert survey.star.values.tolist() == [f"2M{i:04d}" for i in range(20)]
    assert survey.flux.encoding["chunks"] == (8, 8575)
    for i, path in enumerate(survey.source_file.values):
        expected = read_again(path)
        np.testing.assert_array_equal(survey.flux[i], expected.flux[0])
        np.testing.assert_array_equal(survey.flux_ivar[i], expected.flux_ivar[0])
    assert sum(made.masked.values()) == int((survey.flux_ivar == 0).sum())
    assert made.masked["BADPIX"] == 798  # of 800 that were marked, two twice
    assert survey.wavelength.attrs == {"units": "Angstrom", "medium": "vacuum"}
    np.testing.assert_allclose(survey.snr, 100)


def test_bad_files_stop_nothing_and_are_put_down_with_their_reasons(files, tmp_path):
    good = found(files)[:3]
    bad = {
        "junk.fits": (b"hello", "not a FITS file"),
        "empty.fits": (b"", "empty"),
        "cut.fits": (Path(good[0]).read_bytes()[:30_000], "truncated"),
    }
    for name, (content, _) in bad.items():
        (tmp_path / name).write_bytes(content)
    reasons = {str(tmp_path / n): reason for n, (_, reason) in bad.items()} | {
        str(tmp_path / "none.fits"): "no such file"
    }
    made = ingest("apstar", [*good, *reasons], tmp_path / "s.zarr", progress=False)
    assert (made.n_stars, made.n_files) == (3, 7)
    assert {p for p, _, _ in made.quarantined} == set(reasons)
    for path, star, reason in made.quarantined:
        assert star == "" and reasons[path] in reason
    again = ingest("apstar", [*good, *reasons], tmp_path / "s.zarr", progress=False)
    assert (again.n_stars, again.n_new, again.n_files, again.quarantined) == (3, 0, 0, [])


def spoil(path, how):
    """Make a good file bad in one way."""
    from astropy.io import fits

    raw = path.read_bytes()
    whole = {"empty": b"", "text": b"no file of that kind", "cut": raw[: len(raw) // 2]}
    if how in whole:
        path.write_bytes(whole[how])
        return
    with fits.open(path) as opened:
        hdus = fits.HDUList([h.copy() for h in opened])
    if how == "no spectra":
        hdus = fits.HDUList([hdus[0], *(fits.ImageHDU() for _ in range(3))])
    elif how == "another format":
        hdus = fits.HDUList(
            [hdus[0], fits.BinTableHDU.from_columns([fits.Column("flux", "E", array=np.ones(9))])]
        )
    elif how == "no grid":
        del hdus[1].header["CRVAL1"]
    elif how == "another grid":
        hdus[1].header["CRVAL1"] = 3.6
    elif how == "nan":
        hdus[1].data = np.full_like(hdus[1].data, np.nan)
    elif how == "masked":
        hdus[3].data = np.full_like(hdus[3].data, 1)
    else:
        del hdus[0].header["OBJID"]
    hdus.writeto(path, overwrite=True)


def test_each_way_a_file_can_be_bad_has_its_reason(tmp_path):
    reasons = {
        "empty": "empty",
        "text": "not a FITS file",
        "cut": "truncated",
        "no spectra": "HDU",
        "another format": "HDU",
        "no grid": "grid",
        "another grid": "range",
        "nan": "pixel",
        "masked": "pixel",
        "nameless": "OBJID",
    }
    good = write_apstar(tmp_path / "good.fits", "2M0001")
    for i, how in enumerate(reasons):
        spoil(write_apstar(tmp_path / f"{how}.fits", f"2M1{i:03d}"), how)
    made = ingest(
        "apstar",
        [good, *(tmp_path / f"{how}.fits" for how in reasons)],
        tmp_path / "s.zarr",
        progress=False,
    )
    said = {Path(path).stem: why for path, _, why in made.quarantined}
    assert made.n_stars == 1 and said.keys() == reasons.keys()
    assert {how: why for how, why in said.items() if reasons[how] not in why} == {}
    assert made.n_spectra == made.n_new + sum(star != "" for _, star, _ in made.quarantined)


def test_of_a_star_read_twice_the_spectrum_of_higher_snr_stays(tmp_path):
    paths = [
        write_apstar(tmp_path / f"{i}.fits", "2M0001", snr=snr, seed=i)
        for i, snr in enumerate((50, 200, 200))
    ]
    other = write_apstar(tmp_path / "3.fits", "2M0002")
    made = ingest("apstar", [*paths, other], tmp_path / "s.zarr", progress=False)
    survey = store.open_survey(tmp_path / "s.zarr")
    assert survey.source_file.values.tolist() == [str(paths[1]), str(other)]
    assert [(p, s) for p, s, _ in made.quarantined] == [
        (str(paths[0]), "2M0001"),
        (str(paths[2]), "2M0001"),
    ]
    assert all(str(paths[1]) in reason for _, _, reason in made.quarantined)
    assert made.n_spectra == made.n_new + len(made.quarantined)


@pytest.mark.slow
def test_duplicates_of_one_batch_are_told_apart(tmp_path):
    paths = [
        write_apstar(tmp_path / f"{i:02d}.fits", f"2M{i // 2:04d}", seed=i, snr=50 + i)
        for i in range(34)
    ]
    made = ingest("apstar", paths, tmp_path / "s.zarr", progress=False)
    assert made.n_stars == 17 and [p for p, _, _ in made.quarantined] == list(map(str, paths[::2]))


def test_files_are_added_later_without_a_change_to_whole_chunks(files, undisturbed, tmp_path):
    paths, out = found(files), tmp_path / "s.zarr"
    ingest("apstar", paths[:13], out, chunk=8, progress=False)
    whole = out / "flux" / "c" / "0" / "0"
    before = (whole.stat().st_mtime_ns, whole.read_bytes())
    made = ingest("apstar", paths, out, chunk=8, progress=False)
    assert (made.n_new, made.n_stars, made.n_files) == (7, 20, 7)
    assert (whole.stat().st_mtime_ns, whole.read_bytes()) == before
    assert same(out, undisturbed)


@pytest.mark.slow
def test_only_files_that_are_new_count_for_the_choice_of_workers(files, tmp_path):
    paths, out = list(map(str, found(files))), tmp_path / "s.zarr"
    ingest("apstar", paths[:-1], out, progress=False)
    target = make_target("apstar", paths, out)
    with open_target(target, progress=False) as opened:
        assert target.list_files_to_read(opened.pending) == paths[-1:]


@pytest.mark.slow
def test_text_that_later_files_have_not_is_empty_for_their_stars(tmp_path):
    from astropy.io import fits

    later = tmp_path / "spec-3586-55181-0501.fits"
    with fits.open(SPEC, memmap=False) as hdus:
        kept = [column for column in hdus[2].columns if column.name != "SPECOBJID"]
        about = fits.BinTableHDU.from_columns(fits.ColDefs(kept), name=hdus[2].name)
        about.data["FIBERID"] = 501
        fits.HDUList([*hdus[:2], about]).writeto(later)
    out = tmp_path / "s.zarr"
    ingest("spec", [SPEC], out, progress=False)
    assert ingest("spec", [SPEC, later], out, progress=False).n_stars == 2
    survey = store.open_survey(out)
    assert survey["catalog_id"].values.tolist() == ["4037614591814901760", ""]


def test_a_star_that_is_there_stays_as_it_is(files, tmp_path):
    path, out = found(files)[0], tmp_path / "s.zarr"
    ingest("apstar", [path], out, progress=False)
    twin = write_apstar(tmp_path / "twin.fits", "2M0000", snr=1000)
    made = ingest("apstar", [path, twin], out, progress=False)
    assert (made.n_stars, made.n_new) == (1, 0)
    assert made.quarantined == [
        (str(twin), "2M0000", f"duplicate: the survey has the star from {path}")
    ]


def test_files_that_were_mended_are_read_when_asked_for(files, tmp_path):
    good, late = found(files)[0], tmp_path / "late.fits"
    ingest("apstar", [good, late], tmp_path / "s.zarr", progress=False)
    write_apstar(late, "2M7777")
    assert ingest("apstar", [good, late], tmp_path / "s.zarr", progress=False).n_new == 0
    assert (
        ingest("apstar", [good, late], tmp_path / "s.zarr", retry=True, progress=False).n_stars == 2
    )
    assert (
        ingest("apstar", [good, late], tmp_path / "s.zarr", retry=True, progress=False).n_files == 0
    )
    assert describe(tmp_path / "s.zarr")["ingest"]["files"] == {
        "all": 2,
        "read": 2,
        "quarantined": 0,
    }
    assert quarantine(tmp_path / "s.zarr") == []


#: Moments between those of a batch and of a piece, and after both.
MORE_MOMENTS = [pytest.param(name, marks=pytest.mark.slow) for name in ("layout", "end")]


@pytest.mark.parametrize("stopped", ["batch", "piece", *MORE_MOMENTS])
def test_a_run_that_was_stopped_goes_on(files, undisturbed, tmp_path, monkeypatch, stopped):
    class Stop(BaseException):
        pass

    paths, out = found(files), tmp_path / "s.zarr"
    target = {
        "batch": (run, "run_batch"),
        "layout": (run.pack, "write_layout"),
        "piece": (run.pack, "run_piece"),
        "end": (run.ledger, "end_session"),
    }[stopped]
    real, calls = getattr(*target), []

    def stop(*args):
        calls.append(args)
        if len(calls) == 2 or stopped in ("layout", "end"):
            raise Stop
        return real(*args)

    with monkeypatch.context() as patched:
        patched.setattr(*target, stop)
        with pytest.raises(Stop):
            ingest("apstar", paths, out, chunk=8, progress=False)
    with pytest.raises(InputError, match="luxscale ingest"):
        store.open_survey(out)
    read = []
    monkeypatch.setattr(run, "run_batch", lambda s, b: read.append(b) or run_batch(s, b))
    made = ingest("apstar", paths, out, chunk=8, progress=False)
    assert made.n_new == 20
    assert len(read) == {"batch": 9}.get(stopped, 0)  # of ten batches one was done
    assert same(out, undisturbed)


def test_other_settings_are_refused_and_named(files, tmp_path):
    paths = found(files)[:2]
    ingest("apstar", paths, tmp_path / "s.zarr", progress=False)
    with pytest.raises(InputError, match=r"recipe.continuum was 'chebyshev', is 'sines' now"):
        ingest("apstar", paths, tmp_path / "s.zarr", recipe={"continuum": "sines"}, progress=False)
    with pytest.raises(
        InputError, match="another wavelength grid, 8,575 pixels from 15100.8 to 16999.8"
    ):
        ingest(
            "apstar", paths, tmp_path / "s.zarr", grid=make_grid(15200, 16000, 1), progress=False
        )


def test_what_no_files_made_is_left_alone(files, tmp_path, small_survey):
    store.write_dataset(small_survey, tmp_path / "s.zarr")
    with pytest.raises(InputError, match="not a survey made by `luxscale ingest`"):
        ingest("apstar", found(files)[:1], tmp_path / "s.zarr", progress=False)


def test_files_of_another_format_are_said_and_the_right_one_works_after(files, tmp_path):
    paths, out = found(files)[:2], tmp_path / "s.zarr"
    with pytest.raises(NoUsableFile, match="Is the format right") as raised:
        ingest("aspcapstar", paths, out, progress=False)
    assert [path for path, _, _ in raised.value.quarantined] == list(map(str, paths))
    assert all(f"{path}: {why}" in str(raised.value) for path, _, why in raised.value.quarantined)
    assert pickle.loads(pickle.dumps(raised.value)).quarantined == raised.value.quarantined
    assert list(tmp_path.iterdir()) == []
    assert ingest("apstar", paths, out, progress=False).n_stars == 2


def test_why_no_grid_can_be_taken_from_a_file_is_said(tmp_path):
    np.savez(tmp_path / "a.npz", flux=np.ones((2, 9)), lam=np.arange(1.0, 10))
    with pytest.raises(InputError, match=r"a\.npz: no array 'ivar'; there are: flux, lam"):
        ingest("arrays", [tmp_path / "a.npz"], tmp_path / "s.zarr", progress=False)


def test_labels_are_joined_by_identifier_and_anew(files, tmp_path):
    paths, out = found(files), tmp_path / "s.zarr"
    table = LabelTable(
        key=np.array(["2M0003", "nobody", "2M0001"], object),
        label=("teff", "fe_h"),
        units=("K", "dex"),
        value=np.array([[4000.0, np.nan], [1, 1], [5000, -1]]),
        err=np.array([[50.0, np.nan], [1, 1], [60, 0.1]]),
        columns={},
        counts={},
    )
    ingest("apstar", paths[:5], out, chunk=2, progress=False)
    made = ingest("apstar", paths[:5], out, chunk=2, labels=table, progress=False)
    assert (made.n_new, made.n_labelled) == (0, 2)
    survey = store.open_survey(out, check="all")
    assert survey.label_units.values.tolist() == ["K", "dex"]
    np.testing.assert_array_equal(
        survey.label_value.sel(label="teff"), [np.nan, 5000, np.nan, 4000, np.nan]
    )
    np.testing.assert_array_equal(
        survey.label_err.sel(label="fe_h"), [np.nan, 0.1, np.nan, np.nan, np.nan]
    )
    ingest("apstar", paths[:7], out, chunk=2, progress=False)
    grown = store.open_survey(out, check="all")
    assert grown.label_value.shape == (7, 2) and np.isnan(grown.label_value[5:]).all()
    assert grown.label_value[1, 0] == 5000


@pytest.mark.slow
def test_workers_make_the_same_survey(files, tmp_path):
    paths = found(files)
    ingest("apstar", paths, tmp_path / "alone.zarr", chunk=8, progress=False)
    with local_cluster(2) as client:
        made = ingest(
            "apstar", paths, tmp_path / "shared.zarr", chunk=8, client=client, progress=False
        )
    assert made.n_stars == 20
    assert same(tmp_path / "alone.zarr", tmp_path / "shared.zarr")


def test_two_runs_into_one_survey_at_a_time_are_refused(files, tmp_path):
    from luxscale.store import lock

    with lock.hold_lock(str(tmp_path / "s.zarr")), pytest.raises(InputError, match="another run"):
        ingest("apstar", found(files)[:1], tmp_path / "s.zarr", progress=False)


def test_files_are_found_by_name_pattern_list_and_directory(files, tmp_path):
    listed = tmp_path / "list.txt"
    listed.write_text("# two files\n" + "\n".join(found(files)[:2]) + "\n\n")
    assert find_files([], APSTAR, listed=listed) == found(files)[:2]
    assert find_files([f"{files}/**/apStar-0*.fits"], APSTAR) == found(files)[:10]
    assert find_files([files, found(files)[0]], APSTAR) == found(files)
    for paths, message in (
        ([tmp_path], "no file in it"),
        ([f"{tmp_path}/*.fits"], "matches no file"),
        ([], "no files given"),
    ):
        with pytest.raises(InputError, match=message):
            find_files(paths, APSTAR)


def test_a_star_with_a_file_a_camera_is_found_once(tmp_path):
    for ending in ("", ".gz", ".BZ2"):
        folder = tmp_path / f"with{ending}"
        folder.mkdir()
        for camera in "234":
            (folder / f"131216001101001{camera}.fits{ending}").touch()
    for ending in ("", ".gz"):
        found = find_files([tmp_path / f"with{ending}"], get_format("galah-dr3"))
        assert found == (str(tmp_path / f"with{ending}" / f"1312160011010012.fits{ending}"),)
    assert find_files([tmp_path / "with.BZ2"], get_format("galah-dr3"))


def test_every_format_says_how_its_files_are_named():
    for fmt in FORMATS.values():
        assert fmt.many or fmt.pattern != ("*",), fmt.name


def test_batches_are_shared_out_and_every_file_is_in_one():
    assert choose_batch_size(20_000, 1024, many=False) == 1024
    assert choose_batch_size(100, 1024, many=False) == 7
    assert choose_batch_size(100, 1024, many=True) == 1
    session = Session(plan=None, number=0, n_files=100, batch_files=7, first=0)
    assert [(b.start, b.stop) for b in session.batches] == [
        (a, min(a + 7, 100)) for a in range(0, 100, 7)
    ]


def test_grids_are_built_from_whole_numbers():
    np.testing.assert_allclose(make_grid(336, 1020, 2), 336 + 2 * np.arange(343), rtol=0)
    assert make_grid(336, 1020, 2).dtype == np.float64
    log = make_grid(10**3.5523, 10 ** (3.5523 + 4647e-4), 1e-4, log=True)
    np.testing.assert_allclose(log, 10 ** (3.5523 + 1e-4 * np.arange(4648)), rtol=1e-14)
    with pytest.raises(InputError, match="least:greatest:step"):
        make_grid(10, 5, 1)


def test_the_command_accounts_for_every_file(files, tmp_path):
    out, table = tmp_path / "s.zarr", tmp_path / "q.csv"
    (tmp_path / "junk.fits").write_bytes(b"junk")
    arguments = [
        "ingest",
        "apstar",
        str(files),
        str(tmp_path / "junk.fits"),
        "--out",
        str(out),
        "--workers",
        "0",
    ]
    done = CliRunner().invoke(main, [*arguments, "--quarantine", str(table), "--quiet"])
    assert done.exit_code == 0, done.output
    assert "files   21 = 20 read + 1 quarantined" in done.output
    assert "spectra 20 = 20 kept + 0 quarantined" in done.output
    assert "junk.fits: not a FITS file" in done.output
    assert list(csv.reader(table.read_text().splitlines()))[1:] == [
        [str(tmp_path / "junk.fits"), "", "not a FITS file"]
    ]
    listed = table.read_text()
    again = CliRunner().invoke(main, [*arguments, "--json", "--quiet", "--quarantine", str(table)])
    assert json.loads(again.output)["n_new"] == 0
    assert table.read_text() == listed
    mine = tmp_path / "mine.csv"
    mine.write_text("name,mass\n")
    refused = CliRunner().invoke(main, [*arguments, "--quarantine", str(mine)])
    assert refused.exit_code == 1 and "other than a quarantine list is there" in refused.output
    for wrong in (
        ["--option", "rows"],
        ["--grid", "1:2"],
        ["--chip", "3"],
        ["--continuum", "guess"],
    ):
        assert CliRunner().invoke(main, [*arguments, *wrong]).exit_code == 2
    for idle in (
        ["--label", "teff"],
        ["--labels-format", "table"],
        ["--labels-setting", "floor.teff=30"],
    ):
        refused = CliRunner().invoke(main, [*arguments, *idle])
        assert (
            refused.exit_code == 2
            and f"{idle[0]} is about a catalogue; name it with --labels" in refused.output
        )
    failed = CliRunner().invoke(main, [*arguments, "--option", "rows=none"])
    assert failed.exit_code == 1 and "coadd, visits" in failed.output


@pytest.mark.slow
def test_a_refused_ingest_starts_no_workers(files, tmp_path, monkeypatch):
    out, starts = tmp_path / "s.zarr", []

    def start(cluster, progress):
        starts.append(cluster.workers)
        return contextlib.nullcontext()  # no client: work is done in this process

    monkeypatch.setattr(Cluster, "_start", start)
    arguments = ["ingest", "apstar", str(files), "--out", str(out), "--workers", "2"]
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 0 and starts == [2], done.output
    refused = CliRunner().invoke(main, [*arguments, "--continuum", "sines"])
    assert refused.exit_code == 1 and "read with other settings" in refused.output
    with hold_lock(str(out)):
        refused = CliRunner().invoke(main, arguments)
    assert refused.exit_code == 1 and "another run" in refused.output, refused.output
    assert starts == [2]


def test_the_formats_are_listed():
    done = CliRunner().invoke(main, ["formats"])
    assert done.exit_code == 0 and "rows=coadd|visits" in done.output and "BADPIX*" in done.output
    assert {
        f["name"]
        for f in json.loads(CliRunner().invoke(main, ["formats", "--json"]).output)["formats"]
    } >= {"apstar"}


def test_a_full_disk_is_said_and_the_run_goes_on_after(files, tmp_path, monkeypatch):
    paths, out = found(files), tmp_path / "s.zarr"

    def full(self, chunk, *, rest=False):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(Part, "flush", full)
        with pytest.raises(RunError, match="No space left"):
            ingest("apstar", paths, out, progress=False)
    assert ingest("apstar", paths, out, progress=False).n_stars == 20


@pytest.mark.slow
@pytest.mark.once
def test_kills_at_random_moments_change_nothing(files, tmp_path):
    command = [sys.executable, "-c", "from luxscale.cli import main; main()", "ingest", "apstar"]
    command += [str(files), "--chunk", "4", "--workers", "0", "--quiet", "--out"]
    undisturbed, out = tmp_path / "undisturbed.zarr", tmp_path / "s.zarr"
    started = time.monotonic()
    subprocess.run([*command, str(undisturbed)], stdout=subprocess.DEVNULL, check=True)
    seconds = time.monotonic() - started
    rng, kills = np.random.default_rng(0), 0
    while kills < 4:
        process = subprocess.Popen([*command, str(out)], stdout=subprocess.DEVNULL)
        try:
            assert process.wait(seconds * rng.uniform(0.4, 1)) == 0
            shutil.rmtree(out)  # it has ended: from the beginning
        except subprocess.TimeoutExpired:
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
            kills += 1
    ingest("apstar", found(files), out, chunk=4, progress=False)
    assert same(out, undisturbed)
    assert not (out / "ingest" / "0" / "parts").exists()


@pytest.mark.slow
@pytest.mark.once
def test_workers_that_are_killed_change_nothing(files, tmp_path):
    paths, out = found(files), tmp_path / "s.zarr"
    ingest("apstar", paths, tmp_path / "undisturbed.zarr", chunk=4, progress=False)
    with local_cluster(2) as client:
        ended, killed = threading.Event(), []

        def kill():
            while not ended.wait(3.7):  # a worker takes three seconds to come back
                pid = next(iter(client.run(os.getpid, on_error="ignore").values()), None)
                if pid is not None:
                    os.kill(pid, signal.SIGKILL)
                    killed.append(pid)

        killer = threading.Thread(target=kill)
        killer.start()
        try:
            while len(killed) < 5:
                shutil.rmtree(out, ignore_errors=True)
                ingest("apstar", paths, out, chunk=4, client=client, progress=False)
        finally:
            ended.set()
            killer.join()
    assert same(out, tmp_path / "undisturbed.zarr")


def test_a_batch_can_be_read_alone(files, tmp_path):
    paths, out = found(files), tmp_path / "s.zarr"
    ingest("apstar", paths[:1], out, progress=False)
    plan = run.Plan(
        survey=str(out),
        format="apstar",
        options=(("rows", "coadd"),),
        recipe=default_recipe(APSTAR),
        chunk=1024,
        grid=compute_grid_checksum(APSTAR.grid),
    )
    session = ledger.begin_session(plan, 1, paths[1:5], 1)
    done = run_batch(session, Batch(0, 0, 1))
    assert (done.files, done.stars, done.refused) == (1, 1, 0)
    assert [b.index for b in ledger.list_pending(session)] == [1, 2, 3]
