"""What an online rule is: coefficient n of an equation's outputs from what is known by order n."""

import dataclasses
import enum
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from ...jaxprs.program import Equation
from ..series import Body, Order, Product, Series, convolve, divide, of_order


class Need(enum.Enum):
    """What the steps of a rule read of an operand that is a series."""

    NOTHING = 0
    CURRENT = 1  # coefficient n
    HISTORY = 2  # coefficients 0 to n


@dataclasses.dataclass(frozen=True)
class Rule:
    """How an equation's series is found.

    - `start(*operands)` gives order 0: the equation's outputs, then the auxiliary series that the
      rule carries along, then as many values as `held` says, which no later order changes.
    - `step(n, operands, series)` gives coefficient n >= 1 of each output that is a series, and of
      each auxiliary series. `operands` are the equation's and then the values held: a `Series`, an
      array where it is a constant, None where the rule needs nothing of it. `series` are those
      whose coefficients it gives, known below n; the outputs' own only if it reads them (`own`).
    - `outputs` says which outputs are series (all, if None); `needs` what steps read of each
      operand (the history, if None); `extra` whether `start` gives more than the outputs.
    """

    start: Callable[..., Sequence[Any]]
    step: Callable[[Order, list[Any], list[Series]], Sequence[Any]]
    held: int = 0
    outputs: tuple[bool, ...] | None = None
    needs: tuple[Need, ...] | None = None
    own: bool = True
    extra: bool = True


@dataclasses.dataclass(frozen=True)
class Memory:
    """What a lifted program remembers between orders, by the numbers of values.

    `held` does not change after order 0; `histories` are the series that later orders read.
    """

    held: dict[int, Any]
    histories: dict[int, Body]


@dataclasses.dataclass(frozen=True)
class Application:
    """An equation whose rule is asked for: the types of its operands, which are series, and the
    values of those that the program has as constants.

    `lift` is the class `Lifted`, by which the rules of loops and branches lift what they hold.
    """

    equation: Equation
    avals: tuple[jax.ShapeDtypeStruct, ...]
    carried: tuple[bool, ...]
    values: tuple[Any, ...]
    lift: Callable[..., Any]


def linear(application: Application, places: Sequence[int]) -> Rule:
    """A primitive that is linear in the operands at `places`, among which all series are."""
    equation, carried = application.equation, application.carried
    if equation.name in ("add", "sub") and not all(carried):
        return _shifted(equation, carried)

    needs = tuple(
        Need.NOTHING if place in places and not flag else Need.CURRENT
        for place, flag in enumerate(carried)
    )

    def step(n: Order, operands: list[Any], series: list[Series]) -> Sequence[Any]:
        return equation.bind(*map(coefficient, operands, application.avals))

    return Rule(equation.bind, step, needs=needs, own=False, extra=False)


def coefficient(operand: Any, aval: jax.ShapeDtypeStruct) -> Any:
    """What stands for an operand at the order at hand: zeros where nothing was needed of it."""
    if isinstance(operand, Series):
        return operand.current
    return jnp.zeros(aval.shape, aval.dtype) if operand is None else operand


def _shifted(equation: Equation, carried: tuple[bool, ...]) -> Rule:
    """A series plus or minus a constant: the series, or its negative."""
    place = carried.index(True)
    negative = equation.name == "sub" and place == 1

    def step(n: Order, operands: list[Any], series: list[Series]) -> list[Array]:
        current = operands[place].current
        return [-current if negative else current]

    needs = tuple(Need.CURRENT if flag else Need.NOTHING for flag in carried)
    return Rule(equation.bind, step, needs=needs, own=False, extra=False)


def bilinear(equation: Equation, product: Product) -> Rule:
    """A product of two series."""

    def step(n: Order, operands: list[Any], series: list[Series]) -> list[Array]:
        a, b = operands
        return [convolve(a, b, n, product)]

    return Rule(equation.bind, step, own=False, extra=False)


def integral(equation: Equation) -> Rule:
    """f(u) as the integral of f'(u) u', from u and f'(u)."""

    def start(u: Any, slope: Any) -> Sequence[Any]:
        return equation.bind(u)

    def step(n: Order, operands: list[Any], series: list[Series]) -> list[Array]:
        u, slope = operands
        return [divide(convolve(u, slope, n, weight=of_order), n)]

    return Rule(start, step, own=False, extra=False)
