"""What a group does at one order: a net along the remaining dimensions."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from .memory import Memory
from .net import Piece, Value, Wire, promote, resize
from .plan import Plan, Read, Segment, State
from .series import Body, Order, divide, scale


@dataclasses.dataclass(frozen=True)
class Remembered:
    """The wire by which a step hands on one value of a segment's memory."""

    dim: str  # that the step is along
    kind: str  # held or history
    segment: int
    number: int


@dataclasses.dataclass(frozen=True)
class Progress:
    """What passes from step to step.

    `past[w]` has the last values of wire w, newest first, as many as are ever read. `held` and
    `histories` are the segments' memories by (segment, number), a history as a list of coefficients
    before the scan and as a buffer in it.
    """

    past: dict[Wire, list[Array]]
    held: dict[tuple[int, int], Array]
    histories: dict[tuple[int, int], Body]


class StepNet:
    """The net of step m: pieces along the remaining dimensions.

    A wire that is driven within the step keeps its name; what comes from an earlier step or from
    outside is known, under the name of the read.

    **Arguments:** `progress` comes from the step before; `rows` has the coefficients that the step
    reads of the wires known from outside, in a scan (else None).
    """

    def __init__(
        self, plan: Plan, m: Order, progress: Progress, rows: Mapping[Read, Array] | None = None
    ):
        self.plan, self.m, self.progress, self.rows = plan, m, progress, rows
        self.pieces: list[Piece] = []
        self.known: dict[Wire, Value] = {}
        self.memory: list[Remembered] = []
        self._driven: set[Wire] = set()
        for state in plan.states:
            self._add_state(state)
        for number, segment in enumerate(plan.segments):
            self._add_segment(number, segment)
        kept = dict.fromkeys([*plan.wanted, *plan.slack])
        self._kept = [wire for wire in kept if wire in self._driven or wire in self.known]

    @property
    def wanted(self) -> list[Wire]:
        """The wires that `read` takes."""
        return [*self._kept, *self.memory]

    def read(self, results: Mapping[Wire, Value]) -> tuple[dict[Wire, Array], Progress]:
        """The step's coefficients of the plan's wires, and what passes to the next step."""
        plan, before = self.plan, self.progress

        def array(wire: Wire, dims: tuple[str, ...]) -> Array:
            return promote(results[wire], dims, plan.frame).array

        values = {wire: array(wire, plan.rest_dims[wire]) for wire in self._kept}
        past = {
            wire: [values[wire], *before.past.get(wire, [])][:most]
            for wire, most in plan.slack.items()
            if wire in values
        }
        held, histories = dict(before.held), dict(before.histories)
        for memory in self.memory:
            value = array(memory, plan.segments[memory.segment].dims)
            key = (memory.segment, memory.number)
            if memory.kind == "held":
                held[key] = value
            elif isinstance(self.m, int):
                histories[key] = [*histories.get(key, []), value]
            else:
                histories[key] = value
        return values, Progress(past, held, histories)

    def _add_state(self, state: State) -> None:
        """A register or deregister at order n = m + lag."""
        piece, lag = state.piece, state.lag
        n = self.m + lag
        if isinstance(n, int) and n < 0:
            return
        plan, (source,), (out,) = self.plan, piece.ins, piece.outs
        at_start = isinstance(n, int) and n == 0
        initial = piece.initial
        if piece.dim != plan.dim:
            if initial is not None:
                follows = at_start or plan.is_series[initial]
                initial = self._read(initial, lag) if follows else None
            wire = self._read(source, lag)
            self._add(dataclasses.replace(piece, ins=(wire,), initial=initial))
        elif piece.sign < 0:
            self._map(self._read(source, lag + 1), out, lambda x: scale(x, n + 1))
        elif not at_start:
            self._map(self._read(source, lag - 1), out, lambda x: divide(x, n))
        elif initial is not None:
            self._map(self._read(initial, lag), out, lambda x: x)
        else:
            aval = plan.aval(out)
            self._know(out, Value(jnp.zeros(aval.shape, aval.dtype)))

    def _add_segment(self, number: int, segment: Segment) -> None:
        """A segment at order n = m + lag: the program itself at order 0, then its lifted step."""
        n = self.m + segment.lag
        if isinstance(n, int) and n < 0:
            return
        ins = tuple(self._read(wire, segment.lag) for wire in segment.ins)
        if isinstance(n, int) and n == 0:
            self._start_segment(number, segment, ins)
        else:
            self._continue_segment(number, segment, n, ins)

    def _start_segment(self, number: int, segment: Segment, ins: tuple[Wire, ...]) -> None:
        lifted = segment.lifted
        histories = lifted.memory.histories

        def start(*arrays: Array) -> list[Array]:
            outputs, memory = lifted.start(arrays)
            held = [memory.held[name] for name in lifted.memory.held]
            return [*outputs, *held, *(memory.histories[name][0] for name in histories)]

        memory = [
            *(Remembered(self.plan.dim, "held", number, name) for name in lifted.memory.held),
            *(Remembered(self.plan.dim, "history", number, name) for name in histories),
        ]
        self.memory.extend(memory)
        self._add(Piece(ins, (*segment.outs, *memory), start))

    def _continue_segment(
        self, number: int, segment: Segment, n: Order, ins: tuple[Wire, ...]
    ) -> None:
        lifted = segment.lifted
        names = lifted.memory.histories
        whole = lifted.memory.recalled & lifted.given
        held = {name: self._recall("held", number, name) for name in lifted.memory.held}
        histories = {name: self._recall("history", number, name) for name in names}
        given = {
            index: self._body(wire, n, number)
            for index, wire in enumerate(segment.ins)
            if lifted.inputs[index] in whole
        }
        wires, structure = _flatten((list(ins), held, histories, given))

        def step(*arrays: Array) -> list[Array]:
            inputs, held, histories, given = jax.tree.unflatten(structure, arrays)
            outputs, memory = lifted.step(n, Memory(held, histories), inputs, given)
            after = [memory.histories[name] for name in names]
            return [*outputs, *(body[-1] if isinstance(body, list) else body for body in after)]

        memory = [Remembered(self.plan.dim, "history", number, name) for name in names]
        self.memory.extend(memory)
        self._add(Piece(tuple(wires), (*segment.outs, *memory), step))

    def _recall(self, kind: str, segment: int, name: int) -> Wire | list[Wire]:
        """The wire of a remembered value, or the wires of a list of them."""
        stored = self.progress.held if kind == "held" else self.progress.histories
        value = stored[segment, name]
        dims = self.plan.segments[segment].dims
        if isinstance(value, list):
            return [
                self._know(("history", segment, name, order), Value(item, dims))
                for order, item in enumerate(value)
            ]
        return self._know((kind, segment, name), Value(value, dims))

    def _body(self, wire: Wire, n: Order, segment: int) -> Wire | list[Wire]:
        """A given series whole: its coefficients up to n, or its buffer in a scan."""
        if isinstance(n, int) and isinstance(self.m, int):
            return [self._read(wire, order - self.m) for order in range(n + 1)]
        value = self.plan.known[wire]
        array = resize(value.array, self.plan.length(segment))
        dims = value.dims[1:]
        return self._know(("whole", wire, segment), Value(jnp.moveaxis(array, 0, len(dims)), dims))

    def _read(self, wire: Wire, offset: int) -> Wire:
        """The wire that carries coefficient m + offset of a wire of the group."""
        if wire in self.plan.known:
            return self._know(("given", wire, offset), self._given(wire, offset))
        behind = self.plan.lag[wire] - offset
        if behind == 0:
            return wire
        value = self.progress.past[wire][behind - 1]
        return self._know(("past", wire, behind), Value(value, self.plan.rest_dims[wire]))

    def _given(self, wire: Wire, offset: int) -> Value:
        """Coefficient m + offset of a wire that is known from outside."""
        value = self.plan.known[wire]
        order = self.m + offset
        if self.plan.is_series[wire]:
            if self.rows is not None:
                return Value(self.rows[wire, offset], value.dims[1:])
            if order < value.array.shape[0]:
                return Value(value.array[order], value.dims[1:])
            return Value(jnp.zeros_like(value.array[0]), value.dims[1:])
        if isinstance(order, int):
            return value if order == 0 else Value(jnp.zeros_like(value.array), value.dims)
        if offset >= 0:
            return Value(jnp.zeros_like(value.array), value.dims)
        return Value(jnp.where(order == 0, value.array, 0), value.dims)

    def _know(self, wire: Wire, value: Value) -> Wire:
        self.known[wire] = value
        return wire

    def _map(self, source: Wire, out: Wire, fn: Callable[[Array], Array]) -> None:
        aval = self.plan.aval(out)

        def run(x: Array) -> list[Array]:
            return [jnp.broadcast_to(fn(x), aval.shape).astype(aval.dtype)]

        self._add(Piece((source,), (out,), run))

    def _add(self, piece: Piece) -> None:
        self.pieces.append(piece)
        self._driven.update(piece.outs)


def _flatten(tree: Any) -> tuple[list[Wire], Any]:
    """The wires of nested lists and dictionaries, and the structure that takes their values."""
    return jax.tree.flatten(
        tree, is_leaf=lambda node: not isinstance(node, list | dict) and node is not tree
    )
