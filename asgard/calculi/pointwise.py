"""A cut circuit as one pure function of what its state atoms hold, its inputs and its coordinate.

That is what calculi with a fixed step iterate. `Contents` holds one array for each cell: a state
atom has one, or more where its calculus says so.
`Guesses` says where the solves of loops without registers start: one array for each unknown of the
loops that every step solves.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from ..circuits.graph import Node
from ..circuits.terms import brief
from ..errors import CircuitError
from ..status import Status
from ..taylor.algebraic import Algebraic
from ..taylor.evaluate import evaluate
from ..taylor.net import Frame, Piece, Value, Wire, at_zero, at_zero_along, promote
from ..taylor.network import coordinate_wire, initial_wire
from ..taylor.streams import coordinate
from .convergence import Solves, judge
from .cut import Cut
from .rows import finite, only
from .trajectory import Outputs

Contents = tuple[Array, ...]
Guesses = tuple[Array, ...]


@dataclasses.dataclass(frozen=True)
class Cell:
    """What holds one array between steps: `node` is its state atom, and `wire` and `source` carry
    what it holds and what goes into it."""

    node: Node
    wire: Wire
    source: Wire


@dataclasses.dataclass(frozen=True)
class Feeds:
    """What goes into each cell, of the shape of its content; and `wires`, all that they read.

    `guesses` are the solutions of the warm loops, from which later solves start; `solves` says how
    the loops were solved on which the feeds depend, None where the circuit has none.
    """

    values: Contents
    wires: dict[Wire, Array]
    guesses: Guesses
    solves: Solves | None


class Row(Outputs):
    """The output wires and the named ones at one time, coefficient axes last; and how the loops
    were solved. With a leading axis, those at many times."""

    outputs: tuple[Array, ...]
    names: dict[str, Array]
    solves: Solves | None

    def behind(self, turns: Array, residual: Array, converged: Array) -> "Row":
        """The row with one more solve, on which all of it depends: its number is 0, before those
        of the loops. The arguments are the facts of `fixed_point`."""
        first = Solves(turns[None], residual[None], ~converged[None])
        solves = [first] if self.solves is None else [first, self.solves]
        joined = jax.tree.map(lambda *parts: jnp.concatenate(parts), *solves)
        return Row(self.outputs, self.names, joined)

    def judged(
        self, times: Array, done: Array | None = None
    ) -> tuple["Row", Status, dict[str, Array]]:
        """The rows at some times as far as they are good, NaN from there on; the status and the
        stats.

        A row is bad where a wire is not finite or a loop was not solved, and all are from number
        `done` on.
        """
        count = times.shape[0]
        wires = (*self.outputs, *self.names.values()) or (times,)
        bad = ~jnp.stack([finite(wire, count) for wire in wires])
        bad = bad if done is None else bad | (jnp.arange(count) >= done)
        good = jnp.argmax(jnp.append(bad.any(0), True))
        last = jnp.minimum(good, count - 1)
        status = Status.where(good < count, Status.nonfinite, Status.ok)
        stats = {"wire": jnp.argmax(bad[:, last]), "kernel": jnp.zeros((), bool)}
        if self.solves is not None:
            # A loop without a solution is what makes the outputs of its own row NaN.
            found, status, more = judge(self.solves, good + 1, status, count)
            good, stats = jnp.minimum(good, found), stats | more
        last = jnp.minimum(good, count - 1)
        stats |= {"steps": last, "reached": times[last]}
        outputs, names = only(jnp.arange(count) < good, (self.outputs, self.names))
        return Row(outputs, names, self.solves), status, stats


@dataclasses.dataclass(frozen=True)
class Extended:
    """More pieces than the net's own, such as those of later samples: see `discrete.lookahead`.

    `avals` are the types of their wires, too; `times` are wires that carry the time after so many
    units.
    """

    pieces: tuple[Piece, ...]
    avals: Mapping[Wire, Any]
    times: Mapping[Wire, int]


class Pointwise:
    """What a step reads: `cells` are what holds something along time, in the order of contents.

    - `cut`: the circuit.
    - `time_dtype`: that of the run's times, which the state's precision replaces where it has one.
    - `sampled`: whether outputs are read at every step. Every step solves the loops `warm`: those
      behind the states, or all where it is sampled. A solve starts from the solution of the step
      before.
    - `extended`: the pieces to evaluate in place of the net's own.
    - `watched`: wires that are read beside what goes into the cells, by `watch`.
    """

    def __init__(
        self,
        cut: Cut,
        time_dtype: Any,
        sampled: bool = False,
        extended: Extended | None = None,
        watched: Sequence[Wire] = (),
    ):
        self.cut, self.watched = cut, tuple(watched)
        held = [piece for piece in cut.net.pieces if _holds(piece, cut.dim)]
        self.cells = tuple(
            Cell(node, piece.outs[0], piece.ins[0])
            for node in cut.nodes
            for piece in held
            if _owner(piece.outs[0]) in node.outs
        )
        self.read = tuple(dict.fromkeys(wire for piece in held for wire in piece.ins))
        self.driving = cut.loops_behind((*self.read, *self.watched))
        self.warm = list(cut.net.loops) if sampled else self.driving
        self.extended = extended or Extended(cut.net.pieces, cut.net.avals, {})
        # A derivative along time is read off series along time, to order 0. Without one, every wire
        # carries a plain value at each time, and no atom needs a series rule.
        self.is_series = any(piece.delay(cut.dim) < 0 for piece in self.extended.pieces)
        orders = {d: order for d, order in cut.orders.items() if self.is_series or d != cut.dim}
        self.frame = Frame(tuple(orders), orders, self.extended.avals)
        self.shapes = [cut.state_shape(cell.wire) for cell in self.cells]
        dtypes = [cut.net.avals[cell.wire].dtype for cell in self.cells]
        # Time runs in the precision of the state.
        self.dtype = jnp.result_type(*dtypes) if dtypes else time_dtype
        self.time_dtype = jnp.finfo(self.dtype).dtype

    @property
    def states(self) -> tuple[Node, ...]:
        """The state atom of each cell."""
        return tuple(cell.node for cell in self.cells)

    def begin(self) -> Contents:
        """What the cells hold at the start."""
        wires = [cell.wire for cell in self.cells]
        return tuple(self.cut.initial(w).astype(self.cut.net.avals[w].dtype) for w in wires)

    def start(self) -> Guesses:
        """Where the solves of the first step start."""
        return tuple(guess for loop in self.warm for guess in self.cut.guess(loop))

    def unsolved(self) -> Solves | None:
        """How loops are solved before any is."""
        return self._solves([], {})

    def feeds(self, t: Array, contents: Contents, guesses: Guesses) -> Feeds:
        """What goes into the cells at one time."""
        wanted = (*self.read, *_of_loops(self.driving))
        return self._feeds(self._evaluate(t, contents, guesses, wanted, {}))

    def watch(
        self, t: Array, contents: Contents, guesses: Guesses, given: Mapping[Any, Array]
    ) -> tuple[dict[Wire, Array], Solves | None]:
        """The watched wires at one time, and how the loops were solved behind them and the feeds.

        `given` are the inputs that change from step to step."""
        wanted = (*self.watched, *_of_loops(self.driving))
        values = self._evaluate(t, contents, guesses, wanted, given)
        found: dict[Wire, Array] = {wire: values[wire].array for wire in self.watched}
        return found, self._solves(self.driving, values)

    def outputs(
        self, t: Array, contents: Contents, guesses: Guesses, given: Mapping[Any, Array]
    ) -> Row:
        """The outputs at one time; `given` are the inputs that change from step to step."""
        wanted = (*self.cut.shown, *_of_loops(self.cut.net.loops))
        return self._row(self._evaluate(t, contents, guesses, wanted, given))

    def inputs(self, t: Array, given: Mapping[Any, Array]) -> tuple[Value, ...]:
        """The input wires at one time; `given` are those that change from step to step."""
        wires = self.cut.graph.inputs
        values = self._evaluate(t, self.begin(), self.start(), wires, given)
        return tuple(values[wire] for wire in wires)

    def sample(
        self, t: Array, contents: Contents, guesses: Guesses, given: Mapping[Any, Array]
    ) -> tuple[Feeds, Row]:
        """Both at once, so that no loop is solved twice."""
        wanted = (*self.read, *self.cut.shown, *_of_loops(self.cut.net.loops))
        values = self._evaluate(t, contents, guesses, wanted, given)
        return self._feeds(values), self._row(values)

    @property
    def wire_names(self) -> tuple[str, ...]:
        """What errors call the state atoms, by the names of their wires or as text, and the
        outputs."""
        name = {wire: name for name, wire in self.cut.named.items()}
        states = (name.get(node.outs[0], _kind(node)) for node in self.states)
        return (*states, *self.cut.output_names)

    def _feeds(self, values: Mapping[Wire, Value]) -> Feeds:
        found = []
        for cell in self.cells:
            array = promote(values[cell.source], self.cut.rest[cell.wire], self.frame).array
            array = jnp.broadcast_to(array, self.cut.state_shape(cell.wire))
            found.append(array.astype(self.cut.net.avals[cell.wire].dtype))
        wires: dict[Wire, Array] = {wire: values[wire].array for wire in self.read}
        solves = self._solves(self.driving, values)
        return Feeds(tuple(found), wires, self._unknowns(values), solves)

    def _row(self, values: Mapping[Wire, Value]) -> Row:
        def read(wire: Wire) -> Array:
            rest = self.cut.rest[wire]
            array = promote(values[wire], rest, self.frame).array
            return jnp.moveaxis(array, range(len(rest)), range(-len(rest), 0))

        shown = tuple(map(read, self.cut.shown))
        return self.row(shown, self._solves(self.cut.net.loops, values))

    def row(self, shown: Sequence[Array], solves: Solves | None) -> Row:
        """The row, or the rows, of `cut.shown`: a wire that is an output and named stands once in
        these."""
        read = dict(zip(self.cut.shown, shown, strict=True))
        outputs = tuple(read[wire] for wire in self.cut.graph.outputs)
        names = {name: read[wire] for name, wire in self.cut.named.items()}
        return Row(outputs, names, solves)

    def shown(self, row: Row) -> tuple[Array, ...]:
        """What `row` makes a row of."""
        read: dict[Wire, Array] = dict(zip(self.cut.graph.outputs, row.outputs, strict=True))
        read |= {wire: row.names[name] for name, wire in self.cut.named.items()}
        return tuple(read[wire] for wire in self.cut.shown)

    def _solves(self, loops: Sequence[Algebraic], values: Mapping[Wire, Value]) -> Solves | None:
        """How loops were solved; those that are not among the given ones as if in no turns."""

        def fact(loop: Algebraic, wire: Wire) -> Array:
            if loop in loops:
                return at_zero(values[wire])
            return jnp.zeros((), self.cut.net.avals[wire].dtype)

        if not self.cut.net.loops:
            return None
        rows = [[fact(loop, wire) for wire in loop.facts] for loop in self.cut.net.loops]
        return Solves(*map(jnp.stack, zip(*rows, strict=True)))

    def _unknowns(self, values: Mapping[Wire, Value]) -> Guesses:
        """The solutions of the warm loops; where there is none, what the first solve started from.

        So a sample without a solution does not spoil those after it.
        """
        found = []
        for loop in self.warm:
            for wire, start in zip(loop.unknowns, self.cut.guess(loop), strict=True):
                value = lax.stop_gradient(at_zero(values[wire]))
                found.append(jnp.where(jnp.isfinite(value), value, start).astype(start.dtype))
        return tuple(found)

    def _evaluate(
        self,
        t: Array,
        contents: Contents,
        guesses: Guesses,
        wanted: Sequence[Wire],
        given: Mapping[Any, Array],
    ) -> dict[Wire, Value]:
        """The values of the wanted wires at one time."""
        self._check(contents, guesses)
        known = {**self.cut.known, coordinate_wire(self.cut.dim): Value(t)}
        known |= {wire: Value(t + later) for wire, later in self.extended.times.items()}
        for dim in self.frame.dims:
            if dim == self.cut.dim:  # time keeps its slope, which derivatives of it read
                known[coordinate_wire(dim)] = coordinate(dim, t, 1)
                continue
            center = self.cut.centers[dim].astype(t.dtype)
            known[coordinate_wire(dim)] = coordinate(dim, center, self.cut.orders[dim])
        starts = [wire for loop in self.warm for wire in loop.guesses]
        known |= {wire: Value(array) for wire, array in zip(starts, guesses, strict=True)}
        known |= {wire: Value(array) for wire, array in given.items()}
        for cell, array in zip(self.cells, contents, strict=True):
            held = initial_wire(cell.wire) if self.is_series else cell.wire
            known[held] = Value(array, self.cut.rest[cell.wire])
        values = evaluate(self.extended.pieces, known, list(dict.fromkeys(wanted)), self.frame)
        return {wire: at_zero_along(value, self.cut.dim) for wire, value in values.items()}

    def _check(self, contents: Any, guesses: Any) -> None:
        """Raises `CircuitError` for contents that are not like `begin()`, or guesses that are not
        like `start()`."""
        shapes = [jnp.shape(x) for x in contents] if isinstance(contents, tuple | list) else None
        if shapes != self.shapes:
            held = ", ".join(map(_kind, self.states)) or "nothing"
            found = f"shapes {shapes}" if shapes is not None else type(contents).__name__
            raise CircuitError(
                f"{self.cut.calculus}: contents must be a tuple of arrays of shapes {self.shapes}, "
                f"for {held}, as begin() gives, not {found}"
            )
        count = sum(len(loop.guesses) for loop in self.warm)
        if not isinstance(guesses, tuple | list) or len(guesses) != count:
            raise CircuitError(
                f"{self.cut.calculus}: guesses must be {count} arrays in a tuple, as start() "
                f"gives, not {guesses!r:.60}"
            )


def _holds(piece: Piece, dim: str) -> bool:
    """Whether a piece is a state atom along a dimension that holds something."""
    return piece.sign > 0 and piece.dim == dim


def _owner(wire: Wire) -> Wire:
    """The wire of the graph that a cell's wire belongs to, such as 3 for `("side", 3)`."""
    return wire[1] if isinstance(wire, tuple) else wire


def _kind(node: Node) -> str:
    """A state atom as text, without what is not known under a trace."""
    return brief(node.atom).replace(", <traced>", "")


def _of_loops(loops: Sequence[Algebraic]) -> list[Wire]:
    """The wires that carry the solutions of loops, and how they went."""
    return [wire for loop in loops for wire in (*loop.unknowns, *loop.facts)]
