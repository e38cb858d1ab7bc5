"""Programs as JAX lowers them, kept for later processes beside those that are compiled.

What JAX compiles it keeps by itself, but each process finds out anew what there is to compile: it
traces a function and lowers it, which takes longer than the program takes for hundreds of stars.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

import jax
from jax import export

from luxscale.model import programs

#: Packages that decide what is lowered.
_PACKAGES = ("luxscale", "jax", "jaxlib", "numpy")

_Kind = TypeVar("_Kind", bound=tuple)


def keep_lowered(function: Callable) -> Callable:
    """Have JAX trace a function once for all processes that keep programs.

    Parameters
    ----------
    function : callable
        Of arrays, given by position, and of static values, given by name. What it calls of luxscale
        lies in this folder. It returns arrays, tuples, and what `register_result` knows.
    """

    @functools.wraps(function)
    def trace(*args: Any, **static: Any) -> Any:
        opened = programs.get_opened()
        if opened is None:
            return function(*args, **static)
        leaves, structure = jax.tree.flatten(args)
        shapes = [jax.ShapeDtypeStruct(x.shape, x.dtype, weak_type=x.weak_type) for x in leaves]

        def run(*leaves: Any) -> Any:
            return function(*jax.tree.unflatten(structure, leaves), **static)

        key = _name(function, structure, shapes, static)
        content = opened.get(key)
        if content is None:
            content = bytes(export.export(jax.jit(run))(*shapes).serialize())
            opened.put(key, content)
        # what was just made is read as well: all processes run the same
        return export.deserialize(bytearray(content)).call(*leaves)

    return trace


def register_result(kind: type[_Kind]) -> type[_Kind]:
    """Let functions whose lowering is kept return a NamedTuple of this kind."""
    name = f"{kind.__module__}.{kind.__name__}"
    export.register_namedtuple_serialization(kind, serialized_name=name)
    return kind


def _name(function: Callable, *given: Any) -> str:
    """Return a name for what this code makes of a function of arguments that look like these."""
    way = jax.default_backend(), jax.dtypes.result_type(float)
    # static parts of arguments are numbers, names and classes of these: repr tells them apart
    about = _identify_code(), function.__module__, function.__qualname__, *way, *given
    return f"lowered-{hashlib.sha256(repr(about).encode()).hexdigest()}"


@functools.cache
def _identify_code() -> str:
    """Return a digest of what a kernel is made of: this folder, and the packages it needs."""
    digest = hashlib.sha256(repr([(name, version(name)) for name in _PACKAGES]).encode())
    for file in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(file.read_bytes())
    return digest.hexdigest()
