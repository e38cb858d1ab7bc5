"""A model poses the same problem in every process, to the last bit."""

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from luxscale.model import designs, linalg, pose
from luxscale.model.inference import Inference


@pytest.mark.parametrize(
    ("kind", "prepared"),
    [("small_model", "add_components"), ("gaussian_curved_model", "make_landmarks")],
)
def test_blas_has_one_thread_while_a_model_is_prepared(kind, prepared, request, monkeypatch):
    """Sums that several threads share out are others by rounding."""
    threads = []
    prepare = getattr(pose, prepared)

    def watch(*given, **more):
        libraries = [found for found in threadpool_info() if found["user_api"] == "blas"]
        threads.extend(library["num_threads"] for library in libraries)
        return prepare(*given, **more)

    monkeypatch.setattr(pose, prepared, watch)
    model = request.getfixturevalue(kind)
    with threadpool_limits(2, user_api="blas"):
        Inference.of(model)
    assert set(threads) == {1}


@pytest.mark.parametrize("n_columns", [1, 2, 7])
def test_products_of_columns_are_in_the_order_of_the_kernel(n_columns):
    weights = np.random.default_rng(0).normal(size=(11, n_columns)).astype(np.float32)
    made = designs._multiply_columns(weights)
    i, j, _ = linalg.packed_index(n_columns)
    np.testing.assert_array_equal(made, weights.T[i] * weights.T[j])
    assert made.dtype == np.float32
