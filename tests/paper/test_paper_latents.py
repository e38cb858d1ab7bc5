"""Latents in two dimensions."""

import sys

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from luxscale.errors import InputError
from luxscale.model.decoders import LinearMap, PolynomialMap
from luxscale.paper import Study, draw
from luxscale.paper.latents import embed


@pytest.fixture(scope="module")
def world():
    rng = np.random.default_rng(0)
    latent = rng.normal(size=(60, 5))
    latent[:30, 0] += 12  # two kinds of stars
    weights = rng.normal(size=(40, 5)) * [3, 2, 0.1, 0.1, 0.1]
    return latent, LinearMap(weights, np.zeros(40))


@pytest.fixture(scope="module")
def made(world):
    pytest.importorskip("sklearn.manifold")
    with threadpool_limits(
        1
    ):  # threads that wait for each other take ten times as long where others work too
        return embed(*world)


def test_principal_components_are_those_of_the_model_spectra(world, made):
    latent, spectrum = world
    spectra = spectrum(latent)
    u, s, _ = np.linalg.svd(spectra - spectra.mean(0), full_matrices=False)
    np.testing.assert_allclose(made.attrs["explained"], s[:2] ** 2 / (s**2).sum(), rtol=1e-6)
    np.testing.assert_allclose(
        np.abs(made["pca"].values), np.abs(u[:, :2] * s[:2]), rtol=1e-6, atol=1e-6
    )


def test_those_of_a_curved_model_are_of_its_spectra_too(world):
    pytest.importorskip("sklearn.decomposition")
    latent = world[0][:, :2]
    weights = np.random.default_rng(1).normal(size=(40, 5))
    curved = PolynomialMap.quadratic(weights, np.ones(40))
    with threadpool_limits(1):
        made = embed(latent, curved)
    spectra = curved(latent)
    s = np.linalg.svd(spectra - spectra.mean(0), compute_uv=False)
    np.testing.assert_allclose(made.attrs["explained"], s[:2] ** 2 / (s**2).sum(), rtol=1e-6)


def test_unlike_stars_lie_apart_in_tsne(made):
    x = made["tsne"].values
    distance = np.linalg.norm(x[:, None] - x[None], axis=2)
    same = np.arange(60)[:, None] // 30 == np.arange(60)[None] // 30
    np.fill_diagonal(distance, np.inf)
    assert same[np.arange(60), distance.argmin(1)].mean() > 0.95


def test_too_few_stars(world):
    pytest.importorskip("sklearn")
    with pytest.raises(InputError, match="20 stars are too few for t-SNE of perplexity 25"):
        embed(world[0][:20], world[1])


def test_what_to_install_is_said_before_any_work(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(
        InputError, match=r"figure 19: the module sklearn .* pip install 'luxscale\[figures\]'"
    ):
        list(draw(Study(out=tmp_path, fraction=0.01, pixels=100, progress=False), ["19"]))
    assert not list(tmp_path.iterdir())
