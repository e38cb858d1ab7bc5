"""Well-known spectral features of giants from 4000 to 8288 Angstrom, in air, to see what a model has learnt."""

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
    """Return the windows of a label, least and greatest wavelength in Angstrom in air; none for an unknown one.

    Those that overlap are one.
    """
    merged: list[tuple[float, float]] = []
    for low, high in sorted(
        [(x - HALF_WIDTH, x + HALF_WIDTH) for x in LINES.get(label, ())] + [*BANDS.get(label, ())]
    ):
        if merged and low <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(high, merged[-1][1]))
        else:
            merged.append((low, high))
    return tuple(merged)


def widen_span(span: tuple[float, float], grid: np.ndarray, least: int = 8) -> tuple[float, float]:
    """Return a stretch that holds some pixels of a grid, however coarse that is."""
    middle, step = (span[0] + span[1]) / 2, float(np.median(np.diff(grid)))
    half = max((span[1] - span[0]) / 2, least / 2 * step)
    return middle - half, middle + half
