"""Measure how dense the code is, folder by folder, from its syntax tree.

    python benchmarks/house.py luxscale

A function's body is what stands after its docstring. Code lines are neither blank, nor comments,
nor docstrings.
"""

from __future__ import annotations

import argparse
import ast
import collections
import statistics
from collections.abc import Iterator
from pathlib import Path

FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)

HEADINGS = (
    ("place", 12),
    ("modules", 8),
    ("lines", 7),
    ("function lines", 15),
    ("p90", 4),
    ("nodes a line", 13),
    ("conditionals / 1,000", 21),
    ("comments %", 11),
    ("calls of 7", 11),
)


def find_docstrings(tree: ast.Module) -> list[ast.stmt]:
    """Return the statements that are docstrings."""
    holders = (ast.Module, ast.ClassDef, *FUNCTIONS)
    return [
        node.body[0]
        for node in ast.walk(tree)
        if isinstance(node, holders) and ast.get_docstring(node) is not None
    ]


def find_bodies(tree: ast.Module) -> Iterator[tuple[list[ast.stmt], int]]:
    """Yield the body of each function, and its number of lines."""
    for node in ast.walk(tree):
        if isinstance(node, FUNCTIONS):
            body = node.body
            if ast.get_docstring(node) is not None:
                body = body[1:]
            if body:
                yield body, int(node.end_lineno or 0) - body[0].lineno + 1


def count_nodes(body: list[ast.stmt]) -> int:
    """Return the syntax nodes of a body; whether a name is read or set counts for none."""
    nodes = (node for statement in body for node in ast.walk(statement))
    return sum(not isinstance(node, ast.expr_context) for node in nodes)


def has_many_values(node: ast.AST) -> bool:
    """Return whether this is a call with seven or more values by position."""
    if not isinstance(node, ast.Call):
        return False
    return sum(not isinstance(value, ast.Starred) for value in node.args) >= 7


def measure_module(path: Path) -> dict[str, list[int] | int]:
    """Return the counts of one module."""
    source = path.read_text(encoding="utf-8")
    tree = ast.parse(source)
    lines = [line.strip() for line in source.splitlines()]
    comments = sum(line.startswith("#") for line in lines)
    documented = sum(int(d.end_lineno or 0) - d.lineno + 1 for d in find_docstrings(tree))
    bodies = list(find_bodies(tree))
    return {
        "lines": len(lines),
        "comments": comments,
        "code": sum(map(bool, lines)) - comments - documented,
        "functions": [length for _, length in bodies],
        "nodes": sum(count_nodes(body) for body, _ in bodies),
        "conditionals": sum(isinstance(node, ast.IfExp) for node in ast.walk(tree)),
        "wide_calls": sum(map(has_many_values, ast.walk(tree))),
    }


def measure_package(package: Path) -> dict[str, list[dict]]:
    """Return the counts of the modules of each folder, and of those at the top."""
    places = collections.defaultdict(list)
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package).parts
        place = parts[0] if len(parts) > 1 else "(top)"
        places[place].append(measure_module(path))
    return places


def describe_place(place: str, modules: list[dict]) -> tuple[str, ...]:
    """Return the row of a place, in the order of the headings."""
    lengths = [length for module in modules for length in module["functions"]] or [0]
    sums = {
        key: sum(module[key] for module in modules)
        for key in ("lines", "comments", "code", "nodes", "conditionals", "wide_calls")
    }
    p90 = sorted(lengths)[int(0.9 * (len(lengths) - 1))]
    return (
        place,
        f"{len(modules)}",
        f"{sums['lines']:,}",
        f"{statistics.median(lengths):g}",
        f"{p90}",
        f"{sums['nodes'] / max(sum(lengths), 1):.2f}",
        f"{1000 * sums['conditionals'] / max(sums['code'], 1):.1f}",
        f"{100 * sums['comments'] / max(sums['lines'], 1):.1f}",
        f"{sums['wide_calls']}",
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("package", nargs="?", default="luxscale", type=Path, help="its folder")
    places = measure_package(parser.parse_args().package)
    everything = [module for modules in places.values() for module in modules]
    rows = [describe_place(place, modules) for place, modules in places.items()]
    rows.append(describe_place("all", everything))
    for row in [tuple(heading for heading, _ in HEADINGS), *rows]:
        cells = zip(row, HEADINGS, strict=True)
        print("  ".join(cell.ljust(width) for cell, (_, width) in cells).rstrip())


if __name__ == "__main__":
    main()
