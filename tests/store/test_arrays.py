"""Arrays are laid out in chunks of stars."""

import pytest

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
