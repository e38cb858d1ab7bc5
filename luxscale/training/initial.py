"""Training that goes on from a model, on the same stars or others, with labels or outputs added.

The weights of the model are those that the first iteration begins with. Features that it does not
know, such as one more label, begin with weights regressed on the latents that the others give. From
then on everything is trained.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from luxscale.errors import InputError
from luxscale.model.inference import Inference
from luxscale.model.lux import LuxModel
from luxscale.training.checkpoint import INTERRUPTED
from luxscale.training.data import BLOCK, LEAST_SCATTER, Arrays, TrainingData, TrainingOutput
from luxscale.training.matching import check_outputs, find_places
from luxscale.training.methods import pick_method
from luxscale.training.recipes import Recipe

Windows = Mapping[str, Sequence[tuple[float, float]]]

#: What a model's record says of its recipe, of the losses of all that were compared, and on one
#: pixel in how many.
_COMPARED = ("recipe", "compared", "compared_pixel_step")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Inherited:
    """What a training has from the model that it goes on from.

    Parameters
    ----------
    model : LuxModel
    settings : mapping
        Of the method: those that were given, and the model's own for what belongs to it.
    windows : mapping
    prior : float, optional
    folds : int, optional
    label_clip : float, optional
        Both as the model was trained with; None where it does not say.
    compared : mapping
        What its record says of its recipe, and of those that it was chosen among.
    others : tuple of Recipe
        Of its further members.
    asked : mapping
        The settings that were given.
    """

    model: LuxModel
    settings: Mapping[str, Any]
    windows: Windows
    prior: float | None
    folds: int | None
    label_clip: float | None
    compared: Mapping[str, Any]
    others: tuple[Recipe, ...] = ()
    asked: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def method(self) -> str:
        """Name of the method."""
        return self.model.provenance.method

    def describe(self) -> dict[str, Any]:
        """Return what is put on record."""
        return {"initial": self.model.fingerprint}


def inherit(
    model: LuxModel,
    *,
    method: str | None,
    latent_dim: int | None,
    settings: Mapping[str, Any],
    windows: Windows | None,
    prior: float | None,
) -> Inherited:
    """Return what a model says of the training that goes on from it.

    Raises
    ------
    InputError
        If what is asked for makes another model.
    """
    trained = model.provenance.method
    if method not in (None, trained):
        raise InputError(
            f"method={method!r}, and initial was trained with {trained!r}; leave method out"
        )
    known = pick_method(trained)
    if known.latents_are_labels:
        raise InputError(
            f"initial is a model of {known.title}, which is found in one go and not improved upon; "
            "train without initial"
        )
    if latent_dim not in (None, model.latent_dim):
        raise InputError(
            f"latent_dim={latent_dim}, and initial has {model.latent_dim} latents; leave it out"
        )
    record = json.loads(model.provenance.settings)
    kept = {n: record[n] for n, s in known.settings.items() if s.kept and n in record}
    for name, value in kept.items():
        if settings.get(name, value) != value:
            raise InputError(
                f"{name}={settings[name]!r}, and initial was trained with {value!r}, which is part "
                "of the model; leave it out, or train without initial"
            )
    own = {label: spans for output in model.outputs for label, spans in output.windows}
    if windows is not None and _to_plain(windows) != _to_plain(own):
        raise InputError(
            f"windows are {dict(windows)}, and those of initial are {own}; leave them out, or "
            "train without initial"
        )
    if prior is None and known.prior is None:
        prior = record.get("prior")
    return Inherited(
        model=model,
        settings={**kept, **_count_the_rest(record), **settings},
        windows=own,
        prior=prior,
        folds=record.get("folds"),
        label_clip=record.get("label_clip"),
        compared={name: record[name] for name in _COMPARED if name in record},
        others=tuple(Recipe(**held) for held in record.get("members", [])),
        asked=dict(settings),
    )


def _to_plain(windows: Windows) -> dict[str, list[tuple[float, ...]]]:
    return {label: [tuple(map(float, span)) for span in spans] for label, spans in windows.items()}


def _count_the_rest(record: Mapping[str, Any]) -> dict[str, int]:
    """Return what an interrupted training had left: iterations, at least one, and refinement."""
    if INTERRUPTED not in record:
        return {}
    left = {"iterations": max(record["iterations"] - record[INTERRUPTED], 1)}
    # it comes after the iterations
    return left | {"refine": record["refine"]} if "refine" in record else left


@dataclasses.dataclass(frozen=True, kw_only=True)
class Start:
    """Where a training goes on from, as its data see it.

    Parameters
    ----------
    model : LuxModel
    data : TrainingData
    known : tuple of array of bool, (feature,)
        Which features of each output the model knows, or nobody does.
    """

    model: LuxModel
    data: TrainingData
    known: tuple[np.ndarray, ...]

    @property
    def number(self) -> int:
        """Iterations that are done."""
        return len(self.model.objective)

    def of_member(self, number: int) -> Start | None:
        """Return the same for a further member, None if the model does not have it."""
        if number >= len(self.model.others):
            return None
        return dataclasses.replace(self, model=self.model.others[number])

    @property
    def history(self) -> list[float]:
        """Objectives after these iterations; empty if they were of other data."""
        if self.model.provenance.training_checksum != self.data.checksum():
            return []
        return [float(objective) for objective in self.model.objective]

    def make_arrays(self) -> tuple[Arrays, ...]:
        """Return the outputs in units of training: features that the model lacks have weight 0.

        Weights are those of linear maps, (feature, latent).
        """
        return tuple(self._make_arrays(output) for output in self.data.outputs)

    def _make_arrays(self, output: TrainingOutput) -> Arrays:
        p = self.model.latent_dim
        weights = np.zeros((output.size, p))
        offset = np.zeros(output.size)
        scatter = np.full(output.size, LEAST_SCATTER)
        if output.spec.name in self.model:
            of_model = self.model[output.spec.name]
            at, used = find_places(output, of_model), np.asarray(of_model.used, bool)
            at = at[used]
            scale = output.spread.scale[at]
            safe = np.where(scale > 0, scale, 1)
            weights[at] = np.asarray(of_model.map.weights, float)[used] / safe[:, None]
            deviation = np.asarray(of_model.map.offset, float)[used] - output.spread.center[at]
            offset[at] = deviation / safe
            scatter[at] = np.asarray(of_model.scatter, float)[used] / safe
        return output.arrays._replace(
            weights=weights.astype(np.float32),
            offset=offset.astype(np.float32),
            scatter=np.maximum(scatter, LEAST_SCATTER).astype(np.float32),
        )

    def begin_linear(
        self,
        outputs: Sequence[Arrays],
        regress_new: Callable[[int], Arrays],
    ) -> tuple[Arrays, ...]:
        """Return outputs whose new features have weights of their own.

        Parameters
        ----------
        outputs : sequence of Arrays
        regress_new : callable
            Fits all features of an output, given its position, to the latents that the known
            features give.
        """
        made = []
        for i, (output, known) in enumerate(zip(outputs, self.known, strict=True)):
            if not known.all():
                output = _take_where(known, output, regress_new(i))
            made.append(output)
        return tuple(made)

    def find_latents(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the latents of the stars under the model, and their covariances.

        Returns
        -------
        z : array, (star, latent)
        covariance : array, (star, latent, latent)
        """
        given = [o for o in self.data.outputs if o.spec.name in self.model]
        names = [o.spec.name for o in given]
        places = [find_places(o, self.model[o.spec.name]) for o in given]
        inference = Inference.of_latents(self.model, names, covariance=True)
        parts = []
        for start in range(0, self.data.n_stars, BLOCK):
            rows = np.arange(start, min(start + BLOCK, self.data.n_stars))
            values, ivars = [], []
            for output, at in zip(given, places, strict=True):
                value, ivar = output.read_physical(rows)
                values.append(value[:, at])
                ivars.append(ivar[:, at])
            parts.append(inference.infer_from_ivars(values, ivars))
        z, covariance = (
            np.concatenate([np.asarray(part[name], float) for part in parts])
            for name in ("latent_value", "latent_cov")
        )
        return z, covariance


def find_start(inherited: Inherited | None, data: TrainingData, where: str) -> Start | None:
    """Return where training goes on from; None if it begins anew.

    Raises
    ------
    InputError
        If the stars lack what the model has, or have it on another grid.
    """
    if inherited is None:
        return None
    model = inherited.model
    check_outputs(model, data, where)
    known = []
    for output in data.outputs:
        _, ivar = output.read_table()
        is_known = np.asarray(~(ivar > 0).any(axis=0))
        if output.spec.name in model:
            of_model = model[output.spec.name]
            is_known[find_places(output, of_model)] |= np.asarray(of_model.used, bool)
        known.append(is_known)
    if not any(output.spec.name in model for output in data.measured) and data.measured:
        raise InputError(
            f"{where}: initial has none of the spectra and bands of these stars; train without it"
        )
    return Start(model=model, data=data, known=tuple(known))


def _take_where(known: np.ndarray, old: Arrays, new: Arrays) -> Arrays:
    """Return the parameters of features that are known from one output, the others of another."""
    return old._replace(
        weights=np.where(known[:, None], old.weights, new.weights),
        offset=np.where(known, old.offset, new.offset),
        scatter=np.where(known, old.scatter, new.scatter),
    )
