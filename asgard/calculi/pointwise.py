"""A circuit as one pure function of what its state atoms hold, its inputs and its coordinate.

That is what calculi with a fixed step iterate. `Contents` holds one array for each state atom;
`Guesses`, where the solves of loops without registers start, one for each unknown of those loops
that are solved at every step.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from ..circuits.atoms.registers import NOISY, Deregister, State
from ..circuits.circuit import Circuit, brief
from ..circuits.graph import Node
from ..errors import CircuitError
from ..fixed_points.options import FixedPoint
from ..taylor.algebraic import Algebraic
from ..taylor.evaluate import evaluate
from ..taylor.net import Frame, Value, Wire, promote, wire_dims
from ..taylor.network import coordinate_wire, initial_wire
from .convergence import Solves
from .cut import Cut
from .series import at_zero, coordinate

Contents = tuple[Array, ...]
Guesses = tuple[Array, ...]


@dataclasses.dataclass(frozen=True)
class Feeds:
    """What goes into each state atom, of the shape of its content; and `wires`, all that they read.

    `guesses` are the solutions of the warm loops, from which later solves start; `solves` says how
    the loops were solved on which the feeds depend, None where the circuit has none.
    """

    values: Contents
    wires: dict[Wire, Array]
    guesses: Guesses
    solves: Solves | None


@dataclasses.dataclass(frozen=True)
class Row:
    """The output wires and the named ones at one time, coefficient axes last; and how the loops
    were solved."""

    outputs: tuple[Array, ...]
    names: dict[str, Array]
    solves: Solves | None


def _kind(node: Node) -> str:
    """A state atom as text, without what is not known under a trace."""
    return brief(node.atom).replace(", <traced>", "")


class Pointwise(Cut):
    """What a step reads: `states` are the state atoms along time, in the order of contents.

    `sampled` says that outputs are read at every step. `warm` are the loops that every step solves:
    each solve starts from the solution of the step before.
    """

    def __init__(
        self,
        circuit: Circuit,
        ts: Array,
        inputs: tuple[Any, ...],
        dim: str | None,
        *,
        calculus: str,
        noise: str,
        fixed_point: FixedPoint,
        sampled: bool = False,
    ):
        self.sampled = sampled
        super().__init__(
            *(circuit, ts, inputs, dim),
            calculus=calculus,
            noise=noise,
            orders={},
            fixed_point=fixed_point,
        )
        self.pieces = self.net.pieces
        self.states: tuple[Node, ...] = tuple(node for node in self.nodes if self._holds(node))
        self.read = tuple(dict.fromkeys(wire for node in self.states for wire in node.ins))
        self.shown = tuple(dict.fromkeys((*self.graph.outputs, *self.named.values())))
        self.driving = self.loops_behind(self.read)
        self.warm = list(self.net.loops) if sampled else self.driving
        others = tuple(d for d in self.dims if d != self.dim)
        self.frame = Frame(others, {d: self.orders[d] for d in others}, self.net.avals)
        # Time runs in the precision of the state.
        self.time_dtype = jnp.finfo(self.dtype).dtype
        known = self._known_at(jnp.zeros((), self.time_dtype))
        self.rest = wire_dims(self.net.pieces, known, others)

    @property
    def dtype(self) -> Any:
        """The widest dtype of what the state atoms hold."""
        if not self.states:
            return self.ts.dtype
        return jnp.result_type(*(self.net.avals[node.outs[0]].dtype for node in self.states))

    def begin(self) -> Contents:
        """What the state atoms hold at the start."""
        return tuple(
            self._initial(wire, self.known[initial_wire(wire)]).astype(self.net.avals[wire].dtype)
            for wire in (node.outs[0] for node in self.states)
        )

    def held_at(self, t: Array) -> Array:
        """A step that begins at a sample's time reads that sample, though it begins beside it.

        The times of steps and those of samples are rounded, each by some last digits of the run's
        longest time. A run that counts samples rounds nothing.
        """
        if self.sampled:
            return t
        return t + 4 * jnp.finfo(t.dtype).eps * jnp.max(jnp.abs(self.ts)).astype(t.dtype)

    def start(self) -> Guesses:
        """Where the solves of the first step start."""
        return tuple(guess for loop in self.warm for guess in self.guess(loop))

    def unsolved(self) -> Solves | None:
        """How loops are solved before any is."""
        return self._solves([], {})

    def feeds(self, t: Array, contents: Contents, guesses: Guesses) -> Feeds:
        """What goes into the state atoms at one time."""
        wanted = (*self.read, *self._of_loops(self.driving))
        return self._feeds(self._evaluate(t, contents, guesses, wanted, {}))

    def outputs(
        self, t: Array, contents: Contents, guesses: Guesses, given: Mapping[Any, Array]
    ) -> Row:
        """The outputs at one time; `given` are the inputs that change from step to step."""
        wanted = (*self.shown, *self._of_loops(self.net.loops))
        return self._row(self._evaluate(t, contents, guesses, wanted, given))

    def sample(
        self, t: Array, contents: Contents, guesses: Guesses, given: Mapping[Any, Array]
    ) -> tuple[Feeds, Row]:
        """Both at once, so that no loop is solved twice."""
        wanted = (*self.read, *self.shown, *self._of_loops(self.net.loops))
        values = self._evaluate(t, contents, guesses, wanted, given)
        return self._feeds(values), self._row(values)

    @property
    def wire_names(self) -> tuple[str, ...]:
        """What to call the state atoms, by the names of their wires or as text, and the outputs."""
        name = {wire: name for name, wire in self.named.items()}
        states = (name.get(node.outs[0], _kind(node)) for node in self.states)
        return (*states, *self.output_names)

    @property
    def output_names(self) -> tuple[str, ...]:
        """What to call the output wires, and the named ones after them."""
        name = {wire: name for name, wire in self.named.items()}
        count = len(self.graph.outputs)
        outputs = (
            name.get(wire, f"output {place}" if count > 1 else "the output")
            for place, wire in enumerate(self.graph.outputs)
        )
        return (*outputs, *self.named)

    def _feeds(self, values: Mapping[Wire, Value]) -> Feeds:
        found = []
        for node in self.states:
            out, value = node.outs[0], values[node.ins[0]]
            array = promote(value, self.rest[out], self.frame).array
            array = jnp.broadcast_to(array, self._state_shape(out))
            found.append(array.astype(self.net.avals[out].dtype))
        wires: dict[Wire, Array] = {wire: values[wire].array for wire in self.read}
        solves = self._solves(self.driving, values)
        return Feeds(tuple(found), wires, self._unknowns(values), solves)

    def _row(self, values: Mapping[Wire, Value]) -> Row:
        def read(wire: Wire) -> Array:
            rest = self.rest[wire]
            array = promote(values[wire], rest, self.frame).array
            return jnp.moveaxis(array, range(len(rest)), range(-len(rest), 0))

        outputs = tuple(read(wire) for wire in self.graph.outputs)
        names = {name: read(wire) for name, wire in self.named.items()}
        return Row(outputs, names, self._solves(self.net.loops, values))

    def _solves(self, loops: Sequence[Algebraic], values: Mapping[Wire, Value]) -> Solves | None:
        """How loops were solved; those that are not among the given ones as if in no turns."""

        def fact(loop: Algebraic, wire: Wire) -> Array:
            if loop in loops:
                return at_zero(values[wire])
            return jnp.zeros((), self.net.avals[wire].dtype)

        if not self.net.loops:
            return None
        rows = [[fact(loop, wire) for wire in loop.facts] for loop in self.net.loops]
        return Solves(*map(jnp.stack, zip(*rows, strict=True)))

    def _unknowns(self, values: Mapping[Wire, Value]) -> Guesses:
        """The solutions of the warm loops; where there is none, what the first solve started from.

        So a sample without a solution does not spoil those after it.
        """
        found = []
        for loop in self.warm:
            for wire, start in zip(loop.unknowns, self.guess(loop), strict=True):
                value = lax.stop_gradient(at_zero(values[wire]))
                found.append(jnp.where(jnp.isfinite(value), value, start).astype(start.dtype))
        return tuple(found)

    def _of_loops(self, loops: Sequence[Algebraic]) -> list[Wire]:
        """The wires that carry the solutions of loops, and how they went."""
        return [wire for loop in loops for wire in (*loop.unknowns, *loop.facts)]

    def _evaluate(
        self,
        t: Array,
        contents: Contents,
        guesses: Guesses,
        wanted: Sequence[Wire],
        given: Mapping[Any, Array],
    ) -> dict[Wire, Value]:
        known = self._known_at(t)
        places = [wire for loop in self.warm for wire in loop.guesses]
        known |= {wire: Value(array) for wire, array in zip(places, guesses, strict=True)}
        known |= {wire: Value(array) for wire, array in given.items()}
        for node, array in zip(self.states, contents, strict=True):
            known[node.outs[0]] = Value(array, self.rest[node.outs[0]])
        return evaluate(self.pieces, known, list(dict.fromkeys(wanted)), self.frame)

    def _known_at(self, t: Array) -> dict[Wire, Value]:
        known = {**self.known, coordinate_wire(self.dim): Value(t)}
        for dim in self.frame.dims:
            center = self.centers[dim].astype(t.dtype)
            known[coordinate_wire(dim)] = coordinate(dim, center, self.orders[dim])
        return known

    def _holds(self, node: Node) -> bool:
        """Whether the node is a state atom that holds something along time."""
        atom = node.atom
        if not isinstance(atom, State) or atom.dim != self.dim:
            return False
        if isinstance(atom, Deregister):
            raise CircuitError(
                f"{brief(atom)} has no meaning under {self.calculus} along {self.dim}: a path with "
                "noise has no derivative",
                atoms=[atom],
            )
        return not (isinstance(atom, NOISY) and self.noise == "off")
