"""What the tests of the steps of training share."""

import numpy as np
import pytest

from luxscale.training.data import BLOCK, Arrays
from luxscale.training.latents import Latents


@pytest.fixture
def step_problem():
    """Two blocks of stars with noisy latents, one output of 6 features.

    (output, latents, cov (star, P, P)).
    """
    rng = np.random.default_rng(5)
    n, d, p = 2 * BLOCK, 6, 3
    half = 0.6 * rng.standard_normal((n, p, p))
    cov = half @ half.swapaxes(1, 2)
    i, j = np.tril_indices(p)
    z, w = 0.5 + rng.standard_normal((n, p)), rng.standard_normal((d, p))
    ivar = rng.uniform(1, 30, (n, d)) * (rng.random((n, d)) > 0.2)
    scatter = rng.uniform(0, 0.5, d)
    values = 0.3 + z @ w.T + 0.4 * rng.standard_normal((n, d))
    output = Arrays(
        *(
            a.astype("f4")
            for a in (np.where(ivar > 0, values, 0), ivar, w, np.full(d, 0.3), scatter)
        )
    )
    return output, Latents(z.astype("f4"), cov[:, i, j].astype("f4"), np.zeros(n, "f4")), cov


@pytest.fixture(scope="session")
def float64_ridge():
    """Weights and offset of one feature from latents with covariances, and a ridge."""

    def regress(output, latents, feature, ridge):
        z = np.asarray(latents.mean, float)
        p = z.shape[1]
        z1 = np.column_stack([z, np.ones(len(z))])
        second = z1[:, :, None] * z1[:, None, :]
        i, j = np.tril_indices(p)
        second[:, i, j] += latents.cov
        second[:, j, i] = second[:, i, j]
        y, ivar = (np.asarray(a, float)[:, feature] for a in (output.values, output.ivar))
        w = ivar / (1 + ivar * float(output.scatter[feature]) ** 2)
        strength = w.sum() / (w > 0).sum()
        normal = np.einsum("n,nij->ij", w, second) + strength * np.diag([ridge] * p + [1e-6])
        return np.linalg.solve(normal, z1.T @ (w * y))

    return regress


@pytest.fixture(scope="module")
def low_rank_spectra():
    """Spectra of five components, (300, 30), their errors, which are small, and gaps."""
    rng = np.random.default_rng(1)
    shapes = np.linalg.qr(rng.standard_normal((30, 5)))[0].T
    values = (rng.standard_normal((300, 5)) * [90, 70, 50, 40, 30]) @ shapes * 0.01
    ivar = np.full(values.shape, 1e4) * rng.uniform(0.5, 2, (300, 1))
    gaps = rng.random(values.shape) < 0.15
    gaps[:100] = False
    return values, ivar, gaps
