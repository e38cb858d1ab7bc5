"""Comparison of labels: closed-form statistics, matching of stars and labels, messages."""

import numpy as np
import pytest
import xarray as xr

from luxscale.analysis.evaluate import STATISTICS, check_catalog, compare, match_labels
from luxscale.analysis.stats import MAD_TO_SIGMA, robust_scatter
from luxscale.errors import InputError
from luxscale.schema import flags
from luxscale.schema.stars import StarIndex

UNITS = {"teff": "K", "logg": "dex(cm s-2)", "fe_h": "dex"}


def table(value, err, labels=("teff", "logg", "fe_h"), stars=None, **more):
    """A Dataset with labels (star, label), as surveys and catalogues have them."""
    value = np.asarray(value, float)
    stars = [f"s{i}" for i in range(len(value))] if stars is None else stars
    columns = {
        "label_value": value,
        "label_err": np.broadcast_to(np.asarray(err, float), value.shape),
    }
    return xr.Dataset(
        {k: (("star", "label"), v) for k, v in (columns | more).items()},
        {
            "star": stars,
            "label": list(labels),
            "label_units": ("label", [UNITS[k] for k in labels]),
        },
    )


def draw(n=4000, seed=0):
    """A catalogue and a survey whose errors, known on both sides, are Gaussian and right."""
    rng = np.random.default_rng(seed)
    err, truth_err = rng.uniform(0.5, 2, (2, n, 3)) * [100, 0.1, 0.05]
    true = rng.normal([4500, 2, 0], [500, 1, 0.3], (n, 3))
    return (
        table(true + err * rng.normal(size=true.shape), err),
        table(true + truth_err * rng.normal(size=true.shape), truth_err),
    )


def shuffled(dataset, seed=1):
    return dataset.isel(star=np.random.default_rng(seed).permutation(dataset.sizes["star"]))


# statistics


def test_closed_form():
    truth = table([[1000.0]] * 5, 3.0, ["teff"])
    catalog = table([[1001.0], [1002.0], [1003.0], [1004.0], [1010.0]], 4.0, ["teff"])
    found = compare(catalog, truth).sel(label="teff")
    assert found["n_stars"] == 5
    assert found["bias"] == 4
    assert found["rmse"] == pytest.approx(26**0.5)
    assert found["robust_scatter"] == pytest.approx(MAD_TO_SIGMA)
    assert found["median_err"] == 4
    assert found["pull"] == pytest.approx(MAD_TO_SIGMA / 5)


def test_right_errors_have_a_pull_of_one():
    found = compare(*draw())
    np.testing.assert_allclose(found["pull"], 1, atol=0.05)
    np.testing.assert_allclose(found["bias"] / found["rmse"], 0, atol=0.05)


def test_one_star_has_no_scatter_and_no_pull():
    """0 would say that it does not scatter, and that its error is too large."""
    catalog, survey = draw(1)
    found = compare(catalog, survey)
    assert np.isnan(found["robust_scatter"]).all() and np.isnan(found["pull"]).all()
    assert (found["n_stars"] == 1).all() and (found["rmse"] > 0).all()
    both = compare(*draw(2))
    assert (both["robust_scatter"] > 0).all() and (both["pull"] > 0).all()


def test_robust_scatter_is_that_of_a_gaussian_without_its_outliers():
    values = np.random.default_rng(0).normal(3, 2, 50_000)
    values[:500] = 1e6
    assert robust_scatter(values) == pytest.approx(2, rel=0.03)


def test_only_known_labels_count():
    truth = table([[1, np.nan, np.nan], [2, 1, np.nan]], 0.1)
    found = compare(table([[1, 1, 1], [4, np.inf, 1]], 0.1), truth)
    assert found["n_stars"].values.tolist() == [2, 0, 0]
    assert found["bias"][0] == 1
    for name in set(STATISTICS) - {"n_stars"}:
        assert np.isnan(found[name][1:]).all(), name


def test_a_missing_error_spares_the_rest():
    truth = table([[1.0], [2], [3]], [[np.nan], [0.0], [3.0]], ["fe_h"])
    found = compare(table([[1.0], [2], [4]], [[np.nan], [4.0], [4.0]], ["fe_h"]), truth).sel(
        label="fe_h"
    )
    assert found["n_stars"] == 3
    assert found["median_err"] == 4
    assert found["pull"] == pytest.approx(MAD_TO_SIGMA * 0.1)


def test_no_errors_at_all_give_no_pull():
    found = compare(table([[1.0], [2]], 0.0, ["fe_h"]), table([[1.0], [2]], 0.0, ["fe_h"]))
    assert found["rmse"][0] == 0
    assert np.isnan(found["pull"][0])


# matching


def test_order_of_stars_and_labels_does_not_matter():
    catalog, truth = draw(300)
    expected = compare(catalog, truth)
    found = compare(catalog, shuffled(truth).isel(label=[2, 0, 1]))
    xr.testing.assert_allclose(found, expected, rtol=1e-12)
    assert found["label"].values.tolist() == ["teff", "logg", "fe_h"]


def test_either_side_may_hold_more():
    catalog, truth = draw(300)
    both = {"star": slice(50, 200), "label": [0, 2]}
    found = compare(
        catalog.isel(star=slice(0, 200), label=[0, 2]), truth.isel(star=slice(50, None))
    )
    xr.testing.assert_allclose(found, compare(catalog.isel(both), truth.isel(both)))


@pytest.mark.parametrize("dtype", [object, np.dtypes.StringDType(), str])
@pytest.mark.parametrize("lazy", [False, True])
def test_any_star_index(dtype, lazy):
    catalog, truth = draw(100)
    expected = compare(catalog, truth)

    def lazily(dataset):
        stars = dataset["star"].values.astype(dtype)
        dataset = dataset.drop_vars("star").assign_coords(star=("star", stars)).drop_indexes("star")
        dataset = dataset.set_xindex("star", StarIndex)
        return dataset.chunk(star=30) if lazy else dataset

    xr.testing.assert_allclose(compare(lazily(catalog), lazily(truth)), expected)
    xr.testing.assert_allclose(compare(lazily(catalog), shuffled(truth)), expected)
    xr.testing.assert_allclose(compare(shuffled(lazily(catalog)), lazily(truth)), expected)


def test_stars_without_an_index_and_with_numbers_for_names():
    catalog, truth = (d.assign_coords(star=np.arange(50)) for d in draw(50))
    xr.testing.assert_allclose(
        compare(catalog.drop_indexes("star"), shuffled(truth)), compare(catalog, truth)
    )


def test_a_lazy_catalogue_is_computed_once():
    import dask.array as da

    calls = []

    def count(block):
        calls.append(block.shape)
        return block

    catalog, truth = draw(40)
    both = da.from_array(
        np.stack([catalog["label_value"], catalog["label_err"]]), chunks=(2, 10, 3)
    ).map_blocks(count, meta=np.empty((0, 0, 0)))
    lazy = catalog.assign(
        label_value=(("star", "label"), both[0]), label_err=(("star", "label"), both[1])
    )
    xr.testing.assert_allclose(compare(lazy, truth), compare(catalog, truth))
    assert len(calls) == 4


def test_only_stars_that_are_done_count():
    catalog, truth = draw(20)
    status = np.arange(20) % 2
    found = compare(catalog.assign(status=("star", status.astype("u1"))), truth)
    xr.testing.assert_allclose(found, compare(catalog.isel(star=status == 1), truth))


def test_true_labels_come_first_and_have_no_errors():
    catalog, truth = draw(200)
    truth = truth.assign(label_true=truth["label_value"] + 1)
    against_value = compare(catalog, truth, truth_name="label_value")
    np.testing.assert_allclose(compare(catalog, truth)["bias"], against_value["bias"] - 1)
    assert not match_labels(catalog, truth)["truth_err"].any()
    assert match_labels(catalog, truth, truth_name="label_value")["truth_err"].all()


def test_everything_is_labelled():
    found = compare(*draw(10))
    assert found["label_units"].values.tolist() == list(UNITS.values())
    assert {name: found[name].attrs["long_name"] for name in found} == STATISTICS
    assert all(found[name].dims == ("label",) for name in found)


def test_units_come_from_either_side():
    catalog, truth = draw(10)
    assert compare(catalog.drop_vars("label_units"), truth)["label_units"][0] == "K"
    assert (
        compare(catalog.drop_vars("label_units"), truth.drop_vars("label_units"))["label_units"][0]
        == ""
    )


# messages


def broken(what):
    catalog, truth = draw(10)
    return {
        "stars": (catalog, truth.assign_coords(star=[f"other{i}" for i in range(10)])),
        "kinds": (catalog, truth.assign_coords(star=np.arange(10))),
        "labels": (catalog, truth.assign_coords(label=["a", "b", "c"])),
        "units": (catalog, truth.assign_coords(label_units=("label", ["kK", "dex", "dex"]))),
        "truth": (catalog, truth.drop_vars("label_value")),
        "errors": (catalog.drop_vars("label_err"), truth),
        "names": (catalog.drop_vars("star"), truth),
        "twice": (catalog, truth.assign_coords(star=["s0"] * 10)),
        "undone": (catalog.assign(status=("star", np.zeros(10, "u1"))), truth),
    }[what]


@pytest.mark.parametrize(
    ("what", "message"),
    [
        (
            "stars",
            "no star is in common: the catalogue's are like 's0', the survey's like 'other0'",
        ),
        ("kinds", "the catalogue's are like 's0', the survey's like 0"),
        (
            "labels",
            "no label is in common: the catalogue has teff, logg, fe_h; the survey has a, b, c",
        ),
        ("units", "label 'teff' is in K in the catalogue and in kK in the survey; convert one"),
        (
            "truth",
            "truth: no variable 'label_value' (star, label); its variables on (star, label) "
            "are: label_err",
        ),
        ("errors", "catalogue: no variable 'label_err'"),
        ("names", "catalogue: no coordinate 'star'"),
        ("twice", "truth: 'star' repeats 's0'"),
        ("undone", "none of the stars in common is done (status 1)"),
    ],
)
def test_messages(what, message):
    with pytest.raises(InputError) as caught:
        compare(*broken(what))
    assert message in str(caught.value)


def test_a_label_that_one_side_lacks():
    catalog, truth = draw(10)
    with pytest.raises(InputError, match="label 'mg_fe' is not in both: the catalogue has teff"):
        match_labels(catalog, truth, labels=["mg_fe"])


# a catalogue as a whole


def catalogue(n=6):
    catalog, _ = draw(n)
    zero = ("star", np.zeros(n, "f4"))
    return catalog.assign(
        latent=(("star", "latent"), np.zeros((n, 2), "f4")),
        chi2=zero,
        n_pixels=("star", np.ones(n, "i4")),
        flags=("star", np.full(n, flags.BIT["bad_fit"])),
        status=("star", (np.arange(n) > 1).astype("u1")),
    )


def test_check_catalog_counts_what_is_done():
    expected = {"stars": 6, "done": 4, "unreadable": 0, "not_finite": 0, "flags": {"bad_fit": 4}}
    assert check_catalog(catalogue(), "c.zarr") == expected
    broken = catalogue()
    broken["label_value"] = broken["label_value"].where(broken["status"] == 0)
    assert check_catalog(broken, "c.zarr") == expected | {"not_finite": 4}
    broken["status"] = broken["status"] * 2
    assert check_catalog(broken, "c.zarr") == expected | {"done": 0, "unreadable": 4, "flags": {}}


def test_check_catalog_refuses_others():
    with pytest.raises(InputError, match=r"c\.zarr: no variable 'latent'"):
        check_catalog(draw(3)[0], "c.zarr")
    with pytest.raises(InputError, match=r"c\.zarr: 'flags' has dtype float64"):
        check_catalog(catalogue().assign(flags=("star", np.zeros(6))), "c.zarr")
    folds = draw(3)[0].expand_dims(latent_dim=[4]).assign_attrs(format="luxscale-crossval")
    with pytest.raises(InputError, match=r"c\.zarr: a cross-validation, not a catalogue; give"):
        check_catalog(folds, "c.zarr")


def test_a_catalogue_is_not_the_truth():
    labelled = catalogue()
    with pytest.raises(
        InputError, match="truth: a catalogue, whose labels are inferred; give a survey"
    ):
        compare(labelled, labelled)
