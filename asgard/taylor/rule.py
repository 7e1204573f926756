"""What a rule is: how coefficient n of an equation's outputs follows from what is known by then."""

import dataclasses
import enum
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from ..jaxprs.program import Equation
from .series import Order, Product, Series, convolve, divide, of_order

Step = Callable[[Order, list[Any], list[Series]], Sequence[Any]]


class Need(enum.Enum):
    """What the steps of a rule read of an operand that is a series."""

    NOTHING = 0
    CURRENT = 1  # coefficient n
    HISTORY = 2  # coefficients 0 to n


@dataclasses.dataclass(frozen=True)
class Rule:
    """How an equation's series is found.

    - `start(*operands)` gives order 0: the equation's outputs, then the auxiliary series that the
      rule carries along, then `held` values, which no later order changes.
    - `step(n, operands, series)` gives coefficient n >= 1 of each output that is a series, and of
      each auxiliary series. `operands` are the equation's and then the values held: a `Series`, an
      array where it is a constant, None where the rule needs nothing of it. `series` are those
      whose coefficients it gives, known below n; the outputs' own only if it reads them (`own`).
    - `outputs` says which outputs are series (all, if None); `needs` what steps read of each
      operand (the history, if None); `extra` whether `start` gives more than the outputs.
    """

    start: Callable[..., Sequence[Any]]
    step: Step
    held: int = 0
    outputs: tuple[bool, ...] | None = None
    needs: tuple[Need, ...] | None = None
    own: bool = True
    extra: bool = True


@dataclasses.dataclass(frozen=True)
class Application:
    """An equation whose rule is asked for.

    `avals` are the types of its operands, `carried` whether each is a series, `values` those that
    the program has as constants (None for the others), `outputs` the types of its outputs.
    """

    equation: Equation
    avals: tuple[jax.ShapeDtypeStruct, ...]
    carried: tuple[bool, ...]
    values: tuple[Any, ...]
    outputs: tuple[jax.ShapeDtypeStruct, ...]

    @property
    def series_operands(self) -> set[int]:
        """The indices of the operands that are series."""
        return {index for index, flag in enumerate(self.carried) if flag}

    @property
    def is_complex(self) -> bool:
        """Whether any operand is complex."""
        return any(jnp.issubdtype(aval.dtype, jnp.complexfloating) for aval in self.avals)


def linear(application: Application, selected: Sequence[int]) -> Rule:
    """A primitive that is linear in the operands `selected` by index; all series are among them."""
    equation, carried = application.equation, application.carried
    if equation.name in ("add", "sub") and not all(carried):
        return _shifted(equation, carried)

    # A constant operand that it is linear in counts as zero; others, such as indices, steer.
    needs = tuple(
        Need.NOTHING
        if index in selected and not flag and jnp.issubdtype(aval.dtype, jnp.inexact)
        else Need.CURRENT
        for index, (flag, aval) in enumerate(zip(carried, application.avals, strict=True))
    )

    def step(n: Order, operands: list[Any], series: list[Series]) -> Sequence[Any]:
        return equation.bind(*map(coefficient, operands, application.avals))

    return Rule(equation.bind, step, needs=needs, own=False, extra=False)


def coefficient(operand: Any, aval: jax.ShapeDtypeStruct) -> Any:
    """An operand's coefficient at the present order: zeros where the rule needs nothing of it."""
    if isinstance(operand, Series):
        return operand.current
    return jnp.zeros(aval.shape, aval.dtype) if operand is None else operand


def _shifted(equation: Equation, carried: tuple[bool, ...]) -> Rule:
    """A series plus or minus a constant: the series, or its negative."""
    (index,) = (index for index, flag in enumerate(carried) if flag)
    negative = equation.name == "sub" and index == 1

    def step(n: Order, operands: list[Any], series: list[Series]) -> list[Array]:
        current = operands[index].current
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
    """The outputs as integrals of f'(u) u', where u is the last operand.

    Steps read the operands, and then f'(u) for each output. Coefficient n needs f'(u) below order
    n only, so f'(u) may be made of the outputs.
    """
    count = len(equation.outs)

    def step(n: Order, operands: list[Any], series: list[Series]) -> list[Array]:
        u = operands[-count - 1]
        return [
            divide(convolve(u, slope, n, weight=of_order), n)
            if isinstance(slope, Series)
            else u.current * slope
            for slope in operands[-count:]
        ]

    needs = (*[Need.NOTHING] * (len(equation.ins) - 1), *[Need.HISTORY] * (count + 1))
    return Rule(equation.bind, step, needs=needs, own=False, extra=False)
