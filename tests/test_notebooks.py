"""The notebooks are valid and stored with their figures.

Marked slow, each runs from clean without errors or warnings.
"""

import ast
from pathlib import Path

import nbformat
import pytest
from IPython.core.inputtransformer2 import TransformerManager
from nbclient import NotebookClient

FOLDER = Path(__file__).parent.parent / "notebooks"
NAMES = (
    "archive",
    "beyond-linear",
    "cluster",
    "first-labels",
    "from-files",
    "label-transfer",
    "large-survey",
    "paper",
)

#: Bytes of a notebook with its figures, which are stored at 60 dpi or less.
MOST_BYTES = 600_000

#: Warnings are errors, but for files that sdss_access leaves open.
STRICT = """import warnings
warnings.simplefilter("error")
warnings.filterwarnings("ignore", category=ResourceWarning, module="sdsstools")"""

#: Seconds a cell may take, on a busy machine.
PATIENCE = 300


def read(name):
    return nbformat.read(FOLDER / f"{name}.ipynb", as_version=nbformat.NO_CONVERT)


def code(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def test_all_notebooks_are_tested():
    assert sorted(path.stem for path in FOLDER.glob("*.ipynb")) == list(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_notebook_is_valid_and_holds_its_outputs(name):
    notebook = read(name)
    nbformat.validate(notebook)
    assert notebook.metadata.kernelspec.name == "python3"
    assert "pip install" in notebook.cells[0].source
    for number, cell in enumerate(code(notebook), start=1):
        assert cell.execution_count == number  # run once, from top to bottom
        assert [o for o in cell.outputs if o.output_type == "error"] == []
        ast.parse(TransformerManager().transform_cell(cell.source))
    outputs = [o for cell in code(notebook) for o in cell.outputs]
    figures = [o for o in outputs if "image/png" in o.get("data", {})]
    assert figures
    assert (FOLDER / f"{name}.ipynb").stat().st_size < MOST_BYTES


@pytest.mark.slow
@pytest.mark.once
@pytest.mark.parametrize("name", NAMES)
def test_notebook_runs_from_clean(name, tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    for folder in ("tmp", "here"):
        (tmp_path / folder).mkdir()
    (tmp_path / "tests").symlink_to(FOLDER.parent / "tests")  # as beside the notebooks
    notebook = read(name)
    notebook.cells.insert(0, nbformat.v4.new_code_cell(STRICT))
    place = {"metadata": {"path": str(tmp_path / "here")}}
    NotebookClient(notebook, timeout=PATIENCE, kernel_name="python3", resources=place).execute()
    said = "".join(
        o.text for cell in code(notebook) for o in cell.outputs if o.output_type == "stream"
    )
    assert "Warning" not in said, said
    assert not list((tmp_path / "here").iterdir()), (
        "notebooks write into a temporary directory only"
    )
