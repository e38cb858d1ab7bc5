"""Run an ensemble of neural networks: python run_networks.py INPUTS problem.npz result.npz.

Five networks of scikit-learn that differ in their seeds: hidden layers of 128 and 64, a penalty of
1e-3, early stopping; labels brought to mean 0 and variance 1; the mean of their answers. INPUTS is
one of METHODS:

- ``log-flux``: the logarithm of the flux, each pixel brought to mean 0 and variance 1. Flux below
  LEAST_FLUX counts as that much.
- ``whitened``: principal components of the spectrum over the errors of its pixels, and the noise
  level of the star. See `Components`.

Missing pixels hold the mean over training stars.
"""

import sys

import numpy as np
from common import complete, run
from run_sklearn import pixels, scaled
from sklearn.neural_network import MLPRegressor
from sklearn.preprocessing import StandardScaler

MEMBERS = 5
LEAST_FLUX = 0.01  # of the star's typical flux
MOST_COMPONENTS = 80
STARS_A_COMPONENT = 4  # at least so many training stars
LEADING = 10.0  # standard deviation of the leading component as the networks see it


class Components:
    """Whitened components of spectra, and their noise level.

    c = V (y - mean) / scale, with V the leading right singular vectors of the training spectra and
    scale the median error of each pixel. Where the errors of pixels are independent, noise is the
    same in all components. One number divides all of them, so that it stays so: a network that sees
    each component at variance 1 sees mostly the noise of the last. The noise level is the logarithm
    of the star's median error over scale, brought to mean 0 and variance 1.
    """

    def __init__(self, flux, ivar):
        good = ivar > 0
        n_good = np.maximum(good.sum(0), 1)
        self.mean = np.where(good, flux, 0).sum(0) / n_good
        self.is_used = good.any(0)
        error = np.where(good, 1 / np.sqrt(np.where(good, ivar, 1)), np.nan)
        self.scale = np.ones(flux.shape[1])
        self.scale[self.is_used] = np.nanmedian(error[:, self.is_used], axis=0)
        size = min(MOST_COMPONENTS, len(flux) // STARS_A_COMPONENT)
        _, length, vectors = np.linalg.svd(self.divide(flux, ivar), full_matrices=False)
        self.vectors = vectors[:size] * (LEADING * np.sqrt(len(flux)) / length[0])
        level = self.measure_noise(ivar)
        self.level_mean, self.level_spread = level.mean(), max(level.std(), 1e-6)

    def divide(self, flux, ivar):
        """Return (flux - mean) / scale, 0 where missing: (star, pixel)."""
        is_known = (ivar > 0) & self.is_used
        return np.where(is_known, flux - self.mean, 0) / self.scale

    def measure_noise(self, ivar):
        """Return the logarithm of each star's median error over scale: (star,)."""
        relative = np.where(ivar > 0, ivar * self.scale**2, np.nan)
        return -0.5 * np.log(np.nanmedian(relative, axis=1))

    def transform(self, flux, ivar):
        """Return components and noise level: (star, component + 1)."""
        components = self.divide(flux, ivar) @ self.vectors.T
        level = (self.measure_noise(ivar) - self.level_mean) / self.level_spread
        return np.column_stack([components, level])


def read_log_flux(problem):
    """Return a function (flux, ivar) to inputs: logarithms of flux, brought to variance 1."""
    training, filled = pixels(problem)
    scaler = StandardScaler().fit(np.log(np.maximum(training, LEAST_FLUX)))
    return lambda flux, ivar: scaler.transform(np.log(np.maximum(filled(flux, ivar), LEAST_FLUX)))


def read_components(problem):
    """Return a function (flux, ivar) to inputs: whitened components and noise level."""
    return Components(problem["flux"].astype(float), problem["ivar"].astype(float)).transform


def make_network(seed):
    """Return a network of all labels."""
    return scaled(
        MLPRegressor(
            hidden_layer_sizes=(128, 64),
            alpha=1e-3,
            early_stopping=True,
            n_iter_no_change=30,
            max_iter=2000,
            random_state=seed,
        )
    )


def trainer(read_inputs, note):
    """Return what trains an ensemble on the stars that have every label."""

    def train(problem):
        rows = complete(problem)
        to_inputs = read_inputs(problem)
        inputs = to_inputs(problem["flux"], problem["ivar"])[rows]
        labels = problem["label"][rows]
        members = [make_network(seed).fit(inputs, labels) for seed in range(MEMBERS)]

        def label(flux, ivar):
            inputs = to_inputs(flux, ivar)
            return np.mean([member.predict(inputs) for member in members], axis=0), None

        return label, {"used": int(rows.sum()), "note": f"{note}; stars with every label"}

    return train


METHODS = {
    "log-flux": trainer(read_log_flux, f"{MEMBERS} networks of 128-64 on log flux"),
    "whitened": trainer(
        read_components,
        f"{MEMBERS} networks of 128-64 on at most {MOST_COMPONENTS} whitened components and the "
        "noise level",
    ),
}

if __name__ == "__main__":
    run(METHODS[sys.argv[1]], ["scikit-learn", "numpy"], *sys.argv[2:])
