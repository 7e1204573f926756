"""`a % b` in programs.

JAX writes it as a remainder with the sign of a, to which b is added where b has another sign.
"""

import dataclasses
from collections.abc import Mapping

import jax
import jax.numpy as jnp

from .program import Equation, Program

# What such an equation is called: the function of JAX.
MODULUS = "remainder"


def with_moduli(program: Program) -> Program:
    """A program in which each `a % b` is one equation, of the name `MODULUS`."""
    made = {number: one for one in program.equations for number in one.outs}
    equations = tuple(_modulus(program, made, one) or one for one in program.equations)
    if equations == program.equations:
        return program
    return dataclasses.replace(program, equations=equations).without_unused()


def _modulus(program: Program, made: Mapping[int, Equation], last: Equation) -> Equation | None:
    """The modulus whose last operation is an equation, if it is one."""
    if last.name != "select_n" or len(last.ins) != 3:
        return None
    condition, rest, moved = last.ins
    operands = _operands(made, rest, "rem")
    if operands is None:
        return None
    a, b = operands

    def is_below_zero(number: int, value: int) -> bool:
        found = _operands(made, number, "lt")
        return found is not None and found[0] == value and program.is_zero(found[1])

    def is_nonzero(number: int) -> bool:
        found = _operands(made, number, "ne")
        return found is not None and found[0] == rest and program.is_zero(found[1])

    def is_of_another_sign(number: int) -> bool:
        found = _operands(made, number, "ne")
        return found is not None and is_below_zero(found[0], rest) and is_below_zero(found[1], b)

    both = _operands(made, condition, "and")
    if both is None or _operands(made, moved, "add") != (rest, b):
        return None
    if not any(is_nonzero(one) and is_of_another_sign(other) for one, other in (both, both[::-1])):
        return None
    call = jax.make_jaxpr(jnp.remainder)(program.avals[a], program.avals[b]).eqns[0]
    return Equation(call.primitive, call.params, (a, b), last.outs, MODULUS)


def _operands(made: Mapping[int, Equation], number: int, name: str) -> tuple[int, ...] | None:
    """What a value was made of, if it was by a primitive of a name."""
    equation = made.get(number)
    return equation.ins if equation is not None and equation.name == name else None
