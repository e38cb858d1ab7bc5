"""Run luxscale on a problem: python run_luxscale.py METHOD problem.npz result.npz.

METHOD is one of METHODS; ``default`` names no method and no number of latents, so it follows what
`luxscale.train` does when it is told nothing.
"""

import sys

import numpy as np
import xarray as xr
from common import complete, run

import luxscale as lux
from luxscale.training import methods

METHODS = {
    "default": {},
    "marginal": {"method": "marginal"},
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
    settings = METHODS[method]
    takes_labels = bool(settings) and methods.METHODS[settings["method"]].latents_are_labels
    takes_latents = bool(settings) and not takes_labels

    def train(problem):
        training = [
            problem[k] for k in ("flux", "ivar", "wavelength", "label", "label_err", "names")
        ]
        latents = {"latent_dim": int(problem["latents"])} if takes_latents else {}
        model = lux.train(survey(*training), progress=False, **latents, **settings)

        def label(flux, ivar):
            catalog = lux.infer(survey(flux, ivar, problem["wavelength"]), model)
            return catalog["label_value"].values, catalog["label_err"].values

        if takes_labels:
            return label, {"used": int(complete(problem).sum()), "note": "stars with every label"}
        note = f"method {model.provenance.method}; missing labels have no weight"
        return label, {"used": len(problem["flux"]), "note": note}

    return train


if __name__ == "__main__":
    run(trainer(sys.argv[1]), ["luxscale", "jax", "numpy"], *sys.argv[2:])
