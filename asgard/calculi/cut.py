"""A circuit cut along time: its net, its inputs connected, its dimensions; for every calculus."""

from collections.abc import Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from ..circuits.atoms.functions import Function
from ..circuits.atoms.registers import State, Substitution
from ..circuits.circuit import Circuit, brief
from ..circuits.components import edges, lags
from ..circuits.graph import Graph, flatten
from ..circuits.loops import check_loops
from ..circuits.samples import Samples
from ..circuits.stream import Stream
from ..errors import CircuitError, DimensionError, LoopError
from ..fixed_points.options import FixedPoint
from ..taylor.algebraic import Algebraic
from ..taylor.evaluate import needed
from ..taylor.net import Frame, Piece, Value, Wire, promote
from ..taylor.network import Network, call, coordinate_wire, network, stream_value
from .series import centers, fitted


class Cut:
    """A circuit whose state atoms along time are cut, with its inputs connected.

    `calculus` is the name that errors give; `noise` says what a net does with noise; `orders` are
    those asked for along the dimensions that are not time, by name; `fixed_point` says how loops
    that no register cuts are solved.
    """

    rest: dict[Wire, tuple[str, ...]]

    def __init__(
        self,
        circuit: Circuit,
        ts: Array,
        inputs: tuple[Any, ...],
        dim: str | None,
        *,
        calculus: str,
        noise: str,
        orders: Mapping[str, int],
        fixed_point: FixedPoint,
    ):
        self.ts, self.calculus, self.noise, self.orders_given = ts, calculus, noise, orders
        self.fixed_point = fixed_point
        self.stops: list[Array] = []
        self.graph = flatten(circuit)
        self.dim = time_dimension(self.graph, dim)
        # A name that several wires bear names none of them.
        self.named = {n: wires[0] for n, wires in self.graph.names.items() if len(wires) == 1}
        self.nodes = self.graph.needed((*self.graph.outputs, *self.named.values()))
        self.known: dict[Wire, Value] = {}
        self.sources: list[Piece] = []
        for wire, source in zip(self.graph.inputs, inputs, strict=True):
            self._connect(wire, source)
        self.orders = self._orders()
        self.dims = tuple(self.orders)
        self._check()
        self.net = self._network()
        self.known |= self.net.initials
        self.known = {wire: fitted(value, self.orders) for wire, value in self.known.items()}
        self.centers = self._centers(inputs)

    def loops_behind(self, wires: Iterable[Wire]) -> list[Algebraic]:
        """The loops without registers on which some wires depend, registers' inputs included."""
        inside = needed(self.net.pieces, self.known, list(wires))
        driven = {wire for piece in inside for wire in piece.outs}
        return [loop for loop in self.net.loops if driven.issuperset(loop.unknowns)]

    def held_at(self, t: Array) -> Array:
        """Where held samples are read for their value at a time."""
        return t

    def guess(self, loop: Algebraic) -> list[Array]:
        """Where the first solve of a loop starts, of the types of its unknowns."""
        avals = [self.net.avals[wire] for wire in loop.unknowns]
        return [
            jnp.broadcast_to(self.known[wire].array, aval.shape).astype(aval.dtype)
            for wire, aval in zip(loop.guesses, avals, strict=True)
        ]

    def _state_shape(self, wire: Wire) -> tuple[int, ...]:
        axes = tuple(self.orders[dim] + 1 for dim in self.rest[wire])
        return (*axes, *self.net.avals[wire].shape)

    def _initial(self, wire: Wire, content: Value) -> Array:
        """A register's initial content, of the shape that its wire has."""
        value = promote(content, self.rest[wire], Frame(self.dims, self.orders, self.net.avals))
        # A value of fewer axes than the wire's is one value for all of them.
        count = len(self.rest[wire])
        missing = len(self._state_shape(wire)) - value.array.ndim
        array = jnp.expand_dims(value.array, range(count, count + missing))
        return jnp.broadcast_to(array, self._state_shape(wire))

    def _connect(self, wire: int, source: Any) -> None:
        """Drives an input wire by a constant, a function of time, samples, or a stream."""
        if isinstance(source, Function):
            time = coordinate_wire(self.dim)
            self.sources.append(Piece((time,), (wire,), fn=lambda t: call(source, t)))
        elif isinstance(source, Samples):
            self._connect_samples(wire, source)
        elif isinstance(source, Stream) and self.dim in source.dims:
            self._connect_stream(wire, source)
        elif isinstance(source, Stream):
            self.known[wire] = stream_value(source)
        else:
            self.known[wire] = Value(source)

    def _connect_samples(self, wire: int, samples: Samples) -> None:
        """A piecewise polynomial in time, in the precision to which steps are checked."""
        numbers = jax.tree.leaves([node.atom for node in self.nodes])
        precision = (jnp.finfo(number.dtype).dtype for number in numbers)
        interpolant = samples.interpolant(jnp.result_type(samples.values, *precision))
        self.stops.append(interpolant.origins[1:])
        time = coordinate_wire(self.dim)
        read_at = self.held_at if samples.kind == "hold" else lambda t: t
        self.sources.append(Piece((time,), (wire,), fn=lambda t: (interpolant(read_at(t)),)))

    def _connect_stream(self, wire: int, stream: Stream) -> None:
        """A polynomial in time; its coefficients may be series along other dimensions."""
        value = stream_value(stream)
        axis = value.dims.index(self.dim)
        others = tuple(dim for dim in value.dims if dim != self.dim)
        center = stream.center_of(self.dim)
        coefficients = []
        for order, array in enumerate(jnp.moveaxis(value.array, axis, 0)):
            coefficients.append(("input", wire, order))
            self.known[coefficients[-1]] = Value(array, others)

        def polynomial(t: Array, *values: Array) -> tuple[Array]:
            total = values[-1]
            for value in reversed(values[:-1]):
                total = total * (t - center) + value
            return (total,)

        ins = (coordinate_wire(self.dim), *coefficients)
        self.sources.append(Piece(ins, (wire,), fn=polynomial))

    def _check(self) -> None:
        """Raises for what the series engine runs, but not over time."""
        for node in self.nodes:
            if isinstance(node.atom, Substitution):
                raise CircuitError(
                    f"{brief(node.atom)} is for series only, not for simulate", atoms=[node.atom]
                )
            own = getattr(node.atom, "dim", None) == self.dim
            if not own and any(self.dim in stream.dims for stream in node.streams):
                raise DimensionError(
                    f"{brief(node.atom)}: the initial content changes along {self.dim}, which is "
                    "the run's time; series runs it, and so does simulate along another dim",
                    atoms=[node.atom],
                )
        check_loops(self.nodes, self.dims, self.calculus)
        if lags(self.nodes, edges(self.nodes), self.dim) is None:
            raise LoopError(
                f"along {self.dim} a loop takes as many derivatives as it integrates, or more, so "
                f"{self.dim} cannot be the run's time: choose another by dim="
            )

    def _centers(self, inputs: tuple[Any, ...]) -> dict[str, Array]:
        """The centre along every dimension but time.

        Streams about different centres make every value NaN: no error can be raised in a trace.
        """
        others = {dim: order for dim, order in self.orders.items() if dim != self.dim}
        streams = [source for source in inputs if isinstance(source, Stream)]
        found, conditions = centers(self.nodes, streams, others)
        for agrees in conditions.values():
            self.known = {
                wire: Value(jnp.where(agrees, value.array, jnp.nan), value.dims)
                for wire, value in self.known.items()
            }
        return found

    def _orders(self) -> dict[str, int]:
        """The run's dimensions, time first, and the orders of the others."""
        lengths: dict[str, int] = {}
        values = list(self.known.values())
        for node in self.nodes:
            initial = getattr(node.atom, "initial", None)
            if isinstance(initial, Stream):
                values.append(stream_value(initial))
        for value in values:
            for axis, dim in enumerate(value.dims):
                lengths[dim] = max(lengths.get(dim, 0), value.array.shape[axis] - 1)
        given = self.orders_given
        dims = (
            self.dim,
            *(d for d in dict.fromkeys([*self.graph.dims, *lengths]) if d != self.dim),
        )
        unknown = [dim for dim in given if dim not in dims]
        if unknown:
            raise DimensionError(
                f"{self.calculus}: order names {', '.join(unknown)}; the run's dimensions are "
                f"{', '.join(dims)}"
            )
        return {dim: given.get(dim, lengths.get(dim, 0)) if dim != self.dim else 0 for dim in dims}

    def _network(self) -> Network:
        avals = {wire: value.aval for wire, value in self.known.items()}
        scalar = jax.ShapeDtypeStruct((), self.ts.dtype)
        avals |= {coordinate_wire(dim): scalar for dim in self.dims}
        return network(
            *(self.graph, self.nodes, avals, self.calculus, self.noise, self.sources),
            fixed_point=self.fixed_point,
        )


def only(chosen: Array, outputs: Any) -> Any:
    """The chosen rows of all arrays of a tree, NaN for the others."""

    def mask(array: Array) -> Array:
        masked = jnp.where(chosen.reshape((-1,) + (1,) * (array.ndim - 1)), array, jnp.nan)
        return jax.lax.convert_element_type(masked, array.dtype)

    return jax.tree.map(mask, outputs)


def time_dimension(graph: Graph, dim: str | None) -> str:
    """The dimension that is time: the one asked for, or the only one that registers name.

    Raises `DimensionError` where registers name several and none is asked for, or the one asked for
    is none of the circuit's.
    """
    named = tuple(dict.fromkeys(n.atom.dim for n in graph.nodes if isinstance(n.atom, State)))
    candidates = named or graph.dims
    if dim is not None:
        if graph.dims and dim not in graph.dims:
            raise DimensionError(
                f"dim={dim!r} is no dimension of the circuit; it has {', '.join(graph.dims)}"
            )
        return dim
    if len(candidates) > 1:
        raise DimensionError(
            f"the circuit's registers name {', '.join(candidates)}: say which is time by dim="
        )
    return candidates[0] if candidates else "t"
