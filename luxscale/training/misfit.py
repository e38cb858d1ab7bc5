"""How far labels predicted for stars left out of training miss, beyond what errors explain.

Residuals r of a label (predicted - given) hold three things: the label's own error, the formal
error of the prediction, both known, and the misfit of the model. Where the label's own error is
several times the misfit, which is what good spectra and ordinary labels give, thousands of stars
fix its variance to half only. Two things that labels share help. Misfit has tails, for it grows
towards the edges of the training set: it is a Student t whose number of degrees of freedom most
labels agree on. And the ratio of misfit to formal error is much the same for most labels: it is
drawn from a common, long-tailed distribution. Both are empirical Bayes: what is common is itself
estimated from all labels, and binds the more, the less a label's own residuals say. Where misfit
exceeds the label's own errors, its robust scatter is read off the residuals directly, whatever its
distribution.
"""

from __future__ import annotations

import numpy as np
from scipy import optimize, special, stats

from luxscale.analysis.stats import MAD_TO_SIGMA

#: Degrees of freedom that misfit may have; infinity is a Gaussian.
_DOF = (2.0, 5.0, 10.0, np.inf)

#: Weights of the Gaussians that stand for a Student t, widest first.
_SHARES = np.array([0.004, 0.016, 0.06, 0.14, 0.26, 0.26, 0.26])

#: Ratios of misfit to formal variance that are tried; the first stands for none.
_RATIOS = np.geomspace(1e-2, 1e4, 42)

#: Centre and width (ln) of the distribution that labels share; its degrees of freedom.
_CENTERS, _WIDTHS, _SHARED_DOF = _RATIOS, np.geomspace(0.1, 3.0, 10), 0.7


def misfit(residual: np.ndarray, formal: np.ndarray, label_err: np.ndarray) -> np.ndarray:
    """Return the misfit of each label, as the robust sigma (1.4826 MAD) of its distribution.

    Parameters
    ----------
    residual : array, (star, label)
        Predicted minus given label; NaN where not known.
    formal : array, (star, label)
        Formal error of the prediction.
    label_err : array, (star, label)
        Error of the given label.

    Returns
    -------
    array, (label,)
        0 where no residual is known.
    """
    known = np.isfinite(residual)
    some = np.flatnonzero(known.any(0))
    out = np.zeros(residual.shape[1])
    if not some.size:
        return out
    typical = np.array([np.median(formal[known[:, m], m] ** 2) for m in some])
    likelihood = []
    for m, unit in zip(some, typical, strict=True):
        k = known[:, m]
        variance = formal[k, m] ** 2 + label_err[k, m] ** 2
        likelihood.append(_compute_likelihood(residual[k, m], variance, unit * _RATIOS))
    pooled = typical * _find_posterior_median(np.stack(likelihood))
    for m, shared in zip(some, pooled, strict=True):
        k = known[:, m]
        error2 = label_err[k, m] ** 2
        direct = _find_excess(residual[k, m], formal[k, m] ** 2 + error2)
        # where misfit exceeds the label's own errors, its residuals speak for themselves
        clear = (direct / (direct + np.median(error2))) ** 2
        out[m] = np.sqrt(clear * direct + (1 - clear) * shared)
    return out


def _find_excess(residual: np.ndarray, variance: np.ndarray) -> float:
    """Return what, added to the variances, gives the residuals a robust scatter of 1.

    0 where the variances explain them.
    """

    def lacking(extra: float) -> float:
        pull = np.abs(residual) / np.sqrt(variance + extra)
        return MAD_TO_SIGMA * float(np.median(pull)) - 1

    if lacking(0.0) <= 0:
        return 0.0
    return float(optimize.brentq(lacking, 0, 10 * np.max(residual**2)))


def _compute_likelihood(
    residual: np.ndarray, variance: np.ndarray, misfit2: np.ndarray
) -> np.ndarray:
    """Return ln p(residuals | dof, misfit), less a constant: (dof, misfit).

    ``misfit2`` are robust variances of misfit.
    """
    unit = np.median(variance)
    # float32 is enough, and takes half as long
    square = (residual**2 / unit).astype(np.float32)[:, None]
    known = (variance / unit).astype(np.float32)[:, None]
    rows = []
    for dof in _DOF:
        scales, shares, core = _make_mixture(dof)
        wide, share = scales.astype(np.float32), shares.astype(np.float32)
        total = np.empty(misfit2.size)
        for i, m2 in enumerate(misfit2 / unit):
            precision = 1 / (known + np.float32(m2 / core) * wide)
            exponent = -0.5 * square * precision
            top = exponent.max(1, keepdims=True)
            density = (np.exp(exponent - top) * np.sqrt(precision)) @ share
            total[i] = np.sum(top, dtype=float) + np.sum(np.log(density), dtype=float)
        rows.append(total)
    return np.array(rows)


def _make_mixture(dof: float) -> tuple[np.ndarray, np.ndarray, float]:
    """Return variances and weights of Gaussians that make a Student t, and its robust variance."""
    if not np.isfinite(dof):
        return np.ones(1), np.ones(1), 1.0
    quantiles = np.cumsum(_SHARES) - _SHARES / 2
    scales = 1 / stats.gamma.ppf(quantiles, dof / 2, scale=2 / dof)

    def exceed_quartile(x: float) -> float:
        return float(stats.norm.cdf(x / np.sqrt(scales)) @ _SHARES - 0.75)

    quartile = optimize.brentq(exceed_quartile, 0, 10)
    return scales, _SHARES, (MAD_TO_SIGMA * quartile) ** 2


def _find_posterior_median(likelihood: np.ndarray) -> np.ndarray:
    """Return the ratio of each label under the likeliest common distribution: (label,).

    likelihood (label, dof, ratio), natural logarithm.
    """
    log_ratio = np.log(_RATIOS)
    log_weights, prior = _find_common(likelihood, _list_priors(log_ratio))
    posterior = special.logsumexp(likelihood + log_weights, axis=1) + prior
    density = np.exp(posterior - posterior.max(1, keepdims=True))
    cumulative = np.cumsum(density, axis=1)
    edges = log_ratio + (log_ratio[1] - log_ratio[0]) / 2  # up to which the sum at a ratio counts
    half = np.array([np.interp(0.5, c / c[-1], edges) for c in cumulative])
    return np.where(half <= edges[0], 0, np.exp(half))


def _find_common(likelihood: np.ndarray, priors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return ln of the share of each dof (dof, 1), and of the distribution of ratios (ratio,).

    Those that make all labels together most likely, found in turn.
    """
    weights = np.full(len(_DOF), 1 / len(_DOF))
    prior = np.zeros(priors.shape[1])
    for _ in range(10):
        by_ratio = special.logsumexp(likelihood + np.log(weights)[:, None], axis=1)
        evidence = special.logsumexp(by_ratio + priors[:, None], axis=2).sum(1)
        prior = priors[evidence.argmax()]
        by_dof = special.logsumexp(likelihood + prior, axis=2) + np.log(weights)
        share = np.exp(by_dof - special.logsumexp(by_dof, axis=1, keepdims=True))
        weights = share.sum(0) + 1  # as if one label more had each: a label that differs can say so
        weights /= weights.sum()
    return np.log(weights)[:, None], prior


def _list_priors(log_ratio: np.ndarray) -> np.ndarray:
    """Return the logarithms of the distributions that labels may share: (distribution, ratio)."""
    centers, widths = np.meshgrid(np.log(_CENTERS), _WIDTHS, indexing="ij")
    center, width = centers.reshape(-1, 1), widths.reshape(-1, 1)
    prior = stats.t.logpdf(log_ratio, _SHARED_DOF, center, width)
    normalised: np.ndarray = prior - special.logsumexp(prior, axis=1, keepdims=True)
    return normalised
