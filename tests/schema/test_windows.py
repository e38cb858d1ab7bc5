"""Windows of wavelengths hold their ends, and may overlap."""

import numpy as np

from luxscale.schema.windows import find_within


def test_pixels_lie_in_any_of_the_spans_ends_included():
    grid = np.arange(10.0)
    found = find_within(grid, ((1.0, 2.0), (2.0, 3.5), (9.0, 99.0), (4.2, 4.8)))
    assert np.flatnonzero(found).tolist() == [1, 2, 3, 9]
    assert not find_within(grid, ()).any()
