"""How nuisances distort the spectrum of a star, and what that takes of a model, as arrays.

With coefficients c, in units of their prior widths, the spectrum that a star with latents z has is

    m = (1 + sum_k c_k L_k) (f + c_b b f'') + sum_j c_j T_j,    f(x) = M(x - c_v v),

with M = offset + W z its own, x the number of the pixel, L_k Legendre's polynomials, T_j templates.
Shifts and second derivatives are taken of M as a spline of degree 5, which goes through all pixels.
Its coefficients are linear in z, as the spectrum is: those of W and of the offset are found once.
"""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from luxscale.model import linalg
from luxscale.model.splines import evaluate_spline

#: Prior widths that a coefficient may be off by at most; `BEYOND` of them raise a flag.
FARTHEST, BEYOND = 4.0, 3.0


class Starts(NamedTuple):
    """Velocities at which the search of a star may begin.

    coefficient (start,); values (start, feature), of the spectrum of a star with z = 0, less the
    offset, and weights (start, feature, latent), both in units of the scale.
    """

    coefficient: Any
    values: Any
    weights: Any


@dataclasses.dataclass(frozen=True, kw_only=True)
class Distortion:
    """Nuisances of one given output, as arrays for the kernel, float32.

    Parameters
    ----------
    output : int
        Position of the output among those given.
    reach : int
        Pixels that a shifted spectrum rests on, to each side; 0 if nothing is shifted.
    names : tuple of str
        Of the coefficients.
    widths : array, (nuisance,)
        Their prior widths.
    weights : array, (feature, latent)
        Spline coefficients of W, in the output's units; W itself if nothing is shifted.
    base, offset : array, (feature,)
        Spline coefficients of the offset, and the offset; in the output's units.
    unit : array, (feature,)
        1 / scale of the output.
    shift, blur : array, (feature,) or (1,), optional
        Pixels to shift by, and squared pixels to add to the variance of lines, halved, per width.
    polynomials, patterns : array, (number, feature)
        L_k and T_j, times their widths.
    starts : Starts
    """

    output: int
    reach: int
    names: tuple[str, ...]
    widths: Any
    weights: Any
    base: Any
    offset: Any
    unit: Any
    shift: Any | None
    blur: Any | None
    polynomials: Any
    patterns: Any
    starts: Starts

    def predict(self, z: Any, c: Any) -> Predicted:
        """Return the spectra of a block of stars: (star, latent) and (star, nuisance)."""
        own = self.base + linalg.dot(z, self.weights.T)
        shift, blur, levels, amounts = self._split(c)
        slopes = []
        spectrum = self._convolve(own, shift, 0)
        if self.shift is not None:
            slopes.append(-self.shift * self._convolve(own, shift, 1))
        if self.blur is not None:
            second = self._convolve(own, shift, 2)
            spectrum = spectrum + blur * second
            slopes.append(self.blur * second)
            if self.shift is not None:
                slopes[0] -= self.shift * blur * self._convolve(own, shift, 3)
        factor = jnp.ones((1, 1), c.dtype)
        if len(self.polynomials):
            factor = factor + linalg.dot(levels, self.polynomials)
        value = factor * spectrum + linalg.dot(amounts, self.patterns)
        return Predicted(
            value=(value - self.offset) * self.unit,
            spectrum=spectrum * self.unit,
            slopes=tuple(factor * slope * self.unit for slope in slopes),
            factor=factor,
            shift=shift,
            blur=blur,
        )

    def pull_latents(self, predicted: Predicted, values: Any) -> Any:
        """Return J^T values, J the slope of spectra with z: (star, feature) -> (star, latent)."""
        drawn = predicted.factor * self.unit * values
        # splines are symmetric: what shifts back is the transpose of what shifts
        moved = self._convolve(drawn, -predicted.shift, 0)
        if self.blur is not None:
            moved = moved + self._convolve(predicted.blur * drawn, -predicted.shift, 2)
        return linalg.dot(moved, self.weights)

    def pull_coefficients(self, predicted: Predicted, values: Any) -> Any:
        """Return J^T values, J the slope of spectra with c: (star, nuisance)."""
        bent = [jnp.sum(slope * values, 1, keepdims=True) for slope in predicted.slopes]
        levels = linalg.dot(predicted.spectrum * values, self.polynomials.T)
        amounts = linalg.dot(self.unit * values, self.patterns.T)
        return jnp.concatenate([*bent, levels, amounts], 1)

    def pull_weights(self, predicted: Predicted, weights: Any) -> Any:
        """Return the weights of pixels of spectra at rest, of the same level: (star, feature)."""
        # each pixel has a scale of its own
        physical = (predicted.factor * self.unit) ** 2 * weights
        return self._convolve(physical, -predicted.shift, 0) / self.unit**2

    def find_slopes(self, z: Any, factor: Any, blur: Any) -> list[Any]:
        """Return what spectra at rest change by with c: arrays (star, feature).

        Divided by the factor that multiplies them.
        """
        own = self.base + linalg.dot(z, self.weights.T)
        rest = jnp.zeros((1, 1), own.dtype)
        spectrum = self._convolve(own, rest, 0) * self.unit
        found = []
        if self.shift is not None:
            slope = self._convolve(own, rest, 1)
            if self.blur is not None:
                slope = slope + blur * self._convolve(own, rest, 3)
            found.append(-self.shift * self.unit * slope)
        if self.blur is not None:
            found.append(self.blur * self.unit * self._convolve(own, rest, 2))
        found += [spectrum * row / factor for row in self.polynomials]
        found += [self.unit * row / factor for row in self.patterns]
        return found

    def _split(self, c: Any) -> tuple[Any, Any, Any, Any]:
        """Return shift and blur, (star, feature) or (star, 1), and the other coefficients."""
        shift = blur = jnp.zeros((len(c), 1), c.dtype)
        if self.shift is not None:
            shift, c = c[:, :1] * self.shift, c[:, 1:]
        if self.blur is not None:
            blur, c = c[:, :1] * self.blur, c[:, 1:]
        n = len(self.polynomials)
        return shift, blur, c[:, :n], c[:, n:]

    def _convolve(self, coefficients: Any, shift: Any, order: int) -> Any:
        """Return a derivative of splines at pixels less a shift: (star, feature)."""
        if not self.reach:
            return coefficients
        n = coefficients.shape[1]
        padded = jnp.pad(coefficients, ((0, 0), (self.reach, self.reach)))
        total: Any = 0
        for j in range(-self.reach, self.reach + 1):
            start = self.reach + j
            total = total + evaluate_spline(-shift - j, order) * padded[:, start : start + n]
        return total


class Predicted(NamedTuple):
    """Spectra of a block of stars, in units of the scale, and what bears on them.

    value, less the offset; spectrum, without continuum and templates; slopes, with velocity and
    resolution; factor, of the continuum; shift, in pixels; blur: (star, feature), the last two
    perhaps (star, 1).
    """

    value: Any
    spectrum: Any
    slopes: tuple[Any, ...]
    factor: Any
    shift: Any
    blur: Any


jax.tree_util.register_dataclass(
    Distortion,
    [
        "widths",
        "weights",
        "base",
        "offset",
        "unit",
        "shift",
        "blur",
        "polynomials",
        "patterns",
        "starts",
    ],
    ["output", "reach", "names"],
)
