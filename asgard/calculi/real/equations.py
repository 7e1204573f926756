"""A cut circuit as functions of time and a flat state: its rates, its guards and its wires."""

import dataclasses
import functools
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array

from ...circuits.components import orders_read
from ...fixed_points.jacobian import jacobian
from ...fixed_points.layout import Layout
from ...jaxprs.apart import MANY, apart
from ...jaxprs.dependence import dependence
from ...jaxprs.powers import powers_by_roots
from ...jaxprs.program import trace
from ...jaxprs.small_algebra import products_written_out
from ...jaxprs.sparsity import Pattern, pattern_of
from ...taylor.algebraic import Algebraic, opened, turned
from ...taylor.evaluate import evaluate
from ...taylor.net import (
    Frame,
    Piece,
    Value,
    Wire,
    at_zero,
    at_zero_along,
    in_sequence,
    promote,
    resize,
    whole_of,
)
from ...taylor.network import coordinate_wire, initial_wire
from ...taylor.streams import coordinate
from ..convergence import Solves
from ..cut import Cut
from .hybrid import Guarded
from .methods.radau.factors import SMALL
from .transport import Transport

# Jacobians of fewer numbers are formed whole; of more, the pattern itself would fill the memory.
LARGEST_PATTERN = 8192


@dataclasses.dataclass(frozen=True)
class Equations:
    """A cut circuit as functions of time and a flat state, y.

    y holds the contents of the registers, each with the wire that carries its rate; then the
    unknowns of the `loops` that the state depends on, which say where a solve starts; then what
    goes into delays and is no register's. Behind that it has what the delays give. `pieces` are
    evaluated, on wires of `types`. `dtype` is that of y and `time` that of the time. `has_powers`
    says that rates have powers that take less time as products and roots.
    """

    cut: Cut
    registers: Mapping[Wire, Wire]
    guarded: Guarded
    transport: Transport
    loops: Sequence[Algebraic]
    pieces: Sequence[Piece]
    types: Mapping[Wire, Any]
    dtype: Any
    time: Any
    has_powers: bool = False

    def with_products_written_out(self) -> "Equations":
        """The same equations, whose kernels hold products of small matrices."""
        return dataclasses.replace(self, pieces=_rewritten(products_written_out, self.pieces))

    def watch(self, t: Array, y: Array) -> Array:
        """The guards of all events, flat."""
        values = self.evaluate(t, y, 0, self.guarded.guards)
        flat = [self._at_zero(values[wire], ()) for wire in self.guarded.guards]
        return self.guarded.joined(flat).astype(self.time)

    def jump(self, t: Array, y: Array) -> Array:
        """What each entry of the state becomes at its event."""
        found = self.guarded.jumps
        values = self.evaluate(t, y, 0, list(found.values()))
        flat, index = [], 0
        for register in self.registers:
            shape = self.cut.state_shape(register)
            size = math.prod(shape)
            if register in found:
                array = self._at_zero(values[found[register]], ())
                flat.append(jnp.broadcast_to(array, shape).reshape(-1))
            else:
                flat.append(y[index : index + size])
            index += size
        rest = y[index : len(y) - self.transport.entries]
        return jnp.concatenate([*flat, rest], dtype=self.dtype)

    def along(
        self, t: Array, y: Array, order: int, watch: Callable[[Array, Array], Array]
    ) -> Array:
        """The series of what `watch` makes of time and state, `[order + 1, guards]`; y has the
        series of the state one order after the other, the unit of time of all series, and what the
        delays give, which is taken not to move."""
        entries = self.transport.entries
        flat, unit, late = jnp.split(y, [len(y) - entries - 1, len(y) - entries])
        rows = flat.reshape(order + 1, -1)
        late = resize(late[None], order + 1)
        time = resize(jnp.stack([t, unit[0].real.astype(t.dtype)]), order + 1)
        dim = self.cut.dim
        state = Value(jnp.hstack([rows, late]), (dim,))
        known: dict[Wire, Value] = {"time": Value(time, (dim,)), "state": state}
        avals: dict[Wire, Any] = {"guards": jax.eval_shape(watch, t, y[: rows.shape[1] + entries])}
        piece = Piece(tuple(known), tuple(avals), in_sequence(watch))
        frame = Frame((dim,), {dim: order}, avals)
        return promote(evaluate([piece], known, list(avals), frame)["guards"], (dim,), frame).array

    @property
    def algebraic(self) -> int:
        """How many numbers the unknowns of these loops are."""
        return sum(self.layout(loop).size for loop in self.loops)

    def expand(
        self, t: Array, y: Array, order: int, with_guards: bool, unroll: bool = False
    ) -> Array:
        """The Taylor coefficients of the state about (t, y), and of its guards if asked for; by a
        loop over the orders, or written out."""
        working = orders_read(self.cut.nodes, {self.cut.dim: order})[self.cut.dim]
        unknowns = [wire for loop in self.loops for wire in loop.unknowns]
        guards = self.guarded.guards if with_guards else []
        wanted = [*self.registers, *unknowns, *self.transport.derived, *guards]
        values = self.evaluate(t, y, working, list(dict.fromkeys(wanted)), unroll)
        found = [values[wire] for wire in self.registers]
        whole = whole_of(found) if found else None
        if whole is not None and whole.dims == (self.cut.dim,):
            columns = [whole.array]
        else:
            columns = [
                promote(value, (self.cut.dim, *self.cut.rest[wire]), self._frame(working)).array
                for wire, value in zip(self.registers, found, strict=True)
            ]
        flat = [array[: order + 1].reshape(order + 1, -1) for array in columns]
        flat += [self._unknowns(loop, values, order) for loop in self.loops]
        frame = self._frame(working)
        for wire in self.transport.derived:
            array = promote(values[wire], (self.cut.dim,), frame).array[: order + 1]
            flat.append(array.reshape(order + 1, -1))
        if guards:
            rows = [promote(values[w], (self.cut.dim,), frame).array[: order + 1] for w in guards]
            flat.append(self.guarded.joined(rows))
        return jnp.concatenate(flat, axis=1, dtype=self.dtype)

    def _unknowns(self, loop: Algebraic, values: Mapping[Wire, Value], order: int) -> Array:
        """The series along time of a loop's unknowns, at order 0 of the other dimensions."""
        arrays = []
        for wire in loop.unknowns:
            array = promote(
                values[wire], (self.cut.dim, *self.cut.rest[wire]), self._frame(order)
            ).array
            arrays.append(array[: order + 1][(slice(None), *[0] * len(self.cut.rest[wire]))])
        return jax.vmap(self.layout(loop).pack)(arrays)

    def layout(self, loop: Algebraic) -> Layout:
        return Layout(tuple(self.cut.net.avals[wire] for wire in loop.unknowns))

    def field(self, t: Array, y: Array) -> Array:
        """The derivative of the state, which is what goes into the registers; and the solutions of
        loops, in the place of their guesses."""
        unknowns = [wire for loop in self.loops for wire in loop.unknowns]
        wanted = [*self.registers.values(), *unknowns, *self.transport.derived]
        values = self.evaluate(t, y, 0, list(dict.fromkeys(wanted)))
        flat = self._rates(values)
        flat += [self._packed(loop, values, loop.unknowns) for loop in self.loops]
        flat += self._carried(values)
        return jnp.concatenate(flat, dtype=self.dtype)

    def _carried(self, values: Mapping[Wire, Value]) -> list[Array]:
        """What goes into delays and is no register's, in flat pieces."""
        return [self._at_zero(values[w], ()).reshape(-1) for w in self.transport.derived]

    def _rates(self, values: Mapping[Wire, Value]) -> list[Array]:
        """What goes into the registers, in flat pieces."""
        whole = whole_of([values[source] for source in self.registers.values()])
        if whole is not None and all(whole.aval.shape[1:] == s for s, _ in self._kinds):
            return [self._at_zero(whole, ()).reshape(-1)]
        flat = []
        for register, source in self.registers.items():
            array = self._at_zero(values[source], self.cut.rest[register])
            flat.append(jnp.broadcast_to(array, self.cut.state_shape(register)).reshape(-1))
        return flat

    def _packed(
        self, loop: Algebraic, values: Mapping[Wire, Value], wires: Sequence[Wire]
    ) -> Array:
        """The values of wires that are alike to a loop's unknowns, in one vector."""
        return self.layout(loop).pack([self._at_zero(values[wire], ()) for wire in wires])

    def solved(self, t: Array, y: Array) -> Array:
        """The state with the unknowns of loops solved for."""
        return jnp.concatenate([y[: self.size], self.field(t, y)[self.size :]])

    def balance(self, t: Array, y: Array) -> Array:
        """The derivative of the state; and by how much one turn around each loop moves its
        unknowns, which are the last entries of y."""
        size = self.size
        known = known_at(self.cut, t, self._split(y), 0)
        known |= {
            wire: known[guess]
            for loop in self.loops
            for wire, guess in zip(loop.unknowns, loop.guesses, strict=True)
        }
        wanted = [turned(wire) for loop in self.loops for wire in loop.unknowns]
        wanted = [*dict.fromkeys(self.registers.values()), *wanted]
        frame = self._frame(0)
        types = {turned(w): frame.avals[w] for loop in self.loops for w in loop.unknowns}
        frame = dataclasses.replace(frame, avals={**frame.avals, **types})
        values = evaluate(self._opened, known, [w for w in wanted if w not in known], frame)
        values = {**known, **values}
        flat = self._rates(values)
        start = size
        for loop in self.loops:
            found = self._packed(loop, values, [turned(wire) for wire in loop.unknowns])
            flat.append(found - y[start : start + found.shape[0]])
            start += found.shape[0]
        return jnp.concatenate(flat, dtype=self.dtype)

    @functools.cached_property
    def _opened(self) -> list[Piece]:
        """The net's pieces, with the loops that the state depends on opened."""
        pieces = list(self.cut.net.pieces)
        for loop in self.loops:
            index = next(i for i, piece in enumerate(pieces) if loop.turns in piece.outs)
            pieces[index] = opened(pieces[index], loop)
        return pieces

    def jacobian(self, t: Array, y: Array, pattern: Pattern | None, balanced: bool) -> Array:
        """The derivatives of the field along the state, as a `System` gives them; of `balance`
        where it is `balanced`."""
        size = len(y) if balanced else self.size
        if pattern is None:
            return jacobian(self._reduced(t, y, balanced), y[:size])
        _, push = jax.linearize(self._reduced(t, y, balanced), y[:size])
        return jax.vmap(push)(pattern.seeds.astype(y.dtype))

    def _reduced(self, t: Array, y: Array, balanced: bool) -> Callable[[Array], Array]:
        """The field as a function of all entries of the state that are no guesses."""
        if balanced:
            return lambda x: self.balance(t, x)
        size = self.size
        return lambda x: self.field(t, jnp.concatenate([x, y[size:]]))[:size]

    def pattern(self, time: Array, state: Array, balanced: bool) -> Pattern | None:
        """Where the Jacobian may differ from zero, if few derivatives give all of it."""
        size = len(state) if balanced else self.size
        if not SMALL < size <= LARGEST_PATTERN:
            return None

        def field(t: Array, y: Array, x: Array) -> tuple[Array]:
            return (self._reduced(t, y, balanced)(x),)

        # All are inputs: the pattern must not be that of the begin alone, where these are known.
        given = time, state, state[:size]
        program = trace(field, *(jax.ShapeDtypeStruct(x.shape, x.dtype) for x in given))
        depends = dependence(program, program.inputs[-1])
        if 4 * depends.sum(axis=1).max() > size:  # columns that share a row differ in their colors
            return None
        pattern = pattern_of(depends)
        return pattern if 4 * pattern.count <= size else None

    def solves(self, t: Array, y: Array) -> Solves:
        """How the loops are solved at one time."""
        values = self.evaluate(t, y, 0, [w for loop in self.cut.net.loops for w in loop.facts])
        facts = ([at_zero(values[w]) for w in loop.facts] for loop in self.cut.net.loops)
        return Solves(*map(jnp.stack, zip(*facts, strict=True)))

    def wires(self, t: Array, y: Array) -> "Wires":
        """The output wires and the named ones at one time, coefficient axes last."""
        values = self.evaluate(t, y, 0, self.cut.shown)

        def read(wire: Wire) -> Array:
            rest = self.cut.rest[wire]
            array = self._at_zero(values[wire], rest)
            return jnp.moveaxis(array, range(len(rest)), range(-len(rest), 0))

        wires = self.cut.graph.outputs
        whole = whole_of([values[wire] for wire in wires]) if len(wires) >= MANY else None
        return Wires(
            outputs=tuple(map(read, wires)) if whole is None else (),
            whole=None if whole is None else self._at_zero(whole, ()),
            names={name: read(wire) for name, wire in self.cut.named.items()},
        )

    def evaluate(
        self, t: Array, y: Array, order: int, wanted: Sequence[Wire], unroll: bool = False
    ) -> dict[Wire, Value]:
        """Wires about (t, y), to an order along time."""
        known = known_at(self.cut, t, self._split(y), order)
        frame = dataclasses.replace(self._frame(order), unroll=unroll)
        return evaluate(self.pieces if order else self._at_points, known, wanted, frame)

    @functools.cached_property
    def _at_points(self) -> Sequence[Piece]:
        """The pieces as they are evaluated without series."""
        return _rewritten(powers_by_roots, self.pieces) if self.has_powers else self.pieces

    def _at_zero(self, value: Value, rest: tuple[str, ...]) -> Array:
        """The value at order 0 along time, with a coefficient axis for each of `rest`."""
        return promote(at_zero_along(value, self.cut.dim), rest, self._frame(0)).array

    def _frame(self, order: int) -> Frame:
        return Frame(tuple(self.cut.orders), {**self.cut.orders, self.cut.dim: order}, self.types)

    def _split(self, y: Array) -> dict[Wire, Value]:
        """The contents of the registers along time, from the flat state."""
        contents: dict[Wire, Value] = {}
        index = 0
        registers = zip(self.registers, self._kinds, strict=True)
        # Registers that hold alike values stand in one array, side by side.
        for (shape, dtype), group in itertools.groupby(registers, key=lambda pair: pair[1]):
            wires = [wire for wire, _ in group]
            size = math.prod(shape) * len(wires)
            array = y[index : index + size].reshape(len(wires), *shape)
            real = not jnp.issubdtype(dtype, jnp.complexfloating)
            array = (array.real if real else array).astype(dtype)
            for row, wire in enumerate(wires):
                rest = self.cut.rest[wire]
                value = Value(array[row], rest) if rest else Value(array, (), row)
                contents[initial_wire(wire)] = value
            index += size
        for loop in self.loops:
            layout = self.layout(loop)
            flat = y[index : index + layout.size]
            arrays = layout.unpack(flat.real if jnp.iscomplexobj(flat) else flat)
            contents |= dict(zip(loop.guesses, map(Value, arrays), strict=True))
            index += layout.size
        if self.transport:
            contents |= self.transport.contents(y[index + self.transport.carried :])
        return contents

    @functools.cached_property
    def _kinds(self) -> list[tuple[tuple[int, ...], Any]]:
        """The shape and dtype of what each register holds."""
        avals = self.cut.net.avals
        return [(self.cut.state_shape(wire), avals[wire].dtype) for wire in self.registers]

    @property
    def size(self) -> int:
        return sum(math.prod(self.cut.state_shape(wire)) for wire in self.registers)


def _rewritten(
    rewrite: Callable[[Callable[..., Any]], Callable[..., Any]], pieces: Sequence[Piece]
) -> Sequence[Piece]:
    """The pieces whose functions are rewritten, but for those of loops."""

    def found(piece: Piece) -> Piece:
        if piece.fn is None or piece.members:
            return piece
        return dataclasses.replace(piece, fn=rewrite(piece.fn))

    return tuple(map(found, pieces))


def known_at(cut: Cut, t: Array, contents: Mapping[Wire, Value], order: int) -> dict[Wire, Value]:
    """What is known of the net when the registers along time hold `contents` at t."""
    known = {**cut.known, **contents}
    for dim in tuple(cut.orders):
        along = order if dim == cut.dim else cut.orders[dim]
        center = t if dim == cut.dim else cut.centers[dim].astype(t.dtype)
        # Time keeps its slope, which derivatives of what depends on it read.
        least = 1 if dim == cut.dim else 0
        known[coordinate_wire(dim)] = coordinate(dim, center, max(along, least))
    return known


class Wires(eqx.Module):
    """The outputs and the named wires of a circuit.

    `outputs` are one by one. Many that are the entries of one array are `whole`, that array,
    `[outputs, *value]`, and there are no `outputs`.
    """

    outputs: tuple[Array, ...]
    whole: Array | None
    names: dict[str, Array]

    def apart(self) -> tuple[Array, ...]:
        """All outputs one by one, where the first axis of every array is time."""
        return self.outputs if self.whole is None else tuple(apart(self.whole, 1))
