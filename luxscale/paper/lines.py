"""Well-known spectral features of giants, to see what a model has learnt.

Wavelengths are in air, from 4000 to 8288 Angstrom.
"""

from __future__ import annotations

import numpy as np

#: Half width of a window, in Angstrom: about the resolution of the simulated spectra.
HALF_WIDTH = 2.0

#: Lines by label, in Angstrom in air: strong ones that stand somewhat apart.
LINES: dict[str, tuple[float, ...]] = {
    "m_h": (
        4383.5,
        4404.8,
        5227.2,
        5269.5,
        5328.0,
        5371.5,
        5397.1,
        5405.8,
        5429.7,
        5434.5,
        5446.9,
        6494.98,
    ),  # Fe I
    "mg_m": (5167.3, 5172.7, 5183.6, 5528.4),  # Mg I, the b triplet first
    "na_m": (5889.95, 5895.92),  # Na I D
    "al_m": (6696.0, 6698.7, 7835.3, 7836.1),
    "si_m": (4102.9, 5948.5, 6155.1, 6237.3),
    "ca_m": (
        4226.7,
        6122.2,
        6162.2,
        6318.0,
        6343.0,
        6362.0,
        6439.1,
    ),  # Ca I, three of them broad by autoionisation
    "mn_m": (
        4030.8,
        4033.1,
        4034.5,
        4754.0,
        4783.4,
        4823.5,
        5394.7,
        5407.4,
        5420.4,
        5470.6,
        5516.8,
        6016.6,
        6021.8,
    ),
    "ni_m": (5081.1, 5476.9, 6643.6, 6767.8),
}

#: Stretches in Angstrom in which molecules tell of carbon (CH, the G band), and of nitrogen and
#: oxygen: CN, which oxygen weakens, for it binds carbon in CO.
BANDS: dict[str, tuple[tuple[float, float], ...]] = {
    "c_m": ((4295.0, 4315.0),),
    "n_m": ((4140.0, 4165.0), (4180.0, 4216.0)),
    "o_m": ((4140.0, 4165.0), (4180.0, 4216.0)),
}


def find_windows(label: str) -> tuple[tuple[float, float], ...]:
    """Return the windows of a label, none of an unknown one; those that overlap are one.

    Returns
    -------
    tuple of (least, greatest)
        Wavelengths in Angstrom in air.
    """
    around_lines = [(x - HALF_WIDTH, x + HALF_WIDTH) for x in LINES.get(label, ())]
    windows = sorted([*around_lines, *BANDS.get(label, ())])
    merged: list[tuple[float, float]] = []
    for low, high in windows:
        if merged and low <= merged[-1][1]:
            first, last = merged.pop()
            merged.append((first, max(high, last)))
        else:
            merged.append((low, high))
    return tuple(merged)


def widen_span(span: tuple[float, float], grid: np.ndarray, least: int = 8) -> tuple[float, float]:
    """Return a stretch that holds some pixels of a grid, however coarse that is."""
    low, high = span
    step = float(np.median(np.diff(grid)))
    width = max(high - low, least * step)
    middle = (low + high) / 2
    return middle - width / 2, middle + width / 2
