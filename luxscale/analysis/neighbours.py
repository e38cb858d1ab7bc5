"""Stars that resemble each other: nearest neighbours in latents, or in labels."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral
from typing import Any

import numpy as np
import xarray as xr
from scipy.linalg import solve_triangular
from scipy.spatial import cKDTree

from luxscale.analysis.interpret import feature_ivar, jacobian, posterior_covariance
from luxscale.errors import InputError
from luxscale.model.arguments import DatasetOrPath, ModelOrPath, take_catalog, take_model
from luxscale.progress import Progress
from luxscale.schema.blocks import iterate_blocks
from luxscale.schema.stars import index_stars
from luxscale.schema.status import find_done
from luxscale.schema.variables import LATENT, STAR

__all__ = ["latent_covariance", "neighbours"]

#: Dim of the neighbours of a star, the nearest first.
NEIGHBOUR = "neighbour"

#: Stars whose neighbours are looked up at once, between two words of progress.
_BLOCK = 2048


def neighbours(
    catalog: DatasetOrPath,
    k: int = 10,
    *,
    metric: str | Any = "population",
    variable: str = LATENT,
    stars: Sequence[Any] | None = None,
    progress: bool = False,
) -> xr.Dataset:
    """Find the stars that are most like each star of a catalogue, figure 5 of the paper.

    Parameters
    ----------
    catalog : Dataset, str or Path
        With ``variable`` (star, feature), which is read into memory, and ``star``. Stars that lack
        a finite value of any feature, or are not done by their ``status``, have no neighbours and
        are nobody's.
    k : int
        Neighbours of each star.
    metric : {"population", "plain"} or array, (feature, feature)
        Covariance V in the squared distance d^2 = (z - z')^T V^-1 (z - z'): that of the catalogue's
        stars; the unit matrix; or the one given, e.g. twice `latent_covariance`, by which d^2 of
        two stars with the same spectrum is about P, a little less for the prior.
    variable : str
        ``"latent"``, or ``"label_value"`` for stars of like labels (of some:
        ``catalog.sel(label=[...])``).
    stars : sequence, optional
        Identifiers of the stars to find neighbours for, among all; all by default.
    progress : bool
        Whether to show progress on standard error.

    Returns
    -------
    Dataset
        - ``row`` : int64, (star, neighbour), positions in ``catalog``, the nearest first; -1 where
          there is none
        - ``distance`` : float64, (star, neighbour), without units (with ``"plain"``: those of the
          variable); NaN there
        - ``neighbour`` : 1 to k

    Raises
    ------
    InputError
        If the variable or a star is missing, there are not k stars to be neighbours, or the metric
        is not positive.

    Notes
    -----
    A star is not its own neighbour; one of the same values is, at distance 0. The search is exact.
    Its time grows about as the number of stars where few dimensions carry most of the distance, and
    as its square where all carry alike: ask for some ``stars`` of a catalogue of millions.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> z = xr.DataArray([[0.0], [1.0], [5.0]], {"star": ["a", "b", "c"]}, ("star", "latent"))
    >>> from luxscale.analysis.neighbours import neighbours
    >>> neighbours(xr.Dataset({"latent": z}), 1, metric="plain")["row"].values.ravel()
    array([1, 0, 1])
    """
    catalog = take_catalog(catalog, "neighbours(catalog)")
    values, usable = _read_values(catalog, variable)
    if not (isinstance(k, Integral) and 1 <= k < usable.size):
        raise InputError(
            f"k={k!r}: give a number of neighbours, from 1 to {usable.size - 1}; {usable.size} "
            "stars have all"
        )
    index = index_stars(catalog)
    wanted = np.arange(len(index))
    if stars is not None:
        wanted = _find_rows(index, stars)
    white = _whiten(values, values[usable], metric)
    row = np.full((wanted.size, k), -1)
    distance = np.full((wanted.size, k), np.nan)
    asked = np.flatnonzero(np.isin(wanted, usable))
    row[asked], distance[asked] = _search(white, usable, wanted[asked], int(k), progress)
    metric_name = "given"
    if isinstance(metric, str):
        metric_name = repr(metric)
    row_attrs = {"long_name": "position in the catalogue, -1 where there is none"}
    distance_attrs = {"long_name": f"distance in {variable}, metric {metric_name}"}
    dims = (STAR, NEIGHBOUR)
    names = np.asarray(index)[wanted]
    return xr.Dataset(
        {
            "row": (dims, row, row_attrs),
            "distance": (dims, distance, distance_attrs),
        },
        {STAR: (STAR, names), NEIGHBOUR: np.arange(1, k + 1)},
    )


def latent_covariance(
    model: ModelOrPath, ivar: Any, given: str = "flux", *, latent: Any = None
) -> np.ndarray:
    """Return the covariance of the latents of a star, C = (Lambda + B^T N^-1 B)^-1.

    Parameters
    ----------
    model : LuxModel, str or Path
    ivar : float or array, (feature of ``given``,)
        Inverse variances, 0 = missing; e.g. a star's ``flux_ivar``, or
        `luxscale.analysis.formal_errors.ivar_at_snr`.
    given : str
        Output that latents are inferred from.
    latent : array, (latent,), optional
        Where, if the map is not linear; by default at the average star, z = 0. A prior that is a
        mixture counts as one Gaussian, of its overall covariance.

    Returns
    -------
    array, (latent, latent)

    Raises
    ------
    InputError
        If the model lacks the output, or ``ivar`` does not fit.
    """
    model = take_model(model, "latent_covariance(model, ivar)")
    observed = model[given]
    ivar = feature_ivar(observed, ivar)
    if ivar.ndim > 1:
        raise InputError(
            f"ivar has shape {ivar.shape}; give one star's, e.g. .isel(star=0), or a median "
            "over stars"
        )
    return posterior_covariance(model, observed, jacobian(observed, latent), ivar)


def _read_values(catalog: xr.Dataset, variable: str) -> tuple[np.ndarray, np.ndarray]:
    """Return a variable as float64, (star, feature), and the stars that have all of it."""
    if variable not in catalog or catalog[variable].ndim != 2 or catalog[variable].dims[0] != STAR:
        raise InputError(
            f"the catalogue has no variable {variable!r} (star, feature); make one with "
            "luxscale.infer"
        )
    if STAR not in catalog.coords:
        raise InputError(
            "the catalogue has no coordinate 'star'; add it with .assign_coords(star=...)"
        )
    values = np.asarray(catalog[variable].values, float)
    usable = np.isfinite(values).all(1) & find_done(catalog)
    return values, np.flatnonzero(usable)


def _find_rows(index: Any, stars: Sequence[Any]) -> np.ndarray:
    rows = np.asarray(index.get_indexer(stars))
    if (rows < 0).any():
        missing = [star for star, row in zip(stars, rows, strict=True) if row < 0]
        raise InputError(
            f"{len(missing)} of the stars are not in the catalogue, first {missing[0]!r}; "
            "give stars of catalog.star"
        )
    return rows


def _whiten(values: np.ndarray, known: np.ndarray, metric: str | Any) -> np.ndarray:
    """Return values of which the plain distance is that of the metric: L^-1 z, with V = L L^T."""
    if isinstance(metric, str):
        if metric == "plain":
            return values
        if metric != "population":
            raise InputError(
                f"metric {metric!r} is none; give 'population', 'plain', or a covariance (feature, "
                "feature)"
            )
        metric = np.atleast_2d(np.cov(known.T))
    v = np.asarray(metric, float)
    size = values.shape[1]
    if v.shape != (size, size) or not np.isfinite(v).all() or not np.allclose(v, v.T):
        raise InputError(
            f"metric has shape {v.shape} or is no covariance; give a symmetric matrix, "
            f"{(size, size)}"
        )
    try:
        factor = np.linalg.cholesky(v)
    except np.linalg.LinAlgError:
        raise InputError(
            "the metric is not positive definite: some feature, or a sum of them, does not vary; "
            "leave it out, or give metric='plain'"
        ) from None
    return np.asarray(solve_triangular(factor, values.T, lower=True, check_finite=False).T)


def _search(
    white: np.ndarray, usable: np.ndarray, wanted: np.ndarray, k: int, progress: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Return the k nearest usable stars of the wanted ones, with distances: (star, neighbour)."""
    row = np.empty((wanted.size, k), int)
    distance = np.empty((wanted.size, k))
    tree = cKDTree(white[usable])
    with Progress("neighbours", wanted.size, unit="stars", enabled=progress) as shown:
        for block in iterate_blocks(wanted.size, _BLOCK):
            stars = wanted[block]
            # one more than asked for: a star is the nearest to itself
            d, i = tree.query(white[stars], k + 1, workers=-1)
            found = usable[i]
            others = _without_self(found, stars)
            row[block] = found[others].reshape(-1, k)
            distance[block] = d[others].reshape(-1, k)
            shown.update(block.stop)
    return row, distance


def _without_self(found: np.ndarray, star: np.ndarray) -> np.ndarray:
    """Return which of k + 1 found stars are the k others: (star, k + 1) bool.

    Among many twins, a star itself may not be found.
    """
    itself = found == star[:, None]
    is_hidden = ~itself.any(1)
    itself[is_hidden, -1] = True
    return ~itself
