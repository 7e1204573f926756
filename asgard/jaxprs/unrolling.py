"""Programs whose short loops are written out, so that others see what is asked in each turn."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend.core import jaxpr_as_fun

from .branches import BRANCHES
from .program import Equation, Program, all_equations, from_jaxpr, scan_counts

# Loops of more turns stay loops.
MOST_TURNS = 8
# So many loops within each other are written out.
DEPTH = 3


def unrolled(program: Program, inlined: Sequence[str]) -> Program:
    """A program without the short loops that branch; `inlined` as in `from_jaxpr`."""
    for _ in range(DEPTH):
        if not any(map(_is_unrolled, program.equations)):
            break
        avals = [program.avals[number] for number in program.inputs]
        program = from_jaxpr(jax.make_jaxpr(_run(program))(*avals), inlined)
    return program


def _is_unrolled(equation: Equation) -> bool:
    """Whether an equation is a loop of few turns that branches on numbers."""
    if equation.name != "scan" or not 0 < equation.params["length"] <= MOST_TURNS:
        return False
    return any(
        eqn.primitive.name in BRANCHES and jnp.issubdtype(eqn.invars[0].aval.dtype, jnp.floating)
        for eqn in all_equations(equation.params["jaxpr"].jaxpr)
    )


def _run(program: Program) -> Any:
    """A program as a function, with its loops turn by turn."""

    def turns(equation: Equation, operands: list[Any]) -> list[Any] | None:
        return _turns(equation, *operands) if _is_unrolled(equation) else None

    return lambda *inputs: program.run_by({"scan": turns}, inputs)


def _turns(equation: Equation, *operands: Any) -> list[Any]:
    """What a loop gives, turn by turn."""
    params = equation.params
    constants, carries = scan_counts(params)
    held, carry = operands[:constants], list(operands[constants : constants + carries])
    rows, length = operands[constants + carries :], params["length"]
    body, found = jaxpr_as_fun(params["jaxpr"]), {}
    for turn in range(length)[:: -1 if params["reverse"] else 1]:
        row = [lax.index_in_dim(x, turn, keepdims=False) for x in rows]
        results = body(*held, *carry, *row)
        carry, found[turn] = results[:carries], results[carries:]
    stacked = zip(*(found[turn] for turn in range(length)), strict=True)
    return [*carry, *(jnp.stack(one) for one in stacked)]
