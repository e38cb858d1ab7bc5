"""Figure 10: precision of labels against signal-to-noise ratio."""

from __future__ import annotations

from functools import partial

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from luxscale import plot
from luxscale.analysis.precision import draw_precision, precision_by_snr
from luxscale.paper import giants
from luxscale.paper.base import Study, register_figure
from luxscale.schema.variables import STAR

#: Stars of samples B and C together, and draws of noise for each.
STARS, DRAWS = 2000, 10

#: Edges of the bins of S/N, with a gap between the samples.
EDGES = (30, 36, 42, 48, 54, 60, 100, 120, 140, 160, 180, 200)


def measure_precision(study: Study) -> xr.Dataset:
    """Return how labels of stars of samples B and C scatter under ten draws of noise.

    ``snr`` (star,) is the S/N of these stars.
    """
    model = giants.train_model(study)
    n = study.count_stars(STARS // 2)

    def draw_block(block: xr.Dataset) -> xr.Dataset:
        return draw_precision(block, model, DRAWS)

    def measure(letter: str) -> xr.Dataset:
        survey = giants.select_sample(study, letter)
        rng = np.random.default_rng(0)
        rows = rng.permutation(survey.sizes[STAR])[:n]
        survey = survey.isel({STAR: np.sort(rows)})
        drawn = study.map_blocks(f"draws of noise, {letter}", survey, draw_block)
        return drawn.assign(snr=(STAR, survey["snr"].values))

    parts = []
    for letter in "BC":
        name = f"giants-precision-{letter}"
        make = partial(measure, letter)
        drawn = study.keep(name, make, model=model.fingerprint, stars=n)
        parts.append(drawn)
    return xr.concat(parts, STAR)


@register_figure("10", "precision of labels against S/N")
def precision(study: Study) -> Figure:
    """Draw the scatter of labels of samples B and C under ten draws of noise against S/N.

    S/N is that of a pixel in the continuum, as the survey has it, and the pixels span 4000 to 8288
    Angstrom: at one S/N more or less is known of a label than from APOGEE's. The 2,000 stars are
    half of each sample. The formula beside the draws is the one that the paper mentions.
    """
    binned = precision_by_snr(measure_precision(study), EDGES, (0.05, 0.5, 0.95))
    return plot.precision(binned)[0].get_figure()
