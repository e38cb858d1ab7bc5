"""The one door into JAX: compiled programs run alone, and to completion."""

from __future__ import annotations

import contextlib
import functools
import importlib
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from typing import Any, TypeVar

import jax
import numpy as np
from threadpoolctl import ThreadpoolController

from luxscale.errors import InputError, RunError
from luxscale.model import programs
from luxscale.model.threads import count_threads

_ONE_AT_A_TIME = threading.RLock()

#: Its attributes are made as jax loads, and not all versions declare them.
_CONFIG: Any = jax.config

#: The first version of jaxlib, of those tried, in which a call of LAPACK does not stop one of XLA's
#: threads until others have done its work: where programs run at once, each of them may be stopped.
_DOES_NOT_STOP = (0, 12)

#: Programs at once: the arrays of one take 40 MB for APOGEE spectra.
_MOST_AT_ONCE = 8

_Item = TypeVar("_Item")
_Made = TypeVar("_Made")


class _Thread(threading.local):
    """What a thread does: whether it computes in float64, and runs programs for one that waits."""

    is_float64 = False
    is_helping = False


_THREAD = _Thread()


class _Process:
    """What this process has done with JAX."""

    has_computed = False
    is_forked = False
    is_alone = False


def _mark_fork() -> None:
    _Process.is_forked |= _Process.has_computed


os.register_at_fork(after_in_child=_mark_fork)


def check_jax() -> None:
    """Check that JAX can compute in this process.

    Raises
    ------
    RunError
        If the process was forked from one that has used JAX: it would wait for good.
    InputError
        If JAX has none of the devices that it was told to use.
    """
    if _Process.is_forked:
        raise RunError(
            "this process was forked from one that has used JAX, whose threads it lacks: anything "
            "computed here would never end; start processes afresh, by "
            "multiprocessing.get_context('spawn') or luxscale.cluster.local_cluster"
        )
    _prepare_jax()


@functools.cache
def _prepare_jax() -> None:
    """Find JAX's devices, and the programs that are kept for it; once in a process."""
    programs.open_programs(_CONFIG)
    platforms = os.environ.get("JAX_PLATFORMS") or _CONFIG.jax_platforms
    try:
        jax.devices()
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0] if str(error) else "no such device"
        raise InputError(
            f"JAX cannot use the platform {platforms!r} that JAX_PLATFORMS asks for ({reason}); "
            "unset JAX_PLATFORMS, set it to cpu, or install JAX for that device"
        ) from error


@functools.cache
def _libraries() -> list[Any]:
    """BLAS libraries in this process, SciPy's among them: jaxlib's LAPACK calls go there."""
    import scipy.linalg.cython_lapack  # noqa: F401 - loads the library

    return list(ThreadpoolController().select(user_api="blas").lib_controllers)


@contextlib.contextmanager
def use_one_blas_thread() -> Iterator[None]:
    """Let BLAS have one thread, that which calls it.

    On small matrices its threads wait for each other, for longer than the work takes.
    """
    # what threadpoolctl's own context asks of each library takes five times as long
    before = [(library, library.num_threads) for library in _libraries()]
    for library, _ in before:
        library.set_num_threads(1)
    try:
        yield
    finally:
        for library, number in before:
            library.set_num_threads(number)


@contextlib.contextmanager
def run_alone() -> Iterator[None]:
    """Let no other thread run a program meanwhile, and BLAS have one thread.

    Each program does so itself; around many short ones it is done once.
    """
    if _THREAD.is_helping:
        yield
        return
    with _ONE_AT_A_TIME:
        if _Process.is_alone:
            yield
            return
        with use_one_blas_thread():
            _Process.is_alone = True
            try:
                yield
            finally:
                _Process.is_alone = False


def map_alone(function: Callable[[_Item], _Made], items: Sequence[_Item]) -> list[_Made]:
    """Return what a function that runs programs makes of each item, alone as by `run_alone`.

    Several of them run at once where JAX bears it: XLA shares out each of the many short parts of a
    program, and waits as often.

    Parameters
    ----------
    function : callable
        What it makes of an item must not depend on others.
    items : sequence

    Raises
    ------
    Exception
        What the function raises, of the first item for which it does.
    InputError, RunError
        See `check_jax`.
    """
    check_jax()
    with run_alone():
        number = min(_count_at_once(), len(items))
        if number < 2:
            return [function(item) for item in items]
        precision = _THREAD.is_float64, bool(_CONFIG.jax_enable_x64)
        with ThreadPoolExecutor(number) as threads:
            return list(threads.map(functools.partial(_help, function, precision), items))


def _help(function: Callable[[_Item], _Made], precision: tuple[bool, bool], item: _Item) -> _Made:
    """Return what a function makes of an item, in another thread than that which runs alone."""
    _THREAD.is_helping = True
    _THREAD.is_float64, has_float64 = precision
    with _set_float64(has_float64):
        return function(item)


def _count_at_once() -> int:
    """Return how many programs this thread may run at once."""
    threads = count_threads()
    if threads == 1 or _THREAD.is_helping or not _bears_several():
        return 1
    # one more than threads: each waits for something now and then
    return min(threads + 1, _MOST_AT_ONCE)


@functools.cache
def _bears_several() -> bool:
    """Return whether JAX bears several programs at once here, and is the faster for it."""
    jaxlib = tuple(map(int, version("jaxlib").split(".")[:2]))
    return jax.default_backend() == "cpu" and jaxlib >= _DOES_NOT_STOP


def compile_program(**jit_options: Any) -> Callable[[Callable], Callable]:
    """Compile a function, and run it alone and to completion.

    Two JAX programs executing at once (two threads, or one thread and asynchronous dispatch) can
    deadlock with jaxlib 0.10, for the reason told in `solve`, so every entry into JAX goes
    through here, and only `map_alone` lets several in. BLAS gets one thread meanwhile: on small
    triangular solves its threads wait up to a thousand times longer than these take, where another
    process is busy.
    XLA's own threads, which do the large products, are not limited. Arithmetic is in float32 but
    under `use_float64`, whatever ``jax_enable_x64`` says.

    Raises
    ------
    InputError, RunError
        From what is compiled, see `check_jax`.
    """

    def decorate(function: Callable) -> Callable:
        compiled = jax.jit(function, **jit_options)

        @functools.wraps(function)
        def run(*args: Any, **kwargs: Any) -> Any:
            check_jax()
            _Process.has_computed = True
            with run_alone():
                if not _CONFIG.jax_enable_x64 or _is_float64():
                    return run_to_end(compiled, args, kwargs)
                # arrays of JAX keep float64 where numpy's become float32
                args, kwargs = jax.tree.map(_leave_jax, (args, kwargs))
                with _set_float64(False):
                    return run_to_end(compiled, args, kwargs)

        return run

    return decorate


def run_to_end(compiled: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Return what a compiled program makes of its arguments, when all of it is there."""
    return jax.block_until_ready(compiled(*args, **kwargs))


def _leave_jax(leaf: Any) -> Any:
    return np.asarray(leaf) if isinstance(leaf, jax.Array) else leaf


def _is_float64() -> bool:
    return _THREAD.is_float64


@contextlib.contextmanager
def use_float64() -> Iterator[None]:
    """Compute in float64, in this thread."""
    before = _is_float64()
    _THREAD.is_float64 = True
    try:
        with _set_float64(True):
            yield
    finally:
        _THREAD.is_float64 = before


def _set_float64(wanted: bool) -> Any:
    """Return the context of float64 or float32 for this thread, which jax has moved."""
    if hasattr(jax, "enable_x64"):
        return jax.enable_x64(wanted)
    return importlib.import_module("jax.experimental").enable_x64(wanted)
