import pytest

from luxscale.info.doubts import find_doubts

FINE = {"snr": {"median": 3.0}, "ingest": {"masked": {"reasons": {"huge error": 0.1}}}}


@pytest.mark.parametrize("facts", [{}, {"snr": {"median": None}}, {"ingest": {"masked": {}}}, FINE])
def test_a_survey_that_looks_right(facts):
    assert list(find_doubts(facts)) == []


def test_ivar_that_may_be_errors():
    masked = {"reasons": {"huge error": 0.34}}
    low, huge = find_doubts({"snr": {"median": 0.206}, "ingest": {"masked": masked}})
    assert low.startswith("the median S/N is 0.21: ")
    assert huge.startswith("34% of the pixels have huge errors and are masked: ")
    assert "1 / error**2" in low and "1 / error**2" in huge
