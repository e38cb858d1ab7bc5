"""Stars of a survey or catalogue: by a condition, by position, at random, or new to a model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import xarray as xr

from luxscale.errors import InputError
from luxscale.model.arguments import take_dataset, take_model, take_survey
from luxscale.model.lux import LuxModel
from luxscale.schema.selection import Selection, take_rows
from luxscale.schema.variables import STAR

#: How `select` is called.
_CALL = 'lux.select(survey, "snr > 50")'


def select(
    dataset: xr.Dataset | str | Path,
    condition: str | xr.DataArray | None = None,
    *,
    stars: str | None = None,
    model: LuxModel | str | Path | None = None,
    survey: xr.Dataset | str | Path | None = None,
) -> xr.Dataset:
    """Select stars of a survey or catalogue.

    Parameters
    ----------
    dataset : Dataset, str or Path
        Survey or catalogue.
    condition : str or DataArray of bool, (star,), optional
        What stars satisfy, such as ``"fe_h < -1 and flags == 0"``: comparisons, chained or joined
        by ``and``, ``or``, ``not``; ``in``; arithmetic, ``abs`` and ``isfinite``. It names labels
        (``teff``) and their errors (``teff_err``) as the columns of an export, variables (star,)
        such as ``star``, ``snr`` or ``chi2``, and flags (``bad_fit``). A value that is missing
        satisfies no comparison, nor does it with ``not`` before it. What it names is read at once.
        A DataArray may be lazy.
    stars : str, optional
        Which of the stars that satisfy it: ``"START:STOP"``, by position; ``"random:NUMBER"`` or
        ``"random:NUMBER:SEED"``, drawn by identifiers alone, so that the order of stars does not
        matter and a smaller draw is part of a larger one; ``"untrained"``, on which the model was
        not trained. All by default.
    model : LuxModel, str or Path, optional
        For ``"untrained"``.
    survey : Dataset, str or Path, optional
        Survey of the same stars, for what the dataset lacks: ``snr`` of a catalogue, say. Stars are
        matched by identifier.

    Returns
    -------
    Dataset
        The stars in their order, lazy if the dataset is.

    Raises
    ------
    InputError
        If it is no condition, names what is not there, or more stars are asked for than there are.

    Examples
    --------
    >>> import luxscale as lux
    >>> good = lux.select(catalog, "teff < 5000 and flags == 0")
    >>> bright = lux.select(catalog, "snr > 50", survey=survey)
    >>> new = lux.select(catalog, "not bad_fit", stars="untrained", model=model)
    >>> lux.select(survey, stars="random:200").sizes["star"]
    200
    """
    dataset = take_dataset(dataset, _CALL)
    if survey is not None:
        survey = take_survey(survey, f"{_CALL[:-1]}, survey=survey)")
    trained = None
    if model is not None:
        trained = take_model(model, f"{_CALL[:-1]}, model=model)").training_stars
    selection = Selection.read(condition if isinstance(condition, str) else None, stars)
    if isinstance(condition, xr.DataArray):
        dataset = take_rows(dataset, np.flatnonzero(_read_mask(dataset, condition)))
    elif condition is not None and not isinstance(condition, str):
        raise InputError(
            f"condition is a {type(condition).__name__}; write it as text, {_CALL}, or give a "
            "DataArray of bool (star,)"
        )
    return selection.take(dataset, "dataset", survey=survey, trained=trained)


def _read_mask(dataset: xr.Dataset, mask: xr.DataArray) -> np.ndarray:
    """Return a mask of a dataset's stars: (star,) bool.

    Raises
    ------
    InputError
        If it is of something else.
    """
    if mask.dims != (STAR,) or mask.dtype.kind != "b" or mask.size != dataset.sizes[STAR]:
        raise InputError(
            f"condition is a DataArray {mask.dims} of {mask.dtype} and size {mask.size}; give one "
            f"of bool on ({STAR},), a value for each of the {dataset.sizes[STAR]} stars"
        )
    if STAR in mask.coords and not np.array_equal(mask[STAR].values, dataset[STAR].values):
        raise InputError(
            "condition is a DataArray of other stars, or of these in another order; bring it in "
            "order by mask.reindex(star=dataset.star, fill_value=False)"
        )
    values: np.ndarray = np.asarray(mask.values)
    return values
