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


def test_flux_in_a_unit_that_float32_does_not_hold():
    masked = {"reasons": {"beyond float32": 0.62}}
    (said,) = find_doubts({"ingest": {"masked": masked}})
    assert said.startswith("62% of the pixels are masked as flux or ivar do not fit float32: ")
    few = {"reasons": {"beyond float32": 1e-6}}  # a pixel that is damaged says nothing of units
    assert list(find_doubts({"ingest": {"masked": few}})) == []


@pytest.mark.parametrize(
    ("least", "greatest", "unit", "other"),
    [
        (336, 1020, "Angstrom", "nm"),
        (15100, 17000, "nm", "Angstrom"),
        (0.4, 0.8, "Angstrom", "um"),
    ],
)
def test_wavelengths_in_another_unit_than_stated(least, greatest, unit, other):
    grid = {"least": least, "greatest": greatest}
    (said,) = find_doubts({"outputs": {"flux": {**grid, "units": unit}, "label_value": {}}})
    assert said.startswith(f"flux is from {least} to {greatest} {unit}: ")
    assert f"may be {other}" in said
    assert not list(find_doubts({"outputs": {"flux": {**grid, "units": other}}}))
