"""The floors of the package: who may import whom, what is at the top, what each folder is for."""

import ast
from pathlib import Path

import pytest

import luxscale

PACKAGE = Path(luxscale.__file__).parent

#: From the bottom up. A folder imports from lower floors, and on its own floor from those to its left.
FLOORS = (
    ("errors", "progress"),
    ("schema",),
    ("store",),
    ("model",),
    ("runs", "cluster", "readers", "labels", "prepare"),
    ("analysis", "training"),
    ("labelling", "ingest", "crossval"),
    ("export", "plot", "info"),
    ("examples",),
    ("paper", "report"),
    ("data", "guide", "cli", "__main__"),
)

ORDER = [name for floor in FLOORS for name in floor]


def imported(path):
    """Yield the folders or modules at the top of the package that a file imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "luxscale":
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names if alias.name.startswith("luxscale.")]
        else:
            continue
        for name in names:
            yield name.split(".")[1]


@pytest.mark.parametrize("place", ORDER)
def test_imports_lead_down(place):
    files = [*PACKAGE.glob(f"{place}.py"), *(PACKAGE / place).rglob("*.py")]
    found = {name for path in files for name in imported(path)}
    upward = {
        name for name in found - {place} if name in ORDER and ORDER.index(name) > ORDER.index(place)
    }
    assert upward == set()


def test_every_folder_has_its_floor_and_says_what_it_is_for():
    folders = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert folders <= set(ORDER)
    for folder in folders:
        text = (PACKAGE / folder / "__init__.py").read_text(encoding="utf-8")
        assert ast.get_docstring(ast.parse(text)), folder


def test_few_modules_stand_at_the_top():
    assert len(list(PACKAGE.glob("*.py"))) <= 8
