"""JAX under the settings of other programs: float64, no such device, a forked process."""

import os
import signal
import subprocess
import sys
import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr

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


@pytest.fixture
def three_at_once(monkeypatch):
    monkeypatch.setattr(jit, "_count_at_once", lambda: 3)


def test_several_programs_run_at_once_and_return_in_order(three_at_once):
    barrier = threading.Barrier(3, timeout=60)

    def add_in_company(number):
        barrier.wait()
        return float(_add(number, 1.0))

    assert jit.map_alone(add_in_company, range(9)) == [n + 1.0 for n in range(9)]


def test_several_programs_compute_in_the_precision_of_who_waits(three_at_once):
    def find_dtypes():
        found = jit.map_alone(lambda number: _add(given, np.ones(3)).dtype, range(4))
        return set(map(str, found))

    given = np.ones(3)
    assert find_dtypes() == {"float32"}
    with jit.use_float64():
        assert find_dtypes() == {"float64"}
    with jax.enable_x64(True):
        given = jnp.ones(3)
        assert find_dtypes() == {"float32"}


def test_what_one_of_several_raises_passes_and_the_door_is_open(three_at_once):
    def divide(number):
        return float(_add(1.0, 1.0)) / (number - 4)

    with pytest.raises(ZeroDivisionError):
        jit.map_alone(divide, range(100))
    found = []
    other = threading.Thread(target=lambda: found.append(float(_add(1.0, 2.0))), daemon=True)
    other.start()
    other.join(timeout=60)
    assert found == [3.0]


def test_an_interrupt_ends_several_programs(three_at_once):
    begun, me = [], threading.main_thread().ident
    before = signal.signal(signal.SIGINT, signal.default_int_handler)

    def interrupt(number):
        begun.append(number)
        if number == 0:
            signal.pthread_kill(me, signal.SIGINT)
        stopped.wait(0.05)

    stopped = threading.Event()
    try:
        with pytest.raises(KeyboardInterrupt):
            jit.map_alone(interrupt, range(1000))
    finally:
        signal.signal(signal.SIGINT, before)
    assert len(begun) < 100


@pytest.mark.parametrize(
    ("version", "threads", "expected"),
    [
        ("0.9.2", 4, 1),
        ("0.10.2", 4, 1),
        ("0.11.1", 4, 1),
        ("0.12.0.1", 4, 5),
        ("0.12.0.1", 1, 1),
        ("0.13.0.dev20270101", 64, jit._MOST_AT_ONCE),
        ("1.0.0", 2, 3),
    ],
)
def test_programs_run_at_once_only_where_they_cannot_deadlock(
    monkeypatch, version, threads, expected
):
    monkeypatch.setattr(jit, "version", lambda name: version)
    monkeypatch.setattr(jit, "count_threads", lambda: threads)
    jit._bears_several.cache_clear()
    try:
        assert jit._count_at_once() == expected
    finally:
        jit._bears_several.cache_clear()


def test_results_are_the_same_however_many_programs_run_at_once(held_out, small_model, monkeypatch):
    found = []
    for threads in (1, 4):
        monkeypatch.setattr(jit, "count_threads", lambda threads=threads: threads)
        found.append(lux.infer(held_out, small_model))
    xr.testing.assert_identical(*found)
