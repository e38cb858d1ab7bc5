"""Products, determinants and choices against NumPy, a star at a time."""

import jax.numpy as jnp
import numpy as np
import pytest

from luxscale.model import by_star


@pytest.fixture
def stars():
    rng = np.random.default_rng(1)
    return rng.uniform(1, 2, (4, 3, 3)), rng.standard_normal((4, 3))


def test_products_are_those_of_each_star(stars):
    matrices, vectors = stars
    right = [m @ v for m, v in zip(matrices, vectors, strict=True)]
    left = [v @ m for m, v in zip(matrices, vectors, strict=True)]
    np.testing.assert_allclose(by_star.multiply(matrices, vectors), right, rtol=1e-5, atol=1e-5)
    found = by_star.multiply_left(vectors, matrices)
    np.testing.assert_allclose(found, left, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("transposed", [False, True])
def test_triangles_are_solved_and_their_determinants_found(stars, transposed):
    matrices, vectors = stars
    triangles = np.tril(matrices)
    asked = triangles.swapaxes(1, 2) if transposed else triangles
    expected = [np.linalg.solve(t, v) for t, v in zip(asked, vectors, strict=True)]
    found = by_star.solve_lower(triangles, vectors, transposed=transposed)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    log_det = np.linalg.slogdet(triangles).logabsdet
    np.testing.assert_allclose(by_star.sum_log_diagonal(triangles), log_det, rtol=1e-5)


@pytest.mark.parametrize("lead", [(3,), (2, 3)])
@pytest.mark.parametrize("inner", [(), (2,), (2, 4)])
def test_each_star_has_its_own_of_two_values(lead, inner):
    which = jnp.arange(np.prod(lead)).reshape(lead) % 2 == 0
    found = by_star.choose(which, jnp.ones(lead + inner), jnp.zeros(lead + inner))
    for place in np.ndindex(lead):
        np.testing.assert_array_equal(found[place], np.full(inner, float(which[place])))


@pytest.mark.parametrize("inner", [(), (2,), (2, 4)])
def test_terms_are_picked_star_by_star(inner):
    array = np.random.default_rng(2).standard_normal((5, 3, *inner)).astype(np.float32)
    terms = np.array([[4, 0, 2], [1, 1, 3]])
    found = by_star.pick_terms(jnp.asarray(array), jnp.asarray(terms))
    for number, star in np.ndindex(terms.shape):
        np.testing.assert_array_equal(found[number, star], array[terms[number, star], star])
