"""What changed from one catalogue to another of the same stars, and nothing silently left out."""

import json

import numpy as np
import pytest
import xarray as xr
from click.testing import CliRunner

import luxscale as lux
from luxscale import plot, store
from luxscale.analysis.changes import compare_catalogs, format_change
from luxscale.cli import main
from luxscale.schema.flags import BIT


@pytest.fixture(scope="module")
def stores(_small_survey, small_model, tmp_path_factory):
    """A survey, and its catalogue."""
    folder = tmp_path_factory.mktemp("stores")
    survey = _small_survey.isel(star=slice(0, 60))
    store.write_dataset(survey, folder / "survey.zarr", chunk=20)
    small_model.save(folder / "model.zarr")
    paths = [folder / f"{name}.zarr" for name in ("survey", "model", "old")]
    lux.label_survey(*paths, progress=False)
    return folder


@pytest.fixture
def old(stores):
    return store.open_dataset(stores / "old.zarr").load()


def change(old, **arrays):
    """Return the catalogue with other values."""
    new = old.copy(deep=True)
    for name, values in arrays.items():
        new[name].values[:] = values
    return new


def test_a_shift_is_measured_per_label(old):
    shift = np.array([100.0, 0.1, 0.2, 0.0])
    values, errors = old["label_value"].values, old["label_err"].values
    noise = np.random.default_rng(0).normal(size=values.shape) * errors * np.sqrt(2)
    found = compare_catalogs(old, change(old, label_value=values + shift)).labels
    np.testing.assert_allclose(found["median_difference"], shift, atol=1e-9)
    np.testing.assert_allclose(found["robust_scatter"], 0, atol=1e-9)
    assert found["n_stars"].values.tolist() == [60] * 4
    found = compare_catalogs(old, change(old, label_value=values + noise)).labels
    np.testing.assert_allclose(found["scatter_over_error"], 1, atol=0.4)
    d = noise[:, 0]
    scatter = 1.4826 * np.median(np.abs(d - np.median(d)))
    assert float(found["robust_scatter"][0]) == pytest.approx(scatter)


def test_stars_that_moved_most_come_first(old):
    values, errors = old["label_value"].values.copy(), old["label_err"].values
    values[7, 2] += 30 * np.sqrt(2) * errors[7, 2]
    values[3, 0] -= 20 * np.sqrt(2) * errors[3, 0]
    first, second = compare_catalogs(old, change(old, label_value=values)).moved
    names = [str(old["star"].values[i]) for i in (7, 3)]
    assert [first["star"], second["star"]] == names
    labels = [str(old["label"].values[i]) for i in (2, 0)]
    assert [first["label"], second["label"]] == labels
    assert first["joint_errors"] == pytest.approx(30)
    assert second["joint_errors"] == pytest.approx(20)
    assert first["new"] - first["old"] == pytest.approx(values[7, 2] - first["old"])


def test_flags_that_changed_are_counted(old):
    flags = np.zeros(60, np.uint16)
    before = change(old, flags=flags)
    flags[:5] = BIT["bad_fit"]
    middle = change(old, flags=flags)
    flags[:2], flags[10] = 0, BIT["bad_fit"] | BIT["few_pixels"]
    found = compare_catalogs(before, middle).flags
    assert found == {"bad_fit": {"gained": 5, "lost": 0}}
    found = compare_catalogs(middle, change(old, flags=flags)).flags
    assert found == {
        "few_pixels": {"gained": 1, "lost": 0},
        "bad_fit": {"gained": 1, "lost": 2},
    }


def test_stars_are_matched_by_identifier_and_those_of_one_alone_are_counted(old):
    new = old.isel(star=np.arange(59, 9, -1))
    new = change(new, status=np.where(np.arange(50) < 4, 0, 1))
    found = compare_catalogs(old.isel(star=slice(0, 40)), new)
    assert found.stars == {"compared": 30, "not_done": 0, "old": 10, "new": 20}
    found = compare_catalogs(old, new)
    assert found.stars == {"compared": 46, "not_done": 4, "old": 10, "new": 0}
    assert found.moved == []
    assert "10 are in the old catalogue alone, 0 in the new" in format_change(found)
    assert "no flag differs\n\nno label differs" in format_change(found)


def test_labels_of_one_alone_are_named(old):
    found = compare_catalogs(old.isel(label=[2, 0]), old.isel(label=[0, 1, 3]))
    names = old["label"].values
    assert found.labels["label"].values.tolist() == [names[0]]
    assert found.labels_alone == {"old": [names[2]], "new": [names[1], names[3]]}
    assert f"labels of the old catalogue alone: {names[2]}" in format_change(found)


def test_labels_known_in_one_alone_are_counted(old):
    values = old["label_value"].values.copy()
    values[:7, 1] = np.nan
    found = compare_catalogs(old, change(old, label_value=values))
    assert found.labels["n_one_alone"].values.tolist() == [0, 7, 0, 0]
    assert found.labels["n_stars"].values.tolist() == [60, 53, 60, 60]
    assert found.moved == []


def test_catalogues_of_infer_have_all_stars_done(old):
    without = old.drop_vars("status")
    found = compare_catalogs(without, old)
    assert found.stars["compared"] == compare_catalogs(without, without).stars["compared"] == 60


def test_what_cannot_be_compared_is_refused(old, stores):
    with pytest.raises(lux.InputError, match="no star is in common; give two catalogues"):
        compare_catalogs(old.isel(star=slice(0, 9)), old.isel(star=slice(9, 20)))
    with pytest.raises(lux.InputError, match=r"no star is done .status 1. in both"):
        compare_catalogs(old, change(old, status=0))
    units = old["label_units"].values.copy()
    units[0] = "kK"
    with pytest.raises(lux.InputError, match="label 'teff' is in K in the old .* in kK in the new"):
        compare_catalogs(old, old.assign_coords(label_units=("label", units)))
    other = old.assign_coords(label=["a", "b", "c", "d"])
    with pytest.raises(lux.InputError, match="the new catalogue has a, b, c, d"):
        compare_catalogs(old, other)
    with pytest.raises(lux.InputError, match="new: a survey, not a catalogue"):
        compare_catalogs(stores / "old.zarr", lux.open_survey(stores / "survey.zarr"))


def test_a_figure_has_a_panel_for_each_label(old):
    axes = [ax for ax in plot.changes(old, old.isel(star=slice(0, 30))).axes if ax.get_visible()]
    assert len(axes) == 4
    assert axes[0].get_ylabel().startswith("New - old")
    many = xr.concat([old.assign_coords(star=old["star"] + str(i)) for i in range(40)], "star")
    assert len(plot.changes(many, many).axes) >= 4


def test_the_command_compares_two_catalogues(stores, old, tmp_path):
    values = old["label_value"].values.copy()
    values[4, 0] += 9000
    new = change(old, label_value=values).isel(star=slice(0, 50))
    store.write_dataset(new, tmp_path / "new.zarr", chunk=20)
    paths = [str(stores / "old.zarr"), str(tmp_path / "new.zarr")]
    done = CliRunner().invoke(main, ["validate", *paths, "--figures", str(tmp_path)])
    assert done.exit_code == 0, done.output
    assert "50 stars compared; 0 are not done in both, 10 are in the old catalogue" in done.stdout
    assert f"{paths[1]}: 50 of 50 stars done" in done.stdout
    assert (tmp_path / "changes.png").stat().st_size > 10_000
    facts = json.loads(CliRunner().invoke(main, ["validate", *paths, "--json"]).stdout)
    assert facts["compared"]["old"] == 10
    assert facts["stars"] == 60 and facts["new"]["stars"] == 50
    assert facts["moved"][0]["star"] == str(old["star"].values[4])
    few = CliRunner().invoke(main, ["validate", *paths, "--stars", "0:5", "--json"])
    assert json.loads(few.stdout)["compared"] == {
        "compared": 5,
        "not_done": 0,
        "old": 0,
        "new": 45,
    }
    same = CliRunner().invoke(main, ["validate", paths[0], paths[0]])
    assert same.exit_code == 1 and "both are the same catalogue" in same.stderr
