"""Misfit is found under errors of labels several times larger, without calling errors misfit."""

import numpy as np
import pytest

from luxscale.training.misfit import measure_misfit


def sample(n, scale, formal, label_err, dof=np.inf, seed=0):
    """Residuals (n, label) with errors and a Student-t misfit of robust sigma ``scale`` a label."""
    rng = np.random.default_rng(seed)
    shape = (n, len(scale))
    heavy = rng.standard_normal(shape) if np.isinf(dof) else rng.standard_t(dof, shape)
    core = 1.4826 * np.median(np.abs(heavy), axis=0)
    formal, label_err = np.broadcast_to(formal, shape), np.broadcast_to(label_err, shape)
    noise = np.hypot(formal, label_err) * rng.standard_normal(shape)
    return heavy / core * scale + noise, formal, label_err


@pytest.mark.parametrize("dof", [3, np.inf])
def test_misfit_larger_than_errors_is_its_robust_sigma(dof):
    scale = np.array([0.5, 1.0, 3.0])
    got = measure_misfit(*sample(3000, scale, 0.2, 0.3, dof))
    np.testing.assert_allclose(got, scale, rtol=0.12)


@pytest.mark.parametrize("seed", range(3))
def test_misfit_a_quarter_of_the_errors_is_found_by_pooling(seed):
    """Alone, 3,600 residuals fix such a misfit to 20% or so.

    And any one label of ten may be far off.
    """
    scale = np.linspace(0.8, 1.2, 10)
    got = measure_misfit(*sample(3600, scale, 0.5, 4.0, 5, seed))
    np.testing.assert_allclose(got, scale, rtol=0.5)
    assert np.sqrt(np.mean((got / scale - 1) ** 2)) < 0.3


def test_a_label_unlike_the_others_keeps_its_own():
    scale = np.array([*[0.4] * 8, 6.0])
    got = measure_misfit(*sample(3000, scale, 0.3, 1.0))
    assert got[-1] == pytest.approx(6.0, rel=0.05)


def test_errors_that_explain_the_residuals_leave_little():
    got = measure_misfit(*sample(4000, np.zeros(4), 1.0, 0.3))
    assert (got < 0.35).all()


def test_labels_without_residuals_have_none():
    residual, formal, label_err = sample(500, np.array([1.0, 1.0]), 0.2, 0.2)
    residual = residual.copy()
    residual[:, 1] = np.nan
    got = measure_misfit(residual, formal, label_err)
    assert got[1] == 0 and got[0] == pytest.approx(1.0, rel=0.2)
    assert measure_misfit(residual[:0], formal[:0], label_err[:0]).tolist() == [0, 0]


def test_units_do_not_matter():
    residual, formal, label_err = sample(800, np.array([1.0, 2.0]), 0.2, 0.2)
    unit = np.array([1e3, 1e-4])
    np.testing.assert_allclose(
        measure_misfit(residual * unit, formal * unit, label_err * unit),
        measure_misfit(residual, formal, label_err) * unit,
        rtol=1e-6,
    )
