"""Registers that are alike, joined to one that holds an array of their values."""

import dataclasses
from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from .net import Frame, Piece, Value, Wire


@dataclasses.dataclass(frozen=True)
class Joined:
    """A group's pieces with registers joined, and what it takes to evaluate them.

    `entries` says of each wire that a joined register drove, of which wire it is which entry.
    """

    pieces: list[Piece]
    known: dict[Wire, Value]
    avals: dict[Wire, jax.ShapeDtypeStruct]
    entries: dict[Wire, tuple[Wire, int]]

    def wanted(self, wires: Sequence[Wire]) -> list[Wire]:
        """What to ask of the joined pieces for some wires."""
        return list(dict.fromkeys(self.entries.get(wire, (wire,))[0] for wire in wires))

    def read(self, wires: Sequence[Wire], values: Mapping[Wire, Value]) -> dict[Wire, Value]:
        """The values of these wires, from those of `wanted`."""
        found: dict[Wire, Value] = {}
        for wire in wires:
            whole, place = self.entries.get(wire, (wire, None))
            value = values[whole]
            if place is not None:
                axis = len(value.dims)
                array = lax.index_in_dim(value.array, place, axis, keepdims=False)
                value = Value(array, value.dims)
            found[wire] = value
        return found


def join(pieces: Sequence[Piece], known: Mapping[Wire, Value], dim: str, frame: Frame) -> Joined:
    """Joins the registers of one type along the only dimension."""
    joined = Joined([], dict(known), dict(frame.avals), {})
    alike: dict[tuple, list[Piece]] = {}
    if frame.dims == (dim,) and all(piece.sign >= 0 for piece in pieces):
        for piece in pieces:
            if piece.sign and piece.initial in known:
                aval = frame.avals[piece.outs[0]]
                alike.setdefault((aval.shape, aval.dtype), []).append(piece)
    members = {
        id(piece) for registers in alike.values() if len(registers) > 1 for piece in registers
    }
    joined.pieces.extend(piece for piece in pieces if id(piece) not in members)
    for registers in alike.values():
        if len(registers) > 1:
            _add(joined, registers)
    return joined


def _add(joined: Joined, registers: Sequence[Piece]) -> None:
    outs = tuple(piece.outs[0] for piece in registers)
    before, after, initial = (
        ("joined", "before", outs),
        ("joined", "after", outs),
        ("joined", "initial", outs),
    )
    one = joined.avals[outs[0]]

    def together(*values: Array) -> list[Array]:
        return [jnp.stack([jnp.broadcast_to(x, one.shape).astype(one.dtype) for x in values])]

    def apart(whole: Array) -> list[Array]:
        return [lax.index_in_dim(whole, place, keepdims=False) for place in range(len(outs))]

    aval = jax.ShapeDtypeStruct((len(outs), *one.shape), one.dtype)
    joined.avals.update({before: aval, after: aval})
    (content,) = together(*(joined.known[piece.initial].array for piece in registers))
    joined.known[initial] = Value(content)
    added = [
        Piece(tuple(piece.ins[0] for piece in registers), (before,), together),
        dataclasses.replace(registers[0], ins=(before,), outs=(after,), initial=initial),
        Piece((after,), outs, apart),
    ]
    joined.pieces.extend(added)
    joined.entries.update((out, (after, place)) for place, out in enumerate(outs))
    for place, piece in enumerate(registers):
        aval = joined.avals.get(piece.ins[0])
        if aval is not None and (aval.shape, aval.dtype) == (one.shape, one.dtype):
            joined.entries.setdefault(piece.ins[0], (before, place))
