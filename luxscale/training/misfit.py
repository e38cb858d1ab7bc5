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


def measure_misfit(residual: np.ndarray, formal: np.ndarray, label_err: np.ndarray) -> np.ndarray:
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
    typical = []
    likelihood = []
    for m in some:
        stars = known[:, m]
        formal2 = formal[stars, m] ** 2
        error2 = label_err[stars, m] ** 2
        unit = np.median(formal2)
        of_label = _compute_likelihood(
            residual=residual[stars, m],
            variance=formal2 + error2,
            misfit2=unit * _RATIOS,
        )
        likelihood.append(of_label)
        typical.append(unit)
    ratio = _find_posterior_median(np.stack(likelihood))
    pooled = np.array(typical) * ratio
    for m, shared in zip(some, pooled, strict=True):
        stars = known[:, m]
        formal2 = formal[stars, m] ** 2
        error2 = label_err[stars, m] ** 2
        direct = _find_excess(residual[stars, m], formal2 + error2)
        # where misfit exceeds the label's own errors, its residuals speak for themselves
        typical_error2 = np.median(error2)
        clear = (direct / (direct + typical_error2)) ** 2
        misfit2 = clear * direct + (1 - clear) * shared
        out[m] = np.sqrt(misfit2)
    return out


def _find_excess(residual: np.ndarray, variance: np.ndarray) -> float:
    """Return what, added to the variances, gives the residuals a robust scatter of 1.

    0 where the variances explain them.
    """

    def measure_lack(extra: float) -> float:
        sigma = np.sqrt(variance + extra)
        pull = np.abs(residual) / sigma
        scatter = MAD_TO_SIGMA * float(np.median(pull))
        return scatter - 1

    if measure_lack(0.0) <= 0:
        return 0.0
    # with ten times the largest square, every pull is below 1 / 3
    enough = 10 * np.max(residual**2)
    return float(optimize.brentq(measure_lack, 0, enough))


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
        wide = scales.astype(np.float32)
        share = shares.astype(np.float32)
        total = np.empty(misfit2.size)
        for i, m2 in enumerate(misfit2 / unit):
            # variance of each star under each Gaussian of the mixture: (star, Gaussian)
            core2 = np.float32(m2 / core)
            precision = 1 / (known + core2 * wide)
            exponent = -0.5 * square * precision
            # less the greatest, so that one exponential of each star is 1, and none overflows
            top = exponent.max(1, keepdims=True)
            relative = np.exp(exponent - top)
            density = (relative * np.sqrt(precision)) @ share
            log_density = np.log(density)
            total[i] = np.sum(top, dtype=float) + np.sum(log_density, dtype=float)
        rows.append(total)
    return np.array(rows)


def _make_mixture(dof: float) -> tuple[np.ndarray, np.ndarray, float]:
    """Return variances and weights of Gaussians that make a Student t, and its robust variance."""
    if not np.isfinite(dof):
        return np.ones(1), np.ones(1), 1.0
    # a Student t is Gaussian, with a precision that is gamma distributed
    quantiles = np.cumsum(_SHARES) - _SHARES / 2
    precisions = stats.gamma.ppf(quantiles, dof / 2, scale=2 / dof)
    scales = 1 / precisions

    def exceed_quartile(x: float) -> float:
        cumulative = stats.norm.cdf(x / np.sqrt(scales))
        return float(cumulative @ _SHARES - 0.75)

    # of a symmetric distribution, the upper quartile is the median absolute deviation
    quartile = optimize.brentq(exceed_quartile, 0, 10)
    robust_sigma = MAD_TO_SIGMA * quartile
    return scales, _SHARES, robust_sigma**2


def _find_posterior_median(likelihood: np.ndarray) -> np.ndarray:
    """Return the ratio of each label under the likeliest common distribution: (label,).

    likelihood (label, dof, ratio), natural logarithm.
    """
    log_ratio = np.log(_RATIOS)
    priors = _list_priors(log_ratio)
    log_weights, prior = _find_common(likelihood, priors)
    over_dof = special.logsumexp(likelihood + log_weights, axis=1)
    posterior = over_dof + prior
    top = posterior.max(1, keepdims=True)
    density = np.exp(posterior - top)
    cumulative = np.cumsum(density, axis=1)
    # the sum at a ratio counts up to halfway to the next
    step = log_ratio[1] - log_ratio[0]
    edges = log_ratio + step / 2
    half = np.empty(len(cumulative))
    for m, of_label in enumerate(cumulative):
        share = of_label / of_label[-1]
        half[m] = np.interp(0.5, share, edges)
    # the first ratio stands for none
    return np.where(half <= edges[0], 0, np.exp(half))


def _find_common(likelihood: np.ndarray, priors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return ln of the share of each dof (dof, 1), and of the distribution of ratios (ratio,).

    Those that make all labels together most likely, found in turn.
    """
    n_dof = len(_DOF)
    weights = np.full(n_dof, 1 / n_dof)
    prior = np.zeros(priors.shape[1])
    for _ in range(10):
        # the distribution of ratios, at these shares of dof
        log_weights = np.log(weights)
        by_ratio = special.logsumexp(likelihood + log_weights[:, None], axis=1)
        by_label = special.logsumexp(by_ratio + priors[:, None], axis=2)
        evidence = by_label.sum(1)
        prior = priors[evidence.argmax()]
        # the shares of dof, at this distribution
        by_dof = special.logsumexp(likelihood + prior, axis=2) + log_weights
        of_label = special.logsumexp(by_dof, axis=1, keepdims=True)
        share = np.exp(by_dof - of_label)
        # as if one label more had each: a label that differs can say so
        weights = share.sum(0) + 1
        weights /= weights.sum()
    return np.log(weights)[:, None], prior


def _list_priors(log_ratio: np.ndarray) -> np.ndarray:
    """Return the logarithms of the distributions that labels may share: (distribution, ratio)."""
    log_centers = np.log(_CENTERS)
    centers, widths = np.meshgrid(log_centers, _WIDTHS, indexing="ij")
    prior = stats.t.logpdf(
        log_ratio,
        _SHARED_DOF,
        loc=centers.reshape(-1, 1),
        scale=widths.reshape(-1, 1),
    )
    # each sums to 1 over the ratios that are tried
    total = special.logsumexp(prior, axis=1, keepdims=True)
    normalised: np.ndarray = prior - total
    return normalised
