"""Nets of pieces, and their evaluation as power series along several dimensions.

A piece is pointwise, or a register or deregister along a dimension. To evaluate a net along
dimensions, its components are gathered into groups that one dimension leads; `along` runs a group
order by order, and what it has to do at one order is again a net, along the dimensions that remain.
With none left, a net is a plain sequence of function calls.
"""

import dataclasses
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from ..components import components, edges, guards

Wire = Hashable


@dataclasses.dataclass(frozen=True)
class Piece:
    """A node of a net.

    `fn` takes and returns flat sequences of arrays where the piece is pointwise (`sign` 0). `sign`
    is +1 for a register along `dim` and -1 for a deregister; `initial` is the wire of a register's
    value at the centre, None for zero.
    """

    ins: tuple[Wire, ...]
    outs: tuple[Wire, ...]
    fn: Callable[..., Sequence[Array]] | None = None
    sign: int = 0
    dim: str | None = None
    initial: Wire | None = None

    def delay(self, dim: str) -> int:
        return self.sign if self.dim == dim else 0


@dataclasses.dataclass(frozen=True)
class Value:
    """What a wire carries: `array` has a leading coefficient axis for each of `dims`, in order."""

    array: Array
    dims: tuple[str, ...] = ()

    @property
    def aval(self) -> jax.ShapeDtypeStruct:
        """The type of the value itself, without its coefficient axes."""
        return jax.ShapeDtypeStruct(self.array.shape[len(self.dims) :], self.array.dtype)


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


def evaluate(
    pieces: Sequence[Piece], known: Mapping[Wire, Value], wanted: Sequence[Wire], frame: Frame
) -> dict[Wire, Value]:
    """The values of the wanted wires, from those known from outside."""
    from .along import run_group

    pieces = _needed(pieces, known, wanted)
    values = dict(known)
    if not frame.dims:
        for piece in _in_order(pieces):
            assert piece.fn is not None
            results = piece.fn(*(values[wire].array for wire in piece.ins))
            values.update(
                (wire, Value(array)) for wire, array in zip(piece.outs, results, strict=True)
            )
        return {wire: values[wire] for wire in wanted}
    groups = _groups(pieces, frame.dims)
    for number, (dim, members) in enumerate(groups):
        later = {
            wire for _, others in groups[number + 1 :] for piece in others for wire in _reads(piece)
        }
        outs = [w for piece in members for w in piece.outs if w in later or w in wanted]
        lead = dim if dim is not None else _lead(members, values, frame.dims)
        if lead is None:
            inner = evaluate(members, values, outs, frame.without(frame.dims[0]))
        else:
            inner = run_group(members, values, outs, lead, frame)
        values.update(inner)
    return {wire: values[wire] for wire in wanted}


def promote(value: Value, dims: tuple[str, ...], frame: Frame) -> Value:
    """The same function with a coefficient axis for each of `dims`, zero past what it has."""
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
    """The first `length` entries along an axis, zeros past what there is."""
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
            depends = {dim for wire in _reads(piece) for dim in found.get(wire, ())}
            if piece.sign > 0 and piece.dim is not None:
                depends.add(piece.dim)
            for wire in piece.outs:
                if not depends <= found.setdefault(wire, set()):
                    found[wire] |= depends
                    changed = True
    return {wire: tuple(d for d in dims if d in depends) for wire, depends in found.items()}


def _reads(piece: Piece) -> tuple[Wire, ...]:
    return piece.ins if piece.initial is None else (*piece.ins, piece.initial)


def _needed(
    pieces: Sequence[Piece], known: Mapping[Wire, Any], wanted: Sequence[Wire]
) -> list[Piece]:
    source = {wire: place for place, piece in enumerate(pieces) for wire in piece.outs}
    pending = list(wanted)
    kept: set[int] = set()
    while pending:
        wire = pending.pop()
        place = source.get(wire)
        if wire not in known and place is not None and place not in kept:
            kept.add(place)
            pending.extend(_reads(pieces[place]))
    return [pieces[place] for place in sorted(kept)]


def _in_order(pieces: Sequence[Piece]) -> list[Piece]:
    found = components(edges(pieces))
    assert not any(component.cyclic for component in found), "an algebraic loop was let through"
    return [pieces[component.places[0]] for component in found]


def _groups(pieces: Sequence[Piece], dims: tuple[str, ...]) -> list[tuple[str | None, list[Piece]]]:
    """Components in order, gathered as long as one dimension can lead them all."""
    reads = edges(pieces)
    groups: list[tuple[str | None, list[Piece]]] = []
    for component in components(reads):
        members = [pieces[place] for place in component.places]
        dim = None
        if component.cyclic:
            dim = next(d for d in dims if guards(pieces, reads, component.places, d))
        if groups and (dim is None or groups[-1][0] in (None, dim)):
            groups[-1] = (groups[-1][0] or dim, [*groups[-1][1], *members])
        else:
            groups.append((dim, members))
    return groups


def _lead(
    members: Sequence[Piece], values: Mapping[Wire, Value], dims: tuple[str, ...]
) -> str | None:
    """The first dimension that a group without cycles depends on."""
    depends = wire_dims(members, values, dims)
    own = {dim for piece in members for wire in piece.outs for dim in depends[wire]}
    own |= {piece.dim for piece in members if piece.dim is not None}
    return next((dim for dim in dims if dim in own), None)
