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
from luxscale.labelling.catalogue import FORMAT as CATALOG_FORMAT
from luxscale.labelling.marks import find_changed_input
from luxscale.model.file import FORMAT, load_model
from luxscale.model.lux import LuxModel
from luxscale.model.predict import check_latents
from luxscale.schema.attributes import unpack_attribute
from luxscale.schema.selection import Selection, find_span
from luxscale.schema.status import find_done
from luxscale.schema.variables import STAR
from luxscale.store import damage


@dataclasses.dataclass(frozen=True, kw_only=True)
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
        return _get_name(self.where)

    @property
    def spectra(self) -> tuple[str, ...]:
        """Names of the spectra that labels were inferred from; none without survey and model."""
        if self.survey is None or self.model is None:
            return ()
        given = json.loads(unpack_attribute(self.catalog.attrs["identity"])["given"])
        return tuple(name for name in given if self.model[name].is_spectrum)


def open_inputs(
    catalog: str | Path,
    *,
    truth: str | Path | None = None,
    survey: str | Path | None = None,
    model: str | Path | None = None,
    log: str | Path | None = None,
) -> Inputs:
    """Open all that a report is made of.

    Reads identifiers, the status of stars, and the marks of the survey's chunks.

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
    events = tuple(_read_log(log, str(catalog)))
    plan = _get_last_plan(events)
    labelled = _open_part(
        survey, plan.get("survey"), lambda path: _open_survey(path, opened, str(catalog))
    )
    made_with = _open_part(model, plan.get("model"), lambda path: _open_model(path, opened))
    both = labelled.opened is not None and made_with.opened is not None
    if both and "identity" not in opened.attrs:
        raise InputError(
            f"{catalog}: it has no attribute 'identity', which says what labels were inferred "
            "from; give a catalogue that `luxscale label` wrote, or no survey (--survey)"
        )
    parts = {"survey": labelled, "model": made_with}
    names = {what: _get_name(part.path) for what, part in parts.items() if part.path}
    inputs = Inputs(
        where=str(catalog),
        catalog=opened,
        survey=labelled.opened,
        survey_where=labelled.path,
        model=made_with.opened,
        model_facts={} if made_with.opened is None else describe(made_with.path),
        log=events,
        names=names,
        changed=tuple(what for what, part in parts.items() if part.changed),
    )
    if truth is None:
        return inputs
    return dataclasses.replace(
        inputs,
        truth=_open_truth(truth, labelled),
        truth_where=str(truth),
        names=names | {"trusted labels": _get_name(str(truth))},
    )


@dataclasses.dataclass(frozen=True)
class Chosen:
    """Stars of a catalogue that are compared with trusted labels.

    Parameters
    ----------
    rows : array, (star,)
        Their positions.
    text : str
        Which they are, in a sentence; empty if they are all.
    """

    rows: np.ndarray
    text: str = ""


def choose_stars(inputs: Inputs, selection: Selection) -> Chosen:
    """Return the stars that a selection takes.

    Raises
    ------
    InputError
        If there are none, or it asks for what there is not.
    """
    trained = None if inputs.model is None else inputs.model.training_stars
    rows = selection.find_rows(inputs.catalog, inputs.where, survey=inputs.truth, trained=trained)
    if not rows.size:
        raise InputError(
            f"{inputs.where}: no star is left by {selection.text}; choose others (--where, --stars)"
        )
    if rows.size == inputs.catalog.sizes[STAR]:
        return Chosen(rows)
    span = find_span(rows)
    which = f"{rows.size:,} stars of the catalogue ({selection.text})"
    if span is not None:
        which = f"stars {span[0]:,} to {span[1]:,} of the catalogue"
    return Chosen(rows, f"Compared are {which}.")


@dataclasses.dataclass(frozen=True)
class _Part:
    """A survey or a model.

    Parameters
    ----------
    path : str
        Where it lies, empty if that is not known.
    opened : Dataset or LuxModel, optional
        What is there, if it was taken.
    changed : bool
        Whether it is no longer what the log names.
    """

    path: str = ""
    opened: Any = None
    changed: bool = False


def _open_part(
    given: str | Path | None, logged: Any, open_it: Callable[[str | Path], Any]
) -> _Part:
    """Return what is given, or what the log names, if that is still there and the same."""
    if given is not None:
        return _Part(str(given), open_it(given))
    if not isinstance(logged, str):
        return _Part()
    try:
        if not Path(logged).is_dir():
            return _Part(logged)
        return _Part(logged, open_it(logged))
    except InputError:
        return _Part(logged, changed=True)
    except OSError:
        return _Part(logged)


def _get_last_plan(events: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the plan of the last run of a log, empty if there is none."""
    plans = [event.get("plan") for event in events if event.get("event") == "start"]
    return next((plan for plan in reversed(plans) if isinstance(plan, dict)), {})


def _get_name(path: str) -> str:
    """Return the last part of a path or URL.

    A page to publish tells nothing of the folders of a machine.
    """
    return path.partition("?")[0].rstrip("/").rpartition("/")[2]


def _open_truth(path: str | Path, survey: _Part) -> xr.Dataset:
    """Open the survey with trusted labels, which may be the one that was labelled."""
    if survey.opened is not None and store.make_absolute(path) == store.make_absolute(survey.path):
        return _require_labels(survey.opened, path)
    kinds = {FORMAT: "model", CATALOG_FORMAT: "catalogue"}
    attributes = store.read_attributes(path) or {}
    kind = kinds.get(attributes.get("format", ""))
    if kind:
        raise InputError(
            f"{path}: is a {kind}, not a survey; give a survey with trusted labels (--truth)"
        )
    return _require_labels(store.open_survey(path, check="structure"), path)


def _require_labels(survey: xr.Dataset, path: str | Path) -> xr.Dataset:
    """Return a survey that has labels, refuse another."""
    if not {"label_true", "label_value"} & set(survey.data_vars):
        raise InputError(
            f"{path}: it has no labels (label_value) to compare with; give a survey with trusted "
            "labels (--truth)"
        )
    return survey


def _open_model(path: str | Path, catalog: xr.Dataset) -> LuxModel:
    """Open a model, and refuse one that the catalogue was not made with."""
    model = load_model(path)
    try:
        check_latents(catalog, model)
    except InputError as error:
        raise InputError(f"{path}: {error} (--model)") from error
    return model


def _open_survey(path: str | Path, catalog: xr.Dataset, catalog_where: str) -> xr.Dataset:
    """Open a survey, and refuse one that the catalogue was not made of.

    It has the same stars in the same order, and data that have not changed since.
    """
    survey = store.open_survey(path, check="structure")
    with damage.explain_damage(str(path)):
        stars = np.asarray(survey[STAR].values)
    n_more = stars.size - catalog.sizes[STAR]
    if n_more > 0 and np.array_equal(stars[:-n_more], catalog[STAR].values):
        raise InputError(
            f"{path}: has {n_more:,} stars behind those of {catalog_where}; run the same `luxscale "
            "label` again, which labels them, or give none (--survey)"
        )
    if n_more or not np.array_equal(stars, catalog[STAR].values):
        raise InputError(
            f"{path}: its stars are not those of {catalog_where}, in the same order; give the "
            "survey that was labelled"
        )
    with damage.explain_damage(str(path)):
        changed = find_changed_input(str(path), catalog_where, find_done(catalog))
    if changed:
        raise InputError(
            f"{path}: is not the survey that {catalog_where} was made of: {changed}; give the "
            "one that was labelled, or none (--survey)"
        )
    return survey


def _read_log(log: str | Path | None, catalog: str) -> list[dict[str, Any]]:
    """Return the events of a log, by default of the one beside a local catalogue.

    Lines that a run which was killed cut short are left out.
    """
    path = Path(f"{catalog.rstrip('/')}.log.jsonl") if log is None else Path(log)
    if log is None and ("://" in catalog or not path.is_file()):
        return []
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise InputError(
            f"{path}: the log cannot be read ({error.strerror}); name another, or none (--log)"
        ) from error
    events = [event for line in lines if isinstance(event := _parse_event(line), dict)]
    if not any("event" in event for event in events):
        raise InputError(
            f"{path}: no log of a run; name the one that `luxscale label` wrote (--log)"
        )
    return events


def _parse_event(line: bytes) -> Any:
    """Return what a line of a log holds, None if it is cut short."""
    try:
        return json.loads(line)
    except ValueError:
        return None
