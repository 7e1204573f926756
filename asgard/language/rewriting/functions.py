"""Values of expressions of equations as analytic functions, by numpy: to check rules, not to run.

A derivative is Cauchy's integral over a small circle, an integral from 0 is Gauss and Legendre's
rule along a straight line. Both are exact to rounding for functions that are analytic nearby. At
real points a function has a value where it has one in real arithmetic, and is NaN elsewhere.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ...errors import CircuitError
from ..equations import tree
from ..equations.elementary import RELATIONS
from .trees import number

Points = Mapping[str, np.ndarray]

_RADIUS = 0.05
_CIRCLE = np.exp(2j * np.pi * np.arange(16) / 16)
# What a function may have of negative powers: one that is analytic inside of the circle has none.
_SINGULAR = 1e-9
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(24)
_NODES, _WEIGHTS = (_NODES + 1) / 2, _WEIGHTS / 2


class Unsure(Exception):
    """A derivative close to a singularity, which the circle does not give."""


def value(node: tree.Expression, points: Points) -> np.ndarray:
    """The values of an expression at some values of its names.

    Raises `CircuitError` for a function without a value at a point, `Unsure` for a derivative close
    to a singularity.
    """
    with np.errstate(all="ignore"):
        return np.asarray(_value(node, points))


def _value(node: Any, points: Points) -> Any:
    if isinstance(node, tree.Call):
        return _call(node, points)
    parts = [_value(part, points) for part in tree.children(node)]
    match node:
        case tree.Number(known):
            return np.asarray(known, complex)
        case tree.Name(name) | tree.Parameter(name) if name in points:
            return points[name]
        case tree.Name("pi"):
            return np.asarray(math.pi, complex)
        case tree.Negative():
            return -parts[0]
        case tree.Reciprocal():
            return 1 / parts[0]
        case tree.Sum():
            return sum(parts[1:], parts[0])
        case tree.Product():
            return math.prod(parts[1:], start=parts[0])
        case tree.Power():
            whole = np.unique(parts[1])
            if len(whole) == 1 and whole[0] == round(np.real(whole[0])) and abs(whole[0]) < 100:
                return np.asarray(parts[0] ** int(np.real(whole[0])))
            return _within(parts[0] ** parts[1], parts[0], np.real(parts[0]) >= 0)
        case tree.Comparison(relation):
            held = RELATIONS[relation](np.real(parts[0]), np.real(parts[1]))
            return np.asarray(held, complex)
    raise CircuitError(f"'{tree.expression_text(node)}' has no value at a point")


def _call(node: tree.Call, points: Points) -> Any:
    name, arguments = node.function, node.arguments
    if name in ("diff", "int", "delay") and arguments:
        return _along(node, points)
    parts = [_value(part, points) for part in arguments]
    if name == "if" and len(parts) == 3:
        return np.where(np.real(parts[0]) != 0, parts[1], parts[2])
    if name in _FUNCTIONS and len(parts) == (2 if name in ("maximum", "minimum") else 1):
        return np.asarray(_FUNCTIONS[name](*parts))
    raise CircuitError(f"'{tree.expression_text(node)}' has no value at a point")


def _along(node: tree.Call, points: Points) -> Any:
    """A derivative, an integral from 0, or the value one before."""
    body, *others = node.arguments
    dim = others[0].name if others and isinstance(others[0], tree.Name) else "t"
    if dim not in points:
        raise CircuitError(f"'{tree.expression_text(node)}' is along {dim}, which has no value")
    if node.function == "delay":
        return _value(body, {**points, dim: points[dim] - 1})
    wider = {name: at[..., None] for name, at in points.items()}
    if node.function == "int":
        values = _value(body, {**wider, dim: wider[dim] * _NODES})
        return points[dim] * np.sum(values * _WEIGHTS, axis=-1)
    order = number(others[1]) if len(others) > 1 else 1.0  # pyright: ignore
    if order not in range(len(_CIRCLE) // 2):
        raise CircuitError(f"'{tree.expression_text(node)}' has no order that is checked")
    order = int(order or 0)
    # On the circle there is a value also where there is none on the real line.
    there = np.isfinite(_value(body, points))
    values = _value(body, {**wider, dim: wider[dim] + _RADIUS * _CIRCLE})
    powers = np.fft.fft(np.broadcast_to(values, (*np.shape(values)[:-1], 16))) / 16
    singular = np.max(abs(powers[..., 9:]), axis=-1) > _SINGULAR * np.max(abs(values), axis=-1)
    if np.any(there & (singular | ~np.isfinite(powers[..., order]))):
        raise Unsure
    return np.where(there, powers[..., order] * math.factorial(order) / _RADIUS**order, np.nan)


def _within(values: Any, x: Any, inside: Any) -> Any:
    """Values of a function of x, NaN where x is real and the function is not."""
    real = abs(np.imag(x)) <= 1e-13 * abs(x)
    return np.where(real & ~inside, np.nan, values)


def _real(function: Any, low: float, high: float = math.inf) -> Callable[[Any], Any]:
    """A function that is real between two real numbers only."""
    return lambda x: _within(function(x), x, (np.real(x) >= low) & (np.real(x) <= high))


def _erf(x: Any) -> Any:
    bell = np.exp(-((x[..., None] * _NODES) ** 2))
    return 2 / math.sqrt(math.pi) * x * np.sum(bell * _WEIGHTS, axis=-1)


_FUNCTIONS: dict[str, Callable[..., Any]] = {
    **{name: getattr(np, name) for name in ("exp", "sin", "cos", "tan", "arctan", "arcsinh")},
    **{name: getattr(np, name) for name in ("sinh", "cosh", "tanh")},
    **{name: _real(getattr(np, name), 0.0) for name in ("log", "sqrt")},
    **{name: _real(getattr(np, name), -1.0, 1.0) for name in ("arcsin", "arccos", "arctanh")},
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "erf": _erf,
    # Of real numbers: the square root continues them to the complex ones beside.
    "abs": lambda x: np.where(np.real(x) < 0, -x, x),
    "maximum": lambda x, y: np.where(np.real(x) >= np.real(y), x, y),
    "minimum": lambda x, y: np.where(np.real(x) <= np.real(y), x, y),
}
