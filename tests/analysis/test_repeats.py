"""The scatter of visits over their errors is what was drawn, and nothing is left unsaid."""

import json

import numpy as np
import pytest
import xarray as xr
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

import luxscale as lux
from luxscale import plot, store
from luxscale.analysis import repeats as module
from luxscale.analysis.repeat_tables import format_repeats, to_records
from luxscale.analysis.repeats import find_weighted_median
from luxscale.analysis.visits import find_deviations, read_repeats
from luxscale.cli import main
from luxscale.errors import InputError

LABELS = ("teff", "fe_h")
UNIT = np.array([80.0, 0.1])


def draw(n_visits, scale=1.0, shared=0.0, seed=0):
    """Return a catalogue of stars with so many visits each, whose errors are ``scale`` too small.

    ``shared`` is what visits of a star have in common, in errors.
    """
    rng = np.random.default_rng(seed)
    star = np.repeat(np.arange(len(n_visits)), n_visits)
    snr = rng.uniform(20, 200, star.size)
    err = UNIT * (100 / snr)[:, None]
    true = np.array([4800, -0.3]) + 5 * UNIT * rng.normal(size=(len(n_visits), 2))
    true = true + shared * UNIT * rng.normal(size=true.shape)
    value = true[star] + scale * err * rng.normal(size=err.shape)
    order = rng.permutation(star.size)
    return xr.Dataset(
        {
            "label_value": (("star", "label"), value[order]),
            "label_err": (("star", "label"), err[order]),
            "object": ("star", np.array([f"o{i}" for i in star[order]], object)),
            "snr": ("star", snr[order]),
            "status": ("star", np.ones(star.size, np.uint8)),
        },
        {
            "star": np.arange(star.size),
            "label": np.array(LABELS, object),
            "label_units": ("label", np.array(["K", "dex"], object)),
        },
    )


@pytest.mark.parametrize("visits", [2, 3, 12])
def test_right_errors_have_a_ratio_of_one_however_few_visits(visits):
    n_stars = 8000 // (visits - 1)
    found = lux.measure_repeats(draw(np.full(n_stars, visits)), "object", over=[]).isel(bin=0)
    np.testing.assert_allclose(found.n_pairs, n_stars * (visits - 1))
    off = (found.ratio - 1) / found.ratio_err
    assert (abs(off) < 3.5).all()
    np.testing.assert_allclose(found.ratio_err, 1.1664 * found.ratio / np.sqrt(found.n_pairs))


def test_standard_error_is_the_scatter_of_ratios_of_many_surveys():
    visits = np.array([2] * 60 + [5] * 30)
    found = [lux.measure_repeats(draw(visits, seed=k), "object", over=[]) for k in range(150)]
    ratios = np.array([each.ratio.values[0] for each in found])
    stated = np.mean([each.ratio_err.values[0] for each in found])
    assert ratios.mean() == pytest.approx(1, abs=0.02)
    assert ratios.std() == pytest.approx(stated, rel=0.15)


def test_errors_half_of_what_they_should_be_have_a_ratio_of_two():
    found = lux.measure_repeats(draw(np.full(4000, 3), scale=2.0), "object")
    np.testing.assert_allclose(found.ratio[0], 2, rtol=0.05)
    np.testing.assert_allclose(found.scatter[0], 2 * found.median_err[0], rtol=0.2)
    by_snr = found.isel(bin=found.quantity.values == "snr")
    np.testing.assert_allclose(by_snr.ratio, 2, rtol=0.12)
    assert by_snr.n_visits.values.sum(0).tolist() == [12000, 12000]


def test_what_visits_share_does_not_show():
    found = lux.measure_repeats(draw(np.full(4000, 2), shared=30.0), "object", over=[])
    np.testing.assert_allclose(found.ratio[0], 1, atol=0.06)


@given(st.integers(0, 10_000), st.floats(-1e6, 1e6), st.floats(1e-3, 1e3))
def test_deviations_know_neither_zero_nor_unit(seed, shift, unit):
    rng = np.random.default_rng(seed)
    star = np.sort(rng.integers(0, 6, 20))
    value, err = rng.normal(size=(20, 2)), rng.uniform(0.5, 2, (20, 2))
    base = find_deviations(value, err, star)
    moved = find_deviations(shift + unit * value, unit * err, star)
    np.testing.assert_allclose(moved.share, base.share, atol=1e-12)
    np.testing.assert_allclose(moved.pull, base.pull, atol=1e-6 + 1e-12 * abs(shift) / unit)
    order = rng.permutation(20)
    mixed = find_deviations(value[order], err[order], star[order])
    np.testing.assert_allclose(mixed.pull, base.pull[order], atol=1e-9)
    # shares add up to one less than the visits of each star
    visits = np.bincount(star, minlength=6)
    shares = np.bincount(star, base.share[:, 0], 6)
    np.testing.assert_allclose(shares, np.maximum(visits - 1, 0), atol=1e-9)


def test_two_visits_have_the_pull_of_their_difference():
    value, err = np.array([[10.0], [13.0], [7.0]]), np.array([[1.0], [2.0], [5.0]])
    found = find_deviations(value, err, np.array([0, 0, 1]))
    np.testing.assert_allclose(np.abs(found.pull[:2, 0]), 3 / np.sqrt(5))
    np.testing.assert_allclose(found.share[:, 0], [0.2, 0.8, 0])
    assert np.isnan(found.pull[2, 0])


def test_weighted_median_of_equal_weights_is_the_median():
    values = np.random.default_rng(0).normal(size=31)
    assert find_weighted_median(values, np.full(31, 0.3)) == pytest.approx(np.median(values))
    assert find_weighted_median(values[:30], np.ones(30)) == pytest.approx(np.median(values[:30]))
    assert find_weighted_median(np.array([1.0, 2.0, 9.0]), np.array([1, 1, 50])) > 5
    assert np.isnan(find_weighted_median(np.zeros(0), np.zeros(0)))


def test_what_is_not_used_is_counted():
    catalog = draw(np.r_[np.full(40, 2), np.ones(7, int)])
    catalog["label_value"].values[3, 0] = np.nan
    catalog["label_err"].values[5, 0] = 0.0
    once = np.isin(catalog.object.values, [f"o{i}" for i in range(40, 47)])
    unfinished = np.flatnonzero(~once)[-2:]
    catalog["status"].values[unfinished] = 0
    nameless = np.flatnonzero(once)[:2]
    catalog["object"].values[nameless] = ["", None]
    found = lux.measure_repeats(catalog, "object", over=[])
    lost = {catalog.object.values[i] for i in unfinished}
    assert found.attrs["repeated"] == found.attrs["drawn"] == 40 - len(lost)
    assert found.attrs["once"] == 5 + (2 if len(lost) == 2 else 0)
    assert (found.attrs["not_done"], found.attrs["without_star"]) == (2, 2)
    assert found.attrs["most_visits"] == 2
    assert found.n_missing[0].values.tolist() == [2, 0]
    assert int(found.n_stars[0, 1]) == 40 - len(lost)
    text = format_repeats(found)
    assert "2 rows are not done" in text and "2 have no 'object'" in text


def test_visits_of_one_star_alone_are_measured_and_said_to_be_one():
    found = lux.measure_repeats(draw(np.array([500, 1, 1])), "object", over=[]).isel(bin=0)
    assert found.n_stars.values.tolist() == [1, 1] and found.attrs["once"] == 2
    np.testing.assert_allclose(found.ratio, 1, atol=0.2)


def test_too_few_pairs_have_no_ratio():
    found = lux.measure_repeats(draw(np.full(module.FEWEST - 1, 2)), "object", over=[])
    assert np.isnan(found.ratio.values).all() and np.isnan(found.scatter.values).all()
    assert to_records(found)[0]["ratio"] is None
    assert "of fewer than 12 pairs no ratio is given" in format_repeats(found)
    assert np.isfinite(lux.measure_repeats(draw(np.full(12, 2)), "object", over=[]).ratio).all()


@pytest.mark.parametrize(
    ("by", "message"),
    [
        ("objekt", "catalogue: nothing is called 'objekt'; similar: object"),
        ("number", "each of 10 rows has a 'number' of its own, as row 0 has 0"),
        ("label_value", "not one value for each star"),
    ],
)
def test_a_column_that_tells_no_repeats_is_refused(by, message):
    catalog = draw(np.full(5, 2)).assign(number=("star", np.arange(10)))
    with pytest.raises(InputError, match=message):
        lux.measure_repeats(catalog, by)


def test_a_catalogue_of_which_nothing_is_done_is_refused():
    catalog = draw(np.full(5, 2))
    catalog["status"].values[:] = 0
    with pytest.raises(InputError, match="no row that is done has a 'object'.*10 rows are not"):
        lux.measure_repeats(catalog, "object")


def test_of_more_visits_than_fit_stars_are_drawn_whatever_their_order():
    catalog = draw(np.full(300, 2))
    some = read_repeats(catalog, "object", "catalogue", most_labels=400)
    assert some.counts["drawn"] == 100 and some.counts["repeated"] == 300
    assert np.bincount(some.star).tolist() == [2] * 100
    turned = catalog.isel(star=np.random.default_rng(1).permutation(600))
    again = read_repeats(turned, "object", "catalogue", most_labels=400)
    np.testing.assert_array_equal(np.sort(again.value, 0), np.sort(some.value, 0))


@pytest.fixture(scope="module")
def visits(world, tmp_path_factory):
    """A survey of 150 stars with four visits each, a model, and the catalogue of the visits."""
    folder = tmp_path_factory.mktemp("visits")
    stars = world.survey(150, 21)
    rng = np.random.default_rng(4)
    survey = stars.isel(star=np.repeat(np.arange(150), 4))
    noise = np.where(survey.flux_ivar > 0, survey.flux_ivar, 1) ** -0.5
    flux = survey.flux.values + noise * rng.normal(size=survey.flux.shape)
    survey = survey.assign(
        flux=(("star", "wavelength"), flux.astype("f4")),
        object=("star", survey.star.values),
    ).assign_coords(star=[f"v{i}" for i in range(600)])
    model = lux.train(world.survey(400, 22), latent_dim=4, progress=False)
    store.write_dataset(survey, folder / "survey.zarr", chunk=100)
    model.save(folder / "model.zarr")
    paths = [folder / f"{name}.zarr" for name in ("survey", "model", "catalog")]
    lux.label_survey(*paths, progress=False)
    return folder


def test_scatter_of_visits_is_the_noise_that_formulas_expect(visits):
    from luxscale.analysis.formal_errors import expected_errors

    found = lux.measure_repeats(
        visits / "catalog.zarr",
        "object",
        survey=visits / "survey.zarr",
        model=visits / "model.zarr",
    )
    survey, model = lux.open_survey(visits / "survey.zarr"), lux.load_model(visits / "model.zarr")
    expected = expected_errors(model, survey.flux_ivar)
    share = (expected.noise / expected.posterior).median("star")
    np.testing.assert_allclose(found.formal_ratio[0], share, rtol=0.15)
    assert (found.ratio[0] <= found.formal_ratio[0] + 1e-9).all()
    assert list(dict.fromkeys(found.quantity.values.tolist())) == ["all", "snr", "teff"]


def test_a_catalogue_gives_the_same_in_chunks_and_in_memory(visits):
    lazy, survey = (
        store.open_dataset(visits / "catalog.zarr"),
        lux.open_survey(visits / "survey.zarr"),
    )
    assert lazy.label_value.chunks
    one = lux.measure_repeats(lazy, "object", survey=survey)
    xr.testing.assert_identical(one, lux.measure_repeats(lazy.load(), "object", survey=survey))


def test_the_command_prints_a_table_and_draws(visits):
    arguments = ["repeats", visits / "catalog.zarr", "--by", "object", "--survey"]
    arguments += [visits / "survey.zarr", "--model", visits / "model.zarr"]
    drawn = [*arguments, "--figure", visits / "repeats.png"]
    result = CliRunner().invoke(main, [str(a) for a in drawn])
    assert result.exit_code == 0, result.output
    assert "150 stars have two visits or more by 'object'" in result.output
    assert "formal ratio by snr" in result.output and (visits / "repeats.png").exists()
    again = CliRunner().invoke(main, [str(a) for a in drawn])
    assert again.exit_code == 1 and "--overwrite" in again.output
    some = [*arguments, "--json", "--where", "snr > 40", "--over", "snr", "--bins", "2"]
    facts = json.loads(CliRunner().invoke(main, [str(a) for a in some]).output)
    assert {r["quantity"] for r in facts["labels"]} == {"all", "snr"}
    assert all(r["least"] >= 40 for r in facts["labels"] if r["quantity"] == "snr")


def test_a_catalogue_with_some_labels_has_no_formal_ratio(visits):
    some = store.open_dataset(visits / "catalog.zarr").isel(label=[1, 0])
    survey = lux.open_survey(visits / "survey.zarr")
    with pytest.raises(InputError, match="has the labels logg, teff, the model teff, logg"):
        lux.measure_repeats(some, "object", survey=survey, model=visits / "model.zarr")


def test_the_command_refuses_what_it_cannot_measure(visits):
    catalog = str(visits / "catalog.zarr")
    result = CliRunner().invoke(main, ["repeats", catalog, "--by", "object"])
    assert f"{catalog}: nothing is called 'object'" in result.output
    assert "for a column of the survey name it (--survey" in result.output
    result = CliRunner().invoke(main, ["repeats", catalog, "--by", "star"])
    assert result.exit_code == 1 and "as row 0 has 'v0'" in result.output


def test_the_figure_has_a_panel_for_each_label_and_says_what_there_is():
    found = lux.measure_repeats(draw(np.full(100, 3)), "object", bins=3)
    axes = plot.repeats(found)
    assert [ax.get_title() for ax in axes] == ["$T_{\\rm eff}$", "[Fe/H]"]
    assert axes[0].containers[0].lines[0].get_xdata().size == 3
    with pytest.raises(InputError, match="no bins of 'ra', but of: snr, teff"):
        plot.repeats(found, "ra")
