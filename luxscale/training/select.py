"""Which stars take part in training.

What is left out is counted, and what cannot carry a model is refused.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from luxscale.errors import InputError
from luxscale.progress import Progress
from luxscale.schema.checks import check_structure, check_unique
from luxscale.schema.outputs import OutputSpec, Role, is_catalog, list_partners, pick_outputs
from luxscale.schema.sampling import draw_stars
from luxscale.schema.standard import standardize_survey
from luxscale.schema.variables import STAR
from luxscale.schema.windows import Spans, find_within
from luxscale.training.data import TrainingData
from luxscale.training.load import load_training
from luxscale.training.screen import GROUP_CLIP
from luxscale.training.temperatures import report_temperatures

#: Stars of marked labels that are named, per label.
_NAMED = 3

#: Labels of a star that are compared with those of others, at the least, and the share of such
#: stars that rounded labels make alike.
_LEAST_COMPARED, _ALIKE_BY_CHANCE = 3, 0.01


def read_stars(
    survey: xr.Dataset,
    outputs: Sequence[str] | None,
    where: str,
    shown: Progress,
    clip: float = math.inf,
    unlabelled: int = 0,
) -> TrainingData:
    """Read the stars that have a label, all where none are asked for.

    Parameters
    ----------
    survey : Dataset
    outputs : sequence of str, optional
        All of the survey if not given.
    where : str
        Name of the survey in messages.
    shown : Progress
        Is told what is left out.
    clip : float
        See `load_training`.
    unlabelled : int
        Stars without a label that are read, too: at most so many, drawn by their names.

    Raises
    ------
    InputError
        If the survey breaks the contract, no star has a label, or all that are to have none.
    """
    survey = standardize_survey(survey)
    check_structure(survey, where, outputs)
    specs = pick_outputs(survey, outputs, where)
    if outputs is None:
        report_not_modelled(survey, specs, shown)
    labels = [s for s in specs if s.role is Role.LABELS]
    left_out: dict[str, int] = {}
    is_labelled = None
    if labels:
        known, left_out = find_labelled(survey, labels, where)
        taken = known
        if unlabelled:
            taken = known | _draw_unlabelled(survey[STAR].values, known, unlabelled, where)
            is_labelled = known[taken]
            left_out["stars_without_labels"] = int((~taken).sum())
        report_left_out(taken, left_out["labels_without_errors"], shown)
        if not taken.all():
            survey = survey.isel({STAR: np.flatnonzero(taken)})
    check_unique(survey[STAR].values, where)
    data = load_training(survey, specs, where, lambda text: shown.update(0, text), clip)
    left_out |= report_outlying(data, clip, shown)
    report_repeated(data, shown)
    report_temperatures(data, shown)
    return dataclasses.replace(data, left_out=tuple(left_out.items()), is_labelled=is_labelled)


def _draw_unlabelled(stars: np.ndarray, known: np.ndarray, number: int, where: str) -> np.ndarray:
    """Return which of the stars without labels take part: bool, (star,)."""
    if known.all():
        raise InputError(
            f"{where}: unlabelled={number}, and all its stars have labels; leave unlabelled out"
        )
    others = np.flatnonzero(~known)
    taken = np.zeros(stars.size, bool)
    taken[others[draw_stars(stars[others], number)]] = True
    return taken


def report_outlying(data: TrainingData, clip: float, shown: Progress) -> dict[str, int]:
    """Say which labels were set aside or given larger errors, and return how many."""
    outlying, names = _list_marked(data, "outlying")
    if outlying:
        shown.say(
            f"{outlying} labels contradict the spectra of their stars by more than {clip:g} "
            f"standard deviations and are set aside: {names}"
        )
    widened, names = _list_marked(data, "widened")
    if widened:
        shown.say(
            f"{widened} labels are of groups that are off by more than "
            f"{min(clip, GROUP_CLIP):g} standard deviations, or as doubtful, and are kept with "
            f"larger errors: {names}"
        )
    found = {"outlying_labels": outlying, "widened_labels": widened}
    return {what: number for what, number in found.items() if number}


def report_repeated(data: TrainingData, shown: Progress) -> None:
    """Say how many stars have all labels of another: a catalogue was joined to visits of a star."""
    columns = []
    for output in data.labels:
        values, ivar = (np.asarray(a)[: data.n_stars] for a in output.arrays[:2])
        columns.append(np.where(ivar > 0, values, np.nan))
    if not columns:
        return
    labels = np.concatenate(columns, 1)
    is_compared = np.isfinite(labels).sum(1) >= _LEAST_COMPARED
    alike = int(pd.DataFrame(labels[is_compared]).duplicated(keep=False).sum())
    if alike > _ALIKE_BY_CHANCE * is_compared.sum():
        shown.advise(
            f"{alike:,} of {data.n_stars:,} stars have all labels of another one, to the last "
            "digit: if these are visits of one star, stars left out of training are not new to it "
            "and errors come out too small; train on one spectrum of each star"
        )


def _list_marked(data: TrainingData, mark: str) -> tuple[int, str]:
    """Return how many labels have a mark, and of which stars."""
    total, parts = 0, []
    for output in data.labels:
        marked = getattr(output, mark)
        if marked is None:
            continue
        for name, column in zip(output.grid.values.tolist(), marked.T, strict=True):
            number = int(column.sum())
            if not number:
                continue
            total += number
            stars = ", ".join(map(str, data.stars[column][:_NAMED].tolist()))
            more = ", ..." if number > _NAMED else ""
            parts.append(f"{name} of {number} ({stars}{more})")
    return total, "; ".join(parts)


def refuse_catalog(survey: xr.Dataset, where: str) -> None:
    """Refuse a catalogue in place of a survey: it has latents, and labels alone.

    Raises
    ------
    InputError
    """
    if is_catalog(survey):
        raise InputError(
            f"{where}: a catalogue, whose labels are inferred; train on a survey, which has spectra"
        )


def select_labelled(survey: xr.Dataset, outputs: Sequence[str] | None, where: str) -> xr.Dataset:
    """Return the stars of a survey that `read_stars` would read, lazily.

    Raises
    ------
    InputError
        As `read_stars`.
    """
    survey = standardize_survey(survey)
    check_structure(survey, where, outputs)
    labels = [s for s in pick_outputs(survey, outputs, where) if s.role is Role.LABELS]
    if not labels:
        return survey
    known, _ = find_labelled(survey, labels, where)
    return survey.isel({STAR: np.flatnonzero(known)})


def measure_sizes(
    survey: xr.Dataset, outputs: Sequence[str] | None, where: str
) -> tuple[int, int, int]:
    """Return the numbers of stars, of labels, and of pixels of the spectra."""
    specs = pick_outputs(survey, outputs, where)
    labels = sum(survey.sizes[s.dim] for s in specs if s.role is Role.LABELS)
    pixels = sum(survey.sizes[s.dim] for s in specs if s.role is Role.SPECTRUM)
    return survey.sizes[STAR], labels, pixels


def find_labelled(
    survey: xr.Dataset, labels: Sequence[OutputSpec], where: str
) -> tuple[np.ndarray, dict[str, int]]:
    """Return which stars have a label with its error, and what is to be left out."""
    known = np.zeros(survey.sizes[STAR], bool)
    without_errors = 0
    for spec in labels:
        has_value, has_error = (np.isfinite(survey[v].values) for v in spec.variables)
        known |= (has_value & has_error).any(1)
        without_errors += int((has_value & ~has_error).sum())
    if not known.any():
        names = " and ".join(f"{s.name!r} with {s.noise!r}" for s in labels)
        raise InputError(
            f"{where}: no star has a label and its error in {names}; training needs both: join a "
            "catalogue, or train on other stars"
        )
    return known, {
        "stars_without_labels": int((~known).sum()),
        "labels_without_errors": without_errors,
    }


def report_not_modelled(survey: xr.Dataset, outputs: Sequence[OutputSpec], shown: Progress) -> None:
    """Say what one may take for an output that is none: labels that are not there, no errors."""
    dims = {output.dim for output in outputs}
    for name, array in survey.data_vars.items():
        if array.ndim == 2 and array.dims[0] == STAR and array.dims[1] not in dims:
            errors = " or ".join(dict.fromkeys(list_partners(str(name))))
            shown.advise(f"{name!r} {array.dims} is not modelled, for there are no errors {errors}")
    if not any(output.role is Role.LABELS for output in outputs):
        shown.advise("the survey has no labels, and the model will give none")


def report_left_out(known: np.ndarray, without_errors: int, shown: Progress) -> None:
    """Say how many stars have no label, and how many labels no error."""
    if not known.all():
        lacking = np.count_nonzero(~known)
        shown.say(f"{lacking:,} of {known.size:,} stars have no label and are left out")
    if without_errors:
        shown.advise(
            f"{without_errors:,} label values have no error and get no weight; give each an error"
        )


def check_size(data: TrainingData, latent_dim: int, folds: int, where: str) -> None:
    """Refuse more folds than stars, and more latents than stars or features can carry.

    Raises
    ------
    InputError
    """
    check_sizes(data.n_stars, data.n_features, latent_dim, folds, where)


def check_sizes(n_stars: int, features: int, latent_dim: int, folds: int, where: str) -> None:
    """Refuse what `check_size` does, of data that are not read yet.

    Raises
    ------
    InputError
    """
    if folds > n_stars:
        raise InputError(
            f"{where}: folds={folds} is more than its {n_stars} training stars; choose fewer"
        )
    left_out = -(-n_stars // folds) if folds > 1 else 0
    stars = n_stars - left_out
    if latent_dim >= min(stars, features):
        raise InputError(
            f"{where}: latent_dim={latent_dim} is too large: folds={folds} leaves {stars} "
            f"stars to train on, with {features} features; choose at most "
            f"{min(stars, features) - 1}, or add stars"
        )


def check_windows(
    data: TrainingData, windows: Mapping[str, Sequence[tuple[float, float]]]
) -> dict[str, Spans]:
    """Return windows, label -> ((least, greatest), ...), each of which holds pixels.

    Raises
    ------
    InputError
        If one is of no label, or holds no pixel.
    """
    grids = [o.grid.values for o in data.outputs if o.is_spectrum]
    labels = [str(name) for o in data.labels for name in o.grid.values]
    return read_windows(windows, labels, grids)


def read_windows(
    windows: Mapping[str, Sequence[tuple[float, float]]],
    labels: Sequence[str],
    grids: Sequence[np.ndarray],
) -> dict[str, Spans]:
    """Return windows of some of the labels, each of which holds pixels of a grid.

    Raises
    ------
    InputError
        If one is of no label, or holds no pixel.
    """
    if not isinstance(windows, Mapping):
        raise InputError(f"windows is {windows!r}; give a dict, label -> [(least, greatest), ...]")
    for label in windows:
        if label not in labels:
            raise InputError(
                f"windows name {label!r}, which is no label; the labels are {', '.join(labels)}"
            )
    return {label: _check_spans(label, spans, grids) for label, spans in windows.items()}


def _check_spans(label: str, spans: Any, grids: Sequence[np.ndarray]) -> Spans:
    try:
        found = tuple((float(a), float(b)) for a, b in spans)
    except (TypeError, ValueError):
        raise InputError(
            f"windows of {label!r} are {spans!r}; give a list of (least, greatest)"
        ) from None
    if not found:
        raise InputError(f"windows of {label!r} are empty: name one, or leave the label out")
    reaches = [f"{grid[0]:g} to {grid[-1]:g}" for grid in grids]
    reach = " and ".join(reaches) or "absent"
    for span in found:
        if not any(find_within(grid, [span]).any() for grid in grids):
            least, greatest = span
            raise InputError(
                f"windows of {label!r}: {least:g} to {greatest:g} holds no pixel; the grid is "
                f"{reach}"
            )
    return found
