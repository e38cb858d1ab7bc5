"""What stars left out of training tell of each label: a table, and advice that follows from it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from luxscale.analysis.evaluate import measure_pairs
from luxscale.analysis.label_arrays import LABEL, UNITS
from luxscale.analysis.tables import to_records
from luxscale.analysis.trusted_errors import advise_on_pulls, find_least_pull
from luxscale.model.calibration import Curve
from luxscale.model.designs import make_head
from luxscale.model.output import Output
from luxscale.schema.variables import STAR

if TYPE_CHECKING:
    from luxscale.training.left_out import Residuals

#: Ratios of scatter to errors that are far from 1: some misfit is usual, a lack of scatter is not.
_LEAST_PULL, _MOST_PULL = 0.5, 3.0

#: What follows from errors of training labels that are too large.
_HIDDEN = "they hide the model's misfit, and label_err of catalogues is too small"

#: Fewest stars from which such a ratio is told, and fewest for each latent.
_LEAST_STARS, _STARS_PER_LATENT = 30, 8


def measure_labels(output: Output, residuals: Residuals) -> list[dict[str, Any]]:
    """Return how well the labels of one output are predicted, a record each.

    Parameters
    ----------
    output : Output
        With its misfit and its factors on formal errors.
    residuals : Residuals
        Of the stars of all folds.

    Returns
    -------
    list of dict
        What `luxscale.analysis.evaluate.compare` measures; ``formal_err`` and ``training_err``,
        median formal error of the prediction and of the given label; ``formal_pull``, the pull if
        only these two errors are counted; and ``training_pull``, that over the latter alone of the
        stars with the smallest errors, None unless it is clearly below 1.
    """
    dims = (STAR, LABEL)
    head = make_head(output)
    error = head.find_error((residuals.formal / head.spread) ** 2)
    pairs = xr.Dataset(
        {
            "inferred": (dims, residuals.residual),
            "inferred_err": (dims, error),
            "truth": (dims, np.zeros_like(residuals.residual)),
            "truth_err": (dims, residuals.label_err),
        },
        {
            LABEL: np.array(output.coord, object),
            UNITS: (LABEL, np.array(output.units, object)),
        },
        {"truth_name": output.name},
    )
    without_misfit = pairs.assign(inferred_err=(dims, residuals.formal))
    records = to_records(measure_pairs(pairs))
    formal = to_records(measure_pairs(without_misfit))
    for m, (record, of_formal) in enumerate(zip(records, formal, strict=True)):
        known = np.isfinite(residuals.residual[:, m])
        record["formal_err"] = of_formal["median_err"]
        record["training_err"] = (
            float(np.median(residuals.label_err[known, m])) if known.any() else None
        )
        record["formal_pull"] = of_formal["pull"]
        least = find_least_pull(pairs.isel({LABEL: m}))
        record["training_pull"] = None if np.isnan(least) else least
    return records


def advise_on_errors(records: Sequence[dict[str, Any]]) -> list[str]:
    """Say for which labels errors are far larger or smaller than the scatter of stars left out.

    Parameters
    ----------
    records : sequence of dict
        From `measure_labels`.
    """
    told = [r for r in records if r["n_stars"] >= _LEAST_STARS and r["formal_pull"]]
    large = [r for r in told if r["formal_pull"] < _LEAST_PULL]
    small = [r for r in told if r["formal_pull"] > _MOST_PULL]
    lines = []
    least = {r["label"]: r["training_pull"] for r in told if r not in large}
    known = {label: pull for label, pull in least.items() if pull is not None}
    lines += [f"{line}; {_HIDDEN}" for line in advise_on_pulls("training", known)]
    for record in large:
        # whichever is larger makes up most of the error
        of_labels = record["training_err"] >= record["formal_err"]
        whose, then = ("training labels", f"; {_HIDDEN}") if of_labels else ("spectra", "")
        pull = record["formal_pull"]
        lines.append(
            f"{record['label']}: pull {pull:.2f} without misfit: errors of the {whose} look "
            f"overestimated about {1 / pull:.1f} times{then}"
        )
    if small:
        pulls = ", ".join(f"{r['label']} {r['formal_pull']:.1f} times" for r in small)
        lines.append(
            f"labels scatter more than errors of spectra and training labels say ({pulls}): "
            "errors of the training labels or of the spectra look underestimated, or the model is "
            "too simple; label_err of catalogues counts the rest as misfit, and is too large where "
            "it is of the training labels"
        )
    return lines


def describe_inflation(outputs: Sequence[Output]) -> str:
    """Say for which labels formal errors are multiplied, and by how much; empty if for none."""
    factors = [
        (f"{label} {describe_factor(factor)}", max(factor.value))
        for output in outputs
        for label, factor in zip(output.coord, output.inflation, strict=False)
        if set(factor.value) != {1}
    ]
    larger = ", ".join(words for words, most in factors if most > 1)
    smaller = ", ".join(words for words, most in factors if most <= 1)
    parts = []
    if larger:
        parts.append(
            "the larger the formal errors, the more they fall short of the scatter: label_err of "
            f"catalogues counts them times {larger}"
        )
    if smaller:
        parts.append(
            "labels scatter by less than formal errors, as the mean of an ensemble does: label_err "
            f"of catalogues counts them times {smaller}"
        )
    return "; ".join(parts)


def describe_factor(factor: Curve) -> str:
    """Return a factor on formal errors, from the smallest to the largest where it varies."""
    return " to ".join(f"{value:.2f}" for value in factor.value)


def advise_on_latents(latent_dim: int, n_stars: int) -> list[str]:
    """Say whether there are few stars for so many latents."""
    if n_stars >= _STARS_PER_LATENT * latent_dim:
        return []
    return [
        f"{latent_dim} latents from {n_stars:,} stars, fewer than {_STARS_PER_LATENT} for each: "
        "`luxscale crossval` tells whether fewer latents do better; more stars would help"
    ]
