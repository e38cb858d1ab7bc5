"""What a report is made of: the catalogue, and what else there is that bears on it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from luxscale import damage, store
from luxscale.evaluate import done, require_catalog
from luxscale.info import describe
from luxscale.model import LuxModel, load_model
from luxscale.predict import check_latents
from luxscale.schema import STAR, InputError


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
    survey : Dataset, optional
        The survey that was labelled: the same stars in the same order.
    survey_where : str
        Its path.
    model : LuxModel, optional
    model_facts : dict
        What `luxscale info` says of the model.
    log : tuple of dict
        Events of the runs that made the catalogue.
    """

    where: str
    catalog: xr.Dataset
    truth: xr.Dataset | None = None
    survey: xr.Dataset | None = None
    survey_where: str = ""
    model: LuxModel | None = None
    model_facts: dict[str, Any] = dataclasses.field(default_factory=dict)
    log: tuple[dict[str, Any], ...] = ()

    @property
    def name(self) -> str:
        """Name of the catalogue."""
        return self.where.rstrip("/").rpartition("/")[2]

    @property
    def spectra(self) -> tuple[str, ...]:
        """The spectra that the labels were inferred from, which survey and model know, by name."""
        if self.survey is None or self.model is None:
            return ()
        given = json.loads(self.catalog.attrs.get("identity", {}).get("given", '["flux"]'))
        return tuple(name for name in given if not self.model[name].is_label)


def open_inputs(
    catalog: str | Path,
    *,
    truth: str | Path | None = None,
    survey: str | Path | None = None,
    model: str | Path | None = None,
    log: str | Path | None = None,
) -> Inputs:
    """Open all that a report is made of; reads identifiers and the status of stars alone.

    Raises
    ------
    InputError
        If something is missing, of another kind or of other stars, or no star is done.
    """
    opened = store.open_dataset(catalog, kind="catalogue")
    require_catalog(opened, str(catalog))
    if not done(opened).any():
        raise InputError(
            f"{catalog}: none of its {opened.sizes[STAR]:,} stars is done; finish it with `luxscale label`"
        )
    events = tuple(_events(Path(log) if log is not None else None, str(catalog)))
    survey, held = _made_of("survey", survey, events, lambda path: _survey(path, opened, str(catalog)))
    model, loaded = _made_of("model", model, events, lambda path: _model(path, opened))
    same = truth is not None and survey is not None and store.absolute(truth) == store.absolute(survey)
    return Inputs(
        str(catalog),
        opened,
        held if same else None if truth is None else store.open_survey(truth, check="structure"),
        held,
        str(survey),
        loaded,
        describe(model) if model is not None else {},
        events,
    )


def _made_of(
    kind: str, given: str | Path | None, events: Sequence[dict[str, Any]], open_it: Callable[[str | Path], Any]
) -> tuple[str | Path | None, Any]:
    """Return the path and what is there: as given, or as the log names it, if that is still there and the same."""
    if given is not None:
        return given, open_it(given)
    plans = [event["plan"] for event in events if event.get("event") == "start" and isinstance(event.get("plan"), dict)]
    path = plans[-1].get(kind) if plans else None
    if not isinstance(path, str) or not Path(path).is_dir():
        return None, None
    try:
        return path, open_it(path)
    except (InputError, OSError):
        return None, None


def _model(path: str | Path, catalog: xr.Dataset) -> LuxModel:
    model = load_model(path)
    try:
        check_latents(catalog, model)
    except InputError as error:
        raise InputError(f"{path}: {error} (--model)") from error
    return model


def _survey(path: str | Path, catalog: xr.Dataset, catalog_where: str) -> xr.Dataset:
    """Open a survey, and refuse one of other stars, or in another order."""
    survey = store.open_survey(path, check="structure")
    with damage.told(str(path)):
        theirs = np.asarray(survey[STAR].values)
    if theirs.size != catalog.sizes[STAR] or not np.array_equal(theirs, np.asarray(catalog[STAR].values)):
        raise InputError(
            f"{path}: its stars are not those of {catalog_where}, in the same order; give the survey that was labelled"
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
        raise InputError(f"{path}: the log cannot be read ({error.strerror}); name another, or none (--log)") from error
    found = [event for line in lines if isinstance(event := _event(line), dict)]
    if not any("event" in event for event in found):
        raise InputError(f"{path}: no log of a run; name the one that `luxscale label` wrote (--log)")
    return found


def _event(line: bytes) -> Any:
    try:
        return json.loads(line)
    except ValueError:
        return None
