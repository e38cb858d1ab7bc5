"""The choice between the settings of a cross-validation, by what they cost each star left out.

The loss of a star is the mean over its labels of ln(1 + (d / u)^2), d the label inferred from its
spectrum less the trusted one, u a scale that all settings share, and d at most 10 u. It is pooled
over all folds, so neither a star far out nor a fold with one decides.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr

from luxscale.analysis.stats import MAD_TO_SIGMA
from luxscale.crossval.axes import PRIOR, SHARE, Axes, Setting, list_settings
from luxscale.crossval.frame import get_error_name
from luxscale.errors import InputError
from luxscale.schema.variables import STAR

#: What is chosen by unless another score is asked for.
LABEL_LOSS = "label_loss"

#: Scores of a star by equation A1, and the number of its values.
_CHI2 = {"label_chi2": ("n_labels",), "spectrum_chi2": ("n_pixels",)}

#: Differences beyond so many units are all alike.
_FARTHEST = 10.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Choice:
    """The setting to go on with, the one with the best score, and how both scored.

    Parameters
    ----------
    setting, best : tuple of (name, value)
        On each axis of the grid.
    score, best_score : float
        Means over stars.
    error : float
        Standard error of the mean difference of the two, of paired stars; 0 where they are one.
    """

    setting: Setting
    score: float
    best: Setting
    best_score: float
    error: float = 0.0

    def to_record(self) -> dict[str, Any]:
        """Return it as a dict that JSON can hold."""
        return {
            **dict(self.setting),
            "score": self.score,
            "best": [value for _, value in self.best],
            "best_score": self.best_score,
            "error": self.error,
        }


def find_axes(results: xr.Dataset) -> Axes:
    """Return the axes of the grid of results or of scores, in their order."""
    dims = [str(dim) for dim in results["label_chi2"].dims]
    others = ("fold", "given", STAR)
    return tuple((dim, tuple(results[dim].values.tolist())) for dim in dims if dim not in others)


def find_labels(results: xr.Dataset) -> list[str]:
    """Return the outputs that count as labels: those with trusted values and errors."""
    names = [str(v) for v in results.data_vars]
    trusted = [name.removeprefix("trusted_") for name in names if name.startswith("trusted_")]
    found = []
    for name in trusted:
        error = get_error_name(name)
        if error != name and error in trusted:
            found.append(name)
    return found


def take_all_stars(results: xr.Dataset) -> xr.Dataset:
    """Return the results of settings that train on all stars there are, of a learning curve too."""
    if SHARE not in results.dims:
        return results
    return results.sel({SHARE: 1.0}, drop=True)


def list_done(results: xr.Dataset) -> np.ndarray:
    """Return which settings have all their folds done, in the order of `list_settings`."""
    names = [name for name, _ in find_axes(results)]
    status = results["status"].transpose(*names, "fold").values
    return np.asarray((status.reshape(-1, status.shape[-1]) == 1).all(axis=1))


def measure_losses(results: xr.Dataset, score: str = LABEL_LOSS) -> np.ndarray:
    """Return the loss of each star at each setting, in the order of `list_settings`.

    Parameters
    ----------
    results : Dataset
        As `cross_validate` returns and keeps it.
    score : str
        As for `choose`.

    Returns
    -------
    array, (setting, star)
        Of the stars that have a loss. NaN where a setting is not done.

    Raises
    ------
    InputError
        If there is no such score, or fewer than two stars have one.
    """
    is_done = list_done(results)
    if score == LABEL_LOSS:
        loss = _measure_label_losses(results, is_done)
    elif score in _CHI2:
        loss = _measure_chi2(results, score)
    elif score == "total_chi2":
        loss = _measure_chi2(results, "label_chi2") + _measure_chi2(results, "spectrum_chi2")
    else:
        raise InputError(
            f"{score!r} is no score to choose by; take {LABEL_LOSS}, label_chi2, spectrum_chi2 or "
            "total_chi2"
        )
    loss[~is_done] = np.nan
    has_loss = np.isfinite(loss[is_done]).all(axis=0)
    if has_loss.sum() < 2:
        raise InputError(
            f"settings cannot be compared: {has_loss.sum()} stars left out have a {score} at every "
            "setting, and two are needed; give results with more stars that have labels and spectra"
        )
    return loss[:, has_loss]


def _measure_label_losses(results: xr.Dataset, is_done: np.ndarray) -> np.ndarray:
    """Return the mean over labels of ln(1 + (d / u)^2), u the scatter of the first setting done."""
    names = [name for name, _ in find_axes(results)]
    n_pixels = results["n_pixels"].transpose(*names, STAR).values
    seen = n_pixels.reshape(is_done.size, n_pixels.shape[-1]) > 0
    parts = [_find_misses(results, output, names, seen) for output in find_labels(results)]
    if not parts:
        return np.full(seen.shape, np.nan)
    miss = np.concatenate(parts, axis=2)
    has_any = ~np.isnan(miss).all(axis=(0, 1))
    miss = miss[..., has_any]
    unit = np.ones(miss.shape[2])
    if is_done.any():
        first_done = int(np.argmax(is_done))
        scatter = MAD_TO_SIGMA * np.nanmedian(miss[first_done], axis=0)
        unit = np.where(np.isfinite(scatter) & (scatter > 0), scatter, 1)
    distance = np.minimum(miss / unit, _FARTHEST)
    loss = np.log1p(distance**2)
    count = (~np.isnan(loss)).sum(axis=2)
    mean = np.nansum(loss, axis=2) / np.maximum(count, 1)
    return np.where(count > 0, mean, np.nan)


def _find_misses(
    results: xr.Dataset, output: str, names: Sequence[str], seen: np.ndarray
) -> np.ndarray:
    """Return |inferred - trusted| of the labels of an output: (setting, star, label).

    It is NaN where the trusted label is not known or the star has no pixels.
    """
    trusted = results[f"trusted_{output}"]
    trusted_err = results[f"trusted_{get_error_name(output)}"].values
    dim = str(trusted.dims[1])
    inferred = results[output].transpose(*names, STAR, dim).values
    inferred = inferred.reshape(len(seen), *inferred.shape[-2:])
    is_trusted = np.isfinite(trusted.values) & np.isfinite(trusted_err)
    # what is no number is as wrong as can be
    difference = np.where(np.isfinite(inferred), inferred - trusted.values, np.inf)
    return np.where(is_trusted & seen[..., None], np.abs(difference), np.nan)


def _measure_chi2(results: xr.Dataset, score: str) -> np.ndarray:
    """Return ln(1 + chi2 per value) of each star, given spectra."""
    names = [name for name, _ in find_axes(results)]
    chi2 = results[score].sel(given="spectra").transpose(*names, STAR).values
    (counted,) = _CHI2[score]
    count = results[counted].transpose(*names, STAR).values
    per_value = np.where(count > 0, chi2 / np.maximum(count, 1), np.nan)
    loss: np.ndarray = np.log1p(per_value)
    return loss.reshape(math.prod(loss.shape[:-1]), loss.shape[-1])


def choose(results: xr.Dataset, *, score: str = LABEL_LOSS) -> Choice:
    """Choose the simplest setting that scores as well as any, by the rule of one standard error.

    Every star is scored by every setting, so settings differ by the mean over stars of the
    difference of their losses, known to the standard deviation of the difference over the square
    root of the number of stars. Of the settings that are worse than the best by no more than that,
    those of the simplest recipe, of them those with the smallest P, and so on along the axes of the
    grid are taken, and with the prior that is best of them.

    Parameters
    ----------
    results : Dataset
        As `cross_validate` returns and keeps it; settings with all folds done count, of those with
        several shares that of all stars.
    score : str
        What is to be small: ``"label_loss"``, of labels inferred from spectra, whatever their
        errors; or ln(1 + chi2 per value) of ``"label_chi2"``, ``"spectrum_chi2"`` or
        ``"total_chi2"``, given spectra. The last two count the fitted scatter of pixels as error,
        and so let a model with too few latents pass.

    Returns
    -------
    Choice

    Raises
    ------
    InputError
        If there is no such score, no setting is done, or fewer than two stars can be scored.
    """
    results = take_all_stars(results).compute(scheduler="synchronous")
    axes = find_axes(results)
    is_done = list_done(results)
    loss = measure_losses(results, score)[is_done]
    settings = [s for s, done in zip(list_settings(axes), is_done, strict=True) if done]
    if not settings:
        raise InputError(
            "no setting has all its folds done; run the cross-validation again to finish it"
        )
    mean = loss.mean(axis=1)
    best = int(np.argmin(mean))
    error = compare_with(loss, best)
    equal = np.flatnonzero(mean - mean[best] <= error)
    chosen = min(equal, key=lambda i: (_measure_size(settings[i], axes), mean[i]))
    return Choice(
        setting=settings[chosen],
        score=float(mean[chosen]),
        best=settings[best],
        best_score=float(mean[best]),
        error=float(error[chosen]),
    )


def compare_with(loss: np.ndarray, best: int) -> np.ndarray:
    """Return one standard error of the mean difference from one setting: (setting,)."""
    worse = loss - loss[best]
    n_stars = worse.shape[1]
    error: np.ndarray = worse.std(axis=1, ddof=1) / math.sqrt(n_stars)
    return error


def _measure_size(setting: Setting, axes: Axes) -> tuple[int, ...]:
    """Return where a setting stands on each axis, the simplest first; no prior is simpler."""
    known = dict(axes)
    return tuple(known[name].index(value) for name, value in setting if name != PRIOR)
