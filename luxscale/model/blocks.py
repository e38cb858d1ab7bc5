"""Blocks of stars: their data as the kernel takes them, and what comes back."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from luxscale.model.features import Features
from luxscale.model.jit import map_alone
from luxscale.model.lowered import register_result
from luxscale.model.problem import Design, Problem

#: Stars in one call of the compiled kernel, whatever the chunks: one shape, compiled once. Its
#: temporaries stay below 32 MB for an APOGEE spectrum, beyond which the C library maps, and the
#: kernel zeroes, fresh pages at every call.
BLOCK = 128

#: Distance from the mean, in units of a feature's spread, beyond which a value is as good as
#: infinite: a normalised flux of -9999 is.
FARTHEST = 1e4

#: Inverse variance, in units of 1 / spread^2, at which the least scatter is all that counts and
#: float32 is far from its end: what is given with less of an error counts as if with this.
MOST_IVAR = 1e20


#: What a compiled kernel returns: arrays (star, ...).
_Found = TypeVar("_Found")


class Data(NamedTuple):
    """Values and inverse variances of one given output: (star, feature)."""

    value: Any
    ivar: Any


class Target(NamedTuple):
    """Labels whose variances are wanted.

    weights (label, term), in units of the labels' spread; features, phi of their map.
    """

    weights: Any
    features: Features


class Weighed(NamedTuple):
    """What is made of the data of a block of stars.

    weights and residuals (star, feature) of each output; wrong and n_values (star,) of all: see
    `weigh_data`.
    """

    weights: tuple[Any, ...]
    residuals: tuple[Any, ...]
    wrong: Any
    n_values: Any


@register_result
class Posterior(NamedTuple):
    """What the compiled kernel returns: (star, ...).

    spread holds the variances (star, label) of each target, or the covariances. Where the latents
    were searched for, mean holds the targets less their offset, (star, label), in units of their
    spread, and apart says whether there are two solutions, (star,). fell_back says for which stars
    the fast one of two ways was not good enough, (star,). nuisance holds the coefficients of
    nuisances in units of their prior widths, and their errors: (star, nuisance) each, or nothing.
    """

    latent: Any
    chi2: Any
    n_values: Any
    wrong: Any
    settled: Any
    spread: tuple[Any, ...]
    mean: tuple[Any, ...]
    apart: Any
    fell_back: Any
    nuisance: tuple[Any, ...] = ()


def _check(design: Design, data: Data) -> tuple[Any, Any, Any]:
    """Return inverse variances, residuals, and which values are sound."""
    residual = data.value * design.unit - design.offset
    return data.ivar, residual, _mark_sound(residual, data.ivar)


def _mark_sound(residual: Any, ivar: Any) -> Any:
    """Return which values can be used, or are missing as they should be: (star, feature)."""
    # all of it is false of NaN
    sound = (ivar >= 0) & (ivar < np.inf)
    near = abs(residual) < FARTHEST
    return sound & (near | (ivar == 0))


def find_sound_ivar(design: Design, data: Data) -> np.ndarray:
    """Return the inverse variances of values that get a weight, 0 of others: (star, feature)."""
    with np.errstate(over="ignore", invalid="ignore"):
        residual = data.value * np.asarray(design.unit) - np.asarray(design.offset)
    return np.where(_mark_sound(residual, data.ivar), data.ivar, 0)


def clean_data(design: Design, data: Data) -> tuple[Any, Any, Any]:
    """Return inverse variances, 0 where a value is of no use, and residuals; see `weigh_data`."""
    ivar, residual, good = _check(design, data)
    ivar = jnp.where(good, ivar * design.ivar_unit, 0)
    return ivar, jnp.where(ivar > 0, residual, 0), jnp.sum(~good, 1)


def weigh_data(design: Any, data: Data) -> tuple[Any, Any, Any, Any]:
    """Return what the kernel makes of the data of one output.

    Returns
    -------
    weights, residuals : array, (star, feature)
        Residuals about the offset, 0 where there is no weight.
    wrong : array, (star,)
        Number of values that break the contract.
    n_values : array, (star,)
        Number of values that have a weight.
    """
    ivar, residual, good = _check(design, data)
    weight = design.noise.weigh(ivar * design.ivar_unit)
    # the sign of zero marks what is wrong, so that one pass over weights alone counts both
    weight = jnp.where(good, abs(weight), -0.0)
    residual = jnp.where(weight > 0, residual, 0)
    wrong, n_values = _count_both(jnp.signbit(weight), weight > 0)
    return weight, residual, wrong, n_values


def weigh_outputs(designs: Sequence[Any], data: Sequence[Data]) -> Weighed:
    """Return what the kernel makes of the data of all outputs."""
    weights, residuals, wrong, n_values = zip(*map(weigh_data, designs, data), strict=True)
    return Weighed(weights, residuals, sum(wrong), sum(n_values))


def _count_both(first: Any, second: Any) -> tuple[Any, Any]:
    """Return how many of two marks each star has, in one pass over its features: (star,)."""

    def add(one: Any, other: Any) -> tuple[Any, Any]:
        return one[0] + other[0], one[1] + other[1]

    marks = first.astype(np.int32), second.astype(np.int32)
    zero = np.int32(0)
    counts: tuple[Any, Any] = jax.lax.reduce(marks, (zero, zero), add, (1,))
    return counts


def bring_in_range(design: Design, data: Data) -> tuple[Design, Data]:
    """Scale float64 data before they become float32, whose range ends at 1e38.

    Data in float32 are in range already. Returns the design that fits the data.
    """
    value, ivar = data
    if value.dtype != np.float64 and ivar.dtype != np.float64:
        return design, data
    unit = np.asarray(design.unit, float)
    with np.errstate(over="ignore"):  # what is infinite gets no weight, and a flag
        scaled_value = value * unit
        scaled_ivar = np.minimum(ivar / unit**2, MOST_IVAR)
    in_range = Data(scaled_value, np.where(np.isinf(ivar), ivar, scaled_ivar))
    one, used = np.ones_like(design.unit), np.sign(design.ivar_unit)
    return dataclasses.replace(design, unit=one, ivar_unit=used), in_range


def _cut_block(array: np.ndarray, start: int, size: int) -> np.ndarray:
    """Return a block of stars in float32."""
    part = array[start : start + size]
    # stars without data fill the last block: a new shape would compile again
    if len(part) < size:
        part = np.pad(part, ((0, size - len(part)), (0, 0)))
    with np.errstate(over="ignore"):  # what is infinite in float32 gets no weight, and a flag
        return np.asarray(part, np.float32)


def run_blocks(
    kernel: Callable[..., _Found],
    problem: Problem,
    data: Sequence[Data],
    targets: Sequence[Target],
    prior: Any,
    *,
    n: int,
    covariance: bool,
    size: int = BLOCK,
) -> _Found:
    """Run a compiled kernel over blocks of one size; n is the number of stars.

    What it finds does not depend on how many blocks run at once.
    """

    def run(start: int) -> _Found:
        block = [Data(*(_cut_block(array, start, size) for array in given)) for given in data]
        result = kernel(
            problem.designs,
            tuple(block),
            tuple(targets),
            prior,
            covariance=covariance,
        )
        part: _Found = jax.tree.map(np.asarray, result)
        return part

    parts = map_alone(run, range(0, max(n, 1), size))
    found: _Found = jax.tree.map(lambda *x: np.concatenate(x)[:n], *parts)
    return found
