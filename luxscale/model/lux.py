"""The Lux model: latents, and the outputs that are made of them."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import xarray as xr

from luxscale.errors import InputError
from luxscale.model.output import Output, compute_digest
from luxscale.model.priors import GaussianPrior, Prior
from luxscale.schema.sampling import StarSet


@dataclasses.dataclass(frozen=True, kw_only=True)
class Provenance:
    """How a model came about.

    Parameters
    ----------
    method : str
    settings : str
        Training settings, and counts of what was left out, JSON.
    n_stars : int
    training_checksum : str
        SHA-256 of the training data as the trainer saw them.
    version : str
        Version of luxscale.
    held_out : str
        How well labels of stars left out of training were predicted, JSON; see `LuxModel.held_out`.
    training_stars : str
        Hashes of the identifiers of the training stars; see `LuxModel.training_stars`.
    """

    method: str
    settings: str
    n_stars: int
    training_checksum: str
    version: str = dataclasses.field(default_factory=lambda: version("luxscale"))
    held_out: str = "[]"
    training_stars: str = dataclasses.field(default="", repr=False)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class LuxModel:
    """A trained Lux model: latents z, and for each output a map from z and a noise model.

    Latents are in the canonical gauge: of variance 1 over the training stars, ordered by the
    information that the spectra carry on them. (Those of The Cannon are its scaled labels.)

    Parameters
    ----------
    outputs : tuple of Output
    objective : array, (iteration,)
        Training objective per star after each iteration.
    provenance : Provenance
    limits : tuple of float
        Chi2 per pixel, and squared length of the latents, beyond which a star is flagged; measured
        on stars left out of training.
    prior : Prior
        Of the latents at the test step.
    others : tuple of LuxModel
        Further members of an ensemble: models of the same outputs with other latents. Labels of
        catalogues are the mean of those that all members infer; latents, spectra, chi2 and the
        flags that follow from these are of this model, and the errors that were measured are in it.
    every_term : bool
        Whether latents are searched for by steps of every likely term of a star's posterior,
        because the fast search misses maxima.
    """

    outputs: tuple[Output, ...]
    objective: Any
    provenance: Provenance
    limits: tuple[float, float] = (float("inf"), float("inf"))
    prior: Prior = dataclasses.field(default_factory=GaussianPrior)
    others: tuple[LuxModel, ...] = ()
    every_term: bool = False

    def __getitem__(self, name: str) -> Output:
        """Return an output by name.

        Raises
        ------
        InputError
            If the model has no such output.
        """
        for output in self.outputs:
            if output.name == name:
                return output
        raise InputError(
            f"the model has no output {name!r}; it has {', '.join(o.name for o in self.outputs)}"
        )

    @property
    def latent_dim(self) -> int:
        """Number of latents P."""
        return self.outputs[0].map.latent_dim

    @property
    def members(self) -> tuple[LuxModel, ...]:
        """The models whose labels are averaged, each by itself; this one's own is the first.

        What stars left out of training tell of errors is of the mean: the first has it for its
        errors when it is asked alone, the others have formal errors.
        """
        own = dataclasses.replace(self, others=()) if self.others else self
        return (own, *self.others)

    @property
    def labels(self) -> tuple[Output, ...]:
        """The outputs that catalogues hold."""
        return tuple(o for o in self.outputs if o.is_label)

    @property
    def measured(self) -> tuple[str, ...]:
        """Names of the outputs that labels are inferred from: spectra and bands."""
        return tuple(o.name for o in self.outputs if not o.is_label)

    @property
    def held_out(self) -> list[dict[str, Any]]:
        """How well labels of stars left out of training were predicted, a record for each label.

        ``label``, ``unit``, and in the label's unit what `luxscale.analysis.evaluate.compare`
        measures: ``n_stars``, ``bias``, ``rmse``, ``robust_scatter``, ``median_err`` (the errors
        that catalogues give), ``pull``. Then ``formal_err`` and ``training_err``, the medians of
        the formal error and of the training label's; ``formal_pull``, the pull with these two
        alone; and ``training_pull``, that over the training label's error alone of the quarter of
        stars with the smallest errors, where it is clearly below 1: these errors look too large.
        None where nothing is known; empty for models that were trained
        with one fold.
        """
        records: list[dict[str, Any]] = json.loads(self.provenance.held_out)
        return records

    @property
    def training_stars(self) -> StarSet:
        """The set of the training stars, as hashes; empty where the model does not hold them.

        ``model.training_stars.find(survey.star.values)`` says which of a survey's are among them.
        """
        return StarSet(self.provenance.training_stars)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of all that inference depends on."""
        parts = [self.limits, self.prior.identity, *(o.identity for o in self.outputs)]
        parts += [other.fingerprint for other in self.others]
        parts += ["every term"] if self.every_term else []
        return compute_digest(parts, self.outputs)

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names of the outputs."""
        return (output.name for output in self.outputs)

    def __contains__(self, name: object) -> bool:
        """Return whether there is an output of a name."""
        return any(output.name == name for output in self.outputs)

    def __eq__(self, other: object) -> bool:
        """Return whether both infer the same: their fingerprints are equal."""
        if not isinstance(other, LuxModel):
            return NotImplemented
        return self is other or self.fingerprint == other.fingerprint

    def __hash__(self) -> int:
        """Return the hash of the fingerprint."""
        return hash(self.fingerprint)

    def to_dataset(self) -> xr.Dataset:
        """Return the model as a labelled Dataset, which `from_dataset` turns back."""
        from luxscale.model.file import to_dataset

        return to_dataset(self)

    def save(self, path: str | Path, *, overwrite: bool = False) -> None:
        """Write the model as Zarr.

        Parameters
        ----------
        path : str or Path
        overwrite : bool
            Whether to replace a model that is there.

        Raises
        ------
        InputError
            If something is at ``path`` and ``overwrite`` is false, or it is not a model.
        """
        from luxscale.store import write_dataset

        write_dataset(self.to_dataset(), path, overwrite=overwrite)

    def _repr_html_(self) -> str:
        """Return a table for notebooks."""
        from luxscale.model.summary import format_html

        return format_html(self)

    def __repr__(self) -> str:
        """Return one line per output."""
        latents = " + ".join(str(member.latent_dim) for member in self.members)
        lines = [
            f"<LuxModel {latents} latents, {self.provenance.method}, "
            f"{self.provenance.n_stars} training stars>"
        ]
        lines += [f"  {o.name} ({o.spec.dim}: {len(o.coord)})" for o in self.outputs]
        return "\n".join(lines)


jax.tree_util.register_dataclass(
    LuxModel,
    ["outputs", "objective", "others"],
    ["provenance", "limits", "prior", "every_term"],
)
