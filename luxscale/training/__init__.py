"""Training: from stars with spectra and trusted labels to a model.

Imports analysis and what it stands on.

Its modules, in the order in which `luxscale.train` comes to them:

- What is asked for: a `request`. `resolve` finds what it leaves open. `methods` say what they are
  called, need and can be told, by `settings`; `recipes` are methods with sizes. They are compared
  by `compare` and `trials`, on spectra of `thinning`. `initial` goes on from a model, by
  `matching`; `nuisances` and `members` say what a model has beside.
- Reading the stars: `select` says which, and `load` reads them into `data`, by `spread` and
  `scaling`. `temperatures` and `screen` look for labels that are wrong, with `principal_spectra`
  and `robust_regression`.
- One training: `fitting`. It tells `reporting` how far it is, and keeps a `checkpoint`.
- The linear methods: `marginal`, begun by `principal_start` and ended by `label_ridge`;
  `alternating`, with solvers of its own or of `jaxopt`. `gauge` makes their models unique.
- The Cannon: `cannon`.
- Their steps: `latents` at given weights, and `regression` of weights on latents, by `statistics`.
  From what the iteration before found, `latents_near` and `regression_near` do the same sooner, by
  `approximation` and `conjugate`.
- The curved method: `curved`, of which `curved_state` is what it works on, `curved_start`,
  `linear_start` and `curved_noise` are how it begins, and `curved_steps` its iteration, with
  `curved_features` that may learn (`networks`), a `mixture` for prior, and `refine` to end with.
- What data tell it, `evidence`, by the kind of their noise: `tables`, `pixels`, and `spectra` with
  `components` and `component_noise`.
- Stars left out in `folds`: `left_out` infers them, `calibrate` finds `misfit` and `inflation` of
  errors by an `error_law`, and `held_out` is the table of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from luxscale.training.methods import FOLDS, LABEL_CLIP
from luxscale.training.settings import check_label_clip

if TYPE_CHECKING:
    from pathlib import Path

    import xarray as xr

    from luxscale.model.lux import LuxModel
    from luxscale.training.recipes import Recipe

__all__ = ["train"]


def train(
    survey: xr.Dataset | str | Path,
    latent_dim: int | None = None,
    *,
    recipe: str | Recipe | None = None,
    outputs: Sequence[str] | None = None,
    method: str | None = None,
    windows: Mapping[str, Sequence[tuple[float, float]]] | None = None,
    prior: float | None = None,
    nuisance: str | Path | Sequence[str | Path] | None = None,
    folds: int | None = None,
    label_clip: float | None = None,
    initial: LuxModel | str | Path | None = None,
    checkpoint: str | Path | None = None,
    unlabelled: int = 0,
    seed: int = 0,
    progress: bool = True,
    where: str = "survey",
    **settings: Any,
) -> LuxModel:
    """Train a Lux model, in memory; on more stars than that holds there is `luxscale.train_survey`.

    Parameters
    ----------
    survey : Dataset, str or Path
        Training stars; those without any label are left out, but for ``unlabelled`` of them.
    latent_dim : int, optional
        Number of latents P; 48 by default, 12 for the curved method. The Cannon has one per label,
        and takes none.
    recipe : {"linear", "curved", "cubic", "network", "mixed", ...} or Recipe, optional
        A method with sizes that suit the number of stars; ``"curved-linear"`` or
        ``"curved-cubic"``, of whose two models labels are the mean; or a
        ``luxscale.training.recipes.Recipe`` of your own. If nothing of the model is chosen, all
        recipes with enough training stars are compared by the labels of stars left out, and the
        simplest one within one standard error of the best is trained.
    outputs : sequence of str, optional
        Outputs to model; all that the survey holds if not given.
    method : {"marginal", "alternating", "curved", "cannon"}, optional
        Maximum marginal likelihood (the default where sizes are given), the paper's training step
        (section 4.2), maps with products of latents under a mixture of Gaussians, or The Cannon
        (quadratic in the labels). See ``luxscale.training.marginal``,
        ``luxscale.training.alternating``, ``luxscale.training.curved``,
        ``luxscale.training.cannon``.
    windows : mapping of str to sequence of (least, greatest), optional
        Labels that are to be inferred from the pixels in these wavelength windows alone (section 5
        of the paper), in the unit of the grid. The other labels use all pixels.
    prior : float, optional
        Precision of the Gaussian prior on the latents at the test step, in the gauge where those of
        the training stars have variance 1; 1 by default. The Cannon has a wide one of its own, the
        curved method fits one, and both take none.
    nuisance : str, Path or sequence of them, optional
        What spectra have beside their star, inferred with the latents of each star and marginalised
        at the test step, of linear models: ``"continuum:DEGREE[:WIDTH]"``,
        ``"velocity:WIDTHkm/s"``, ``"resolution:WIDTH:POWER"``, and an .npz file of templates, in
        one str with commas or several. See ``luxscale.model.nuisances``. Training itself takes
        spectra as they are: those of its stars should be at rest, with a good continuum.
    folds : int, optional
        Misfit of the labels, and the limits of flags, are measured on each fold of the stars with
        weights regressed on the others; 1 measures nothing, and errors are then formal only. 5 by
        default, or those of ``initial``.
    label_clip : float, optional
        Labels that differ from what the spectra of their stars tell by more than so many robust
        standard deviations are set aside, and groups of labels that do by 3 or more kept with
        larger errors, counted and named; ``math.inf`` keeps all as they are. By default 6, or that
        of ``initial``. See ``luxscale.training.screen``.
    initial : LuxModel, str or Path, optional
        Model to go on from, with its method, sizes and windows: on the same stars or others, which
        have its outputs and labels and may have more. What was interrupted goes on to the
        iterations that it was asked for. See ``luxscale.training.initial``.
    checkpoint : str or Path, optional
        Where the model of the last complete iteration is written every minute and on Ctrl-C, which
        then raises ``luxscale.errors.Interrupted``. It infers as any does, with formal errors. An
        earlier checkpoint that is there is replaced.
    unlabelled : int
        So many stars without labels take part, drawn by their names: they help to find the map of
        spectra where labels are few. Recipes ``"curved"``, which is then taken uncompared if none
        is named, and ``"cubic"``, sized for all the stars.
    seed : int
        Recorded with the model. The same data gives the same model whatever it is: what is random
        in a method, the start of ``"alternating"``, is drawn the same way each time.
    progress : bool
        Whether to show progress on standard error. What may make labels wrong is said there anyway.
    where : str
        Name of the survey in messages.
    **settings
        ``iterations`` (marginal, alternating: the most; curved: how many); ``tolerance`` (marginal,
        alternating: least gain of an iteration, in ln evidence or penalised log-likelihood per
        measured value);
        ``latent_precision`` (alternating: precision of the prior on latents in training, equation
        7); ``solver`` (alternating: ``"exact"``, or ``"jaxopt"`` for the paper's iterative solvers,
        which need the extra of that name); ``noise`` (curved: ``"correlated"``, of which the pixels
        of a spectrum share a part, or ``"independent"``, with a fitted scatter of each pixel);
        ``quadratic``, ``cubic`` (curved: of how many of the first latents there are products of
        two, and of three); ``network`` (curved: units of each hidden layer of a network beside
        them, none if 0); ``components`` (curved: that stand for a spectrum); ``gaussians`` (curved:
        of the prior); ``refine`` (curved, correlated noise: gradient steps on the labels that
        spectra alone tell; stars left out say whether they are taken).

    Returns
    -------
    LuxModel
        In the canonical gauge.

    Raises
    ------
    InputError
        If the data break the contract or carry no such model; names variable, star or label. If
        they or settings do not go with ``initial``, or ``checkpoint`` holds something else.
    Interrupted
        On Ctrl-C once the stars are read; says where the model so far is.

    Examples
    --------
    >>> import luxscale as lux
    >>> model = lux.train(survey.isel(star=slice(0, 300)), latent_dim=4, progress=False)
    >>> model["flux"].scatter.shape == (survey.sizes["wavelength"],)  # the paper's s
    True
    """
    # here, because the command line asks for the methods before anything is trained
    from luxscale.training.request import Request
    from luxscale.training.resolve import fit_as_asked

    free = method is None and latent_dim is None and prior is None and not settings
    request = Request(
        outputs=outputs,
        method=method or "marginal",
        latent_dim=latent_dim,
        settings=settings,
        windows=windows,
        prior=prior,
        folds=FOLDS if folds is None else folds,
        seed=seed,
        label_clip=LABEL_CLIP if label_clip is None else check_label_clip(label_clip),
        where=where,
        progress=progress,
        advises=True,
        checkpoint=checkpoint,
        unlabelled=unlabelled,
    )
    asked = {"method": method, "folds": folds, "label_clip": label_clip}
    return fit_as_asked(
        survey, request, recipe=recipe, free=free, nuisance=nuisance, initial=initial, asked=asked
    )
