"""The data contract, written once, as data: validation, documentation and messages come from it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

import numpy as np
import xarray as xr

#: dims that every survey and catalogue may use; outputs bring their own feature dims.
STAR, LATENT = "star", "latent"


_KINDS = {"f": "float", "i": "int", "u": "unsigned int", "U": "str", "O": "str", "T": "str"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Variable:
    """One array of the contract.

    Parameters
    ----------
    name : str
    dims : tuple of str
    dtype : str
        As luxscale writes it.
    doc : str
        One line for people.
    kinds : str
        NumPy kinds that are accepted on reading.
    required : bool
    """

    name: str
    dims: tuple[str, ...]
    dtype: str
    doc: str
    kinds: str = "f"
    required: bool = False

    @property
    def is_integer(self) -> bool:
        """Whether its values are integers only."""
        return set(self.kinds) <= {"i", "u"}

    def problem(self, array: xr.DataArray) -> str | None:
        """Say what is wrong with an array's dims or dtype, or None."""
        if array.dims != self.dims:
            remedy = suggest_dims(array, self.dims)
            return f"has dims {array.dims}, expected {self.dims}; {remedy}"
        if self.name == STAR and array.dtype.kind == "f":
            return (
                f"has dtype {array.dtype}, which keeps 15 digits of an identifier at most; read "
                "the identifiers again as whole numbers or as text"
            )
        if array.dtype.kind not in self.kinds:
            expected = " or ".join(dict.fromkeys(_KINDS[k] for k in self.kinds))
            if self.is_integer and array.dtype.kind == "f":
                return (
                    f"has dtype {array.dtype}, expected {expected}, as .where leaves it for stars "
                    "without a value; select stars by lux.select(catalog, CONDITION), or "
                    ".isel(star=...)"
                )
            is_words = "f" in self.kinds and array.dtype.kind in "OSTU"
            classes = ", and words that name classes to numbers, as 0 and 1" if is_words else ""
            return (
                f"has dtype {array.dtype}, expected {expected}; convert it with "
                f".astype({self.dtype.split()[0]!r}){classes}"
            )
        return None


def hold_array(
    dims: tuple[str, ...], values: np.ndarray, attrs: dict[str, Any] | None = None
) -> xr.Variable:
    """Return a variable of an array of NumPy.

    Not told that there is nothing to convert, xarray loads all of Dask to see whether the array is
    one of Dask's.
    """
    return xr.Variable(dims, values, attrs, fastpath=True)


def suggest_dims(array: xr.DataArray, expected: tuple[str, ...]) -> str:
    """Say how an array gets the dims that are expected."""
    dims = tuple(map(str, array.dims))
    missing = [dim for dim in expected if dim not in dims]
    others = [dim for dim in dims if dim not in expected]
    if not missing and not others:
        return f"write it as .transpose{expected}"
    if len(missing) == len(others):
        names = ", ".join(f"{old}={new!r}" for old, new in zip(others, missing, strict=True))
        return f"name them so: .rename({names})"
    if others:
        return (
            f"select one of {others[0]!r}, or average: .isel({others[0]}=0) or .mean({others[0]!r})"
        )
    dim = missing[0]
    if dim in array.coords:
        return f"keep the dim where you select: .sel({dim}=[...]) or .isel({dim}=[0])"
    return f"repeat it along the dim: .broadcast_like(OTHER), of an array that has {dim!r}"


SURVEY = (
    Variable(
        name="star",
        dims=(STAR,),
        dtype="str or int64",
        doc="survey identifier, unique",
        kinds="UOTiu",
        required=True,
    ),
    Variable(
        name="wavelength",
        dims=("wavelength",),
        dtype="float64",
        doc="pixel centres, ascending; attrs `units`, `medium` (vacuum or air)",
    ),
    Variable(name="label", dims=("label",), dtype="str", doc="label names", kinds="UOT"),
    Variable(
        name="label_units", dims=("label",), dtype="str", doc="unit of each label", kinds="UOT"
    ),
    Variable(
        name="flux",
        dims=(STAR, "wavelength"),
        dtype="float32",
        doc="flux, on any scale that all stars share",
    ),
    Variable(
        name="flux_ivar",
        dims=(STAR, "wavelength"),
        dtype="float32",
        doc="inverse variance of the flux; 0 = pixel missing",
    ),
    Variable(
        name="flux_err",
        dims=(STAR, "wavelength"),
        dtype="float32",
        doc="in its place: one-sigma error of the flux; NaN = pixel missing",
    ),
    Variable(name="label_value", dims=(STAR, "label"), dtype="float64", doc="label; NaN = missing"),
    Variable(
        name="label_err",
        dims=(STAR, "label"),
        dtype="float64",
        doc="one-sigma error of the label; NaN = missing",
    ),
)


CATALOG = (
    Variable(
        name="star",
        dims=(STAR,),
        dtype="str or int64",
        doc="survey identifier, in the order of the survey",
        kinds="UOTiu",
        required=True,
    ),
    Variable(
        name="label_value",
        dims=(STAR, "label"),
        dtype="float64",
        doc="inferred label",
        required=True,
    ),
    Variable(
        name="label_err",
        dims=(STAR, "label"),
        dtype="float64",
        doc="its one-sigma error: formal error and model misfit",
        required=True,
    ),
    Variable(
        name="label_cov",
        dims=(STAR, "label", "label_other"),
        dtype="float64",
        doc="covariance of the labels, where asked for",
    ),
    Variable(
        name="latent",
        dims=(STAR, LATENT),
        dtype="float32",
        doc="latents z: posterior mean; most probable, of a model that is not linear",
        required=True,
    ),
    Variable(
        name="chi2",
        dims=(STAR,),
        dtype="float32",
        doc="chi-square of the model against what was given",
        required=True,
    ),
    Variable(
        name="n_pixels",
        dims=(STAR,),
        dtype="int32",
        doc="number of independent values the latents were inferred from",
        kinds="iu",
        required=True,
    ),
    Variable(
        name="flags",
        dims=(STAR,),
        dtype="uint16",
        doc="warnings, a bit each: attrs `flag_masks`, `flag_meanings`",
        kinds="iu",
        required=True,
    ),
    Variable(
        name="outputs",
        dims=(STAR,),
        dtype="uint8",
        doc="spectra and bands of the model that the star has data of, all where labels were given",
        kinds="iu",
    ),
    Variable(
        name="status",
        dims=(STAR,),
        dtype="uint8",
        doc="0 = not done, 1 = done, 2 = its data could not be read",
        kinds="iu",
        required=True,
    ),
)


MODEL = (
    Variable(
        name="{output}_weights",
        dims=("{dim}", LATENT),
        dtype="float64",
        doc="weights W: {output} = offset + W z (the paper's A or B); of another map, W phi(z)",
    ),
    Variable(
        name="{output}_offset",
        dims=("{dim}",),
        dtype="float64",
        doc="{output} of a star with latents z = 0",
    ),
    Variable(
        name="{output}_scatter",
        dims=("{dim}",),
        dtype="float64",
        doc="fitted scatter s; variance = error^2 + s^2",
    ),
    Variable(
        name="{output}_scale",
        dims=("{dim}",),
        dtype="float64",
        doc="spread of {output} in training, the unit of the arithmetic",
    ),
    Variable(
        name="{output}_floor",
        dims=("{dim}",),
        dtype="float64",
        doc="misfit of {output} on stars left out of training, added to errors in quadrature",
    ),
    Variable(
        name="{output}_used",
        dims=("{dim}",),
        dtype="bool",
        doc="feature takes part; others are predicted as NaN",
        kinds="b",
    ),
    Variable(
        name="{output}_range",
        dims=("{dim}", "bound"),
        dtype="float64",
        doc="least and greatest {output} in training",
    ),
    Variable(
        name="objective",
        dims=("iteration",),
        dtype="float64",
        doc="training objective per star, after each iteration",
    ),
)


#: Of a model whose factors are not all 1.
INFLATION = Variable(
    name="{output}_inflation",
    dims=("{dim}",),
    dtype="float64",
    doc="factor on formal errors of {output}, measured on stars left out of training",
)


#: Attribute of a catalogue whose errors are calibrated: the version for each output, JSON.
CALIBRATION = "calibration"


#: Attribute of a catalogue's nuisances, the output that has them.
NUISANCE_OF = "nuisance_of"


def describe_variables(variables: Iterable[Variable]) -> str:
    """Return a Markdown table of the contract, for documentation."""
    rows = [f"| `{v.name}` | ({', '.join(v.dims)}) | {v.dtype} | {v.doc} |" for v in variables]
    return "\n".join(["| name | dims | dtype | meaning |", "|---|---|---|---|", *rows])
