"""Registers of one type, joined to one register that holds an array of their values.

So their contents are packed from the start; `packing` packs what is computed from them.
"""

import dataclasses
import math
from collections.abc import Hashable, Mapping, Sequence

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from .net import Frame, Piece, Value, Wire, whole_of
from .packing import LARGEST_PACKED


class Joined:
    """The pieces of a group with its registers joined, the values known, and the types of wires.

    Registers are joined only along the last dimension, and only if nothing takes derivatives along
    it: a deregister could be in a cycle with a joined register and without any single one.
    """

    def __init__(
        self, pieces: Sequence[Piece], known: Mapping[Wire, Value], dim: str, frame: Frame
    ):
        self.pieces = list(pieces)
        self.known, self.avals = dict(known), dict(frame.avals)
        self._entries: dict[Wire, tuple[Wire, int]] = {}  # of which wire a wire is which entry
        alike: dict[Hashable, list[Piece]] = {}
        if frame.dims == (dim,) and all(piece.sign >= 0 for piece in pieces):
            for piece in pieces:
                if piece.sign and piece.initial in known:
                    aval = frame.avals[piece.outs[0]]
                    alike.setdefault((aval.shape, aval.dtype), []).append(piece)
        for registers in alike.values():
            size = math.prod(frame.avals[registers[0].outs[0]].shape)
            if len(registers) > 1 and size <= LARGEST_PACKED:
                self._join(registers)

    def wanted(self, wires: Sequence[Wire]) -> list[Wire]:
        """The wires to evaluate for some wires."""
        return list(dict.fromkeys(self._entries.get(wire, (wire,))[0] for wire in wires))

    def read(self, wires: Sequence[Wire], values: Mapping[Wire, Value]) -> dict[Wire, Value]:
        """The values of some wires, from those of `wanted`."""
        found: dict[Wire, Value] = {}
        for wire in wires:
            if wire not in self._entries:
                found[wire] = values[wire]
                continue
            whole, index = self._entries[wire]
            found[wire] = Value(values[whole].array, values[whole].dims, index)
        return found

    def _join(self, registers: Sequence[Piece]) -> None:
        sources = tuple(piece.ins[0] for piece in registers)
        outs = tuple(piece.outs[0] for piece in registers)
        before, after, initial = (("joined", name, outs) for name in ("in", "out", "initial"))
        one = self.avals[outs[0]]

        def together(*values: Array) -> list[Array]:
            return [jnp.stack([jnp.broadcast_to(x, one.shape).astype(one.dtype) for x in values])]

        def apart(whole: Array) -> list[Array]:
            return [lax.index_in_dim(whole, index, keepdims=False) for index in range(len(outs))]

        aval = jax.ShapeDtypeStruct((len(outs), *one.shape), one.dtype)
        self.avals.update({before: aval, after: aval})
        contents = [self.known[piece.initial] for piece in registers]
        whole = whole_of(contents)
        if whole is None or whole.array.dtype != one.dtype or whole.aval.shape[1:] != one.shape:
            whole = Value(together(*(content.array for content in contents))[0])
        self.known[initial] = whole
        joined = set(map(id, registers))
        self.pieces = [
            *(piece for piece in self.pieces if id(piece) not in joined),
            Piece(sources, (before,), together),
            dataclasses.replace(registers[0], ins=(before,), outs=(after,), initial=initial),
            Piece((after,), outs, apart),
        ]
        self._entries.update((out, (after, index)) for index, out in enumerate(outs))
        for index, source in enumerate(sources):
            given = self.avals.get(source)
            if given is not None and (given.shape, given.dtype) == (one.shape, one.dtype):
                self._entries.setdefault(source, (before, index))
