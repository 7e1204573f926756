"""Hoisting: what a program and its loops compute from constants alone is computed before it.

XLA cannot compile a kernel that holds a constant array, so such arrays become operands.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jax import lax
from jax.core import Tracer
from jax.extend.core import Literal

from . import by_numpy
from .primitives import traits
from .program import Equation, Program, computed, inner_jaxprs, live, scan_counts, trace


def hoisted(program: Program) -> Callable[..., list[Any]]:
    """The program as a function of flat arrays, with its constant arrays computed now.

    Loops in it are hoisted too, and primitives that stand for a loop become that loop.
    """
    values = dict(program.constants)
    repeated: set[int] = set()
    steps: list[tuple[Equation, Callable[..., Sequence[Any]]]] = []
    known = set(values)
    for equation in program.equations:
        if known.issuperset(equation.ins):
            known.update(equation.outs)
            operands = [values[number] for number in equation.ins]
            values.update(zip(equation.outs, _computed_now(equation, operands), strict=True))
            repeated.update(number for number in equation.outs if _repeats(values[number]))
            if not _is_number(equation, program):
                continue
        avals = [program.avals[number] for number in equation.ins]
        steps.append((equation, _step(equation, avals)))

    def run(*inputs: Any) -> list[Any]:
        found = {**values, **dict(zip(program.inputs, inputs, strict=True))}
        # As an operand XLA would fill it anew whenever the program is called.
        found |= {one: lax.full_like(values[one], values[one].flat[0]) for one in repeated}
        for equation, step in steps:
            operands = [found[number] for number in equation.ins]
            found.update(zip(equation.outs, step(*operands), strict=True))
        return [found[number] for number in program.outputs]

    return run


def computes_constants(jaxpr: Any, known: Sequence[bool] = ()) -> bool:
    """Whether XLA would make constant arrays when it compiles a jaxpr or one that it holds.

    `known` says which inputs are constants.
    """
    constants = {var for var, flag in zip(jaxpr.invars, known, strict=False) if flag}
    for equation in live(jaxpr):
        name = equation.primitive.name
        flags = [isinstance(atom, Literal) or atom in constants for atom in equation.invars]
        calls = bool(traits(name).calls)
        if any(computes_constants(it, flags if calls else ()) for it in inner_jaxprs(equation)):
            return True
        if all(flags):
            constants.update(equation.outvars)
            are_numbers = all(var.aval.size == 1 for var in equation.outvars)
            if not (calls or are_numbers or traits(name).left_by_xla):
                return True
    return False


def _computed_now(equation: Equation, operands: Sequence[Any]) -> Sequence[Any]:
    """What an equation makes of constants: by NumPy, if that can, so that no program computes it
    each time it runs."""
    if not any(isinstance(x, Tracer) for x in operands):
        values = list(map(np.asarray, operands))
        if by_numpy.knows(equation, values):
            return by_numpy.bind(equation, values)
    return equation.bind(*operands)


def _repeats(value: Any) -> bool:
    """Whether a known array is one number many times, to its last bit: 0 is not -0."""
    if not isinstance(value, np.ndarray) or value.size < 2:
        return False
    return value.tobytes() == value.size * value.flat[0].tobytes()


def _is_number(equation: Equation, program: Program) -> bool:
    """Whether an equation of constants gives one number, perhaps many times."""
    if equation.name == "broadcast_in_dim":
        return program.avals[equation.ins[0]].size == 1
    return all(program.avals[number].size == 1 for number in equation.outs)


def _step(equation: Equation, avals: Sequence[Any]) -> Callable[..., Sequence[Any]]:
    """The function of an equation's operands: the equation, or a loop with its body hoisted."""
    if equation.name in EXPANSIONS:
        expansion = functools.partial(EXPANSIONS[equation.name], **equation.params)
        return hoisted(trace(expansion, *avals))
    return _LOOPS[equation.name](equation) if equation.name in _LOOPS else equation.bind


def _while(equation: Equation) -> Callable[..., Sequence[Any]]:
    params = equation.params
    condition = hoisted(computed(params["cond_jaxpr"]))
    body = hoisted(computed(params["body_jaxpr"]))
    first, second = params["cond_nconsts"], params["cond_nconsts"] + params["body_nconsts"]

    def run(*operands: Any) -> Sequence[Any]:
        def goes_on(carry: list[Any]) -> Any:
            flags = condition(*operands[:first], *carry)[0]
            return lax.reduce_or(flags, range(flags.ndim))

        def turn(carry: list[Any]) -> list[Any]:
            after = body(*operands[first:second], *carry)
            flags = condition(*operands[:first], *carry)[0]
            # A batched loop has a flag for each of its runs, along leading axes.
            return after if not flags.ndim else [*map(_select_by(flags), after, carry)]

        return lax.while_loop(goes_on, turn, list(operands[second:]))

    return run


def _select_by(flags: Any) -> Callable[[Any, Any], Any]:
    """Of two arrays the one that is chosen, by flags along their leading axes."""
    return lambda new, old: lax.select(
        lax.broadcast_in_dim(flags, new.shape, range(flags.ndim)), new, old
    )


def _scan(equation: Equation) -> Callable[..., Sequence[Any]]:
    params = equation.params
    body = hoisted(computed(params["jaxpr"]))
    first, carries = scan_counts(params)
    last = first + carries
    options = {name: params[name] for name in ("length", "reverse", "unroll")}

    def run(*operands: Any) -> Sequence[Any]:
        def turn(carry: list[Any], rows: list[Any]) -> tuple[list[Any], list[Any]]:
            results = body(*operands[:first], *carry, *rows)
            return results[: last - first], results[last - first :]

        carry, rows = lax.scan(turn, list(operands[first:last]), list(operands[last:]), **options)
        return [*carry, *rows]

    return run


def _cond(equation: Equation) -> Callable[..., Sequence[Any]]:
    branches = [hoisted(computed(branch)) for branch in equation.params["branches"]]
    return lambda index, *operands: lax.switch(index, branches, *operands)


def _linear_solve(equation: Equation) -> Callable[..., Sequence[Any]]:
    """The solve alone: a kernel is not differentiated any more."""
    lengths, solve = equation.params["const_lengths"], equation.params["jaxprs"].solve
    body = hoisted(computed(solve))
    first, last = lengths.matvec + lengths.vecmat, sum(lengths)
    inside = slice(first, first + lengths.solve)
    return lambda *operands: body(*operands[inside], *operands[last:])


# Primitives that stand for a loop, by name, each as a function in operations of JAX.
EXPANSIONS: dict[str, Callable[..., Sequence[Any]]] = {}

_LOOPS: dict[str, Callable[[Equation], Callable[..., Sequence[Any]]]] = {
    "while": _while,
    "scan": _scan,
    "cond": _cond,
    "custom_linear_solve": _linear_solve,
}
