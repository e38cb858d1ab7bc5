"""The scatter that sums at nodes give is that of Fisher scoring on the stars themselves."""

import numpy as np
import pytest

from luxscale.chunked.scatter import FIRST, LATER, begin_fit, go_on, place_nodes, sum_at_nodes
from luxscale.training.data import LEAST_SCATTER
from luxscale.training.latents import Latents
from luxscale.training.regression import TILE, find_squares


@pytest.mark.parametrize(("window", "steps"), [(FIRST, 8), (LATER, 2)])
def test_steps_are_those_on_the_stars(step_problem, window, steps):
    output, latents, _ = step_problem
    scatter = output.scatter.copy()
    scatter[0] = LEAST_SCATTER
    output = output._replace(scatter=scatter)
    # one feature has no scatter, and one no data
    output.ivar[:, 1] *= 1e-4
    output.ivar[:, 2] = 0
    stars = np.ones(len(output.values), "f4")
    square = find_squares(output, latents)
    expected = output.noise.fit(square, output.ivar, steps, LEAST_SCATTER).scatter
    fit = begin_fit(scatter, steps)
    while not fit.is_done:
        nodes = place_nodes(window, np.log(fit.s2))
        fit = go_on(fit, window, sum_at_nodes(output, latents, stars, nodes, 0, TILE)[..., :6])
    np.testing.assert_allclose(np.sqrt(fit.s2), expected, rtol=2e-4)


def test_latents_that_are_certain_add_nothing(step_problem):
    output, latents, _ = step_problem
    certain = Latents.certain(latents.mean)
    nodes = place_nodes(LATER, np.log(output.scatter.astype(float) ** 2 + 1e-6))
    stars = np.ones(len(output.values), "f4")
    less, more = (sum_at_nodes(output, of, stars, nodes, 0, TILE)[0] for of in (certain, latents))
    assert (less <= more).all()
