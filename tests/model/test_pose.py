"""A model poses the same problem in every process, to the last bit."""

import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from luxscale.model import pose
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
