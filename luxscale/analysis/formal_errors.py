"""Formal errors of labels inferred from spectra of given noise, without any spectra.

Two of them are easily confused. With C the posterior covariance of the latents (see
`luxscale.analysis.interpret`), w = 1 / (sigma^2 + s^2) the weights and sigma the errors of the
pixels:

- *posterior*: A C A^T, how far the label may be from the truth: noise, the model's scatter s and
  the prior;
- *noise*: A C B^T diag(w^2 sigma^2) B C A^T, how much the inferred label scatters when the same
  star is observed again. Draws of noise measure this one (`luxscale.analysis.precision`). It is
  never larger: it knows of no scatter s, and the prior calms it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import xarray as xr

from luxscale.analysis.interpret import feature_ivar, groups, jacobian, unit_of
from luxscale.errors import InputError
from luxscale.model import linalg
from luxscale.model.lux import LuxModel, Output, coordinates
from luxscale.store import CHUNK

#: Errors of a label by name: drawn (`luxscale.analysis.precision`), and by formula.
KINDS = {
    "draws": "standard deviation of labels inferred from draws of noise, without bias",
    "noise": "the same by formula: sqrt diag A C B^T diag(w^2 sigma^2) B C A^T",
    "posterior": "formal error with the model's scatter and the prior: sqrt diag A C A^T",
}


def ivar_at_snr(
    model: LuxModel, snr: Any, output: str = "flux", *, pattern: Any = None
) -> xr.DataArray:
    """Return the inverse variances of the average star's spectrum at given signal-to-noise ratios.

    Parameters
    ----------
    model : LuxModel
    snr : float or sequence of float
        Signal-to-noise ratio: the median over pixels of flux / error.
    output : str
    pattern : array, (feature,), optional
        How inverse variances run along the spectrum, on any scale, e.g. the ``flux_ivar`` of a
        typical star; by default flux / error is the same in all pixels.

    Returns
    -------
    DataArray, (snr, feature) or (feature,)
        In 1 / (units of the output)^2; 0 for pixels that take no part in the model.

    Raises
    ------
    InputError
        If S/N is not positive, the pattern is no inverse variance, or the average flux is 0 in a
        pixel.

    Examples
    --------
    >>> from luxscale.analysis.formal_errors import ivar_at_snr
    >>> ivar_at_snr(model, [30, 100]).dims
    ('snr', 'wavelength')
    """
    wanted = model[output]
    values = np.asarray(snr, float)
    if values.ndim > 1 or not (np.isfinite(values) & (values > 0)).all():
        raise InputError(f"snr is {snr!r}; give positive numbers")
    used = np.asarray(wanted.used, bool)
    flux = np.abs(np.where(used, wanted.map.offset, 1).astype(float))
    if pattern is None and (flux == 0).any():
        raise InputError(
            f"the average {output!r} is 0 in a pixel, where S/N says nothing; give a pattern"
        )
    shape = feature_ivar(wanted, 1 / flux**2 if pattern is None else pattern)
    if shape.ndim != 1 or not (shape > 0).any():
        raise InputError(
            f"pattern has shape {shape.shape} or no positive value; give one star's, "
            f"({shape.shape[-1]},)"
        )
    unit = np.median((flux * np.sqrt(shape))[shape > 0])
    dims = ("snr", wanted.spec.dim) if values.ndim else (wanted.spec.dim,)
    coords: dict[str, Any] = {
        **coordinates(wanted),
        "snr": (("snr",) if values.ndim else (), values),
    }
    ivar = np.multiply.outer((values / unit) ** 2, shape)
    return xr.DataArray(
        ivar, coords, dims, f"{output}_ivar", {"units": f"1 / ({unit_of(wanted)})^2"}
    )


def expected_errors(
    model: LuxModel,
    ivar: xr.DataArray,
    *,
    given: str = "flux",
    of: str = "label_value",
    latent: Any = None,
    floor: bool = False,
) -> xr.Dataset:
    """Return the formal errors of labels inferred from spectra of given noise, without any spectra.

    Parameters
    ----------
    model : LuxModel
    ivar : DataArray, (feature,) or (anything, feature)
        Inverse variances of ``given``: of `ivar_at_snr`, or a survey's ``flux_ivar``; 0 = missing.
    given, of : str
        Outputs: observed, and inferred.
    latent : array, (latent,), optional
        Star at which to linearise, if a map is not linear; by default the average star, z = 0.
    floor : bool
        Whether to add the misfit that training measured, in quadrature, to ``posterior``, as
        catalogues do.

    Returns
    -------
    Dataset
        ``posterior`` and ``noise`` (anything, label), in memory, in the label's units; see the
        module.

    Raises
    ------
    InputError
        If ``ivar`` is no inverse variance of ``given``, or has further dims.

    Examples
    --------
    >>> from luxscale.analysis.formal_errors import expected_errors, ivar_at_snr
    >>> errors = expected_errors(model, ivar_at_snr(model, [30, 100]))
    >>> bool((errors.noise <= errors.posterior).all())
    True
    """
    source, target = model[given], model[of]
    lead = [d for d in ivar.dims if d != source.spec.dim]
    if len(lead) > 1:
        raise InputError(
            f"ivar has dims {ivar.dims}; give one beside {source.spec.dim!r}, e.g. ('snr', ...)"
        )
    rows = ivar if lead else ivar.expand_dims("_row")
    of_rows = make_formula(model, source, target, latent)
    parts = [of_rows(feature_ivar(source, rows[{rows.dims[0]: part}])) for part in split_rows(rows)]
    posterior, noise = (np.concatenate(p) for p in zip(*parts, strict=True))
    if floor:
        posterior = np.hypot(posterior, np.asarray(target.floor, float))
    errors = label_columns({"posterior": posterior, "noise": noise}, rows.dims[0], target)
    errors = errors.assign_coords({k: v for k, v in rows.coords.items() if v.dims == rows.dims[:1]})
    return errors if lead else errors.isel(_row=0)


def make_formula(
    model: LuxModel, source: Output, target: Output, latent: Any
) -> Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """Return what turns inverse variances (n, feature) into both formal errors (n, label)."""
    a, b = jacobian(target, latent), jacobian(source, latent)
    i, j, table = linalg.packed_index(b.shape[1])
    packed, prior = b[:, i] * b[:, j], model.prior.precision * np.eye(b.shape[1])

    def errors(ivar: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        posterior, noise = (np.zeros((len(ivar), len(a))) for _ in range(2))
        for rows, seen in groups(target, source):
            w = source.noise.weigh(ivar * seen)
            information = (w @ packed)[:, table]
            ac = a[rows] @ np.linalg.inv(prior + information)
            posterior[:, rows] = (ac * a[rows]).sum(-1)
            # w^2 sigma^2, 0 where a value is missing
            squared = np.divide(w * w, ivar, out=np.zeros_like(w), where=ivar > 0)
            drawn = (squared @ packed)[:, table]
            noise[:, rows] = (ac @ drawn * ac).sum(-1)
        return np.sqrt(np.maximum(posterior, 0)), np.sqrt(np.maximum(noise, 0))

    return errors


def split_rows(array: xr.DataArray) -> Iterator[slice]:
    """Rows to work on together: the array's chunks."""
    sizes = array.chunks[0] if array.chunks else [CHUNK] * -(-array.shape[0] // CHUNK)
    start = 0
    for size in sizes:
        yield slice(start, min(start + size, array.shape[0]))
        start += size


def label_columns(columns: dict[str, np.ndarray], lead: Any, target: Output) -> xr.Dataset:
    """Label errors (lead, feature of target)."""
    dims, units = (lead, target.spec.dim), unit_of(target)
    return xr.Dataset(
        {k: (dims, v, {"long_name": KINDS[k], "units": units}) for k, v in columns.items()},
        coordinates(target),
    )
