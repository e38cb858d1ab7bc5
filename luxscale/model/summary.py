"""What a model is, in words: of its noise and prior, and as a table for notebooks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

from luxscale.model.priors import MixturePrior, Prior

if TYPE_CHECKING:
    from luxscale.model.lux import LuxModel
    from luxscale.model.output import Output

#: Columns of the table of labels left out of training: heading and key.
_HELD_OUT = (
    ("label", "label"),
    ("unit", "unit"),
    ("n", "n_stars"),
    ("bias", "bias"),
    ("RMSE", "rmse"),
    ("robust scatter", "robust_scatter"),
    ("median err", "median_err"),
    ("pull", "pull"),
)

#: Names that are listed of an output, at most.
_MOST_NAMES = 30


def describe_noise(output: Output) -> str:
    """Say what noise an output is taken to have, in words."""
    words = "independent"
    if output.correlation is not None:
        n = int(np.size(output.correlation.variance))
        words = f"correlated, {n} independent components"
    if np.isfinite(output.dof):
        words += f"; heavy tails, {output.dof:g} degrees of freedom"
    return words


def describe_prior(prior: Prior) -> str:
    """Say what latents are taken to be before data, in words."""
    if isinstance(prior, MixturePrior):
        return f"mixture of {np.size(prior.weight)} Gaussians"
    if not prior.is_proper:
        return "none"
    return f"Gaussian, mean 0, variance {1 / prior.identity:g}"


def describe_search(model: LuxModel) -> dict[str, str]:
    """Say how latents are searched for, by one name, where that is not the fast way."""
    if not model.every_term:
        return {}
    return {"search": "every likely term of a star; the faster one misses maxima of this model"}


def describe_range(output: Output) -> str:
    """Return the range of a grid with its unit, or names with their units."""
    if output.is_spectrum:
        return f"{output.coord[0]:g} to {output.coord[-1]:g} {output.units[0]}"
    pairs = zip(output.coord[:_MOST_NAMES], output.units, strict=False)
    names = [f"{name} [{unit}]" if unit else str(name) for name, unit in pairs]
    if len(output.coord) > _MOST_NAMES:
        names.append("...")
    return ", ".join(names)


def format_html(model: LuxModel) -> str:
    """Return a model as a table for notebooks; all text is escaped, and nothing runs."""
    made = model.provenance
    latents = " + ".join(str(member.latent_dim) for member in model.members)
    title = (
        f"{latents} latents, method {made.method}, {made.n_stars:,} training stars; "
        f"prior: {describe_prior(model.prior)}; luxscale {made.version}"
    )
    outputs = []
    for output in model.outputs:
        words = (describe_range(output), output.map.features.description, describe_noise(output))
        outputs.append((output.name, output.spec.role.value, f"{len(output.coord):,}", *words))
    headings = ("output", "role", "number", "of", "map", "noise")
    parts = [f"<div><strong>LuxModel</strong> {escape(title)}", _make_table(headings, outputs)]
    if model.held_out:
        rows = [[_format_cell(record[key]) for _, key in _HELD_OUT] for record in model.held_out]
        parts.append("Labels of stars left out of training")
        parts.append(_make_table([heading for heading, _ in _HELD_OUT], rows))
    return "\n".join([*parts, "</div>"])


def _make_table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    head = "".join(f"<th>{escape(heading)}</th>" for heading in headings)
    lines = [f"<table><thead><tr>{head}</tr></thead><tbody>"]
    for row in rows:
        cells = "".join(f"<td>{escape(cell)}</td>" for cell in row)
        lines.append(f"<tr>{cells}</tr>")
    return "\n".join([*lines, "</tbody></table>"])


def _format_cell(value: Any) -> str:
    """Return text as it is, counts whole, and figures with three digits."""
    if value is None:
        return "-"
    if not isinstance(value, float):
        return str(value)
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"
