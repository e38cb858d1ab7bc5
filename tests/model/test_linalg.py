"""The shared-design least squares agree with plain loops in float64."""

import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from luxscale.model import linalg
from luxscale.model.jit import compile_program

WHOLE = st.integers(-1000, 1000).map(float)  # products of whole numbers are exact in float32
FEW = settings(max_examples=25)

# a program each, where step by step every operation would be compiled for itself
invert_root, normal_equations, pack, pack_symmetric, quadratic_form, solve, square = (
    compile_program()(getattr(linalg, name))
    for name in (
        "invert_root",
        "normal_equations",
        "pack",
        "pack_symmetric",
        "quadratic_form",
        "solve",
        "square",
    )
)
unpack = compile_program(static_argnums=1)(linalg.unpack)


@pytest.fixture
def problem():
    """Weights (7 stars, 30 features), values, design (30, 5), float32."""
    rng = np.random.default_rng(0)
    w = rng.uniform(0, 3, (7, 30)) * (rng.random((7, 30)) > 0.2)
    return tuple(
        a.astype(np.float32)
        for a in (w, rng.standard_normal((7, 30)), rng.standard_normal((30, 5)))
    )


@pytest.fixture
def normal(problem):
    """Positive definite matrices (7, 5, 5) and right-hand sides, float64, by loops."""
    w, r, x = (a.astype(float) for a in problem)
    h = np.array([sum(wd * np.outer(xd, xd) for wd, xd in zip(wn, x, strict=True)) for wn in w])
    rhs = np.array(
        [
            sum(wd * rd * xd for wd, rd, xd in zip(wn, rn, x, strict=True))
            for wn, rn in zip(w, r, strict=True)
        ]
    )
    return h, rhs


@pytest.mark.parametrize("p", [1, 2, 5])
def test_packed_index_runs_over_the_lower_triangle_by_row(p):
    i, j, table = linalg.packed_index(p)
    expected = [(a, b) for a in range(p) for b in range(a + 1)]
    assert list(zip(i.tolist(), j.tolist(), strict=True)) == expected
    for k, (a, b) in enumerate(expected):
        assert table[a, b] == table[b, a] == k


@FEW
@given(hnp.arrays(np.float32, st.sampled_from([(1, 1), (2, 3), (3, 6)]), elements=WHOLE))
def test_unpacked_products_are_outer_products(x):
    outer = np.array([np.outer(row, row) for row in x], np.float32)
    np.testing.assert_array_equal(unpack(pack(jnp.asarray(x)), x.shape[1]), outer)


@FEW
@given(hnp.arrays(np.float32, st.sampled_from([(1, 1, 1), (2, 3, 3), (2, 6, 6)]), elements=WHOLE))
def test_packing_symmetric_matrices_loses_nothing(c):
    symmetric = np.float32(0.5) * c + np.float32(0.5) * c.swapaxes(1, 2)
    packed = pack_symmetric(jnp.asarray(symmetric))
    p = c.shape[1]
    assert packed.shape == (len(c), p * (p + 1) // 2)
    np.testing.assert_array_equal(unpack(packed, p), symmetric)


def test_quadratic_form_counts_off_diagonal_elements_twice(normal, problem):
    h, x = normal[0], problem[2]
    expected = np.array([[xd @ c @ xd for xd in x.astype(float)] for c in h])
    got = quadratic_form(pack_symmetric(jnp.asarray(h, jnp.float32)), jnp.asarray(x))
    np.testing.assert_allclose(got, expected, rtol=1e-5)


@pytest.mark.parametrize("n_columns", [1, 2, 7])
def test_columns_are_multiplied_in_the_order_of_packed_matrices(n_columns):
    x = np.random.default_rng(0).normal(size=(11, n_columns)).astype(np.float32)
    made = linalg.multiply_columns(x)
    np.testing.assert_array_equal(made, pack(jnp.asarray(x)).T)
    assert made.dtype == np.float32


@pytest.mark.parametrize("together", [True, False], ids=["of all stars", "star by star"])
def test_normal_equations_agree_with_loops(problem, normal, together):
    w, r, x = map(jnp.asarray, problem)
    h, rhs = normal_equations(w, r, x, pack(x).T if together else None)
    np.testing.assert_allclose(unpack(h, 5), normal[0], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(rhs, normal[1], rtol=1e-4, atol=1e-4)


def test_solve_gives_solution_covariance_and_determinant(normal):
    h, rhs = normal
    a = np.random.default_rng(1).standard_normal((3, 5))
    got = solve(*(jnp.asarray(x, jnp.float32) for x in (h, rhs, a.T)))
    np.testing.assert_allclose(
        got.x, np.linalg.solve(h, rhs[..., None])[..., 0], rtol=1e-3, atol=1e-4
    )
    expected = np.array([a @ np.linalg.inv(m) @ a.T for m in h])
    np.testing.assert_allclose(square(got.half), expected, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(got.log_det, np.linalg.slogdet(h)[1], rtol=1e-5)


def test_targets_may_differ_between_stars(normal):
    h, rhs = normal
    a = np.random.default_rng(1).standard_normal((7, 5, 2))
    got = solve(*(jnp.asarray(x, jnp.float32) for x in (h, rhs, a)))
    expected = np.array([t.T @ np.linalg.inv(m) @ t for m, t in zip(h, a, strict=True)])
    np.testing.assert_allclose(square(got.half), expected, rtol=1e-3, atol=1e-5)


def test_solve_bears_latents_of_very_different_scale():
    """Scaling to unit diagonal first: float32 alone would lose a condition number of 1e12."""
    grade = np.array([1e6, 1.0, 1e-6])
    h = (np.eye(3) + 0.3) * grade[:, None] * grade
    x = solve(jnp.asarray(h[None], jnp.float32), jnp.asarray(grade[None], jnp.float32)).x
    np.testing.assert_allclose(np.asarray(x)[0] * grade, np.full(3, 1 / 1.9), rtol=1e-5)


def test_a_singular_matrix_is_solved_and_its_neighbours_are_left_alone(normal):
    h, rhs = normal
    x = np.random.default_rng(0).standard_normal((2, 5))
    h = np.concatenate([h, (x.T @ x)[None] + 1e-9 * np.eye(5)])
    rhs = np.concatenate([rhs, (x.T @ np.ones(2))[None]])
    got = solve(jnp.asarray(h, jnp.float32), jnp.asarray(rhs, jnp.float32)).x
    np.testing.assert_allclose(x @ got[-1], np.ones(2), atol=0.01)
    assert np.abs(got[-1]).max() < 10
    alone = solve(jnp.asarray(h[:-1], jnp.float32), jnp.asarray(rhs[:-1], jnp.float32)).x
    np.testing.assert_array_equal(got[:-1], alone)


@pytest.fixture(params=[5, 19], ids=["one by one", "by halves"])
def positive(request):
    """Positive definite matrices (4, p, p), float64, of latents of very different scale."""
    p = request.param
    x = np.random.default_rng(0).standard_normal((4, 3 * p, p)) * 10 ** np.linspace(-6, 6, p)
    return x.swapaxes(1, 2) @ x


def test_an_inverse_root_is_that_of_the_cholesky_factor(positive):
    got = np.asarray(invert_root(np.asarray(positive, np.float32)))
    expected = np.linalg.inv(np.linalg.cholesky(positive))
    scale = np.sqrt(np.diagonal(positive, axis1=1, axis2=2))[:, None]
    np.testing.assert_allclose(got * scale, expected * scale, rtol=1e-4, atol=1e-5)
    assert not np.triu(got, 1).any()


@pytest.mark.parametrize("element", [0, -1], ids=["first", "last"])
def test_a_matrix_that_is_not_positive_has_no_inverse_root(positive, element):
    h = np.asarray(positive, np.float32)
    expected = invert_root(h)
    for value in (0, -1):
        h[1, element, element] = value
        got = np.asarray(invert_root(h))
        assert np.isnan(got[1, -1]).all()
        np.testing.assert_array_equal(got[[0, 2, 3]], expected[np.array([0, 2, 3])])


def test_calls_of_lapack_wait_for_each_other():
    """Two at once, each waiting for XLA's threads for its batch, hang on a machine of two cores."""
    closed = jax.make_jaxpr(linalg.solve)(jnp.eye(4)[None], jnp.ones((1, 4)), jnp.eye(4))
    rests_on, calls = {}, []  # variable -> the LAPACK calls that it rests on
    for equation in _flat(closed.jaxpr.eqns):
        before = set().union(
            *(rests_on.get(v, set()) for v in equation.invars if not hasattr(v, "val"))
        )
        if any(name in str(equation) for name in ("cholesky", "triangular_solve")):
            assert before == set(range(len(calls)))
            before = before | {len(calls)}
            calls.append(equation.primitive.name)
        rests_on |= dict.fromkeys(equation.outvars, before)
    assert calls == ["cholesky", "cond", "triangular_solve", "triangular_solve"]


def _flat(equations):
    """Equations with what jit has wrapped put in place of the wrapping."""
    for e in equations:
        if "jaxpr" not in e.params:
            yield e
            continue
        inner = e.params["jaxpr"].jaxpr
        same = dict(zip(inner.invars, e.invars, strict=True)) | dict(
            zip(inner.outvars, e.outvars, strict=True)
        )
        renamed = [
            x.replace(
                invars=[_seek(same, v) for v in x.invars],
                outvars=[_seek(same, v) for v in x.outvars],
            )
            for x in inner.eqns
        ]
        yield from _flat(renamed)


def _seek(same, v):
    return v if hasattr(v, "val") else same.get(v, v)


def test_programs_called_from_many_threads_all_finish():
    """Two JAX programs at once can deadlock on few cores; the lock must not deadlock either."""

    @compile_program(static_argnames=("power",))
    def gram(x, power):
        return linalg.dot(x, x.T) ** power

    x = np.random.default_rng(0).standard_normal((200, 200)).astype(np.float32)
    expected = {k: (x.astype(float) @ x.T.astype(float)) ** k for k in (1, 2)}
    failed, done = [], []

    def work(power):
        for _ in range(20):
            if not np.allclose(gram(x, power=power), expected[power], rtol=1e-2, atol=1e-2):
                failed.append(power)
        done.append(power)

    threads = [threading.Thread(target=work, args=(1 + i % 2,), daemon=True) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    assert len(done) == 8, "threads hang"
    assert not failed


def test_program_keeps_name_and_runs_inside_another():
    @compile_program()
    def inner(x):
        """Twice x."""
        return 2 * x

    @compile_program()
    def outer(x):
        return inner(x) + 1

    assert (inner.__name__, inner.__doc__) == ("inner", "Twice x.")
    np.testing.assert_array_equal(outer(np.arange(3.0, dtype=np.float32)), [1, 3, 5])
