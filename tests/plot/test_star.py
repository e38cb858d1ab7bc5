"""A star is drawn in one line, from a survey, its path or a survey file."""

import numpy as np
import pytest
from surveyfiles import build_arrays

import luxscale as lux
from luxscale import plot, store
from luxscale.errors import InputError


def test_a_star_of_a_survey_is_drawn_with_what_the_model_infers(small_survey, small_model):
    name = small_survey.star.values[7]
    (top, bottom) = lux.plot.star(small_survey, name, small_model)
    catalog = lux.infer(small_survey.isel(star=[7]), small_model)
    expected = plot.spectrum(small_survey, name, catalog, small_model)
    for ax, other in zip((top, bottom), expected, strict=True):
        for line, theirs in zip(ax.lines, other.lines, strict=True):
            np.testing.assert_allclose(line.get_ydata(), theirs.get_ydata(), rtol=1e-5)
    assert top.get_title(loc="right") == expected[0].get_title(loc="right") != ""


def test_a_path_is_as_good(small_survey, small_model, tmp_path):
    store.write_dataset(small_survey.isel(star=slice(0, 3)), tmp_path / "s.zarr")
    small_model.save(tmp_path / "m.zarr")
    name = small_survey.star.values[1]
    axes = plot.star(tmp_path / "s.zarr", name, tmp_path / "m.zarr", span=(15110, 15150))
    assert axes.shape == (2,)
    assert plot.star(str(tmp_path / "s.zarr"), name).shape == (1,)


def test_a_survey_file_is_read_as_the_model_asks(small_survey, small_model, tmp_path):
    star = small_survey.isel(star=4)
    arrays = {"flux": star.flux.values, "ivar": star.flux_ivar.values}
    path = build_arrays(tmp_path / "x.npz", {**arrays, "wavelength": star.wavelength.values})
    top, _ = plot.star(path, model=small_model)
    assert top.get_title(loc="left").startswith("x.npz:0")
    good = star.flux_ivar.values > 0
    np.testing.assert_array_equal(top.lines[0].get_ydata()[good], star.flux.values[good])


def test_a_star_has_to_be_named_where_there_are_several(small_survey):
    with pytest.raises(InputError, match=r'has 300 stars; name one: lux\.plot\.star\(survey, "id"'):
        plot.star(small_survey)
    with pytest.raises(InputError, match="nobody"):
        plot.star(small_survey, "nobody")
    with pytest.raises(InputError, match="model is a int, not a LuxModel"):
        plot.star(small_survey, "nobody", 3)
    with pytest.raises(InputError, match=r"star is a Dataset, not an identifier; call it as"):
        plot.star("s1-00007", small_survey)
