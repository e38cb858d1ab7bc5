"""Formal errors of labels inferred from spectra of given noise, without any spectra.

Two of them are easily confused. With C the posterior covariance of the latents (see
`luxscale.analysis.interpret`), N the covariance of the noise and E that of the errors alone, for
independent noise diag(sigma^2 + s^2) and diag(sigma^2):

- *posterior*: A C A^T, how far the label may be from the truth: noise, the model's scatter s and
  the prior;
- *noise*: A C B^T N^-1 E N^-1 B C A^T, how much the inferred label scatters when the same star is
  observed again. Draws of noise measure this one (`luxscale.analysis.precision`). It is never
  larger: it knows of no scatter s, and the prior calms it.

Both are of the first member of an ensemble: what members differ by only spectra tell.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import xarray as xr

from luxscale.analysis.interpret import feature_ivar, find_unit, group_features, jacobian
from luxscale.errors import InputError
from luxscale.model.arguments import ModelOrPath, take_model
from luxscale.model.designs import make_head
from luxscale.model.head import Head
from luxscale.model.output import Output, coordinates
from luxscale.model.presence import combine_bits
from luxscale.schema.blocks import iterate_blocks
from luxscale.store import CHUNK

#: Errors of a label by name: drawn (`luxscale.analysis.precision`), and by formula.
KINDS = {
    "draws": "standard deviation of labels inferred from draws of noise, without bias",
    "noise": "the same by formula: sqrt diag A C B^T N^-1 E N^-1 B C A^T",
    "posterior": "formal error with the model's scatter and the prior: sqrt diag A C A^T",
}


def ivar_at_snr(
    model: ModelOrPath, snr: Any, output: str = "flux", *, pattern: Any = None
) -> xr.DataArray:
    """Return the inverse variances of the average star's spectrum at given signal-to-noise ratios.

    Parameters
    ----------
    model : LuxModel, str or Path
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
    model = take_model(model, "ivar_at_snr(model, snr)")
    wanted = model[output]
    ratios = np.asarray(snr, float)
    if ratios.ndim > 1 or not (np.isfinite(ratios) & (ratios > 0)).all():
        raise InputError(f"snr is {snr!r}; give positive numbers")
    used = np.asarray(wanted.used, bool)
    average = np.where(used, wanted.map.offset, 1)
    flux = np.abs(average.astype(float))
    if pattern is None and (flux == 0).any():
        raise InputError(
            f"the average {output!r} is 0 in a pixel, where S/N says nothing; give a pattern"
        )
    if pattern is None:
        pattern = 1 / flux**2
    shape = feature_ivar(wanted, pattern)
    if shape.ndim != 1 or not (shape > 0).any():
        raise InputError(
            f"pattern has shape {shape.shape} or no positive value; give one star's, "
            f"({shape.shape[-1]},)"
        )
    # the S/N that the pattern has as it is
    measured = shape > 0
    unit = np.median((flux * np.sqrt(shape))[measured])
    ivar = np.multiply.outer((ratios / unit) ** 2, shape)
    # one number has no dim
    lead = ("snr",)[: ratios.ndim]
    return xr.DataArray(
        ivar,
        {**coordinates(wanted), "snr": xr.Variable(lead, ratios)},
        dims=(*lead, wanted.spec.dim),
        name=f"{output}_ivar",
        attrs={"units": f"1 / ({find_unit(wanted)})^2"},
    )


def expected_errors(
    model: ModelOrPath,
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
    model : LuxModel, str or Path
    ivar : DataArray, (feature,) or (anything, feature), in any order
        Inverse variances of ``given``: of `ivar_at_snr`, or a survey's ``flux_ivar``; 0 = missing.
    given, of : str
        Outputs: observed, and inferred.
    latent : array, (latent,), optional
        Star at which to linearise, if a map is not linear; by default the average star, z = 0. A
        prior that is a mixture counts as one Gaussian, of its overall covariance.
    floor : bool
        Whether to count in ``posterior`` what training measured on stars left out, the factor on
        formal errors and the misfit in quadrature, as catalogues do. Not for an ensemble, of whose
        mean they are.

    Returns
    -------
    Dataset
        ``posterior`` and ``noise`` (anything, label), in memory, in the label's units; see the
        module.

    Raises
    ------
    InputError
        If ``ivar`` is no inverse variance of ``given``, or has further dims; if ``floor`` is asked
        for with an ensemble.

    Examples
    --------
    >>> from luxscale.analysis.formal_errors import expected_errors, ivar_at_snr
    >>> errors = expected_errors(model, ivar_at_snr(model, [30, 100]))
    >>> bool((errors.noise <= errors.posterior).all())
    True
    """
    model = take_model(model, "expected_errors(model, ivar)")
    source, target = model[given], model[of]
    if floor and model.others:
        raise InputError(
            "floor=True, and what training measured is of the mean of "
            f"{len(model.members)} members, which differ by what only spectra tell; leave floor "
            "out, or take label_err of a catalogue"
        )
    lead = [dim for dim in ivar.dims if dim != source.spec.dim]
    if len(lead) > 1:
        raise InputError(
            f"ivar has dims {ivar.dims}; give one beside {source.spec.dim!r}, e.g. ('snr', ...)"
        )
    rows = ivar
    if source.spec.dim in ivar.dims:
        rows = ivar.transpose(..., source.spec.dim)
    if not lead:
        rows = rows.expand_dims("_row")
    dim = rows.dims[0]
    prior = model.prior.make_precision(model.latent_dim)
    find_errors = make_formula(source, target, latent, prior)
    parts = []
    for part in split_rows(rows):
        block = feature_ivar(source, rows[{dim: part}])
        parts.append(find_errors(block))
    posterior, noise = (np.concatenate(blocks) for blocks in zip(*parts, strict=True))
    if floor:
        head = make_head(target, model.measured)
        bits = combine_bits([given], model.measured) if given in model.measured else 0
        outputs = np.full(len(posterior), bits)
        variance = (posterior / head.spread) ** 2
        posterior = head.find_by_outputs(Head.find_error, variance, outputs)
    errors = label_columns({"posterior": posterior, "noise": noise}, dim, target)
    row_coords = {name: c for name, c in rows.coords.items() if c.dims == (dim,)}
    errors = errors.assign_coords(row_coords)
    if not lead:
        errors = errors.isel(_row=0)
    return errors


def make_formula(
    source: Output, target: Output, latent: Any, prior: np.ndarray
) -> Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """Return what turns inverse variances (n, feature) into both formal errors (n, label).

    Parameters
    ----------
    source, target : Output
        What is given, and what is inferred.
    latent : array, (latent,), optional
        Where maps are linearised.
    prior : array, (latent, latent)
        Precision of the prior.
    """
    a = jacobian(target, latent)
    b = jacobian(source, latent)

    def find_errors(ivar: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        posterior = np.zeros((len(ivar), len(a)))
        noise = np.zeros_like(posterior)
        for rows, seen in group_features(target, source):
            labels = a[rows]
            inside = ivar * seen
            covariance = np.linalg.inv(prior + source.noise.find_information(inside, b))
            ac = labels @ covariance
            posterior[:, rows] = (ac * labels).sum(-1)
            drawn = source.noise.find_repeat(inside, b)
            noise[:, rows] = (ac @ drawn * ac).sum(-1)
        # rounding may leave a variance just below 0
        posterior = np.sqrt(np.maximum(posterior, 0))
        noise = np.sqrt(np.maximum(noise, 0))
        return posterior, noise

    return find_errors


def split_rows(array: xr.DataArray) -> Iterator[slice]:
    """Yield rows to work on together: the array's chunks, or blocks of one that has none."""
    if not array.chunks:
        yield from iterate_blocks(array.shape[0], CHUNK)
        return
    start = 0
    for size in array.chunks[0]:
        yield slice(start, start + size)
        start += size


def label_columns(columns: dict[str, np.ndarray], lead: Any, target: Output) -> xr.Dataset:
    """Return errors (lead, feature of target) as variables, by name."""
    dims = (lead, target.spec.dim)
    variables = {}
    for name, values in columns.items():
        attrs = {"long_name": KINDS[name], "units": find_unit(target)}
        variables[name] = (dims, values, attrs)
    return xr.Dataset(variables, coordinates(target))
