"""What data say of latents: derivatives against differences in float64."""

import jax
import numpy as np
import pytest

from luxscale.model.features import PolynomialFeatures
from luxscale.model.jit import use_float64
from luxscale.model.observation import Equations


@pytest.mark.parametrize("full", [False, True])
def test_curvature_with_what_bends_is_half_the_second_derivative_of_chi2(full):
    rng = np.random.default_rng(1)
    features = PolynomialFeatures(3, 3, 2)
    precision = rng.uniform(1, 2, (4, 6))
    if full:
        root = rng.standard_normal((4, 6, 6))
        precision = root @ root.swapaxes(1, 2)
    pull, weights = rng.standard_normal((4, 6)), rng.standard_normal((6, features.n_terms))
    with use_float64():
        equations = Equations(precision=precision, pull=pull, weights=weights, features=features)
        linearise, bend = jax.jit(equations.linearise), jax.jit(equations.bend)
        z = rng.standard_normal((4, 3))
        half = np.asarray(linearise(z)[0] + bend(z))
        step = 1e-5
        for i in range(3):
            aside = step * np.eye(3)[i]
            _, up = linearise(z + aside)
            _, down = linearise(z - aside)
            slope = (np.asarray(down) - np.asarray(up)) / (2 * step)
            np.testing.assert_allclose(half[:, i], slope, rtol=1e-6, atol=1e-6)
