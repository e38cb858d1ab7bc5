"""Latents of a linear model, turned to where spectra bend."""

import numpy as np

from luxscale.training.data import BLOCK, Arrays
from luxscale.training.latents import Latents
from luxscale.training.linear_start import find_bends


def test_the_first_latent_is_the_one_that_pixels_bend_along():
    rng = np.random.default_rng(2)
    n, d, p = 8 * BLOCK, 20, 5
    z = rng.standard_normal((n, p))
    along = np.array([0.6, 0, 0, -0.8, 0])
    weights = rng.standard_normal((d, p))
    bend = 0.3 * rng.standard_normal(d) * ((z @ along) ** 2 - 1)[:, None]
    values = z @ weights.T + bend + 0.2 * rng.standard_normal((n, d))
    ivar = np.full((n, d), 25.0)
    output = Arrays.empty(values.astype("f4"), ivar.astype("f4"), d)
    output = output._replace(weights=weights.astype("f4"))
    turn = find_bends((output,), Latents.certain(z.astype("f4")), np.ones(n, "f4"))
    assert abs(turn[:, 0] @ along) > 0.995
    np.testing.assert_allclose(turn.T @ turn, np.eye(p), atol=1e-10)
