"""The data contract, written once, as data: validation, documentation and error messages come from here."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator

import numpy as np
import xarray as xr

#: dims that every survey and catalogue may use; outputs bring their own feature dims.
STAR, LATENT = "star", "latent"

#: A check of values reads at most this many bytes of a variable; a larger one is sampled by whole chunks.
SAMPLE_BYTES = 64 * 2**20

#: ... and at most this many chunks, which cost time however small they are.
SAMPLE_CHUNKS = 16

_KINDS = {"f": "float", "i": "int", "u": "unsigned int", "U": "str", "O": "str", "T": "str"}


class InputError(ValueError):
    """Input that cannot be used: the message names the file and variable, and says what to do."""


class RunError(RuntimeError):
    """A run that ended before all was done; the message says what is left and how to go on."""


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
            return f"has dtype {array.dtype}, expected {expected}; convert it with .astype({self.dtype.split()[0]!r})"
        return None


SURVEY = (
    Variable("star", (STAR,), "str or int64", "survey identifier, unique", "UOTiu", required=True),
    Variable(
        "wavelength", ("wavelength",), "float64", "pixel centres, ascending; attrs `units`, `medium` (vacuum or air)"
    ),
    Variable("label", ("label",), "str", "label names", "UOT"),
    Variable("label_units", ("label",), "str", "unit of each label", "UOT"),
    Variable("flux", (STAR, "wavelength"), "float32", "flux, on any scale that all stars share"),
    Variable("flux_ivar", (STAR, "wavelength"), "float32", "inverse variance of the flux; 0 = pixel missing"),
    Variable("label_value", (STAR, "label"), "float64", "label; NaN = missing"),
    Variable("label_err", (STAR, "label"), "float64", "one-sigma error of the label; NaN = missing"),
)

CATALOG = (
    Variable("star", (STAR,), "str or int64", "survey identifier, in the order of the survey", "UOTiu", required=True),
    Variable("label_value", (STAR, "label"), "float64", "inferred label", required=True),
    Variable(
        "label_err", (STAR, "label"), "float64", "its one-sigma error: formal error and model misfit", required=True
    ),
    Variable("label_cov", (STAR, "label", "label_other"), "float64", "covariance of the labels, where asked for"),
    Variable("latent", (STAR, LATENT), "float32", "posterior mean of the latents z", required=True),
    Variable("chi2", (STAR,), "float32", "chi-square of the model against what was given", required=True),
    Variable("n_pixels", (STAR,), "int32", "number of values the latents were inferred from", "iu", required=True),
    Variable(
        "flags", (STAR,), "uint16", "warnings, a bit each: attrs `flag_masks`, `flag_meanings`", "iu", required=True
    ),
    Variable("status", (STAR,), "uint8", "0 = not done, 1 = done, 2 = its data could not be read", "iu", required=True),
)

MODEL = (
    Variable(
        "{output}_weights",
        ("{dim}", LATENT),
        "float64",
        "weights W: {output} = offset + W z (the paper's A or B); of another map, W phi(z)",
    ),
    Variable("{output}_offset", ("{dim}",), "float64", "{output} of a star with latents z = 0"),
    Variable("{output}_scatter", ("{dim}",), "float64", "fitted scatter s; variance = error^2 + s^2"),
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
    Variable("{output}_used", ("{dim}",), "bool", "feature takes part; others are predicted as NaN", "b"),
    Variable("{output}_range", ("{dim}", "bound"), "float64", "least and greatest {output} in training"),
    Variable("objective", ("iteration",), "float64", "training objective per star, after each iteration"),
)


def describe(variables: Iterable[Variable]) -> str:
    """Return a Markdown table of the contract, for documentation."""
    rows = [f"| `{v.name}` | ({', '.join(v.dims)}) | {v.dtype} | {v.doc} |" for v in variables]
    return "\n".join(["| name | dims | dtype | meaning |", "|---|---|---|---|", *rows])


@dataclasses.dataclass(frozen=True)
class OutputSpec:
    """One measured output of a star: a variable (star, dim) and the variable that holds its errors."""

    name: str
    dim: str
    noise: str

    @property
    def is_ivar(self) -> bool:
        """Whether the errors are inverse variances (else one-sigma errors)."""
        return self.noise.endswith("_ivar")

    @property
    def variables(self) -> tuple[str, str]:
        """Names of the values and of their errors."""
        return self.name, self.noise

    def ivar(self, values: np.ndarray, noise: np.ndarray) -> np.ndarray:
        """Return inverse variances, 0 where value or error is missing, NaN where they break the contract: (star, dim)."""
        if self.is_ivar:
            return noise
        known = np.isfinite(values) & np.isfinite(noise) & (noise > 0)
        with np.errstate(over="ignore"):  # an absurdly small error is an error, not a breach: see kernel.MOST_IVAR
            ivar = np.where(known, np.minimum((1 / np.where(known, noise, 1)) ** 2, np.finfo(float).max), 0)
        return np.where(invalid(self, values, noise), np.nan, ivar)


def _partners(name: str) -> tuple[str, ...]:
    return (f"{name}_ivar", f"{name}_err", f"{name.removesuffix('_value')}_err")


def find_outputs(dataset: xr.Dataset) -> tuple[OutputSpec, ...]:
    """Return the outputs of a survey: every NAME (star, DIM) that has a NAME_ivar or NAME_err beside it."""
    found = []
    for name, array in dataset.data_vars.items():
        if array.ndim == 2 and array.dims[0] == STAR:
            noise = next((p for p in _partners(str(name)) if p != name and p in dataset), None)
            if noise:
                found.append(OutputSpec(str(name), str(array.dims[1]), noise))
    return tuple(sorted(found, key=lambda o: (o.is_ivar, o.name)))


def pick_outputs(dataset: xr.Dataset, names: str | Iterable[str] | None, where: str) -> tuple[OutputSpec, ...]:
    """Return the named outputs (all if None), or say which are missing and what there is."""
    found = {o.name: o for o in find_outputs(dataset)}
    wanted = list(found) if names is None else [names] if isinstance(names, str) else list(names)
    if not wanted or len(set(wanted)) < len(wanted):
        raise InputError(f"outputs {wanted} name none, or one twice; name each once, of: {', '.join(found)}")
    for name in wanted:
        if name not in found:
            need = name if name not in dataset else " or ".join(dict.fromkeys(_partners(name)))
            have = ", ".join(found) or "none"
            raise InputError(f"{where}: no variable {need!r}, needed for output {name!r}; it has the outputs: {have}")
    return tuple(found[name] for name in wanted)


def check_structure(dataset: xr.Dataset, where: str) -> None:
    """Refuse a survey whose names, dims, dtypes, grids or chunks break the contract; reads no per-star data.

    Raises
    ------
    InputError
        Names ``where``, the variable and what to do.
    """
    for problem in _structure_problems(dataset):
        raise InputError(f"{where}: {problem}")


def _structure_problems(dataset: xr.Dataset) -> Iterator[str]:
    for variable in SURVEY:
        if variable.name in dataset.variables:
            problem = variable.problem(dataset[variable.name])
            if problem:
                yield f"{variable.name!r} {problem}"
        elif variable.required:
            yield f"no variable {variable.name!r} ({variable.doc}); add it as a coordinate on dims {variable.dims}"
    if dataset.sizes.get(STAR) == 0:
        yield "it holds no stars"
    for name, partner in (("flux", "flux_ivar"), ("label_value", "label_err")):
        if name in dataset and partner not in dataset:
            yield f"no variable {partner!r}, which {name!r} needs; where all values are equally good write a constant"
        if partner in dataset and name not in dataset:
            yield f"no variable {name!r}, to which {partner!r} belongs; add it, or leave out {partner!r}"
    outputs = find_outputs(dataset)
    if not outputs:
        yield "no output: it needs 'flux' with 'flux_ivar', or 'label_value' with 'label_err', on (star, ...)"
    for output in outputs:
        yield from _output_problems(dataset, output)


def _output_problems(dataset: xr.Dataset, output: OutputSpec) -> Iterator[str]:
    value, noise = dataset[output.name], dataset[output.noise]
    if noise.dims != value.dims:
        yield f"{output.noise!r} has dims {noise.dims}, but {output.name!r} has {value.dims}; they must agree"
    for array in (value, noise):
        if array.dtype.kind != "f":
            yield f"{array.name!r} has dtype {array.dtype}, expected float"
        if array.chunks and len(array.chunks[1]) > 1:
            yield (
                f"{array.name!r} is chunked along {output.dim!r}; a star's values must lie in one chunk: "
                f"write it with .chunk({{{output.dim!r}: -1}})"
            )
    if output.dim not in dataset.coords:
        yield f"no coordinate {output.dim!r}, which says what the columns of {output.name!r} are"
    else:
        yield from _grid_problems(dataset[output.dim], output)


def _grid_problems(grid: xr.DataArray, output: OutputSpec) -> Iterator[str]:
    values = grid.values
    if values.dtype.kind in "iub":
        yield (
            f"{output.dim!r} has dtype {values.dtype}; pixels need float values with 'units', names need text: "
            f"convert it with .astype(float)"
        )
    elif values.dtype.kind != "f" and len(set(values.tolist())) != values.size:
        yield f"{output.dim!r} repeats a name; each column of {output.name!r} needs its own"
    if values.dtype.kind != "f":
        return
    steps = np.diff(values)
    if not np.isfinite(values).all() or (steps <= 0).any():
        bad = int(np.argmax(~(steps > 0))) if steps.size else 0
        word = "repeated" if steps.size and steps[bad] == 0 else "not ascending"
        yield (
            f"{output.dim!r} is {word} at index {bad} ({values[bad]} then {values[min(bad + 1, values.size - 1)]}); "
            f"sort it, without repeats: .sortby({output.dim!r}).drop_duplicates({output.dim!r})"
        )
    if "units" not in grid.attrs:
        yield f"{output.dim!r} has no 'units' attribute; set e.g. .{output.dim}.attrs['units'] = 'Angstrom'"
    if grid.attrs.get("medium", "vacuum") not in ("vacuum", "air"):
        yield f"{output.dim!r} has medium {grid.attrs['medium']!r}; it must be 'vacuum' or 'air'"


def invalid(output: OutputSpec, values: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """Return where the data break the contract: (star, dim) bool.

    An inverse variance that is negative, infinite or NaN, or positive where the value is not finite;
    an error that is negative, zero or infinite; an infinite label.
    """
    if output.is_ivar:
        return ~(np.isfinite(noise) & (noise >= 0)) | ((noise > 0) & ~np.isfinite(values))
    return (noise <= 0) | np.isinf(noise) | np.isinf(values)


def check_values(dataset: xr.Dataset, outputs: Iterable[OutputSpec], where: str) -> None:
    """Refuse values that break the contract, and duplicated stars; reads all it is given.

    Raises
    ------
    InputError
        Names the variable and the first star, and counts the rest.
    """
    for output in outputs:
        values, noise = (np.asarray(dataset[v].values) for v in output.variables)
        bad = invalid(output, values, noise)
        if bad.any():
            n, d = (int(i) for i in np.argwhere(bad)[0])
            rule = (
                "inverse variances must be finite and not negative, and 0 where the value is not finite"
                if output.is_ivar
                else "errors must be positive and finite, NaN where the value is missing"
            )
            raise InputError(
                f"{where}: {output.noise!r} = {noise[n, d]} with {output.name!r} = {values[n, d]} at star {_star_name(dataset, n)!r}, "
                f"{output.dim} {dataset[output.dim].values[d]}, and {int(bad.sum()) - 1} more like it; {rule}"
            )


def check_unique(stars: np.ndarray, where: str) -> None:
    """Refuse a survey that names a star twice.

    Raises
    ------
    InputError
    """
    import pandas as pd

    repeated = pd.Index(stars).duplicated()
    if repeated.any():
        raise InputError(
            f"{where}: 'star' repeats {stars[int(np.argmax(repeated))]!r} ({int(repeated.sum())} repeated in all); "
            "keep one row of each, e.g. survey.drop_duplicates('star')"
        )


def _star_name(dataset: xr.Dataset, row: int) -> str | int:
    name: str | int = dataset[STAR][row].values.tolist() if STAR in dataset.coords else row
    return name
