"""A training over chunks as a run: its folder is made, or taken up, and filled."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import zarr

from luxscale import store
from luxscale.chunked.em import Em
from luxscale.chunked.folder import Folder, remove_all
from luxscale.chunked.labels import FarData, load_far
from luxscale.chunked.left_out import measure_each_fold, name_model
from luxscale.chunked.prepare import Prepared
from luxscale.model.jit import check_jax, use_one_blas_thread
from luxscale.model.lux import LuxModel
from luxscale.progress import Progress
from luxscale.runs.job import Runner
from luxscale.runs.target import check_place, list_changed
from luxscale.schema.attributes import pack_attribute
from luxscale.training.calibrate import put_misfit
from luxscale.training.data import Trained
from luxscale.training.fitting import (
    build_model,
    gather_stars,
    make_record,
    show_held_out,
)
from luxscale.training.methods import complete_settings, pick_method
from luxscale.training.select import (
    check_windows,
    report_left_out,
    report_not_modelled,
    report_outlying,
    report_repeated,
)
from luxscale.training.temperatures import report_temperatures

#: Value of the attribute ``format`` of a folder.
FORMAT = "luxscale-training"

#: Checksums of an identity in words; all but the first follow from others too.
_IN_WORDS = {
    "survey": "survey (its stars, grids or layout are not what they were)",
    "data": "state of the survey (chunks of its data are not what they were)",
    "rows": "choice of stars (others of them are selected, or have labels, than were)",
    "regions": "division into regions (region_stars, on the command line --region-stars)",
}
_FOLLOWING = ("data", "rows", "regions")


def describe_changes(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """Say in what a training is another than that which a folder holds: causes, if there are any.

    Parameters
    ----------
    before, now : mapping of str to str
        What the folder is of, and what the training is of.
    """
    changed = list_changed(before, now)
    told = [name for name in changed if name not in _FOLLOWING] or changed[:1]
    return [
        _IN_WORDS.get(name, f"{name} ({before.get(name) or 'all'}, now {now.get(name) or 'all'})")
        for name in told
    ]


@dataclasses.dataclass(frozen=True)
class Training:
    """A training over chunks: a `luxscale.runs.target.Target`, whose items are none.

    Parameters
    ----------
    prepared : Prepared
    """

    prepared: Prepared

    title = "training"

    @property
    def path(self) -> str:
        """Path of the folder."""
        return self.prepared.plan.folder

    def claim(self) -> bool:
        """Return whether there is a folder to continue; changes nothing.

        Raises
        ------
        InputError
            If something else is there, or a training on other data or with other settings.
        """
        return check_place(
            self.path,
            kind="training",
            store_format=FORMAT,
            identity=dict(self.prepared.plan.identity),
            describe_changes=describe_changes,
        )

    def create(self) -> tuple[()]:
        """Make the folder."""
        with store.explain_writing(self.path):
            remove_all(self.prepared.plan.path)
            np.save(self.prepared.plan.path / "rows.npy", self.prepared.rows)
            group = zarr.open_group(self.path, mode="a")
            group.attrs.update(
                format=FORMAT, identity=pack_attribute(dict(self.prepared.plan.identity))
            )
        return ()

    def resume(self) -> tuple[()]:
        """Return that nothing is listed: each step knows what of it is there."""
        return ()

    def fill(self, pending: Sequence[Any], runner: Runner) -> LuxModel:
        """Train, or go on.

        Raises
        ------
        RunError
            Names what could not be done.
        """
        check_jax()
        request, plan = self.prepared.request, self.prepared.plan
        method = pick_method(request.method)
        settings = complete_settings(request.method, request.settings)
        precision = method.choose_prior(request.prior)
        folder = Folder(plan, runner)
        said = Progress("training", enabled=runner.progress, advises=True)
        with use_one_blas_thread(), said as shown:
            if request.outputs is None:
                report_not_modelled(self.prepared.stars, plan.outputs, shown)
            left_out = self.prepared.left_out
            known = np.arange(self.prepared.n_selected) < plan.n_stars
            report_left_out(known, left_out["labels_without_errors"], shown)
            data = load_far(folder, self.prepared.stars, left_out, request.label_clip)
            found = report_outlying(data, request.label_clip, shown)
            report_repeated(data, shown)
            report_temperatures(data, shown)
            data = dataclasses.replace(data, left_out=(*data.left_out, *found.items()))
            spans = check_windows(data, request.windows or {})
            record = make_record(
                data,
                request,
                latent_dim=plan.latent_dim,
                settings=settings,
                prior=precision,
                spans=spans,
            )
            record["regions"] = len(plan.regions)
            em = Em(folder, data, settings["iterations"], settings["tolerance"])
            trained = em.train(shown.report)
            stars = gather_stars(data, None)
            model = build_model(data, trained, request.method, spans, record, stars)
            if request.folds > 1:
                model = self._calibrate(model, folder, em, data, trained)
            show_held_out(model, shown, choice_of_latents=True)
        return model

    def _calibrate(
        self, model: LuxModel, folder: Folder, em: Em, data: FarData, trained: Trained
    ) -> LuxModel:
        """Put into a model what stars left out of training tell."""
        folds = self.prepared.request.folds
        windows = {label: spans for o in model.outputs for label, spans in o.windows}
        for k, fit in enumerate(em.leave_out(folds)):
            outputs = data.to_model(fit.arrays, trained.kinds, windows, fit.noises)
            path = folder.plan.path / name_model(k)
            if not path.exists():
                without = dataclasses.replace(model, outputs=outputs)
                with store.write_then_move(path) as made:
                    store.write_arrays(without.to_dataset(), made)
        parts = measure_each_fold(folder, folds, model)
        return put_misfit(model, parts, exact_labels=False)

    def describe_start(self, pending: Sequence[Any]) -> dict[str, Any]:
        """Return what the log says at the start of a run."""
        plan = self.prepared.plan
        return {"identity": dict(plan.identity), "stars": plan.n_stars}

    def describe_end(self, pending: Sequence[Any], result: LuxModel) -> dict[str, Any]:
        """Return what the log says at the end of a run."""
        return {"iterations": len(result.objective), "fingerprint": result.fingerprint}

    def remove(self) -> None:
        """Remove the folder, when the model is written."""
        shutil.rmtree(self.path, ignore_errors=True)
