"""What a program makes of time and state along a step between events: whether it may jump or have
kinks, and whether it is a linear function."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from ...jaxprs import by_numpy
from ...jaxprs.primitives import traits
from ...jaxprs.program import Equation, Program, from_jaxpr
from ...jaxprs.shifts import shifts
from ...taylor.registry import Linear, kind_of
from .system import EventLayout

# How what a program makes goes along a step: it stays, is a linear function, or a curved one.
STILL, LINEAR, CURVED = range(3)
# What is linear in each of two operands; what is made of linear pieces; and what stays where time
# passes no switch.
PRODUCTS = {"mul", "dot_general"}
COMPARISONS = {"eq", "ne", "lt", "le", "gt", "ge", "and", "or", "xor", "not"}
KINKED = {"abs", "max", "min", "clamp", *COMPARISONS}
# What makes a polynomial of the same degree, besides what only moves numbers.
SUMS = {"add", "add_any", "sub", "neg", "reduce_sum", "cumsum"}
SUMS |= {"convert_element_type", "copy", "copy_p", "asgard_stored"}
SWITCHED = {"floor", "ceil", "round", "sign", *COMPARISONS}


def branches_along(program: Program, layout: EventLayout | None) -> bool:
    """Whether what a program makes of time and state, its first two inputs, may jump or have kinks
    between events."""
    kinds, cancelling = _at_first(program, layout), shifts(program)
    for equation, ins in _of_what_moves(program, kinds):
        if equation.name == "ne" and equation.ins[0] == equation.ins[1]:
            continue  # whether it is no number
        if cancelling.issuperset(equation.outs):
            continue
        held = equation.name == "select_n" and not np.any(ins[0])
        if not held and (not _is_smooth(equation) or _makes_whole_numbers(program, equation)):
            return True
        kinds |= {number: np.full(program.avals[number].shape, LINEAR) for number in equation.outs}
    return False


def degree_along(program: Program, layout: EventLayout | None) -> float:
    """The degree of what a program makes of time and state, as a polynomial in both between events:
    infinite where it is none."""
    degrees, largest = _at_first(program, layout), 1.0
    for equation, ins in _of_what_moves(program, degrees):
        degree = _degree(equation, [float(np.max(one, initial=0)) for one in ins])
        if degree == math.inf or _makes_whole_numbers(program, equation):
            return math.inf
        largest = max(largest, degree)
        for number in equation.outs:
            degrees[number] = np.full(program.avals[number].shape, degree)
    return largest


def _degree(equation: Equation, degrees: Sequence[float]) -> float:
    """The degree of an equation's result from those of its operands."""
    if equation.name in PRODUCTS:
        return math.fsum(degrees)
    if equation.name in ("integer_pow", "square"):
        power = equation.params.get("y", 2)
        return power * degrees[0] if power >= 0 else math.inf
    if equation.name in SUMS or (equation.name == "div" and not degrees[1]):
        return max(degrees)
    return math.inf


def _makes_whole_numbers(program: Program, equation: Equation) -> bool:
    """Whether an equation cuts numbers to whole ones, as `astype(int)` does."""
    if equation.name != "convert_element_type":
        return False
    return not jnp.issubdtype(program.avals[equation.outs[0]].dtype, jnp.inexact)


def _is_smooth(equation: Equation) -> bool:
    """Whether an equation is analytic, or calls a function of which all is."""
    known = traits(equation.name)
    if not known.calls:
        return known.smooth
    return all(map(_is_smooth, from_jaxpr(equation.params[known.calls]).equations))


def _at_first(program: Program, layout: EventLayout | None) -> dict[int, np.ndarray]:
    """The kinds of time and of the entries of the state, of which some only jump at events."""
    time, state = program.inputs[:2]
    kinds = {one: np.full(program.avals[one].shape, LINEAR) for one in (time, state)}
    if layout is not None:
        kinds[state][: len(layout.held)][layout.held] = STILL
    return kinds


def _of_what_moves(
    program: Program, kinds: dict[int, np.ndarray]
) -> Iterator[tuple[Equation, list[np.ndarray]]]:
    """The equations that make something else of what moves, and the kinds of their operands: those
    in `kinds`, to which what only moves entries to other places is added here. Others are still."""
    for equation in program.equations:
        still = (np.full(program.avals[number].shape, STILL) for number in equation.ins)
        ins = [kinds.get(number, one) for number, one in zip(equation.ins, still, strict=True)]
        if not any(map(np.any, ins)):
            continue
        known = traits(equation.name)
        if known.moves and known.steered_from is None:
            kinds |= zip(equation.outs, by_numpy.bind(equation, ins), strict=True)
        else:
            yield equation, ins


def _made_of(program: Program, numbers: set[int]) -> set[int]:
    """Some values of a program, and all that is made of them."""
    found = set(numbers)
    for equation in program.equations:
        if not found.isdisjoint(equation.ins):
            found.update(equation.outs)
    return found


def curved_along(program: Program, layout: EventLayout) -> np.ndarray:
    """Which entries of what a program makes of time and state, its only output, may be other than
    linear functions of these between events, or than pieces of such, `[entries]`."""
    kinds = _at_first(program, layout)
    _spread_kinds(program, kinds, {program.inputs[1]})
    (output,) = program.outputs
    return kinds.get(output, np.full(program.avals[output].shape, STILL)) == CURVED


def asked_along(program: Program, layout: EventLayout) -> set[int]:
    """The results of those equations of a program that read what moves between events, and the
    state: steps end where what depends on time alone switches."""
    kinds = _at_first(program, layout)
    of_state = _spread_kinds(program, kinds, {program.inputs[1]})
    moving = {number for number, kind in kinds.items() if np.any(kind)}
    return _results_of(program, moving) & _results_of(program, of_state)


def asked_of(program: Program) -> set[int]:
    """The results of those equations of a program that depend on its inputs."""
    return _results_of(program, _made_of(program, set(program.inputs)))


def _results_of(program: Program, numbers: set[int]) -> set[int]:
    """The results of the equations that read some values."""
    found = (one.outs for one in program.equations if not numbers.isdisjoint(one.ins))
    return {number for outs in found for number in outs}


def _spread_kinds(program: Program, kinds: dict[int, np.ndarray], state: set[int]) -> set[int]:
    """Adds the kinds of all that moves to those of what a program begins with; and returns what is
    made of the `state`."""
    of_state = _made_of(program, state)
    for equation, ins in _of_what_moves(program, kinds):
        timed = of_state.isdisjoint(equation.ins)
        # Steps end where what depends on time alone switches.
        kind = STILL if timed and equation.name in SWITCHED else None
        dtypes = [program.avals[number].dtype for number in equation.ins]
        for number in equation.outs:
            aval = program.avals[number]
            one = _kind(equation, ins, dtypes, aval.dtype)
            kinds[number] = np.broadcast_to(one if kind is None else kind, aval.shape)
    return of_state


def _kind(
    equation: Equation, ins: Sequence[np.ndarray], dtypes: Sequence[Any], dtype: Any
) -> np.ndarray | int:
    """The kind of what an equation makes, of a dtype, of operands of some kinds and dtypes: of all
    entries or of each."""
    largest = [int(np.max(kind, initial=STILL)) for kind in ins]
    name, rule = equation.name, kind_of(equation.name)
    # The size of a complex number is a root of squares.
    is_complex = any(jnp.issubdtype(one, jnp.complexfloating) for one in dtypes)
    if name in KINKED and max(largest) == LINEAR and not is_complex:
        return LINEAR
    if not jnp.issubdtype(dtype, jnp.inexact):
        return CURVED
    if name in PRODUCTS or name == "div":
        moving = [index for index, kind in enumerate(largest) if kind > STILL]
        return max(largest) if len(moving) == 1 and (name != "div" or moving == [0]) else CURVED
    if name == "select_n" and largest[0] == CURVED:
        return CURVED
    if not isinstance(rule, Linear) or rule.operands is not None:
        return CURVED
    if traits(name).elementwise:
        kinds = np.broadcast_arrays(*ins)
        return np.asarray(np.max(kinds, axis=0))
    return max(largest)
