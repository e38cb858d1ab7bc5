"""What is used of Zarr that is not in its public interface: a version that moves it fails here."""

import ast
import importlib
from pathlib import Path

import pytest

import luxscale

PACKAGE = Path(luxscale.__file__).parent

#: Name, and the modules that import it. There is no public way to call a store's coroutines, and
#: none in all versions that are allowed to say what kind of memory a store is to read into.
PRIVATE = {
    "zarr.core.sync.sync": ["store/chunks.py", "store/lock.py"],
    "zarr.core.buffer.default_buffer_prototype": ["store/chunks.py", "store/lock.py"],
}


def private_imports(path):
    """Yield the names that a file imports from Zarr's private modules."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        for name in names:
            parts = name.split(".")
            if parts[0] == "zarr" and any(p == "core" or p.startswith("_") for p in parts[1:]):
                yield name


def test_no_other_private_name_is_imported():
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        for name in private_imports(path):
            found.setdefault(name, []).append(path.relative_to(PACKAGE).as_posix())
    assert found == PRIVATE


@pytest.mark.parametrize("name", PRIVATE)
def test_private_names_are_where_they_were(name):
    module, _, attribute = name.rpartition(".")
    assert callable(getattr(importlib.import_module(module), attribute))
