"""The table of stars left out of training, kept with the model, and the advice it gives."""

import re

import numpy as np
import pytest

import luxscale as lux
from luxscale.cli.format import format_facts
from luxscale.info.describe import describe
from luxscale.training.held_out import advise_on_errors, advise_on_latents


def train(survey, factor=1.0, **settings):
    errors = survey.assign(label_err=survey["label_err"] * factor)
    return lux.train(errors, 4, **{"iterations": 6, **settings})


@pytest.fixture(scope="module")
def trained(_small_survey):
    return train(_small_survey, progress=False)


def test_the_table_holds_what_stars_left_out_tell(trained, small_survey):
    output = trained["label_value"]
    assert [r["label"] for r in trained.held_out] == list(output.coord)
    assert [r["unit"] for r in trained.held_out] == list(output.units)
    for m, record in enumerate(trained.held_out):
        given = small_survey["label_err"].values[:, m]
        assert record["n_stars"] == np.isfinite(small_survey["label_value"].values[:, m]).sum()
        # of predicted and given label, of which the larger is most of the scatter
        expected = np.hypot(record["median_err"], np.nanmedian(given))
        assert 0.7 < record["robust_scatter"] / expected < 1.4
        assert record["rmse"] >= abs(record["bias"])
        assert record["median_err"] >= output.floor[m]
        assert record["median_err"] >= record["formal_err"]
        assert record["training_err"] == pytest.approx(np.nanmedian(given), rel=1e-4)
        assert 0.8 < record["pull"] < 1.25
        assert record["formal_pull"] >= record["pull"]
        assert record["training_pull"] is None


def test_the_table_stays_with_the_model_and_leaves_its_fingerprint(trained, tmp_path):
    trained.save(tmp_path / "m.zarr")
    loaded = lux.load_model(tmp_path / "m.zarr")
    assert loaded.held_out == trained.held_out
    facts = describe(tmp_path / "m.zarr")
    assert facts["held_out"] == trained.held_out
    text = format_facts(facts)
    assert "stars left out of training" in text and "robust scatter" in text
    older = trained.to_dataset()
    del older.attrs["held_out"]
    older.to_zarr(tmp_path / "older.zarr", zarr_format=3, consolidated=False)
    opened = lux.load_model(tmp_path / "older.zarr")
    assert opened.held_out == [] and opened.fingerprint == trained.fingerprint
    assert "left out" not in format_facts(describe(tmp_path / "older.zarr"))


def test_training_prints_the_table_and_says_where_errors_are_too_large(small_survey, capsys):
    train(small_survey, 5.0)
    said = capsys.readouterr().err
    assert "training: labels of stars left out of training\nlabel" in said
    assert "teff: pull 0." in said
    assert "errors of the training labels look overestimated about" in said
    train(small_survey, folds=1)
    said = capsys.readouterr().err
    assert "left out of training" not in said and "pull" not in said


def make_record(pull, *, label="teff", n_stars=100, formal=1.0, training=2.0):
    return {
        "label": label,
        "n_stars": n_stars,
        "formal_err": formal,
        "training_err": training,
        "formal_pull": pull,
        "training_pull": None,
    }


@pytest.mark.parametrize(
    ("record", "words"),
    [
        (
            make_record(1 / 3),
            "pull 0.33 without misfit: errors of the training labels look overestimated about 3.0 "
            "times; they hide the model's misfit, and label_err of catalogues is too small$",
        ),
        (
            make_record(0.25, formal=3.0),
            "errors of the spectra look overestimated about 4.0 times$",
        ),
        (
            make_record(4.0),
            r"teff 4.0 times\): errors of the training labels or .* underestimated.* too large",
        ),
    ],
)
def test_advice_names_the_errors_that_are_far_off(record, words):
    (line,) = advise_on_errors([record])
    assert re.search(words, line)


@pytest.mark.parametrize(
    "record", [make_record(1.0), make_record(2.9), make_record(0.1, n_stars=8), make_record(None)]
)
def test_no_advice_where_none_is_due(record):
    assert advise_on_errors([record]) == []


def test_errors_of_labels_that_the_best_stars_do_not_reach_are_said_once():
    records = [make_record(0.4), make_record(0.8, label="logg")]
    records = [record | {"training_pull": 0.6} for record in records]
    below_half, others = sorted(advise_on_errors(records), key=len)
    assert "teff" in below_half and "teff" not in others
    assert "training labels look overestimated" in others and "(logg 0.60 of them)" in others
    assert all(
        line.endswith("label_err of catalogues is too small") for line in (below_half, others)
    )


def test_few_stars_for_each_latent_are_said():
    assert advise_on_latents(10, 80) == []
    (line,) = advise_on_latents(48, 87)
    assert "48 latents from 87 stars" in line and "luxscale crossval" in line


def test_progress_says_how_far_training_is(small_survey, monkeypatch, capsys):
    monkeypatch.setattr("luxscale.progress._EVERY", -1.0)
    train(small_survey, folds=2, iterations=3)
    said = capsys.readouterr().err
    assert "training: iteration 2 of at most 3, log-likelihood per star" in said
    assert "training: measuring errors on stars left out, fold 2 of 2\n" in said
