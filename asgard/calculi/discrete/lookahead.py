"""A cut circuit as a function of one sample that may read those after it.

The forward difference x[n + 1] - x[n] takes x at the sample after. That is a function of what the
registers hold at n, too: the net is copied for the samples ahead, and in a copy a register gives
what it holds one sample before, and its input there. A path of wires with more registers than
deregisters comes back to what is held, so there are as many copies as deregisters, at most.
"""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from ...circuits.atoms.registers import Deregister, Register
from ...circuits.graph import Node
from ...taylor.evaluate import needed
from ...taylor.net import Piece, Value, Wire
from ...taylor.network import coordinate_wire
from ..pointwise import Pointwise


def ahead(wire: Wire, samples: int) -> Wire:
    """The wire that carries what a wire carries so many samples later."""
    return ("ahead", samples, wire) if samples else wire


class Lookahead(Pointwise):
    """`sums` says whether registers sum, and deregisters are differences, or both are shifts.

    `changing` are the places of the inputs that change from sample to sample.
    """

    copies = range(0)

    def __init__(self, *arguments: Any, sums: bool, changing: Sequence[int], **options: Any):
        self.sums = sums
        super().__init__(*arguments, sampled=True, **options)
        self.changing = [self.graph.inputs[place] for place in changing]
        self.copies = range(1, 1 + sum(self._differs(node.atom) for node in self.nodes))
        if self.copies:
            avals = dict(self.net.avals)
            avals |= {ahead(w, k): aval for w, aval in self.net.avals.items() for k in self.copies}
            self.frame = dataclasses.replace(self.frame, avals=avals)
            self.pieces = self._copied()

    @functools.cached_property
    def inputs_ahead(self) -> list[tuple[Wire, int]]:
        """The inputs of later samples that a sample reads, and how many samples later."""
        wanted = [*self.read, *self.shown]
        known = {*self.known, *(node.outs[0] for node in self.states)}
        reads = {
            w for piece in needed(self.pieces, dict.fromkeys(known), wanted) for w in piece.reads
        }
        return [(w, k) for w in self.changing for k in self.copies if ahead(w, k) in reads]

    def _known_at(self, t: Array) -> dict[Wire, Value]:
        time = coordinate_wire(self.dim)
        return super()._known_at(t) | {ahead(time, k): Value(t + k) for k in self.copies}

    def _holds(self, node: Node) -> bool:
        return not self._differs(node.atom) and super()._holds(node)

    def _differs(self, atom: Any) -> bool:
        return isinstance(atom, Deregister) and atom.dim == self.dim

    def _copied(self) -> tuple[Piece, ...]:
        """The pieces of a sample, and of as many samples ahead as there are deregisters."""
        moving = {coordinate_wire(self.dim), *self.changing}
        still = set(self.known) - moving
        sums: dict[Wire, bool] = {
            node.outs[0]: self.sums and isinstance(node.atom, Register) for node in self.states
        }

        def copy(wires: Sequence[Wire], k: int) -> tuple[Wire, ...]:
            return tuple(wire if wire in still else ahead(wire, k) for wire in wires)

        found = []
        for k in (0, *self.copies):
            for piece in self.net.pieces:
                ins, outs, later = copy(piece.ins, k), copy(piece.outs, k), copy(piece.ins, k + 1)
                if piece.dim != self.dim:
                    found.append(dataclasses.replace(piece, ins=ins, outs=outs))
                elif piece.sign < 0:
                    found.append(
                        _difference((*ins, *later), outs) if self.sums else _same(later, outs)
                    )
                elif k:
                    before = copy((piece.ins[0], piece.outs[0]), k - 1)
                    aval = self.net.avals[piece.outs[0]]
                    found.append(_next(before, outs, aval, sums[piece.outs[0]]))
        return tuple(found)


def _difference(ins: tuple[Wire, ...], outs: tuple[Wire, ...]) -> Piece:
    return Piece(ins, outs, fn=lambda now, later: (later - now,))


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
