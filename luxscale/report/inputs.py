"""What a report is made of: the catalogue, and what else there is that bears on it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from luxscale import store
from luxscale.analysis.evaluate import require_catalog
from luxscale.errors import InputError
from luxscale.info.describe import describe
from luxscale.labelling import catalogue as catalogs
from luxscale.model.file import FORMAT, load_model
from luxscale.model.lux import LuxModel
from luxscale.model.predict import check_latents
from luxscale.schema.status import find_done
from luxscale.schema.variables import STAR
from luxscale.store import damage


@dataclasses.dataclass(frozen=True)
class Inputs:
    """A catalogue and what else there is.

    Parameters
    ----------
    where : str
        Path of the catalogue.
    catalog : Dataset
    truth : Dataset, optional
        Survey with trusted labels.
    truth_where : str
        Its path.
    survey : Dataset, optional
        The survey that was labelled: the same stars in the same order.
    survey_where : str
        Its path.
    model : LuxModel, optional
    model_facts : dict
        What `luxscale info` says of the model.
    log : tuple of dict
        Events of the runs that made the catalogue.
    names : dict of str to str
        What the catalogue was made of and is compared with, without the folders of a machine.
    changed : tuple of str
        Those of ``survey`` and ``model`` that are no longer what the log names.
    """

    where: str
    catalog: xr.Dataset
    truth: xr.Dataset | None = None
    truth_where: str = ""
    survey: xr.Dataset | None = None
    survey_where: str = ""
    model: LuxModel | None = None
    model_facts: dict[str, Any] = dataclasses.field(default_factory=dict)
    log: tuple[dict[str, Any], ...] = ()
    names: dict[str, str] = dataclasses.field(default_factory=dict)
    changed: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Name of the catalogue."""
        return _name(self.where)

    @property
    def spectra(self) -> tuple[str, ...]:
        """The spectra that the labels were inferred from, which survey and model know, by name."""
        if self.survey is None or self.model is None:
            return ()
        given = json.loads(self.catalog.attrs.get("identity", {}).get("given", '["flux"]'))
        return tuple(name for name in given if self.model[name].is_spectrum)


def open_inputs(
    catalog: str | Path,
    *,
    truth: str | Path | None = None,
    survey: str | Path | None = None,
    model: str | Path | None = None,
    log: str | Path | None = None,
) -> Inputs:
    """Open all that a report is made of; reads identifiers, the status of stars, and the marks of the survey's chunks.

    Raises
    ------
    InputError
        If something is missing, of another kind or of other stars, or no star is done.
    """
    opened = store.open_dataset(catalog, kind="catalogue")
    require_catalog(opened, str(catalog))
    if not find_done(opened).any():
        raise InputError(
            f"{catalog}: none of its {opened.sizes[STAR]:,} stars is done; finish it with "
            "`luxscale label`"
        )
    events = tuple(_events(Path(log) if log is not None else None, str(catalog)))
    named = _logged(events)
    labelled = _part(survey, named.get("survey"), lambda path: _survey(path, opened, str(catalog)))
    made_with = _part(model, named.get("model"), lambda path: _model(path, opened))
    parts = {"survey": labelled, "model": made_with}
    names = {what: _name(part.path) for what, part in parts.items() if part.path}
    return Inputs(
        str(catalog),
        opened,
        None if truth is None else _truth(truth, labelled),
        "" if truth is None else str(truth),
        labelled.opened,
        labelled.path,
        made_with.opened,
        {} if made_with.opened is None else describe(made_with.path),
        events,
        names if truth is None else names | {"trusted labels": _name(str(truth))},
        tuple(what for what, part in parts.items() if part.changed),
    )


@dataclasses.dataclass(frozen=True)
class _Part:
    """Where survey or model lies, what is there if it was taken, and whether it is no longer what the log names."""

    path: str = ""
    opened: Any = None
    changed: bool = False


def _part(given: str | Path | None, named: Any, open_it: Callable[[str | Path], Any]) -> _Part:
    """Return what is given, or what the log names, if that is still there and the same."""
    if given is not None:
        return _Part(str(given), open_it(given))
    if not isinstance(named, str):
        return _Part()
    try:
        return _Part(named, open_it(named) if Path(named).is_dir() else None)
    except InputError:
        return _Part(named, changed=True)
    except OSError:
        return _Part(named)


def _logged(events: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the plan of the last run of a log, empty if there is none."""
    plans = [
        event["plan"]
        for event in events
        if event.get("event") == "start" and isinstance(event.get("plan"), dict)
    ]
    return plans[-1] if plans else {}


def _name(path: str) -> str:
    """Return the last part of a path or URL: a page to publish tells nothing of the folders of a machine."""
    return path.partition("?")[0].rstrip("/").rpartition("/")[2]


def _truth(path: str | Path, survey: _Part) -> xr.Dataset:
    """Open the survey with trusted labels, which may be the one that was labelled."""
    if survey.opened is not None and store.make_absolute(path) == store.make_absolute(survey.path):
        return survey.opened
    kind = (store.read_attributes(path) or {}).get("format")
    if kind in (FORMAT, catalogs.FORMAT):
        what = "model" if kind == FORMAT else "catalogue"
        raise InputError(
            f"{path}: is a {what}, not a survey; give a survey with trusted labels (--truth)"
        )
    return store.open_survey(path, check="structure")


def _model(path: str | Path, catalog: xr.Dataset) -> LuxModel:
    model = load_model(path)
    try:
        check_latents(catalog, model)
    except InputError as error:
        raise InputError(f"{path}: {error} (--model)") from error
    return model


def _survey(path: str | Path, catalog: xr.Dataset, catalog_where: str) -> xr.Dataset:
    """Open a survey, and refuse one of other stars, in another order, or of other data than labels were made of."""
    survey = store.open_survey(path, check="structure")
    with damage.explain_damage(str(path)):
        theirs = np.asarray(survey[STAR].values)
    if theirs.size != catalog.sizes[STAR] or not np.array_equal(
        theirs, np.asarray(catalog[STAR].values)
    ):
        raise InputError(
            f"{path}: its stars are not those of {catalog_where}, in the same order; give the "
            "survey that was labelled"
        )
    with damage.explain_damage(str(path)):
        changed = catalogs.changed_input(str(path), catalog_where, find_done(catalog))
    if changed:
        raise InputError(
            f"{path}: is not the survey that {catalog_where} was made of: {changed}; give the "
            "one that was labelled, "
            "or none (--survey)"
        )
    return survey


def _events(path: Path | None, catalog: str) -> list[dict[str, Any]]:
    """Return the events of a log; lines that a run which was killed cut short are left out."""
    if path is None:
        path = Path(f"{catalog.rstrip('/')}.log.jsonl")
        if "://" in catalog or not path.is_file():
            return []
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise InputError(
            f"{path}: the log cannot be read ({error.strerror}); name another, or none (--log)"
        ) from error
    found = [event for line in lines if isinstance(event := _event(line), dict)]
    if not any("event" in event for event in found):
        raise InputError(
            f"{path}: no log of a run; name the one that `luxscale label` wrote (--log)"
        )
    return found


def _event(line: bytes) -> Any:
    try:
        return json.loads(line)
    except ValueError:
        return None
