"""Stars whose spectra are curved in their labels, for tests of curved training."""

import numpy as np
import xarray as xr

SPREAD = np.array([400.0, 0.6, 0.3])


def make_survey(n=900, seed=0, gaps=0.0):
    """Stars of three labels, two kinds of them; noise of few components, levels over a decade."""
    rng = np.random.default_rng(seed)
    shapes = np.random.default_rng(99)
    d = 50
    kind = rng.random(n) < 0.3
    x = rng.standard_normal((n, 3)) * np.where(kind[:, None], 0.4, 1.0)
    x[:, 1] += np.where(kind, 2.0, -0.5)
    i, j = np.tril_indices(3)
    smooth = np.cumsum(shapes.standard_normal((3 + 6 + 8, d)), 1) / np.sqrt(d)
    smooth[3:9] *= 0.6
    flux = 3 + 0.1 * (x @ smooth[:3] + (x[:, i] * x[:, j]) @ smooth[3:9])
    level = np.exp(rng.uniform(np.log(0.3), np.log(3), n))
    noise = rng.standard_normal((n, 8)) @ smooth[9:]
    error = np.hypot(0.02 * np.sqrt((smooth[9:] ** 2).sum(0)), 0.004)
    white = rng.standard_normal((n, d))
    flux = flux + level[:, None] * (0.02 * noise + 0.004 * white)
    ivar = np.tile(1 / error**2, (n, 1)) / level[:, None] ** 2
    ivar = np.where(rng.random((n, d)) < gaps, 0, ivar)
    label_error = 0.05 * SPREAD
    value = np.array([4800.0, 2.4, -0.3]) + x * SPREAD
    return xr.Dataset(
        {
            "flux": (("star", "wavelength"), flux.astype("f4")),
            "flux_ivar": (("star", "wavelength"), ivar.astype("f4")),
            "label_value": (
                ("star", "label"),
                value + label_error * rng.standard_normal((n, 3)),
            ),
            "label_err": (("star", "label"), np.tile(label_error, (n, 1))),
            "label_true": (("star", "label"), value),
        },
        {
            "star": [f"s{seed}-{k:05d}" for k in range(n)],
            "wavelength": ("wavelength", np.linspace(400, 900, d), {"units": "nm"}),
            "label": ["teff", "logg", "fe_h"],
            "label_units": ("label", ["K", "dex(cm s-2)", "dex"]),
        },
    )
