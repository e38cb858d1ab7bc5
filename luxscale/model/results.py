"""The variables of a catalogue that inference fills."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from luxscale.model.kernel import Inferred
from luxscale.model.output import Output
from luxscale.model.presence import shows_outputs
from luxscale.schema.variables import CATALOG, LATENT, STAR

#: Dtypes of the contract; labels that it does not name are float64.
_DTYPES = {v.name: np.dtype(v.dtype) for v in CATALOG if v.name != STAR}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Result:
    """A variable of a catalogue that inference fills.

    Parameters
    ----------
    name : str
    dims : tuple of str
        ``star`` first.
    shape : tuple of int
        Of one star: the sizes of the other dims.
    dtype : dtype
    """

    name: str
    dims: tuple[str, ...]
    shape: tuple[int, ...]
    dtype: np.dtype

    @property
    def bytes_per_star(self) -> int:
        """Size in memory for each star."""
        return self.dtype.itemsize * int(np.prod(self.shape))


def lay_out_results(
    latent_dim: int, labels: Sequence[Output], covariance: bool, given: Sequence[Output]
) -> tuple[Result, ...]:
    """Describe the results: of the star, values, errors and covariances of labels, nuisances."""
    specs = [(o.spec, len(o.coord)) for o in labels]
    results = [
        _describe(LATENT, (LATENT,), (latent_dim,)),
        _describe("chi2"),
        _describe("n_pixels"),
        _describe("flags"),
        *([_describe("outputs")] if shows_outputs(labels) else []),
        *(_describe(spec.name, (spec.dim,), (size,)) for spec, size in specs),
        *(_describe(spec.noise, (spec.dim,), (size,)) for spec, size in specs),
    ]
    if covariance:
        results += [
            _describe(
                f"{spec.name.removesuffix('_value')}_cov",
                (spec.dim, f"{spec.dim}_other"),
                (size, size),
            )
            for spec, size in specs
        ]
    nuisances = [name for o in given if o.nuisances is not None for name in o.nuisances.names]
    results += [_describe(name) for name in nuisances]
    results += [_describe(f"{name}_err") for name in nuisances]
    return tuple(results)


def list_arrays(inferred: Inferred) -> tuple[np.ndarray, ...]:
    """Return the arrays of `Inferred` in the order of `lay_out_results`."""
    per_star = (inferred.latent, inferred.chi2, inferred.n_pixels, inferred.flags)
    per_star += inferred.outputs
    of_nuisances = (*inferred.nuisance, *inferred.nuisance_err)
    return (*per_star, *inferred.value, *inferred.err, *inferred.cov, *of_nuisances)


def _describe(name: str, dims: tuple[str, ...] = (), shape: tuple[int, ...] = ()) -> Result:
    dtype = _DTYPES.get(name, np.dtype(np.float64))
    return Result(name=name, dims=(STAR, *dims), shape=shape, dtype=dtype)
