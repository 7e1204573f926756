"""What guards of pieces compare: functions of time and state that pass zero where a piece ends.

`jnp.where(x * y > c, 1.0, -1.0)` has two pieces, and x y - c is zero where one ends. So is what
`max`, `abs`, `clip`, `floor` and their like compare. Guards are smooth between such zeros.

Where a condition depends on time alone steps end at its zeros: see `switches.py`. Comparisons in
loops are not seen, nor are those of many numbers.
"""

import dataclasses
import math
from collections.abc import Iterator, Sequence, Set
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from ...jaxprs.program import Equation, Program, from_jaxpr
from ...jaxprs.unrolling import unrolled
from .smoothness import asked_along, asked_of, branches_along
from .system import EventLayout

# A guard with more conditions, such as one of many neurons, is read as it is.
MOST = 64
# Extremes of more numbers than this are no conditions.
LARGEST = 16
# Calls that are looked into.
CALLS = ("jit", "pjit", "closed_call", "custom_jvp_call", "custom_vjp_call")
# What is true of equal numbers counts these as past the switch.
WITH_EQUAL = ("ge", "lt")
COMPARISONS = ("lt", "le", "gt", "ge", "eq", "ne", "max", "min")


@dataclasses.dataclass(frozen=True)
class Conditions:
    """The conditions in the program of some guards, `count` numbers in all: those of equations
    whose results are in `asked`."""

    program: Program
    asked: Set[int]
    count: int

    @classmethod
    def of(cls, guards: Program, layout: EventLayout) -> "Conditions | None":
        """Those of guards, a program of time and state with one output; None where it has none, or
        too many."""
        if not branches_along(guards, layout):
            return None
        asked = asked_along(guards, layout)
        types = [guards.avals[number] for number in guards.inputs]
        shapes = jax.eval_shape(lambda *inputs: _walked(guards, inputs, asked)[1], *types)
        count = sum(math.prod(one.shape) for one in shapes)
        return cls(guards, asked, count) if 0 < count <= MOST else None

    def beside_guards(self, t: Array, y: Array) -> Array:
        """The guards, and behind them the conditions, `[guards + count]`."""
        (guards,), found = _walked(self.program, (t, y), self.asked)
        return jnp.concatenate([guards, *(jnp.ravel(one).astype(guards.dtype) for one in found)])


def _walked(
    program: Program, inputs: Sequence[Any], asked: Set[int]
) -> tuple[list[Any], list[Array]]:
    """The outputs of a program, and the conditions of the equations whose results are `asked`."""
    values = {**program.constants, **dict(zip(program.inputs, inputs, strict=True))}
    found: dict[Any, Array] = {}
    for equation in program.equations:
        operands = [values[number] for number in equation.ins]
        if not asked.isdisjoint(equation.outs):
            for key, one in _conditions_of(equation, operands):
                found.setdefault(key, one)
        values.update(zip(equation.outs, equation.bind(*operands), strict=True))
    return [values[number] for number in program.outputs], list(found.values())


def _conditions_of(equation: Equation, operands: Sequence[Any]) -> Iterator[tuple[Any, Array]]:
    """The conditions of an equation, each with a key that is the same for the same one."""
    for index, program in enumerate(_programs_in(equation)):
        given = operands[1:] if equation.name == "cond" else operands
        asked = asked_of(program)
        for place, one in enumerate(_walked(program, given, asked)[1]):
            yield (equation.outs[0], index, place), one
    name = equation.name
    if not all(jnp.issubdtype(jnp.result_type(x), jnp.floating) for x in operands):
        return
    for place, one in enumerate(_compared(equation, operands)):
        ties = name in WITH_EQUAL
        plain = name in COMPARISONS and equation.ins
        yield (plain, ties) if plain else (equation.outs[0], place), _apart(one, ties)


def _programs_in(equation: Equation) -> list[Program]:
    """The programs that an equation holds, if it chooses between some, or calls one."""
    if equation.function is not None:
        return []
    if equation.name == "cond":
        bodies = equation.params["branches"]
    elif equation.name == "custom_jvp_call":
        bodies = [equation.params["call_jaxpr"]]
    else:
        return []
    return [unrolled(from_jaxpr(body, CALLS), CALLS) for body in bodies]


def _compared(equation: Equation, operands: Sequence[Any]) -> list[Array]:
    """What passes zero where an equation on real numbers takes another piece."""
    name, params = equation.name, equation.params
    if name == "ne" and equation.ins[0] == equation.ins[1]:
        return []  # whether it is no number
    if name in COMPARISONS:
        return [operands[0] - operands[1]]
    if name in ("abs", "sign", "atan2"):
        return [operands[0]]
    if name == "clamp":
        low, x, high = operands
        return [x - low, x - high]
    if name in ("floor", "ceil") or (
        name == "convert_element_type" and jnp.issubdtype(params["new_dtype"], jnp.integer)
    ):
        return [_wave(operands[0])]
    if name == "round":
        return [_wave(operands[0] + 0.5)]
    if name == "rem":
        return [_wave(operands[0] / operands[1])]
    if name in ("reduce_max", "reduce_min", "argmax", "argmin"):
        return _extremes(operands[0], params["axes"], name in ("reduce_max", "argmax"))
    return []


def _wave(x: Array) -> Array:
    """What passes zero where a number is whole, and is smooth between."""
    odd = x - 2 * jnp.floor(x / 2) >= 1
    size = jnp.abs(jnp.sin(jnp.pi * x))
    return jnp.where(odd, -size, size)


def _extremes(x: Array, axes: Sequence[int], largest: bool) -> list[Array]:
    """What passes zero where another of some numbers is the largest, or the smallest: each of them
    without the extreme of those before it."""
    count = math.prod(x.shape[axis] for axis in axes)
    if not 1 < count <= LARGEST:
        return []
    rows = jnp.moveaxis(x, axes, range(len(axes))).reshape(count, -1)
    choose, found, before = jnp.maximum if largest else jnp.minimum, [], rows[0]
    for row in rows[1:]:
        found.append(row - before)
        before = choose(before, row)
    return found


def _apart(value: Array, above: bool) -> Array:
    """A condition that is never zero: zero is `above`, or below."""
    least = jnp.finfo(value.dtype).tiny
    return value + lax.stop_gradient(jnp.where(value == 0, least if above else -least, 0))
