"""The data contract, written once, as data: validation, documentation and messages come from it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

import xarray as xr

#: dims that every survey and catalogue may use; outputs bring their own feature dims.
STAR, LATENT = "star", "latent"


_KINDS = {"f": "float", "i": "int", "u": "unsigned int", "U": "str", "O": "str", "T": "str"}


@dataclasses.dataclass(frozen=True)
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

    def problem(self, array: xr.DataArray) -> str | None:
        """Say what is wrong with an array's dims or dtype, or None."""
        if array.dims != self.dims:
            return f"has dims {array.dims}, expected {self.dims}; write it as .transpose{self.dims}"
        if array.dtype.kind not in self.kinds:
            expected = " or ".join(dict.fromkeys(_KINDS[k] for k in self.kinds))
            return (
                f"has dtype {array.dtype}, expected {expected}; convert it with "
                f".astype({self.dtype.split()[0]!r})"
            )
        return None


SURVEY = (
    Variable("star", (STAR,), "str or int64", "survey identifier, unique", "UOTiu", required=True),
    Variable(
        "wavelength",
        ("wavelength",),
        "float64",
        "pixel centres, ascending; attrs `units`, `medium` (vacuum or air)",
    ),
    Variable("label", ("label",), "str", "label names", "UOT"),
    Variable("label_units", ("label",), "str", "unit of each label", "UOT"),
    Variable("flux", (STAR, "wavelength"), "float32", "flux, on any scale that all stars share"),
    Variable(
        "flux_ivar",
        (STAR, "wavelength"),
        "float32",
        "inverse variance of the flux; 0 = pixel missing",
    ),
    Variable("label_value", (STAR, "label"), "float64", "label; NaN = missing"),
    Variable(
        "label_err", (STAR, "label"), "float64", "one-sigma error of the label; NaN = missing"
    ),
)


CATALOG = (
    Variable(
        "star",
        (STAR,),
        "str or int64",
        "survey identifier, in the order of the survey",
        "UOTiu",
        required=True,
    ),
    Variable("label_value", (STAR, "label"), "float64", "inferred label", required=True),
    Variable(
        "label_err",
        (STAR, "label"),
        "float64",
        "its one-sigma error: formal error and model misfit",
        required=True,
    ),
    Variable(
        "label_cov",
        (STAR, "label", "label_other"),
        "float64",
        "covariance of the labels, where asked for",
    ),
    Variable("latent", (STAR, LATENT), "float32", "posterior mean of the latents z", required=True),
    Variable(
        "chi2", (STAR,), "float32", "chi-square of the model against what was given", required=True
    ),
    Variable(
        "n_pixels",
        (STAR,),
        "int32",
        "number of values the latents were inferred from",
        "iu",
        required=True,
    ),
    Variable(
        "flags",
        (STAR,),
        "uint16",
        "warnings, a bit each: attrs `flag_masks`, `flag_meanings`",
        "iu",
        required=True,
    ),
    Variable(
        "status",
        (STAR,),
        "uint8",
        "0 = not done, 1 = done, 2 = its data could not be read",
        "iu",
        required=True,
    ),
)


MODEL = (
    Variable(
        "{output}_weights",
        ("{dim}", LATENT),
        "float64",
        "weights W: {output} = offset + W z (the paper's A or B); of another map, W phi(z)",
    ),
    Variable("{output}_offset", ("{dim}",), "float64", "{output} of a star with latents z = 0"),
    Variable(
        "{output}_scatter", ("{dim}",), "float64", "fitted scatter s; variance = error^2 + s^2"
    ),
    Variable(
        "{output}_scale",
        ("{dim}",),
        "float64",
        "spread of {output} in training, the unit of the arithmetic",
    ),
    Variable(
        "{output}_floor",
        ("{dim}",),
        "float64",
        "misfit of {output} on stars left out of training, added to errors in quadrature",
    ),
    Variable(
        "{output}_used", ("{dim}",), "bool", "feature takes part; others are predicted as NaN", "b"
    ),
    Variable(
        "{output}_range", ("{dim}", "bound"), "float64", "least and greatest {output} in training"
    ),
    Variable(
        "objective", ("iteration",), "float64", "training objective per star, after each iteration"
    ),
)


def describe_variables(variables: Iterable[Variable]) -> str:
    """Return a Markdown table of the contract, for documentation."""
    rows = [f"| `{v.name}` | ({', '.join(v.dims)}) | {v.dtype} | {v.doc} |" for v in variables]
    return "\n".join(["| name | dims | dtype | meaning |", "|---|---|---|---|", *rows])
