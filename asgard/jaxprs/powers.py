"""Powers by products and roots, where the exponent is a known multiple of a quarter.

`pow` calls the C library for one number after the other: in a kernel it takes twice as long, and in
long arrays ten times. Of 0.0 and of positive numbers values are the same to some rounding; of -0.0
an infinite one may be negative, and of -inf there is none.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jax import lax

from .program import Equation, Program, Rules
from .rewriting import rewritten

# Products are taken up to this exponent: they round more often as it grows.
LARGEST_EXPONENT = 16
# What is added below a root, by the dtypes that have such powers: derivatives of it are infinite at
# zero, and times zero they would be no numbers where those of the power are zero. With this much
# the first two are finite, and from 1e-104 and 1e-18 on the root is the same.
SHIFT = {np.dtype("float64"): 1e-120, np.dtype("float32"): 1e-25}


def has_powers(program: Program) -> bool:
    """Whether a program has powers that are products and roots."""
    return any(_exponent(program, equation) is not None for equation in program.equations)


def powers_by_roots(fn: Callable[..., Sequence[Any]]) -> Callable[..., Sequence[Any]]:
    """A function of arrays with such powers by products and roots."""

    def rules(program: Program) -> Rules:
        def by_roots(equation: Equation, operands: list[Any]) -> list[Any] | None:
            exponent = _exponent(program, equation)
            return None if exponent is None else [power(operands[0], exponent)]

        return {"pow": by_roots} if has_powers(program) else {}

    return rewritten(fn, rules)


def power(x: Any, exponent: float) -> Any:
    """x^exponent in float32 or float64 for a multiple of a quarter."""
    whole, part = divmod(abs(exponent), 1)
    factors = [lax.integer_pow(x, int(whole))] if whole else []
    if part:
        root = lax.sqrt(x + np.asarray(SHIFT[x.dtype], x.dtype) if whole and exponent > 0 else x)
        factors += [root] if part >= 0.5 else []
        factors += [lax.sqrt(root)] if part != 0.5 else []
    product = factors[0]
    for factor in factors[1:]:
        product = product * factor
    return product if exponent > 0 else 1 / product


def _exponent(program: Program, equation: Equation) -> float | None:
    """The exponent of an equation that is such a power."""
    if equation.name != "pow":
        return None
    base, exponent = equation.ins
    value = program.known(exponent)
    if program.avals[base].dtype not in SHIFT:
        return None
    if value is None or np.ndim(value) > 0:
        return None
    found = float(value)
    fits = (4 * found).is_integer() and 0 < abs(found) <= LARGEST_EXPONENT
    return found if fits else None
