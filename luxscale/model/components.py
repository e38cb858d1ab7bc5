"""Principal components of normal matrices: few sums over pixels that nearly give all of one.

The normal matrix of a star, H_n = sum_d w_nd x_d x_d^T, is linear in its weights. Over stars whose
weights vary as those of surveys do, most of its K = P (P + 1) / 2 numbers follow from a few sums
f_n = F^T w_n: its leading principal components, in units in which the posterior of a typical star
is white. The matrix that is expected given f_n is f_n G.

How weights vary is taken from the model alone, so that what is inferred of a star depends on that
star and the model: levels of noise far below to far above the scatter, a smooth change along the
spectrum, a change with the flux, and pixels that vary on their own, as bad ones do.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import numpy as np

from luxscale.model import linalg

#: Components that are kept for each latent. With twice as many, what a step leaves is half of it,
#: and sums take as long as another step.
PER_LATENT = 3

#: Products of a star below which it takes longer to do without them.
_LEAST_WORK = 4_000_000

#: Noise, in units of the median scatter, of which weights are expected.
_LEVELS = 10.0 ** (0.5 * np.arange(-1, 4))

#: Typical change of weights along the spectrum, by polynomials of so many degrees (divided by the
#: degree); with each of so many leading latents; of one pixel on its own. Results hardly depend on
#: them.
_SMOOTH, _DEGREES = 0.5, 16
_FLUX, _LATENTS = 0.2, 4
_OWN = 0.4

#: How much more the directions of labels count than others.
_EMPHASIS = 1.5

#: Rounds of subspace iteration, and how many more components take part in it.
_ROUNDS, _MORE = 2, 32


#: Variance of a component, of the greatest, below which there is none.
_LEAST = 1e-12


class Components(NamedTuple):
    """F and G of the module: sums (feature, component), matrices (component, K)."""

    sums: Any
    matrices: Any


class _Variation(NamedTuple):
    """How weights vary, together and each on its own: covariance shapes^T shapes + diag(own)."""

    shapes: np.ndarray  # (shape, feature)
    own: np.ndarray  # (feature,)

    def apply(self, x: np.ndarray) -> np.ndarray:
        """Return the covariance times x: (feature, k)."""
        return self.shapes.T @ (self.shapes @ x) + self.own[:, None] * x


def is_worthwhile(n_features: int, latent_dim: int, n_labels: int) -> bool:
    """Whether inference is faster with components.

    Where a GPU multiplies, it never is. Nor is it for so many labels that few of them count more
    than other directions: their errors would not be right to 1% often enough.
    """
    products = latent_dim * (latent_dim + 1) // 2
    many = products >= 4 * PER_LATENT * latent_dim and n_features * products >= _LEAST_WORK
    return many and 2 * n_labels <= latent_dim and jax.default_backend() == "cpu"


def find_components(
    weights: np.ndarray,
    packed: np.ndarray,
    scatter: np.ndarray,
    ivar_unit: np.ndarray,
    labels: np.ndarray,
) -> Components:
    """Return the principal components of the normal matrices of one output.

    Parameters
    ----------
    weights : array, (feature, latent)
    packed : array, (K, feature)
        Products of their columns.
    scatter : array, (feature,)
    ivar_unit : array, (feature,)
        What inverse variances are multiplied by to be in units of the weights; 0 for features that
        take no part.
    labels : array, (label, latent)
        Directions that count for more.
    """
    profiles = _list_profiles(weights, scatter, ivar_unit)
    variation = _guess_variation(weights, profiles)
    _, _, table = linalg.packed_index(weights.shape[1])
    typical = (packed @ profiles[len(profiles) // 2])[table].astype(float)
    root = _find_root(typical, labels)
    sums = _find_leading(packed, variation, root)
    spread = variation.apply(sums)
    expected = (packed @ spread.astype(np.float32)).astype(float)
    # singular where a latent does nothing
    inverse = np.linalg.pinv(sums.T @ spread, rcond=_LEAST, hermitian=True)
    matrices = inverse @ expected.T
    return Components(sums.astype(np.float32), matrices.astype(np.float32))


def _list_profiles(weights: np.ndarray, scatter: np.ndarray, ivar_unit: np.ndarray) -> np.ndarray:
    """Return weights at each level of noise, in pixels' own units: (level, feature)."""
    unit = np.asarray(ivar_unit, float)
    used = unit > 0
    variance = unit * np.asarray(scatter, float) ** 2
    typical = np.median(variance[used]) if used.any() else 0.0
    if typical == 0:
        # as faint against the signal as that of a good spectrum
        signal = unit * np.sum(np.asarray(weights, float) ** 2, 1)
        typical = 1e-2 * np.mean(signal) or 1.0
    noise = typical * _LEVELS[:, None] ** 2
    return np.asarray(unit / (noise + variance), np.float32)


def _guess_variation(weights: np.ndarray, profiles: np.ndarray) -> _Variation:
    """Return how weights vary about profiles of which each star has one, times a level."""
    n = len(weights)
    place = np.linspace(-1, 1, n)
    smooth = np.polynomial.chebyshev.chebvander(place, _DEGREES).T
    smooth[1:] *= _SMOOTH / np.arange(1, _DEGREES + 1)[:, None]
    size = np.sqrt(np.mean(np.sum(weights.astype(float) ** 2, 1))) or 1.0
    flux = _FLUX * weights[:, :_LATENTS].T / size
    changes = np.concatenate([smooth, flux])
    # each level counts alike
    levels = profiles / np.linalg.norm(profiles, axis=1, keepdims=True).clip(1e-30)
    levels = levels / np.sqrt(len(levels))
    shapes = (levels[:, None] * changes).reshape(-1, n)
    return _Variation(shapes, _OWN**2 * np.sum(levels**2, 0))


def _find_root(typical: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return B with B B^T a typical posterior covariance, wider along labels: (P, P)."""
    covariance = np.linalg.inv(typical + np.eye(len(typical)))
    root = np.linalg.cholesky((covariance + covariance.T) / 2)
    along = np.linalg.qr(root.T @ labels.T)[0]
    wider: np.ndarray = root + (_EMPHASIS - 1) * (root @ along) @ along.T
    return wider


def _find_leading(packed: np.ndarray, variation: _Variation, root: np.ndarray) -> np.ndarray:
    """Return the sums over pixels that are the leading components: (feature, component).

    Of the matrices root^T H root, by subspace iteration from a fixed start.
    """
    p = len(root)
    i, j, _ = linalg.packed_index(p)
    # so that the length of a packed matrix is its Frobenius norm
    twice = np.where(i == j, 1, np.sqrt(2))[:, None]
    change = functools.partial(_change_units, root=root)

    def find_sums(directions: np.ndarray) -> np.ndarray:
        columns = change(directions / twice, transpose=False) * twice**2
        return (packed.T @ columns.astype(np.float32)).astype(float)

    def spread(directions: np.ndarray) -> np.ndarray:
        across = variation.apply(find_sums(directions)).astype(np.float32)
        return change((packed @ across).astype(float), transpose=True) * twice

    wanted = PER_LATENT * p
    count = min(wanted + _MORE, len(i))
    directions = np.random.default_rng(0).standard_normal((len(i), count))
    for _ in range(_ROUNDS):
        directions = np.linalg.qr(spread(directions))[0]
    within = directions.T @ spread(directions)
    turn = np.linalg.eigh((within + within.T) / 2)[1][:, ::-1]
    return find_sums(directions @ turn[:, :wanted])


def _change_units(columns: np.ndarray, root: np.ndarray, transpose: bool) -> np.ndarray:
    """Return B M B^T, or B^T M B, of symmetric matrices M packed in columns: (K, k)."""
    left = root.T if transpose else root
    i, j, table = linalg.packed_index(len(root))
    changed: np.ndarray = left @ columns.T[:, table] @ left.T
    return np.asarray(changed[:, i, j].T)
