"""Branches on the state as events: a run ends its steps where another branch begins.

A branch that the rates ask, such as `jnp.where(x < 20, a, b)`, is held along a step, so the rates
are smooth there. Its modes are a part of the state that only jumps: where its guard passes zero. So
no branch is missed, any method of steps keeps its order, and derivatives, also second ones, move
with the place of a kink or a jump.

A branch keeps asking where it is large, inside of a loop without registers, or inside of
`lax.cond`, `lax.while_loop` or a longer `lax.scan`; so do all where there are too many. Then the
method's own error shows them.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from ...jaxprs.branching import Held
from ...jaxprs.program import from_jaxpr
from ...jaxprs.unrolling import unrolled
from ...taylor.evaluate import evaluate, needed
from ...taylor.net import Frame, Piece, Value, Wire, at_zero, in_sequence
from ...taylor.network import guard_wire, initial_wire, jump_wire, rate_wire
from ..cut import Cut

# More branches than this, such as those of a layer of a network, would cut every step.
MOST = 16
# Calls that are looked into. Functions with derivatives of their own are mostly smooth: a softplus
# is written by a maximum.
CALLS = ("jit", "pjit", "closed_call")


@dataclasses.dataclass(frozen=True)
class Branching:
    """A cut circuit, `cut`, whose branches are held.

    Each piece that branches has a state of its modes and bands, `[2, branches]`; `modes` are the
    wires that carry these.
    """

    cut: Cut
    modes: tuple[Wire, ...] = ()


def branching(
    cut: Cut, rates: Sequence[Wire], known: Mapping[Wire, Value], dtype: Any
) -> Branching:
    """A cut circuit with the branches held that its rates ask.

    **Arguments:** `rates` are the wires that carry the rates; `known` has the values of the net at
    the start, which say the first modes; `dtype` is that of the state's real numbers.
    """
    found = _held_pieces(cut, rates, unrolls=True)
    if _count(found) > MOST:
        found = _held_pieces(cut, rates, unrolls=False)
    if not 0 < _count(found) <= MOST:
        return Branching(cut)
    net = cut.net
    wires = {index: ("modes", net.pieces[index].outs[0]) for index in found}
    asks = [
        Piece(
            net.pieces[index].ins,
            (wires[index],),
            fn=in_sequence(lambda *values, held=held: held.modes(values)),
        )
        for index, held in found.items()
    ]
    frame = Frame(tuple(cut.orders), cut.orders, net.avals)
    first = evaluate([*net.pieces, *asks], known, list(wires.values()), frame)
    pieces: list[Piece] = []
    initials: dict[Wire, Value] = {}
    types: dict[Wire, jax.ShapeDtypeStruct] = {}
    for index, piece in enumerate(net.pieces):
        if index not in found:
            pieces.append(piece)
            continue
        wire = wires[index]
        mode = lax.stop_gradient(at_zero(first[wire])).astype(dtype)
        begin = jnp.stack([mode, jnp.zeros_like(mode)])
        initials[initial_wire(wire)] = Value(begin)
        pieces += _pieces_of(piece, found[index], wire)
        for own in (wire, initial_wire(wire), rate_wire(wire), jump_wire(wire)):
            types[own] = jax.ShapeDtypeStruct(begin.shape, begin.dtype)
        types[guard_wire(wire)] = jax.ShapeDtypeStruct(mode.shape, mode.dtype)
    net = dataclasses.replace(
        net,
        pieces=tuple(pieces),
        avals={**net.avals, **types},
        initials={**net.initials, **initials},
    )
    held = dataclasses.replace(
        cut,
        net=net,
        known={**cut.known, **initials},
        rest={**cut.rest, **dict.fromkeys(types, ())},
    )
    return Branching(held, tuple(wires.values()))


def _count(found: Mapping[int, Held]) -> int:
    """How many branches are held."""
    return sum(held.count for held in found.values())


def _held_pieces(cut: Cut, rates: Sequence[Wire], unrolls: bool) -> dict[int, Held]:
    """The pieces whose branches are held, by their numbers; with those in each turn of short loops
    if asked for."""
    pieces, avals = cut.net.pieces, cut.net.avals
    asked = {id(piece) for piece in needed(pieces, cut.known, rates)}
    moving = _moving(cut)
    found = {}
    for index, piece in enumerate(pieces):
        moves = [wire in moving for wire in piece.ins]
        if id(piece) not in asked or not any(moves) or not _is_plain(cut, piece):
            continue
        assert piece.fn is not None
        types = [avals[wire] for wire in piece.ins]
        program = from_jaxpr(jax.make_jaxpr(piece.fn)(*types), CALLS)
        held = Held.of(unrolled(program, CALLS) if unrolls else program, moves)
        if held.count:
            found[index] = held
    return found


def _is_plain(cut: Cut, piece: Piece) -> bool:
    """Whether a piece is a function of values at one time alone, and no loop."""
    if piece.fn is None or piece.turn is not None:
        return False
    return not any(cut.rest[wire] for wire in (*piece.ins, *piece.outs))


def _moving(cut: Cut) -> set[Wire]:
    """The wires that depend on the state."""
    moving = {w for piece in cut.net.pieces if piece.delay(cut.dim) for w in piece.outs}
    changed = True
    while changed:
        changed = False
        for piece in cut.net.pieces:
            if not moving.isdisjoint(piece.ins) and not moving.issuperset(piece.outs):
                moving.update(piece.outs)
                changed = True
    return moving


def _pieces_of(piece: Piece, held: Held, wire: Wire) -> list[Piece]:
    """A piece that is held at the modes on a wire, and what these do."""

    def reads(rule: Callable[..., Sequence[Array]], out: tuple[Wire, ...]) -> Piece:
        def fn(*values: Array) -> Sequence[Array]:
            *inputs, (modes, bands) = values
            return rule(modes, bands, inputs)

        return Piece((*piece.ins, wire), out, fn=fn, atom=piece.atom)

    def after(modes: Array, bands: Array, inputs: list[Array]) -> list[Array]:
        pair = held.after(modes, bands, inputs), held.bands(modes, inputs)
        return [jnp.stack([row.astype(modes.dtype) for row in pair])]

    return [
        reads(lambda modes, bands, inputs: held.outputs(modes, inputs), piece.outs),
        reads(
            lambda modes, bands, inputs: [held.guards(modes, bands, inputs)], (guard_wire(wire),)
        ),
        reads(after, (jump_wire(wire),)),
        Piece((wire,), (rate_wire(wire),), fn=in_sequence(jnp.zeros_like)),
        Piece((initial_wire(wire),), (wire,), fn=in_sequence(lambda value: value)),
    ]
