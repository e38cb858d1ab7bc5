"""What lies at a path, in a few facts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from luxscale import flags, model, run, store
from luxscale.schema import CATALOG, STAR, InputError, find_outputs

#: Labels of at most this many stars are read for a summary.
_MOST_STARS = 1_000_000


def describe(path: str | Path, *, check: bool = False) -> dict[str, Any]:
    """Return facts about a survey, model or catalogue, ready for JSON.

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
    held = store.attributes(path)
    if held is None:
        raise InputError(f"{path}: nothing there; give the path of a survey, model or catalogue")
    kinds = {model.FORMAT: _model, run.FORMAT: _catalog}
    found = {"path": str(path)}
    if held.get("format") in kinds:
        return found | kinds[held["format"]](path)
    return found | _survey(store.open_survey(path, check="all" if check else "sample"), "all" if check else "sample")


def _survey(survey: xr.Dataset, checked: str) -> dict[str, Any]:
    facts: dict[str, Any] = {"kind": "survey", "stars": survey.sizes[STAR], "chunk": store.star_chunk(survey),
                             "size_in_memory": f"{survey.nbytes / 1e9:.3g} GB", "checked": f"{checked} values"}
    for output in find_outputs(survey):
        grid = survey[output.dim]
        if grid.dtype.kind == "f":
            facts[output.name] = {"pixels": grid.size, "range": f"{grid.values[0]:g} to {grid.values[-1]:g}",
                                  **{k: str(v) for k, v in grid.attrs.items()}}
        else:
            facts[output.name] = _labels(survey[output.name].isel({STAR: slice(0, _MOST_STARS)}), output.dim)
    return facts


def _labels(values: xr.DataArray, dim: str) -> dict[str, str]:
    units = values.coords.get(f"{dim}_units")
    table, facts = np.asarray(values.values), {}
    for i, name in enumerate(values[dim].values.tolist()):
        known = table[np.isfinite(table[:, i]), i]
        spread = f"{known.min():.4g} to {known.max():.4g}" if known.size else "none measured"
        unit = f" {units.values[i]}" if units is not None else ""
        facts[name] = f"{spread}{unit}, {100 * (1 - known.size / len(table)):.1f}% missing"
    return facts


def _model(path: str | Path) -> dict[str, Any]:
    loaded = model.load_model(path)
    outputs = {o.name: {"features": len(o.coord), "units": ", ".join(dict.fromkeys(o.units)),
                        **({"labels": list(o.coord)} if o.is_label else {"range": f"{o.coord[0]:g} to {o.coord[-1]:g}"})}
               for o in loaded.outputs}
    made = loaded.provenance
    return {"kind": "model", "latents": loaded.latent_dim, "method": made.method, "training_stars": made.n_stars,
            "settings": json.loads(made.settings), "version": made.version, "fingerprint": loaded.fingerprint, **outputs}


def check_catalog(catalog: xr.Dataset, where: str) -> dict[str, int]:
    """Check a catalogue against the contract, and count its stars.

    Returns
    -------
    dict
        ``stars``; ``done``; ``not_finite``: stars that are done but whose labels are not all finite.

    Raises
    ------
    InputError
        If a variable is missing or of other dims or dtype.
    """
    for variable in CATALOG:
        if variable.name in catalog.variables:
            problem = variable.problem(catalog[variable.name])
        else:
            problem = f"is missing ({variable.doc}); is this a catalogue of `luxscale label`?" if variable.required else None
        if problem:
            raise InputError(f"{where}: {variable.name!r} {problem}")
    done = np.asarray(catalog["status"].values) == 1
    finite = np.isfinite(catalog["label_value"]).all("label") & np.isfinite(catalog["label_err"]).all("label")
    return {"stars": done.size, "done": int(done.sum()), "not_finite": int((done & ~finite.values).sum())}


def _catalog(path: str | Path) -> dict[str, Any]:
    catalog = store.open_dataset(path)
    status = np.asarray(catalog["status"].values)
    return {"kind": "catalogue", "stars": catalog.sizes[STAR], "done": int((status == 1).sum()),
            "labels": catalog["label"].values.tolist() if "label" in catalog else [],
            "flags": flags.count(np.asarray(catalog["flags"].values)),
            "model": catalog.attrs["model_fingerprint"], "version": catalog.attrs["luxscale_version"]}
