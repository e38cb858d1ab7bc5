"""Rates of labelling that were measured elsewhere, by which a run is planned before it begins.

A guess from them costs no time. They are those of `benchmarks/scale.py`.
"""

from __future__ import annotations

#: Seconds of a star that one core takes, for itself and for a byte of its spectrum; and those that
#: are shared out among cores, for a latent and for a latent and pixel.
_STAR_SECONDS, _BYTE_SECONDS = 15e-6, 0.6e-9
_LATENT_SECONDS, _PIXEL_SECONDS = 1e-6, 0.75e-9

#: Cores that the kernel can be relied on to use in one process.
KERNEL_CORES = 4


def guess_serial_seconds(stars: int, pixels: int) -> float:
    """Guess the seconds of one core in which spectra are read and labels written."""
    input_bytes = 8 * pixels  # flux and its inverse variance, float32 each
    return stars * (_STAR_SECONDS + _BYTE_SECONDS * input_bytes)


def guess_kernel_seconds(stars: int, pixels: int, latents: int) -> float:
    """Guess the seconds of one core in which labels are inferred."""
    return stars * latents * (_LATENT_SECONDS + _PIXEL_SECONDS * pixels)
