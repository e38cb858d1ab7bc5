"""Whether the calls of LAPACK in a compiled program wait for each other: see `linalg.solve`."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from typing import Any, TypeAlias

from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal

#: Calls of LAPACK in a program, by their numbers.
Calls: TypeAlias = frozenset[int]

#: Operations of which LAPACK does the work, where there is no accelerator.
LAPACK = {
    "cholesky",
    "eig",
    "eigh",
    "geqrf",
    "hessenberg",
    "householder_product",
    "lu",
    "qr",
    "schur",
    "svd",
    "triangular_solve",
    "tridiagonal",
    "tridiagonal_solve",
}

#: Operations whose program becomes a part of that which calls it. All others that have programs
#: (conditions, loops) are run as a whole, when all that they are given is known.
INLINED = {"checkpoint", "closed_call", "custom_jvp_call", "custom_vjp_call", "jit", "pjit"}


def list_programs(equation: JaxprEqn) -> list[Jaxpr]:
    """Return the programs that an operation runs."""
    found = []
    for value in equation.params.values():
        for part in value if isinstance(value, tuple) else (value,):
            if isinstance(part, ClosedJaxpr):
                found.append(part.jaxpr)
            elif isinstance(part, Jaxpr):
                found.append(part)
    return found


def calls_lapack(equation: JaxprEqn) -> bool:
    """Return whether LAPACK does some of an operation."""
    if equation.primitive.name in LAPACK:
        return True
    return any(calls_lapack(inner) for program in list_programs(equation) for inner in program.eqns)


class Walk:
    """The calls of LAPACK in one program, in its order, and the pairs that could run at once."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.unordered: list[str] = []

    def follow(self, program: Jaxpr, given: Sequence[Calls] = ()) -> list[Calls]:
        """Go through a program, and return the calls that each of its results waits for.

        ``given`` has those that each argument waits for.
        """
        waits = dict(zip(program.invars, given, strict=True)) if given else {}

        def get(value: Any) -> Calls:
            return frozenset() if isinstance(value, Literal) else waits.get(value, frozenset())

        for equation in program.eqns:
            inputs = [get(value) for value in equation.invars]
            programs = list_programs(equation)
            if equation.primitive.name in INLINED and programs:
                results = self.follow(programs[0], inputs)
            else:
                results = [self._follow_whole(equation, inputs)] * len(equation.outvars)
            waits.update(zip(equation.outvars, results, strict=True))
        return [get(value) for value in program.outvars]

    def _follow_whole(self, equation: JaxprEqn, inputs: Sequence[Calls]) -> Calls:
        """Return the calls that are done when an operation is."""
        for program in list_programs(equation):
            self.unordered += find_unordered(program)
        done: Calls = frozenset().union(*inputs)
        if not calls_lapack(equation):
            return done
        name, number = equation.primitive.name, len(self.calls)
        self.unordered += [
            f"{other} and {name}" for i, other in enumerate(self.calls) if i not in done
        ]
        self.calls.append(name)
        return done | {number}


def find_unordered(program: Jaxpr) -> list[str]:
    """Return the pairs of calls of LAPACK in a program that could run at the same time.

    Parameters
    ----------
    program : Jaxpr
        As ``jax.jit(function).trace(...).jaxpr`` has it.

    Returns
    -------
    list of str
        Each "this and that", by the names of the operations.
    """
    walk = Walk()
    walk.follow(program)
    return walk.unordered


class Watch:
    """What is asked about each program before it runs, once."""

    def __init__(self) -> None:
        # weak, so that programs of tests that are over can go
        self._checked: weakref.WeakValueDictionary[int, ClosedJaxpr] = weakref.WeakValueDictionary()

    def check(self, compiled: Any, args: Any, kwargs: Any) -> None:
        """Check a program of `luxscale.model.jit.compile_program` with its arguments.

        Raises
        ------
        AssertionError
            If two calls of LAPACK do not wait for each other.
        """
        program = compiled.trace(*args, **kwargs).jaxpr
        if self._checked.get(id(program)) is program:
            return
        self._checked[id(program)] = program
        faults = find_unordered(program.jaxpr)
        assert not faults, (
            f"{compiled.__module__}.{compiled.__qualname__} calls LAPACK twice at once: "
            f"{'; '.join(faults)}; chain them by linalg.follow"
        )
