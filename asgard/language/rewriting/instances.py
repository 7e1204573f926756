"""Random values of the placeholders of rules."""

import random
from collections.abc import Sequence
from typing import Any

import numpy as np

from ...circuits.atoms import arithmetic, functions, registers, wiring
from ...circuits.circuit import Circuit
from ...errors import CircuitError
from ..equations import tree
from ..equations.reading import read_expression
from ..keywords import KEYWORDS
from .arguments import call_of
from .collocation import TIMES
from .rule import Rule, placeholder, placeholders
from .terms import built, circuit_of, term_of
from .trees import normal
from .wire_numbers import NoNumber

# The coordinates of random functions, and constants by name.
DIMS = ("t", "x")
KNOWN = {"a": 1.7, "b": -0.6}


def expression_values(rule: Rule, draw: random.Random) -> dict[str, tree.Expression]:
    """Random expressions for the placeholders of a rule."""
    kinds = dict.fromkeys(placeholders(rule.left), "function")
    kinds.update(_positions(rule.left))
    for condition in rule.conditions:
        name = placeholder(condition.terms[0])
        if name is not None and kinds[name] == "function":
            kinds[name] = condition.kind
    return {name: _DRAWN[kind](draw) for name, kind in kinds.items()}


def _positions(pattern: tree.Expression) -> dict[str, str]:
    """The placeholders that stand for coordinates and for orders of derivatives."""
    found: dict[str, str] = {}
    pending: list[Any] = [pattern]
    while pending:
        node = pending.pop()
        pending.extend(tree.children(node))
        if isinstance(node, tree.Call) and node.function in ("diff", "int"):
            for kind, argument in zip(("dimension", "order"), node.arguments[1:], strict=False):
                name = placeholder(argument)
                if name is not None:
                    found[name] = kind
    return found


def _number(draw: random.Random) -> tree.Expression:
    value = draw.choice([2.0, 3.0, 0.5, 1.25, 4.0])
    number = tree.Number(value)
    return tree.Negative(number) if draw.random() < 0.3 else number


def _integer(draw: random.Random) -> tree.Expression:
    value = draw.choice([2, 3, 4, -1, -2])
    return tree.Number(float(value)) if value >= 0 else tree.Negative(tree.Number(float(-value)))


def _constant(draw: random.Random) -> tree.Expression:
    return draw.choice([_number(draw), tree.Name("a"), tree.Name("b")])


def _function(draw: random.Random, dims: Sequence[str] = DIMS) -> tree.Expression:
    """A smooth function of coordinates, whose values may have either sign."""
    t, x = draw.choice(dims), draw.choice(dims)
    c = [f"{draw.uniform(0.2, 1.2):.2f}" for _ in range(3)]
    forms = (
        f"{c[0]}*{t}/2 - {c[1]}*{x}/2 + {c[2]}/8",
        f"sin({c[0]}*{t} + {x})/2",
        f"exp({c[0]}*{t}/2 - {x}) - {c[1]}/4",
        f"{c[0]}/(2 + {t}^2)",
        f"{t}*{x}/2",
        f"-{c[0]}*{t}/2",
        f"{t}/2",
        f"cos({t}) - {x}/2",
    )
    form = draw.choice(forms)
    return normal(read_expression(f"-({form})" if draw.random() < 0.3 else form))


_DRAWN = {
    "function": _function,
    "free": lambda draw: _function(draw, [draw.choice(DIMS)]),
    "constant": _constant,
    "number": _number,
    "integer": _integer,
    "dimension": lambda draw: tree.Name(draw.choice(DIMS)),
    "order": lambda draw: tree.Number(float(draw.choice([1, 2, 3]))),
}


def circuit_values(rule: Rule, draw: random.Random) -> dict[str, Any] | None:
    """Random circuits, numbers and counts for the placeholders of a rule.

    None where their wires do not fit together.
    """
    bindings = {name: _ARGUMENTS[kind](draw) for name, kind in _kinds(rule.left).items()}
    try:
        circuit_of(built(rule.left, bindings))
    except (CircuitError, NoNumber):
        return None
    return bindings


def _kinds(pattern: tree.Expression) -> dict[str, str]:
    """What each placeholder of a pattern for circuits stands for: a kind of `keywords`."""
    found: dict[str, str] = {}
    pending = [pattern]
    while pending:
        word, arguments = call_of(pending.pop())
        keyword = KEYWORDS[str(word).lower()]
        for index, argument in enumerate(arguments):
            name, kind = placeholder(argument), keyword.kind(index)
            if name is not None:
                found[name] = str(kind)
            elif kind == "circuit":
                pending.append(argument)
    return found


def _circuit(draw: random.Random) -> Any:
    """A term of one atom or two, most often 1 -> 1."""
    rate = draw.uniform(-1.5, 1.5)
    straight = [
        functions.Sin(),
        functions.Tanh(),
        arithmetic.Scalar(rate),
        arithmetic.Power(2),
        registers.Register("t", rate),
        arithmetic.Scalar(rate) >> functions.Cos(),
        wiring.Split() >> arithmetic.Multiplication(),
    ]
    others: list[Circuit] = [
        wiring.Split() >> functions.Sin() @ wiring.Id(),
        arithmetic.Add(),
        functions.Maximum(),
        wiring.Discard(),
        arithmetic.Const(rate),
        registers.Coordinate("t"),
        wiring.Swap() >> arithmetic.Scalar(rate) @ functions.Cos(),
        arithmetic.Scalar(0.3) @ (arithmetic.Add() >> functions.Sin() >> wiring.Split()),
    ]
    return term_of(draw.choice(straight if draw.random() < 0.6 else others))


def _order(draw: random.Random) -> tuple[int, ...]:
    order = list(range(draw.choice([1, 2, 3, 3])))
    draw.shuffle(order)
    return tuple(order)


_ARGUMENTS = {
    "circuit": _circuit,
    "number": lambda draw: round(draw.uniform(0.3, 1.8), 3),
    "exponent": lambda draw: draw.choice([2, 3]),
    "count": lambda draw: draw.choice([1, 1, 2, 3]),
    "index": _order,
    "dimension": lambda draw: "t",
    "noise": lambda draw: "w",
    "wire": lambda draw: "w",
}


def streams(draw: random.Random, count: int) -> list[np.ndarray]:
    """Polynomials as inputs of a circuit, by their values."""
    factors = [[draw.uniform(-1.0, 1.0) for _ in range(3)] for _ in range(count)]
    return [a + b * TIMES + c * TIMES**2 for a, b, c in factors]
