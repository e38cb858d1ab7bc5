"""What cannot be drawn is refused by name, with what to give instead."""

import re

import numpy as np
import pytest
import xarray as xr

from luxscale import plot
from luxscale.errors import InputError

RESULTS = {
    plot.crossval: "luxscale.crossval.scores",
    plot.precision: "luxscale.analysis.precision.precision_by_snr",
    plot.pulls: "luxscale.analysis.evaluate.match_labels",
    plot.learning_curve: "luxscale.crossval.measure_learning_curve",
    plot.transfer: "luxscale.paper.transfer.measure_shares",
    plot.fit_by_pixel: "luxscale.report.measure.measure_fit",
}


@pytest.mark.parametrize("draw", RESULTS, ids=lambda draw: draw.__name__)
def test_what_is_no_result_of_an_analysis(draw):
    source = re.escape(RESULTS[draw])
    with pytest.raises(InputError, match=f"no variable '.*'; give what {source} returns"):
        draw(xr.Dataset({"flux": ("star", np.ones(3))}))
    with pytest.raises(InputError, match=f"a int is given; give what {source} returns"):
        draw(3)


def test_what_is_no_array():
    catalog = xr.Dataset(
        {"label_value": (("star", "label"), np.ones((2, 2)))},
        {"label": ["teff", "logg"], "star": ["a", "b"]},
    )
    for draw, name in (
        (lambda: plot.chi2(catalog), "reduced"),
        (lambda: plot.errors_by_snr(catalog, catalog), "snr"),
        (lambda: plot.latents(catalog, catalog), "embedding"),
        (lambda: plot.kiel_groups(catalog, catalog), "group"),
    ):
        with pytest.raises(InputError, match=f"{name} is a Dataset; give an array: "):
            draw()
    with pytest.raises(InputError, match="catalogs is a list; give a dict, name -> catalogue"):
        plot.diagrams([catalog], ("teff", "logg"))
