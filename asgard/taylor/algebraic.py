"""Loops of pointwise pieces: each becomes one piece whose value is a fixed point."""

import dataclasses
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array

from ..circuits.atoms.unknown import Unknown
from ..circuits.components import components, edges, in_order
from ..circuits.loops import through
from ..errors import CircuitError
from ..fixed_points.implicit import fixed_point
from ..fixed_points.options import FixedPoint
from .net import Piece, Value, Wire


@dataclasses.dataclass(frozen=True)
class Algebraic:
    """A loop that no register cuts, by its name and wires.

    - `unknowns`: the wires solved for. They cut all cycles of the loop.
    - `guesses`: the values from which a solve starts.
    - `turns`, `residual`: how often the loop was evaluated, and |f(x) - x| at the end.
    - `failed`: whether there is no solution although what the loop reads is finite.
    """

    name: str
    unknowns: tuple[Wire, ...]
    guesses: tuple[Wire, ...]
    turns: Wire
    residual: Wire
    failed: Wire

    @property
    def facts(self) -> tuple[Wire, ...]:
        """The wires that say how the solve went."""
        return (self.turns, self.residual, self.failed)


def contract(
    pieces: Sequence[Piece], names: Mapping[str, Sequence[Wire]], options: FixedPoint
) -> tuple[list[Piece], list[Algebraic], dict[Wire, Value]]:
    """Makes each loop of pointwise pieces one piece.

    A loop is a strongly connected component of the net without its registers and deregisters.
    `names` are the wires that guesses may name.

    **Returns:** the pieces, the loops, and the values of their guesses.
    """
    guessed = _guessed(names, options)
    named = {wire for wires in names.values() for wire in wires}
    pointwise = [piece for piece in pieces if not piece.sign]
    found: list[Algebraic] = []
    starts: dict[Wire, Value] = {}
    result = [piece for piece in pieces if piece.sign]
    for component in components(edges(pointwise)):
        members = [pointwise[index] for index in component.indices]
        if not component.cyclic:
            result += members
            continue
        own = {p.outs[0]: p.atom.guess for p in members if isinstance(p.atom, Unknown)}
        first = [*own, *(wire for wire in guessed if _drives(members, wire))]
        unknowns = feedback(members, first, named)
        loop = _algebraic(members, unknowns, {loop.name for loop in found})
        for wire, guess in zip(unknowns, loop.guesses, strict=True):
            start = own.get(wire, jnp.zeros(()))
            starts[guess] = Value(jnp.asarray(guessed.pop(wire, start)))
        found.append(loop)
        result.append(_piece(members, loop, options))
    if guessed:
        idle = [name for name in options.guess if guessed.keys() >= set(names[name])]
        if idle:
            raise CircuitError(
                f"FixedPoint: guess names {', '.join(idle)}, which is on no loop that a fixed "
                "point solves"
            )
    return result, found, starts


def distinct(name: str, taken: Collection[str]) -> str:
    """A name, with a number where it is taken."""
    found, number = name, 1
    while found in taken:
        number += 1
        found = f"{name} ({number})"
    return found


def feedback(
    pieces: Sequence[Piece], first: Sequence[Wire] = (), named: Collection[Wire] = ()
) -> tuple[Wire, ...]:
    """Few wires that cut every cycle of some pieces: the given ones, and then greedily chosen ones.

    In each component that is left, the wire with the most readers is cut, until there is no cycle.
    (The smallest set is a minimum feedback vertex set, which is NP-hard to find.)

    Of several such wires one with a name is cut, for which the user solves. In x = t + sin(x) the
    sine may be 0 where x is not: a solve for the sine would look for digits that the rounding of x
    has not left.
    """
    # A piece that reads its own output is a cycle that only this wire cuts.
    own = [wire for piece in pieces for wire in piece.outs if wire in piece.ins]
    cut = dict.fromkeys([*first, *own])
    pending = [list(pieces)]
    while pending:
        members = [_without(piece, cut) for piece in pending.pop()]
        for component in components(edges(members)):
            if not component.cyclic:
                continue
            inside = [members[index] for index in component.indices]
            readers: dict[Wire, int] = {wire: 0 for piece in inside for wire in piece.outs}
            for piece in inside:
                for wire in set(piece.ins).intersection(readers):
                    readers[wire] += 1
            cut[max(readers, key=lambda wire: (readers[wire], wire in named))] = None
            pending.append(inside)
    return tuple(cut)


def _without(piece: Piece, cut: Collection[Wire]) -> Piece:
    """The piece without the inputs that are cut."""
    return dataclasses.replace(piece, ins=tuple(wire for wire in piece.ins if wire not in cut))


def _drives(pieces: Sequence[Piece], wire: Wire) -> bool:
    return any(wire in piece.outs for piece in pieces)


def _guessed(names: Mapping[str, Sequence[Wire]], options: FixedPoint) -> dict[Wire, Any]:
    unknown = [name for name in options.guess if name not in names]
    if unknown:
        raise CircuitError(
            f"FixedPoint: guess names {', '.join(unknown)}; the circuit's named wires are "
            f"{', '.join(names) or 'none'}"
        )
    return {wire: guess for name, guess in options.guess.items() for wire in names[name]}


def _algebraic(
    members: Sequence[Piece], unknowns: tuple[Wire, ...], taken: Collection[str]
) -> Algebraic:
    # The compilation is kept for other numbers, so the name has none.
    own = through([piece.atom for piece in members if piece.atom is not None])
    name = distinct(own.replace("(<traced>)", ""), taken)
    first = unknowns[0]
    return Algebraic(
        name,
        unknowns,
        tuple(("guess", wire) for wire in unknowns),
        ("turns", first),
        ("residual", first),
        ("failed", first),
    )


def _piece(members: Sequence[Piece], loop: Algebraic, options: FixedPoint) -> Piece:
    """The loop as a pointwise piece. It also reads the guesses and drives the facts."""
    unknowns = loop.unknowns
    whole = {piece.outs: piece for piece in members}
    ordered = [
        whole[cut.outs] for cut in in_order([_without(piece, unknowns) for piece in members])
    ]
    driven = {wire for piece in members for wire in piece.outs}
    ins = tuple(dict.fromkeys(w for piece in members for w in piece.ins if w not in driven))
    others = tuple(wire for piece in members for wire in piece.outs if wire not in unknowns)

    def body(*values: Array) -> list[Array]:
        """The unknowns after one turn around the loop, and the other wires."""
        known = dict(zip((*ins, *unknowns), values, strict=True))
        found: dict[Wire, Array] = {}
        for piece in ordered:
            assert piece.fn is not None
            results = piece.fn(*({**found, **known}[wire] for wire in piece.ins))
            found.update(zip(piece.outs, results, strict=True))
        return [found[wire] for wire in (*unknowns, *others)]

    def run(*values: Array) -> list[Array]:
        fixed, guess = values[: len(ins)], values[len(ins) :]
        types = _settled_types(body, loop, members, fixed, guess)
        start = [
            jnp.broadcast_to(value, aval.shape).astype(aval.dtype)
            for value, aval in zip(guess, types, strict=True)
        ]

        def cast(*values: Array) -> list[Array]:
            results = body(*values)
            return [
                *(result.astype(x.dtype) for result, x in zip(results, types, strict=False)),
                *results[len(types) :],
            ]

        found, facts = fixed_point(cast, fixed, start, options)
        numbers = [x for x in jax.tree.leaves([p.atom for p in members]) if eqx.is_inexact_array(x)]
        finite = [jnp.all(jnp.isfinite(value)) for value in (*fixed, *numbers)]
        failed = ~facts.converged & jnp.all(jnp.array(finite, bool))
        return [*found, facts.turns, facts.residual, failed]

    outs = (*unknowns, *others, *loop.facts)
    return Piece((*ins, *loop.guesses), outs, run, members=tuple(members), turn=body)


def opened(piece: Piece, loop: Algebraic) -> Piece:
    """The piece of a loop with its unknowns as inputs: it takes one turn around the loop, and what
    this makes of the unknowns goes to wires `("turned", unknown)`."""
    count = len(loop.unknowns)
    ins = (*piece.ins[: len(piece.ins) - count], *loop.unknowns)
    others = piece.outs[count : len(piece.outs) - len(loop.facts)]
    return Piece(ins, (*map(turned, loop.unknowns), *others), piece.turn)


def turned(unknown: Wire) -> Wire:
    """The wire of an unknown after one turn around its loop."""
    return ("turned", unknown)


def _settled_types(
    body: Callable[..., list[Array]],
    loop: Algebraic,
    members: Sequence[Piece],
    fixed: Sequence[Array],
    guess: Sequence[Array],
) -> list[jax.ShapeDtypeStruct]:
    """The types of the unknowns: followed around the loop until they no longer change.

    They begin with the shapes of the guess. If the loop cannot be evaluated on these, they begin
    with the shapes of what the loop reads.
    """
    given = [jax.ShapeDtypeStruct(x.shape, x.dtype) for x in fixed]
    numbers = jax.tree.leaves([piece.atom for piece in members])
    dtypes = [x.dtype for x in (*given, *numbers)] or [jnp.result_type(float)]
    dtype = jnp.result_type(*dtypes, *(x.dtype for x in guess if jnp.iscomplexobj(x)))
    shapes = [tuple(x.shape for x in guess)]
    if not any(x.shape for x in guess):
        shapes += [(x.shape,) * len(guess) for x in given if x.shape]
    fault: Exception | None = None
    for begin in dict.fromkeys(shapes):
        types = [jax.ShapeDtypeStruct(shape, dtype) for shape in begin]
        try:
            return _follow(body, loop, given, types)
        except CircuitError as error:
            fault = fault or error
    assert fault is not None
    raise fault


def _follow(
    body: Callable[..., list[Array]], loop: Algebraic, given: Sequence[Any], types: list[Any]
) -> list[jax.ShapeDtypeStruct]:
    for _ in range(len(types) + 2):
        found = jax.eval_shape(body, *given, *types)[: len(types)]
        after = [jax.ShapeDtypeStruct(x.shape, x.dtype) for x in found]
        if all((a.shape, a.dtype) == (b.shape, b.dtype) for a, b in zip(types, after, strict=True)):
            return types
        types = after
    raise CircuitError(f"the shape of a value in {loop.name} changes with every turn of the loop")
