"""Numbers that stand for "missing" become no measurements, and no measurement is refused."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import luxscale as lux
from luxscale import store
from luxscale.errors import InputError
from luxscale.info.describe import describe
from luxscale.schema import flags
from luxscale.schema.placeholders import SENTINELS, find_placeholders

EVERY = (*SENTINELS, np.float32(-9999.99), 1e20, 9.969209968386869e36, -32768.0)


@given(
    st.sampled_from(EVERY),
    st.lists(st.floats(3500, 8000), min_size=1, max_size=30),
    st.integers(0, 30),
)
def test_a_placeholder_among_temperatures_is_found(number, others, place):
    values = np.insert(np.array(others), min(place, len(others)), number)[:, None]
    found = find_placeholders(values, np.ones(values.shape, bool), each=True)
    assert found[:, 0].tolist() == (values[:, 0] == number).tolist()


@pytest.mark.parametrize("number", EVERY)
def test_it_is_believed_among_values_beyond_it(number):
    values = np.array([[number - abs(number)], [number], [number + abs(number)]])
    assert not find_placeholders(values, np.ones((3, 1), bool), each=True).any()


def test_what_is_missing_anyway_is_no_matter():
    values = np.array([[-9999.0, 1.0], [-9999.0, 2.0]])
    known = np.array([[False, True], [True, True]])
    found = find_placeholders(values, known, each=True)
    assert found.tolist() == [[False, False], [True, False]]


def test_pixels_are_compared_with_all_others():
    counts = np.array([[999.0, 5000.0], [20.0, 300.0]])
    assert not find_placeholders(counts, np.ones((2, 2), bool), each=False).any()
    assert find_placeholders(counts, np.ones((2, 2), bool), each=True).tolist() == [
        [True, False],
        [False, False],
    ]


def put_label(survey):
    survey["label_value"][7, 0] = -9999
    survey["label_err"][7, 0] = 50
    return survey


def put_flux(survey):
    survey["flux"][7, 3] = -9999
    survey["flux_ivar"][7, 3] = 400
    return survey


LABEL = r"'label_value' = -9999.0 at star 's1-00007', label teff: -9999.0 stands for"
FLUX = r"'flux' = -9999.0 at star 's1-00007', wavelength 15106.0: -9999.0 stands for"


@pytest.mark.parametrize(("put", "message"), [(put_label, LABEL), (put_flux, FLUX)])
def test_every_door_refuses_them(small_survey, tmp_path, put, message):
    spoilt = put(small_survey.copy(deep=True))
    path = tmp_path / "a.zarr"
    with pytest.raises(InputError, match=message):
        store.write_dataset(spoilt, path)
    store.write_arrays(spoilt, path)
    for enter in (
        lambda: store.open_survey(path),
        lambda: describe(path, check=True),
        lambda: lux.train(spoilt, 2, progress=False),
    ):
        with pytest.raises(InputError, match=message):
            enter()


@pytest.mark.parametrize("put", [put_label, put_flux])
def test_the_advice_leads_to_a_survey_that_opens(small_survey, tmp_path, put):
    survey = put(small_survey.copy(deep=True))
    with pytest.raises(InputError) as refused:
        store.write_dataset(survey, tmp_path / "a.zarr")
    advice = str(refused.value).split("mark it as missing: ")[1]
    exec(advice, {"survey": survey})
    store.write_dataset(survey, tmp_path / "a.zarr")
    assert store.open_survey(tmp_path / "a.zarr", check="all").sizes["star"] == 300


def test_a_flux_that_is_none_gets_no_weight(small_survey, small_model):
    stars = small_survey.isel(star=slice(20))
    gap = stars.copy(deep=True)
    gap["flux_ivar"][7, 3] = 0
    spoilt = lux.infer(put_flux(stars.copy(deep=True)), small_model, "flux").compute()
    without = lux.infer(gap, small_model, "flux").compute()
    np.testing.assert_array_equal(spoilt["label_value"], without["label_value"])
    is_wrong = (spoilt["flags"].values & flags.BIT["invalid_values"]) > 0
    assert np.flatnonzero(is_wrong).tolist() == [7]


def test_a_label_alone_in_its_block_is_judged_by_all_stars(small_survey, tmp_path):
    survey = small_survey.isel(star=slice(0, 257)).copy(deep=True)
    survey["label_value"][:256, 0] = np.linspace(-150, 150, 256)
    survey["label_err"][:256, 0] = 1
    survey["label_value"][256, 0] = -99.0
    survey["label_err"][256, 0] = 1
    store.write_dataset(survey, tmp_path / "a.zarr", chunk=256)
    assert store.open_survey(tmp_path / "a.zarr", check="all").sizes["star"] == 257
