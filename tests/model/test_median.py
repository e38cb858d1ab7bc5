import numpy as np
import pytest

from luxscale.model.jit import compile_program, use_float64
from luxscale.model.median import find_median


@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("features", [6, 7])
def test_it_is_the_median_of_what_is_known(wide, features):
    rng = np.random.default_rng(1)
    values = np.exp(3 * rng.standard_normal((20, features)))
    values = values if wide else values.astype("f4")
    known = rng.random(values.shape) < 0.7
    known[0] = False
    known[1] = np.arange(features) == 2
    values[2] = 5.0  # all alike
    run = compile_program()(find_median)
    if wide:
        with use_float64():
            got = run(values, known)
    else:
        got = run(values, known)
    expected = [np.median(v[k]) if k.any() else np.nan for v, k in zip(values, known, strict=True)]
    np.testing.assert_allclose(got, expected, rtol=1e-12 if wide else 1e-6)
