"""Conditions on stars, such as ``fe_h < -1 and flags == 0``: parsed by a list of what is allowed.

A condition is never run as Python code. A value that is missing satisfies no comparison, nor does
the opposite of one: what is not known is neither true nor false.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from luxscale.errors import InputError
from luxscale.schema.operators import find_misspelt
from luxscale.schema.quantities import Value, read_quantities

#: What a number without a dtype counts as.
_NUMBER = np.dtype(float)

_EXAMPLE = "fe_h < -1 and flags == 0"
_EXAMPLE_IN = "star in ['s1-00003', 's2-00007']"

#: Conditions are not longer than this: far more than anybody writes, far less than Python parses.
_LONGEST = 100_000

_COMPARISONS: Mapping[type, Callable[[Any, Any], Any]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}

_ARITHMETIC: Mapping[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
}

#: What is written in place of operators of bits.
_WORDS: Mapping[type, str] = {ast.BitAnd: "and", ast.BitOr: "or", ast.Invert: "not"}


class Truth(NamedTuple):
    """Where a condition is true and where it is false: (star,) bool.

    It is neither where a value is missing.
    """

    true: Any
    false: Any


def find_satisfying(
    dataset: xr.Dataset, condition: str, where: str, survey: xr.Dataset | None = None
) -> np.ndarray:
    """Return which stars satisfy a condition: (star,) bool.

    Parameters
    ----------
    dataset : Dataset
        Survey or catalogue; what the condition names is read at once.
    condition : str
        Comparisons of quantities (see `list_quantities`), numbers and text by ``<``, ``<=``, ``>``,
        ``>=``, ``==``, ``!=``, ``in`` and ``not in``, chained or joined by ``and``, ``or`` and
        ``not``; arithmetic by ``+``, ``-``, ``*``, ``/``, ``**`` and ``abs``; ``isfinite``, which
        is true where a value is known.
    where : str
        What messages call the dataset.
    survey : Dataset, optional
        Has what the dataset lacks.

    Raises
    ------
    InputError
        If it is no condition, or names what is not there.
    """
    where = f"{where}: condition {_shorten(condition)!r}"
    tree, names = _parse(condition, where)
    if not names:
        raise InputError(f"{where}: it names nothing of a star; write it as {_EXAMPLE!r}")
    found = read_quantities(dataset, names, where, survey)
    with np.errstate(all="ignore"):
        true = _Evaluation(found, where).decide(tree).true
    satisfied: np.ndarray = np.broadcast_to(true, next(iter(found.values())).known.shape)
    return satisfied


def _shorten(text: str) -> str:
    return text if len(text) <= 80 else f"{text[:77]}..."


def _parse(condition: str, where: str) -> tuple[ast.expr, list[str]]:
    """Return the syntax of a condition, and the quantities that it names, each once."""
    if len(condition) > _LONGEST:
        raise InputError(f"{where}: it has {len(condition):,} letters, at most {_LONGEST:,} do")
    try:
        tree = ast.parse(condition.strip(), mode="eval").body
        return tree, _list_names(tree)
    except SyntaxError as error:
        advice = find_misspelt(condition) or "write it"
        raise InputError(f"{where}: {error.msg}; {advice} as {_EXAMPLE!r}") from None
    except (ValueError, RecursionError, MemoryError) as error:
        reason = str(error) or "it is nested too deeply"
        raise InputError(f"{where}: cannot be read ({reason}); write a simpler one") from None


def _list_names(tree: ast.expr) -> list[str]:
    """Return the quantities that a condition names, each once."""
    called = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    owners = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    names = [
        ast.unparse(node)
        for node in ast.walk(tree)
        if isinstance(node, ast.Name | ast.Attribute) and id(node) not in called | owners
    ]
    return list(dict.fromkeys(names))


class _Evaluation(ast.NodeVisitor):
    """Evaluates a condition; a node that has no method is not allowed."""

    def __init__(self, found: Mapping[str, Value], where: str) -> None:
        self.found = found
        self.where = where

    def decide(self, node: ast.expr) -> Truth:
        """Return where an expression is true."""
        result = self._visit(node)
        if isinstance(result, Truth):
            return result
        text = ast.unparse(node)
        raise self._refuse(f"{text} is neither true nor false; compare it, as {text} > 0")

    def measure(self, node: ast.expr) -> Value:
        """Return the values of an expression."""
        result = self._visit(node)
        if isinstance(result, Value):
            return result
        text = ast.unparse(node)
        raise self._refuse(f"{text} is true or false; write it without comparing or counting")

    def measure_number(self, node: ast.expr) -> Value:
        """Return the values of an expression, which must be numbers."""
        result = self.measure(node)
        if _is_text(result):
            raise self._refuse(f"{ast.unparse(node)} is text, which is compared by == or in alone")
        return result

    def _visit(self, node: ast.expr) -> Truth | Value:
        try:
            result: Truth | Value = self.visit(node)
        except RecursionError:
            raise self._refuse("it is nested too deeply; write a simpler one") from None
        return result

    def _refuse(self, problem: str) -> InputError:
        return InputError(f"{self.where}: {problem}")

    def generic_visit(self, node: ast.AST) -> Any:
        """Refuse what is not allowed."""
        raise self._forbid(node)

    def _forbid(self, node: ast.AST) -> InputError:
        """Return what is said of a part that is not allowed."""
        text = ast.unparse(node)
        for sign in (node, getattr(node, "op", None)):
            if type(sign) in _WORDS:
                word = _WORDS[type(sign)]
                return self._refuse(f"{text}: write {word!r}, with comparisons in parentheses")
        return self._refuse(
            f"{text!r} cannot be part of one; there are comparisons, and, or, not, in, numbers, "
            "text, + - * / **, abs and isfinite"
        )

    def visit_BoolOp(self, node: ast.BoolOp) -> Truth:
        """Join by ``and`` or ``or``."""
        parts = [self.decide(part) for part in node.values]
        true = [part.true for part in parts]
        false = [part.false for part in parts]
        if isinstance(node.op, ast.And):
            return Truth(_reduce(operator.and_, true), _reduce(operator.or_, false))
        return Truth(_reduce(operator.or_, true), _reduce(operator.and_, false))

    def visit_UnaryOp(self, node: ast.UnaryOp) -> Truth | Value:
        """Negate a condition or a number."""
        if isinstance(node.op, ast.Not):
            part = self.decide(node.operand)
            return Truth(part.false, part.true)
        if isinstance(node.op, ast.Invert):
            raise self._forbid(node)
        value = self.measure_number(node.operand)
        sign = -1 if isinstance(node.op, ast.USub) else 1
        return Value(sign * _to_number(value.values), value.known)

    def visit_BinOp(self, node: ast.BinOp) -> Value:
        """Add, subtract, multiply, divide, or raise to a power, as floats."""
        if type(node.op) not in _ARITHMETIC:
            raise self._forbid(node)
        left, right = (self.measure_number(side) for side in (node.left, node.right))
        operate = _ARITHMETIC[type(node.op)]
        values = operate(_to_float(left.values), _to_float(right.values))
        return Value(values, left.known & right.known & ~np.isnan(values))

    def visit_Compare(self, node: ast.Compare) -> Truth:
        """Compare neighbours of a chain."""
        sides = [node.left, *node.comparators]
        pairs = zip(sides[:-1], node.ops, sides[1:], strict=True)
        parts = [self._compare(left, sign, right) for left, sign, right in pairs]
        true = _reduce(operator.and_, [part.true for part in parts])
        return Truth(true, _reduce(operator.or_, [part.false for part in parts]))

    def _compare(self, left: ast.expr, sign: ast.cmpop, right: ast.expr) -> Truth:
        if isinstance(sign, ast.In | ast.NotIn):
            if not isinstance(right, ast.List | ast.Tuple | ast.Set):
                raise self._refuse(f"give a list after 'in', as {_EXAMPLE_IN}")
            equal = [self._compare(left, ast.Eq(), each) for each in right.elts]
            among = Truth(
                _reduce(operator.or_, [part.true for part in equal], False),
                _reduce(operator.and_, [part.false for part in equal], self.measure(left).known),
            )
            return among if isinstance(sign, ast.In) else Truth(among.false, among.true)
        if type(sign) not in _COMPARISONS:
            raise self._refuse("'is' compares no values; write ==, or isfinite(...)")
        ordered = not isinstance(sign, ast.Eq | ast.NotEq)
        measure = self.measure_number if ordered else self.measure
        ours, theirs = _match_kinds(measure(left), measure(right))
        if _is_text(ours) != _is_text(theirs):
            texts = [ast.unparse(side) for side in (left, right)]
            if not _is_text(ours):
                texts.reverse()
            raise self._refuse(f"{texts[0]} is text, and {texts[1]} a number; compare like things")
        known = ours.known & theirs.known
        holds = np.asarray(_COMPARISONS[type(sign)](ours.values, theirs.values), bool)
        return Truth(holds & known, ~holds & known)

    def visit_Call(self, node: ast.Call) -> Truth | Value:
        """Call ``abs`` or ``isfinite``."""
        name = ast.unparse(node.func)
        if name not in ("abs", "isfinite") or len(node.args) != 1 or node.keywords:
            raise self._forbid(node)
        if name == "abs":
            value = self.measure_number(node.args[0])
            return Value(np.abs(_to_number(value.values)), value.known)
        value = self.measure(node.args[0])
        known = value.known
        if not _is_text(value):
            known = known & np.isfinite(_to_float(value.values))
        return Truth(known, ~known)

    def visit_Name(self, node: ast.Name) -> Truth | Value:
        """Look a quantity up."""
        return self._look_up(node)

    def visit_Attribute(self, node: ast.Attribute) -> Truth | Value:
        """Look a label of an output up."""
        return self._look_up(node)

    def _look_up(self, node: ast.expr) -> Truth | Value:
        """Return a quantity; flags are true or false."""
        value = self.found[ast.unparse(node)]
        if value.values.dtype.kind != "b":
            return value
        return Truth(value.values & value.known, ~value.values & value.known)

    def visit_Constant(self, node: ast.Constant) -> Value:
        """Return a number or text."""
        if isinstance(node.value, bool) or not isinstance(node.value, int | float | str):
            raise self._forbid(node)
        return Value(node.value, np.True_)


def _reduce(join: Callable[[Any, Any], Any], parts: list[Any], start: Any = None) -> Any:
    """Join truths one after another."""
    joined = parts.pop(0) if start is None else np.asarray(start)
    for part in parts:
        joined = join(joined, part)
    return joined


def _is_text(value: Value) -> bool:
    return isinstance(value.values, str) or getattr(value.values, "dtype", _NUMBER).kind == "O"


def _match_kinds(left: Value, right: Value) -> tuple[Value, Value]:
    """Return two sides of which text that is a whole number is one beside whole numbers."""
    if _is_identifier(left, right):
        return Value(int(left.values), left.known), right
    if _is_identifier(right, left):
        return left, Value(int(right.values), right.known)
    return _limit(left, right), _limit(right, left)


def _limit(number: Value, other: Value) -> Value:
    """Return a number of which a whole one stays so beside whole numbers alone.

    NumPy compares these exactly, and with floats none that is too large for one.
    """
    is_whole = isinstance(number.values, int)
    if is_whole and getattr(other.values, "dtype", _NUMBER).kind == "f":
        return Value(_to_float(number.values), number.known)
    return number


def _is_identifier(text: Value, numbers: Value) -> bool:
    """Whether one side is digits in quotes, as of an identifier, and the other whole numbers."""
    is_whole = getattr(numbers.values, "dtype", _NUMBER).kind in "iu"
    return is_whole and isinstance(text.values, str) and text.values.isdecimal()


def _to_number(values: Any) -> Any:
    """Return values that can be negated: whole numbers without a sign would wrap."""
    return _to_float(values) if getattr(values, "dtype", None) is not None else values


def _to_float(values: Any) -> Any:
    """Return values as floats; a whole number too large for one is infinite."""
    try:
        return np.asarray(values, float)
    except OverflowError:
        return np.asarray(np.inf if values > 0 else -np.inf)
