"""Training: from stars with spectra and trusted labels to a model."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from numbers import Integral, Real
from typing import Any

import numpy as np
import xarray as xr

from luxscale.errors import InputError
from luxscale.model.decoders import quadratic_features
from luxscale.model.inference import Inference
from luxscale.model.lux import LuxModel, Output, Provenance
from luxscale.model.priors import GaussianPrior
from luxscale.progress import Progress
from luxscale.schema.checks import check_structure, check_unique
from luxscale.schema.outputs import Role, pick_outputs
from luxscale.schema.standard import standardize_survey
from luxscale.schema.variables import STAR
from luxscale.training.alternating import train_alternating
from luxscale.training.cannon import complete_stars, train_cannon
from luxscale.training.data import Trained, TrainingData
from luxscale.training.load import load_training
from luxscale.training.marginal import train_marginal
from luxscale.training.misfit import misfit
from luxscale.training.steps import BLOCK, Arrays

Spans = tuple[tuple[float, float], ...]

__all__ = ["train"]

_METHODS: dict[str, tuple[Callable[..., Trained], dict[str, Any]]] = {
    "marginal": (train_marginal, {"iterations": 30, "tolerance": 2e-5}),
    "alternating": (
        train_alternating,
        {"iterations": 30, "tolerance": 2e-3, "latent_precision": 1e-6, "solver": "exact"},
    ),
    "cannon": (train_cannon, {}),
}

#: What is measured of labels left out of training; what `misfit` takes.
_MEASURED = ("residual", "formal error", "label error")

#: Number of latents unless given.
LATENT_DIM = 48


def train(
    survey: xr.Dataset,
    latent_dim: int | None = None,
    *,
    outputs: Sequence[str] | None = None,
    method: str = "marginal",
    windows: Mapping[str, Sequence[tuple[float, float]]] | None = None,
    prior: float | None = None,
    folds: int = 5,
    seed: int = 0,
    progress: bool = True,
    where: str = "survey",
    **settings: Any,
) -> LuxModel:
    """Train a Lux model, in memory.

    Parameters
    ----------
    survey : Dataset
        Training stars; those without any label are left out.
    latent_dim : int, optional
        Number of latents P; 48 by default. The Cannon has one a label, and takes none.
    outputs : sequence of str, optional
        Outputs to model; all that the survey holds if not given.
    method : {"marginal", "alternating", "cannon"}
        Maximum marginal likelihood, the paper's training step (section 4.2), or The Cannon
        (quadratic in the labels). See ``luxscale.training.marginal``,
        ``luxscale.training.alternating``, ``luxscale.training.cannon``.
    windows : mapping of str to sequence of (least, greatest), optional
        Labels that are to be inferred from the pixels in these wavelength windows alone (section 5
        of the paper), in the unit of the grid. The other labels use all pixels.
    prior : float, optional
        Precision of the Gaussian prior on the latents at the test step, in the gauge where those of
        the training stars have variance 1; 1 by default. The Cannon has a wide one of its own, and
        takes none.
    folds : int
        Misfit of the labels, and the limits of flags, are measured on each fold of the stars with
        weights regressed on the others; 1 measures nothing, and errors are then formal only.
    seed : int
        Recorded with the model. The same data gives the same model whatever it is: what is random
        in a method, the start of ``"alternating"``, is drawn the same way each time.
    progress : bool
        Whether to show progress on standard error.
    where : str
        Name of the survey in messages.
    **settings
        ``iterations`` (marginal, alternating: the most); ``tolerance`` (marginal, alternating: least gain of an
        iteration, in ln evidence or penalised log-likelihood per measured value);
        ``latent_precision`` (alternating: precision of the prior on latents in training, equation
        7); ``solver`` (alternating: ``"exact"``, or ``"jaxopt"`` for the paper's iterative solvers,
        which need the extra of that name).

    Returns
    -------
    LuxModel
        In the canonical gauge.

    Raises
    ------
    InputError
        If the data break the contract or carry no such model; names variable, star or label.

    Examples
    --------
    >>> import luxscale as lux
    >>> model = lux.train(survey.isel(star=slice(0, 300)), latent_dim=4, progress=False)
    >>> model["flux"].scatter.shape == (survey.sizes["wavelength"],)  # the paper's s
    True
    """
    settings = _settings(method, settings)
    for name, value, least in (("folds", folds, 1), ("seed", seed, 0)):
        _check_whole(name, value, least)
    if prior is not None and method == "cannon":
        raise InputError(f"prior={prior}: The Cannon has a wide prior of its own; leave it out")
    prior = 1.0 if prior is None else _positive("prior", prior)
    with Progress("training", enabled=progress) as shown:
        shown.stage("reading")
        data = _read(survey, outputs, where, shown)
        latent_dim = _latent_dim(data, latent_dim, method)
        _check_size(data, latent_dim, folds, where)
        spans = _windows(data, windows or {})
        if method == "cannon":
            data = _check_complete(data, latent_dim, folds, where, shown)
        shown.stage("")
        function, _ = _METHODS[method]
        trained = function(data, latent_dim, report=shown.report, **settings)
        precision = prior if trained.prior is None else trained.prior
        record = {
            "latent_dim": latent_dim,
            "seed": seed,
            "folds": folds,
            "prior": precision,
            **settings,
        }
        record |= {"windows": spans, **dict(data.left_out)}
        model = LuxModel(
            _outputs(data, trained.arrays, trained, spans),
            np.array(trained.history),
            Provenance(method, json.dumps(record, sort_keys=True), data.n_stars, data.checksum()),
            prior=GaussianPrior(precision),
        )
        if not any(
            data.spectral
        ):  # nothing to predict labels from but each other: their scatter is all there is
            model = dataclasses.replace(
                model, outputs=tuple(dataclasses.replace(o, floor=o.scatter) for o in model.outputs)
            )
        elif folds > 1:
            model = _calibrate(model, data, trained, folds, shown)
    return model


def _outputs(
    data: TrainingData, arrays: Sequence[Arrays], trained: Trained, spans: dict[str, Spans]
) -> tuple[Output, ...]:
    """Return trained arrays as outputs of a model, with the windows of their labels."""
    made = data.outputs(arrays, trained.kinds)
    return tuple(
        dataclasses.replace(
            o, windows=tuple((k, v) for k, v in spans.items() if o.is_label and k in o.coord)
        )
        for o in made
    )


def _positive(name: str, value: Any, *, zero: bool = False) -> float:
    number = float(value) if isinstance(value, Real) else float("nan")
    if not np.isfinite(number) or number < 0 or (number == 0 and not zero):
        raise InputError(f"{name} is {value!r}; it must be a positive number")
    return number


def _check_whole(name: str, value: Any, least: int) -> None:
    if not isinstance(value, Integral) or int(value) < least:
        raise InputError(f"{name} is {value!r}; it must be a whole number of at least {least}")


def _latent_dim(data: TrainingData, given: int | None, method: str) -> int:
    if method == "cannon":
        labels = sum(g.size for g, s in zip(data.grids, data.spectral, strict=True) if not s)
        if given is not None:
            raise InputError(
                f"latent_dim={given}: The Cannon has one latent a label, here {labels}; leave "
                "it out"
            )
        if not labels or not any(data.spectral):
            raise InputError("The Cannon needs labels and spectra; name both in outputs")
        return labels
    _check_whole("latent_dim", LATENT_DIM if given is None else given, 1)
    return LATENT_DIM if given is None else int(given)


def _check_complete(
    data: TrainingData, latent_dim: int, folds: int, where: str, shown: Progress
) -> TrainingData:
    """Count the stars that The Cannon cannot use, and refuse what leaves too few.

    Raises
    ------
    InputError
    """
    incomplete = data.n_stars - int(complete_stars(data).sum())
    terms = quadratic_features(np.zeros(latent_dim)).size + 1
    fitted = (
        (data.n_stars - incomplete) * (folds - 1) // folds
        if folds > 1
        else data.n_stars - incomplete
    )
    if fitted <= terms:
        raise InputError(
            f"{where}: The Cannon needs stars that have every label: "
            f"{data.n_stars - incomplete} of {data.n_stars} do"
            f"{f' (folds={folds} leave {fitted})' if folds > 1 else ''}, for {terms} "
            "coefficients a pixel; select fewer labels, e.g. "
            "survey.sel(label=[...]), add stars, or use method 'marginal', which bears missing "
            "labels"
        )
    if fitted < 2 * terms:
        shown.say(
            f"{fitted:,} stars fit {terms} coefficients a pixel: expect poor labels, and "
            "limits that flag little"
        )
    if incomplete:
        shown.say(
            f"{incomplete:,} of {data.n_stars:,} stars lack a label and are of no use to The Cannon"
        )
    return dataclasses.replace(
        data, left_out=(*data.left_out, ("stars_without_every_label", incomplete))
    )


def _windows(
    data: TrainingData, windows: Mapping[str, Sequence[tuple[float, float]]]
) -> dict[str, Spans]:
    """Check windows: label -> ((least, greatest), ...)."""
    if not isinstance(windows, Mapping):
        raise InputError(f"windows is {windows!r}; give a dict, label -> [(least, greatest), ...]")
    grids = [
        g.values for g, s in zip(data.grids, data.specs, strict=True) if s.role is Role.SPECTRUM
    ]
    labels = [
        str(k) for g, s in zip(data.grids, data.spectral, strict=True) if not s for k in g.values
    ]
    found = {}
    for label, spans in windows.items():
        if label not in labels:
            raise InputError(
                f"windows name {label!r}, which is no label; the labels are {', '.join(labels)}"
            )
        try:
            found[label] = tuple((float(a), float(b)) for a, b in spans)
        except (TypeError, ValueError):
            raise InputError(
                f"windows of {label!r} are {spans!r}; give a list of (least, greatest)"
            ) from None
        reach = " and ".join(f"{g[0]:g} to {g[-1]:g}" for g in grids) or "absent"
        if not found[label]:
            raise InputError(f"windows of {label!r} are empty: name one, or leave the label out")
        for a, b in found[label]:
            if not any(((g >= a) & (g <= b)).any() for g in grids):
                raise InputError(
                    f"windows of {label!r}: {a:g} to {b:g} holds no pixel; the grid is {reach}"
                )
    return found


def _settings(method: str, given: dict[str, Any]) -> dict[str, Any]:
    if method not in _METHODS:
        raise InputError(f"method {method!r} is unknown; choose one of {', '.join(_METHODS)}")
    known = _METHODS[method][1]
    for name in given:
        if name not in known:
            having = [m for m, (_, settings) in _METHODS.items() if name in settings]
            raise InputError(
                f"method {method!r} has no setting {name!r}; it has {', '.join(known) or 'none'}"
                + (f" ({name!r} is of {' and '.join(having)})" if having else "")
            )
    for name, value in given.items():
        if name == "solver":
            if value not in ("exact", "jaxopt"):
                raise InputError(f"solver {value!r} is unknown; choose exact or jaxopt")
        elif name == "iterations":
            _check_whole(name, value, 1)
        else:
            _positive(name, value, zero=name == "tolerance")
    return {**known, **given}


def _read(
    survey: xr.Dataset, outputs: Sequence[str] | None, where: str, shown: Progress
) -> TrainingData:
    survey = standardize_survey(survey)
    check_structure(survey, where, outputs)
    specs = pick_outputs(survey, outputs, where)
    labels = [s for s in specs if s.role is Role.LABELS]
    left_out: dict[str, int] = {}
    if labels:
        table = [tuple(np.isfinite(survey[v].values) for v in s.variables) for s in labels]
        known = np.any([(value & err).any(1) for value, err in table], axis=0)
        if not known.any():
            names = " and ".join(f"{s.name!r} with {s.noise!r}" for s in labels)
            raise InputError(
                f"{where}: no star has a label and its error in {names}; training needs both: "
                "join a "
                "catalogue, or train on other stars"
            )
        without = sum(int((value & ~err).sum()) for value, err in table)
        left_out = {"stars_without_labels": int((~known).sum()), "labels_without_errors": without}
        if not known.all():
            shown.say(
                f"{int((~known).sum()):,} of {known.size:,} stars have no label and are left out"
            )
        if without:
            shown.say(
                f"{without:,} label values have no error and get no weight; give each an error"
            )
        survey = survey if known.all() else survey.isel({STAR: np.flatnonzero(known)})
    check_unique(survey[STAR].values, where)
    data = load_training(survey, specs, where, lambda text: shown.update(0, text))
    return dataclasses.replace(data, left_out=tuple(left_out.items()))


def _check_size(data: TrainingData, latent_dim: int, folds: int, where: str) -> None:
    if folds > data.n_stars:
        raise InputError(
            f"{where}: folds={folds} is more than its {data.n_stars} training stars; choose fewer"
        )
    left_out = -(-data.n_stars // folds) if folds > 1 else 0
    stars, features = data.n_stars - left_out, sum(g.size for g in data.grids)
    if latent_dim >= min(stars, features):
        raise InputError(
            f"{where}: latent_dim={latent_dim} is more than {stars} training stars "
            f"(folds={folds}) and {features} features can carry; choose fewer than "
            f"{min(stars, features)}, or add stars"
        )


def _calibrate(
    model: LuxModel, data: TrainingData, trained: Trained, folds: int, shown: Progress
) -> LuxModel:
    """Measure label misfit and the spread of chi2 and latents out of fold, and put them into the model.

    The latents of a fold's stars are those of the whole training; what is regressed on them,
    weights and scatter, is not. That a star's own latents bear on the gauge that others are given
    is an influence of order 1 / n_stars.
    """
    fold = data.fold(folds)
    rows = [np.flatnonzero(fold == k) for k in range(folds)]
    spans = {label: v for o in model.outputs for label, v in o.windows}
    results = []
    shown.stage("regression without each fold")
    for k, (left_out, arrays) in enumerate(zip(rows, trained.leave_out(rows), strict=True)):
        shown.stage(f"fold {k + 1} of {folds}")
        part = dataclasses.replace(model, outputs=_outputs(data, arrays, trained, spans))
        results.append(_left_out(part, data, left_out))
    merged = {k: np.concatenate([r[k] for r in results]) for k in results[0]}
    outputs = []
    for o in model.outputs:
        if o.is_label:
            floor = misfit(*(merged[f"{o.name} {k}"] for k in _MEASURED))
            # what spectra cannot tell of labels is their scatter about the model too, where labels
            # are given
            o = dataclasses.replace(
                o, floor=floor, scatter=o.scatter if trained.exact_labels else floor
            )
        outputs.append(o)
    return dataclasses.replace(
        model, outputs=tuple(outputs), limits=(_limit(merged["chi2"]), _limit(merged["distance"]))
    )


def _left_out(model: LuxModel, data: TrainingData, rows: np.ndarray) -> dict[str, np.ndarray]:
    """Residuals and errors of labels predicted from spectra, chi2 per pixel and squared length of latents."""
    given = [i for i, spectral in enumerate(data.spectral) if spectral]
    names = [o.name for o in model.outputs]
    inference = Inference.of(model, [names[i] for i in given]).for_scaled_data(
        [data.spreads[i].center for i in given]
    )
    parts = []
    for start in range(0, rows.size, BLOCK):
        block = rows[start : start + BLOCK]
        values, ivars = zip(*([a[block] for a in data.table(i)] for i in given), strict=True)
        parts.append(inference.infer_from_ivars(values, ivars))
    inferred = {k: np.concatenate([p[k] for p in parts]) for k in parts[0]}
    n_pixels = inferred["n_pixels"]
    seen = n_pixels > 0
    results = {
        "chi2": (inferred["chi2"] / np.maximum(n_pixels, 1))[seen],
        "distance": (inferred["latent"] ** 2).sum(1)[seen],
    }
    for output in model.labels:
        value, ivar = data.physical(names.index(output.name), rows)
        known = (ivar > 0) & seen[:, None]
        measured = (
            np.where(known, inferred[output.name] - value, np.nan),
            inferred[output.spec.noise],
            1 / np.sqrt(np.where(ivar > 0, ivar, np.inf)),
        )
        results |= {f"{output.name} {k}": v for k, v in zip(_MEASURED, measured, strict=True)}
    return results


def _limit(values: np.ndarray) -> float:
    """Three times as far from the median as the 99th percentile of stars left out of training."""
    if not values.size:
        return float("inf")
    middle, high = np.percentile(values, [50, 99])
    return float(middle + 3 * (high - middle))
