"""Functions with some of their equations replaced."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax

from .concrete import is_concrete
from .program import Equation, Program, trace

# What an equation gives for its operands; None where it stays what it is.
Rule = Callable[[Equation, list[Any]], Sequence[Any] | None]
Rules = Mapping[str, Rule]


def rewritten(
    fn: Callable[..., Sequence[Any]], rules: Callable[[Program], Rules]
) -> Callable[..., Sequence[Any]]:
    """A function of arrays whose equations follow the rules for its program, by their names.

    Of known numbers it is the function itself: users look into what runs under `jax.disable_jit`.
    """

    def run(*values: Any) -> Sequence[Any]:
        if is_concrete(*values):
            return fn(*values)
        program = trace(fn, *map(_type, values))
        found = rules(program)
        if not found:
            return fn(*values)
        # Functions stay calls: by their names their series are known.
        functions = {
            equation.name: lambda equation, operands: equation.call(*operands)
            for equation in program.equations
            if equation.function
        }
        return run_by({**found, **functions}, program, values)

    return run


def _type(value: Any) -> jax.ShapeDtypeStruct:
    aval = jax.typeof(value)
    return jax.ShapeDtypeStruct(aval.shape, aval.dtype, weak_type=aval.weak_type)


def run_by(rules: Rules, program: Program, inputs: Sequence[Any]) -> list[Any]:
    """The outputs of a program whose equations follow rules."""
    values = {**program.constants, **dict(zip(program.inputs, inputs, strict=True))}
    for equation in program.equations:
        operands = [values[number] for number in equation.ins]
        rule = rules.get(equation.name)
        found = None if rule is None else rule(equation, operands)
        found = equation.bind(*operands) if found is None else found
        values.update(zip(equation.outs, found, strict=True))
    return [values[number] for number in program.outputs]
