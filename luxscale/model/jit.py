"""The one door into JAX: compiled programs run alone, and to completion."""

from __future__ import annotations

import functools
import importlib
import threading
from collections.abc import Callable
from typing import Any

import jax
from threadpoolctl import ThreadpoolController

_ONE_AT_A_TIME = threading.RLock()


@functools.cache
def _libraries() -> ThreadpoolController:
    """BLAS libraries in this process, SciPy's among them: jaxlib's LAPACK calls go there."""
    import scipy.linalg.cython_lapack  # noqa: F401 - loads the library

    return ThreadpoolController()


def compile_program(**jit_options: Any) -> Callable[[Callable], Callable]:
    """Compile a function, and run it alone and to completion.

    Two JAX programs executing at once (two threads, or one thread and asynchronous dispatch) can
    deadlock on machines of few cores, for the reason told in `solve`, so every entry into JAX goes
    through here. BLAS gets one thread meanwhile: its threads wait for each other on small
    triangular solves, up to a thousand times longer than these take where another process is busy.
    XLA's own threads, which do the large products, are not limited.
    """

    def decorate(function: Callable) -> Callable:
        compiled = jax.jit(function, **jit_options)

        @functools.wraps(function)
        def run(*args: Any, **kwargs: Any) -> Any:
            with _ONE_AT_A_TIME, _libraries().limit(limits=1, user_api="blas"):
                return jax.block_until_ready(compiled(*args, **kwargs))

        return run

    return decorate


def use_float64() -> Any:
    """Return the context of float64 for this thread, which jax has moved."""
    if hasattr(jax, "enable_x64"):
        return jax.enable_x64(True)
    return importlib.import_module("jax.experimental").enable_x64(True)
