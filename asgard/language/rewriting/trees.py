"""Trees of equations in the form that rules work on.

Sums in sums and products in products are taken apart, so both are associative. The text of such a
tree reads as the same tree.
"""

import dataclasses
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from ..equations import tree


def normal(node: tree.Expression) -> tree.Expression:
    """An expression with its sums and products taken apart."""
    return tree.fold(node, rebuilt)


def rebuilt(node: Any, parts: Sequence[Any]) -> Any:
    """A node with other parts."""
    match node:
        case tree.Negative():
            return tree.Negative(single(parts[0]))
        case tree.Reciprocal():
            return tree.Reciprocal(single(parts[0]))
        case tree.Sum():
            return sum_of(parts)
        case tree.Product():
            return product_of(parts)
        case tree.Power():
            return tree.Power(*map(single, parts))
        case tree.Comparison(relation):
            return tree.Comparison(relation, *map(single, parts))
        case tree.Given(name):
            return tree.Given(name, single(parts[0]))
        case tree.Call(function):
            return tree.Call(function, tuple(map(single, parts)))
        case tree.Abstraction(names):
            return tree.Abstraction(names, single(parts[0]))
    return node


def single(node: Any) -> Any:
    """An expression that may stand by itself: a reciprocal stands in a product only."""
    return product_of([node]) if isinstance(node, tree.Reciprocal) else node


def sum_of(terms: Iterable[tree.Expression]) -> tree.Expression:
    """The sum of one term or more."""
    found: list[tree.Expression] = []
    for term in terms:
        found.extend(term.terms if isinstance(term, tree.Sum) else [single(term)])
    return tree.Sum(tuple(found)) if len(found) > 1 else found[0]


def product_of(factors: Iterable[tree.Expression]) -> tree.Expression:
    """The product of one factor or more."""
    found: list[tree.Expression] = []
    for factor in factors:
        found.extend(factor.factors if isinstance(factor, tree.Product) else [factor])
    first = next((f for f in found if not isinstance(f, tree.Reciprocal)), None)
    if first is None:
        return tree.Product((tree.Number(1.0), *found))
    if isinstance(found[0], tree.Reciprocal):
        place = next(index for index, factor in enumerate(found) if factor is first)
        found = [first, *found[:place], *found[place + 1 :]]
    return tree.Product(tuple(found)) if len(found) > 1 else found[0]


def number_of(value: float) -> tree.Expression:
    """A number of either sign as an expression."""
    return tree.Number(value) if value >= 0 else tree.Negative(tree.Number(-value))


def value_of(node: tree.Expression) -> float | None:
    """The number that an expression of numbers alone is; None of others, and where it has none."""
    try:
        found = tree.fold(node, _value)
    except (_NoNumber, ArithmeticError, ValueError):
        return None
    return float(found) if isinstance(found, int | float) and math.isfinite(found) else None


class _NoNumber(Exception):
    """What is no number."""


def _value(node: Any, parts: list[float]) -> float:
    match node:
        case tree.Number(value):
            return value
        case tree.Negative():
            return -parts[0]
        case tree.Reciprocal():
            return 1 / parts[0]
        case tree.Sum():
            return math.fsum(parts)
        case tree.Product():
            return math.prod(parts)
        case tree.Power():
            return parts[0] ** parts[1]
    raise _NoNumber


def number(node: tree.Expression) -> float | None:
    """The value of a number as it is written, such as 2 or -2; None of all else."""
    body = node.body if isinstance(node, tree.Negative) else node
    if not isinstance(body, tree.Number):
        return None
    return body.value if body is node else -body.value


def presented(node: tree.Expression) -> tree.Expression:
    """An expression with signs where one writes them: -a*b for -(a*b)."""

    def signed(current: Any, parts: list[Any]) -> Any:
        if isinstance(current, tree.Sum):
            first, *others = parts
            return tree.Sum((_sign_inside(first), *others))
        if not isinstance(current, tree.Power):
            parts = [_sign_inside(part) for part in parts]
        return rebuilt(current, parts)

    return _sign_inside(tree.fold(node, signed))


def _sign_inside(node: Any) -> Any:
    match node:
        case tree.Negative(tree.Product((first, *others))) if not isinstance(first, tree.Negative):
            return tree.Product((tree.Negative(first), *others))
    return node


def map_sides(
    statements: Iterable[tree.Statement],
    change: Callable[[tree.Expression], tree.Expression],
    keeps_left: Callable[[tree.Equation], bool],
) -> tuple[tree.Statement, ...]:
    """Statements with their expressions changed, and the left sides of definitions kept."""
    found: list[tree.Statement] = []
    for statement in statements:
        if isinstance(statement, tree.Equation):
            left = statement.left if keeps_left(statement) else change(statement.left)
            found.append(tree.Equation(left, change(statement.right)))
        elif isinstance(statement, tree.Definition):
            inside = map_sides(statement.statements, change, keeps_left)
            found.append(dataclasses.replace(statement, statements=inside))
        else:
            arguments = tuple(
                tree.Given(argument.name, change(argument.value))
                if isinstance(argument, tree.Given)
                else change(argument)
                for argument in statement.arguments
            )
            found.append(tree.Call(statement.function, arguments))
    return tuple(found)
