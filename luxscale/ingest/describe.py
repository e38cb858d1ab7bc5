"""What a survey of files says of itself: attributes of the survey, its spectra and its grid."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

from luxscale import store
from luxscale.ingest.plan import Plan
from luxscale.prepare.rounding import ROUNDING, describe_rounding
from luxscale.readers import get_format
from luxscale.schema.preparation import PREPARATION

_FLUX = {
    "none": "flux as in the file",
    "file": "flux over the continuum of the file",
    "scale": "flux over the star's mean flux",
    "median": "flux over the star's median flux",
    "sines": "flux over a continuum of sines and cosines",
    "chebyshev": "flux over a continuum of Chebyshev polynomials",
}


def describe_survey(plan: Plan) -> dict[str, Any]:
    """Return the attributes of a survey that is complete."""
    return {
        "title": f"Survey of {plan.format} files",
        "format": store.SURVEY_FORMAT,
        "continuum": plan.recipe.continuum,
        "luxscale_version": version("luxscale"),
    }


def describe_spectra(plan: Plan) -> dict[str, dict[str, Any]]:
    """Return the attributes of flux and ivar, by the names of the variables."""
    flux = {"long_name": _FLUX[plan.recipe.continuum], PREPARATION: str(plan.preparation)}
    ivar = {"long_name": "inverse variance of the flux"}
    if plan.recipe.rounding is not None:
        flux[ROUNDING], ivar[ROUNDING] = describe_rounding(plan.recipe.rounding)
    return {"flux": flux, "flux_ivar": ivar}


def describe_grid(plan: Plan) -> dict[str, Any]:
    """Return the attributes of the wavelengths."""
    fmt = get_format(plan.format, dict(plan.options))
    return {"units": fmt.units, "medium": fmt.medium}
