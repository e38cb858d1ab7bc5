"""Importing luxscale is cheap, and what it offers is there all the same."""

import importlib
import importlib.metadata
import pickle
import pkgutil
import pydoc
import subprocess
import sys

import pytest
from click.testing import CliRunner

import luxscale as lux
from luxscale.cli import main

#: What takes long to import; a command loads those that it needs.
HEAVY = {
    "astropy",
    "dask",
    "distributed",
    "jax",
    "matplotlib",
    "numpy",
    "pandas",
    "rich",
    "scipy",
    "xarray",
    "zarr",
}

RUN = (
    "from luxscale.cli import main\ntry: main({!r}, prog_name='luxscale')\nexcept SystemExit: pass"
)


def loaded_after(script):
    """Return the names of all modules that a fresh process has loaded after a script."""
    show = "\nimport sys\nprint('LOADED', *sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script + show], capture_output=True, text=True, check=True
    )
    assert done.stderr == ""
    output, _, modules = done.stdout.rpartition("LOADED ")
    return output, set(modules.split())


def test_importing_loads_nothing_else():
    _, modules = loaded_after("import luxscale")
    assert not modules & HEAVY
    # an editable installation has a finder of its own, which is not one of the package's modules
    assert {m for m in modules if m.split(".")[0] == "luxscale"} == {"luxscale"}


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--version"], "luxscale, version "),
        (["--help"], "Label every star of SURVEY"),
        (["train", "--help"], "--latent-dim"),
        (["label", "--help"], "--scheduler"),
        (["ingest", "--help"], "--continuum"),
        (["crossval", "--help"], "--folds"),
        (["guide"], "luxscale guide errors"),
    ],
    ids=" ".join,
)
def test_help_loads_nothing_heavy(arguments, expected):
    output, modules = loaded_after(RUN.format(arguments))
    assert expected in output
    assert not modules & HEAVY


def test_a_command_is_loaded_alone():
    _, modules = loaded_after(RUN.format(["label", "--help"]))
    assert "luxscale.cli.label" in modules
    assert not modules & {"luxscale.cli.crossval", "luxscale.cli.fit", "luxscale.cli.paper"}


@pytest.mark.parametrize("name", ["base", "labels", "label.py", ""])
def test_other_names_are_no_commands(name):
    ended = CliRunner().invoke(main, [name])
    assert ended.exit_code == 2
    assert f"No such command '{name}'" in ended.stderr


def test_shell_completion_loads_nothing_heavy(monkeypatch):
    monkeypatch.setenv("_LUXSCALE_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", "luxscale tr")
    monkeypatch.setenv("COMP_CWORD", "1")
    output, modules = loaded_after(RUN.format([]))
    assert output == "plain,train\n"
    assert not modules & HEAVY


def test_opening_a_survey_does_not_load_jax():
    _, modules = loaded_after("import luxscale as lux\nlux.open_survey")
    assert "xarray" in modules
    assert not modules & {"jax", "matplotlib", "scipy"}


def test_public_names_are_there_from_the_start():
    names = subprocess.run(
        [sys.executable, "-c", "import luxscale\nprint(*dir(luxscale))"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert {*lux.__all__, "plot", "store", "__version__"} <= set(names)
    assert {name for name in names if name.startswith("_")} == {"__doc__", "__version__"}
    for name in names:
        getattr(lux, name)


def test_all_public_names_have_a_home():
    assert list(lux._HOMES) == lux.__all__
    for name, home in lux._HOMES.items():
        assert getattr(lux, name) is getattr(importlib.import_module(home), name)


def test_public_modules_exist():
    assert set(lux._MODULES) <= {m.name for m in pkgutil.iter_modules(lux.__path__)}
    assert lux.plot is importlib.import_module("luxscale.plot")


def test_version_is_that_of_the_installation():
    assert lux.__version__ == importlib.metadata.version("luxscale")


def test_a_name_that_does_not_exist():
    with pytest.raises(AttributeError, match=r"module 'luxscale' has no attribute 'trane'"):
        _ = lux.trane
    with pytest.raises(ImportError, match="cannot import name 'trane'"):
        exec("from luxscale import trane")


def test_star_import_gives_the_public_names():
    found = {}
    exec("from luxscale import *", found)
    assert set(lux.__all__) <= set(found)
    assert found["train"] is lux.train


def test_help_on_the_package_shows_its_functions():
    text = pydoc.plain(pydoc.render_doc(lux))
    assert "train(" in text
    assert "class LuxModel" in text


def test_public_functions_can_be_pickled():
    for name in lux.__all__:
        assert pickle.loads(pickle.dumps(getattr(lux, name))) is getattr(lux, name)


def test_a_run_without_workers_loads_no_cluster():
    _, modules = loaded_after(
        "import luxscale.labelling.run, luxscale.labelling.estimate, luxscale.cli.clusters\n"
        "from luxscale.cluster import cpu_count"
    )
    assert "distributed" not in modules


def test_a_run_without_workers_does_not_load_what_it_does_not_need(
    small_survey, small_model, tmp_path
):
    survey, model, catalog = (str(tmp_path / f"{name}.zarr") for name in "smc")
    lux.store.write_dataset(small_survey, survey)
    small_model.save(model)
    command = ["label", survey, "--model", model, "--out", catalog, "--workers", "0", "--quiet"]
    output, modules = loaded_after(RUN.format(command))
    assert "300 stars labelled" in output
    assert not modules & {"dask.array", "distributed", "matplotlib", "rich"}


def test_the_names_of_the_cluster_are_there_all_the_same():
    from luxscale import cluster

    assert all(callable(getattr(cluster, name)) for name in cluster.__all__)
    with pytest.raises(AttributeError, match="no attribute 'locl_cluster'"):
        _ = cluster.locl_cluster
