"""The house: who may import whom, what each folder is for, how long modules and functions are."""

import ast
import collections
import functools
import re
from pathlib import Path

import pytest

import luxscale

PACKAGE = Path(luxscale.__file__).parent

#: From the bottom up. A folder imports from lower floors, and on its own floor from those to its
#: left.
FLOORS = (
    ("errors", "progress", "stop"),
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

#: Lines that a module may have, all told, and a function after its docstring.
MODULE_LINES = 350
FUNCTION_LINES = 50

#: Modules of a folder from which on it says what each of them is for.
MANY_MODULES = 30

#: What runs or makes whatever a file says: modules, functions of the language, and arguments.
UNSAFE_IMPORTS = {"pickle", "marshal", "shelve", "dill", "cloudpickle", "serialize_executable"}
UNSAFE_CALLS = {"eval", "exec"}

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


def list_modules(folder):
    """Return the names of the modules of a folder, but for the one that says what it is for."""
    return {path.stem for path in (PACKAGE / folder).glob("*.py")} - {"__init__"}


LARGE_FOLDERS = [name for name in FOLDERS if len(list_modules(name)) >= MANY_MODULES]


@pytest.mark.parametrize("folder", LARGE_FOLDERS)
def test_large_folder_names_each_of_its_modules(folder):
    source = (PACKAGE / folder / "__init__.py").read_text(encoding="utf-8")
    named = set(re.findall(r"`(\w+)`", ast.get_docstring(ast.parse(source))))
    modules = list_modules(folder)
    assert modules == named, (
        f"in the docstring of luxscale/{folder}/__init__.py, say what these modules are for: "
        f"{sorted(modules - named)}; and name no longer {sorted(named - modules)}"
    )


def test_few_modules_stand_at_the_top():
    assert len(list(PACKAGE.glob("*.py"))) <= 8


def list_long_functions(source):
    """Return each function whose body is too long, with its length; docstrings do not count."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body[ast.get_docstring(node) is not None :]
            length = node.end_lineno - body[0].lineno + 1 if body else 0
            if length > FUNCTION_LINES:
                found.append(f"{node.name} has {length} lines")
    return found


def test_modules_are_short():
    lengths = {
        path.relative_to(PACKAGE).as_posix(): len(path.read_text(encoding="utf-8").splitlines())
        for path in PACKAGE.rglob("*.py")
    }
    long = [f"{name} has {n} lines" for name, n in lengths.items() if n > MODULE_LINES]
    assert not long, (
        f"{'; '.join(long)}; {MODULE_LINES} is the most: move what belongs together to a module "
        "of its own"
    )


def test_functions_are_short():
    long = [
        f"{path.relative_to(PACKAGE).as_posix()}: {function}"
        for path in PACKAGE.rglob("*.py")
        for function in list_long_functions(path.read_text(encoding="utf-8"))
    ]
    assert not long, (
        f"{'; '.join(long)} after its docstring; {FUNCTION_LINES} is the most: give a step of it "
        "a name and a function"
    )


def test_lines_of_a_function_count_after_its_docstring():
    statements = "    pass\n" * FUNCTION_LINES
    documented = f'def draw():\n    """Draw."""\n{statements}'
    assert list_long_functions(documented) == []
    assert list_long_functions(f"{documented}    pass\n") == ["draw has 51 lines"]
    assert list_long_functions(f"async def read():\n{statements}    pass\n") == [
        "read has 51 lines"
    ]


def list_unsafe(tree):
    """Yield what in a module could run what a file holds."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            origin = (getattr(node, "module", None) or "").split(".")
            names = {part for alias in node.names for part in alias.name.split(".")}
            yield from UNSAFE_IMPORTS & {*origin, *names}
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            yield from UNSAFE_CALLS & {node.func.id}
        elif isinstance(node, ast.keyword) and ast.unparse(node) == "allow_pickle=True":
            yield "allow_pickle"


@pytest.mark.parametrize(
    "code",
    [
        "import pickle",
        "from pickle import loads",
        "from jax.experimental import serialize_executable as load",
        "eval(text)",
        "np.load(path, allow_pickle=True)",
    ],
)
def test_what_is_unsafe_is_found(code):
    assert list(list_unsafe(ast.parse(code)))


def test_no_module_runs_what_a_file_holds():
    found = {
        f"{path.relative_to(PACKAGE)}: {name}"
        for path in PACKAGE.rglob("*.py")
        for name in list_unsafe(ast.parse(path.read_text(encoding="utf-8")))
    }
    assert not found, "a file from elsewhere, or a cache that others can write, must not run here"


def test_names_of_test_modules_are_unique():
    """Two of one name are an error of collection: folders of tests are no packages."""
    names = collections.Counter(path.name for path in Path(__file__).parent.rglob("test_*.py"))
    assert [name for name, n in names.items() if n > 1] == []
