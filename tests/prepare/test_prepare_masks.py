import numpy as np
import pytest

from luxscale.prepare import masks

BITS = {"COSMIC": 0, "SKY": 5, "TOP": 31}
BAD = ("SKY", "COSMIC")


def find(flux, ivar=None, mask=None, bad=BAD, most_error=None):
    flux = np.atleast_2d(np.asarray(flux, float))
    ivar = np.ones(flux.shape) if ivar is None else np.atleast_2d(np.asarray(ivar, float))
    mask = None if mask is None else np.atleast_2d(mask)
    names = ("", *masks.list_reasons(bad))
    return [names[i] for i in masks.find_bad_pixels(flux, ivar, mask, BITS, bad, most_error)[0]]


def test_each_pixel_has_the_first_reason():
    flux = [1, np.nan, -9999, 0, 1, 1, np.nan, 0, -999, 9999, np.inf]
    ivar = [1, 1, 1, 1, 0, -1, 1, 0, 0, 1, 1]
    mask = np.array([2, 0, 0, 0, 0, 0, 33, 1, 0, 0, 0])
    assert find(flux, ivar, mask) == [
        "", "not finite", "sentinel", "zero flux", "no error", "no error", "SKY", "COSMIC",
        "sentinel", "sentinel",
        "not finite",
    ]  # fmt: skip


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_what_netcdf_never_wrote_is_bad(kind):
    fill = float(kind(9.969209968386869e36))
    assert find([1, fill, 1], [fill, 1, 9.9e36]) == ["no error", "sentinel", ""]


def test_ivar_that_is_not_finite_is_bad():
    assert find([1, 1], [np.nan, np.inf]) == ["not finite"] * 2


@pytest.mark.parametrize("dtype", [np.int16, np.int32, np.uint32, np.int64, np.uint64])
def test_only_the_bits_named_count(dtype):
    mask = np.array([0, 1, 2, 32, 33, 34], dtype)
    assert find(np.ones(6), mask=mask) == ["", "COSMIC", "", "SKY", "SKY", "SKY"]
    assert find(np.ones(6), mask=mask, bad=("COSMIC",)) == ["", "COSMIC", "", "", "COSMIC", ""]
    assert find(np.ones(6), mask=mask, bad=()) == [""] * 6


def test_the_sign_bit_is_a_bit():
    mask = np.array([0, -(2**31), 1], np.int32)
    assert find(np.ones(3), mask=mask, bad=("TOP",)) == ["", "TOP", ""]


def test_huge_errors_are_judged_by_the_typical_flux_whatever_huge_pixels_hold():
    flux, ivar = np.full(50, 100.0), np.full(50, 1.0)
    flux[3], ivar[3] = 1e12, 1e-20  # as bad pixels of aspcapStar
    ivar[4], ivar[5] = 1 / 990.0**2, 1 / 1010.0**2
    found = find(flux, ivar, most_error=10)
    assert [i for i, reason in enumerate(found) if reason] == [3, 5] and found[3] == "huge error"
    assert find(-flux, ivar, most_error=10) == found
    assert not any(find(flux, ivar, most_error=None))


def test_a_star_without_flux_has_no_huge_errors():
    assert not any(find([1, -1, 1, -1], most_error=10))
