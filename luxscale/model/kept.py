"""Arrays that take long to make of a model, kept for when they are asked for again.

This process keeps the last ones, and where programs are kept (`luxscale.model.programs`) they lie
beside those.
"""

from __future__ import annotations

import hashlib
import io
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from luxscale.model import programs

#: Of how many models this process keeps arrays.
_MOST = 4

_Arrays = TypeVar("_Arrays", bound=tuple)

_LAST: dict[str, Any] = {}


def recall(
    kind: Callable[..., _Arrays], make: Callable[[], _Arrays], given: Mapping[str, np.ndarray]
) -> _Arrays:
    """Return arrays that were made before, or make them; the same to the last bit.

    Parameters
    ----------
    kind : type
        A NamedTuple of arrays; the module that defines it makes them.
    make : callable
        Returns them.
    given : mapping of str to array
        What they follow from.
    """
    key = _name(kind, given)
    found: _Arrays | None = _LAST.pop(key, None)
    if found is None and (stored := _read(key)) is not None:
        found = kind(*stored)
    if found is None:
        found = make()
        _write(key, found)
    _LAST[key] = found
    for old in list(_LAST)[:-_MOST]:
        _LAST.pop(old, None)  # another thread may have been quicker
    return found


def _name(kind: Any, given: Mapping[str, np.ndarray]) -> str:
    """Return a name for arrays that this code makes of these."""
    digest = hashlib.sha256(Path(str(sys.modules[kind.__module__].__file__)).read_bytes())
    # what that module calls changes with them
    digest.update(f"luxscale {version('luxscale')} numpy {np.__version__}".encode())
    for name, array in given.items():
        digest.update(f"{name} {array.shape} {array.dtype}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return f"{kind.__name__.lower()}-{digest.hexdigest()}"


def _read(key: str) -> list[np.ndarray] | None:
    """Return the arrays that lie beside the programs, in their order; None if none do."""
    opened = programs.get_opened()
    content = None if opened is None else opened.get(key)
    if content is None:
        return None
    with np.load(io.BytesIO(content)) as file:
        return [file[name] for name in file.files]


def _write(key: str, arrays: Sequence[np.ndarray]) -> None:
    opened = programs.get_opened()
    if opened is not None:
        file = io.BytesIO()
        np.savez(file, *arrays)
        opened.put(key, file.getvalue())
