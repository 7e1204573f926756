"""Functions with some of their equations replaced."""

from collections.abc import Callable, Sequence
from typing import Any

import jax

from .concrete import is_concrete
from .program import Program, Rules, trace


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
        return program.run_by({**found, **functions}, values)

    return run


def _type(value: Any) -> jax.ShapeDtypeStruct:
    aval = jax.typeof(value)
    return jax.ShapeDtypeStruct(aval.shape, aval.dtype, weak_type=aval.weak_type)
