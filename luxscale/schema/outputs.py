"""The outputs of a survey: each a variable on (star, feature) with its errors."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Iterable

import numpy as np
import xarray as xr

from luxscale.errors import InputError
from luxscale.schema.variables import LATENT, STAR


class Role(enum.StrEnum):
    """What an output is to a model.

    Spectra and bands are measured: latents are inferred from them, and the scatter of each of their
    features is fitted. Labels are what catalogues hold, with their misfit in their errors.
    """

    #: Values on a grid of pixels.
    SPECTRUM = "spectrum"
    #: Values in named bands, such as magnitudes.
    BANDS = "bands"
    #: Named labels.
    LABELS = "labels"


#: Attribute of an output's values that says its role, where features are named.
ROLE_ATTR = "role"


@dataclasses.dataclass(frozen=True)
class OutputSpec:
    """One measured output of a star.

    Parameters
    ----------
    name : str
        Variable of the values, (star, dim).
    dim : str
        Dim of its features: pixels, bands or labels.
    noise : str
        Variable of its errors.
    role : Role
        What it is to a model. Not part of ``repr``, on which fingerprints rest.
    """

    name: str
    dim: str
    noise: str
    role: Role = dataclasses.field(repr=False)

    @property
    def is_ivar(self) -> bool:
        """Whether the errors are inverse variances (else one-sigma errors)."""
        return self.noise.endswith("_ivar")

    @property
    def variables(self) -> tuple[str, str]:
        """Names of the values and of their errors."""
        return self.name, self.noise

    def ivar(self, values: np.ndarray, noise: np.ndarray) -> np.ndarray:
        """Return inverse variances: (star, dim).

        0 where value or error is missing, NaN where they break the contract.
        """
        if self.is_ivar:
            # the least value is NaN where any is, and takes one pass without a temporary
            if not np.isnan(np.min(noise, initial=np.inf)):
                return noise
            return np.where(np.isnan(noise) & np.isnan(values), 0, noise)
        known = np.isfinite(values) & np.isfinite(noise) & (noise > 0)
        # in float64: the inverse square of a small error is beyond float32
        error = np.where(known, noise, 1).astype(float)
        # an absurdly small error is an error, not a breach: see blocks.MOST_IVAR
        with np.errstate(over="ignore"):
            ivar = np.minimum((1 / error) ** 2, np.finfo(float).max)
        ivar = np.where(known, ivar, 0)
        return np.where(find_invalid(self, values, noise), np.nan, ivar)


def list_partners(name: str) -> tuple[str, ...]:
    """Return the names that the errors of an output may have, in the order of preference."""
    return (f"{name}_ivar", f"{name}_err", f"{name.removesuffix('_value')}_err")


def find_outputs(dataset: xr.Dataset) -> tuple[OutputSpec, ...]:
    """Return the outputs of a survey.

    They are every NAME (star, DIM) that has a NAME_ivar or NAME_err beside it.
    """
    found = []
    for key, array in dataset.data_vars.items():
        if array.ndim != 2 or array.dims[0] != STAR:
            continue
        name, dim = str(key), str(array.dims[1])
        errors = [p for p in list_partners(name) if p != name and p in dataset]
        if errors:
            role = find_role(dataset, name)
            found.append(OutputSpec(name=name, dim=dim, noise=errors[0], role=role))
    # in one order whatever form the errors of spectra have
    return tuple(sorted(found, key=lambda o: (o.is_ivar or o.role is Role.SPECTRUM, o.name)))


def is_catalog(dataset: xr.Dataset) -> bool:
    """Return whether a Dataset is a catalogue rather than a survey: latents, and labels alone."""
    has_labels_alone = all(output.role is Role.LABELS for output in find_outputs(dataset))
    return LATENT in dataset.dims and "chi2" in dataset.variables and has_labels_alone


def find_role(dataset: xr.Dataset, name: str) -> Role:
    """Return the role of an output of a survey.

    A float coordinate makes a spectrum. Named features are what the attribute ``role`` of the
    values says, and without one bands on a dim called ``band``, ``band_X`` or ``X_band``, and
    labels on any other.

    Parameters
    ----------
    dataset : Dataset
    name : str
        Variable of the values.
    """
    values = dataset[name]
    dim = str(values.dims[1])
    if dataset[dim].dtype.kind == "f":
        return Role.SPECTRUM
    stated = values.attrs.get(ROLE_ATTR)
    if stated in (Role.BANDS, Role.LABELS):
        return Role(stated)
    words = dim.split("_")
    if "band" in (words[0], words[-1]):
        return Role.BANDS
    return Role.LABELS


def list_names(names: str | Iterable[str]) -> list[str]:
    """Return one name, or several, as a list.

    Raises
    ------
    InputError
        If it is neither.
    """
    if isinstance(names, str):
        return [names]
    if not isinstance(names, Iterable):
        raise InputError(f"{names!r} is no name; give one as text, or a list of them")
    return list(names)


def pick_outputs(
    dataset: xr.Dataset, names: str | Iterable[str] | None, where: str
) -> tuple[OutputSpec, ...]:
    """Return the named outputs (all if None), or say which are missing and what there is."""
    found = {o.name: o for o in find_outputs(dataset)}
    wanted = list_names(found if names is None else names)
    if not wanted or len(set(wanted)) < len(wanted):
        raise InputError(
            f"outputs {wanted} name none, or one twice; name each once, of: {', '.join(found)}"
        )
    for name in wanted:
        if name not in found:
            need = name
            if name in dataset:
                need = " or ".join(dict.fromkeys(list_partners(name)))
            have = ", ".join(found) or "none"
            raise InputError(
                f"{where}: no variable {need!r}, needed for output {name!r}; it has the "
                f"outputs: {have}"
            )
    return tuple(found[name] for name in wanted)


def find_invalid(output: OutputSpec, values: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """Return where the data break the contract: (star, dim) bool.

    An inverse variance that is negative, infinite or NaN, or positive where the value is not
    finite; an error that is negative, zero or infinite; an infinite label. Where value and inverse
    variance are both NaN the value is missing, as a fill value makes it.
    """
    if output.is_ivar:
        is_ivar = np.isfinite(noise) & (noise >= 0)
        is_lost = (noise > 0) & ~np.isfinite(values)
        is_missing = np.isnan(noise) & np.isnan(values)
        return (~is_ivar | is_lost) & ~is_missing
    return (noise <= 0) | np.isinf(noise) | np.isinf(values)
