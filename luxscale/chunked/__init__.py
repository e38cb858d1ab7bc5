"""Training on more stars than memory holds: chunk by chunk, in this process or on a Dask cluster.

Imports training, labelling and what they stand on.

One iteration of expectation-maximisation is a sum over stars. Each region of the survey, some whole
chunks, is a task that reads its stars and writes their sums to a file; each tile of features is a
task that adds the sums of all regions, in their order, and solves for its weights. So workers need
memory for one region however many there are, the scheduler sees names alone, and the model is the
same bit for bit whoever did what, however often the training was interrupted: what is in its folder
is done, and the same call goes on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from luxscale.chunked.prepare import Prepared, check_recipe, prepare
from luxscale.training.methods import FOLDS, LABEL_CLIP, complete_settings
from luxscale.training.settings import check_label_clip

if TYPE_CHECKING:
    from luxscale.model.lux import LuxModel

__all__ = ["make_training", "run_training", "train_survey"]

_METHOD = "marginal"


def train_survey(
    survey: str | Path,
    model: str | Path,
    latent_dim: int | None = None,
    *,
    client: Any = None,
    overwrite: bool = False,
    log: str | Path | None = None,
    progress: bool = True,
    **options: Any,
) -> LuxModel:
    """Train a linear model chunk by chunk, on any number of stars; called again, it goes on.

    The model is that of ``luxscale.train(survey, recipe="linear")`` but for rounding, and is
    written when it is complete.

    Parameters
    ----------
    survey, model : str or Path
        Zarr stores. Beside the model, which has to be on a file system that all workers share, the
        folder ``MODEL.training`` holds what is done so far; it is removed at the end.
    latent_dim : int, optional
        As for `luxscale.train`; by default that of the recipe ``"linear"``.
    client : distributed.Client, optional
        Cluster to run on; without one, regions are done one after another in this process.
    overwrite : bool
        Whether to replace a model that is there.
    log : str or Path, optional
        File to append the log of the run to, one JSON object per line.
    progress : bool
        Whether to show progress on standard error.
    **options
        Of `make_training`.

    Returns
    -------
    LuxModel

    Raises
    ------
    InputError
        Before any work, if the survey cannot be trained on so, the folder is of another training,
        or another run is under way in it.
    RunError
        If regions could not be done; all others are.

    Examples
    --------
    >>> import luxscale as lux
    >>> model = lux.train_survey("survey.zarr", "far.zarr", 4, iterations=2, progress=False)
    >>> model.latent_dim
    4
    """
    from luxscale import store
    from luxscale.model.file import FORMAT

    store.claim_place(model, FORMAT, overwrite=overwrite)
    prepared = make_training(survey, model, latent_dim, **options)
    return run_training(
        prepared, model, client=client, overwrite=overwrite, log=log, progress=progress
    )


def run_training(
    prepared: Prepared,
    model: str | Path,
    *,
    client: Any = None,
    overwrite: bool = False,
    log: str | Path | None = None,
    progress: bool = True,
) -> LuxModel:
    """Do a training that was planned; the parameters are those of `train_survey`."""
    from luxscale.chunked.estimate import check_memory
    from luxscale.chunked.training import Training
    from luxscale.runs.log import RunLog
    from luxscale.runs.target import complete, open_target

    target = Training(prepared)
    if client is not None:
        check_memory(client, prepared.plan)
    with RunLog(log) as run_log:
        with open_target(target, progress=progress) as run:
            trained = complete(run, client=client, log=run_log, progress=progress)
            trained.save(model, overwrite=overwrite)
        target.remove()
    return trained


def make_training(
    survey: str | Path,
    model: str | Path,
    latent_dim: int | None = None,
    *,
    recipe: str | None = None,
    method: str | None = None,
    outputs: Sequence[str] | None = None,
    windows: Mapping[str, Sequence[tuple[float, float]]] | None = None,
    prior: float | None = None,
    folds: int | None = None,
    label_clip: float | None = None,
    seed: int = 0,
    condition: str | None = None,
    stars: str | slice | None = None,
    region_stars: int | None = None,
    where: str | None = None,
    **settings: Any,
) -> Prepared:
    """Check a training over chunks, and plan it; writes nothing.

    Parameters
    ----------
    survey, model, latent_dim
        As for `train_survey`.
    recipe, method : str, optional
        ``"linear"`` and ``"marginal"``; others are trained in memory.
    outputs, windows, prior, folds, label_clip, seed
        As for `luxscale.train`.
    condition : str, optional
        What the stars to train on satisfy, as of `luxscale.select`.
    stars : str or slice, optional
        Which of these to train on, as of `luxscale.select`.
    region_stars : int, optional
        Stars per task, rounded to whole chunks of the survey; about 4,000 APOGEE spectra if not
        given. The model depends on it in its rounding alone.
    where : str, optional
        Name of the survey in messages.
    **settings
        ``iterations`` and ``tolerance``, as for `luxscale.train`.

    Raises
    ------
    InputError
    """
    from luxscale import store
    from luxscale.schema.selection import Selection
    from luxscale.training.request import Request

    check_recipe(recipe, method)
    free = method is None and latent_dim is None and prior is None and not settings
    complete_settings(_METHOD, settings)
    out = str(store.require_local(model, "model that is trained over chunks"))
    path = store.make_absolute(survey)
    request = Request(
        outputs=outputs,
        method=_METHOD,
        latent_dim=latent_dim,
        settings=settings,
        windows=windows,
        prior=prior,
        folds=FOLDS if folds is None else folds,
        seed=seed,
        label_clip=LABEL_CLIP if label_clip is None else check_label_clip(label_clip),
        where=where or str(survey),
        progress=False,
        compared={"recipe": "linear"} if free or recipe else {},
    )
    selection = Selection.read(condition, stars)
    return prepare(path, f"{out}.training", request, selection, region_stars)
