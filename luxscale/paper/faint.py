"""Figure 16: all labels of faint giants."""

from __future__ import annotations

from matplotlib.figure import Figure

from luxscale import plot
from luxscale.paper import giants
from luxscale.paper.base import Study, figure
from luxscale.paper.labels import as_catalog


@figure("16", "all labels of sample C, at low S/N")
def faint(study: Study) -> Figure:
    """Draw the twelve labels of sample C (S/N 30 to 60), inferred by the model of sample A, against the catalogue's.

    As figure 9, with all labels. The paper's catalogue was measured in the same noisy spectra; here its errors are
    those of bright stars and independent of the spectra, so nothing that both share hides in the scatter.
    """
    return plot.labels_figure(giants.catalog(study, "C"), as_catalog(giants.survey(study, "C")), kiel=False)
