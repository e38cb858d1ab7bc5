"""Where training starts: the leading components of the spectra, and the scatter of labels.

Both are of the data alone: they know of no model.
"""

from __future__ import annotations

import math

import numpy as np

from luxscale.training.data import LEAST_SCATTER, Arrays, TrainingData

#: Scatter from which spectra and bands start, and labels where there is nothing else, in units of
#: their spread.
_START, _LABEL_START = 0.03, 0.1

#: Of the start of the subspace iteration.
_SEED = 20250203

#: Components beyond those asked for that make a subspace iteration converge in few rounds.
_EXTRA = 10

#: Rounds of the subspace iteration.
ROUNDS = 6

#: Folds by which the scatter of labels is measured.
_FOLDS = 5


def find_principal_latents(data: TrainingData, latent_dim: int) -> np.ndarray:
    """Return where EM starts, leading principal components of the spectra: (star, latent).

    Each pixel is weighted by its mean ivar. By subspace iteration from a fixed random start in
    feature space, so that neither a seed nor the order of the stars matters. Padding included; of
    variance 1.
    """
    values = []
    roots = []
    for arrays, informs in zip(data.arrays, data.informing, strict=True):
        if informs:
            values.append(np.asarray(arrays.values))
            roots.append(_compute_root_mean_ivar(arrays)[:, None])
    sizes = [v.shape[1] for v in values]
    n = values[0].shape[0]
    d = sum(sizes)
    basis = draw_basis(d, latent_dim, data.n_stars)
    edges = np.cumsum(sizes)[:-1]
    for _ in range(ROUNDS):
        # to the space of stars and back, an output at a time: no joint matrix of all is made
        parts = zip(values, roots, np.split(basis, edges), strict=True)
        projected = sum(y @ (root * b) for y, root, b in parts)
        left, _ = np.linalg.qr(projected)
        by_output = []
        for y, root in zip(values, roots, strict=True):
            by_output.append(root * (y.T @ left))
        basis = np.concatenate(by_output)
    _, _, rotation = np.linalg.svd(basis, full_matrices=False)
    rotated = left @ rotation.T
    components = rotated[:, :latent_dim] * np.sqrt(data.n_stars)
    # latents beyond what the data have components start at 0
    z = np.zeros((n, latent_dim), np.float32)
    z[:, : components.shape[1]] = components
    return z


def draw_basis(d: int, latent_dim: int, n_stars: int) -> np.ndarray:
    """Return what the subspace iteration starts from: (feature, component)."""
    width = min(latent_dim + _EXTRA, n_stars, d)
    rng = np.random.default_rng(_SEED)
    return rng.standard_normal((d, width)).astype(np.float32)


def _compute_root_mean_ivar(arrays: Arrays) -> np.ndarray:
    ivar = np.asarray(arrays.ivar)
    count = (ivar > 0).sum(0)
    mean = ivar.sum(0) / np.maximum(count, 1)
    return np.sqrt(mean).astype(np.float32)


def measure_label_scatter(data: TrainingData, z: np.ndarray) -> list[np.ndarray]:
    """Return the scatter each output starts from; that of labels is kept.

    A fitted label scatter collapses once there are latents enough to follow each label's noise. It
    is therefore measured: the scatter of labels about a ridge regression on the leading components
    of the spectra, each fold of stars predicted from the others, less the labels' own errors; as
    second moment, because the likelihood that it enters is Gaussian. Where there are no spectra it
    starts small, and is fitted.
    """
    scatters = []
    for output, fitted in zip(data.outputs, data.informing, strict=True):
        start = _LABEL_START if output.is_label else _START
        scatter = np.full(output.size, start, np.float32)
        if not fitted:
            values, ivar = output.read_table()
            fold = data.assign_folds(_FOLDS)
            for m in range(output.size):
                scatter[m] = _measure_scatter(z, values[:, m], ivar[:, m], fold)
        scatters.append(scatter)
    return scatters


def _measure_scatter(z: np.ndarray, value: np.ndarray, ivar: np.ndarray, fold: np.ndarray) -> float:
    """Return the scatter of a label about a ridge regression on z, out of fold, less its errors."""
    known = np.flatnonzero(ivar > 0)
    if not known.size:
        return 0.0
    constant = np.ones(known.size)
    x = np.column_stack([z[known], constant]).astype(float)
    y = value[known].astype(float)
    error2 = 1 / ivar[known].astype(float)
    fold = fold[known]
    ridge = np.eye(x.shape[1])
    residual = np.zeros(known.size)
    for k in np.unique(fold):
        left_out = fold == k
        design = x[~left_out]
        target = y[~left_out]
        normal = design.T @ design + ridge
        slope = np.linalg.solve(normal, design.T @ target)
        predicted = x[left_out] @ slope
        residual[left_out] = y[left_out] - predicted
    # errors may explain more than there is
    variance = float(np.mean(residual**2 - error2))
    return math.sqrt(max(variance, 0.0))


def begin_output(output: Arrays, scatter: np.ndarray, latent_dim: int) -> Arrays:
    """Return an output before its first regression, with the scatter that it starts from."""
    d = output.values.shape[1]
    return output._replace(
        weights=np.zeros((d, latent_dim), np.float32),
        offset=np.zeros(d, np.float32),
        scatter=np.maximum(scatter, LEAST_SCATTER),
    )
