import importlib
import itertools
import shlex
import time
import zlib

import numpy as np
import pytest
import xarray as xr
import zarr
from click.testing import CliRunner

import luxscale as lux
from luxscale import crossval as cv
from luxscale import store
from luxscale.cli import main
from luxscale.cluster import local_cluster
from luxscale.crossval import results as cv_results
from luxscale.errors import InputError, RunError
from luxscale.runs.target import open_target

pytestmark = pytest.mark.slow  # test_cli.py has a cross-validation in the default run

N_STARS, FOLDS = 200, 3
GRID = {"latent_dims": (2, 4, 6), "folds": FOLDS, "iterations": 6}

#: What differs from run to run.
CLOCKS = ("seconds", "training_seconds")


@pytest.fixture(scope="module")
def survey(_small_survey):
    """Two hundred stars: one has no label, one no spectrum, and a tenth of labels is missing."""
    survey = _small_survey.isel(star=slice(0, N_STARS)).copy(deep=True)
    survey["label_value"][7] = np.nan
    survey["flux_ivar"][11] = 0
    survey["label_err"][13, 1] = np.nan
    return survey


@pytest.fixture(scope="module")
def path(survey, tmp_path_factory):
    folder = tmp_path_factory.mktemp("crossval")
    store.write_dataset(survey, folder / "survey.zarr", chunk=32)
    return folder / "survey.zarr"


def run(path, out, **options):
    return cv.cross_validate(path, out, progress=False, **{**GRID, **options})


@pytest.fixture(scope="module")
def out(path, tmp_path_factory):
    out = tmp_path_factory.mktemp("undisturbed") / "cv.zarr"
    run(path, out)
    return out


@pytest.fixture
def results(out):
    return store.open_dataset(out).compute()


def setting(latent_dim, prior):
    return (("latent_dim", latent_dim), ("prior", prior))


def by_identifier(survey, folds=FOLDS):
    """Fold of each star, from the definition: rank of the identifier's CRC, in turn."""
    key = [zlib.crc32(s.encode()) for s in survey.star.values]
    return np.argsort(np.argsort(key)) % folds


def assert_same(first, second):
    assert set(first.variables) == set(second.variables)
    for name in set(first.variables) - set(CLOCKS):
        np.testing.assert_array_equal(first[name].values, second[name].values, err_msg=name)


def test_finds_the_number_of_latents(results):
    table = cv.scores(results)["label_chi2"].sel(given="spectra").mean("fold").isel(prior=0)
    assert table.sel(latent_dim=2) > 5 * table.sel(latent_dim=4)
    assert table.sel(latent_dim=6) > 0.95 * table.sel(latent_dim=4)
    choice = cv.choose(results)
    assert choice.setting == (("latent_dim", 4), ("prior", 1.0))
    assert choice.best_score <= choice.score <= choice.best_score + choice.error


def test_the_store_keeps_what_it_says(results, survey):
    kept = survey.isel(star=np.arange(N_STARS) != 7)
    assert results.star.values.tolist() == kept.star.values.tolist()
    np.testing.assert_array_equal(results["star_row"], np.delete(np.arange(N_STARS), 7))
    np.testing.assert_array_equal(results["star_fold"], by_identifier(kept))
    np.testing.assert_array_equal(results["trusted_label_value"], kept["label_value"])
    assert (
        results["label_value"].dims
        == results["label_err"].dims
        == ("latent_dim", "prior", "star", "label")
    )
    assert (
        results["spectrum_chi2"].dims
        == results["label_chi2"].dims
        == ("latent_dim", "prior", "star", "given")
    )
    assert results["status"].dims == results["objective"].dims == ("latent_dim", "prior", "fold")
    assert (results["status"] == 1).all() and results.attrs["complete"] == 1
    assert "wavelength" not in results.dims
    assert results["label_units"].values.tolist() == survey["label_units"].values.tolist()
    for name in set(results.data_vars) | {"latent_dim", "prior", "given"}:
        assert results[name].attrs["long_name"]


def test_a_fold_equals_training_and_inference_by_hand(results, survey):
    kept = survey.isel(star=np.arange(N_STARS) != 7)
    fold = by_identifier(kept)
    model = lux.train(kept.isel(star=fold != 1), 4, folds=1, iterations=6, progress=False)
    test = kept.isel(star=fold == 1)
    ours = results.sel(latent_dim=4, prior=1).isel(star=fold == 1)
    assert float(ours["objective"][1]) == model.objective[-1]
    value, err = test["label_value"].values, test["label_err"].values
    known = np.isfinite(value) & np.isfinite(err)
    s2 = np.asarray(model["flux"].scatter) ** 2
    ivar = test["flux_ivar"].values.astype(float)
    weight = np.where(ivar > 0, 1 / (1 / np.where(ivar > 0, ivar, 1) + s2), 0)
    seen = (ivar > 0).any(1)
    np.testing.assert_array_equal(ours["n_pixels"], (ivar > 0).sum(1))
    np.testing.assert_array_equal(ours["n_labels"], np.where(seen, known.sum(1), 0))
    for given, name in (("spectra", "flux"), ("labels", "label_value")):
        catalog = lux.infer(test, model, given=name)
        labels = lux.predict(catalog, model, "label_value").values
        flux = np.where(ivar > 0, test["flux"].values - lux.predict(catalog, model).values, 0)
        expected = np.where(known, (value - labels) / err, 0)
        for key, chi2 in (("spectrum_chi2", weight * flux**2), ("label_chi2", expected**2)):
            np.testing.assert_allclose(
                ours[key].sel(given=given), np.where(seen, chi2.sum(1), 0), rtol=1e-10
            )
    catalog = lux.infer(test, model)
    for name in ("label_value", "label_err"):
        np.testing.assert_array_equal(
            ours[name], np.where(seen[:, None], catalog[name].values, np.nan)
        )
    np.testing.assert_allclose(
        ours["spectrum_chi2"].sel(given="spectra"), catalog["chi2"], rtol=1e-3
    )


def test_scores_are_sums_over_the_fold(results):
    table = cv.scores(results)
    part = results.sel(latent_dim=4, prior=1).isel(star=results["star_fold"].values == 2)
    mine = table.sel(latent_dim=4, prior=1).isel(fold=2)
    for given in cv.GIVEN:
        chi2 = part[["spectrum_chi2", "label_chi2"]].sel(given=given).sum()
        assert mine["spectrum_chi2"].sel(given=given) == pytest.approx(
            float(chi2["spectrum_chi2"] / part["n_pixels"].sum())
        )
        assert mine["label_chi2"].sel(given=given) == pytest.approx(
            float(chi2["label_chi2"] / part["n_labels"].sum())
        )
        assert mine["total_chi2"].sel(given=given) == pytest.approx(
            float(chi2.to_dataarray().sum())
        )
    residual = (part["label_value"] - part["trusted_label_value"]).values
    np.testing.assert_allclose(mine["label_rmse"], np.sqrt(np.nanmean(residual**2, 0)))
    np.testing.assert_array_equal(mine["label_n_stars"], np.isfinite(residual).sum(0))
    np.testing.assert_array_less(0.6, table["label_pull"].sel(latent_dim=4))
    everything = cv.label_scores(results, {"latent_dim": 4, "prior": 1.0})
    np.testing.assert_array_equal(
        everything["n_stars"], table["label_n_stars"].sel(latent_dim=4, prior=1).sum("fold")
    )
    assert everything["label_units"].values.tolist() == results["label_units"].values.tolist()


def test_one_standard_error_rule(results):
    """P=6 is best; P=4 is worse by less than the error of the difference, P=2 by more."""
    n_stars = results.sizes["star"]
    results["n_labels"][:] = 1
    scatter = np.tile([-1.0, 1.0], n_stars)[:n_stars]
    # the error of a mean difference of so many stars is 1 / sqrt(n) of their scatter
    for p, extra in ((2, 2.0), (4, 0.5), (6, 0.0)):
        loss = 3 + (scatter + extra / np.sqrt(n_stars) if extra else 0)
        results["label_chi2"].loc[{"latent_dim": p}] = np.expm1(loss * np.ones(n_stars))[:, None]
    choice = cv.choose(results, score="label_chi2")
    assert choice.setting == setting(4, 1.0) and choice.best == setting(6, 1.0)
    assert 0 < choice.score - choice.best_score < choice.error
    results["status"].loc[{"latent_dim": 4, "fold": 0}] = 0
    assert cv.choose(results, score="label_chi2").setting == setting(6, 1.0)
    results["status"][:] = 0
    with pytest.raises(InputError, match="no setting has all its folds done"):
        cv.choose(results)
    with pytest.raises(InputError, match="'seconds' is no score"):
        cv.choose(results, score="seconds")


def test_a_failed_task_is_named_and_the_rest_resumes(path, out, results, tmp_path, monkeypatch):
    do, did = cv.run_tasks, []

    def fails(grid, tasks):
        if tasks[0].setting == setting(4, 1.0) and tasks[0].fold > 0:
            raise OSError("disk on fire")
        return do(grid, tasks)

    def counts(grid, tasks):
        did.extend(tasks)
        return do(grid, tasks)

    monkeypatch.setattr(cv_results, "run_tasks", fails)
    with pytest.raises(
        RunError, match=r"2 of 9 tasks.*P=4, prior=1, fold 1: OSError: disk on fire"
    ):
        run(path, tmp_path / "cv.zarr")
    partial = store.open_dataset(tmp_path / "cv.zarr").compute()
    assert partial.attrs["complete"] == 0
    assert partial["status"].sum() == 7
    lost = np.isin(partial["star_fold"], (1, 2))
    assert np.isnan(partial["label_value"].sel(latent_dim=4).isel(star=lost)).all()
    np.testing.assert_array_equal(
        partial["label_value"].sel(latent_dim=6), results["label_value"].sel(latent_dim=6)
    )
    assert np.isnan(cv.scores(partial)["label_chi2"].sel(latent_dim=4)).any()
    assert cv.choose(partial).setting == setting(6, 1.0)
    assert cv.to_records(partial)[1]["label_chi2_given_spectra"] is None
    monkeypatch.setattr(cv_results, "run_tasks", counts)
    resumed = run(path, tmp_path / "cv.zarr").compute()
    assert did == [cv.Task(setting(4, 1.0), 1), cv.Task(setting(4, 1.0), 2)]
    assert_same(resumed, results)
    assert resumed.attrs["complete"] == 1
    run(path, tmp_path / "cv.zarr", latent_dims=(6, 2, 4))
    assert len(did) == 2


def test_a_task_half_written_is_done_again(path, tmp_path):
    options = {"latent_dims": [4], "folds": 2}
    whole = run(path, tmp_path / "cv.zarr", **options).compute()
    grid = cv.make_grid(path, tmp_path / "cv.zarr", **{**GRID, **options})
    group = zarr.open_group(grid.out, mode="r+")
    group[grid.tasks[1].group].attrs["status"] = (
        0  # a task that died before its status, and a run before its end
    )
    group[f"{grid.tasks[1].group}/label_value"][:] = -1
    group.attrs["complete"] = 0
    assert cv.Results(grid).list_pending() == grid.tasks[1:]
    assert_same(run(path, tmp_path / "cv.zarr", **options).compute(), whole)


@pytest.mark.parametrize(
    ("changed", "what"),
    [
        ({"latent_dims": (2, 4)}, "grid"),
        ({"priors": (1.0, 2.0)}, "grid"),
        ({"folds": 4}, "folds"),
        ({"iterations": 7}, "settings"),
        ({"stars": slice(0, 150)}, "survey and stars"),
        ({"method": "alternating"}, "method"),
        ({"outputs": ["flux", "label_value"]}, "outputs"),
        ({"label_clip": np.inf}, "label_clip"),
    ],
)
def test_another_run_in_its_place_is_refused(path, out, changed, what):
    with pytest.raises(InputError, match=f"cross-validation made with another {what};"):
        run(path, out, **changed)


def test_another_survey_in_its_place_is_refused(survey, out, tmp_path):
    survey = survey.copy(deep=True)
    survey["label_value"][0] += 1
    store.write_dataset(survey, tmp_path / "survey.zarr")
    with pytest.raises(InputError, match="another survey;"):
        run(tmp_path / "survey.zarr", out)
    with pytest.raises(InputError, match="not a cross-validation"):
        run(tmp_path / "survey.zarr", tmp_path / "survey.zarr")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"latent_dims": ()}, "latent_dims"),
        ({"latent_dims": (4, 4)}, "each once"),
        ({"latent_dims": (0,)}, "whole numbers"),
        ({"latent_dims": (4, 44)}, "fewer than 44"),
        ({"priors": (0.0,)}, "positive"),
        ({"priors": (np.nan,)}, "positive"),
        ({"folds": 1}, "folds is 1"),
        ({"folds": 300}, "too few for 300 folds; take more stars"),
        ({"method": "guess"}, "'guess' is unknown"),
        ({"label_clip": 0}, "label_clip is 0"),
        ({"iteration": 3}, "no setting 'iteration'"),
        ({"latent_precision": 1.0}, "priors vary"),
        ({"outputs": ["flux"]}, "needs both"),
        ({"outputs": ["label_value"]}, "choose outputs of both kinds"),
        ({"stars": slice(0, 200, 2)}, r"slice\(START, STOP\)"),
        ({"stars": slice(300, 400)}, "none of its 200 stars"),
    ],
)
def test_what_will_not_do_is_refused_before_any_work(path, tmp_path, options, message):
    with pytest.raises(InputError, match=message):
        run(path, tmp_path / "cv.zarr", **options)
    assert not (tmp_path / "cv.zarr").exists()


def test_a_method_without_latents_to_choose_is_refused(path, tmp_path):
    with pytest.raises(InputError, match="no number of latents"):
        cv.cross_validate(path, tmp_path / "cv.zarr", latent_dims=[4], method="cannon")


def test_the_order_of_stars_does_not_matter(survey, results, tmp_path):
    order = np.random.default_rng(0).permutation(N_STARS)
    store.write_dataset(survey.isel(star=order), tmp_path / "survey.zarr", chunk=50)
    ours = run(tmp_path / "survey.zarr", tmp_path / "cv.zarr", latent_dims=[4]).compute()
    ours, theirs = (
        d.set_xindex("star") if "star" not in d.xindexes else d for d in (ours, results)
    )
    ours = ours.sel(star=theirs.star.values)
    np.testing.assert_array_equal(ours["star_fold"], theirs["star_fold"])
    difference = (ours["label_value"] - theirs["label_value"].sel(latent_dim=[4])) / theirs[
        "label_err"
    ].sel(latent_dim=[4])
    assert float(np.abs(difference).max()) < 0.05


def test_settings_that_share_a_training_train_once(path, results, tmp_path, monkeypatch):
    """The marginal method trains with prior 1 whatever that of the test step is."""
    module, trained = importlib.import_module("luxscale.crossval.fold"), []
    fit = module.train
    monkeypatch.setattr(module, "train", lambda *a, **k: trained.append(k["where"]) or fit(*a, **k))
    ours = run(path, tmp_path / "cv.zarr", latent_dims=[4], priors=(1.0, 100.0)).compute()
    assert len(trained) == FOLDS and (ours["status"] == 1).all()
    theirs = run(path, tmp_path / "alone.zarr", latent_dims=[4], priors=(100.0,)).compute()
    assert_same(ours.sel(prior=[1.0]), results.sel(latent_dim=[4]))
    assert_same(ours.sel(prior=[100.0]), theirs)
    assert not np.array_equal(
        ours["label_value"].sel(prior=1.0), ours["label_value"].sel(prior=100.0), equal_nan=True
    )
    grid = cv.make_grid(
        path,
        tmp_path / "new.zarr",
        latent_dims=[2],
        priors=(1.0, 2.0),
        method="alternating",
        folds=2,
    )
    assert grid.group_by_training(grid.tasks) == [(t,) for t in grid.tasks]


def timed(grid, tasks):
    start = time.monotonic()
    cv.run_tasks(grid, tasks)
    return start, time.monotonic()


@pytest.mark.slow
def test_a_worker_does_one_task_at_a_time(path, tmp_path):
    """What a task computes with Dask must not make room for another, with memory of its own."""
    grid = cv.make_grid(path, tmp_path / "cv.zarr", latent_dims=[2], folds=3, iterations=2)
    with open_target(cv.Results(grid)) as run, local_cluster(1) as client:
        todo = list(run.pending)
        spans = sorted(client.gather(client.map(timed, [grid] * len(todo), todo, pure=False)))
    assert len(spans) == 3
    assert all(end <= start for (_, end), (start, _) in itertools.pairwise(spans))


@pytest.mark.slow
def test_on_worker_processes(path, results, tmp_path):
    with local_cluster(2) as client:
        ours = run(path, tmp_path / "cv.zarr", latent_dims=[4], client=client).compute()
    theirs = results.sel(latent_dim=[4])
    assert (ours["status"] == 1).all()
    for name in ("star", "star_fold", "n_pixels", "n_labels", "trusted_label_value"):
        np.testing.assert_array_equal(ours[name], theirs[name])
    difference = (ours["label_value"] - theirs["label_value"]) / theirs["label_err"]
    assert float(np.abs(difference).max()) < 0.05  # threads differ, and with them rounding
    np.testing.assert_allclose(ours["spectrum_chi2"], theirs["spectrum_chi2"], rtol=0.01)


@pytest.mark.slow
def test_priors_of_the_alternating_method(path, survey, tmp_path):
    options = {
        "latent_dims": [4],
        "priors": (100.0, 0.01),
        "folds": 2,
        "method": "alternating",
        "iterations": 2,
    }
    ours = run(path, tmp_path / "cv.zarr", **options).compute()
    assert ours["prior"].values.tolist() == [0.01, 100.0]
    kept = survey.isel(star=np.arange(N_STARS) != 7)
    fold = by_identifier(kept, 2)
    for prior in (100.0, 0.01):
        model = lux.train(
            kept.isel(star=fold != 0), 4, method="alternating", folds=1, iterations=2,
            latent_precision=prior, prior=prior, progress=False,
        )  # fmt: skip
        part = ours.sel(prior=prior).isel(latent_dim=0, star=fold == 0)
        catalog = lux.infer(kept.isel(star=fold == 0), model).isel(star=part["n_pixels"].values > 0)
        part = part.isel(star=part["n_pixels"].values > 0)
        np.testing.assert_array_equal(part["label_value"], catalog["label_value"])
    chi2 = cv.scores(ours)["label_chi2"].sel(given="spectra").mean("fold").isel(latent_dim=0)
    assert chi2.sel(prior=100.0) > 1.5 * chi2.sel(prior=0.01)
    assert dict(cv.choose(ours).setting)["prior"] == 0.01
    grid = cv.make_grid(path, tmp_path / "cv.zarr", **{**GRID, **options})
    command = cv.suggest_command(grid, cv.choose(ours))
    words = shlex.split(command.replace("model.zarr", str(tmp_path / "model.zarr")))
    assert words[0] == "luxscale"
    assert CliRunner().invoke(main, [*words[1:], "--quiet"]).exit_code == 0
    model = lux.load_model(tmp_path / "model.zarr")
    assert (model.prior.precision, model.latent_dim, model.provenance.n_stars) == (
        0.01,
        4,
        N_STARS - 1,
    )


@pytest.mark.slow
def test_photometry_counts_with_the_spectra(survey, tmp_path):
    """Bands are measured, as pixels are: a star without a spectrum is predicted from them."""
    survey = survey.copy()
    rng = np.random.default_rng(5)
    teff = (survey["label_true"][:, 0].values - 4800) / 300
    mag = teff[:, None] * [0.5, 0.8] + 0.05 * rng.standard_normal((N_STARS, 2))
    survey["mag"] = ("star", "band"), mag
    survey["mag_err"] = ("star", "band"), np.full((N_STARS, 2), 0.05)
    survey = survey.assign_coords(band=np.array(["g", "h"], object))
    store.write_dataset(survey, tmp_path / "survey.zarr")
    ours = run(tmp_path / "survey.zarr", tmp_path / "cv.zarr", latent_dims=[4], folds=2).compute()
    assert "mag" not in ours and "trusted_mag" not in ours
    kept = survey.isel(star=np.arange(N_STARS) != 7)
    pixels = (kept["flux_ivar"].values > 0).sum(1)
    known = (np.isfinite(kept["label_value"]) & np.isfinite(kept["label_err"])).values.sum(1)
    np.testing.assert_array_equal(ours["n_pixels"][0, 0], pixels + mag.shape[1])
    np.testing.assert_array_equal(ours["n_labels"][0, 0], known)
    assert np.isfinite(ours["label_value"][:, :, pixels == 0]).all()


def test_table_and_records(results):
    records = cv.to_records(results)
    assert [(r["latent_dim"], r["prior"]) for r in records] == [(2, 1.0), (4, 1.0), (6, 1.0)]
    assert set(records[1]["label_rmse"]) == {"teff", "logg", "fe_h", "mg_fe"}
    lines = cv.format_table(records, cv.choose(results)).splitlines()[:4]
    assert [line.startswith("*") for line in lines] == [False, False, True, False]
    assert len({len(line) for line in lines}) == 1


def test_results_open_with_xarray_alone(out):
    opened = xr.open_zarr(out, consolidated=False)
    assert opened.sizes["latent_dim"] == 3
    assert opened["label_value"].sel(latent_dim=4, prior=1.0, label="fe_h").sizes == {
        "star": N_STARS - 1
    }
