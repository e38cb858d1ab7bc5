"""Principal components of normal matrices: few sums over pixels that nearly give all of one.

The normal matrix of a star, H_n = sum_d w_nd x_d x_d^T, is linear in its weights. Over stars whose
weights vary as those of surveys do, most of its K = P (P + 1) / 2 numbers follow from a few sums
f_n = F^T w_n: its leading principal components, in units in which the posterior of a typical star
is white. The matrix that is expected given f_n is f_n G.

Some of the sums are kept for the errors of labels. That of a label with the direction t has the
variance t^T H^-1 t, which changes with H by -c^T dH c, c = H^-1 t: one more sum over pixels, of
(c . x_d)^2. It depends on a star's noise and hardly on anything else: for noise at several levels,
even or far greater at either end of the spectrum, few sums are nearly all of them. What these leave
of a star's is as small as the angle between its c and the nearest of theirs, which is measured.

How weights vary is taken from the model alone, so that what is inferred of a star depends on that
star and the model: levels of noise far below to far above the scatter, a smooth change along the
spectrum, a change with the flux as that of photons counted, and pixels that vary on their own, as
bad ones do.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from luxscale.model import coarse, linalg

#: Components that are kept: so many, and more for each latent. With twice as many, what a step
#: leaves is half of it, and sums take as long as another step.
_KEPT, _KEPT_PER_LATENT = 136, 1.5

#: Products of two latents, for each latent, below which it takes longer to do without them.
_LEAST_PRODUCTS = 12

#: Products of a star below which it takes longer to do without them.
_LEAST_WORK = 4_000_000

#: Of those, at most so many are sums for the errors of labels.
_FOR_LABELS = 1

#: Noise, in units of the median scatter, of which weights are expected.
_LEVELS = 10.0 ** (0.5 * np.arange(-1, 4))

#: Decades by which the variance of noise rises from the middle of the spectrum to its end, for the
#: sums that errors of labels need.
_TILTS = (-1.5, 0.0, 1.5)

#: Typical change of weights along the spectrum, by polynomials of so many degrees (divided by the
#: degree), and of one pixel on its own. Results hardly depend on them.
_SMOOTH, _DEGREES = 0.5, 16
_OWN = 0.1

#: How much more the directions of labels count than others.
_EMPHASIS = 1.5

#: Rounds of subspace iteration, and how many more components take part in it.
_ROUNDS, _MORE = 2, 32


#: Variance of a component, of the greatest, below which there is none.
_LEAST = 1e-12


class Components(NamedTuple):
    """F and G of the module: sums (feature, component), matrices (component, K).

    columns (latent, feature) are the weights, None where solutions are not refined; they and sums
    are rounded as `luxscale.model.coarse` needs it. squares (K, profile, label) hold the products
    of c of each label, for each profile of noise whose sums are kept, in units in which t . c is 1,
    and squared those of matrices with them, (component, profile, label); None where no label is
    asked for.
    """

    sums: Any
    matrices: Any
    columns: Any = None
    squares: Any = None
    squared: Any = None

    @property
    def _latent_dim(self) -> int:
        return int(np.sqrt(2 * self.matrices.shape[1]))

    def round_factors(self) -> Components:
        """Return them with what spectra are multiplied by as `luxscale.model.coarse` rounds it."""
        columns = coarse.round_columns(self.columns)
        return self._replace(sums=self.sums.astype(columns.dtype), columns=columns)

    def approximate_equations(self, w: Any, weighted: Any) -> tuple[Any, Any, Any]:
        """Return what `Design.approximate_equations` does."""
        sums = coarse.multiply(w, self.sums)
        right = coarse.multiply_across(weighted, self.columns)[:, : self._latent_dim]
        return linalg.dot(sums, self.matrices), right, sums

    def multiply_normal(self, w: Any, z: Any) -> Any:
        """Return X^T diag(w) X z, of rounded X and w X z: (star, latent)."""
        change = coarse.multiply(z, self.columns)
        return coarse.multiply_across(w * change, self.columns)[:, : z.shape[1]]

    def find_angles(self, taken: Any, others: Any, error: Any) -> Any:
        """Return the sine of the angle between c and the nearest of those kept: (star, label).

        Angles are measured by the normal matrices of the stars.

        Parameters
        ----------
        taken : array, (star, component)
            Sums of the stars.
        others : array, (star or 1, K)
            What their normal matrices have beside those of this output.
        error : array, (star, label)
        """
        length = _contract(taken, self.squared) + _contract(others, self.squares)
        # it is at least that of c, which is 1 / error^2
        cosine2 = 1 / (length.min(1) * error**2)
        return jnp.sqrt(jnp.clip(1 - cosine2, 0, 1))


def _contract(rows: Any, columns: Any) -> Any:
    """Return rows (star, k) @ columns (k, profile, label): (star, profile, label)."""
    flat = columns.reshape(len(columns), -1)
    return linalg.dot(rows, flat).reshape(-1, *columns.shape[1:])


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
    many = products >= _LEAST_PRODUCTS * latent_dim and n_features * products >= _LEAST_WORK
    return many and 2 * n_labels <= latent_dim and jax.default_backend() == "cpu"


def find_components(
    weights: np.ndarray,
    packed: np.ndarray,
    offset: np.ndarray,
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
    offset : array, (feature,)
        Mean values.
    scatter : array, (feature,)
    ivar_unit : array, (feature,)
        What inverse variances are multiplied by to be in units of the weights; 0 for features that
        take no part.
    labels : array, (label, latent)
        Directions that count for more.
    """
    profiles = _list_profiles(weights, scatter, ivar_unit)
    variation = _guess_variation(weights, offset, profiles)
    latent_dim = weights.shape[1]
    root = _find_root(_find_covariance(packed, profiles[len(profiles) // 2]), labels)
    tilted = [_list_profiles(weights, scatter, ivar_unit, tilt) for tilt in _TILTS]
    directions = _list_directions(packed, np.concatenate(tilted), labels)
    # what changes each label's variance
    of_labels = (weights @ directions.reshape(-1, latent_dim).T) ** 2
    of_labels = _make_independent(of_labels, variation)[:, : _FOR_LABELS * latent_dim]
    leading = _find_leading(packed, variation, root)
    sums = np.concatenate([of_labels, leading], 1)[:, : _count_kept(latent_dim)]
    # fewer where a latent does nothing
    sums = coarse.round_to_few_bits(_make_independent(sums, variation))
    across = variation.apply(sums)
    products = (packed @ across.astype(np.float32)).T
    # what rounding has changed of the sums, their matrices follow
    matrices = np.linalg.solve(sums.T @ across, products).astype(np.float32)
    squares = _square_directions(directions).astype(np.float32)
    squared = np.tensordot(matrices, squares, 1)
    return Components(sums.astype(np.float32), matrices, weights.T, squares, squared)


def _count_kept(latent_dim: int) -> int:
    """Return the number of components that are kept."""
    least = _KEPT + int(_KEPT_PER_LATENT * latent_dim)
    return -(-least // coarse.TOGETHER) * coarse.TOGETHER


def _list_profiles(
    weights: np.ndarray, scatter: np.ndarray, ivar_unit: np.ndarray, tilt: float = 0.0
) -> np.ndarray:
    """Return weights at each level of noise, in pixels' own units: (level, feature)."""
    unit = np.asarray(ivar_unit, float)
    used = unit > 0
    variance = unit * np.asarray(scatter, float) ** 2
    typical = np.median(variance[used]) if used.any() else 0.0
    if typical == 0:
        # as faint against the signal as that of a good spectrum
        signal = unit * np.sum(np.asarray(weights, float) ** 2, 1)
        typical = 1e-2 * np.mean(signal) or 1.0
    place = np.linspace(-1, 1, len(unit))
    noise = typical * _LEVELS[:, None] ** 2 * 10 ** (tilt * place)
    return np.asarray(unit / (noise + variance), np.float32)


def _guess_variation(weights: np.ndarray, offset: np.ndarray, profiles: np.ndarray) -> _Variation:
    """Return how weights vary about profiles of which each star has one, times a level."""
    n = len(weights)
    place = np.linspace(-1, 1, n)
    smooth = np.polynomial.chebyshev.chebvander(place, _DEGREES).T
    smooth[1:] *= _SMOOTH / np.arange(1, _DEGREES + 1)[:, None]
    # the variance of counted photons changes as their number: values beside their mean
    spread = np.sqrt(np.sum(weights.astype(float) ** 2, 1))
    level = np.maximum(offset, spread)
    flux = (weights / np.where(level > 0, level, 1)[:, None]).T
    changes = np.concatenate([smooth, flux])
    # each level counts alike
    levels = profiles / np.linalg.norm(profiles, axis=1, keepdims=True).clip(1e-30)
    levels = levels / np.sqrt(len(levels))
    shapes = (levels[:, None] * changes).reshape(-1, n)
    return _Variation(shapes, _OWN**2 * np.sum(levels**2, 0))


def _find_covariance(packed: np.ndarray, profile: np.ndarray) -> np.ndarray:
    """Return the posterior covariance of a star of these weights: (P, P)."""
    h = packed @ profile
    latent_dim = int(np.sqrt(2 * len(h)))
    matrix = h[linalg.packed_index(latent_dim)[2]].astype(float)
    covariance = np.linalg.inv(matrix + np.eye(latent_dim))
    return (covariance + covariance.T) / 2


def _list_directions(packed: np.ndarray, profiles: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return c of each label for stars of each profile, with t . c = 1: (profile, label, latent).

    0 of a label that no latent changes.
    """
    slopes = np.stack([labels @ _find_covariance(packed, profile) for profile in profiles])
    variance = np.sum(labels * slopes, 2, keepdims=True)
    return np.divide(slopes, variance, out=np.zeros_like(slopes), where=variance > 0)


def _square_directions(directions: np.ndarray) -> np.ndarray:
    """Return the products of directions that packed matrices are multiplied by: (K, ...)."""
    i, j, _ = linalg.packed_index(directions.shape[-1])
    times = np.where(i == j, 1, 2)
    squares = times * directions[..., i] * directions[..., j]
    return np.moveaxis(squares, -1, 0)


def _make_independent(sums: np.ndarray, variation: _Variation) -> np.ndarray:
    """Return sums that vary by 1, independently, and span what the given ones do.

    Ordered by how much of the given ones they are.
    """
    spread = np.sqrt(np.sum(sums * variation.apply(sums), 0))
    scaled = sums / np.where(spread > 0, spread, 1)
    variances, axes = np.linalg.eigh(scaled.T @ variation.apply(scaled))
    kept = np.flatnonzero(variances > _LEAST * variances[-1])[::-1]
    independent: np.ndarray = scaled @ (axes[:, kept] / np.sqrt(variances[kept]))
    return independent


def _find_root(covariance: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return B with B B^T a posterior covariance, wider along labels: (P, P)."""
    root = np.linalg.cholesky(covariance)
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

    wanted = _count_kept(p)
    count = min(wanted + _MORE, len(i))
    directions = np.random.default_rng(0).standard_normal((len(i), count))
    for _ in range(_ROUNDS):
        directions = np.linalg.qr(spread(directions))[0]
    within = directions.T @ spread(directions)
    _, vectors = np.linalg.eigh((within + within.T) / 2)
    greatest_first = vectors[:, ::-1]
    return find_sums(directions @ greatest_first[:, :wanted])


def _change_units(columns: np.ndarray, root: np.ndarray, transpose: bool) -> np.ndarray:
    """Return B M B^T, or B^T M B, of symmetric matrices M packed in columns: (K, k)."""
    left = root.T if transpose else root
    i, j, table = linalg.packed_index(len(root))
    changed: np.ndarray = left @ columns.T[:, table] @ left.T
    return np.asarray(changed[:, i, j].T)
