"""What README, guide and docstrings say is true.

Examples run, names and links exist, parameters match.
"""

import dataclasses
import doctest
import importlib
import json
import re
import shlex
import socket
import urllib.error
import urllib.request
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import click
import numpy as np
import pytest
import xarray as xr
import yaml
from click.testing import CliRunner
from numpydoc.validate import validate

import luxscale as lux
from luxscale import guide, store
from luxscale.cli import main
from luxscale.schema.variables import CATALOG, SURVEY, describe_variables

ROOT = Path(__file__).parents[1]
PACKAGE = Path(lux.__file__).parent
README = ROOT / "README.md"
PAGES = {name: PACKAGE / "guide" / f"{name}.md" for name in guide.topics()}
ELLIPSIS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE

#: Pages and notebooks.
DOCUMENTS = sorted(
    path
    for pattern in (
        "*.md",
        "benchmarks/*.md",
        "luxscale/**/*.md",
        "tests/**/*.md",
        "notebooks/*.ipynb",
    )
    for path in ROOT.glob(pattern)
)

#: Pages whose examples write files: they run twice in one directory.
WRITING = ("other-tools", "run", "select", "survey")

#: Pages whose examples train models of several kinds.
LONG = ("from-python", "understand")

#: Modules whose docstrings hold examples.
WITH_EXAMPLES = sorted(p for p in PACKAGE.rglob("*.py") if ">>> " in p.read_text(encoding="utf-8"))

COMMANDS = {name: main.get_command(None, name) for name in main.list_commands(None)}

API = (PACKAGE / "guide" / "api.rst").read_text(encoding="utf-8")

#: What users call, module -> names: the tables of the Python reference.
PUBLIC = {
    module: names.split()
    for module, names in re.findall(
        r"currentmodule:: (\S+)\n\.\. autosummary::\n   :toctree: generated\n\n((?:   \w+\n)+)", API
    )
}

#: Of numpydoc: no docstring; parameters missing, unknown or in another order; no section Returns,
#: or Yields.
CODES = {"GL08", "PR01", "PR02", "PR03", "RT01", "YD01"}


@pytest.fixture(scope="module")
def stores(tmp_path_factory, _small_survey, _held_out, small_model):
    """The directory that examples run in: a survey, a model of its first 300 stars, a catalogue."""
    folder = tmp_path_factory.mktemp("docs")
    paths = [folder / f"{name}.zarr" for name in ("survey", "model", "catalog")]
    survey = xr.concat([_small_survey, _held_out], "star", data_vars="minimal")
    sky = np.linspace(0, 1, survey.sizes["star"], endpoint=False)
    survey = survey.assign(ra=("star", 360 * sky), dec=("star", 180 * sky - 90))
    pairs = [f"o{i // 2}" for i in range(sky.size)]
    survey = survey.assign(object=("star", np.array(pairs, object)))
    store.write_dataset(survey, paths[0], chunk=300)
    small_model.save(paths[1])
    star = _small_survey.isel(star=0)
    np.savez(
        folder / "star.npz",
        flux=star.flux.values,
        ivar=star.flux_ivar.values,
        wavelength=star.wavelength.values,
    )
    lux.label_survey(*paths, progress=False)
    return folder


def without_lines(world):
    """A world in which mg_fe follows the other labels, with a scatter that no spectrum shows."""
    flux, label = (np.pad(w, ((0, 0), (0, 1))) for w in (world.flux_weights, world.label_weights))
    unit = np.array([300.0, 0.6, 0.4])
    label[3] = 0.1 * (label[:3] / unit[:, None]).sum(0)
    label[3, -1] = 0.1
    return dataclasses.replace(
        world, flux_weights=flux, label_weights=label, bend=np.zeros_like(flux)
    )


@pytest.fixture
def here(stores, monkeypatch):
    monkeypatch.chdir(stores)


def run_examples(test):
    """Run a doctest, and show all that went wrong."""
    said = []
    doctest.DocTestRunner(optionflags=ELLIPSIS, verbose=False).run(test, out=said.append)
    assert not said, "".join(said)


def blocks(path, language):
    return re.findall(rf"```{language}\n(.*?)```", path.read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.slow if n in LONG else ()) for n in PAGES]
)
def test_examples_of_the_guide_run(name, here):
    assert all(block.startswith(">>> ") for block in blocks(PAGES[name], "python"))
    text = re.sub(r"^```.*$", "", PAGES[name].read_text(encoding="utf-8"), flags=re.MULTILINE)
    for _ in range(1 + (name in WRITING)):
        run_examples(doctest.DocTestParser().get_doctest(text, {}, name, str(PAGES[name]), 0))


@pytest.mark.slow
def test_recipes_of_the_guide_tell_a_label_without_lines(world, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made = without_lines(world).survey(900, seed=5)
    store.write_dataset(made, "survey.zarr", chunk=300)
    lux.train(made.isel(star=slice(0, 300)), latent_dim=4, progress=False).save("model.zarr")
    lux.label_survey("survey.zarr", "model.zarr", "catalog.zarr", progress=False)
    found = {}
    for block in blocks(PAGES["errors"], "python"):
        for example in doctest.DocTestParser().get_examples(block):
            exec(compile(example.source, "errors.md", "single"), found)
    by_spectrum, *others = (float(found[f"by_{k}"]) for k in ("spectrum", "trend", "correlation"))
    assert by_spectrum == pytest.approx(0.1, rel=0.15)
    assert others == pytest.approx([by_spectrum] * 2, rel=0.15)


@pytest.mark.parametrize("path", WITH_EXAMPLES, ids=lambda p: p.relative_to(PACKAGE).as_posix())
def test_examples_of_docstrings_run(path, here):
    name = ".".join(["luxscale", *path.relative_to(PACKAGE).with_suffix("").parts]).removesuffix(
        ".__init__"
    )
    given = {
        "survey": lux.open_survey("survey.zarr"),
        "model": lux.load_model("model.zarr"),
        "catalog": store.open_dataset("catalog.zarr"),
    }
    found = doctest.DocTestFinder().find(importlib.import_module(name), name, globs=given)
    assert any(test.examples for test in found)
    for test in found:
        run_examples(test)


def run_command(line):
    program, *arguments = shlex.split(line, comments=True)
    assert program == "luxscale", line
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, f"{line}\n{result.output}"


@pytest.mark.slow
def test_commands_of_the_readme_run(tmp_path, monkeypatch):
    (block,) = (b for b in blocks(README, "bash") if "luxscale simulate" in b)
    monkeypatch.chdir(tmp_path)
    for line in block.splitlines():
        run_command(line)
    assert (tmp_path / "figures" / "labels.png").stat().st_size > 20_000


@pytest.mark.parametrize("name", ["errors", "other-tools", "run", "select", "survey"])
def test_commands_of_the_guide_run(name, here):
    lines = [line for block in blocks(PAGES[name], "bash") for line in block.splitlines()]
    for line in lines * 2:  # as who repeats them
        if not line.startswith("pip "):
            run_command(line)


def commands(path):
    """Every `luxscale` command of a page, a list of words."""
    code = "\n".join(blocks(path, "bash")).replace("\\\n", " ")
    code = re.sub(r"\$\([^)]*\)", "SHELL", code)
    prose = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL).replace(
        "\n", " "
    )
    quoted = re.findall(r"`(luxscale [^`]*)`", prose)
    for line in [*code.splitlines(), *quoted]:
        for part in line.split("&&"):
            if part.strip().startswith("luxscale "):
                yield shlex.split(part, comments=True)[1:]


@pytest.mark.parametrize("path", [README, *PAGES.values()], ids=lambda p: p.stem)
def test_commands_have_the_options_that_they_are_shown_with(path):
    for name, *words in commands(path):
        assert name in COMMANDS, f"luxscale {name}"
        options = {o for p in COMMANDS[name].params for o in (*p.opts, *p.secondary_opts)} | {
            "-h",
            "--help",
        }
        asked = {w.partition("=")[0] for w in words if w.startswith("-")}
        assert asked <= options, f"luxscale {name}: {asked - options}"


def test_public_functions_document_their_parameters():
    wrong = {}
    for module, names in PUBLIC.items():
        for name in names:
            codes = {
                code: text for code, text in validate(f"{module}.{name}")["errors"] if code in CODES
            }
            wrong |= {f"{module}.{name}": codes} if codes else {}
    assert wrong == {}


def test_the_reference_lists_every_public_name():
    """All names of these modules; of the others only what the guide names is for users."""
    assert API.count("currentmodule::") == len(PUBLIC)
    assert sorted(PUBLIC["luxscale"]) == sorted(lux.__all__)
    for name in ("analysis.neighbours", "cluster", "export", "guide", "plot", "report"):
        module = importlib.import_module(f"luxscale.{name}")
        assert PUBLIC[f"luxscale.{name}"] == module.__all__


def test_the_site_has_every_page_of_the_guide():
    contents = (PACKAGE / "guide" / "guide.rst").read_text(encoding="utf-8")
    assert re.findall(r"^   ([a-z-]+)$", contents, re.MULTILINE) == list(PAGES)


def has_name(module, name):
    """Whether a module has a name, or a module of its own of that name."""
    if hasattr(module, name):
        return True
    return hasattr(module, "__path__") and find_spec(f"{module.__name__}.{name}") is not None


@pytest.mark.parametrize("path", PAGES.values(), ids=lambda p: p.stem)
def test_names_in_the_guide_exist(path):
    text = path.read_text(encoding="utf-8")
    short = {
        "lux": "luxscale",
        **{name: f"luxscale.{name}" for name in ("crossval", "export", "plot", "store")},
        **{
            name: f"luxscale.analysis.{name}"
            for name in ("evaluate", "goodness", "interpret", "precision")
        },
    }
    code = "\n".join(re.findall(r"```python\n.*?```|`[^`\n]+`", text, re.DOTALL))
    modules = rf"(?<![\w.])(luxscale(?:\.\w+)*|{'|'.join(short)})\.(\w+)\b(?!/)"
    for module, name in re.findall(modules, code):
        full = short.get(module, module)
        assert has_name(importlib.import_module(full), name), f"{module}.{name}"


def read_text(path):
    """Return the text of a page, or of a notebook, without code."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".ipynb":
        cells = json.loads(text)["cells"]
        text = "\n\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "markdown")
    return re.sub(r"^ *```.*?^ *```|`[^`\n]+`", "", text, flags=re.DOTALL | re.MULTILINE)


def find_links(path):
    """Return where the links of a page lead, and the addresses that stand in its text."""
    text = read_text(path)
    addresses = re.findall(r"https?://[^\s)>\]]+[\w/]", text)
    return re.findall(r"\]\(([^)\s]+)\)", text) + addresses


def list_anchors(path):
    """Return the anchors of a page's headings, as GitHub and the site make them."""
    text = path.read_text(encoding="utf-8")
    headings = re.findall(r"^#+ +(.*?) *$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(path):
    for link in find_links(path):
        if re.match(r"https?://", link):
            continue
        name, _, anchor = link.partition("#")
        target = path.parent / name if name else path
        assert target.exists(), link
        assert not anchor or anchor in list_anchors(target), link


@pytest.mark.slow
@pytest.mark.once
def test_links_to_other_sites_lead_somewhere():
    """Where there is a network; sites that refuse programs, or are slow, count as answering."""
    try:
        urllib.request.urlopen("https://arxiv.org", timeout=10).close()
    except OSError as error:
        pytest.skip(f"links to other sites are not checked: arxiv.org does not answer ({error})")
    gone = []
    for link in sorted({link for path in DOCUMENTS for link in find_links(path)}):
        if not link.startswith("http"):
            continue
        asked = urllib.request.Request(link, headers={"User-Agent": "Mozilla/5.0"})
        try:
            urllib.request.urlopen(asked, timeout=30).close()
        except urllib.error.HTTPError as error:
            gone += [link] if error.code in (404, 410) else []
        except urllib.error.URLError as error:
            gone += [link] if isinstance(error.reason, socket.gaierror) else []
        except OSError:
            continue
    assert gone == []


@pytest.mark.parametrize("path", [README, *PAGES.values()], ids=lambda p: p.stem)
def test_files_of_the_repository_are_where_it_is_said(path):
    text = path.read_text(encoding="utf-8")
    named = re.findall(r"(?<![\w./-])((?:benchmarks|luxscale|tests|\.ci)/[\w./-]*\w)", text)
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_readme_is_a_page_and_leads_to_every_page_of_the_guide():
    text = README.read_text(encoding="utf-8")
    assert text.count("\n") <= 120
    assert [name for name in PAGES if f"(luxscale/guide/{name}.md)" not in text] == []


def test_the_citation_is_of_this_version():
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert cited["version"] == version("luxscale")
    names = [author["family-names"] for author in cited["preferred-citation"]["authors"]]
    assert names == ["Horta", "Price-Whelan", "Hogg", "Ness", "Casey"]


def test_the_guide_shows_the_contract():
    text = PAGES["survey"].read_text(encoding="utf-8")
    assert describe_variables(SURVEY) in text
    assert describe_variables(CATALOG) in text


def test_the_guide_explains_every_flag():
    from luxscale.schema.flags import BIT

    text = PAGES["errors"].read_text(encoding="utf-8")
    assert [name for name in BIT if f"| `{name}` |" not in text] == []


def test_every_command_is_named_in_the_readme_or_guide():
    text = "".join(p.read_text(encoding="utf-8") for p in (README, *PAGES.values()))
    assert [
        n
        for n, c in COMMANDS.items()
        if isinstance(c, click.Command) and f"luxscale {n}" not in text
    ] == []
