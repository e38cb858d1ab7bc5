"""What inference takes of the outputs of a model: designs of those given, heads of those wanted."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from luxscale.model import linalg
from luxscale.model.components import Components, find_components, is_worthwhile
from luxscale.model.decoders import LinearMap
from luxscale.model.head import Head
from luxscale.model.kept import recall
from luxscale.model.noise import DiagonalNoise, Noise
from luxscale.model.output import Output
from luxscale.model.presence import combine_bits
from luxscale.model.problem import Design, Window
from luxscale.schema.outputs import OutputSpec, Role
from luxscale.schema.variables import LATENT

#: Features of an output that are inferred together: their moments are this many times 2 P numbers
#: for each star of a block.
_PART = 512


def list_parts(output: Output) -> list[Output]:
    """Return an output as labels, in parts of few enough features for the kernel's memory."""
    n = len(output.coord)
    parts = []
    for number, start in enumerate(range(0, n, _PART)):
        features = slice(start, start + _PART)
        coord = output.coord[features]
        used = np.asarray(output.used, bool)[features]
        decoder: Any = output.map
        decoder = dataclasses.replace(
            decoder,
            weights=np.where(used[:, None], output.map.weights[features], 0),
            offset=np.where(used, output.map.offset[features], 0),
        )
        name, dim = f"{output.name}_{number}", f"{output.spec.dim}_{number}"
        zero = np.zeros(len(coord))
        part = dataclasses.replace(
            output,
            spec=OutputSpec(f"{name}_value", dim, f"{name}_err", Role.LABELS),
            coord=coord,
            map=decoder,
            scatter=zero,
            scale=zero + 1,
            floor=zero,
            inflation=(),
            part_errors=(),
            used=used,
            bounds=np.outer(zero + 1, [-np.inf, np.inf]),
            windows=(),
            correlation=None,
        )
        parts.append(part)
    return parts


def is_plain(output: Output) -> bool:
    """Whether an output is linear, of independent Gaussian noise."""
    linear = output.map.features.is_linear
    return linear and output.correlation is None and bool(np.isinf(output.dof))


def make_design(output: Output, search: bool) -> Design:
    """Return the design of an output, float32, ready for the kernel.

    Parameters
    ----------
    output : Output
    search : bool
        Whether latents have to be searched for, because of this output or others.
    """
    scale = np.asarray(output.scale, float)
    safe = np.where(scale > 0, scale, 1)
    used = np.asarray(output.used, bool)
    weights = np.asarray(output.map.weights / safe[:, None], np.float32)
    offset = np.where(used, output.map.offset / safe, 0)
    ivar_unit = np.where(used, safe**2, 0)
    noise = _scale_noise(output, 1 / safe)
    reduced = noise.reduce(output.map.weights / safe[:, None], weights.shape[1]) if search else None
    return Design(
        weights=weights,
        offset=offset.astype(np.float32),
        noise=jax.tree.map(lambda array: np.asarray(array, np.float32), noise),
        unit=(1 / safe).astype(np.float32),
        ivar_unit=ivar_unit.astype(np.float32),
        features=output.map.features,
        reduced=reduced,
        dof=np.float32(output.dof),
    )


def add_components(design: Design, heads: Sequence[Head]) -> Design:
    """Return the design with the components of its normal matrices, if they make it faster."""
    if not heads:
        return design
    labels = np.concatenate([h.map.weights / h.spread[:, None] for h in heads])
    n_features, latent_dim = design.weights.shape
    if not is_worthwhile(n_features, latent_dim, len(labels)):
        return design
    given = {
        "weights": np.asarray(design.weights),
        "offset": np.asarray(design.offset, float),
        "scatter": np.asarray(design.noise.scatter),
        "ivar_unit": np.asarray(design.ivar_unit),
        "labels": labels,
    }

    def make() -> Components:
        return find_components(packed=linalg.multiply_columns(given["weights"]), **given)

    components = recall(Components, make, given).round_factors()
    return dataclasses.replace(design, components=components)


def _scale_noise(output: Output, factor: np.ndarray) -> Noise:
    """Return the noise of an output whose values are multiplied by a factor: (feature,)."""
    if output.correlation is not None:
        return output.correlation.scale_by(factor)
    return DiagonalNoise(output.scatter * factor)


def make_head(output: Output, measured: Sequence[str] = ()) -> Head:
    """Return what predicts an output from latents.

    Parameters
    ----------
    output : Output
    measured : sequence of str
        Spectra and bands of the model, for the errors of stars that have some of them.
    """
    parts = output.errors_of_parts if measured else ()
    return Head(
        map=jax.tree.map(lambda array: np.asarray(array, float), output.map),
        bounds=np.asarray(output.bounds, float),
        errors=output.errors,
        parts=tuple((combine_bits(part.outputs, measured), part) for part in parts),
    )


def make_windows(labels: Sequence[Output], given: Sequence[Output]) -> list[Window]:
    """Group the labels that have windows by their pixels: each group is one solution more."""
    found: list[Window] = []
    for head, output in enumerate(labels):
        groups: dict[tuple, list[int]] = {}
        for label, spans in output.windows:
            groups.setdefault(spans, []).append(output.coord.index(label))
        for spans, members in groups.items():
            pixels = tuple(o.inside(spans) for o in given)
            if any(x.size for x in pixels):  # else no spectrum is given
                found.append(Window(head, np.array(members), pixels))
    return found


def make_latent_labels(latent_dim: int) -> Output:
    """Return the latents as an output of named features, so that the kernel gives their errors."""
    one, zero = np.ones(latent_dim), np.zeros(latent_dim)
    return Output(
        spec=OutputSpec(f"{LATENT}_value", f"{LATENT}_name", f"{LATENT}_err", Role.LABELS),
        coord=tuple(f"z{i}" for i in range(latent_dim)),
        units=("",) * latent_dim,
        attrs=(),
        map=LinearMap(np.eye(latent_dim), zero),
        scatter=zero,
        scale=one,
        floor=zero,
        used=np.ones(latent_dim, bool),
        bounds=np.outer(one, [-np.inf, np.inf]),
    )
