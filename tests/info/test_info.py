"""What is said of a store, by kind."""

import json
import shutil

import numpy as np
import pytest
import zarr
from ingest.test_ingest import write_apstar

from luxscale import crossval, store
from luxscale.cli.format import format_facts
from luxscale.errors import InputError, RunError
from luxscale.info import survey as survey_info
from luxscale.info.describe import describe, quarantine
from luxscale.info.survey import make_histogram
from luxscale.ingest import ingest, run


@pytest.fixture(scope="module")
def crossvalidated(_small_survey, tmp_path_factory):
    folder = tmp_path_factory.mktemp("info")
    store.write_dataset(_small_survey.isel(star=slice(0, 120)), folder / "survey.zarr")
    options = {"latent_dims": (2, 4), "folds": 2, "iterations": 3, "stars": slice(10, 110)}
    results = crossval.cross_validate(
        folder / "survey.zarr", folder / "cv.zarr", progress=False, **options
    )
    return folder / "cv.zarr", results.compute()


@pytest.mark.slow
def test_a_cross_validation(crossvalidated):
    path, results = crossvalidated
    facts = describe(path)
    assert json.loads(json.dumps(facts)) == facts
    assert facts["kind"] == "cross-validation" and facts["path"] == str(path)
    assert (facts["latent_dims"], facts["priors"], facts["folds"]) == ([2, 4], [1.0], 2)
    assert facts["method"] == "marginal" and facts["settings"] == {"iterations": 3}
    assert (facts["outputs"], facts["survey_stars"]) == (["label_value", "flux"], "10:110")
    assert (facts["tasks"], facts["done"], facts["pending"]) == (4, 4, 0)
    assert facts["stars"] == results.sizes["star"]
    expected = crossval.scores(results).sel(given="spectra", prior=1).median("fold")
    for score in ("label_chi2", "spectrum_chi2"):
        for p in (2, 4):
            assert facts[score][f"P={p}, prior=1"] == pytest.approx(
                float(expected[score].sel(latent_dim=p)), abs=1e-4
            )
    assert facts["chosen"] == crossval.describe_setting(crossval.choose(results).setting)


@pytest.mark.slow
def test_a_cross_validation_under_way(crossvalidated, tmp_path):
    path = tmp_path / "cv.zarr"
    shutil.copytree(crossvalidated[0], path)
    group = zarr.open_group(path, mode="r+")
    setting = (("latent_dim", 4), ("prior", 1.0))
    shutil.rmtree(path / crossval.Task(setting, 1).group)
    group[crossval.Task(setting, 0).group].attrs["status"] = 0
    group.attrs["complete"] = 0
    facts = describe(path)
    assert (facts["tasks"], facts["done"], facts["pending"]) == (4, 2, 2)
    assert "label_chi2" not in facts and "chosen" not in facts


def test_nothing_there(tmp_path):
    with pytest.raises(
        InputError,
        match="nothing there; give the path of a survey, model, catalogue or cross-valid",
    ):
        describe(tmp_path / "none.zarr")


# surveys


@pytest.fixture
def survey(_small_survey, tmp_path):
    """A survey of ten chunks: S/N of 5 to 2000, a third of each second chunk's pixels missing."""
    made = _small_survey.isel(star=np.arange(1000) % _small_survey.sizes["star"]).load()
    made = made.assign_coords(star=[f"s{i:03d}" for i in range(1000)])
    ivar = made["flux_ivar"].values.copy()
    ivar[:] = 4
    ivar.reshape(10, 100, -1)[1::2, :, ::3] = 0
    snr = np.repeat([5.0, 30, 30, 80, 2000], 200)
    snr[:3] = np.nan
    made = made.assign(
        flux=made["flux"].fillna(1), flux_ivar=(("star", "wavelength"), ivar), snr=("star", snr)
    )
    made.attrs["source"] = "a test"
    store.write_dataset(made, tmp_path / "survey.zarr", chunk=100)
    return tmp_path / "survey.zarr", made


def test_a_survey(survey):
    path, made = survey
    facts = describe(path)
    assert json.loads(json.dumps(facts)) == json.loads(json.dumps(describe(path, check=True))) | {
        "checked": "a sample of values"
    }
    assert (facts["kind"], facts["stars"], facts["chunk"]) == ("survey", 1000, 100)
    assert facts["attributes"]["source"] == "a test"
    assert 0 < facts["bytes"]["stored"] < facts["bytes"]["in_memory"]
    flux = facts["outputs"]["flux"]
    grid = made["wavelength"].values
    assert (flux["pixels"], flux["least"], flux["greatest"]) == (grid.size, grid[0], grid[-1])
    for i, name in enumerate(made["label"].values.tolist()):
        said, values = (
            facts["outputs"]["label_value"]["labels"][name],
            made["label_value"].values[:, i],
        )
        assert (said["least"], said["greatest"]) == (np.nanmin(values), np.nanmax(values))
        assert said["missing"] == pytest.approx(np.isnan(values).mean())
    assert "ingest" not in facts


def test_signal_to_noise_ratios_are_counted_in_round_bins(survey):
    facts = describe(survey[0])["snr"]
    assert facts["unknown"] == 3 and facts["median"] == 30
    assert [tuple(b) for b in facts["bins"]] == [
        (0, 10, 197),
        (10, 20, 0),
        (20, 50, 400),
        (50, 100, 200),
        (100, 200, 0),
        (200, 500, 0),
        (500, 1000, 0),
        (1000, None, 200),
    ]


def test_ends_of_a_histogram():
    assert make_histogram(np.array([-3.0, 0, 10, 1000]))["bins"] == [
        (None, 0, 1),
        (0, 10, 1),
        (10, 20, 1),
        *((a, b, 0) for a, b in ((20, 50), (50, 100), (100, 200), (200, 500), (500, 1000))),
        (1000, None, 1),
    ]
    assert make_histogram(np.full(2, np.nan)) == {"median": None, "unknown": 2, "bins": []}


def test_missing_pixels_are_counted_in_a_sample_of_chunks(survey, monkeypatch):
    path, made = survey
    monkeypatch.setattr(survey_info, "_SAMPLE_CHUNKS", 4)
    monkeypatch.setattr(survey_info, "_MOST_STARS", 400)
    outputs = describe(path)["outputs"]
    assert outputs["flux"]["missing_among_stars"] == outputs["label_value"]["among_stars"] == 400
    third = float((made["flux_ivar"].values[100] == 0).mean())
    assert outputs["flux"]["missing"] == pytest.approx(third / 2)  # chunks 0, 3, 6 and 9


def test_a_summary_reads_few_spectra(survey, monkeypatch):
    """Chunks that the sample leaves out are not read: millions take no longer than thousands."""
    path = survey[0]
    monkeypatch.setattr(survey_info, "_SAMPLE_CHUNKS", 2)
    monkeypatch.setattr(store, "SAMPLE_CHUNKS", 2)
    for i in range(1, 9):
        (path / "flux" / "c" / str(i) / "0").write_bytes(b"damaged")
    assert describe(path)["outputs"]["flux"]["missing_among_stars"] == 200


# surveys of files


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Ten apStar files, the last with a star of the first at lower S/N, and two that are none."""
    folder = tmp_path_factory.mktemp("files")
    for i in range(9):
        write_apstar(folder / f"apStar-{i}.fits", f"2M{i}", seed=i, snr=40 + 20 * i)
    write_apstar(folder / "apStar-9.fits", "2M0", seed=9, snr=20)
    (folder / "apStar-a.fits").write_text("not a FITS file")
    (folder / "apStar-b.fits").write_bytes(b"")
    return sorted(folder.glob("*.fits"))


def test_a_survey_of_files_accounts_for_them_all(files, tmp_path):
    path = tmp_path / "s.zarr"
    first = ingest("apstar", files[:4], path, chunk=4, progress=False)
    rest = ingest("apstar", files, path, chunk=4, progress=False)
    made = describe(path)["ingest"]
    assert json.loads(json.dumps(made)) == made
    assert (made["format"], made["recipe"]["continuum"]) == ("apstar", "chebyshev")
    assert made["sessions"] == 2
    assert made["files"] == {"all": 12, "read": 10, "quarantined": 2}
    assert made["spectra"] == {"all": 10, "kept": 9}
    assert sum(made["quarantined"].values()) == 3 and made["quarantined"]["duplicate"] == 1
    masked = {k: first.masked.get(k, 0) + rest.masked.get(k, 0) for k in first.masked | rest.masked}
    assert made["masked"]["spectra"] == 10  # the duplicate was looked at too
    assert made["masked"]["reasons"]["BADPIX"] == pytest.approx(masked["BADPIX"] / 10 / 8575)
    assert made["masked"]["all"] == pytest.approx(sum(masked.values()) / 10 / 8575)
    listed = quarantine(path)
    assert [(r["file"], r["star"]) for r in listed] == [(p, s) for p, s, _ in rest.quarantined]
    assert [r["reason"] for r in listed] == [why for *_, why in rest.quarantined]


def test_a_survey_of_files_without_duplicates_has_the_masked_pixels_of_its_spectra(files, tmp_path):
    ingest("apstar", files[:9], tmp_path / "s.zarr", chunk=4, progress=False)
    facts = describe(tmp_path / "s.zarr")
    assert facts["outputs"]["flux"]["missing"] == pytest.approx(facts["ingest"]["masked"]["all"])


def test_a_survey_into_which_files_are_being_read(files, tmp_path, monkeypatch):
    path, read = tmp_path / "s.zarr", run.run_batch
    ingest("apstar", files[:2], path, chunk=4, progress=False)

    def fails(session, batch):
        if batch.index > 8:
            raise OSError("the disk is gone")
        return read(session, batch)

    monkeypatch.setattr(run, "run_batch", fails)
    with pytest.raises(RunError):
        ingest("apstar", files, path, chunk=4, progress=False)
    facts = describe(path)
    assert json.loads(json.dumps(facts)) == facts
    assert "files are being read into it" in facts["state"] and facts["stars"] == 2
    assert [(s["stage"], s["files"], s["stars"]) for s in facts["sessions"]] == [
        ("done", 2, 2),
        ("reading", 10, None),
    ]
    assert (facts["sessions"][1]["batches"], facts["sessions"][1]["batches_done"]) == (10, 9)
    assert [r["file"] for r in quarantine(path)] == [str(files[10])]
    assert "session 1      reading: 10 files, 9 of 10 batches" in format_facts(facts)


def test_what_info_says_of_a_survey_of_files(files, tmp_path):
    path = tmp_path / "s.zarr"
    ingest("apstar", files, path, chunk=4, progress=False)
    said = format_facts(describe(path))
    assert said.startswith(f"{path}: survey of 9 stars\n")
    for line in (
        "files          12 = 10 read + 2 quarantined",
        "spectra        10 = 9 kept + 1 quarantined",
        "         1  duplicate",
        "continuum      chebyshev (order 4)",
        "  100 to 200              5 ########################################",
    ):
        assert line in said.splitlines()
    assert "rest frame" not in said  # these files are at rest as they are
    assert "  BADPIX" in said


def test_damage_is_said_in_a_line(files, tmp_path):
    path = tmp_path / "s.zarr"
    ingest("apstar", files, path, chunk=4, progress=False)
    (path / "snr" / "c" / "0").write_bytes(b"damaged")
    with pytest.raises(
        InputError, match=r"s.zarr: cannot be read \(.*; copy it from where it is whole"
    ):
        describe(path)
    (path / "ingest" / "0" / "zarr.json").write_text("{")
    with pytest.raises(
        InputError, match=r"s.zarr: cannot be read \(.*; copy it from where it is whole"
    ):
        quarantine(path)


def test_only_files_are_quarantined(survey, tmp_path):
    for path in (survey[0], tmp_path / "none.zarr"):
        with pytest.raises(InputError, match="not a survey made by `luxscale ingest`"):
            quarantine(path)


@pytest.mark.slow
def test_chunks_that_are_slow_to_read_are_said(small_survey, tmp_path):
    small_survey = small_survey.isel(star=slice(0, 60))
    plain = small_survey.drop_encoding().drop_indexes(list(small_survey.indexes))
    chunks = {"flux": {"chunks": (20, 15)}, "label_value": {"chunks": (20, 4)}}
    plain.to_zarr(tmp_path / "s.zarr", consolidated=False, encoding=chunks)
    facts = describe(tmp_path / "s.zarr")
    assert len(facts["slow"]) == 1
    assert facts["slow"][0].startswith("'flux': the values of a star are in 3 chunks; ")
    store.write_dataset(store.open_survey(tmp_path / "s.zarr"), tmp_path / "one.zarr", chunk=1)
    (advice,) = describe(tmp_path / "one.zarr")["slow"]
    assert advice.startswith("'label_value', 'label_err', 'flux', 'flux_ivar': every star is in a")
    store.write_dataset(store.open_survey(tmp_path / "s.zarr"), tmp_path / "t.zarr")
    assert "slow" not in describe(tmp_path / "t.zarr")


def test_wavelengths_in_whole_numbers_are_a_grid(small_survey, tmp_path):
    grid = small_survey["wavelength"]
    whole = ("wavelength", grid.values.astype(int), grid.attrs)
    changed = small_survey.drop_indexes("wavelength").assign_coords(wavelength=whole)
    store.write_dataset(changed, tmp_path / "s.zarr")
    flux = describe(tmp_path / "s.zarr")["outputs"]["flux"]
    assert (flux["pixels"], flux["least"], flux["units"]) == (40, int(grid[0]), "Angstrom")


def test_a_curved_model_says_what_it_is(curved_model, small_model, tmp_path):
    curved_model.save(tmp_path / "curved.zarr")
    facts = describe(tmp_path / "curved.zarr")
    assert facts["prior"] == "mixture of 4 Gaussians"
    assert facts["flux"]["map"] == "linear, and products of two of all 3 latents"
    noise = "correlated, 8 independent components; heavy tails, 20 degrees of freedom"
    assert facts["flux"]["noise"] == noise
    assert facts["label_value"]["noise"] == "independent"
    assert noise in format_facts(facts)
    small_model.save(tmp_path / "linear.zarr")
    facts = describe(tmp_path / "linear.zarr")
    assert facts["prior"] == "Gaussian, mean 0, variance 1"
    assert (facts["flux"]["map"], facts["flux"]["noise"]) == ("linear", "independent")


def test_a_file_is_said_to_be_no_store(tmp_path):
    (tmp_path / "a.fits").write_bytes(b"SIMPLE  =")
    with pytest.raises(InputError, match="a.fits: a file, no store of luxscale; `luxscale plot`"):
        describe(tmp_path / "a.fits")
