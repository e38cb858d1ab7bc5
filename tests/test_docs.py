"""What README, guide and docstrings say is true: examples run, names and links exist, parameters match."""

import doctest
import importlib
import inspect
import pkgutil
import re
from importlib.resources import files
from pathlib import Path

import pytest
import xarray as xr
from numpydoc.validate import validate

import luxscale as lux
from luxscale import guide, store
from luxscale.cli import main
from luxscale.schema import CATALOG, SURVEY, describe

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
PAGES = {name: ROOT / "luxscale" / "guide" / f"{name}.md" for name in guide.topics()}
OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
MODULES = [m.name for m in pkgutil.walk_packages(lux.__path__, "luxscale.") if not m.name.endswith("_jaxopt")]


@pytest.fixture(scope="module")
def stores(tmp_path_factory, _small_survey, _held_out, small_model):
    """The directory that examples run in: a survey, a model of its first 300 stars, a catalogue."""
    folder = tmp_path_factory.mktemp("docs")
    paths = [folder / f"{name}.zarr" for name in ("survey", "model", "catalog")]
    store.write_dataset(xr.concat([_small_survey, _held_out], "star", data_vars="minimal"), paths[0], chunk=300)
    small_model.save(paths[1])
    lux.label_survey(*paths, progress=False)
    return folder


@pytest.fixture
def here(stores, monkeypatch):
    monkeypatch.chdir(stores)


def run_examples(text, name, path, names):
    """Run the examples of a text as doctests, and say all that went wrong."""
    test = doctest.DocTestParser().get_doctest(text, names, name, str(path), 0)
    said = []
    doctest.DocTestRunner(optionflags=OPTIONS, verbose=False).run(test, out=said.append)
    assert not said, "".join(said)
    return len(test.examples)


@pytest.mark.parametrize("name", PAGES)
def test_examples_of_the_guide_run(name, here):
    text = PAGES[name].read_text(encoding="utf-8")
    assert all(b.startswith(">>> ") for b in re.findall(r"```python\n(.*?)```", text, re.DOTALL))
    run_examples(re.sub(r"^```.*$", "", text, flags=re.MULTILINE), name, PAGES[name], {})
