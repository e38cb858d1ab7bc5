"""The Lux model: latents, a map from them to each output, and the noise of each; and its file."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import numpy as np
import xarray as xr

from luxscale.maps import KINDS, LinearMap
from luxscale.schema import LATENT, MODEL, InputError, OutputSpec

FORMAT = "luxscale-model"
FORMAT_VERSION = 1

_ARRAYS = ("scatter", "scale", "floor", "used")

#: The part of the contract that every output of a model fills.
PER_OUTPUT = tuple(v for v in MODEL if v.name.startswith("{output}_"))


@dataclasses.dataclass(frozen=True)
class Output:
    """One output of a model: what it is, its map from latents, and its noise.

    Parameters
    ----------
    spec : OutputSpec
        Names of the variables and of the feature dim.
    coord : tuple
        Wavelengths or label names.
    units : tuple of str
        Unit of the grid (a spectrum), or of each feature (labels).
    attrs : tuple of (name, value)
        Further attributes of the grid, e.g. ``medium``.
    map : LinearMap
        Or another of ``luxscale.maps``.
    scatter, scale, floor : array, (feature,)
        See the registry ``luxscale.schema.MODEL``.
    used : array of bool, (feature,)
    bounds : array, (feature, 2)
        Least and greatest value in training.
    windows : tuple of (label, ((least, greatest), ...))
        Labels that are inferred from the pixels in these wavelength windows alone.
    """

    spec: OutputSpec
    coord: tuple
    units: tuple[str, ...]
    attrs: tuple[tuple[str, str], ...]
    map: LinearMap
    scatter: Any
    scale: Any
    floor: Any
    used: Any
    bounds: Any
    windows: tuple[tuple[str, tuple[tuple[float, float], ...]], ...] = ()

    @property
    def name(self) -> str:
        """Name of the variable, e.g. ``flux``."""
        return self.spec.name

    @property
    def is_label(self) -> bool:
        """Whether features are named, like labels or bands, rather than pixels of a grid."""
        return isinstance(self.coord[0], str)

    def inside(self, spans: tuple[tuple[float, float], ...]) -> np.ndarray:
        """Return the positions of the pixels in wavelength windows, none of an output that is no spectrum: (pixel,)."""
        if self.is_label:
            return np.array([], int)
        grid = np.asarray(self.coord)
        return np.flatnonzero(np.any([(grid >= a) & (grid <= b) for a, b in spans], axis=0))


@dataclasses.dataclass(frozen=True)
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
    """

    method: str
    settings: str
    n_stars: int
    training_checksum: str
    version: str = dataclasses.field(default_factory=lambda: version("luxscale"))


@dataclasses.dataclass(frozen=True)
class LuxModel:
    """A trained Lux model: latents z, and for each output a map from z and a noise model.

    Latents are in the canonical gauge: of variance 1 over the training stars, ordered by the information that the
    spectra carry on them. (Those of The Cannon are its scaled labels.)

    Parameters
    ----------
    outputs : tuple of Output
    objective : array, (iteration,)
        Training objective per star after each iteration.
    provenance : Provenance
    limits : tuple of float
        Chi2 per pixel, and squared length of the latents, beyond which a star is flagged; measured on stars
        left out of training.
    prior : float
        Precision of the Gaussian prior on latents at the test step, N(0, I / prior).
    """

    outputs: tuple[Output, ...]
    objective: Any
    provenance: Provenance
    limits: tuple[float, float] = (float("inf"), float("inf"))
    prior: float = 1.0

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
        raise InputError(f"the model has no output {name!r}; it has {', '.join(o.name for o in self.outputs)}")

    @property
    def latent_dim(self) -> int:
        """Number of latents P."""
        return self.outputs[0].map.latent_dim

    @property
    def labels(self) -> tuple[Output, ...]:
        """The outputs that catalogues hold: those with named features."""
        return tuple(o for o in self.outputs if o.is_label)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of all that inference depends on."""
        digest = hashlib.sha256(repr([self.limits, self.prior, *(_description(o) for o in self.outputs)]).encode())
        for output in self.outputs:
            for array in (output.map.weights, output.map.offset, *(getattr(output, k) for k in (*_ARRAYS, "bounds"))):
                digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()

    def to_dataset(self) -> xr.Dataset:
        """Return the model as a labelled Dataset, which `from_dataset` turns back."""
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
        from luxscale.store import claim, write_dataset

        claim(path, FORMAT, overwrite=overwrite)
        write_dataset(self.to_dataset(), path)

    def __repr__(self) -> str:
        """Return a line an output."""
        lines = [
            f"<LuxModel {self.latent_dim} latents, {self.provenance.method}, {self.provenance.n_stars} training stars>"
        ]
        lines += [f"  {o.name} ({o.spec.dim}: {len(o.coord)})" for o in self.outputs]
        return "\n".join(lines)


jax.tree_util.register_dataclass(
    Output, ["map", "scatter", "scale", "floor", "used", "bounds"], ["spec", "coord", "units", "attrs", "windows"]
)
jax.tree_util.register_dataclass(LuxModel, ["outputs", "objective"], ["provenance", "limits", "prior"])


def _description(output: Output) -> tuple:
    return output.spec, output.coord, output.units, output.attrs, output.map.kind, output.windows


def _arrays(output: Output) -> dict[str, Any]:
    held = {k: getattr(output, k) for k in _ARRAYS}
    return {"weights": output.map.weights, "offset": output.map.offset, "range": output.bounds, **held}


def _variables(output: Output) -> Iterator[tuple[str, xr.Variable]]:
    """Name and fill the contract's variables of one output."""
    names = {"output": output.name, "dim": output.spec.dim}
    terms = LATENT if output.map.kind == LinearMap.kind else f"{output.name}_term"
    for variable in PER_OUTPUT:
        dims = tuple(terms if d == LATENT else d.format(**names) for d in variable.dims)
        attrs = {"long_name": variable.doc.format(**names)}
        if variable.dtype != "bool":
            attrs["units"] = f"{output.spec.dim}_units" if output.is_label else f"as {output.name}"
        value = _arrays(output)[variable.name.removeprefix("{output}_")]
        yield variable.name.format(**names), xr.Variable(dims, np.asarray(value), attrs)


def coordinates(output: Output) -> dict[str, xr.Variable]:
    """Return the coordinates of an output's features: a grid with units, or names and the unit of each."""
    dim = output.spec.dim
    if output.is_label:
        return {
            dim: xr.Variable((dim,), np.array(output.coord, object)),
            f"{dim}_units": xr.Variable((dim,), np.array(output.units, object)),
        }
    return {dim: xr.Variable((dim,), np.array(output.coord), {"units": output.units[0], **dict(output.attrs)})}


def to_dataset(model: LuxModel) -> xr.Dataset:
    """Return a model as a Dataset that explains itself: dims, units, provenance."""
    variables: dict[str, Any] = {}
    coords: dict[str, Any] = {"bound": np.array(["least", "greatest"], object)}
    for output in model.outputs:
        variables.update(_variables(output))
        coords.update(coordinates(output))
    variables["objective"] = xr.Variable(("iteration",), np.asarray(model.objective), {"long_name": MODEL[-1].doc})
    return xr.Dataset(
        variables,
        coords,
        {
            "title": "Lux model of stellar spectra and labels (Horta et al. 2025)",
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "outputs": json.dumps(
                [{**dataclasses.asdict(o.spec), "map": o.map.kind, "windows": o.windows} for o in model.outputs]
            ),
            "latent_prior": "normal, mean 0, this precision",
            "latent_prior_precision": model.prior,
            "chi2_limit": _or_none(model.limits[0]),
            "distance_limit": _or_none(model.limits[1]),
            "fingerprint": model.fingerprint,
            **dataclasses.asdict(model.provenance),
        },
    )


def from_dataset(dataset: xr.Dataset, where: str = "model") -> LuxModel:
    """Return the model that a Dataset holds.

    Raises
    ------
    InputError
        If it is no model, is written in a later format, or does not match its own fingerprint.
    """
    attrs = dataset.attrs
    if attrs.get("format") != FORMAT:
        raise InputError(
            f"{where}: not a luxscale model (attribute 'format' is {attrs.get('format')!r}); "
            "train one with `luxscale train`"
        )
    for key in ("format_version", "version", "fingerprint"):
        if key not in attrs:
            raise InputError(f"{where}: the model lacks {key!r}; it is incomplete: copy or train it again")
    if attrs["format_version"] > FORMAT_VERSION:
        raise InputError(
            f"{where}: model format {attrs['format_version']}, written by luxscale {attrs['version']}; "
            f"this luxscale reads up to {FORMAT_VERSION}: upgrade it"
        )
    try:
        dataset = dataset.load()
    except Exception as error:  # codecs raise what they like
        raise InputError(f"{where}: cannot be read ({error}); it is damaged: copy or train it again") from error
    try:
        model = LuxModel(
            tuple(_output(dataset, entry, where) for entry in json.loads(attrs["outputs"])),
            dataset["objective"].values,
            Provenance(**{f.name: attrs[f.name] for f in dataclasses.fields(Provenance)}),
            (_or_inf(attrs["chi2_limit"]), _or_inf(attrs["distance_limit"])),
            float(attrs["latent_prior_precision"]),
        )
    except KeyError as error:
        raise InputError(f"{where}: the model lacks {error}; it is incomplete: copy or train it again") from None
    if model.fingerprint != attrs["fingerprint"]:
        raise InputError(
            f"{where}: the arrays do not match the model's fingerprint; it was changed or damaged: "
            "copy or train it again"
        )
    return model


def _or_none(limit: float) -> float | None:
    """Return a limit as JSON can hold it: no limit is null."""
    return limit if np.isfinite(limit) else None


def _or_inf(limit: float | None) -> float:
    return float("inf") if limit is None else float(limit)


def _output(dataset: xr.Dataset, entry: dict[str, Any], where: str) -> Output:
    if entry["map"] not in KINDS:
        raise InputError(
            f"{where}: output {entry['name']!r} has a map of kind {entry['map']!r}, which this luxscale does not know: "
            "upgrade it"
        )
    spec = OutputSpec(entry["name"], entry["dim"], entry["noise"])
    get = {v.name.removeprefix("{output}_"): dataset[v.name.format(output=spec.name)].values for v in PER_OUTPUT}
    grid = dataset[spec.dim]
    named = grid.dtype.kind != "f"
    units = dataset[f"{spec.dim}_units"].values.tolist() if named else [grid.attrs["units"]]
    attrs = () if named else tuple((k, v) for k, v in grid.attrs.items() if k != "units")
    return Output(
        spec,
        tuple(grid.values.tolist()),
        tuple(map(str, units)),
        attrs,
        KINDS[entry["map"]](get["weights"], get["offset"]),
        get["scatter"],
        get["scale"],
        get["floor"],
        get["used"],
        get["range"],
        tuple((label, tuple((a, b) for a, b in spans)) for label, spans in entry["windows"]),
    )


def load_model(path: str | Path) -> LuxModel:
    """Read a model written by `LuxModel.save`.

    Parameters
    ----------
    path : str or Path
        Zarr store.

    Returns
    -------
    LuxModel

    Raises
    ------
    InputError
        If there is no model at ``path``, or it is damaged or from a later version.

    Examples
    --------
    >>> import luxscale as lux
    >>> lux.load_model("model.zarr")
    <LuxModel 4 latents, marginal, 300 training stars>
      label_value (label: 4)
      flux (wavelength: 40)
    """
    from luxscale.store import open_dataset

    return from_dataset(open_dataset(path, dask=False, kind="model"), str(path))
