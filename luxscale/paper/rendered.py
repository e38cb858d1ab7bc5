"""Simulated observations of stars whose labels are given."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr

from luxscale.giants import LABELS, load_emulator, render
from luxscale.paper.base import Study
from luxscale.simulate import FIELDS, REPORTED, Settings, draw_measured, draw_spectra, frame

#: Where the labels that a catalogue reports stand among those of the emulator.
REPORTED_AT = [LABELS.index(name) for name in REPORTED]


def observe(
    study: Study, labels: np.ndarray, names: Sequence[str], *, snr: tuple[float, float], seed: int
) -> xr.Dataset:
    """Return a survey of giants of these labels (star, `luxscale.giants.LABELS`), as `luxscale.simulate` would."""
    settings = Settings(len(labels), snr, study.pixels, 0.1, 0.03, seed)
    rng = np.random.default_rng(seed)
    ratio = rng.uniform(*snr, len(labels)).astype("f4")
    flux = render(labels, load_emulator(study.pixels))
    fields = {
        "star": np.array(names, object),
        "snr": ratio,
        **draw_measured(labels[:, REPORTED_AT], settings.missing_labels, rng),
        **draw_spectra(flux, ratio, settings.bad_pixels, rng),
    }
    return frame(settings).assign({k: (FIELDS[k][0], v, {"long_name": FIELDS[k][2]}) for k, v in fields.items()})
