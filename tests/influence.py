"""Formal errors as a loop in float64 would find them, for tests of the formulas."""

import numpy as np


def sandwich(model, ivar, label="label_value", given="flux"):
    """Posterior and noise errors of the labels of one star, from its influence matrix."""
    out, a = model[given], model[label].map.weights
    good = (ivar > 0) & out.used
    x, sigma = out.map.weights[good], 1 / np.sqrt(ivar[good].astype(float))
    w = 1 / (sigma**2 + out.scatter[good] ** 2)
    cov = np.linalg.inv(np.eye(model.latent_dim) + x.T @ np.diag(w) @ x)
    influence = a @ cov @ x.T @ np.diag(w)
    return np.sqrt(np.diag(a @ cov @ a.T)), np.sqrt(((influence * sigma) ** 2).sum(1))
