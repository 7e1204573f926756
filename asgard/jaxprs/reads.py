"""Which entries of an input each entry of an equation's results depends on.

A set of entries of the input is held as bits, in numbers of 64 bits. So a union is `|`, and the
sets of 1,000 entries that may each depend on 1,000 take 125 kB.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, UInt64

from .by_numpy import MOVES, bind, gathered_from, scattered_to
from .primitives import traits
from .program import Equation

# A set for each entry of a value.
Sets = UInt64[np.ndarray, "*value words"]

_RUNNING = {"cumsum", "cumprod", "cummax", "cummin", "cumlogsumexp"}


@dataclasses.dataclass(frozen=True, eq=False)
class Operand:
    """What is known of a value: what its entries depend on (None: on nothing), and itself."""

    shape: tuple[int, ...]
    dtype: Any
    depends: Sets | None = None
    value: Any = None

    @property
    def sets(self) -> Sets:
        """What the entries depend on, where some depend on something."""
        assert self.depends is not None
        return self.depends

    @property
    def together(self) -> UInt64[np.ndarray, " words"]:
        """What all entries depend on, likewise."""
        return np.bitwise_or.reduce(self.sets.reshape(-1, self.sets.shape[-1]), axis=0)


def singles(entries: int) -> Sets:
    """For each entry of the input the set that has it alone."""
    index = np.arange(entries)
    octets = np.zeros((entries, 8 * -(-entries // 64)), np.uint8)
    octets[index, index // 8] = 128 >> index % 8
    return octets.view(np.uint64)


def flags(sets: Sets, entries: int) -> Bool[np.ndarray, "*value entries"]:
    """A flag for each entry that may be in a set."""
    octets = np.ascontiguousarray(sets).view(np.uint8)
    return np.unpackbits(octets, axis=-1, count=entries).view(bool)


def has_derivative(type_: Any) -> bool:
    """Whether numbers of a type have derivatives: flags, whole numbers and keys have none."""
    return jnp.issubdtype(type_.dtype, jnp.inexact)


def reads(
    equation: Equation, operands: Sequence[Operand], avals: Sequence[Any]
) -> Sequence[Sets | None]:
    """What the results depend on, of which `avals` are the types.

    Some operand depends on something. Where it is not known what an equation reads, each of its
    results counts as reading all.
    """
    name = equation.name
    if not any(map(has_derivative, avals)):
        return [None] * len(avals)
    if name == "select_n" and operands[0].value is not None:
        return [_selected(operands[0].value, operands[1:], avals[0].shape)]
    if traits(name).elementwise:
        return [union(operands, avals[0].shape)]
    if traits(name).moves:
        found = _moved(equation, operands, avals)
    elif name.startswith("scatter"):
        found = [_scattered(equation, *operands)]
    elif traits(name).reduces:
        found = [np.bitwise_or.reduce(operands[0].sets, axis=tuple(equation.params["axes"]))]
    elif name in _RUNNING:
        found = [_running(operands[0].sets, equation.params["axis"], equation.params["reverse"])]
    elif name == "dot_general":
        found = [_multiplied(equation, *operands)]
    elif name == "conv_general_dilated":
        convolved = _convolved(equation, *operands)
        found = None if convolved is None else [convolved]
    else:
        found = None
    return everything(operands, avals) if found is None else found


def everything(operands: Sequence[Operand], avals: Sequence[Any]) -> list[Sets | None]:
    """Each result depends on all that the operands depend on, if anything."""
    given = [operand.together for operand in operands if operand.depends is not None]
    if not given:
        return [None] * len(avals)
    whole = np.bitwise_or.reduce(given)
    return [
        np.broadcast_to(whole, (*aval.shape, len(whole))) if has_derivative(aval) else None
        for aval in avals
    ]


def union(operands: Sequence[Operand], shape: tuple[int, ...]) -> Sets | None:
    """What entries depend on that are made of the operands' entries at their index."""
    given = [operand.sets for operand in operands if operand.depends is not None]
    if len(given) == 1 and given[0].shape[:-1] == shape:
        return given[0]
    whole = np.zeros((*shape, given[0].shape[-1]), np.uint64) if given else None
    for sets in given:
        whole |= sets
    return whole


def _selected(which: np.ndarray, cases: Sequence[Operand], shape: tuple[int, ...]) -> Sets | None:
    """An entry depends on that of the case that is chosen."""
    chosen = [
        dataclasses.replace(case, depends=np.where(which[..., None] == index, case.depends, 0))
        for index, case in enumerate(cases)
        if case.depends is not None
    ]
    return union(chosen, shape)


def _moved(
    equation: Equation, operands: Sequence[Operand], avals: Sequence[Any]
) -> list[Sets] | None:
    """Numbers that only move take what they depend on along, as the equation moves numbers."""
    # A number that pads moves like those that it pads.
    first = None if equation.name == "pad" else traits(equation.name).steered_from
    moving, steering = (operands, []) if first is None else (operands[:first], operands[first:])
    values = [operand.value for operand in steering]
    if any(value is None for value in values):
        return _moved_somewhere(equation, operands, avals)
    places, sets = _numbered(moving)
    if equation.name == "gather":
        return [_picked(sets, gathered_from(equation, moving[0].shape, *values))]
    return [_picked(sets, place) for place in bind(equation, [*places, *values])]


def _moved_somewhere(
    equation: Equation, operands: Sequence[Operand], avals: Sequence[Any]
) -> list[Sets] | None:
    """A slice may be any, along the axes that it does not fill."""
    if equation.name == "dynamic_slice":
        whole, part = operands[0], avals[0].shape
        return [np.broadcast_to(_any(whole, part), (*part, whole.sets.shape[-1]))]
    if equation.name == "dynamic_update_slice":
        whole, part = operands[:2]
        if part.depends is not None:
            part = dataclasses.replace(part, depends=_any(part, whole.shape))
        found = union([whole, part], whole.shape)
        return None if found is None else [found]
    return None


def _any(operand: Operand, shape: tuple[int, ...]) -> Sets:
    """The union along the axes on which a shape differs from that of an operand."""
    pairs = enumerate(zip(operand.shape, shape, strict=True))
    axes = tuple(axis for axis, (one, other) in pairs if one != other)
    return np.bitwise_or.reduce(operand.sets, axis=axes, keepdims=True)


def _numbered(operands: Sequence[Operand]) -> tuple[list[np.ndarray], Sets]:
    """The operands with a number for each entry, 0 if it depends on nothing; and all their sets."""
    numbered, flat, count = [], [], 1
    for operand in operands:
        numbers = np.zeros(operand.shape, np.int32)
        if operand.depends is not None:
            size = math.prod(operand.shape)
            numbers = np.arange(count, count + size, dtype=np.int32).reshape(operand.shape)
            flat.append(operand.depends.reshape(size, -1))
            count += size
        numbered.append(numbers)
    return numbered, flat[0] if len(flat) == 1 else np.concatenate(flat)


def _picked(sets: Sets, numbers: np.ndarray) -> Sets:
    """The sets of these numbers; that of 0 is empty."""
    picked = np.take(sets, np.maximum(numbers, 1) - 1, axis=0)
    picked[numbers == 0] = 0
    return picked


def _scattered(equation: Equation, whole: Operand, indices: Operand, updates: Operand) -> Sets:
    """An array with updates depends on what is left of it, and on the updates at their places.

    Of updates at one place each may be the one that stays.
    """
    words = next(one.sets.shape[-1] for one in (whole, updates) if one.depends is not None)
    size = math.prod(whole.shape)
    found = np.zeros((size, words), np.uint64)
    if whole.depends is not None:
        found |= whole.depends.reshape(size, words)
    if indices.value is None:
        if updates.depends is not None:
            found |= updates.together
        return found.reshape(*whole.shape, words)
    places = scattered_to(equation, whole.shape, indices.value, updates.shape)
    kept = places > 0
    if equation.name == "scatter":
        found[places[kept] - 1] = 0
    if updates.depends is not None:
        np.bitwise_or.at(found, places[kept] - 1, updates.depends[kept])
    return found.reshape(*whole.shape, words)


def _running(sets: Sets, axis: int, reverse: bool) -> Sets:
    """What is summed along an axis depends on all before, or behind."""
    sets = np.flip(sets, axis) if reverse else sets
    running = np.bitwise_or.accumulate(sets, axis=axis)
    return np.flip(running, axis) if reverse else running


def _multiplied(equation: Equation, one: Operand, other: Operand) -> Sets:
    """A product of matrices depends on each factor where the other is not known to be zero."""
    summed, batch = equation.params["dimension_numbers"]
    sides = [
        _Factor(operand, axes, many)
        for operand, axes, many in zip((one, other), summed, batch, strict=True)
    ]
    found = [sides[0].times(sides[1]), sides[1].times(sides[0])]
    both = [found[0], None if found[1] is None else np.swapaxes(found[1], 1, 2)]
    result = np.bitwise_or.reduce([sets for sets in both if sets is not None])
    lengths = [one.shape[axis] for axis in batch[0]]
    return result.reshape(*lengths, *sides[0].own, *sides[1].own, result.shape[-1])


class _Factor:
    """A factor of a product, as `[batch, summed, own]`: the axes of a kind are one."""

    def __init__(self, operand: Operand, summed: Sequence[int], batch: Sequence[int]):
        axes = range(len(operand.shape))
        free = [axis for axis in axes if axis not in (*summed, *batch)]
        self.order = (*batch, *summed, *free)
        self.own = [operand.shape[axis] for axis in free]
        groups = (batch, summed, free)
        self.shape = [math.prod(operand.shape[axis] for axis in group) for group in groups]
        self.operand = operand

    @property
    def weights(self) -> Bool[np.ndarray, "batch summed own"] | None:
        """Where it is not known to be zero. None if that is everywhere."""
        value = self.operand.value
        if value is None or value.all():
            return None
        return (value != 0).transpose(self.order).reshape(self.shape)

    def times(self, other: "_Factor") -> UInt64[np.ndarray, "batch own others words"] | None:
        """What the product depends on by this factor."""
        if self.operand.depends is None:
            return None
        words = self.operand.depends.shape[-1]
        sets = self.operand.depends.transpose(*self.order, len(self.order))
        sets = sets.reshape(*self.shape, words)
        (batch, _, own), others, weights = self.shape, other.shape[2], other.weights
        found = np.zeros((batch, own, others, words), np.uint64)
        if weights is None:
            found |= np.bitwise_or.reduce(sets, axis=1)[:, :, None]
            return found
        for index, column in np.ndindex(batch, others):
            read = sets[index, weights[index, :, column]]
            found[index, :, column] = np.bitwise_or.reduce(read, axis=0)
        return found


def _convolved(equation: Equation, whole: Operand, kernel: Operand) -> Sets | None:
    """A convolution depends on what it weighs by a number that is not known to be zero."""
    params = equation.params
    if kernel.depends is not None or params["batch_group_count"] > 1:
        return None
    dims = params["dimension_numbers"]
    value = np.ones(kernel.shape, bool) if kernel.value is None else kernel.value != 0
    weights = value.transpose(dims.rhs_spec)
    (numbers,), sets = _numbered([whole])
    sizes = zip(params["padding"], params["lhs_dilation"], strict=True)
    edges = [(low, high, dilation - 1) for (low, high), dilation in sizes]
    numbers = MOVES["pad"](
        numbers.transpose(dims.lhs_spec), 0, padding_config=[(0, 0, 0), (0, 0, 0), *edges]
    )
    many, inner = weights.shape[:2]
    last = [
        (length - 1) * dilation
        for length, dilation in zip(weights.shape[2:], params["rhs_dilation"], strict=True)
    ]
    lengths = [
        max(0, -(-(length - reach) // stride))
        for length, reach, stride in zip(
            numbers.shape[2:], last, params["window_strides"], strict=True
        )
    ]
    found = np.zeros((len(numbers), many, *lengths, sets.shape[-1]), np.uint64)
    for place in np.ndindex(*weights.shape[2:]):
        window = tuple(
            slice(index * dilation, index * dilation + (length - 1) * stride + 1, stride)
            for index, dilation, length, stride in zip(
                place, params["rhs_dilation"], lengths, params["window_strides"], strict=True
            )
        )
        read = _picked(sets, numbers[(slice(None), slice(None), *window)])
        for result, channel in np.argwhere(weights[(slice(None), slice(None), *place)]):
            group = result // (many // params["feature_group_count"])
            found[:, result] |= read[:, group * inner + channel]
    return np.moveaxis(found, range(found.ndim - 1), (*dims.out_spec,))
