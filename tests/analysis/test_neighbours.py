"""Neighbours are those that a search by brute force finds, in the metric's own formula."""

import numpy as np
import pytest
import xarray as xr
from scipy.spatial.distance import cdist

import luxscale as lux
from luxscale.analysis.neighbours import latent_covariance, neighbours
from luxscale.errors import InputError
from luxscale.model.infer import infer, infer_dataset
from luxscale.model.inference import Inference


def table(values, name="latent"):
    stars = np.array([f"s{i}" for i in range(len(values))], object)
    return xr.Dataset(
        {name: (("star", name if name == "latent" else "label"), values)}, {"star": stars}
    )


@pytest.fixture
def points():
    rng = np.random.default_rng(5)
    return rng.standard_normal((200, 4)) @ rng.standard_normal((4, 4))


def brute(values, v, k):
    d = cdist(values, values, "mahalanobis", VI=np.linalg.inv(v))
    np.fill_diagonal(d, np.inf)
    row = np.argsort(d, 1)[:, :k]
    return row, np.take_along_axis(d, row, 1)


@pytest.mark.parametrize("metric", ["population", "plain", "given"])
def test_neighbours_are_those_of_brute_force(points, metric):
    given = np.cov(np.random.default_rng(0).standard_normal((4, 9)))
    v = {"population": np.cov(points.T), "plain": np.eye(4), "given": given}[metric]
    found = neighbours(table(points), 7, metric=given if metric == "given" else metric)
    row, distance = brute(points, v, 7)
    np.testing.assert_array_equal(found["row"], row)
    np.testing.assert_allclose(found["distance"], distance)
    assert found["neighbour"].values.tolist() == [1, 2, 3, 4, 5, 6, 7]
    assert found["star"].values.tolist() == [f"s{i}" for i in range(200)]


def test_stars_without_values_or_not_done_have_no_neighbours_and_are_nobodys(points):
    points[3, 1], points[4, 0] = np.nan, np.inf
    catalog = table(points).assign(
        status=("star", np.where(np.arange(200) % 10 == 7, 0, 1).astype("u1"))
    )
    found = neighbours(catalog, 5)
    lost = np.isin(np.arange(200), [3, 4]) | (catalog["status"].values == 0)
    assert (found["row"].values[lost] == -1).all() and np.isnan(
        found["distance"].values[lost]
    ).all()
    kept = np.flatnonzero(~lost)
    row, distance = brute(points[kept], np.cov(points[kept].T), 5)
    np.testing.assert_array_equal(found["row"][kept], kept[row])
    np.testing.assert_allclose(found["distance"][kept], distance)


def test_twins_are_neighbours_at_distance_0_and_no_star_is_its_own():
    found = neighbours(table(np.zeros((9, 2))), 3, metric="plain")
    assert (found["distance"] == 0).all() and (found["row"] != np.arange(9)[:, None]).all()
    assert all(len(set(r)) == 3 for r in found["row"].values.tolist())


def test_some_stars_in_the_order_asked_for_have_the_neighbours_they_have_among_all(points):
    points[8] = np.nan
    catalog, asked = table(points), ["s150", "s2", "s8"]
    some, all_ = neighbours(catalog, 4, stars=asked), neighbours(catalog, 4)
    xr.testing.assert_identical(some, all_.sel(star=asked))


def test_labels_have_neighbours_too(points):
    found = neighbours(table(points, "label_value").isel(label=[0, 2]), 3, variable="label_value")
    np.testing.assert_array_equal(
        found["row"], brute(points[:, [0, 2]], np.cov(points[:, [0, 2]].T), 3)[0]
    )


def test_a_catalogue_that_is_lazy_or_in_memory_has_the_same_neighbours(
    small_model, held_out, capsys
):
    lazy = lux.infer(held_out.chunk(star=100), small_model)
    found = neighbours(lazy, 3, progress=True)
    xr.testing.assert_identical(found, neighbours(lux.infer(held_out, small_model).compute(), 3))
    assert "neighbours: done in" in capsys.readouterr().err


def test_latents_scatter_by_their_covariance_so_that_twins_are_p_apart(world, small_model):
    rng = np.random.default_rng(3)
    out, n = small_model["flux"], 4000
    star = world.survey(1, seed=9).isel(star=np.zeros(n, int)).assign_coords(star=np.arange(n))
    noise = np.hypot(0.02, out.scatter)
    spectra = out.map.offset + noise * rng.standard_normal((n, out.scatter.size))
    star["flux"].values[:], star["flux_ivar"].values[:] = spectra, 0.02**-2
    z = infer(star, small_model)["latent"].values.astype(float)
    c = latent_covariance(small_model, 0.02**-2)
    # of stars with one spectrum the means scatter by C - lambda C^2: the prior holds them back
    np.testing.assert_allclose(
        np.cov(z.T), c - small_model.prior.precision * c @ c, atol=0.08 * np.diag(c).max()
    )
    d = z[: n // 2] - z[n // 2 :]
    assert np.mean(np.sum(d * np.linalg.solve(2 * c, d.T).T, 1)) == pytest.approx(
        small_model.latent_dim, rel=0.1
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"k": 0}, "from 1 to 199"),
        ({"k": 200}, "from 1 to 199"),
        ({"k": 1.5}, "from 1 to 199"),
        ({"metric": "cosine"}, "'cosine' is none"),
        ({"metric": np.eye(3)}, r"shape \(3, 3\)"),
        ({"metric": np.diag([1.0, 1.0, 1.0, -1.0])}, "not positive definite"),
        ({"variable": "label_value"}, "no variable 'label_value'"),
        ({"stars": ["s1", "nobody"]}, "1 of the stars are not in the catalogue, first 'nobody'"),
    ],
)
def test_what_cannot_be_asked_is_refused(points, change, message):
    with pytest.raises(InputError, match=message):
        neighbours(table(points), **change)


def test_features_that_do_not_vary_have_no_metric_of_the_population(points):
    points[:, 2] = 0
    with pytest.raises(InputError, match="does not vary"):
        neighbours(table(points))
    assert neighbours(table(points), metric="plain").sizes == {"star": 200, "neighbour": 10}


def test_a_catalogue_without_identifiers_and_errors_of_several_stars_are_refused(
    points, small_model, held_out
):
    with pytest.raises(InputError, match="no coordinate 'star'"):
        neighbours(table(points).drop_vars("star"))
    with pytest.raises(InputError, match="give one star's"):
        latent_covariance(small_model, held_out["flux_ivar"])


@pytest.mark.slow
@pytest.mark.parametrize("gaps", [False, True])
def test_latent_covariance_of_a_curved_star_is_that_of_inference(
    gaussian_curved_model, curved_survey, gaps
):
    model = gaussian_curved_model
    star = curved_survey.isel(star=[3])
    if gaps:
        star["flux_ivar"][:, ::3] = 0
    inference = Inference.of_latents(model, covariance=True)
    found = infer_dataset(star, inference)
    got = latent_covariance(model, star["flux_ivar"][0], latent=found["latent"][0])
    np.testing.assert_allclose(got, found["latent_cov"][0], rtol=0.01, atol=1e-5)
