"""Products of rounded factors: what they are, and where they are taken."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from luxscale.model import coarse

HALF, FULL = np.dtype(jnp.bfloat16), np.dtype(np.float32)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture(params=[HALF, FULL], ids=str)
def dtype(request, monkeypatch):
    monkeypatch.setattr(coarse, "find_dtype", lambda: request.param)
    return request.param


def round_to(dtype, x):
    return np.asarray(x, np.float32).astype(dtype).astype(float)


@pytest.mark.parametrize("k", [5, 32, 48])
def test_products_are_of_rounded_factors(rng, dtype, k):
    columns = rng.standard_normal((k, 3000)).astype("f4")
    rows, spectra = rng.standard_normal((7, k)), rng.standard_normal((7, 3000))
    kept = coarse.round_columns(columns)
    assert kept.dtype == dtype
    there = jax.jit(coarse.multiply)(rows.astype("f4"), kept)
    back = jax.jit(coarse.multiply_across)(spectra.astype("f4"), kept)
    assert there.dtype == back.dtype == FULL
    exact = round_to(dtype, columns)
    np.testing.assert_allclose(there, round_to(dtype, rows) @ exact, rtol=1e-5, atol=1e-4)
    expected = round_to(dtype, spectra) @ exact.T
    np.testing.assert_allclose(back[:, :k], expected, rtol=1e-5, atol=1e-3)
    assert not np.any(back[:, k:])


def test_of_rounded_latents_nothing_is_lost(rng, dtype):
    z = rng.standard_normal((9, 48)).astype("f4")
    round_latents = jax.jit(coarse.round_latents, static_argnames="dtype")
    rounded = np.asarray(round_latents(z, dtype=dtype))
    np.testing.assert_array_equal(rounded, round_to(dtype, z))
    np.testing.assert_array_equal(round_latents(rounded, dtype=dtype), rounded)
    assert (dtype == FULL) == np.array_equal(rounded, z)


def test_sums_over_pixels_lose_little(rng, monkeypatch):
    monkeypatch.setattr(coarse, "find_dtype", lambda: HALF)
    columns, w = rng.standard_normal((48, 8000)), rng.random(8000) + 0.5
    z = round_to(HALF, rng.standard_normal((1, 48)))
    kept = coarse.round_columns(columns.astype("f4"))
    change = w * coarse.multiply(z.astype("f4"), kept)
    got = np.asarray(coarse.multiply_across(change, kept), float)[:, :48]
    expected = (z @ columns * w) @ columns.T
    off = np.linalg.norm(got - expected) / np.linalg.norm(expected)
    assert 1e-6 < off < 5e-4


@pytest.mark.parametrize(
    ("flags", "expected"),
    [("fpu avx512f avx512_bf16", HALF), ("fpu avx512f avx512_bf16x", FULL), ("", FULL)],
)
def test_the_processor_says_what_it_multiplies(tmp_path, monkeypatch, flags, expected):
    said = tmp_path / "cpuinfo"
    said.write_text(f"processor\t: 0\nvendor_id\t: none\nflags\t\t: {flags}\n\nprocessor\t: 1\n")
    monkeypatch.setattr(coarse, "_CPUINFO", said)
    assert coarse.find_dtype.__wrapped__() == expected


def test_where_the_system_does_not_say_nothing_is_rounded(tmp_path, monkeypatch):
    monkeypatch.setattr(coarse, "_CPUINFO", tmp_path / "none")
    assert coarse.find_dtype.__wrapped__() == FULL
