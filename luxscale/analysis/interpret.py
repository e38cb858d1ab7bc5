"""What a model has learnt: derivative spectra, and which pixels inform which label.

With A the weights of what is asked for (labels), B those of what is observed (spectra), N the
covariance of its noise and Lambda the precision of the prior on latents (I in a linear Lux model):

    C = (Lambda + B^T N^-1 B)^-1        covariance of z given the spectrum
    G = A C B^T N^-1                    what a change of one pixel does to the inferred labels

Where a map is not linear, A and B are its slopes at the latents of one star, by default the average
star, z = 0. Lambda of a mixture is the inverse of its overall covariance: the errors of catalogues
are smaller, for stars whose Gaussian is narrow. Heavy tails are left out. Of an ensemble,
all is of its first member; the others are models too, in ``model.others``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import xarray as xr

from luxscale.errors import InputError
from luxscale.model.arguments import ModelOrPath, take_model
from luxscale.model.lux import LuxModel
from luxscale.model.output import Output, coordinates


def jacobian(output: Output, latent: Any = None) -> np.ndarray:
    """Return d output / d z at the latents of one star: (feature, latent).

    It is 0 for features that take no part.

    Raises
    ------
    InputError
        If ``latent`` is not one finite value for each latent.
    """
    p = output.map.latent_dim
    z = np.zeros(p)
    if latent is not None:
        z = np.asarray(latent, float)
    if z.shape != (p,) or not np.isfinite(z).all():
        raise InputError(
            f"latent has shape {z.shape} or is not finite; give one star's latents, ({p},), e.g. "
            "catalog['latent'].isel(star=0)"
        )
    used = np.asarray(output.used)[:, None]
    slopes = np.asarray(output.map.jacobian(z), float)
    return np.where(used, slopes, 0)


def feature_ivar(output: Output, ivar: Any) -> np.ndarray:
    """Return inverse variances of the features of an output: (..., feature).

    They are 0 for features that take no part.

    Parameters
    ----------
    output : Output
    ivar : float or array, (..., feature)
        In 1 / (units of the output)^2.

    Raises
    ------
    InputError
        If it is no array of numbers, is of another shape, or holds what is no inverse variance.
    """
    n, dim = len(output.coord), output.spec.dim
    if isinstance(ivar, xr.DataArray):
        if dim not in ivar.dims:
            raise InputError(
                f"ivar has dims {ivar.dims}; it needs {dim!r}, the dim of {output.name!r}"
            )
        ivar = ivar.transpose(..., dim)
    try:
        values = np.asarray(ivar, float)
    except (TypeError, ValueError):
        raise InputError(
            f"ivar is a {type(ivar).__name__}; give numbers, such as a star's {output.name}_ivar"
        ) from None
    if values.ndim == 0:
        values = np.full(n, values)
    if values.shape[-1] != n:
        raise InputError(
            f"ivar has {values.shape[-1]} features, {output.name!r} has {n}; give one value or {n}"
        )
    if not (np.isfinite(values) & (values >= 0)).all():
        raise InputError(
            "ivar holds values that are negative or not finite; give 1 / sigma^2, and 0 where "
            "missing"
        )
    return np.where(np.asarray(output.used), values, 0)


def group_features(target: Output, source: Output) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Group the features of ``target`` by what they are inferred from.

    All pixels, but for labels that training has given windows. Yields the positions of the features
    in a group, and which features of ``source`` they are inferred from.
    """
    spans_of = dict(target.windows)
    members: dict[tuple, list[int]] = {}
    for i, name in enumerate(target.coord):
        spans = spans_of.get(name, ())
        members.setdefault(spans, []).append(i)
    for spans, rows in members.items():
        seen = np.zeros(len(source.coord), bool)
        if spans:
            seen[source.inside(spans)] = True
        # a window of another output's pixels restricts nothing here, as in inference
        if not seen.any():
            seen[:] = True
        yield np.array(rows), seen


def posterior_covariance(
    model: LuxModel, source: Output, b: np.ndarray, ivar: np.ndarray
) -> np.ndarray:
    """Return C = (Lambda + B^T N^-1 B)^-1 of one star: (latent, latent)."""
    prior = model.prior.make_precision(b.shape[1])
    (seen,) = source.noise.find_information(ivar[None], b)
    return np.linalg.inv(prior + seen)


def derivatives(
    model: ModelOrPath,
    of: str = "label_value",
    by: str = "flux",
    *,
    ivar: Any = None,
    latent: Any = None,
) -> xr.DataArray:
    """Return how one output changes with another: derivative spectra, equations 12 and 13.

    Parameters
    ----------
    model : LuxModel, str or Path
    of, by : str
        Outputs. The default is d label / d flux, equation 13, the stable direction.
    ivar : float or array, (feature of ``by``,), optional
        Inverse variances of ``by``, 0 = missing; e.g. a star's ``flux_ivar``, or
        `luxscale.analysis.formal_errors.ivar_at_snr`; for labels 1 / error^2.
    latent : array, (latent,), optional
        Where to take the derivative, if a map is not linear; by default at the average star, z = 0.

    Returns
    -------
    DataArray, (feature of ``of``, feature of ``by``)
        In units of ``of`` for one unit of ``by``; NaN for features that take no part in the model.

    Raises
    ------
    InputError
        If both outputs are on the same features, the model lacks one, or ``ivar`` does not fit.

    Notes
    -----
    Without ``ivar``, as in the paper: ``A B^+`` for labels by flux, which gives every pixel the
    same weight whatever its noise (and knows of no windows, from which some models infer some
    labels). ``of="flux", by="label_value"`` is ``B A^+``, equation 12, which is ill-posed: with
    fewer labels than latents (M < P) infinitely many spectra have the same labels, and ``A^+``
    takes the one nearest to the mean in z.

    With ``ivar``, the derivative of what `infer` and `predict` return: ``A C B^T N^-1``, in which
    noisy pixels count less. For flux by labels it is the derivative of E[flux | labels] under the
    prior on latents, ``B A^T (A A^T + lambda V)^-1`` with V = diag(error^2 + s^2): defined for any
    M and P; as V -> 0 and M <= P it becomes equation 12. Of a model that is not linear, it is that
    of its linear approximation.

    Examples
    --------
    >>> from luxscale.analysis.interpret import derivatives
    >>> from luxscale.analysis.formal_errors import ivar_at_snr
    >>> derivatives(model).dims
    ('label', 'wavelength')
    >>> lines = derivatives(model, ivar=ivar_at_snr(model, 100)).sel(label="mg_fe")
    """
    model = take_model(model, "derivatives(model)")
    target, source = _pick_outputs(model, of, by)
    a = jacobian(target, latent)
    b = jacobian(source, latent)
    if ivar is None:
        smallest = np.finfo(float).eps * max(b.shape)
        gain = a @ np.linalg.pinv(b, rcond=smallest)
        comment = "pseudo-inverse of the weights"
    else:
        ivar = _require_one_star(source, ivar)
        gain = np.zeros((len(a), len(b)))
        for rows, seen in group_features(target, source):
            inside = ivar * seen
            covariance = posterior_covariance(model, source, b, inside)
            gain[rows] = a[rows] @ covariance @ source.noise.apply_inverse(inside, b).T
        comment = "posterior mean, at the given noise"
    attrs = {
        "long_name": f"derivative of {of} by {by}",
        "units": f"({find_unit(target)}) / ({find_unit(source)})",
        "comment": comment,
    }
    return _label_matrix(gain, target, source, attrs).rename(f"d_{of}_d_{by}")


def information(
    model: ModelOrPath, ivar: Any, of: str = "label_value", by: str = "flux", *, latent: Any = None
) -> xr.DataArray:
    """Return which pixels inform which label: their shares in the reduction of its variance.

    Parameters
    ----------
    model : LuxModel, str or Path
    ivar : float or array, (feature of ``by``,)
        Inverse variances of ``by``, 0 = missing; e.g. a star's ``flux_ivar``, or
        `luxscale.analysis.formal_errors.ivar_at_snr`.
    of, by, latent
        As in `derivatives`.

    Returns
    -------
    DataArray, (feature of ``of``, feature of ``by``)
        Fractions, not negative. Summed over pixels: 1 - (formal variance of the label) / (its
        variance under the prior). NaN for features that take no part in the model, and for labels
        that do not vary.

    Raises
    ------
    InputError
        As `derivatives`, and if latents have no prior.

    Notes
    -----
    Let all weights grow together from nothing, ``C(t) = (Lambda + t B^T diag(w) B)^-1``. The
    variance ``a C(t) a`` of a label falls from that of the prior to that of the posterior, at the
    rate ``sum_d w_d (a C(t) b_d)^2``, to which no pixel contributes a negative term. The share of
    pixel d is

        w_d integral_0^1 (a C(t) b_d)^2 dt,

    the Aumann-Shapley value. It sums exactly, does not depend on the order of pixels, and twins
    share equally; in the eigenbasis of ``B^T diag(w) B`` the integral has a closed form. The other
    exact split, ``w_d (a b_d) (a C b_d)``, has negative terms; the last step alone, ``w_d (a C
    b_d)^2``, does not sum to the whole. Where the model's noise is correlated, sqrt(w_d) b_d is
    row d of ``N^-1/2 B`` with the symmetric root: what pixels share goes to those that have most of
    it. Where the model takes pixels as independent that are not, they count what they share twice.

    Examples
    --------
    >>> from luxscale.analysis.interpret import information
    >>> share = information(model, survey.flux_ivar.isel(star=0).compute())
    >>> bool((share.sum("wavelength") < 1).all())
    True
    """
    model = take_model(model, "information(model)")
    target, source = _pick_outputs(model, of, by)
    if not model.prior.is_proper:
        raise InputError(
            "the model's latents have no prior, so labels have no variance to reduce; use "
            "`derivatives`"
        )
    # latents in which the prior is N(0, I)
    precision = model.prior.make_precision(model.latent_dim)
    unit = np.linalg.inv(np.linalg.cholesky(precision)).T
    a = jacobian(target, latent) @ unit
    b = jacobian(source, latent) @ unit
    ivar = _require_one_star(source, ivar)
    removed = np.zeros((len(a), len(b)))
    for rows, seen in group_features(target, source):
        root = source.noise.whiten(ivar * seen, b)
        removed[rows] = _split_variance(a[rows], root)
    prior = np.sum(a * a, 1)
    # a label that does not vary has no shares
    prior = np.where(prior > 0, prior, np.nan)
    fraction = removed / prior[:, None]
    attrs = {
        "long_name": f"share of the variance of {of} that each value of {by} removes",
        "units": "1",
    }
    return _label_matrix(np.maximum(fraction, 0), target, source, attrs).rename("information")


def _split_variance(a: np.ndarray, root: np.ndarray) -> np.ndarray:
    """Return the shares of pixels in the variance of each label, from root = sqrt(w) B.

    Labels by their weights a (label, latent); the shares are (label, feature).
    """
    h, u = np.linalg.eigh(root.T @ root)
    beta = root @ u
    # rounding may leave an eigenvalue just below 0
    integral = _integrate_path(np.maximum(h, 0))
    shares = []
    # a matrix product for each label: all at once would need an array (label, latent, feature)
    for x in a @ u:
        weighted = integral * np.outer(x, x)
        shares.append(np.sum(beta @ weighted * beta, 1))
    return np.array(shares)


def _integrate_path(h: np.ndarray) -> np.ndarray:
    """Return the integral over t from 0 to 1 of 1 / ((1 + t h_j) (1 + t h_k)): (latent, latent)."""
    low = np.minimum.outer(h, h)
    high = np.maximum.outer(h, h)
    # by log1p, and apart where eigenvalues are equal, which leaves 0 / 0
    x = (high - low) / (1 + low)
    differ = x > 0
    safe = np.where(differ, x, 1)
    mean = np.where(differ, np.log1p(x) / safe, 1)
    return mean / (1 + low)


def _pick_outputs(model: LuxModel, of: str, by: str) -> tuple[Output, Output]:
    target, source = model[of], model[by]
    if target.spec.dim == source.spec.dim:
        raise InputError(
            f"{of!r} and {by!r} share the dim {source.spec.dim!r}; name two outputs on "
            "different features"
        )
    return target, source


def _require_one_star(output: Output, ivar: Any) -> np.ndarray:
    values = feature_ivar(output, ivar)
    if values.ndim > 1:
        raise InputError(
            f"ivar has shape {values.shape}; give one star's, ({values.shape[-1]},), e.g. "
            ".isel(star=0)"
        )
    return values


def find_unit(output: Output) -> str:
    """Return the unit of an output in words: where it is written, for labels and bands."""
    if output.is_spectrum:
        return f"as {output.name}"
    return f"{output.spec.dim}_units"


def _label_matrix(
    values: np.ndarray, target: Output, source: Output, attrs: dict[str, str]
) -> xr.DataArray:
    """Label a matrix (feature of target, feature of source); NaN where either takes no part."""
    known = np.outer(target.used, source.used).astype(bool)
    return xr.DataArray(
        np.where(known, values, np.nan),
        {**coordinates(target), **coordinates(source)},
        (target.spec.dim, source.spec.dim),
        attrs=attrs,
    )
