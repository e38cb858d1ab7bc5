import numpy as np
import pytest

from luxscale.model import linalg
from luxscale.model.features import PolynomialFeatures
from luxscale.model.products import list_products


@pytest.mark.parametrize("sizes", [(4, 0, 0), (4, 2, 0), (4, 4, 2), (4, 3, 3)])
def test_products_of_two_lower_terms_and_features_stand_where_they_are_said_to(sizes):
    features = PolynomialFeatures(*sizes)
    products = list_products(features)
    z = np.random.default_rng(1).standard_normal((4, 6))
    powers = np.asarray(products.multiply(z), float)
    phi = features(z.T).T
    np.testing.assert_allclose(powers[products.terms], phi, rtol=1e-5)
    lower = np.vstack([np.ones(6), phi])[: features.n_lower]
    np.testing.assert_allclose(powers[products.table], lower[:, None] * lower, rtol=1e-5)
    # each of them is another
    assert len(np.unique(powers[:, 0].round(6))) == len(powers)


def test_slopes_are_made_of_lower_terms():
    features = PolynomialFeatures(4, 3, 2)
    z = np.random.default_rng(2).standard_normal(4)
    lower = np.r_[1, features(z)][: features.n_lower]
    slopes = np.tensordot(lower, features.list_slopes(), 1)
    np.testing.assert_allclose(slopes.T, features.jacobian(z))


def test_products_of_two_of_the_latents_stand_as_packed():
    i, j, table = linalg.packed_index(5)
    products = list_products(PolynomialFeatures(4, 4))
    np.testing.assert_array_equal(products.pairs, [i, j])
    np.testing.assert_array_equal(products.table, table)
