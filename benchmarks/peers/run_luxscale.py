"""Run luxscale on a problem: python run_luxscale.py METHOD problem.npz result.npz.

METHOD is one of METHODS.
"""

import sys

import numpy as np
import xarray as xr
from common import complete, run

import luxscale as lux
from luxscale.training import methods

METHODS = {
    "marginal": {},
    "alternating": {"method": "alternating"},
    "jaxopt": {"method": "alternating", "solver": "jaxopt"},
    "cannon": {"method": "cannon"},
}


def survey(flux, ivar, wavelength, label=None, label_err=None, names=None):
    """Return arrays as a survey."""
    variables = {
        "flux": (("star", "wavelength"), flux),
        "flux_ivar": (("star", "wavelength"), ivar),
    }
    coords = {
        "star": np.arange(len(flux)),
        "wavelength": ("wavelength", wavelength, {"units": "Angstrom", "medium": "air"}),
    }
    if label is not None:
        variables |= {
            "label_value": (("star", "label"), label),
            "label_err": (("star", "label"), label_err),
        }
        coords |= {
            "label": names.astype(object),
            "label_units": ("label", np.full(len(names), "", object)),
        }
    return xr.Dataset(variables, coords)


def trainer(method):
    """Return what trains by one of METHODS."""
    name = METHODS[method].get("method", "marginal")
    takes_labels = methods.METHODS[name].latents_are_labels

    def train(problem):
        training = [
            problem[k] for k in ("flux", "ivar", "wavelength", "label", "label_err", "names")
        ]
        latents = () if takes_labels else (int(problem["latents"]),)
        model = lux.train(survey(*training), *latents, progress=False, **METHODS[method])

        def label(flux, ivar):
            catalog = lux.infer(survey(flux, ivar, problem["wavelength"]), model)
            return catalog["label_value"].values, catalog["label_err"].values

        if takes_labels:
            return label, {"used": int(complete(problem).sum()), "note": "stars with every label"}
        return label, {"used": len(problem["flux"]), "note": "missing labels have no weight"}

    return train


if __name__ == "__main__":
    run(trainer(sys.argv[1]), ["luxscale", "jax", "numpy"], *sys.argv[2:])
