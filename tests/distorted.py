"""Spectra of lines that are shifted, broadened and tilted, and a linear model that knows them."""

import dataclasses

import numpy as np
import xarray as xr
from scipy.constants import c as LIGHT
from scipy.interpolate import make_interp_spline

from luxscale.model.decoders import LinearMap
from luxscale.model.lux import LuxModel, Provenance
from luxscale.model.output import Output
from luxscale.schema.outputs import OutputSpec, Role

N_PIXELS, LATENT_DIM = 500, 6

#: Speed of a pixel, km/s, and resolving power: lines of three pixels (FWHM).
PIXEL, POWER = 4.14, 24000.0

GRID = 15100 * np.exp(np.arange(N_PIXELS) * PIXEL * 1e3 / LIGHT)

LABELS = ("teff", "logg", "m_h")


def make_lines():
    """Return offset and weights of spectra: (pixel,), (pixel, latent)."""
    rng = np.random.default_rng(11)
    x = np.arange(N_PIXELS)
    centres = rng.uniform(0, N_PIXELS, 60)
    profiles = np.exp(-0.5 * ((x[:, None] - centres) / 1.4) ** 2)
    depths = rng.uniform(0.05, 0.4, 60)
    return 1 - profiles @ depths, profiles @ (0.03 * rng.normal(size=(60, LATENT_DIM)))


def make_model(nuisances=None):
    """Return a model of `make_lines` and of three labels."""
    offset, weights = make_lines()
    rng = np.random.default_rng(12)
    slopes = rng.normal(size=(3, LATENT_DIM)) * np.array([[200.0], [0.5], [0.2]])
    flux = _make_output(
        OutputSpec("flux", "wavelength", "flux_ivar", Role.SPECTRUM),
        tuple(GRID.tolist()),
        ("Angstrom",),
        LinearMap(weights, offset),
        scatter=np.full(N_PIXELS, 0.002),
    )
    labels = _make_output(
        OutputSpec("label_value", "label", "label_err", Role.LABELS),
        LABELS,
        ("K", "dex", "dex"),
        LinearMap(slopes, np.array([4800.0, 2.5, -0.2])),
        scatter=np.zeros(3),
    )
    made = Provenance(method="marginal", settings="{}", n_stars=1, training_checksum="")
    flux = dataclasses.replace(flux, nuisances=nuisances)
    return LuxModel(outputs=(labels, flux), objective=np.zeros(1), provenance=made)


def _make_output(spec, coord, units, decoder, scatter):
    n = len(coord)
    spread = np.sqrt((np.asarray(decoder.weights) ** 2).sum(1))
    return Output(
        spec=spec,
        coord=coord,
        units=units,
        attrs=(),
        map=decoder,
        scatter=scatter,
        scale=np.maximum(spread, 1e-3),
        floor=np.zeros(n),
        used=np.ones(n, bool),
        bounds=np.outer(np.ones(n), [-np.inf, np.inf]),
    )


def shift(spectra, pixels):
    """Return spectra as they are farther on by some pixels, (star,), and derivatives."""
    x = np.arange(spectra.shape[1])
    return np.array(
        [make_interp_spline(x, s, k=5)(x - p) for s, p in zip(spectra, pixels, strict=True)]
    )


def bend(spectra):
    """Return second derivatives by pixel."""
    x = np.arange(spectra.shape[1])
    return np.array([make_interp_spline(x, s, k=5).derivative(2)(x) for s in spectra])


def observe(n, *, velocity=0.0, broader=0.0, tilt=0.0, pattern=None, snr=100.0, seed=0):
    """Return a survey of stars, and their latents."""
    rng = np.random.default_rng(seed)
    offset, weights = make_lines()
    z = rng.normal(size=(n, LATENT_DIM))
    own = offset + z @ weights.T
    sigma = LIGHT / 1e3 / POWER / np.sqrt(8 * np.log(2)) / PIXEL
    own = own + np.broadcast_to(broader, n)[:, None] * sigma**2 * bend(own)
    moved = shift(own, np.broadcast_to(velocity, n) / PIXEL)
    x = np.linspace(-1, 1, N_PIXELS)
    flux = moved * (1 + np.broadcast_to(tilt, n)[:, None] * x)
    if pattern is not None:
        flux = flux + pattern
    ivar = np.full(flux.shape, snr**2, np.float32)
    ivar[rng.random(flux.shape) < 0.03] = 0
    noise = rng.normal(size=flux.shape) * np.sqrt(1 / snr**2 + 0.002**2)
    survey = xr.Dataset(
        {
            "flux": (("star", "wavelength"), (flux + noise).astype(np.float32)),
            "flux_ivar": (("star", "wavelength"), ivar),
        },
        {
            "star": np.array([f"s{i:04d}" for i in range(n)], object),
            "wavelength": ("wavelength", GRID, {"units": "Angstrom"}),
        },
    )
    return survey, z
