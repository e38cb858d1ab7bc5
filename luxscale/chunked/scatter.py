"""The fit of scatter from sums over stars: all its steps from one pass over them.

A step of Fisher scoring needs sums over the stars at the scatter that the step before has found. As
functions of ln s^2 these sums are smooth: w = 1 / (sigma^2 + s^2) has its nearest poles a distance
of pi from the real axis. So one pass takes them at the Chebyshev nodes of a window about where the
scatter is, and between these they are interpolated, to the rounding of float32; and at the least
scatter, where features without any come to lie. A feature whose scatter goes elsewhere beyond its
window takes its next step in another pass.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from luxscale.model.jit import compile_program
from luxscale.model.noise import sum_slopes
from luxscale.training.data import LEAST_SCATTER, Arrays
from luxscale.training.latents import Latents
from luxscale.training.regression import cut_tile, find_squares


class Window(NamedTuple):
    """Half width of a window in ln s^2, and nodes in it."""

    half: float
    nodes: int


#: ln s^2 at the least scatter.
_LEAST = 2 * np.log(LEAST_SCATTER)

#: Of the first fit, which starts from a guess; and of later ones, that follow.
FIRST, LATER = Window(7.0, 32), Window(4.0, 20)


def place_nodes(window: Window, center: np.ndarray) -> np.ndarray:
    """Return ln s^2 at the nodes of each feature's window, and the least: (node + 1, feature)."""
    nodes = center + window.half * _find_chebyshev(window.nodes)[:, None]
    least = np.full((1, center.size), _LEAST)
    return np.concatenate([nodes, least])


def _find_chebyshev(number: int) -> np.ndarray:
    """Return the Chebyshev nodes of (-1, 1)."""
    nodes: np.ndarray = np.cos(np.pi * (np.arange(number) + 0.5) / number)
    return nodes


def sum_at_nodes(
    output: Arrays, latents: Latents, stars: Any, nodes: np.ndarray, start: int, tile: int
) -> np.ndarray:
    """Return slope and information of a tile of features at nodes: (2, node, feature)."""
    of_tile = nodes[:, start : start + tile]
    # an output narrower than a tile is filled up, as `cut_tile` does
    lacking = max(tile - len(output.offset), 0)
    filled = np.pad(of_tile, ((0, 0), (0, lacking)))
    s2 = np.exp(filled).astype(np.float32)
    return np.asarray(_sum_tile(output, latents, stars, s2, start, tile=tile))


@compile_program(static_argnames=("tile",))
def _sum_tile(output: Arrays, latents: Latents, stars: Any, s2: Any, i: Any, *, tile: int) -> Any:
    part = cut_tile(output, i, tile)
    ivar = part.ivar * stars[:, None]
    square = find_squares(part, latents)
    return jnp.stack(jax.lax.map(lambda of_node: sum_slopes(square, ivar, of_node), s2))


class Fit(NamedTuple):
    """A fit under way: scatter^2 and the steps that are left, of each feature."""

    s2: np.ndarray
    left: np.ndarray

    @property
    def is_done(self) -> bool:
        """Whether no step is left."""
        return not self.left.any()


def begin_fit(scatter: np.ndarray, steps: int) -> Fit:
    """Return a fit before its first step."""
    return Fit(np.asarray(scatter, float) ** 2, np.full(len(scatter), steps))


def go_on(fit: Fit, window: Window, sums: np.ndarray) -> Fit:
    """Take the steps that windows about the scatter allow.

    Parameters
    ----------
    fit : Fit
        Its scatter is where the windows are.
    window : Window
    sums : array, (2, node + 1, feature)
        Over all stars, at `place_nodes`.
    """
    center = np.log(fit.s2)
    s2, left = fit.s2.copy(), fit.left.copy()
    at = np.zeros(center.size)
    for _ in range(int(left.max())):
        is_least = s2 == LEAST_SCATTER**2
        inside = _interpolate(window, sums[:, :-1], at)
        slope, information = np.where(is_least, sums[:, -1], inside)
        # a feature without data stays where it is
        change = slope / np.where(information > 0, information, 1)
        goes = (left > 0) & ((np.abs(at) <= 1) | is_least)
        s2[goes] = np.maximum(s2 + change, LEAST_SCATTER**2)[goes]
        left[goes] -= 1
        at = (np.log(s2) - center) / window.half
    return Fit(s2, left)


def _interpolate(window: Window, sums: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Return sums at places in (-1, 1), by the barycentric formula: (2, feature)."""
    number = np.arange(window.nodes)
    nodes = _find_chebyshev(window.nodes)
    weights = (-1.0) ** number * np.sin(np.pi * (number + 0.5) / window.nodes)
    distance = at - nodes[:, None]
    # at a node its value counts alone
    distance[distance == 0] = 1e-300
    share = weights[:, None] / distance
    found: np.ndarray = (share * sums).sum(1) / share.sum(0)
    return found
