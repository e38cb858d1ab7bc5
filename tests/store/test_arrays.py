"""Arrays are laid out in chunks of stars."""

import pytest
import zarr

import luxscale as lux
from luxscale import store
from luxscale.errors import InputError


@pytest.mark.parametrize("order", [("flux", "flux_ivar"), ("flux_ivar", "flux")])
def test_the_chunk_does_not_depend_on_how_a_directory_is_listed(small_survey, order):
    survey = small_survey.chunk(star=10)
    survey["flux_ivar"] = survey["flux_ivar"].chunk(star=20)
    assert store.get_star_chunk(survey[list(order)]) == 20


@pytest.mark.parametrize("path", ["", "  "])
def test_a_path_without_a_name_is_refused(path):
    with pytest.raises(InputError, match="' is given as the path of a store; give one that has"):
        lux.open_survey(path)
    with pytest.raises(InputError, match="' is given as the path of a store; give one that has"):
        lux.label_survey(path, "model.zarr", "catalog.zarr", progress=False)


def test_parts_of_metadata_that_a_kill_left_are_no_arrays(tmp_path):
    group = zarr.open_group(tmp_path / "s.zarr", mode="w")
    group.create_array("flux", shape=(3,), dtype="f4")
    (tmp_path / "s.zarr" / "zarr.0f0f.partial").write_text("{")
    assert [name for name, _ in store.list_arrays(group)] == ["flux"]
    (tmp_path / "s.zarr" / "notes").mkdir()
    with pytest.warns(UserWarning, match="notes is not recognized"):
        store.list_arrays(group)
