"""From coefficients of Gaia's continuous XP spectra to sampled ones, by GaiaXPy's calibration.

Samples are linear in the coefficients. GaiaXPy is asked once for the samples of each basis function
alone; those of any source, with their errors, are products with these.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import io
import warnings

import numpy as np
import pandas as pd

from luxscale.readers.base import BadFile
from luxscale.schema.blocks import iterate_blocks

BANDS = ("bp", "rp")

#: Coefficients of a band, and their correlations: the upper triangle by columns.
N_COEFFICIENTS = 55
N_CORRELATIONS = N_COEFFICIENTS * (N_COEFFICIENTS - 1) // 2

#: Sources whose errors are computed at once, some 20 MB.
_BLOCK = 64


@dataclasses.dataclass(frozen=True)
class BandRows:
    """What some rows say of a band.

    Parameters
    ----------
    coefficients, errors : array, (row, coefficient)
    correlations : array, (row, correlation)
    """

    coefficients: np.ndarray
    errors: np.ndarray
    correlations: np.ndarray


def expand_correlations(triangles: np.ndarray) -> np.ndarray:
    """Return symmetric matrices with ones on the diagonal.

    Parameters
    ----------
    triangles : array, (row, correlation)
        Upper triangles without the diagonal, by columns.

    Returns
    -------
    array, (row, coefficient, coefficient)
    """
    lower = np.tril_indices(N_COEFFICIENTS, -1)
    matrices = np.zeros((len(triangles), N_COEFFICIENTS, N_COEFFICIENTS))
    matrices[:, *lower] = triangles
    matrices += matrices.swapaxes(1, 2)
    diagonal = np.arange(N_COEFFICIENTS)
    matrices[:, diagonal, diagonal] = 1
    return matrices


def find_positive_definite(triangles: np.ndarray) -> np.ndarray:
    """Return which rows are correlations: their matrix positive definite; bool, (row,)."""
    found = np.isfinite(triangles).all(1)
    for block in iterate_blocks(len(triangles), _BLOCK):
        rows = np.flatnonzero(found[block]) + block.start
        least = np.linalg.eigvalsh(expand_correlations(triangles[rows]))[:, 0]
        found[rows] = least > 0
    return found


def sample_bands(bands: dict[str, BandRows]) -> tuple[np.ndarray, np.ndarray]:
    """Return flux and errors on the usual grid of rows that have the same bands: (row, pixel).

    NaN where none of the bands reaches. Fluxes are W m-2 nm-1.

    Parameters
    ----------
    bands : dict of str to BandRows
        Of both bands, or one.

    Raises
    ------
    BadFile
        If GaiaXPy is not installed.
    """
    flux, variance = np.zeros(()), np.zeros(())
    for name, rows in bands.items():
        # both bands are merged in the range where they overlap
        samples = find_samples(name, alone=len(bands) == 1)
        # BLAS would sum a row in an order that depends on how many there are
        flux = flux + np.einsum("rc,pc->rp", rows.coefficients, samples)
        variance = variance + _compute_variance(rows, samples)
    return flux, np.sqrt(variance)


def _compute_variance(rows: BandRows, samples: np.ndarray) -> np.ndarray:
    """Return the variance of samples (pixel, coefficient) of each row: (row, pixel)."""
    variance = np.zeros((len(rows.errors), len(samples)))
    for block in iterate_blocks(len(variance), _BLOCK):
        scaled = samples * rows.errors[block, None, :]
        correlated = scaled @ expand_correlations(rows.correlations[block])
        variance[block] = np.einsum("rpc,rpc->rp", correlated, scaled)
    return variance


@functools.cache
def find_samples(band: str, *, alone: bool) -> np.ndarray:
    """Return the samples of each basis function of a band, beside the other or alone.

    Returns
    -------
    array, (pixel, coefficient)

    Raises
    ------
    BadFile
    """
    one, none = np.eye(N_COEFFICIENTS), np.zeros(N_COEFFICIENTS)
    other = BANDS[1 - BANDS.index(band)]
    rows = []
    for number, function in enumerate(one):
        given = {band: function, other: None if alone else none}
        rows.append(
            {"source_id": number, **_describe_band(given, "bp"), **_describe_band(given, "rp")}
        )
    samples = _calibrate(pd.DataFrame(rows))
    samples.flags.writeable = False
    return samples


def _describe_band(given: dict[str, np.ndarray | None], band: str) -> dict[str, object]:
    """Return the columns of a band as GaiaXPy has them, NaN for one that is missing."""
    coefficients = given[band]
    values: dict[str, object] = {
        "n_parameters": float(N_COEFFICIENTS),
        "standard_deviation": 1.0,
        "coefficients": coefficients,
        "coefficient_errors": np.ones(N_COEFFICIENTS),
        "coefficient_correlations": np.zeros(N_CORRELATIONS),
    }
    if coefficients is None:
        values = dict.fromkeys(values, np.nan)
    return {f"{band}_{name}": value for name, value in values.items()}


def _calibrate(table: pd.DataFrame) -> np.ndarray:
    """Return the samples of rows by GaiaXPy: (pixel, row)."""
    import matplotlib as mpl

    # it prints, warns of settings of libraries, and makes matplotlib write by LaTeX from then on
    quiet = contextlib.redirect_stdout(io.StringIO())
    with mpl.rc_context(), warnings.catch_warnings(), quiet:
        warnings.simplefilter("ignore")
        try:
            from gaiaxpy import calibrate
        except ImportError as error:
            raise BadFile(
                "continuous XP spectra are sampled by GaiaXPy, which is not installed: pip install "
                "'luxscale[gaia]'"
            ) from error
        sampled, _ = calibrate(table, save_file=False)
    order = np.argsort(sampled["source_id"].to_numpy(), kind="stable")
    return np.stack(
        [np.asarray(sampled["flux"].iloc[row], float) for row in order.tolist()], axis=1
    )
