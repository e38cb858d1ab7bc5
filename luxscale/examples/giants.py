"""Red giants: labels that follow real stars and Galactic trends, and an emulator of their spectra."""

from functools import lru_cache

import numpy as np

from luxscale.examples.samples import packaged

JITTER = (30.0, 0.06, 0.03, 0.015)  # K, dex: keeps two draws of one real giant apart

# [X/M] = constant + slopes . (alpha, m_h, min(m_h + 1, 0), mixing, mass) + scatter, all in dex
TRENDS = {
    "c_m": (0.02, 0.30, 0.05, 0.0, -0.12, -0.05, 0.03),
    "n_m": (0.05, 0.00, 0.10, 0.0, 0.15, 0.09, 0.04),
    "o_m": (0.00, 1.05, 0.00, 0.0, 0.00, 0.00, 0.03),
    "na_m": (0.00, 0.00, 0.12, 0.0, 0.02, 0.03, 0.06),
    "mg_m": (0.00, 1.15, 0.00, 0.0, 0.00, 0.00, 0.03),
    "al_m": (0.03, 0.75, 0.12, 0.5, 0.00, 0.00, 0.05),
    "si_m": (0.00, 0.80, 0.00, 0.0, 0.00, 0.00, 0.03),
    "ca_m": (0.00, 0.60, -0.02, 0.0, 0.00, 0.00, 0.03),
    "ti_m": (0.00, 0.70, 0.00, 0.0, 0.00, 0.00, 0.04),
    "v_m": (0.00, 0.25, 0.05, 0.0, 0.00, 0.00, 0.06),
    "cr_m": (0.00, 0.00, 0.05, 0.0, 0.00, 0.00, 0.04),
    "mn_m": (0.00, -0.30, 0.25, 0.0, 0.00, 0.00, 0.04),
    "co_m": (0.00, 0.35, 0.05, 0.0, 0.00, 0.00, 0.05),
    "ni_m": (0.02, 0.10, 0.03, 0.0, 0.00, 0.00, 0.02),
    "sc_m": (0.00, 0.25, 0.00, 0.0, 0.00, 0.00, 0.05),
    "ba_m": (0.05, -0.35, -0.08, 0.2, 0.00, 0.03, 0.12),
    "ce_m": (0.00, -0.35, -0.10, 0.2, 0.00, 0.03, 0.12),
    "nd_m": (0.05, -0.10, -0.10, 0.1, 0.00, 0.02, 0.10),
    "zr_m": (0.00, -0.25, -0.10, 0.1, 0.00, 0.02, 0.10),
}
LABELS = ("teff", "logg", "m_h", *TRENDS)


@lru_cache(maxsize=4)
def load_emulator(n_pixels: int | None = None) -> dict[str, np.ndarray]:
    """Arrays of the packaged emulator in working precision, on `n_pixels` equal pixels."""
    data = packaged("giants_emulator.npz")
    half = {k: v.astype("f4") for k, v in data.items() if v.dtype == np.float16}
    emulator = data | half
    return emulator if n_pixels is None else emulator | resample(emulator, n_pixels)


def resample(emulator: dict[str, np.ndarray], n_pixels: int) -> dict[str, np.ndarray]:
    """Wavelength, mean and basis on `n_pixels` equal pixels: means of points on the native spectrum."""
    grid = emulator["wavelength_angstrom"]
    edge = (grid[1] - grid[0]) / 2
    points = -(-len(grid) // n_pixels)  # enough inside a pixel to meet each native pixel
    fine = (np.arange(n_pixels * points) + 0.5) / (n_pixels * points)
    fine = grid[0] - edge + fine * (grid[-1] - grid[0] + 2 * edge)

    def binned(values: np.ndarray) -> np.ndarray:
        return np.interp(fine, grid, values).reshape(n_pixels, points).mean(1).astype("f4")

    return {
        "wavelength_angstrom": fine.reshape(n_pixels, points).mean(1),
        "mean": binned(emulator["mean"]),
        "basis": np.stack([binned(row) for row in emulator["basis"]]),
    }


def net_weights(teff: np.ndarray) -> np.ndarray:
    """Weights (net, star) of the cool, middle and hot network: ramps where their ranges overlap, sum 1."""
    cool = np.clip((4150 - teff) / 100, 0, 1)
    hot = np.clip((teff - 4900) / 100, 0, 1)
    return np.stack([cool, 1 - cool - hot, hot]).astype("f4")


def network(labels: np.ndarray, nets: dict[str, np.ndarray]) -> np.ndarray:
    """Output (star, output) of the three blended networks for labels (star, label) in the order of LABELS."""
    lo, hi = nets["label_min"][:, None], nets["label_max"][:, None]
    # A network of weight 0 would extrapolate wildly; clipped, it stays finite.
    x = np.clip((labels - lo) / (hi - lo) - 0.5, -0.5, 0.5).astype("f4")
    for layer in ("0", "1"):
        x = x @ nets["w" + layer] + nets["b" + layer][:, None]
        x = np.maximum(x, np.float32(0.01) * x)
    out = x @ nets["w2"] + nets["b2"][:, None]
    return np.einsum("ts,tso->so", net_weights(labels[:, 0]), out)


def render(labels: np.ndarray, emulator: dict[str, np.ndarray]) -> np.ndarray:
    """Noiseless continuum-normalised spectra (star, wavelength), float32, of labels (star, label)."""
    return network(labels, emulator) @ emulator["basis"] + emulator["mean"]


def draw_labels(n_stars: int, sample: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Labels (star, label), in the order of LABELS, of stars like `sample` (teff, logg, m_h, alpha)."""
    real = sample[rng.integers(len(sample), size=n_stars)]
    teff, logg, m_h, alpha = (real + rng.normal(size=real.shape) * JITTER).T
    mixing = np.clip(
        (3.4 - logg) / 2, 0, 1.5
    )  # first dredge-up, and what luminous giants mix beyond it
    mass = rng.normal(size=n_stars)
    trends = np.array(list(TRENDS.values()))
    terms = np.stack([np.ones(n_stars), alpha, m_h, np.minimum(m_h + 1, 0), mixing, mass], 1)
    x_m = terms @ trends[:, :-1].T + rng.normal(size=(n_stars, len(trends))) * trends[:, -1]
    return np.column_stack([teff, logg.clip(0.01, 3.49), m_h, x_m.clip(-0.59, 0.59)])
