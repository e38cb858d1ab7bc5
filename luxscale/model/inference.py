"""Inference with one model from some of its outputs: prepared once, then asked."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import jax
import numpy as np

from luxscale.errors import InputError
from luxscale.model.designs import list_parts, make_latent_labels
from luxscale.model.kernel import Inferred, infer_arrays
from luxscale.model.lux import LuxModel
from luxscale.model.output import Output
from luxscale.model.pose import pose_problem
from luxscale.model.problem import Problem
from luxscale.model.results import Result, lay_out_results, list_arrays
from luxscale.schema.outputs import OutputSpec, list_names


@dataclasses.dataclass(frozen=True, kw_only=True)
class Inference:
    """Inference with one model from given outputs.

    Made by `of`. Its arrays lie where the kernel runs, and are all that it holds of the model: to
    JAX it is a pytree, whose leaves can travel on their own.

    Parameters
    ----------
    problem : Problem
    given : tuple of OutputSpec
        What latents are inferred from.
    results : tuple of Result
        What comes back, in the order in which it does.
    covariance : bool
        Whether covariances between the labels of an output are among the results.
    """

    problem: Problem
    given: tuple[OutputSpec, ...]
    results: tuple[Result, ...]
    covariance: bool = False

    @classmethod
    def of(
        cls,
        model: LuxModel,
        given: str | Sequence[str] = "flux",
        *,
        covariance: bool = False,
        exactly: bool = False,
    ) -> Inference:
        """Prepare the inference of a model's labels, the mean over its members.

        Parameters
        ----------
        model : LuxModel
        given : str or sequence of str
            Outputs to infer from.
        covariance : bool
        exactly : bool
            Whether to go the exact way always, which needs no preparation: it pays below some
            thousands of stars.

        Raises
        ------
        InputError
            If the model lacks an output, or covariances are not defined between its labels.
        """
        check_covariance(model, covariance)
        first, *others = (
            pose_problem(member, pick_given(member, given), member.labels, exactly=exactly)
            for member in model.members
        )
        problem = dataclasses.replace(first, others=tuple(others))
        return cls._make(model, problem, given, model.labels, covariance)

    @classmethod
    def of_latents(
        cls, model: LuxModel, given: str | Sequence[str] = "flux", *, covariance: bool = False
    ) -> Inference:
        """Prepare the inference of the latents with their errors, as the labels ``latent_value``.

        Parameters
        ----------
        model, given, covariance
            As in `of`; the covariance is ``latent_cov``.

        Raises
        ------
        InputError
            If the model lacks an output.
        """
        labels = (make_latent_labels(model.latent_dim),)
        problem = pose_problem(model, pick_given(model, given), labels)
        return cls._make(model, problem, given, labels, covariance)

    @classmethod
    def of_output(
        cls, model: LuxModel, output: str, given: str | Sequence[str] = "flux"
    ) -> Inference:
        """Prepare the inference of an output that is no label, as if it were one.

        Parameters
        ----------
        model : LuxModel
        output : str
            Its posterior mean and the error of that, without scatter, are the labels of
            `list_parts`.
        given : str or sequence of str

        Raises
        ------
        InputError
            If the model lacks an output.
        """
        labels = list_parts(model[output])
        problem = pose_problem(model, pick_given(model, given), labels)
        return cls._make(model, problem, given, labels)

    @classmethod
    def _make(
        cls,
        model: LuxModel,
        problem: Problem,
        given: str | Sequence[str],
        labels: Sequence[Output],
        covariance: bool = False,
    ) -> Inference:
        outputs = pick_given(model, given)
        return cls(
            problem=problem,
            given=tuple(output.spec for output in outputs),
            results=lay_out_results(model.latent_dim, labels, covariance, outputs),
            covariance=covariance,
        )

    @property
    def variables(self) -> tuple[str, ...]:
        """Names of the variables to read: the values and the errors of each given output."""
        return tuple(name for spec in self.given for name in spec.variables)

    @property
    def sizes(self) -> dict[str, int]:
        """Size of each dim of the results, but that of the stars."""
        sizes: dict[str, int] = {}
        for result in self.results:
            sizes.update(zip(result.dims[1:], result.shape, strict=True))
        return sizes

    def reading(self, given: Sequence[OutputSpec]) -> Inference:
        """Return the same inference for a survey with the errors of outputs in other variables."""
        return dataclasses.replace(self, given=tuple(given))

    def for_scaled_data(self, centers: Sequence[np.ndarray]) -> Inference:
        """Return the same inference for data that are centred and in units of the model's scale.

        Parameters
        ----------
        centers : sequence of array, (feature,)
            What was subtracted from each given output, in its units.
        """
        return dataclasses.replace(self, problem=self.problem.for_scaled_data(centers))

    def infer(self, data: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Infer latents and labels of stars.

        Parameters
        ----------
        data : mapping of str to array, (star, feature)
            The `variables`, in the units of the model; missing where an inverse variance is 0 or an
            error NaN.

        Returns
        -------
        dict of str to array, (star, ...)
            The `results`.
        """
        return self.infer_and_count(data)[0]

    def infer_and_count(self, data: Mapping[str, np.ndarray]) -> tuple[dict[str, np.ndarray], int]:
        """Infer latents and labels of stars, and count those that the fast way is not right for.

        Parameters
        ----------
        data : mapping of str to array, (star, feature)
            As in `infer`.

        Returns
        -------
        dict of str to array, (star, ...)
            The `results`.
        int
            Stars that took the exact way after the fast one (`luxscale.model.gaussian`,
            `luxscale.model.leads`).
        """
        values = [data[spec.name] for spec in self.given]
        ivars = [spec.ivar(data[spec.name], data[spec.noise]) for spec in self.given]
        inferred = infer_arrays(self.problem, values, ivars, covariance=self.covariance)
        return self._name_results(inferred), int(inferred.fell_back.sum())

    def infer_from_ivars(
        self, values: Sequence[np.ndarray], ivars: Sequence[np.ndarray]
    ) -> dict[str, np.ndarray]:
        """Infer latents and labels of stars from values and inverse variances.

        Parameters
        ----------
        values, ivars : sequence of array, (star, feature)
            Of each given output; ivar 0 where missing.

        Returns
        -------
        dict of str to array, (star, ...)
            The `results`.
        """
        inferred = infer_arrays(self.problem, values, ivars, covariance=self.covariance)
        return self._name_results(inferred)

    def _name_results(self, inferred: Inferred) -> dict[str, np.ndarray]:
        names = [result.name for result in self.results]
        return dict(zip(names, list_arrays(inferred), strict=True))


jax.tree_util.register_dataclass(Inference, ["problem"], ["given", "results", "covariance"])


def describe_results(
    model: LuxModel, given: str | Sequence[str], covariance: bool = False
) -> tuple[Result, ...]:
    """Return the variables of a catalogue that inference with a model fills, in their order."""
    return lay_out_results(model.latent_dim, model.labels, covariance, pick_given(model, given))


def pick_given(model: LuxModel, given: str | Sequence[str]) -> tuple[Output, ...]:
    """Return the model's outputs that latents are to be inferred from.

    Raises
    ------
    InputError
        If the model lacks one, or none is named.
    """
    names = list_names(given)
    if not names or len(set(names)) < len(names):
        raise InputError(
            f"given={names} names no output, or one twice; name each once, e.g. given='flux'"
        )
    return tuple(model[name] for name in names)


def check_covariance(model: LuxModel, covariance: bool) -> None:
    """Refuse covariances between labels that are inferred from different pixels.

    Raises
    ------
    InputError
    """
    windowed = [label for o in model.labels for label, _ in o.windows]
    if covariance and windowed:
        raise InputError(
            "covariances are not defined between labels inferred from different pixels, and the "
            f"model infers {', '.join(windowed)} from windows: ask without covariance, or train "
            "without windows"
        )
