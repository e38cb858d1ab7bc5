"""The choice between settings where few stars, or none, can be scored."""

import numpy as np
import pytest
import xarray as xr

from luxscale.crossval.choice import choose
from luxscale.errors import InputError


def make_results(n_stars):
    """Return results of two settings and two folds: the larger P is worse at every star."""
    by_star, by_given = ("latent_dim", "star"), ("latent_dim", "star", "given")
    by_fold, by_label = ("latent_dim", "fold"), ("latent_dim", "star", "label")
    error = np.stack([np.full((n_stars, 1), 0.1), np.full((n_stars, 1), 0.2)])
    return xr.Dataset(
        {
            "status": (by_fold, np.ones((2, 2))),
            "label_chi2": (by_given, np.ones((2, n_stars, 2))),
            "n_labels": (by_star, np.ones((2, n_stars))),
            "n_pixels": (by_star, np.full((2, n_stars), 5)),
            "label_value": (by_label, error),
            "trusted_label_value": (("star", "label"), np.zeros((n_stars, 1))),
            "trusted_label_err": (("star", "label"), np.ones((n_stars, 1))),
        },
        {"latent_dim": [2, 4], "given": ["spectra", "labels"], "star": np.arange(n_stars)},
    )


def test_two_stars_can_be_compared():
    assert choose(make_results(2)).setting == (("latent_dim", 2),)


@pytest.mark.parametrize("score", ["label_loss", "label_chi2"])
@pytest.mark.parametrize("n_stars", [0, 1])
def test_too_few_stars_are_refused(n_stars, score):
    with pytest.raises(InputError, match=f"{n_stars} stars left out have a {score}"):
        choose(make_results(n_stars), score=score)


def test_results_without_labels_are_refused():
    results = make_results(5).drop_vars("trusted_label_err")
    with pytest.raises(InputError, match="0 stars left out have a label_loss"):
        choose(results)
