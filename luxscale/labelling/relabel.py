"""A newer model: the new catalogue is made beside the old one, and replaces it when complete."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from luxscale import store
from luxscale.errors import InputError
from luxscale.labelling.layout import FORMAT
from luxscale.labelling.plan import Plan
from luxscale.labelling.stars import describe_other_stars, has_first, read_identifiers, read_stars
from luxscale.runs.target import BEING_MADE
from luxscale.schema.attributes import unpack_attribute
from luxscale.store import objects
from luxscale.store.chunks import get_chunk_rows
from luxscale.store.lock import LOCK, hold_lock

#: End of the path at which the new catalogue is made.
_BESIDE = ".new"


def plan_beside(plan: Plan) -> Plan:
    """Return the plan of a new catalogue beside that of another model or other settings.

    Where the catalogue has become one of this plan already, in chunks of as many stars, it is the
    plan itself.

    Raises
    ------
    InputError
        If there is no catalogue to replace, or it is of other stars.
    """
    place = plan.catalog
    if not objects.is_url(place):
        # of a link, what it leads to is replaced
        place = str(Path(place).resolve())
    beside = dataclasses.replace(plan, catalog=place + _BESIDE, replaces=place)
    if _is_made_so(place, plan):
        return plan
    # what was begun goes on, even where the old one is away since it was cut off at its end
    if not _is_made_so(beside.catalog, plan):
        _require_same_stars(plan)
    return beside


def _is_made_so(path: str, plan: Plan) -> bool:
    """Return whether a catalogue lies at a path that is of a plan's model, settings and chunks."""
    try:
        attributes = store.read_attributes(path) or {}
    except objects.ObjectError:
        raise
    except InputError:  # what is no Zarr group is no catalogue
        return False
    if attributes.get("format") != FORMAT or attributes.get("complete") == BEING_MADE:
        return False
    before, now = unpack_attribute(attributes.get("identity", {})), dict(plan.identity)
    if any(before.get(name) != now[name] for name in now if name != "survey"):
        return False
    return get_chunk_rows(store.open_array(store.open_group(path, "r"), "status")) == plan.chunk


def _require_same_stars(plan: Plan) -> None:
    """Refuse to replace what is no catalogue of the survey's stars, or of its first.

    Raises
    ------
    InputError
    """
    attributes = store.read_attributes(plan.catalog)
    if attributes is None or attributes.get("complete") == BEING_MADE:
        raise InputError(
            f"{plan.catalog}: there is no catalogue to replace; leave out relabel=True (on the "
            "command line --relabel)"
        )
    kind = attributes.get("format")
    if kind != FORMAT:
        found = store.describe_kind(str(kind)) if kind else "a Zarr store of another program"
        raise InputError(f"{plan.catalog} is {found}, not a catalogue; choose another path")
    there = read_identifiers(store.open_group(plan.catalog, "r"))
    if isinstance(there, str):
        raise InputError(
            f"{plan.catalog}: its identifiers cannot be read ({there}), so it is not replaced; "
            "choose another path"
        )
    stars = read_stars(plan)
    if not has_first(there, stars):
        raise InputError(
            f"{plan.catalog}: a catalogue of another {describe_other_stars(there, stars)}; choose "
            "another path"
        )


def take_place(plan: Plan) -> None:
    """Put a catalogue that is complete in the place of the one that it replaces.

    Raises
    ------
    InputError
        If another run is under way into the old one, or that has got more stars meanwhile.
    CannotWrite
    """
    old = plan.replaces
    if not objects.is_url(old) and not Path(old).exists():  # cut off between two renames
        with store.explain_writing(old):
            store.move_store(plan.catalog, old, keep="")
        return
    with hold_lock(old) as lock, store.explain_writing(old):
        _refuse_more_stars(plan)
        lock.check()
        store.move_store(plan.catalog, old, keep=f"{LOCK}/")


def _refuse_more_stars(plan: Plan) -> None:
    group = store.open_group(plan.replaces, "r")
    # objects that are being copied have no attributes yet
    if group.attrs.get("format") != FORMAT:
        return
    there = store.open_array(group, "status").shape[0]
    if there > plan.n_stars:
        raise InputError(
            f"{plan.replaces}: has got {there - plan.n_stars:,} more stars meanwhile; run the same "
            f"command again, which labels those in {plan.catalog} too"
        )
