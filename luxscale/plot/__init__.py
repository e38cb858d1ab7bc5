"""Figures of surveys, models and catalogues: Dataset in, Matplotlib axes out.

Figures are made without pyplot, so nothing global changes and no display is needed: ``ax.figure.savefig(...)``.
Colours can be told apart without seeing red or green, and lines by more than colour.
"""

from luxscale.plot.curves import crossval, precision
from luxscale.plot.fit import chi2_histogram, fit_by_pixel
from luxscale.plot.labels import kiel, labels_figure, one_to_one
from luxscale.plot.pixels import derivative_spectra, information
from luxscale.plot.pulls import pulls
from luxscale.plot.quality import abundances, errors_by_snr
from luxscale.plot.spectrum import spectra
from luxscale.plot.star import spectrum
from luxscale.plot.style import pretty, titled

__all__ = [
    "abundances",
    "chi2_histogram",
    "crossval",
    "derivative_spectra",
    "errors_by_snr",
    "fit_by_pixel",
    "information",
    "kiel",
    "labels_figure",
    "one_to_one",
    "precision",
    "pretty",
    "pulls",
    "spectra",
    "spectrum",
    "titled",
]
