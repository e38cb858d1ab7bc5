"""Figures of surveys, models and catalogues: Dataset in, Matplotlib axes out.

Imports ingest, crossval and what they stand on.

Figures are made without pyplot, so nothing global changes and no display is needed:
``ax.figure.savefig(...)``. Colours can be told apart without seeing red or green, and lines by more
than colour.
"""

from luxscale.plot.abundances import abundances, abundances_figure, diagrams
from luxscale.plot.changes import changes
from luxscale.plot.chi2 import chi2
from luxscale.plot.clusters import cluster_scatter, clusters, kiel_groups
from luxscale.plot.curves import crossval, precision
from luxscale.plot.doppelgangers import doppelgangers
from luxscale.plot.errors import errors_by_snr
from luxscale.plot.fit import fit_by_pixel
from luxscale.plot.kiel_diagram import kiel
from luxscale.plot.labels import labels_figure, one_to_one
from luxscale.plot.latents import latents
from luxscale.plot.learning import learning_curve
from luxscale.plot.pixels import derivative_spectra, information
from luxscale.plot.pulls import pulls
from luxscale.plot.reconstructions import reconstructions
from luxscale.plot.repeats import repeats
from luxscale.plot.rows import spectrum
from luxscale.plot.spectrum import spectra
from luxscale.plot.star import star
from luxscale.plot.style import format_axis_label, format_label
from luxscale.plot.transfer import beyond, transfer
from luxscale.plot.velocities import velocities
from luxscale.plot.windows import mark_windows

__all__ = [
    "abundances",
    "abundances_figure",
    "beyond",
    "changes",
    "chi2",
    "cluster_scatter",
    "clusters",
    "crossval",
    "derivative_spectra",
    "diagrams",
    "doppelgangers",
    "errors_by_snr",
    "fit_by_pixel",
    "format_axis_label",
    "format_label",
    "information",
    "kiel",
    "kiel_groups",
    "labels_figure",
    "latents",
    "learning_curve",
    "mark_windows",
    "one_to_one",
    "precision",
    "pulls",
    "reconstructions",
    "repeats",
    "spectra",
    "spectrum",
    "star",
    "transfer",
    "velocities",
]
