"""Programs as JAX lowers them, kept for later processes beside those that are compiled.

What JAX compiles it keeps by itself, but each process finds out anew what there is to compile: it
traces a function and lowers it, which takes longer than the program takes for hundreds of stars.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
from collections.abc import Callable
from importlib.resources import files
from typing import Any, TypeVar

import jax
import jaxlib
import numpy as np
from jax import export

from luxscale.errors import InputError
from luxscale.model import programs

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
        leaves, structure = jax.tree.flatten(args)
        if opened is None or not _is_usual(leaves):
            return function(*args, **static)
        _require_flatbuffers()
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


def _require_flatbuffers() -> None:
    """Say what is missing where JAX cannot write and read what it lowers: a part of luxscale."""
    if importlib.util.find_spec("flatbuffers") is None:
        raise InputError(
            "the package flatbuffers is missing, which luxscale needs: pip install flatbuffers"
        )


def _is_usual(leaves: list[Any]) -> bool:
    """Return whether JAX traces what it is given, and for the device that it chooses itself.

    It may be told to run functions as they stand, or on a device that lowering does not ask for.
    """
    config: Any = jax.config
    is_traced = all(isinstance(leaf, jax.core.Tracer) for leaf in leaves)
    return is_traced and config.jax_default_device is None


def _name(function: Callable, *given: Any) -> str:
    """Return a name for what this code makes of a function of arguments that look like these."""
    way = export.default_export_platform(), jax.dtypes.result_type(float)
    # static parts of arguments are numbers, names and classes of these: repr tells them apart
    about = _CODE, function.__module__, function.__qualname__, *way, *given
    return f"lowered-{hashlib.sha256(repr(about).encode()).hexdigest()}"


def _identify_code() -> str:
    """Return a digest of what a kernel is made of: this folder, and the packages it needs."""
    packages = [(one.__name__, one.__version__) for one in (jax, jaxlib, np)]
    digest = hashlib.sha256(repr(packages).encode())
    sources = (file for file in files("luxscale.model").iterdir() if file.is_file())
    for file in sorted(sources, key=lambda file: file.name):
        digest.update(file.read_bytes())
    return digest.hexdigest()


#: The code that this process loads: files may be replaced, as by an upgrade, while it runs.
_CODE = _identify_code()
