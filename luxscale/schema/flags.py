"""What can be wrong with a labelled star, as bits."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

#: Name and meaning of each bit, least significant first.
FLAGS = (
    (
        "invalid_values",
        "values that break the contract (not finite or absurd, negative ivar) were given no weight",
    ),
    ("no_data", "nothing to infer from: labels are those of the average star"),
    (
        "few_pixels",
        "fewer than a quarter of the model's pixels, or of those in a label's window, had data",
    ),
    (
        "bad_fit",
        "the model does not describe the spectrum: chi2 per pixel beyond what training stars show",
    ),
    ("unlike_training", "the latents lie farther out than those of training stars"),
    (
        "label_outside_training",
        "a label lies outside the range of the training set, by more than twice its error",
    ),
    (
        "prior_dominated",
        "the spectrum constrains the labels by less than half: they stay close to the training "
        "mean",
    ),
    ("not_settled", "the search for the latents did not end (models that are not linear)"),
    ("unreadable", "the survey's data of this star could not be read: it has no labels"),
    (
        "two_solutions",
        "labels far from each other explain the data as well; values are means, and errors hold "
        "both",
    ),
    (
        "nuisance_beyond_prior",
        "the velocity or another nuisance lies beyond three widths of its prior: labels may be off",
    ),
)

BIT = {name: np.uint16(1 << i) for i, (name, _) in enumerate(FLAGS)}

#: Least fraction of a model's features that must have data.
LEAST_FRACTION = 0.25

#: Errors by which a label must lie outside the range of the training set: of a dozen labels at its
#: edge, one error is often passed by chance.
CLEARLY = 2.0

#: CF attributes of a ``flags`` variable.
ATTRS = {
    "long_name": "warnings, one bit each",
    "flag_masks": [int(b) for b in BIT.values()],
    "flag_meanings": " ".join(BIT),
    "comment": "; ".join(f"{name}: {doc}" for name, doc in FLAGS),
}


def has_few(n_values: np.ndarray, n_features: int) -> np.ndarray:
    """Return which stars have data in too few of so many features, or in none: (star,)."""
    few: np.ndarray = (n_values < LEAST_FRACTION * n_features) | (n_values == 0)
    return few


def combine(**raised: Any) -> np.ndarray:
    """Return the flags of stars from one boolean array (star,) a flag."""
    bits = [np.where(where, BIT[name], 0).astype(np.uint16) for name, where in raised.items()]
    return functools.reduce(np.bitwise_or, bits)


def explain(flags: int) -> dict[str, str]:
    """Return the flags that a star carries, and what each means."""
    return {name: meaning for name, meaning in FLAGS if flags & int(BIT[name])}


def count(flags: np.ndarray) -> dict[str, int]:
    """Return how many stars carry each flag; flags that none carries are left out."""
    counts = {name: int(np.count_nonzero(flags & bit)) for name, bit in BIT.items()}
    return {name: n for name, n in counts.items() if n}
