"""Labels that are said to be in K, and are colder than any star."""

import numpy as np
import pytest

import luxscale as lux
from luxscale.errors import InputError
from luxscale.progress import Progress
from luxscale.training.select import read_stars


def read(survey, convert, unit, name="teff"):
    """Read the labels of a survey with the first one converted, named and in a unit."""
    column, error = (survey[v].values[:, 0] for v in ("label_value", "label_err"))
    value = convert(column)
    spread = np.nanstd(value) / np.nanstd(column)
    survey["label_value"].values[:, 0], survey["label_err"].values[:, 0] = value, error * spread
    survey["label"] = [name, *survey.label.values[1:].tolist()]
    survey = survey.assign_coords(label_units=("label", [unit, "", "", ""]))
    read_stars(survey, ["label_value"], "survey", Progress("training"))


@pytest.mark.parametrize("convert", [lambda t: t / 1000, np.log10], ids=["kK", "log10"])
@pytest.mark.parametrize(
    ("unit", "name"), [("K", "t_cool"), ("Kelvin", "teff"), ("", "teff"), ("", "TEFF")]
)
def test_what_is_no_temperature_in_kelvin_is_said(small_survey, capsys, convert, unit, name):
    read(small_survey, convert, unit, name)
    said = capsys.readouterr().err
    assert said.count(f"{name} is said to be in K, and is colder than any star") == 1
    assert "unit.LABEL=UNIT" in said


@pytest.mark.parametrize(
    ("convert", "unit", "name"),
    [
        (lambda t: t, "K", "teff"),
        (lambda t: t / 1000, "kK", "teff"),
        (np.log10, "dex(K)", "teff"),
        (np.log10, "", "log_teff"),
        (lambda t: t - np.nanmedian(t), "K", "offset"),
    ],
)
def test_of_others_nothing_is_said(small_survey, capsys, convert, unit, name):
    read(small_survey, convert, unit, name)
    assert "colder than any star" not in capsys.readouterr().err


def test_it_is_said_without_progress_alone(small_survey, capsys):
    survey = small_survey.assign(label_value=small_survey.label_value.copy())
    survey["label_value"].values[:, 0] /= 1000
    survey["label_err"] = survey.label_err.copy()
    survey["label_err"].values[:, 0] /= 1000
    few = survey.isel(star=slice(0, 40))
    with pytest.raises(InputError, match="latent_dim=1000"):  # once they are read
        lux.train(few, 1000, progress=False)
    (line,) = capsys.readouterr().err.splitlines()
    assert "teff is said to be in K, and is colder than any star" in line
