"""Comparisons of methods on real spectra; the files here are small ones of the same form."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import h5py
import numpy as np
import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
FLOORS = [30.0, 0.05, 0.03, 0.02, 0.03]


@pytest.fixture(autouse=True)
def _on_path(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    monkeypatch.syspath_prepend(BENCHMARKS / "peers")


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def xp_path(tmp_path, rng):
    """40 stars: the first 30 are giants, but for one that is too faint and one without flux."""
    flux = rng.uniform(0.9, 1.1, (40, 6)).astype("f4")
    error = np.full_like(flux, 0.01)
    error[3] = 0.1
    flux[7, 2] = np.nan
    catalog = {
        "teff": np.where(np.arange(40) < 30, 4500.0, 6000.0) + np.arange(40),
        "logg": np.full(40, 2.0),
        "fe_h": np.full(40, -0.5),
        "alpha_m": np.full(40, 0.1),
        "ak_targ": np.full(40, 0.2),
    }
    catalog |= {f"{k}_err": np.full(40, 0.04) for k in ("teff", "logg", "fe_h", "alpha_m")}
    catalog["fe_h"][12] = np.nan
    path = tmp_path / "xp_apogee.h5"
    with h5py.File(path, "w") as file:
        for name, values in catalog.items():
            file[f"catalog/{name}"] = values.astype("f4")
        file["flux"], file["flux_error"] = flux, error
        file["wavelength_nm"] = 400.0 + 2 * np.arange(6)
    return path


def write_apogee(path, rng, stars=60, pixels=12):
    """Spectra that are linear in the labels, with noise."""
    labels = rng.normal([4600, 2.2, -0.3], [150, 0.5, 0.3], (stars, 3))
    scaled = (labels - [4600, 2.2, -0.3]) / [150, 0.5, 0.3]
    flux = (
        1 + 0.03 * scaled @ rng.normal(size=(3, pixels)) + 0.005 * rng.normal(size=(stars, pixels))
    )
    np.savez(
        path,
        flux=flux.astype("f4"),
        flux_err=np.full_like(flux, 0.005, "f4"),
        labels=labels,
        label_names=np.array(["teff", "logg", "m_h"]),
    )
    return path


def make_problem(sample):
    training, _ = sample.splits[0]
    parts = {k: getattr(sample, k)[training] for k in ("flux", "ivar", "label", "label_err")}
    return parts | {"wavelength": sample.wavelength, "names": np.array(sample.names), "latents": 4}


def make_run(method, spectra, rmse, pull=None):
    scores = [{"label": "teff", "rmse": rmse, "robust_scatter": rmse / 2, "pull": pull}]
    cost = {"train_cpu_s": 3.0, "label_cpu_s": 0.5, "tested": 10}
    return {
        "spectra": spectra,
        "method": method,
        "outcome": "done",
        "reason": "",
        "scores": scores,
        **cost,
    }


def test_xp_giants_are_the_first_and_the_last_of_a_seeded_order(xp_path):
    from peers.spectra import read_xp

    sample = read_xp(xp_path, training=20, test=5)
    giants = np.delete(np.arange(30), [3, 7])
    expected = np.random.default_rng(0).permutation(giants)
    np.testing.assert_array_equal(sample.label[:, 0], 4500 + expected)
    ((training, test),) = sample.splits
    assert training.tolist() == list(range(20))
    assert test.tolist() == list(range(23, 28))
    np.testing.assert_allclose(sample.ivar, 1e4, rtol=1e-4)
    formal = [0.04, 0.04, 0.04, 0.04, 0]
    complete = np.isfinite(sample.label).all(1)
    np.testing.assert_allclose(
        sample.label_err[complete], np.tile(np.hypot(FLOORS, formal), (27, 1)), rtol=1e-5
    )
    assert np.isnan(sample.label).sum() == 1
    assert sample.wavelength[0] == 4000
    with pytest.raises(ValueError, match="28 giants, fewer than 40"):
        read_xp(xp_path, training=30, test=10)


def test_every_star_is_labelled_in_one_fold():
    from peers.spectra import split_folds

    splits = split_folds(13)
    assert sorted(np.concatenate([test for _, test in splits])) == list(range(13))
    for training, test in splits:
        assert sorted([*training, *test]) == list(range(13))
    assert splits[1][1].tolist() == [1, 6, 11]


def test_lamost_flux_is_over_its_continuum_and_stars_without_labels_are_left_out(tmp_path):
    from peers.spectra import read_lamost

    labels = np.arange(18.0).reshape(3, 6) + 1
    labels[1, 4] = np.nan
    normalised = np.array([[0.5, 1.0, 1.0, 0.9]] * 3)
    level = np.array([[10.0], [20.0], [40.0]])
    ivar = np.array([[4.0, 4.0, 0.0, 4.0]] * 3)
    path = tmp_path / "lamost.npz"
    np.savez(
        path,
        flux=normalised * level,
        ivar=ivar,
        normflux=normalised,
        wavelength_A=np.arange(4.0),
        labels=labels,
        label_names=np.array(["teff", "teff_err", "logg", "logg_err", "feh", "feh_err"]),
    )
    sample = read_lamost(path)
    np.testing.assert_allclose(sample.label, labels[[0, 2], ::2])
    np.testing.assert_allclose(sample.label_err, labels[[0, 2], 1::2])
    np.testing.assert_allclose(sample.ivar, ivar[[0, 2]] * level[[0, 2]] ** 2)
    np.testing.assert_allclose(sample.flux, np.where(ivar > 0, normalised, 0)[[0, 2]], rtol=1e-6)


def test_whitened_components_have_equal_noise_and_know_missing_pixels(rng):
    from run_networks import LEADING, Components

    scale = rng.uniform(0.01, 0.1, 40)
    signal = rng.normal(size=(400, 3)) * [50, 20, 10] @ rng.normal(size=(3, 40)) / 40**0.5
    clean = 1 + signal * scale
    ivar = np.tile(1 / scale**2, (400, 1))
    components = Components(clean + scale * rng.normal(size=clean.shape), ivar)
    first = components.transform(clean, ivar)
    again = components.transform(clean + scale * rng.normal(size=clean.shape), ivar)
    noise = (again - first)[:, :-1].std(0)
    np.testing.assert_allclose(noise, noise.mean(), rtol=0.15)
    assert first[:, 0].std() == pytest.approx(LEADING, rel=0.1)
    # the noise level counts factors of the errors, whatever the spectrum
    spread = components.transform(clean, ivar / np.where(np.arange(400) < 200, 1, 9)[:, None])
    level = spread[:, -1] * components.level_spread
    assert level[300] - level[0] == pytest.approx(np.log(3))
    missing = ivar.copy()
    missing[:, 5] = 0
    changed = clean.copy()
    changed[:, 5] = 1e6
    np.testing.assert_allclose(
        components.transform(changed, missing), components.transform(clean, missing)
    )


@pytest.mark.parametrize("inputs", ["log-flux", "whitened"])
def test_networks_learn_and_bear_missing_pixels_and_labels(tmp_path, rng, monkeypatch, inputs):
    import run_networks
    from peers.spectra import read_apogee

    monkeypatch.setattr(run_networks, "MEMBERS", 2)
    sample = read_apogee(write_apogee(tmp_path / "apogee.npz", rng, stars=200))
    problem = make_problem(sample)
    problem["label"][4, 1] = np.nan
    # one pixel is missing in all training stars
    problem["ivar"][:, 7] = 0
    problem["flux"][:, 7] = 0
    label, said = run_networks.METHODS[inputs](problem)
    assert said["used"] == 159
    test = sample.splits[0][1]
    found, errors = label(sample.flux[test], sample.ivar[test])
    assert errors is None
    residual = (found - sample.label[test]).std(0)
    assert (residual < 0.8 * sample.label.std(0)).all()


def test_the_default_is_what_train_does_when_told_nothing(tmp_path, rng, monkeypatch):
    import run_luxscale
    from peers.spectra import read_apogee

    told = []

    def train(survey, **settings):
        told.append(settings)
        return SimpleNamespace(provenance=SimpleNamespace(method="whatever"))

    monkeypatch.setattr(run_luxscale.lux, "train", train, raising=False)
    problem = make_problem(read_apogee(write_apogee(tmp_path / "apogee.npz", rng)))
    _, said = run_luxscale.trainer("default")(problem)
    run_luxscale.trainer("marginal")(problem)
    assert told == [
        {"progress": False},
        {"progress": False, "latent_dim": 4, "method": "marginal"},
    ]
    assert "whatever" in said["note"]


def test_a_record_replaces_that_of_its_method_and_spectra_alone():
    from peers.real import replace_run

    runs = [make_run("marginal", "xp", 2.0), make_run("ridge", "xp", 3.0)]
    runs = replace_run(runs, make_run("luxscale", "xp", 1.0))
    runs = replace_run(runs, make_run("luxscale", "lamost", 5.0))
    runs = replace_run(runs, make_run("luxscale", "xp", 1.5))
    told = [(run["method"], run["spectra"], run["scores"][0]["rmse"]) for run in runs]
    assert told == [
        ("luxscale", "lamost", 5.0),
        ("luxscale", "xp", 1.5),
        ("marginal", "xp", 2.0),
        ("ridge", "xp", 3.0),
    ]


def test_tables_say_what_is_best_and_what_is_not_done():
    from peers.real_report import report_real

    slow = {"spectra": "xp", "method": "pollux", "outcome": "over the limit", "reason": "ended"}
    runs = [make_run("luxscale", "xp", 80.0, 0.95), make_run("ridge", "xp", 160.0), slow]
    runs[1]["tested"] = 9
    sample = {"title": "Giants", "stars": 30, "pixels": 4, "missing_pixels": 0.125}
    sample |= {"labels": ["teff"], "units": ["K"], "training": 20, "tested": 10, "folds": 1}
    lines = report_real({"runs": runs, "samples": {"xp": sample}}).splitlines()
    assert "### Giants (`xp`)" in lines
    assert "| luxscale | **80.0** (**40.0**) | 0.95 to 0.95 | 3.00 | 0.500 |" in lines
    assert "| ridge regression (9 test stars) | 160 (80.0) | no errors | 3.00 | 0.500 |" in lines
    assert "| pollux | over the limit: ended | - | - | - |" in lines
    assert any("12.5% of them missing; 20 train, 10 others" in line for line in lines)


def test_folds_are_put_together_and_pulls_are_over_both_errors(tmp_path, rng, monkeypatch):
    from peers import real
    from peers.spectra import read_apogee

    sample = read_apogee(write_apogee(tmp_path / "apogee.npz", rng))
    off = rng.normal(size=sample.label.shape) * sample.label_err

    def run_script(python, method, problem, limit, threads, most_test):
        fold = len(seen)
        test = sample.splits[fold][1]
        with np.load(problem) as file:
            np.testing.assert_array_equal(file["flux_test"], sample.flux[test])
            assert len(file["flux"]) == 48
        seen.append(test)
        said = {"train": 1.0, "train_cpu": 2.0 * fold, "test": {"test": 1.0}, "peak_gb": 1.0}
        said |= {"test_cpu": {"test": 1.0}, "used": 48, "note": "", "versions": {}}
        labels = sample.label[test] + np.sqrt(2) * off[test]
        found = {"said": json.dumps(said), "label_test": labels, "err_test": sample.label_err[test]}
        return ("done", "", found) if fold < n_done else ("failed", "singular", {})

    monkeypatch.setattr(real, "run_script", run_script)
    seen, n_done = [], 5
    record = real.run_method("apogee", "ridge", sample, None, tmp_path, 9.0)
    assert record["tested"] == 60
    assert record["train_cpu_s"] == 4.0
    assert record["scores"][0]["pull"] == pytest.approx(1, abs=0.3)
    assert record["scores"][0]["rmse"] == pytest.approx(30 * 2**0.5, rel=0.3)
    seen, n_done = [], 2
    record = real.run_method("apogee", "ridge", sample, None, tmp_path, 9.0)
    assert (record["outcome"], record["reason"], len(seen)) == ("failed", "singular", 3)
    assert "scores" not in record


def test_a_folder_without_spectra_is_refused(tmp_path):
    import click

    spec = importlib.util.spec_from_file_location("peers_script", BENCHMARKS / "peers.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    with pytest.raises(click.BadParameter, match=r"holds none of xp_apogee\.h5"):
        script.compare_real(tmp_path, ["ridge"], (), tmp_path, 9.0, None)


@pytest.mark.skipif(
    "LUXSCALE_REAL_SPECTRA" not in os.environ,
    reason="LUXSCALE_REAL_SPECTRA names no folder with the files of peers/spectra.py",
)
def test_the_published_files_are_read():
    from peers.spectra import find_samples, read_sample

    paths = find_samples(os.environ["LUXSCALE_REAL_SPECTRA"])
    shapes = {"xp": (16_431, 343), "apogee": (671, 100), "lamost": (131, 3904)}
    found = {name: read_sample(name, path).flux.shape for name, path in paths.items()}
    assert found == {name: shapes[name] for name in paths}


@pytest.mark.slow
@pytest.mark.once
def test_the_script_updates_what_is_there(tmp_path, rng):
    write_apogee(tmp_path / "apogee_671x100.npz", rng)
    out = tmp_path / "real.json"
    ridge = make_run("ridge", "lamost", 3.0)
    sample = {"title": "Stars", "stars": 10, "pixels": 4, "missing_pixels": 0.0}
    sample |= {"labels": ["teff"], "units": ["K"], "training": 8, "tested": 10, "folds": 5}
    out.write_text(json.dumps({"runs": [ridge], "samples": {"lamost": sample}}))
    command = [sys.executable, BENCHMARKS / "peers.py", "--real", tmp_path, "--out", out]
    ran = subprocess.run(
        [*command, "--only", "cannon", "--spectra", "apogee"],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert "| The Cannon, luxscale's |" in ran.stdout
    assert "### Stars (`lamost`)" in ran.stdout
    runs = json.loads(out.read_text())["runs"]
    assert [(run["method"], run["spectra"], run["outcome"]) for run in runs] == [
        ("cannon", "apogee", "done"),
        ("ridge", "lamost", "done"),
    ]
    assert runs[1] == ridge
