"""Steps of Adam, against those of optax."""

import jax
import numpy as np
import optax

from luxscale.model.jit import use_float64
from luxscale.training.adam import Adam


def test_steps_are_those_of_optax():
    rng = np.random.default_rng(2)
    ours = theirs = np.zeros((4, 3))
    adam, other = Adam(ours.shape), optax.adam(0.1)
    with use_float64():
        memory = other.init(theirs)
        for _ in range(20):
            gradient = rng.standard_normal(ours.shape) * [1e-9, 1e-3, 10]
            ours = ours - 0.1 * adam.find_step(gradient)
            update, memory = jax.jit(other.update)(gradient, memory)
            theirs = theirs + np.asarray(update)
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)
