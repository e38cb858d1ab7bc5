"""The floors of the package: who may import whom, what is at the top, what each folder is for."""

import ast
import functools
from pathlib import Path

import pytest

import luxscale

PACKAGE = Path(luxscale.__file__).parent

#: From the bottom up. A folder imports from lower floors, and on its own floor from those to its
#: left.
FLOORS = (
    ("errors", "progress"),
    ("schema",),
    ("store",),
    ("model",),
    ("runs", "cluster", "readers", "labels", "prepare"),
    ("analysis", "training"),
    ("labelling", "ingest", "crossval", "chunked"),
    ("export", "plot", "info"),
    ("examples",),
    ("paper", "report"),
    ("data", "guide", "cli", "__main__"),
)

ORDER = [name for floor in FLOORS for name in floor]


FOLDERS = sorted(path.parent.name for path in PACKAGE.glob("*/__init__.py"))


def read_imports(path):
    """Yield the folders and modules at the top of the package that a file imports."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "luxscale":
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names if alias.name.startswith("luxscale.")]
        else:
            continue
        for name in names:
            yield name.split(".")[1]


@functools.cache
def find_imports(place):
    """Return the other places that the files of a folder or module import, anywhere in them."""
    files = [*PACKAGE.glob(f"{place}.py"), *(PACKAGE / place).rglob("*.py")]
    found = {name for path in files for name in read_imports(path)}
    return {name for name in found if name in ORDER and name != place}


@functools.cache
def find_foundations(place):
    """Return all that a place stands on: what it imports, what that imports, and so on."""
    direct = find_imports(place)
    return direct.union(*(find_foundations(name) for name in direct))


def describe_imports(folder):
    """Return the sentence about imports in the docstring of a folder."""
    direct = find_imports(folder)
    below = set().union(*(find_foundations(name) for name in direct))
    named = sorted(direct - below, key=ORDER.index)
    standing = "it stands" if len(named) == 1 else "they stand"
    return f"Imports {', '.join(named)} and what {standing} on."


@pytest.mark.parametrize("place", ORDER)
def test_imports_lead_down(place):
    upward = {name for name in find_imports(place) if ORDER.index(name) > ORDER.index(place)}
    assert upward == set()


def test_every_folder_has_its_floor():
    assert set(FOLDERS) <= set(ORDER)


@pytest.mark.parametrize("folder", FOLDERS)
def test_folder_says_what_it_is_for_and_what_it_imports(folder):
    source = (PACKAGE / folder / "__init__.py").read_text(encoding="utf-8")
    purpose, blank, imports = ast.get_docstring(ast.parse(source)).splitlines()[:3]
    assert purpose.endswith(".")
    assert blank == ""
    assert imports == describe_imports(folder)


def test_few_modules_stand_at_the_top():
    assert len(list(PACKAGE.glob("*.py"))) <= 8
