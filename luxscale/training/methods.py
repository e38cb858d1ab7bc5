"""The methods of training: what each is called, needs and can be told.

Importing this loads nothing heavy: the command line asks it before anything is trained.
"""

from __future__ import annotations

import dataclasses
import importlib
import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from luxscale.errors import InputError
from luxscale.training.settings import Setting, check_positive, check_whole

if TYPE_CHECKING:
    from luxscale.training.data import Trained, TrainingData
    from luxscale.training.initial import Start
    from luxscale.training.reporting import Report

#: Number of latents unless given.
LATENT_DIM = 48

#: Robust standard deviations beyond which a label is set aside, see `luxscale.training.screen`.
LABEL_CLIP = 6.0

#: Folds on which misfit of the labels is measured.
FOLDS = 5


def _use_all_stars(
    data: TrainingData, latent_dim: int, folds: int, where: str, say: Callable[[str], None]
) -> TrainingData:
    return data


def _accept_settings(settings: Mapping[str, Any]) -> None:
    pass


def _count_latents(latent_dim: int, settings: Mapping[str, Any]) -> int:
    return latent_dim


@dataclasses.dataclass(frozen=True, kw_only=True)
class Method:
    """A method of training.

    Parameters
    ----------
    title : str
        Its name in messages.
    fit : callable
        ``fit(data, latent_dim, report, settings, start)`` returns what it found, `Trained`; it goes
        on from ``start``, if that is given.
    settings : mapping of str to Setting
    is_linear : bool
        Whether its models are linear, of independent noise.
    latents_are_labels : bool
        Whether the latents are the labels themselves, taken as exact: it then needs labels and what
        is measured, and the number of latents is not free.
    prior : float, optional
        Precision of a prior of its own on latents at the test step; None where it is free.
    latent_dim : int
        Number of latents unless given, where it is free.
    select_stars : callable
        ``select_stars(data, latent_dim, folds, where, say)`` counts the stars that the method
        cannot use, and refuses data that leave too few.
    check : callable
        ``check(settings)`` refuses settings that do not go together.
    count_terms : callable
        ``count_terms(latent_dim, settings)`` returns the number of terms that its maps have, which
        training is the slower for.
    """

    title: str
    fit: Callable[[TrainingData, int, Report, dict[str, Any], Start | None], Trained]
    settings: Mapping[str, Setting] = dataclasses.field(default_factory=dict)
    is_linear: bool = False
    latents_are_labels: bool = False
    prior: float | None = None
    latent_dim: int = LATENT_DIM
    select_stars: Callable[[TrainingData, int, int, str, Callable[[str], None]], TrainingData] = (
        _use_all_stars
    )
    check: Callable[[Mapping[str, Any]], None] = _accept_settings
    count_terms: Callable[[int, Mapping[str, Any]], int] = _count_latents

    def choose_latent_dim(self, data: TrainingData, given: int | None) -> int:
        """Return the number of latents to train with.

        Raises
        ------
        InputError
            If it is no whole number, or not free to choose.
        """
        if not self.latents_are_labels:
            number = self.latent_dim if given is None else given
            check_whole("latent_dim", number, 1)
            return int(number)
        labels = sum(output.size for output in data.labels)
        if given is not None:
            raise InputError(
                f"latent_dim={given}: {self.title} has one latent a label, here {labels}; leave it "
                "out"
            )
        if not labels or not data.measured:
            raise InputError(f"{self.title} needs labels and spectra; name both in outputs")
        return labels

    def choose_prior(self, given: float | None) -> float:
        """Return the precision of the prior on latents at the test step.

        Raises
        ------
        InputError
            If it is no positive number, or not free to choose.
        """
        if self.prior is None:
            return 1.0 if given is None else check_positive("prior", given)
        if given is not None:
            raise InputError(f"prior={given}: {self.title} has a prior of its own; leave it out")
        return self.prior


def _load(name: str) -> Callable[..., Trained]:
    """Return the training function of a module of its name, which is loaded when it is called."""

    def fit(
        data: TrainingData,
        latent_dim: int,
        report: Report,
        settings: dict[str, Any],
        start: Start | None,
    ) -> Trained:
        module = importlib.import_module(f"luxscale.training.{name}")
        trained: Trained = getattr(module, f"train_{name}")(
            data, latent_dim, report=report, start=start, **settings
        )
        return trained

    return fit


#: Components that stand for a spectrum unless given.
_COMPONENTS = 80

#: Fewest iterations of curved training in which a network learns.
_NETWORK_ITERATIONS = 8


def _check_curved(settings: Mapping[str, Any]) -> None:
    quadratic, cubic = settings["quadratic"], settings["cubic"]
    if cubic > quadratic:
        raise InputError(
            f"cubic={cubic} is more than quadratic={quadratic}: latents with products of three "
            "have those of two; raise quadratic, or lower cubic"
        )
    components = settings["components"]
    if settings["noise"] == "independent" and components != _COMPONENTS:
        raise InputError(
            f"components={components} with independent noise, where each pixel stands for itself; "
            "leave components out, or take noise='correlated'"
        )
    if settings["network"] and settings["iterations"] < _NETWORK_ITERATIONS:
        raise InputError(
            f"iterations={settings['iterations']} with network={settings['network']}: a network "
            f"joins in the seventh and learns from the next on; take {_NETWORK_ITERATIONS} or more"
        )


def _count_curved(latent_dim: int, settings: Mapping[str, Any]) -> int:
    every = complete_settings("curved", settings)
    q, c = (min(every[name], latent_dim) for name in ("quadratic", "cubic"))
    products = math.comb(q + 1, 2) + math.comb(c + 2, 3)
    return int(latent_dim + products + every["network"])


def _select_complete_stars(
    data: TrainingData, latent_dim: int, folds: int, where: str, say: Callable[[str], None]
) -> TrainingData:
    from luxscale.training.cannon import select_complete_stars

    return select_complete_stars(data, latent_dim, folds, where, say)


#: Every method, by the name that users give it.
METHODS: dict[str, Method] = {
    "marginal": Method(
        title="the marginal method",
        fit=_load("marginal"),
        is_linear=True,
        settings={
            "iterations": Setting(default=30, whole=True),
            "tolerance": Setting(default=2e-5, zero=True),
        },
    ),
    "alternating": Method(
        title="the alternating method",
        fit=_load("alternating"),
        is_linear=True,
        settings={
            "iterations": Setting(default=30, whole=True),
            "tolerance": Setting(default=2e-3, zero=True),
            "latent_precision": Setting(default=1e-6),
            "solver": Setting(default="exact", choices=("exact", "jaxopt")),
        },
    ),
    "curved": Method(
        title="the curved method",
        fit=_load("curved"),
        settings={
            "iterations": Setting(default=24, whole=True),
            "noise": Setting(
                default="correlated", choices=("correlated", "independent"), kept=True
            ),
            "quadratic": Setting(
                default=12,
                whole=True,
                zero=True,
                size="First latents that have products of two",
                kept=True,
            ),
            "cubic": Setting(
                default=0,
                whole=True,
                zero=True,
                size="First latents that have products of three",
                kept=True,
            ),
            "network": Setting(
                default=0, whole=True, zero=True, size="Units of each layer of a network", kept=True
            ),
            "components": Setting(
                default=_COMPONENTS,
                whole=True,
                size="Components that stand for a spectrum",
                kept=True,
            ),
            "gaussians": Setting(default=80, whole=True, size="Gaussians of the prior", kept=True),
            "refine": Setting(
                default=0, whole=True, zero=True, size="Steps of refinement on the labels"
            ),
        },
        check=_check_curved,
        count_terms=_count_curved,
        prior=1.0,
        latent_dim=12,
    ),
    # its prior is ten times wider than the spread of the training labels
    "cannon": Method(
        title="The Cannon",
        fit=_load("cannon"),
        latents_are_labels=True,
        prior=1e-2,
        select_stars=_select_complete_stars,
    ),
}


def list_methods_with_free_latents() -> tuple[str, ...]:
    """Return the names of the methods that leave the number of latents free."""
    return tuple(name for name, method in METHODS.items() if not method.latents_are_labels)


def list_sizes() -> dict[str, Setting]:
    """Return the settings that are sizes of a model, by name, of all methods."""
    every = {name: s for method in METHODS.values() for name, s in method.settings.items()}
    return {name: setting for name, setting in every.items() if setting.size}


def list_methods_with(setting: str) -> tuple[str, ...]:
    """Return the names of the methods that have a setting."""
    return tuple(name for name, method in METHODS.items() if setting in method.settings)


def pick_method(name: str) -> Method:
    """Return a method by its name.

    Raises
    ------
    InputError
        If there is none of that name.
    """
    if name not in METHODS:
        raise InputError(f"method {name!r} is unknown; choose one of {', '.join(METHODS)}")
    return METHODS[name]


def complete_settings(method: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Check the settings of a method, and return them with the defaults of those not given.

    Raises
    ------
    InputError
        If there is no such method, or it has no such setting or value.
    """
    known = pick_method(method).settings
    for name, value in given.items():
        if name not in known:
            raise InputError(_describe_unknown(method, name))
        known[name].check(name, value)
    completed = {name: setting.default for name, setting in known.items()} | dict(given)
    pick_method(method).check(completed)
    return completed


def _describe_unknown(method: str, setting: str) -> str:
    known = ", ".join(METHODS[method].settings) or "none"
    having = list_methods_with(setting)
    elsewhere = f" ({setting!r} is of {' and '.join(having)})" if having else ""
    return f"method {method!r} has no setting {setting!r}; it has {known}{elsewhere}"
