"""The solutions that are possible for a star, where a spectrum allows more than one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr

from luxscale.errors import InputError
from luxscale.model.arguments import DatasetOrPath, ModelOrPath, take_model, take_survey
from luxscale.model.infer import check_match
from luxscale.model.inference import Inference, pick_given
from luxscale.model.kernel import find_terms
from luxscale.model.output import coordinates
from luxscale.schema.standard import standardize_survey
from luxscale.schema.variables import STAR


def list_solutions(
    stars: DatasetOrPath,
    model: ModelOrPath,
    output: str = "label_value",
    given: str | Sequence[str] = "flux",
) -> xr.Dataset:
    """Return the Gaussians that the posterior of a star's labels is the sum of.

    p(label | data) = sum_k share_k N(mean_k, error_k^2), of which a catalogue has mean and standard
    deviation. Stars with the flag ``two_solutions`` have terms that are further apart than each is
    wide. An ensemble has the terms of all its members, and the flag of its first.

    Parameters
    ----------
    stars : Dataset, str or Path
        A few stars of a survey, in memory after this.
    model : LuxModel, str or Path
    output : str
        Labels.
    given : str or sequence of str
        As in `luxscale.infer`.

    Returns
    -------
    Dataset
        ``share`` (star, term), that of most weight first; ``mean`` and ``error``, formal, (star,
        term, label), in the labels' units.

    Raises
    ------
    InputError
        If the output is no labels, the posterior is one Gaussian, or the survey's outputs or grids
        are not the model's.
    """
    call = "list_solutions(stars, model)"
    stars = take_survey(stars, call, given, name="stars")
    model = take_model(model, call)
    names = [o.name for o in model.labels]
    if output not in names:
        raise InputError(f"{output!r} is no output of labels; the model has {', '.join(names)}")
    inference = Inference.of(model, given)
    if inference.problem.is_linear and not inference.problem.others:
        raise InputError("the model is linear, so there is one solution: that of luxscale.infer")
    stars = standardize_survey(stars)
    specs = check_match(stars, pick_given(model, given), "survey")
    values = [stars[spec.name].values for spec in specs]
    ivars = [
        spec.ivar(value, stars[spec.noise].values)
        for spec, value in zip(specs, values, strict=True)
    ]
    found = find_terms(inference.problem, values, ivars, names.index(output))
    order = np.argsort(-found.share, axis=1, kind="stable")
    dim = model[output].spec.dim
    by_label = (STAR, "term", dim)

    def sort(array: np.ndarray) -> np.ndarray:
        return np.take_along_axis(array, order[..., None], axis=1)

    made = xr.Dataset(
        {
            "share": ((STAR, "term"), np.take_along_axis(found.share, order, axis=1)),
            "mean": (by_label, sort(found.mean)),
            "error": (by_label, np.sqrt(sort(found.variance))),
        },
        coordinates(model[output]),
    )
    return made.assign_coords({STAR: stars[STAR].values})
