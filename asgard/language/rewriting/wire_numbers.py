"""Numbers, counts and orders in the results of rules for circuits: `scalar([A]*[B])`."""

import math
from collections.abc import Mapping
from typing import Any

from ...circuits.constraints import Constraint
from ..equations import tree
from .rule import placeholder


class NoNumber(Exception):
    """What a rule would compute has no value: the rule does not apply."""


def computed(expression: tree.Expression, bindings: Mapping[str, Any]) -> Any:
    """The value of an argument: a number, an array, a name or an order.

    Beside arithmetic there are `order(1, 0)`, an order of wires as `permute` takes it,
    `size([P])`, how many wires it has, and `after([P], [Q])`, the order of two permutations one
    after the other. Raises `NoNumber` for arithmetic with a
    constraint such as `ag.Positive`, which would be lost.
    """
    return tree.fold(expression, lambda node, parts: _computed(node, parts, bindings))


def _computed(node: Any, parts: list[Any], bindings: Mapping[str, Any]) -> Any:
    name = placeholder(node)
    if name is not None:
        return bindings[name]
    match node:
        case tree.Number(value):
            return value
        case tree.Name(name):
            return name
        case tree.Call("order"):
            return tuple(map(int, parts))
        case tree.Call("size"):
            return len(parts[0])
        case tree.Call("after"):
            first, second = parts
            if sorted(second) != list(range(len(first))):
                raise NoNumber
            return tuple(first[wire] for wire in second)
    if any(isinstance(part, Constraint | str | tuple) for part in parts):
        raise NoNumber
    match node:
        case tree.Negative():
            return -parts[0]
        case tree.Reciprocal():
            return 1.0 / parts[0]
        case tree.Sum():
            return sum(parts[1:], parts[0])
        case tree.Product():
            return math.prod(parts[1:], start=parts[0])
        case tree.Power():
            return parts[0] ** parts[1]
    raise NoNumber


def whole(value: Any) -> Any:
    """A number as a count where it is one."""
    return int(value) if isinstance(value, float) and value.is_integer() else value
