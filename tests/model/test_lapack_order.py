"""What watches the programs of all tests finds calls of LAPACK that could run at the same time."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.scipy.linalg import solve_triangular
from lapack_order import find_unordered

from luxscale.model import linalg
from luxscale.model.jit import compile_program

MATRICES = np.broadcast_to(np.eye(3, dtype="f4"), (4, 3, 3))

PAIR = ["cholesky and cholesky"]


def factor_both(one, other):
    return jnp.linalg.cholesky(one) + jnp.linalg.cholesky(other)


def factor_in_order(one, other):
    first = jnp.linalg.cholesky(one)
    return first + jnp.linalg.cholesky(linalg.follow(other, first))


def within_condition(function):
    return lambda a, b: jax.lax.cond(a.sum() > 0, function, lambda a, b: a, a, b)


def within_while(function):
    return lambda a, b: jax.lax.while_loop(lambda x: x.sum() < 9, lambda x: function(x, b), a)


def within_scan(function):
    return lambda a, b: jax.lax.scan(lambda x, _: (function(x, b), None), a, length=3)[0]


def within_map(function):
    return lambda a, b: jax.vmap(function, (0, None))(jnp.stack([a, a]), b)


def within_condition_in_scan_in_program(function):
    return jax.jit(within_scan(within_condition(function)))


WITHIN = [
    lambda function: function,
    jax.jit,
    jax.checkpoint,
    within_condition,
    within_while,
    within_scan,
    within_map,
    within_condition_in_scan_in_program,
]


def find_in(function, *arguments):
    return find_unordered(jax.jit(function).trace(*arguments).jaxpr.jaxpr)


@pytest.mark.parametrize("within", WITHIN)
def test_two_calls_that_do_not_wait_are_found(within):
    assert find_in(within(factor_both), MATRICES, MATRICES) == PAIR
    assert find_in(within(factor_in_order), MATRICES, MATRICES) == []


def test_a_loop_is_one_call():
    loop = within_scan(factor_in_order)
    assert find_in(lambda a, b: (loop(a, b), jnp.linalg.cholesky(b)), MATRICES, MATRICES) == [
        "scan and cholesky"
    ]
    assert find_in(lambda a, b: jnp.linalg.cholesky(loop(a, b)), MATRICES, MATRICES) == []


def test_of_the_branches_of_a_condition_one_is_run_unless_it_is_mapped():
    def factor_either(condition, one, other):
        return jax.lax.cond(condition, jnp.linalg.cholesky, lambda _: factor_other(other), one)

    def factor_other(matrices):
        return jnp.linalg.cholesky(matrices).swapaxes(1, 2)

    assert find_in(factor_either, True, MATRICES, MATRICES) == []
    mapped = jax.vmap(factor_either, (0, None, None))
    assert find_in(mapped, np.array([True, False]), MATRICES, MATRICES) == PAIR


def test_what_waits_for_one_only_is_found():
    def solve(one, other):
        root = jnp.linalg.cholesky(one)
        half = solve_triangular(root, one, lower=True)
        return half, solve_triangular(root, other, lower=True)

    assert find_in(solve, MATRICES, MATRICES) == ["triangular_solve and triangular_solve"]


@pytest.mark.parametrize(
    "function", [jnp.linalg.eigh, jnp.linalg.qr, jnp.linalg.svd, jnp.linalg.inv, jnp.linalg.eig]
)
def test_decompositions_are_known(function):
    assert find_in(lambda a, b: (function(a), function(b)), MATRICES, MATRICES)


def test_the_test_that_runs_such_a_program_fails():
    compiled = compile_program()(factor_both)
    with pytest.raises(AssertionError, match="factor_both calls LAPACK twice at once: cholesky"):
        compiled(MATRICES, MATRICES)
    kept = compile_program()(factor_in_order)
    np.testing.assert_array_equal(kept(MATRICES, MATRICES), 2 * MATRICES)
