"""Figure 16: all labels of faint giants."""

from __future__ import annotations

from matplotlib.figure import Figure

from luxscale import plot
from luxscale.paper import giants
from luxscale.paper.base import Study, figure


@figure("16", "all labels of giants of low S/N, against the truth")
def faint(study: Study) -> Figure:
    """Draw the twelve labels of sample C (S/N 30 to 60), inferred by the model of sample A, and the Kiel diagram.

    The paper compares with what ASPCAP found in the same noisy spectra; here the giants are simulated, and the truth is
    the labels that the spectra were made from. So there is no error of ASPCAP's in the scatter.
    """
    return plot.labels_figure(giants.catalog(study, "C"), giants.survey(study, "C"))
