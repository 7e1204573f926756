"""Nets: pointwise pieces, registers and deregisters, joined by wires."""

import dataclasses
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

Wire = Hashable


@dataclasses.dataclass(frozen=True)
class Piece:
    """A node of a net.

    `fn` takes and returns flat sequences of arrays where the piece is pointwise (`sign` 0). `sign`
    is +1 for a register along `dim` and -1 for a deregister; `initial` is the wire of a register's
    value at the centre, None for zero. `atom` is what errors name, where the piece is an atom's;
    `members` are the pieces of a loop where it is one of these, and `turn` is one turn around the
    loop: from what it reads and its unknowns to its unknowns and its other wires.
    """

    ins: tuple[Wire, ...]
    outs: tuple[Wire, ...]
    fn: Callable[..., Sequence[Array]] | None = None
    sign: int = 0
    dim: str | None = None
    initial: Wire | None = None
    atom: Any = None
    members: tuple["Piece", ...] = ()
    turn: Callable[..., Sequence[Array]] | None = None

    def delay(self, dim: str) -> int:
        """The delay that the piece adds to a cycle along `dim`."""
        return self.sign if self.dim == dim else 0

    @property
    def reads(self) -> tuple[Wire, ...]:
        """All wires that the piece reads."""
        return self.ins if self.initial is None else (*self.ins, self.initial)


def in_sequence(fn: Callable[..., Array]) -> Callable[..., Sequence[Array]]:
    """A function with its one result in a sequence, as a piece has it."""
    return lambda *values: [fn(*values)]


@dataclasses.dataclass(frozen=True)
class Value:
    """What a wire carries: `array` has a leading coefficient axis for each of `dims`, in order.

    Where `index` is given, the value is that entry of an array of values, `whole`, along its first
    axis after the coefficient axes. It is taken out only where `array` is read.
    """

    whole: Array
    dims: tuple[str, ...] = ()
    index: int | None = None

    @property
    def array(self) -> Array:
        """The coefficients of the value alone."""
        if self.index is None:
            return self.whole
        return lax.index_in_dim(self.whole, self.index, len(self.dims), keepdims=False)

    @property
    def aval(self) -> jax.ShapeDtypeStruct:
        """The type of the value itself, without its coefficient axes."""
        axes = len(self.dims) + (self.index is not None)
        return jax.ShapeDtypeStruct(self.whole.shape[axes:], self.whole.dtype)


def whole_of(values: Sequence[Value]) -> Value | None:
    """The array of values whose entries some values are: all of them, in order; else None."""
    first = values[0]
    if first.index is None or first.whole.shape[len(first.dims)] != len(values):
        return None
    for index, value in enumerate(values):
        if value.whole is not first.whole or value.index != index:
            return None
    return Value(first.whole, first.dims)


@dataclasses.dataclass(frozen=True)
class Frame:
    """What holds for a whole evaluation.

    `dims` in the order they lead; `orders` by dimension; `avals` the types of the wires that the
    net's own pieces drive; `unroll` chooses the driver.
    """

    dims: tuple[str, ...]
    orders: Mapping[str, int]
    avals: Mapping[Wire, jax.ShapeDtypeStruct]
    unroll: bool = False

    def without(self, dim: str) -> "Frame":
        return dataclasses.replace(self, dims=tuple(d for d in self.dims if d != dim))


def at_zero(value: Value) -> Array:
    """A value at order 0 along all of its dimensions."""
    return value.array[(0,) * len(value.dims)]


def at_zero_along(value: Value, dim: str) -> Value:
    """A value at order 0 along one dimension."""
    if dim not in value.dims:
        return value
    axis = value.dims.index(dim)
    array = lax.index_in_dim(value.array, 0, axis, keepdims=False)
    return Value(array, value.dims[:axis] + value.dims[axis + 1 :])


def promote(value: Value, dims: tuple[str, ...], frame: Frame) -> Value:
    """The same function with a coefficient axis for each of `dims`; new coefficients are zero."""
    assert set(value.dims) <= set(dims), (value.dims, dims)
    array = value.array
    kept = [dim for dim in dims if dim in value.dims]
    array = jnp.moveaxis(array, [value.dims.index(dim) for dim in kept], range(len(kept)))
    for axis, dim in enumerate(dims):
        if dim not in value.dims:
            array = jnp.expand_dims(array, axis)
            array = resize(array, frame.orders[dim] + 1, axis)
    return Value(array, dims)


def resize(array: Array, length: int, axis: int = 0) -> Array:
    """The first `length` entries along an axis, with zeros after the last one."""
    given = array.shape[axis]
    if given >= length:
        return jax.lax.slice_in_dim(array, 0, length, axis=axis)
    padding = [(0, length - given, 0) if a == axis else (0, 0, 0) for a in range(array.ndim)]
    return jax.lax.pad(array, jnp.zeros((), array.dtype), padding)


def wire_dims(
    pieces: Sequence[Piece], known: Mapping[Wire, Value], dims: tuple[str, ...]
) -> dict[Wire, tuple[str, ...]]:
    """The dimensions that each wire depends on, in the order of `dims`."""
    found: dict[Wire, set[str]] = {wire: set(value.dims) for wire, value in known.items()}
    changed = True
    while changed:
        changed = False
        for piece in pieces:
            depends = {dim for wire in piece.reads for dim in found.get(wire, ())}
            if piece.sign > 0 and piece.dim is not None:
                depends.add(piece.dim)
            for wire in piece.outs:
                if not depends <= found.setdefault(wire, set()):
                    found[wire] |= depends
                    changed = True
    return {wire: tuple(d for d in dims if d in depends) for wire, depends in found.items()}
