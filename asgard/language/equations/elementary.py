"""The functions of equations: one row each, with its atom, its derivative and its inverse."""

import dataclasses
import functools
import math
import operator
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jax.scipy.special import erfinv, logit

from ...circuits.atoms import functions
from ...circuits.circuit import Atom


@dataclasses.dataclass(frozen=True)
class Elementary:
    """A function of `arity` arguments.

    - `atom` makes the atom that computes it.
    - `slope` takes the pool of expressions and the arguments, and gives the derivative by each
      argument. None where it is 0.
    - `inverse` takes the pool and y, and gives the only x with f(x) = y: not a number where there
      is none. None where there may be several.
    - `listed`: whether texts may use it.
    """

    arity: int
    atom: Callable[[], Atom]
    slope: Callable[..., tuple[int, ...]] | None = None
    inverse: Callable[[Any, int], int] | None = None
    listed: bool = True

    def partial(self, pool: Any, arguments: tuple[int, ...], place: int) -> int:
        """The derivative with respect to one argument."""
        return pool.number(0.0) if self.slope is None else self.slope(pool, *arguments)[place]


def _applied(name: str) -> Callable[[Any, int], int]:
    return lambda pool, y: pool.apply(name, y)


def _within(low: float, high: float, inverse: Callable[[Any, int], int]) -> Any:
    """An inverse that is not a number outside of what the function reaches."""

    def bounded(pool: Any, y: int) -> int:
        found, nothing = inverse(pool, y), pool.number(math.nan)
        for relation, bound in ((">=", low), ("<=", high)):
            if math.isfinite(bound):
                holds = pool.apply(relation, y, pool.number(bound))
                found = pool.choice(holds, found, nothing)
        return found

    return bounded


def _square(pool: Any, x: int) -> int:
    return pool.power(x, pool.number(2.0))


def _polynomial(pool: Any, constant: float, sign: float, x: int) -> int:
    """constant + sign x^2."""
    squared = pool.product((pool.number(sign), _square(pool, x)))
    return pool.sum((pool.number(constant), squared))


def _root(constant: float, sign: float, factor: float = 1.0) -> Any:
    """The slope factor / sqrt(constant + sign x^2)."""

    def slope(pool: Any, x: int) -> tuple[int]:
        root = pool.apply("sqrt", _polynomial(pool, constant, sign, x))
        return (pool.product((pool.number(factor), pool.reciprocal(root))),)

    return slope


def _inverse_of(constant: float, sign: float) -> Any:
    """The slope 1 / (constant + sign x^2)."""
    return lambda pool, x: (pool.reciprocal(_polynomial(pool, constant, sign, x)),)


def _sigmoid_slope(pool: Any, x: int) -> tuple[int]:
    value = pool.apply("sigmoid", x)
    return (pool.product((value, pool.difference(pool.number(1.0), value))),)


def _erf_slope(pool: Any, x: int) -> tuple[int]:
    bell = pool.apply("exp", pool.negative(_square(pool, x)))
    return (pool.product((pool.number(2.0 / math.sqrt(math.pi)), bell)),)


def _erfinv_slope(pool: Any, x: int) -> tuple[int]:
    bell = pool.apply("exp", _square(pool, pool.apply("erfinv", x)))
    return (pool.product((pool.number(math.sqrt(math.pi) / 2), bell)),)


def _larger(relation: str) -> Any:
    def slope(pool: Any, x: int, y: int) -> tuple[int, int]:
        one, zero = pool.number(1.0), pool.number(0.0)
        holds = pool.apply(relation, x, y)
        return pool.choice(holds, one, zero), pool.choice(holds, zero, one)

    return slope


def _abs_slope(pool: Any, x: int) -> tuple[int]:
    zero = pool.number(0.0)
    return (pool.choice(pool.apply(">=", x, zero), pool.number(1.0), pool.number(-1.0)),)


def _squared_slope(name: str, constant: float, sign: float) -> Any:
    """The slope constant + sign f(x)^2, of tan and tanh."""
    return lambda pool, x: (_polynomial(pool, constant, sign, pool.apply(name, x)),)


def _function(fn: Callable[..., Any]) -> Callable[[], Atom]:
    return lambda: functions.Function(fn, 1)


_HALF_TURN = math.pi / 2

FUNCTIONS: dict[str, Elementary] = {
    "exp": Elementary(1, functions.Exp, lambda pool, x: (pool.apply("exp", x),), _applied("log")),
    "log": Elementary(1, functions.Log, lambda pool, x: (pool.reciprocal(x),), _applied("exp")),
    "sqrt": Elementary(
        1,
        functions.Sqrt,
        lambda pool, x: (pool.product((pool.number(0.5), pool.reciprocal(pool.apply("sqrt", x)))),),
        _within(0.0, math.inf, _square),
    ),
    "sin": Elementary(1, functions.Sin, lambda pool, x: (pool.apply("cos", x),)),
    "cos": Elementary(1, functions.Cos, lambda pool, x: (pool.negative(pool.apply("sin", x)),)),
    "tan": Elementary(1, functions.Tan, _squared_slope("tan", 1.0, 1.0)),
    "arcsin": Elementary(
        1,
        functions.Arcsin,
        _root(1.0, -1.0),
        _within(-_HALF_TURN, _HALF_TURN, _applied("sin")),
    ),
    "arccos": Elementary(
        1, functions.Arccos, _root(1.0, -1.0, -1.0), _within(0.0, math.pi, _applied("cos"))
    ),
    "arctan": Elementary(
        1,
        functions.Arctan,
        _inverse_of(1.0, 1.0),
        _within(-_HALF_TURN, _HALF_TURN, _applied("tan")),
    ),
    "sinh": Elementary(
        1, functions.Sinh, lambda pool, x: (pool.apply("cosh", x),), _applied("arcsinh")
    ),
    "cosh": Elementary(1, functions.Cosh, lambda pool, x: (pool.apply("sinh", x),)),
    "tanh": Elementary(1, functions.Tanh, _squared_slope("tanh", 1.0, -1.0), _applied("arctanh")),
    "arcsinh": Elementary(1, _function(jnp.arcsinh), _root(1.0, 1.0), _applied("sinh")),
    "arctanh": Elementary(1, _function(jnp.arctanh), _inverse_of(1.0, -1.0), _applied("tanh")),
    "sigmoid": Elementary(1, functions.Sigmoid, _sigmoid_slope, _applied("logit")),
    "logit": Elementary(
        1,
        _function(logit),
        lambda pool, x: (pool.reciprocal(pool.product((x, pool.difference(pool.number(1.0), x)))),),
        _applied("sigmoid"),
        listed=False,
    ),
    "erf": Elementary(1, functions.Erf, _erf_slope, _applied("erfinv")),
    "erfinv": Elementary(1, _function(erfinv), _erfinv_slope, _applied("erf"), listed=False),
    "abs": Elementary(1, functions.Abs, _abs_slope),
    "maximum": Elementary(2, functions.Maximum, _larger(">=")),
    "minimum": Elementary(2, functions.Minimum, _larger("<=")),
}


@dataclasses.dataclass(frozen=True)
class Compared:
    """1 where a relation holds, and 0 elsewhere. Equal relations are equal functions."""

    relation: str

    def __call__(self, left: Any, right: Any) -> Any:
        return jnp.where(RELATIONS[self.relation](left, right), 1.0, 0.0)


@dataclasses.dataclass(frozen=True)
class Chosen:
    """The third argument where a relation of the first two holds, and the fourth elsewhere."""

    relation: str

    def __call__(self, left: Any, right: Any, then: Any, otherwise: Any) -> Any:
        return jnp.where(RELATIONS[self.relation](left, right), then, otherwise)


RELATIONS = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
}


def _choice_slope(relation: str) -> Any:
    def slope(pool: Any, left: int, right: int, *_: int) -> tuple[int, ...]:
        one, zero = pool.number(1.0), pool.number(0.0)
        holds = pool.apply(relation, left, right)
        return zero, zero, pool.choice(holds, one, zero), pool.choice(holds, zero, one)

    return slope


for _relation in RELATIONS:
    FUNCTIONS[_relation] = Elementary(
        2, functools.partial(functions.Function, Compared(_relation), 2), listed=False
    )
    FUNCTIONS[f"if{_relation}"] = Elementary(
        4,
        functools.partial(functions.Function, Chosen(_relation), 4),
        _choice_slope(_relation),
        listed=False,
    )
