"""JAX under the settings of other programs: float64, no such device, a forked process."""

import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import luxscale as lux
from luxscale.errors import RunError
from luxscale.model import jit


@jit.compile_program()
def _add(one, other):
    return one + other


def test_programs_compute_in_float32_whatever_jax_is_set_to():
    with jax.enable_x64(True):
        given = jnp.ones(3), np.ones(3)
        assert given[0].dtype == np.float64
        assert _add(*given).dtype == np.float32
        with jit.use_float64():
            assert _add(*given).dtype == np.float64
        assert _add(*given).dtype == np.float32


def test_inference_is_the_same_under_float64(held_out, small_model):
    stars = held_out.isel(star=slice(0, 20))
    expected = lux.infer(stars, small_model).label_value.values
    with jax.enable_x64(True):
        found = lux.infer(stars, small_model).label_value.values
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_a_forked_process_is_refused(monkeypatch):
    monkeypatch.setattr(jit._Process, "has_computed", True)
    monkeypatch.setattr(jit._Process, "is_forked", False)
    jit._mark_fork()
    with pytest.raises(RunError, match="forked from one that has used JAX.*get_context"):
        _add(1.0, 2.0)


def test_a_device_that_is_not_there_is_named():
    code = "from luxscale.model.jit import check_jax; check_jax()"
    env = {**os.environ, "JAX_PLATFORMS": "cuda"}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    if done.returncode == 0:
        pytest.skip("there is such a device")
    last = done.stderr.strip().splitlines()[-1]
    assert "InputError: JAX cannot use the platform 'cuda' that JAX_PLATFORMS asks for" in last
