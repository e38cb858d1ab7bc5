"""What lies at a path, in a few facts."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from luxscale import crossval, store
from luxscale.analysis import intervals
from luxscale.analysis.evaluate import check_catalog
from luxscale.errors import InputError
from luxscale.info.survey import describe_survey, quarantine
from luxscale.labelling import catalogue as catalogs
from luxscale.labelling.growth import GROWN
from luxscale.labelling.history import count_runs, read_runs
from luxscale.model.calibration import Curve
from luxscale.model.file import FORMAT, load_model
from luxscale.model.lux import LuxModel
from luxscale.model.output import Output
from luxscale.model.summary import describe_noise, describe_prior, describe_search
from luxscale.schema.attributes import unpack_attribute
from luxscale.schema.preparation import Preparation
from luxscale.schema.status import find_done
from luxscale.schema.variables import CALIBRATION, STAR
from luxscale.store import damage

__all__ = ["describe", "quarantine"]


def describe(path: str | Path, *, check: bool = False) -> dict[str, Any]:
    """Return facts about what luxscale has stored at a path, ready for JSON.

    Parameters
    ----------
    path : str or Path
    check : bool
        Whether to read and check every value of a survey.

    Raises
    ------
    InputError
        If nothing that luxscale knows lies there, or it breaks the contract.
    """
    if store.is_data_file(path):
        raise InputError(
            f"{path}: a file, no store of luxscale; `luxscale plot` draws the star of a survey "
            "file, and `luxscale label` prints its labels"
        )
    held = store.read_attributes(path)
    if held is None:
        raise InputError(
            f"{path}: nothing there; give the path of a survey, model, catalogue or "
            "cross-validation"
        )
    found = {"path": str(path)}
    if held.get("format") == FORMAT:
        return found | _describe_model(path)
    if held.get("format") == catalogs.FORMAT:
        return found | _describe_catalog(path)
    if held.get("format") == crossval.FORMAT:
        return found | _describe_crossval(path, held)
    with damage.explain_damage(path):
        if held.get("format") == intervals.FORMAT:
            return found | _describe_intervals(path)
        return found | describe_survey(path, check=check)


def _describe_intervals(path: str | Path) -> dict[str, Any]:
    found = store.open_dataset(path)
    labels = found["label"].values.tolist()
    numbers = found["n_held_out"].values.tolist()
    return {
        "kind": "intervals",
        "stars": found.sizes[STAR],
        "coverage": found.attrs["coverage"],
        "bins": int(found.attrs["bins"]),
        "held_out_stars": dict(zip(labels, numbers, strict=True)),
    }


def _describe_features(output: Output) -> dict[str, Any]:
    """Return the range of a grid, or the names of labels or bands."""
    if output.is_spectrum:
        return {"range": f"{output.coord[0]:g} to {output.coord[-1]:g}"}
    return {output.spec.role.value: list(output.coord)}


def _describe_errors(output: Output) -> dict[str, Any]:
    """Return what stars left out of training added to errors of labels, in their order."""
    if not output.is_label:
        return {}
    found = _describe_law(output.floor, output.inflation)
    if output.part_errors:
        found["part_errors"] = {
            " ".join(part.outputs): _describe_law([c.middle for c in part.floor], part.scale)
            for part in output.part_errors
        }
    if output.calibration is not None:
        calibrated = output.calibration
        found["calibration"] = {
            "version": calibrated.version,
            "scale": [float(f"{curve.middle:.4g}") for curve in calibrated.scale],
            "floor": [float(f"{curve.middle:.4g}") for curve in calibrated.floor],
        }
    return found


def _describe_law(floors: Iterable[float], factors: Sequence[Curve]) -> dict[str, Any]:
    """Return misfits, and factors on formal errors if any is not 1."""
    found: dict[str, Any] = {"misfit": [float(f"{floor:.4g}") for floor in floors]}
    if any(set(factor.value) != {1} for factor in factors):
        found["inflation"] = [_describe_factor(factor) for factor in factors]
    return found


def _describe_factor(factor: Curve) -> float | list[float]:
    """Return a factor on formal errors, from the smallest to the largest of these if it varies."""
    values = [float(f"{value:.4g}") for value in factor.value]
    return values[0] if factor.is_constant else values


def _describe_preparation(output: Output) -> dict[str, Any]:
    """Say how the spectra of an output were prepared, where that is known."""
    known = Preparation.parse(output.preparation)
    return {} if known is None else {"preparation": known.describe()}


def _describe_model(path: str | Path) -> dict[str, Any]:
    loaded = load_model(path)
    outputs = {
        o.name: {
            "features": len(o.coord),
            "units": ", ".join(dict.fromkeys(o.units)),
            **_describe_features(o),
            "map": o.map.features.description,
            "noise": describe_noise(o),
            **({"nuisances": o.nuisances.describe()} if o.nuisances else {}),
            **_describe_errors(o),
            **_describe_preparation(o),
        }
        for o in loaded.outputs
    }
    made = loaded.provenance
    return {
        "kind": "model",
        **_describe_members(loaded),
        "latents": loaded.latent_dim,
        "prior": describe_prior(loaded.prior),
        **describe_search(loaded),
        "method": made.method,
        "training_stars": made.n_stars,
        **_describe_settings(loaded),
        "version": made.version,
        "fingerprint": loaded.fingerprint,
        **outputs,
        **({"held_out": loaded.held_out} if loaded.held_out else {}),
    }


def _describe_members(model: LuxModel) -> dict[str, Any]:
    """Say of an ensemble what is the mean of its members, and what is of the first."""
    if not model.others:
        return {}
    mean = f"labels are the mean of those of {len(model.members)} members"
    first = "latents, prior, method, settings, maps and noise below are of the first"
    return {"ensemble": f"{mean}; {first}"}


def _describe_settings(model: LuxModel) -> dict[str, Any]:
    """Return the settings of training, and the recipe of each further member by its number."""
    settings = json.loads(model.provenance.settings)
    settings.pop("members", None)
    members = {}
    for number, member in enumerate(model.others, start=2):
        own = json.loads(member.provenance.settings)
        members[f"member {number}"] = own | describe_search(member)
    return {"settings": settings, **members}


def _describe_catalog(path: str | Path) -> dict[str, Any]:
    with damage.locate_damage(path):
        catalog = store.open_dataset(path)
        state = check_catalog(catalog, str(path))
    return {
        "kind": "catalogue",
        **state,
        "labels": catalog["label"].values.tolist(),
        **_describe_given(catalog),
        "model": catalog.attrs["model_fingerprint"],
        **_describe_calibration(catalog),
        "version": catalog.attrs["luxscale_version"],
        "luxscale_versions": unpack_attribute(catalog.attrs.get("versions", [])) or "unknown",
        **_describe_growth(catalog),
        "runs": count_runs(read_runs(store.open_group(path, "r")), find_done(catalog)),
    }


def _describe_given(catalog: xr.Dataset) -> dict[str, Any]:
    """Return what labels were inferred from, where a run has made the catalogue."""
    identity = unpack_attribute(catalog.attrs.get("identity", {}))
    return {"given": json.loads(identity["given"])} if "given" in identity else {}


def _describe_calibration(catalog: xr.Dataset) -> dict[str, Any]:
    """Return which calibration the errors of each output have, if they have any."""
    held = catalog.attrs.get(CALIBRATION)
    return {} if held is None else {"calibration": unpack_attribute(held)}


def _describe_growth(catalog: xr.Dataset) -> dict[str, Any]:
    """Return how many stars the survey had when they were labelled, each time it had grown."""
    grown = np.atleast_1d(catalog.attrs.get(GROWN, [])).tolist()
    return {"grown_from": grown[:-1]} if grown else {}


#: Names of the axes of a grid where all their values are listed.
_PLURALS = {"recipe": "recipes", "latent_dim": "latent_dims", "prior": "priors"}


def _describe_crossval(path: str | Path, held: dict[str, Any]) -> dict[str, Any]:
    identity = unpack_attribute(held["identity"])
    axes = crossval.read_axes(identity)
    tasks = crossval.list_tasks(axes, json.loads(identity["folds"]))
    done = sum(crossval.is_done(path, task) for task in tasks)
    facts = {
        "kind": "cross-validation",
        **{_PLURALS.get(name, name): list(values) for name, values in axes},
        "folds": json.loads(identity["folds"]),
        "method": identity["method"],
        "outputs": json.loads(identity["outputs"]),
        "settings": json.loads(identity["settings"]),
        "survey_stars": _describe_stars(json.loads(identity["stars"])),
        "tasks": len(tasks),
        "done": done,
        "pending": len(tasks) - done,
    }
    if held["complete"] == 1:
        facts |= _describe_scores(path)
    return facts


def _describe_stars(stars: str | list[int]) -> str:
    """Say which stars a cross-validation uses: a span, or a selection."""
    if isinstance(stars, str):
        return stars
    return ":".join(map(str, stars))


def _describe_scores(path: str | Path) -> dict[str, Any]:
    """Return medians over the folds by setting, given spectra, and the setting to choose."""
    results = store.open_dataset(path).compute()
    records = crossval.to_records(results)
    axes = crossval.find_axes(crossval.take_all_stars(results))
    choice = crossval.choose(results)
    facts: dict[str, Any] = {"stars": results.sizes[STAR]}
    for score in ("label_chi2", "spectrum_chi2"):
        values = {}
        for record in records:
            value = record[f"{score}_given_spectra"]
            setting = tuple((name, record[name]) for name, _ in axes)
            values[crossval.describe_setting(setting)] = None if value is None else round(value, 4)
        facts[score] = values
    facts["chosen"] = crossval.describe_setting(choice.setting)
    return facts
