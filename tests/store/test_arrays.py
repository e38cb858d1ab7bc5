"""Arrays are laid out in chunks of stars."""

import pytest

from luxscale import store


@pytest.mark.parametrize("order", [("flux", "flux_ivar"), ("flux_ivar", "flux")])
def test_the_chunk_does_not_depend_on_how_a_directory_is_listed(small_survey, order):
    survey = small_survey.chunk(star=10)
    survey["flux_ivar"] = survey["flux_ivar"].chunk(star=20)
    assert store.get_star_chunk(survey[list(order)]) == 20
