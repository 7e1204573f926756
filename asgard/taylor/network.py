"""From a circuit's wiring graph to a net: each node becomes a piece.

A pointwise atom becomes a function. What any other atom becomes, a calculus says by a table: for a
type of atom it has `register`, `deregister`, `constant`, `given`, its own function, or an error.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import jax
import jax.numpy as jnp
from jaxtyping import Array

from ..circuits.atoms.events import Hybrid
from ..circuits.atoms.functions import Function
from ..circuits.circuit import Atom
from ..circuits.components import in_order
from ..circuits.fields import NOT_NUMBERS
from ..circuits.graph import Graph, Node
from ..circuits.stream import Stream
from ..circuits.terms import brief
from ..errors import CircuitError, DimensionError
from ..fixed_points.options import FixedPoint
from ..jaxprs.concrete import runs_eagerly
from ..jaxprs.own_functions import why
from ..jaxprs.settings import callers_promotion
from .algebraic import Algebraic, contract
from .net import Piece, Value, Wire, at_zero

# What a type of atom means: a function from a node to its piece or pieces, or to None where the
# caller knows what the node drives; or the text of the error to raise, which follows the atom's
# name. One that holds more than its content names each after the wire that it drives, as
# `("side", wire)`.
Meaning = Callable[[Node], Piece | Sequence[Piece]] | str
Meanings = Mapping[type[Atom], Meaning]


@dataclasses.dataclass(frozen=True)
class Network:
    """A graph as a net: its pieces, the types of its wires, and the values of initial contents.

    Besides the graph's own wires, which are numbers, there are `("coordinate", dim)` and, for the
    initial content of a register, `("initial", wire)` with the wire that it drives. `loops` are
    those that are solved as fixed points, each one piece; `initials` has their guesses, too.
    """

    pieces: tuple[Piece, ...]
    avals: dict[Wire, jax.ShapeDtypeStruct]
    initials: dict[Wire, Value]
    loops: tuple[Algebraic, ...]


def coordinate_wire(dim: str) -> Wire:
    """The wire that carries a coordinate."""
    return ("coordinate", dim)


def initial_wire(wire: Wire) -> Wire:
    """The wire that carries the initial content of the register that drives `wire`."""
    return ("initial", wire)


def register(node: Node) -> Piece:
    """A state atom that holds a content, starts from its initial one, and delays by one order."""
    (out,) = node.outs
    return Piece(node.ins, node.outs, sign=1, dim=_dim(node), initial=initial_wire(out))


def deregister(node: Node) -> Piece:
    """The inverse of a register: it reads its input one order ahead."""
    return Piece(node.ins, node.outs, sign=-1, dim=_dim(node))


def line_wire(wire: Wire) -> Wire:
    """The wire that carries all that the delay which drives `wire` holds."""
    return ("line", wire)


def rate_wire(wire: Wire) -> Wire:
    """The wire that carries the rate of the hybrid atom that drives `wire`."""
    return ("rate", wire)


def guard_wire(wire: Wire) -> Wire:
    """The wire that carries the guard of the hybrid atom that drives `wire`."""
    return ("guard", wire)


def jump_wire(wire: Wire) -> Wire:
    """The wire that carries the content after an event of the hybrid atom that drives `wire`."""
    return ("jump", wire)


def hybrid(node: Node) -> Sequence[Piece]:
    """A register of the atom's rate; and its guard and its jump, which nothing in the net reads."""
    atom, (out,) = cast(Hybrid, node.atom), node.outs

    def piece(rule: Callable[..., Any], wire: Wire) -> Piece:
        ins = (out, *node.ins)
        return Piece(ins, (wire,), fn=lambda *values: call(atom, *values, rule=rule), atom=atom)

    rate = rate_wire(out)
    return [
        piece(atom.rate, rate),
        Piece((rate,), node.outs, sign=1, dim=_dim(node), initial=initial_wire(out)),
        piece(atom.guard, guard_wire(out)),
        piece(atom.jump, jump_wire(out)),
    ]


def constant(node: Node) -> Piece:
    """A state atom that keeps its initial content, whatever it reads."""
    (out,) = node.outs
    return Piece((initial_wire(out),), node.outs, fn=lambda value: (value,))


def given(node: Node) -> Sequence[Piece]:
    """An atom whose value the caller of `network` gives."""
    del node
    return ()


def network(
    graph: Graph,
    nodes: Sequence[Node],
    first: Mapping[Wire, Array],
    meanings: Mapping[str, Meanings],
    sources: Sequence[Piece] = (),
    fixed_point: FixedPoint = FixedPoint(),  # noqa: B008 - frozen, and holds no array of JAX
) -> Network:
    """The net of some of a graph's nodes.

    **Arguments:** `first` has the first value of each input wire and coordinate; `meanings` has a
    table for each dimension, of what the atoms along it mean; `sources` are pieces that drive input
    wires; `fixed_point` says how loops that no register cuts are solved.

    **Raises:** `CircuitError` for an atom whose meaning is an error.
    """
    pieces: list[Piece] = list(sources)
    initials: dict[Wire, Value] = {}
    for node in nodes:
        found = _pieces(node, meanings)
        pieces += found
        initial = initial_wire(node.outs[0]) if node.outs else None
        if any(initial in piece.reads for piece in found):
            initials[initial] = _initial(node.atom, first)
        # What a calculus adds to an atom's own content starts from no type, and from False.
        others = {piece.initial for piece in found if piece.sign > 0} - {initial}
        initials |= {wire: Value(jnp.zeros((), bool)) for wire in others if wire is not None}
        line = initial_wire(line_wire(node.outs[0])) if node.outs else None
        if line in others:
            # One value for all that it holds, along the last axis.
            initials[line] = Value(jnp.asarray(_initial(node.atom, first).array)[..., None])
    pieces, loops, guesses = contract(pieces, graph.names, fixed_point)
    initials |= guesses
    found = _infer(pieces, {**first, **{wire: at_zero(v) for wire, v in initials.items()}})
    return Network(tuple(pieces), found, initials, tuple(loops))


def call(atom: Atom, *values: Any, rule: Callable[..., Any] | None = None) -> tuple[Array, ...]:
    """An atom's value rule, or another rule of it, with its outputs counted and made arrays."""
    method = getattr(rule, "__func__", None)  # such as a guard
    what = brief(atom) if method is None else f"{brief(atom)}: its {method.__name__}"
    try:
        with callers_promotion():
            result = (rule or atom)(*values)
    except CircuitError:
        raise
    except Exception as error:
        shapes = ", ".join(f"{v.dtype}{list(v.shape)}" for v in map(jnp.asarray, values))
        raise CircuitError(
            f"{what} cannot be evaluated on values of type ({shapes}): {why(error)}",
            atoms=[atom],
        ) from error
    results = tuple(result) if isinstance(result, tuple | list) else (result,)
    if len(results) != atom.n_out:
        raise CircuitError(
            f"{what} has n_out = {atom.n_out}, but returned {len(results)}", atoms=[atom]
        )
    return tuple(_inexact(what, atom, value) for value in results)


def _inexact(what: str, atom: Atom, value: Any) -> Array:
    try:
        array = jnp.asarray(value)
    except NOT_NUMBERS as error:
        raise CircuitError(f"{what} returned {value!r}, which is no array", atoms=[atom]) from error
    if jnp.issubdtype(array.dtype, jnp.inexact):
        return array
    return array.astype(jnp.result_type(float))


def _dim(node: Node) -> str:
    return node.atom.dim  # pyright: ignore[reportAttributeAccessIssue] - of a state atom


def _pieces(node: Node, meanings: Mapping[str, Meanings]) -> Sequence[Piece]:
    """What a node becomes, by the table of its atom's dimension; else a pointwise function."""
    atom = node.atom
    table = meanings.get(getattr(atom, "dim", ""), {})
    meaning = next((table[kind] for kind in type(atom).__mro__ if kind in table), None)
    if isinstance(meaning, str):
        raise CircuitError(f"{brief(atom)}: {meaning}", atoms=[atom])
    if meaning is not None:
        found = meaning(node)
        pieces = [found] if isinstance(found, Piece) else found
        if not isinstance(pieces, tuple | list) or not all(isinstance(p, Piece) for p in pieces):
            raise CircuitError(
                f"{brief(atom)}: its meaning must return a piece of the net, as register(node) "
                f"gives it, or several in a tuple, not {found!r:.60}",
                atoms=[atom],
            )
        return pieces
    ins = (*map(coordinate_wire, atom.coordinates), *node.ins)
    return [Piece(ins, node.outs, fn=lambda *values: call(atom, *values), atom=atom)]


def _initial(atom: Any, first: Mapping[Wire, Array]) -> Value:
    """The initial content, with a leading coefficient axis for each dimension of a stream; of a
    history in time its type alone."""
    if isinstance(atom.initial, Function):
        history = atom.initial
        (aval,) = jax.eval_shape(lambda t: call(history, t), first[coordinate_wire(atom.dim)])
        return Value(jnp.zeros(aval.shape, aval.dtype))
    if not isinstance(atom.initial, Stream):
        return Value(atom.initial)
    stream = atom.initial
    if atom.dim in stream.dims:
        raise DimensionError(
            f"{brief(atom)}: the initial content is what holds at the start along {atom.dim}, so "
            f"it cannot be a stream along {atom.dim}",
            atoms=[atom],
        )
    return stream_value(stream)


def stream_value(stream: Stream) -> Value:
    """A stream with its coefficient axes in front."""
    count = len(stream.dims)
    array = jnp.moveaxis(stream.coefficients, range(-count, 0), range(count))
    return Value(array, stream.dims)


def _infer(
    pieces: Sequence[Piece], first: Mapping[Wire, Array]
) -> dict[Wire, jax.ShapeDtypeStruct]:
    """Every wire's type: a register's joins its initial content's and its input's, found by trying.

    Each round evaluates the pieces, in order, with every register cut; it ends when no register's
    type changes, which broadcasting makes happen after a few rounds. `first` are the first values
    of the wires from outside.
    """
    registers = [piece for piece in pieces if piece.sign > 0]
    others = [piece for piece in pieces if piece.sign <= 0]
    ordered = in_order(others)
    first = {**first, **{piece.outs[0]: first[piece.initial] for piece in registers}}
    avals = {wire: jax.ShapeDtypeStruct(x.shape, x.dtype) for wire, x in first.items()}
    rounds = len(registers) + 2
    for _ in range(rounds):
        avals.update(_types(ordered, avals, first))
        changed = False
        for piece in registers:
            before, source = avals[piece.outs[0]], avals[piece.ins[0]]
            after = _joined(before, source)
            changed |= (after.shape, after.dtype) != (before.shape, before.dtype)
            avals[piece.outs[0]] = after
        if not changed:
            return avals
    raise CircuitError("the shape of a value in a loop grows with every turn of the loop")


def _types(
    ordered: Sequence[Piece],
    avals: Mapping[Wire, jax.ShapeDtypeStruct],
    first: Mapping[Wire, Array],
) -> dict[Wire, jax.ShapeDtypeStruct]:
    """The types that pieces drive, from those of the other wires."""
    outside = list(first)

    def run(arrays: list[Array]) -> list[Array]:
        values = dict(zip(outside, arrays, strict=True))
        for piece in ordered:
            if piece.fn is None:
                values[piece.outs[0]] = values[piece.ins[0]]
            else:
                results = piece.fn(*(values[wire] for wire in piece.ins))
                values.update(zip(piece.outs, results, strict=True))
        return [values[wire] for piece in ordered for wire in piece.outs]

    names = [wire for piece in ordered for wire in piece.outs]
    types: Sequence[Any]
    if runs_eagerly(list(first.values())):
        pairs = [(first[wire], avals[wire]) for wire in outside]
        types = run([jnp.broadcast_to(x, aval.shape).astype(aval.dtype) for x, aval in pairs])
        types = [jax.ShapeDtypeStruct(x.shape, x.dtype) for x in types]
    else:
        types = jax.eval_shape(run, [avals[wire] for wire in outside])
    return dict(zip(names, types, strict=True))


def join(one: jax.ShapeDtypeStruct, other: jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
    """The type of a state atom that starts from the one and is fed the other.

    Raises `ValueError` for shapes that do not broadcast.
    """
    shape = jnp.broadcast_shapes(one.shape, other.shape)
    return jax.ShapeDtypeStruct(shape, jnp.promote_types(one.dtype, other.dtype))


def _joined(before: jax.ShapeDtypeStruct, source: jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
    """The same, with an error that speaks of registers."""
    try:
        return join(before, source)
    except ValueError as error:
        raise CircuitError(
            f"a register's initial content has shape {before.shape}, but its input has "
            f"{source.shape}"
        ) from error
