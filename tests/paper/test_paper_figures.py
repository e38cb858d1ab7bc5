"""Figures that the notebook leaves out, drawn through the command: 12, 13, 14 and 17."""

from pathlib import Path

import pytest
from click.testing import CliRunner
from matplotlib.image import imread

from luxscale.cli import main
from luxscale.paper import FIGURES, crossvalidation

PUBLISHED = Path(__file__).parents[3] / "shared" / "data"
OF_FILES = ("12", "13", "17")


def drawn(out, numbers, *options):
    arguments = ["paper", *numbers, "--out", str(out), "--fraction", "0.02", "--quiet", *options]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    for number in numbers:
        image = imread(out / f"figure-{number}.png")
        assert image.shape[1] >= 1000 and image[..., :3].std() > 0.05  # not blank


@pytest.fixture
def small_grid(monkeypatch):
    monkeypatch.setattr(crossvalidation, "LATENT_DIMS", (6, 12))
    monkeypatch.setattr(crossvalidation, "OMEGAS", (1.0, 1000.0))


@pytest.mark.slow
@pytest.mark.once
def test_cross_validation(tmp_path, small_grid):
    drawn(tmp_path, ["14"], "--pixels", "200")


@pytest.mark.slow
@pytest.mark.once
def test_those_of_published_files(tmp_path):
    files = {name: next(PUBLISHED.rglob(name), None) for n in OF_FILES for name in FIGURES[n].needs}
    if None in files.values():
        pytest.skip("the published files are not here")
    (tmp_path / "data").mkdir()
    for name, path in files.items():
        (tmp_path / "data" / name).symlink_to(path)
    drawn(tmp_path, OF_FILES, "--pixels", "200", "--data", str(tmp_path / "data"))
