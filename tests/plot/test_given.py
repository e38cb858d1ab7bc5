"""What cannot be drawn is refused by name, with what to give instead."""

import re

import numpy as np
import pytest
import xarray as xr
from matplotlib.figure import Figure

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
    with pytest.raises(InputError, match="inferred is a Dataset; give an array: residuals"):
        plot.beyond(catalog, catalog, "teff")
    with pytest.raises(InputError, match=r"inferred has shape \(3,\), true \(4,\)"):
        plot.beyond(np.zeros(3), np.zeros(4), "teff")
    with pytest.raises(InputError, match="mg_fe: inferred and true are both known of fewer than"):
        plot.beyond(np.array([0.1, np.nan]), np.array([np.nan, 0.2]), "mg_fe")
    with pytest.raises(InputError, match="catalogs is a list; give a dict, name -> catalogue"):
        plot.diagrams([catalog], ("teff", "logg"))


def test_what_is_no_label_and_no_window():
    ax = Figure().add_subplot()
    given = xr.Dataset()
    for draw, message in (
        (lambda: plot.format_label(given), "label is a Dataset; give its name, such as 'fe_h'"),
        (lambda: plot.format_axis_label(given, "K"), "label is a Dataset; give its name"),
        (lambda: plot.mark_windows(given, [(1, 2)]), "ax is a Dataset; give the axes"),
        (lambda: plot.mark_windows(ax, given), "windows is a Dataset; give pairs of wavelengths"),
        (lambda: plot.mark_windows(ax, (1, 2)), r"windows are \(1, 2\); give pairs"),
    ):
        with pytest.raises(InputError, match=message):
            draw()


@pytest.mark.parametrize("given", [xr.Dataset(), "survey.zarr"])
def test_what_is_no_inverse_variance(given, small_model):
    with pytest.raises(InputError, match="ivar is a .*; give numbers, such as a star's flux_ivar"):
        plot.information(small_model, given)
