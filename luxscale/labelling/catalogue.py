"""The catalogue that a run fills: opened once, asked what is pending, and written by regions.

Beside its variables a catalogue has a group ``run``: marks of the survey's chunks, by which a
survey that changed under the catalogue is noticed, and the lock of the run that fills it.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import zarr

from luxscale import store
from luxscale.errors import InputError, RunError
from luxscale.labelling.growth import describe_changes, lengthen, make_room
from luxscale.labelling.history import record_run
from luxscale.labelling.layout import FORMAT, lay_out
from luxscale.labelling.marks import compare_marks, record_kinds, record_marks
from luxscale.labelling.plan import Plan, Region
from luxscale.labelling.stars import find_wrong_stars, read_stars, write_stars
from luxscale.labelling.status import mark_not_done, read_status
from luxscale.model.inference import Inference, describe_results
from luxscale.model.lux import LuxModel
from luxscale.model.results import Result
from luxscale.runs.target import check_place, clear_place
from luxscale.schema import flags
from luxscale.schema.attributes import pack_attribute, unpack_attribute
from luxscale.schema.outputs import OutputSpec, pick_outputs
from luxscale.schema.status import DONE, NOT_DONE
from luxscale.schema.variables import STAR
from luxscale.store import damage
from luxscale.store.chunks import (
    describe_slow,
    flush_chunks,
    read_marks,
)


class Catalogue:
    """A catalogue that is open, to be filled region by region.

    Nothing is read until it is asked, and what is opened stays open.

    Parameters
    ----------
    plan : Plan

    Attributes
    ----------
    damaged : list of Damage
        Chunks that `resume` found damaged, to be done again.
    n_added, n_changed : int
        Stars that `resume` or `preview_pending` found new in the survey, and those whose data
        changed.
    n_again : int
        Other stars that are done, and that `preview_pending` found in regions of such stars: these
        are done as a whole.
    gone : list of str
        Data that they found missing, of stars that are done.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.path = plan.catalog
        self.n_added = self.n_changed = self.n_again = 0
        self.damaged: list[damage.Damage] = []
        self.gone: list[str] = []

    @functools.cached_property
    def model(self) -> LuxModel:
        """The model that labels, as it was planned."""
        return self.plan.load_model()

    @functools.cached_property
    def survey(self) -> zarr.Group:
        """The survey."""
        return store.open_group(self.plan.survey, "r")

    @functools.cached_property
    def group(self) -> zarr.Group:
        """The catalogue's Zarr group, which has to be there."""
        return store.open_group(self.path, "r+")

    @functools.cached_property
    def inference(self) -> Inference:
        """The model, prepared to infer from the given outputs."""
        prepared = Inference.of(self.model, self.plan.given, covariance=self.plan.covariance)
        return prepared.reading(self._given)

    @functools.cached_property
    def _given(self) -> tuple[OutputSpec, ...]:
        """What is inferred from; the survey's errors may have another form than the model's."""
        survey = store.open_dataset(self.plan.survey, dask=False, kind="survey")
        return pick_outputs(survey, self.plan.given, self.plan.survey)

    @functools.cached_property
    def results(self) -> tuple[Result, ...]:
        """What inference fills."""
        return describe_results(self.model, self.plan.given, self.plan.covariance)

    @functools.cached_property
    def input_names(self) -> list[str]:
        """Variables of the survey that a run reads."""
        return [name for spec in self._given for name in spec.variables]

    def describe_slow_input(self) -> list[str]:
        """Say which variables that a run reads lie in chunks that are slow to read."""
        return describe_slow(self.survey, self.input_names)

    def claim(self) -> bool:
        """Return whether there is a catalogue to continue; changes nothing.

        Raises
        ------
        InputError
            If something else is there, or a catalogue of another survey, model or setting.
        """
        return check_place(
            self.path,
            kind="catalogue",
            store_format=FORMAT,
            identity=dict(self.plan.identity),
            describe_changes=functools.partial(describe_changes, self.plan),
        )

    def create(self) -> tuple[Region, ...]:
        """Write metadata, coordinates and identity; return all regions as pending."""
        dataset, encoding = lay_out(self.plan, self.model, self.results)
        marks = self._read_marks()
        with store.explain_writing(self.path):
            clear_place(self.path)
            dataset.to_zarr(
                store.locate(self.path),
                mode="a",
                encoding=encoding,
                consolidated=False,
                zarr_format=3,
            )
            lengthen(self.group, self.plan.n_stars)
            write_stars(self.group, read_stars(self.plan))
            record_marks(self.group, marks, new=True)
            record_kinds(self.group, self.survey, self.input_names)
            record_run(self.group, self.plan, self.plan.regions)
            self.group.attrs["complete"] = 0
        return self.plan.regions

    def resume(self) -> tuple[Region, ...]:
        """Make room for stars that are new, repair what is damaged, and return what is pending.

        Regions of stars whose data changed since they were labelled are among it.

        Raises
        ------
        CannotWrite
        """
        with store.explain_writing(self.path), damage.explain_damage(self.path):
            self.n_added = make_room(self.group, self.plan)
        self.repair()
        marks, changed = self._compare_input(self.list_pending())
        with store.explain_writing(self.path):
            self._forget(changed)
            pending = self.list_pending()
            if pending:
                record_marks(self.group, marks)
                record_run(self.group, self.plan, pending)
                self.group.attrs["complete"] = 0
                self._record_version()
        return pending

    def repair(self) -> None:
        """Read the catalogue, and mark the stars of chunks that are damaged as not done.

        Identifiers that are not those of the survey are written anew.

        Raises
        ------
        CannotWrite
        """
        with damage.explain_damage(self.path):
            self.damaged = list(damage.find_damage(self.group, damage.list_filled(self.group)))
        with store.explain_writing(self.path):
            status = store.open_array(self.group, "status")
            for each in self.damaged:
                status[each.start : each.stop] = NOT_DONE
            self._repair_stars()

    def _repair_stars(self) -> None:
        """Write the identifiers anew where they cannot be read, or are not the survey's."""
        stars = read_stars(self.plan)
        reason = find_wrong_stars(self.group, stars)
        if not reason:
            return
        write_stars(self.group, stars)
        whole = damage.Damage(
            variable=STAR, chunk=0, start=0, stop=self.plan.n_stars, reason=reason
        )
        self.damaged.append(whole)

    def read_status(self) -> np.ndarray:
        """Return the status of every star: (star,), uint8; see the function `read_status`.

        Raises
        ------
        InputError
            If an array is not there, or its metadata cannot be read.
        """
        with damage.explain_damage(self.path):
            return read_status(self.group, self.plan.n_stars)

    def list_pending(self) -> tuple[Region, ...]:
        """Return the regions of which any star is not done, or could not be read."""
        return self._list_regions(self.read_status() != DONE)

    def _list_regions(self, wanted: np.ndarray) -> tuple[Region, ...]:
        """Return the regions that have any of the stars that are wanted."""
        return tuple(r for r in self.plan.regions if wanted[r.start : r.stop].any())

    def preview_pending(self) -> tuple[Region, ...]:
        """Return the regions that a run would do, without a change to anything.

        Raises
        ------
        InputError
            As `claim` and `resume`.
        """
        if not self.claim():
            return self.plan.regions
        with damage.explain_damage(self.path):
            there = store.open_array(store.open_group(self.path, "r"), "status").shape[0]
        pending = self.list_pending()
        _, changed = self._compare_input(pending)
        self.n_added, self.n_changed = self.plan.n_stars - there, int(changed.sum())
        wanted = (self.read_status() != DONE) | changed
        found = self._list_regions(wanted)
        self.n_again = sum(int((~wanted[r.start : r.stop]).sum()) for r in found)
        return found

    def _compare_input(self, pending: Sequence[Region]) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """Return the marks of the survey's chunks, and which stars that are done have other data.

        Those that are still to be read may have been mended.

        Returns
        -------
        marks : dict of str to array, (chunk, 2)
            By variable.
        changed : array, (star,)
        """
        done = np.ones(self.plan.n_stars, bool)
        for region in pending:
            done[region.start : region.stop] = False
        marks = self._read_marks()
        changed, self.gone = compare_marks(self.survey, self.path, marks, done)
        return marks, changed

    def _forget(self, changed: np.ndarray) -> None:
        """Mark stars whose data changed as not done, on the disk before the new marks are."""
        self.n_changed = int(changed.sum())
        mark_not_done(self.group, changed, self.plan.chunk)

    def _read_marks(self) -> dict[str, np.ndarray]:
        """Return the marks of each chunk of what a run reads, by variable."""
        n_stars = self.plan.n_stars
        return {name: read_marks(self.survey, name, 0, n_stars) for name in self.input_names}

    def _record_version(self) -> None:
        """Add this luxscale to those that made the catalogue."""
        attributes: Any = self.group.attrs
        versions = unpack_attribute(attributes.get("versions", []))
        if self.plan.version not in versions:
            attributes["versions"] = pack_attribute([*versions, self.plan.version])

    def write_region(
        self, region: Region, arrays: Mapping[str, np.ndarray], status: np.ndarray
    ) -> None:
        """Write the results of a region: arrays first, and ``status`` when they are on the disk.

        Parameters
        ----------
        region : Region
        arrays : mapping of str to array, (star, ...)
            The `results`.
        status : array, (star,)

        Raises
        ------
        CannotWrite
        InputError
            If the catalogue was made anew meanwhile, for another model say.
        """
        stars = slice(region.start, region.stop)
        with store.explain_writing(self.path):
            self._refuse_another()
            for name, values in arrays.items():
                self._arrays[name][stars] = values
            flush_chunks([self._arrays[name] for name in arrays], region.start, region.stop)
            self._arrays["status"][stars] = status

    @functools.cached_property
    def _arrays(self) -> dict[str, zarr.Array[Any]]:
        """What regions fill; room for all stars has been made."""
        names = [*(result.name for result in self.results), "status"]
        return {name: store.open_array(self.group, name) for name in names}

    def _refuse_another(self) -> None:
        """Refuse to write into a catalogue that was made anew while a task was under way."""
        # opened again: what is open keeps the attributes that it had
        attributes = dict(store.open_group(self.path, "r").attrs)
        identity = unpack_attribute(attributes.get("identity", {}))
        if identity != dict(self.plan.identity):
            raise InputError(
                f"{self.path}: is no longer the catalogue of this run; run the same command again"
            )

    def finalise(self) -> dict[str, int]:
        """Check that all regions are done, and record and return the counts of flags.

        Raises
        ------
        RunError
            If regions are pending.
        """
        status = self.read_status()
        pending = [
            r.index for r in self.plan.regions if (status[r.start : r.stop] == NOT_DONE).any()
        ]
        if pending:
            raise RunError(
                f"{self.path}: {len(pending)} regions are pending, first {pending[0]}; run the "
                "same command again"
            )
        with damage.locate_damage(self.path):
            counts = flags.count(np.asarray(store.open_array(self.group, "flags")[:]))
        with store.explain_writing(self.path):
            complete = int((status == DONE).all())
            self.group.attrs.update({"complete": complete, "flag_counts": pack_attribute(counts)})
        return counts
