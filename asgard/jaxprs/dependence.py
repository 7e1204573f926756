"""Which entries of a program's output depend on which entries of an input."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool

from .concrete import is_concrete
from .primitives import traits
from .program import Equation, Program

# What a value depends on: `[*value, entries]`; None for nothing.
Dependence = Bool[np.ndarray, "..."] | None


def dependence(program: Program, number: int) -> Bool[np.ndarray, "outputs inputs"]:
    """Which entries of the only output depend on which entries of the input of a number.

    Where it is not known what an equation reads, each of its results counts as reading all.
    """
    (size,) = program.avals[number].shape
    found: dict[int, Dependence] = {number: np.eye(size, dtype=bool)}
    known = {
        key: np.asarray(value) for key, value in program.constants.items() if is_concrete(value)
    }
    with jax.ensure_compile_time_eval():
        for equation in program.equations:
            if known.keys() >= set(equation.ins):
                values = equation.bind(*(known[key] for key in equation.ins))
                known.update(zip(equation.outs, map(np.asarray, values), strict=True))
                continue
            operands = [found.get(key) for key in equation.ins]
            if all(operand is None for operand in operands):
                continue
            avals = [program.avals[key] for key in equation.outs]
            shapes = [program.avals[key].shape for key in equation.ins]
            values = [known.get(key) for key in equation.ins]
            results = _through(equation, operands, values, shapes, avals)
            found.update(zip(equation.outs, results, strict=True))
    (output,) = program.outputs
    whole = found.get(output)
    shape = program.avals[output].shape
    return np.zeros((*shape, size), bool) if whole is None else whole


def _through(
    equation: Equation,
    operands: Sequence[Dependence],
    values: Sequence[np.ndarray | None],
    shapes: Sequence[tuple[int, ...]],
    avals: Sequence[Any],
) -> list[Dependence]:
    """What the results of an equation depend on; `values` are those operands that are known."""
    known = traits(equation.name)
    if not any(np.issubdtype(aval.dtype, np.inexact) for aval in avals):
        return [None] * len(avals)  # whole numbers and flags have no derivatives
    if known.elementwise:
        return [_union(operands, avals[0].shape)]
    steering = values[known.steered_from :] if known.steered_from is not None else ()
    moved = known.steered_from is None or operands[known.steered_from :] == [None] * len(steering)
    # The value that pads need not be known: it moves nothing.
    is_known = equation.name == "pad" or all(value is not None for value in steering)
    if known.moves and moved and is_known:
        return _moved(equation, operands, values, shapes)
    if equation.name in ("reduce_sum", "reduce_max", "reduce_min", "reduce_prod", "cumsum"):
        return _summed(equation, operands)
    if equation.name in ("dot_general", "conv_general_dilated"):
        return _multiplied(equation, operands, values, shapes)
    if equation.name.startswith("scatter") and values[1] is not None:
        return _scattered(equation, operands, values[1], shapes)
    size = next(operand.shape[-1] for operand in operands if operand is not None)
    reads = np.zeros(size, bool)
    for operand in operands:
        if operand is not None:
            reads |= operand.reshape(-1, size).any(axis=0)
    return [np.broadcast_to(reads, (*aval.shape, size)) for aval in avals]


def _union(operands: Sequence[Dependence], shape: tuple[int, ...]) -> Dependence:
    """What entries depend on that are made of the operands' entries at their index."""
    given = [operand for operand in operands if operand is not None]
    whole = np.zeros((*shape, given[0].shape[-1]), bool)
    for operand in given:
        whole |= operand
    return whole


def _by_entry(fn: Callable[..., Any], axes: Sequence[int | None], *values: Any) -> list[np.ndarray]:
    """fn for each entry of the input, as numbers that are 0 where nothing depends."""
    results = jax.vmap(fn, in_axes=axes, out_axes=-1)(*values)
    return [np.asarray(result) != 0 for result in results]


def _moved(
    equation: Equation,
    operands: Sequence[Dependence],
    values: Sequence[np.ndarray | None],
    shapes: Sequence[tuple[int, ...]],
) -> list[Dependence]:
    """Numbers that only move take what they depend on along."""
    size = next(operand.shape[-1] for operand in operands if operand is not None)
    steered = traits(equation.name).steered_from
    given: list[Any] = []
    axes: list[int | None] = []
    for index, (operand, value, shape) in enumerate(zip(operands, values, shapes, strict=True)):
        if steered is not None and index >= steered:
            # The value that pads depends on nothing.
            given.append(np.float32(0) if equation.name == "pad" else value)
            axes.append(None)
            continue
        nothing = np.zeros((*shape, size), bool)
        given.append((nothing if operand is None else operand).astype(np.float32))
        axes.append(-1)
    return list(_by_entry(equation.bind, axes, *given))


def _scattered(
    equation: Equation,
    operands: Sequence[Dependence],
    indices: np.ndarray,
    shapes: Sequence[tuple[int, ...]],
) -> list[Dependence]:
    """An array with updates depends on what is left of it, and on the updates at their places.

    Of updates at one place each may be the one that stays.
    """
    names = "dimension_numbers", "indices_are_sorted", "unique_indices", "mode"
    options = {name: equation.params[name] for name in names}
    size = next(operand.shape[-1] for operand in operands if operand is not None)
    given = []
    for operand, shape in ((operands[index], shapes[index]) for index in (0, 2)):
        nothing = np.zeros((*shape, size), bool)
        given.append((nothing if operand is None else operand).astype(np.float32))

    def scattered(whole: Array, updates: Array) -> list[Array]:
        if equation.name == "scatter":
            whole = lax.scatter(whole, indices, jnp.zeros_like(updates), **options)
        return [lax.scatter_add(whole, indices, updates, **options)]

    return list(_by_entry(scattered, [-1, -1], *given))


def _summed(equation: Equation, operands: Sequence[Dependence]) -> list[Dependence]:
    """A sum depends on all that it sums; other reductions likewise."""
    (operand,) = operands
    assert operand is not None
    if equation.name == "cumsum":
        return list(_by_entry(equation.bind, [-1], operand.astype(np.float32)))
    return [np.asarray(operand.any(axis=tuple(equation.params["axes"])))]


def _multiplied(
    equation: Equation,
    operands: Sequence[Dependence],
    values: Sequence[np.ndarray | None],
    shapes: Sequence[tuple[int, ...]],
) -> list[Dependence]:
    """A product depends on each factor where the other is not known to be zero."""
    params = {**equation.params, "preferred_element_type": None}

    def product(one: Any, other: Any) -> list[Any]:
        return [equation.primitive.bind(one, other, **params)]

    weights = [
        np.ones(shape, np.float32) if value is None else (value != 0).astype(np.float32)
        for value, shape in zip(values, shapes, strict=True)
    ]
    found: list[np.ndarray] = []
    for side, operand in enumerate(operands):
        if operand is not None:
            given: list[Any] = list(weights)
            given[side] = operand.astype(np.float32)
            axes = [-1 if side == index else None for index in range(2)]
            found += _by_entry(product, axes, *given)
    return [np.logical_or.reduce(found)]
