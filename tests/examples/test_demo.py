import json
import re
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from click.testing import CliRunner

import luxscale as lux
from luxscale.analysis.stats import MAD_TO_SIGMA
from luxscale.cli import main
from luxscale.errors import InputError
from luxscale.examples.demo import run_demo
from luxscale.training import recipes, resolve

README = Path(__file__).parents[2] / "README.md"


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """What `luxscale demo` prints as JSON: the whole way, with worker processes."""
    out = tmp_path_factory.mktemp("demo") / "luxscale-demo"
    result = CliRunner().invoke(
        main, ["demo", "--out", str(out), "--recipe", "curved-cubic", "--json", "--quiet"]
    )
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


@pytest.mark.slow
def test_labels_agree_with_apogee(demo):
    rows = {r["label"]: r for r in demo["labels"]}
    bounds = {"teff": 60, "logg": 0.21, "fe_h": 0.125, "alpha_m": 0.043, "a_k": 0.038}
    assert {k: rows[k]["robust_scatter"] < bound for k, bound in bounds.items()} == dict.fromkeys(
        bounds, True
    )


@pytest.mark.slow
def test_errors_are_right_in_each_third_of_signal(demo):
    catalog = xr.open_zarr(demo["catalog"], consolidated=False)
    survey = lux.open_survey(demo["survey"])
    truth = survey.sel(star=catalog["star"].values).compute()
    miss = catalog["label_value"].values - truth["label_value"].values
    given = truth["label_err"].values
    both = np.hypot(catalog["label_err"].values, given)
    signal = np.median(truth["flux"].values * np.sqrt(truth["flux_ivar"].values), axis=1)
    for rows in np.array_split(np.argsort(signal), 3):
        pull = MAD_TO_SIGMA * np.nanmedian(abs(miss / both)[rows], axis=0)
        alone = MAD_TO_SIGMA * np.nanmedian(abs(miss / given)[rows], axis=0)
        assert (pull < 1.15).all()
        # given errors that are too large leave no more, whatever the errors of inference are
        assert (pull > np.minimum(0.85, 0.95 * alone)).all()


@pytest.mark.slow
def test_catalog_is_complete_and_blind(demo):
    catalog = xr.open_zarr(demo["catalog"], consolidated=False)
    assert catalog.sizes["star"] == 3000
    assert (catalog["status"] == 1).all()
    assert "label_value" not in xr.open_zarr(demo["unlabelled"], consolidated=False)


@pytest.mark.slow
def test_draws_figures(demo):
    assert [Path(f).name for f in demo["figures"]] == ["labels.png", "kiel.png", "spectra.png"]
    assert all(Path(f).stat().st_size > 20_000 for f in demo["figures"])


def list_two_recipes(*sizes):
    """Return a linear recipe and a curved one: the commands of the README compare all."""
    found, reason = recipes.list_recipes(*sizes)
    return [recipe for recipe in found if recipe.name in ("linear", "curved")], reason


@pytest.mark.slow
def test_python_of_the_readme_runs(demo, monkeypatch, capsys):
    monkeypatch.setattr(resolve, "list_recipes", list_two_recipes)
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    assert len(blocks) == 1
    monkeypatch.chdir(Path(demo["survey"]).parents[1])
    exec(compile("\n".join(blocks), "README.md", "exec"), {})
    captured = capsys.readouterr()
    assert "n_stars=3000" in captured.out
    assert all(f"{name} " in captured.err for name in ("linear", "curved"))


def test_leaves_other_directories_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(InputError, match="something other than a demo is there; choose another"):
        run_demo(tmp_path, progress=False)
    assert (tmp_path / "thesis.tex").read_text() == "precious"


def test_leaves_what_has_the_name_of_a_store_alone(tmp_path):
    (tmp_path / "luxscale-demo.json").touch()
    (tmp_path / "catalog.zarr").mkdir()
    (tmp_path / "catalog.zarr" / "thesis.tex").write_text("precious")
    with pytest.raises(InputError, match=r"catalog\.zarr: something other than .* is there"):
        run_demo(tmp_path, progress=False)
    assert (tmp_path / "catalog.zarr" / "thesis.tex").read_text() == "precious"
