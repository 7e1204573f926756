"""Samples that read those after them.

The forward difference x[n + 1] - x[n] takes x at the sample after. That is a function of what the
registers hold at n, too: the net is copied for the samples ahead, and in a copy a register gives
what it holds one sample before, plus its input there. A path of wires with more registers than
deregisters ends at what is held, so as many copies as there are deregisters are enough.
"""

import dataclasses
from collections.abc import Collection, Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array

from ...taylor.evaluate import needed
from ...taylor.net import Piece, Wire
from ...taylor.network import coordinate_wire
from ..cut import Cut
from ..pointwise import Extended, Pointwise


def ahead(wire: Wire, samples: int) -> Wire:
    """The wire that carries what a wire carries so many samples later."""
    return ("ahead", samples, wire) if samples else wire


@dataclasses.dataclass(frozen=True)
class Lookahead:
    """The copies of a net for the samples ahead.

    `summing` are the wires of registers that sum; all other state atoms delay, and where `sums` is
    False a deregister is the sample after, not the difference to it. `changing` are the input wires
    that change from sample to sample.
    """

    cut: Cut
    sums: bool
    summing: Collection[Wire]
    changing: Sequence[Wire]

    @property
    def copies(self) -> range:
        """How many samples ahead each copy stands."""
        pieces = self.cut.net.pieces
        return range(1, 1 + sum(p.sign < 0 and p.dim == self.cut.dim for p in pieces))

    def extended(self) -> Extended | None:
        """The pieces of a sample and of those ahead; None where no sample reads a later one."""
        if not self.copies:
            return None
        avals = dict(self.cut.net.avals)
        avals |= {ahead(w, k): aval for w, aval in self.cut.net.avals.items() for k in self.copies}
        time = coordinate_wire(self.cut.dim)
        pieces = [p for k in (0, *self.copies) for p in self._copy(k)]
        return Extended(tuple(pieces), avals, {ahead(time, k): k for k in self.copies})

    def inputs(self, pointwise: Pointwise) -> list[tuple[Wire, int]]:
        """The inputs of later samples that a sample reads, and how many samples later."""
        wanted = [*pointwise.read, *self.cut.shown]
        known = {*self.cut.known, *(cell.wire for cell in pointwise.cells)}
        pieces = needed(pointwise.extended.pieces, dict.fromkeys(known), wanted)
        reads = {wire for piece in pieces for wire in piece.reads}
        return [(w, k) for w in self.changing for k in self.copies if ahead(w, k) in reads]

    def _copy(self, k: int) -> list[Piece]:
        """The pieces of the sample k ahead."""
        still = set(self.cut.known) - {coordinate_wire(self.cut.dim), *self.changing}

        def at(wires: Sequence[Wire], samples: int) -> tuple[Wire, ...]:
            return tuple(wire if wire in still else ahead(wire, samples) for wire in wires)

        found = []
        for piece in self.cut.net.pieces:
            ins, outs = at(piece.ins, k), at(piece.outs, k)
            if piece.dim != self.cut.dim:
                found.append(dataclasses.replace(piece, ins=ins, outs=outs))
            elif piece.sign < 0:
                later = at(piece.ins, k + 1)
                found.append(_difference(ins, later, outs) if self.sums else _same(later, outs))
            elif k:
                (out,) = piece.outs
                before = at((piece.ins[0], out), k - 1)
                found.append(_next(before, outs, self.cut.net.avals[out], out in self.summing))
        return found


def _difference(now: tuple[Wire, ...], later: tuple[Wire, ...], outs: tuple[Wire, ...]) -> Piece:
    return Piece((*now, *later), outs, fn=lambda now, later: (later - now,))


def _same(ins: tuple[Wire, ...], outs: tuple[Wire, ...]) -> Piece:
    return Piece(ins, outs, fn=lambda later: (later,))


def _next(
    before: tuple[Wire, ...], outs: tuple[Wire, ...], aval: jax.ShapeDtypeStruct, sums: bool
) -> Piece:
    """What a state atom holds at the next sample."""

    def run(source: Array, content: Array) -> tuple[Array]:
        total = content + source if sums else source
        return (jnp.broadcast_to(total, aval.shape).astype(aval.dtype),)

    return Piece(before, outs, fn=run)
