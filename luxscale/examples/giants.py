"""Red giants: labels that follow real stars and Galactic trends, an emulator of their spectra."""

from functools import lru_cache

import numpy as np

from luxscale.examples.samples import load_packaged

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
    """Return arrays of the packaged emulator in working precision, on `n_pixels` equal pixels."""
    emulator = load_packaged("giants_emulator.npz")
    for name, values in emulator.items():
        if values.dtype == np.float16:
            emulator[name] = values.astype("f4")
    if n_pixels is not None:
        emulator |= resample(emulator, n_pixels)
    return emulator


def resample(emulator: dict[str, np.ndarray], n_pixels: int) -> dict[str, np.ndarray]:
    """Return wavelength, mean and basis on `n_pixels` equal pixels.

    A pixel is the mean of points on the native spectrum.
    """
    grid = emulator["wavelength_angstrom"]
    half_pixel = (grid[1] - grid[0]) / 2
    width = grid[-1] - grid[0] + 2 * half_pixel
    # enough points inside a pixel to meet each native pixel
    per_pixel = -(-len(grid) // n_pixels)
    n_points = n_pixels * per_pixel
    fraction = (np.arange(n_points) + 0.5) / n_points
    points = grid[0] - half_pixel + fraction * width

    def average(values: np.ndarray) -> np.ndarray:
        return values.reshape(n_pixels, per_pixel).mean(1)

    def resample_row(row: np.ndarray) -> np.ndarray:
        interpolated = np.interp(points, grid, row)
        return average(interpolated).astype("f4")

    return {
        "wavelength_angstrom": average(points),
        "mean": resample_row(emulator["mean"]),
        "basis": np.stack([resample_row(row) for row in emulator["basis"]]),
    }


def weigh_networks(teff: np.ndarray) -> np.ndarray:
    """Return weights (net, star) of the cool, middle and hot network, of sum 1.

    They are ramps where the ranges of the networks overlap.
    """
    cool = np.clip((4150 - teff) / 100, 0, 1)
    hot = np.clip((teff - 4900) / 100, 0, 1)
    middle = 1 - cool - hot
    weights = np.stack([cool, middle, hot])
    return weights.astype("f4")


def run_networks(labels: np.ndarray, nets: dict[str, np.ndarray]) -> np.ndarray:
    """Return what the three networks, blended, put out (star, output).

    Labels (star, label) are in the order of LABELS.
    """
    least = nets["label_min"][:, None]
    greatest = nets["label_max"][:, None]
    scaled = (labels - least) / (greatest - least) - 0.5
    # A network of weight 0 would extrapolate wildly; clipped, it stays finite.
    x = np.clip(scaled, -0.5, 0.5).astype("f4")
    for layer in ("0", "1"):
        weights, bias = nets["w" + layer], nets["b" + layer]
        x = x @ weights + bias[:, None]
        leak = np.float32(0.01) * x
        x = np.maximum(x, leak)
    bias = nets["b2"][:, None]
    outputs = x @ nets["w2"] + bias
    blend = weigh_networks(labels[:, 0])
    return np.einsum("ts,tso->so", blend, outputs)


def render(labels: np.ndarray, emulator: dict[str, np.ndarray]) -> np.ndarray:
    """Return noiseless continuum-normalised spectra (star, wavelength) of labels (star, label).

    Float32.
    """
    components = run_networks(labels, emulator)
    return components @ emulator["basis"] + emulator["mean"]


def draw_labels(n_stars: int, sample: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return labels (star, label), in the order of LABELS, of stars like `sample`.

    The sample has teff, logg, m_h and alpha (star, 4).
    """
    # the order of draws is part of what a seed means
    rows = rng.integers(len(sample), size=n_stars)
    real = sample[rows]
    jitter = rng.normal(size=real.shape) * JITTER
    teff, logg, m_h, alpha = (real + jitter).T
    # first dredge-up, and what luminous giants mix beyond it
    mixing = np.clip((3.4 - logg) / 2, 0, 1.5)
    mass = rng.normal(size=n_stars)
    constant = np.ones(n_stars)
    metal_poor = np.minimum(m_h + 1, 0)
    terms = np.stack([constant, alpha, m_h, metal_poor, mixing, mass], axis=1)
    trends = np.array(list(TRENDS.values()))
    coefficients, scatter = trends[:, :-1], trends[:, -1]
    noise = rng.normal(size=(n_stars, len(trends)))
    x_m = terms @ coefficients.T + noise * scatter
    return np.column_stack([teff, logg.clip(0.01, 3.49), m_h, x_m.clip(-0.59, 0.59)])
