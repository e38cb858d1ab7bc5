"""Every kind of fault, injected into runs on worker processes: nothing is lost."""

import faults
import faults_bench
import pytest


@pytest.mark.slow
@pytest.mark.once
@pytest.mark.parametrize("kind", faults.KINDS)
def test_nothing_is_lost(bench, kind):
    result = faults.inject(bench, kind)
    if result.skipped:
        pytest.skip(result.skipped)
    assert result.complaints == []
    assert result.injected > 0
    assert (result.lost, result.differing) == (0, 0)


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    return faults_bench.Bench(tmp_path_factory.mktemp("faults"), seed=0)
