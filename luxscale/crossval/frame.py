"""What all settings of a cross-validation have in common: the stars, their folds and labels."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr

from luxscale.errors import InputError
from luxscale.schema.checks import check_unique
from luxscale.schema.outputs import OutputSpec, Role
from luxscale.schema.selection import take_rows
from luxscale.schema.variables import STAR
from luxscale.training.folds import assign_folds


def get_error_name(name: str) -> str:
    """Return the name of the one-sigma errors of an output."""
    return name.removesuffix("_value") + "_err"


def make_frame(
    survey: xr.Dataset, specs: Sequence[OutputSpec], rows: np.ndarray, folds: int, where: str
) -> xr.Dataset:
    """Return what all settings have in common: the stars with labels, their folds and labels.

    Parameters
    ----------
    survey : Dataset
    specs : sequence of OutputSpec
    rows : array, (star,)
        Positions of the stars to use, ascending.
    folds : int
    where : str
        Path of the survey, for messages.

    Returns
    -------
    Dataset
        ``star_row``, ``star_fold`` (star,) and trusted labels with errors (star, label), in memory.

    Raises
    ------
    InputError
    """
    label_specs = [s for s in specs if s.role is Role.LABELS]
    if not label_specs or len(label_specs) == len(specs):
        raise InputError(
            f"{where}: cross-validation predicts labels from spectra and spectra from labels, "
            f"and needs both; the outputs are {', '.join(s.name for s in specs)}: choose outputs "
            "of both kinds (--output), or add those that the survey lacks"
        )
    names = [v for s in label_specs for v in s.variables]
    labels = take_rows(survey[names], rows).load(scheduler="synchronous")
    ivars, has_label = {}, np.zeros(labels.sizes[STAR], bool)
    for spec in label_specs:
        ivar = spec.ivar(labels[spec.name].values, labels[spec.noise].values)
        ivars[spec] = ivar
        has_label |= (ivar > 0).any(axis=1)
    labelled = np.flatnonzero(has_label)
    if labelled.size < folds:
        raise InputError(
            f"{where}: {labelled.size} stars have a label and its error, too few for {folds} "
            "folds; take more stars (--stars) or fewer folds (--folds)"
        )
    stars = np.asarray(labels[STAR].values)[labelled]
    check_unique(stars, where)
    variables: dict[str, Any] = {
        "star_row": (STAR, rows[labelled], {"long_name": "position of the star in the survey"}),
        "star_fold": (
            STAR,
            assign_folds(stars, folds),  # the rule of training, which looks at names only
            {"long_name": "fold that the star is left out in, by its identifier"},
        ),
    }
    for spec, ivar in ivars.items():
        known = ivar > 0
        error = np.where(known, 1 / np.sqrt(np.where(known, ivar, 1)), np.nan)
        trusted = {spec.name: labels[spec.name].values, get_error_name(spec.name): error}
        for name, values in trusted.items():
            doc = {"long_name": f"{name} of the survey"}
            of_stars = np.asarray(values, float)[labelled]
            variables[f"trusted_{name}"] = ((STAR, spec.dim), of_stars, doc)
    coords = {k: v for k, v in labels.coords.items() if STAR not in v.dims}
    return xr.Dataset(variables, {**coords, STAR: stars})


def compute_checksum(survey: xr.Dataset, specs: Sequence[OutputSpec], frame: xr.Dataset) -> str:
    """Return the SHA-256 of stars, labels, and the grids of spectra.

    Not of the flux, which is too large to read twice.
    """
    stars = "\n".join(map(str, frame[STAR].values.tolist()))
    digest = hashlib.sha256(stars.encode())
    for name in sorted(map(str, frame.data_vars)):
        if name.startswith("trusted_"):
            values = np.ascontiguousarray(frame[name].values)
            digest.update(name.encode())
            digest.update(values.tobytes())
    for spec in sorted(specs, key=lambda s: s.name):
        grid = survey[spec.dim].values.tolist()
        text = f"{spec} {survey[spec.name].dtype} {grid}"
        digest.update(text.encode())
    return digest.hexdigest()


def describe_roles(specs: Sequence[OutputSpec]) -> dict[str, str]:
    """Return what the identity of a store says of outputs that 0.1.0 had no role for."""
    bands = sorted(spec.name for spec in specs if spec.role is Role.BANDS)
    return {"role of outputs": json.dumps(dict.fromkeys(bands, Role.BANDS))} if bands else {}
