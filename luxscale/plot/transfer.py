"""Labels of one survey from the spectra of another: abundances, and what of them is more than correlation."""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from luxscale.evaluate import require_variables
from luxscale.plot.style import DATA, MODEL, POINT, TEXT, limits, new_axes, pretty, ticks, titled
