"""The terms of a posterior are those that a catalogue is the mean of."""

import numpy as np
import pytest

from luxscale.analysis.solutions import list_solutions
from luxscale.errors import InputError
from luxscale.model.infer import infer


@pytest.mark.slow
def test_a_catalogue_is_mean_and_deviation_of_the_terms(curved_model, curved_survey):
    stars = curved_survey.isel(star=slice(0, 30)).copy(deep=True)
    stars["flux_ivar"][:] *= 0.002  # so that several Gaussians of the prior remain possible
    found = list_solutions(stars, curved_model)
    assert found["mean"].dims == ("star", "term", "label")
    np.testing.assert_allclose(found["share"].sum("term"), 1, rtol=1e-6)
    assert (found["share"].diff("term") <= 0).all() and (found["share"][:, 1] > 0.1).any()
    catalog = infer(stars, curved_model)
    mean = (found["share"] * found["mean"]).sum("term")
    away = found["mean"] - mean
    variance = (found["share"] * (found["error"] ** 2 + away**2)).sum("term")
    floor = np.asarray(curved_model["label_value"].floor)
    expected = np.sqrt(variance + floor**2)
    off = (mean - catalog["label_value"]) / catalog["label_err"]
    assert float(abs(off).max()) < 0.02
    np.testing.assert_allclose(expected, catalog["label_err"], rtol=0.02)
    assert found["label"].values.tolist() == ["teff", "logg", "fe_h"]


def test_one_gaussian_has_no_terms(small_model, held_out, curved_model):
    with pytest.raises(InputError, match="the model is linear, so there is one solution"):
        list_solutions(held_out.isel(star=[0]), small_model)
    with pytest.raises(InputError, match="'flux' is no output of labels; the model has label_val"):
        list_solutions(held_out.isel(star=[0]), curved_model, "flux")
