"""Labels of a catalogue against trusted ones, from the command line."""

import pytest
from click.testing import CliRunner

import luxscale as lux
from luxscale import store
from luxscale.cli import main


@pytest.mark.parametrize("empty", [0, 3])
def test_stars_without_data_are_said(held_out, small_model, tmp_path, empty):
    survey = held_out.isel(star=slice(0, 60))
    survey["flux_ivar"][:empty] = 0
    store.write_dataset(survey, tmp_path / "survey.zarr")
    store.write_dataset(lux.infer(survey, small_model), tmp_path / "catalog.zarr")
    command = ["validate", str(tmp_path / "catalog.zarr"), str(tmp_path / "survey.zarr")]
    said = CliRunner().invoke(main, command).output
    assert ("without them, add --where 'not no_data'" in said) == bool(empty)
    assert (f"{empty} of 60 stars have no data" in said) == bool(empty)
    without = CliRunner().invoke(main, [*command, "--where", "not no_data"])
    assert "have no data" not in without.output and without.exit_code == 0
