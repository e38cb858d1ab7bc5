"""A catalogue grows with its survey: stars that were added at its end are labelled, no others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import zarr

from luxscale import store
from luxscale.labelling.marks import find_other_kinds
from luxscale.labelling.plan import Plan
from luxscale.labelling.stars import (
    describe_other_stars,
    has_first,
    read_identifiers,
    read_stars,
    write_stars,
)
from luxscale.model.calibration import is_uncalibrated
from luxscale.runs.target import list_changed
from luxscale.schema.attributes import pack_attribute, unpack_attribute
from luxscale.schema.variables import CALIBRATION
from luxscale.store import damage
from luxscale.store.chunks import get_chunk_rows

#: Attribute of a catalogue whose survey has grown: how many stars it had at first, and each time.
GROWN = "grown"

#: What to do where a newer model, or other settings, are to label all stars of a catalogue.
_ANEW = "to replace its labels, relabel=True, on the command line --relabel"


def describe_changes(plan: Plan, before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """Say what is not as it was when a catalogue was begun; more stars are no change.

    Parameters
    ----------
    plan : Plan
    before, now : mapping of str to str
        What the catalogue is of, and what the plan is of.

    Returns
    -------
    list of str
        Settings with their values.
    """
    changed = list_changed(before, now)
    if "given" in changed:  # what counts of a survey are the outputs that are given
        changed = [name for name in changed if name != "survey"]
    described = []
    for name in changed:
        if name == "survey":
            with damage.explain_damage(plan.catalog):
                described += _describe_survey(plan, before[name])
        elif name == "model":
            described.append(f"{_describe_model(plan, before[name])} ({_ANEW})")
        else:
            described.append(f"{name} ({before.get(name)}, now {now.get(name)}; {_ANEW})")
    return described


def _describe_model(plan: Plan, fingerprint: str) -> str:
    """Say in what a model is another than the one, of this fingerprint, of a catalogue."""
    if is_uncalibrated(fingerprint, plan.load_model()):
        return "calibration: this model before its errors were calibrated"
    if CALIBRATION in store.open_group(plan.catalog, "r").attrs:
        return "model, or this one with another calibration of its errors"
    return "model"


def _describe_survey(plan: Plan, before: str) -> list[str]:
    """Say in what a survey is another than the one that a catalogue was begun with.

    Parameters
    ----------
    plan : Plan
    before : str
        Checksum of the survey that the catalogue was begun with.

    Returns
    -------
    list of str
        Nothing if the survey has the same stars, and more behind them.
    """
    group = store.open_group(plan.catalog, "r")
    status = store.open_array(group, "status")
    rows = get_chunk_rows(status)
    chunks = f"chunks of {rows:,} stars, where the survey's have {plan.chunk:,}"
    layout = f"layout ({chunks}; {_ANEW})"
    # a run that was killed may not have made room yet for the stars that the checksum is of
    n_before = _read_sizes(group)[-1]
    if n_before < plan.n_stars and plan.compute_checksum(n_before) == before:
        return [] if rows == plan.chunk else [layout]
    there = read_identifiers(group)
    if isinstance(there, str):  # what cannot be read tells nothing
        return ["survey"]
    stars = read_stars(plan)
    if not has_first(there, stars):
        return [describe_other_stars(there, stars)]
    if rows != plan.chunk:
        return [layout]
    kinds = find_other_kinds(plan.survey, plan.catalog)
    if kinds:
        return [f"survey (its stars are the same; {', '.join(kinds)}: write it as it was)"]
    return ["survey (its stars are the same, its grids or the kinds of its arrays are not)"]


def make_room(group: zarr.Group, plan: Plan) -> int:
    """Lengthen a catalogue to the stars of its survey; return how many are new.

    What the catalogue is of is written first, so a run that is killed meanwhile is taken up here.
    """
    n_before = store.open_array(group, "status").shape[0]
    identity = dict(plan.identity)
    if unpack_attribute(group.attrs["identity"]) != identity:
        grown = [*_read_sizes(group), plan.n_stars]
        group.attrs.update({GROWN: grown, "complete": 0, "identity": pack_attribute(identity)})
    lengthen(group, plan.n_stars)
    stars, there = read_stars(plan), read_identifiers(group)
    # what cannot be read, or is not of the survey, is repaired as what is damaged
    if not isinstance(there, str) and there.size < stars.size and has_first(there, stars):
        write_stars(group, stars)
    return plan.n_stars - n_before


def lengthen(group: zarr.Group, n_stars: int) -> None:
    """Lengthen what regions fill to so many stars, none of which is done."""
    filled = damage.list_filled(group)
    # ``status`` last: it says how far this has come
    for name in sorted(filled, key=lambda name: name == "status"):
        array = store.open_array(group, name)
        if array.shape[0] < n_stars:
            array.resize((n_stars, *array.shape[1:]))


def _read_sizes(group: zarr.Group) -> list[int]:
    """Return how many stars the survey had at first, and each time that it had grown."""
    sizes: Any = group.attrs.get(GROWN)
    return sizes or [store.open_array(group, "status").shape[0]]
