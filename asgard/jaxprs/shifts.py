"""What only shifts exponents: the largest entry in a softmax, which cancels.

With m = max(x), `jax.nn.softmax(x)` is exp(x - m) / Σ exp(x - m), and `logsumexp(x)` is
m + log Σ exp(x - m). Neither depends on m, which `stop_gradient` keeps out of their derivatives. So
they have no kink where another entry becomes the largest, and no step should end there.

exp(x - m) alone does depend on m. So each value is followed from m on: as v + s or as v exp(s),
where s is a sum of entries of m and v does not depend on them.
"""

import dataclasses
from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np

from . import by_numpy
from .primitives import traits
from .program import Equation, Program

SAME = {"stop_gradient", "convert_element_type", "copy", "copy_p", "asgard_stored", "neg", "abs"}
COMPARISONS = {"eq", "ne", "lt", "le", "gt", "ge"}


@dataclasses.dataclass(frozen=True)
class _Shifted:
    """A value v + s, or v exp(s) if it `scales`. `by` stands for s, with a number for each entry of
    m, so that sums of different entries differ."""

    by: np.ndarray
    scales: bool


def shifts(program: Program) -> set[int]:
    """The values on which the outputs depend only by such an m."""
    if not any(equation.name == "stop_gradient" for equation in program.equations):
        return set()
    zeros = _zeros(program)
    needed, found = set(program.outputs), set[int]()
    for equation in reversed(program.equations):
        if needed.isdisjoint(equation.outs):
            found.update(equation.outs)
        elif equation.name != "stop_gradient" or not _cancels(equation.outs[0], program, zeros):
            needed.update(equation.ins)
    return found


def _zeros(program: Program) -> set[int]:
    """The values that are known to be zero."""
    zeros = {number for number in program.constants if program.is_zero(number)}
    for equation in program.equations:
        if equation.name in ("broadcast_in_dim", *SAME) and zeros.issuperset(equation.ins):
            zeros.update(equation.outs)
    return zeros


def _cancels(number: int, program: Program, zeros: set[int]) -> bool:
    """Whether no output depends on a value."""
    shape = program.avals[number].shape
    numbers = np.random.default_rng(0).integers(1, 2**40, shape)
    values = {number: _Shifted(numbers, scales=False)}
    for equation in program.equations:
        if values.keys().isdisjoint(equation.ins):
            continue
        results = _results(equation, program, values, zeros)
        if results is None:
            return False
        pairs = zip(equation.outs, results, strict=True)
        values.update((out, result) for out, result in pairs if np.any(result.by))
    return values.keys().isdisjoint(program.outputs)


def _results(
    equation: Equation, program: Program, values: dict[int, _Shifted], zeros: set[int]
) -> list[_Shifted] | None:
    """What an equation makes of such values; None where that is not known."""
    kinds = {values[one].scales for one in equation.ins if one in values}
    if len(kinds) > 1:
        return None
    (scales,) = kinds
    shapes = [program.avals[one].shape for one in equation.ins]
    ins = [
        values[one].by if one in values else np.zeros(shape, int)
        for one, shape in zip(equation.ins, shapes, strict=True)
    ]
    known = traits(equation.name)
    if known.moves and known.steered_from is None:
        return [_Shifted(by, scales) for by in by_numpy.bind(equation, ins)]
    if equation.name == ("log" if scales else "exp"):
        return [_Shifted(ins[0], not scales)]
    if scales:
        # Zero times exp(s) is zero whatever s is.
        others = [x for x, one in zip(ins, equation.ins, strict=True) if one not in zeros]
        by = _scaled(equation, program, ins, others)
    else:
        by = _added(equation, program, ins)
    if by is None:
        return None
    shape = program.avals[equation.outs[0]].shape
    return [_Shifted(np.broadcast_to(by, shape), scales)]


def _added(equation: Equation, program: Program, ins: Sequence[np.ndarray]) -> np.ndarray | None:
    """What is made of values v + s, as s."""
    name = equation.name
    if name in ("add", "add_any"):
        return ins[0] + ins[1]
    if name == "sub":
        return ins[0] - ins[1]
    if name == "neg":
        return -ins[0]
    if name == "select_n":
        return _alike(ins[1:]) if not np.any(ins[0]) else None
    return ins[0] if name in SAME - {"abs"} and _is_inexact(equation, program) else None


def _scaled(
    equation: Equation, program: Program, ins: Sequence[np.ndarray], others: Sequence[np.ndarray]
) -> np.ndarray | None:
    """What is made of values v exp(s), as s. `others` are those of `ins` that are not zero."""
    name = equation.name
    if name == "mul":
        return ins[0] + ins[1]
    if name == "div":
        return ins[0] - ins[1]
    if name in ("integer_pow", "square"):
        return equation.params.get("y", 2) * ins[0]
    if name == "sign" or (name in COMPARISONS and len(others) == 1):
        return np.zeros_like(ins[0])
    if name in ("add", "add_any", "sub"):
        return _alike(others)
    if name == "select_n":
        return _alike(others[1:]) if not np.any(ins[0]) else None
    if name == "reduce_sum":
        axes = tuple(equation.params["axes"])
        most = np.max(ins[0], axes, keepdims=True, initial=np.min(ins[0], initial=0))
        return np.squeeze(most, axes) if np.all(most == ins[0]) else None
    return ins[0] if name in SAME and _is_inexact(equation, program) else None


def _alike(shifts: Sequence[np.ndarray]) -> np.ndarray | None:
    """The one s of some values, if it is the same."""
    first, *rest = np.broadcast_arrays(*shifts)
    return first if all(np.array_equal(first, one) for one in rest) else None


def _is_inexact(equation: Equation, program: Program) -> bool:
    return jnp.issubdtype(program.avals[equation.outs[0]].dtype, jnp.inexact)
