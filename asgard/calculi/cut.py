"""A circuit cut at its state atoms along time, with its inputs connected; for every calculus."""

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from ..circuits.atoms.functions import Function
from ..circuits.atoms.registers import State
from ..circuits.circuit import Circuit
from ..circuits.components import edges, lags
from ..circuits.graph import Graph, Node, flatten
from ..circuits.loops import check_loops
from ..circuits.samples import Samples
from ..circuits.stream import Stream
from ..circuits.terms import brief
from ..errors import CircuitError, DimensionError, LoopError
from ..fixed_points.options import FixedPoint, check_fixed_point
from ..jaxprs.own_functions import check_takes
from ..taylor.algebraic import Algebraic
from ..taylor.evaluate import needed
from ..taylor.net import Frame, Piece, Value, Wire, at_zero, promote, wire_dims
from ..taylor.network import (
    Meanings,
    Network,
    call,
    coordinate_wire,
    initial_wire,
    network,
    stream_value,
)
from ..taylor.streams import centers, check_coordinates, fitted
from ..taylor.typed import settled, type_of
from .meanings import REAL

# Orders by dimension.
Orders = Mapping[str, int]


@dataclasses.dataclass(frozen=True)
class Cut:
    """A circuit whose state atoms along time are cut, with its inputs connected.

    - `calculus`: the name that errors give.
    - `graph`, `nodes`: the wiring graph, and those of its nodes that outputs and names depend on.
    - `named`: the wires that one `Var` names, by name.
    - `dim`: the dimension that is time. `orders` has the order along every dimension of the run,
      time first, which is 0; `centers` the centre along every dimension.
    - `net`: the pieces that the calculus and the inputs give; `known`, the values of constant
      inputs and of initial contents.
    - `rest`: for each wire, the dimensions other than time that it depends on.
    - `stops`: the times at which samples begin and end, `[samples]` for each input that has some.
    """

    calculus: str
    graph: Graph
    nodes: tuple[Node, ...]
    named: dict[str, int]
    dim: str
    orders: dict[str, int]
    centers: dict[str, Array]
    net: Network
    known: dict[Wire, Value]
    rest: dict[Wire, tuple[str, ...]]
    stops: tuple[Array, ...]

    @classmethod
    def of(
        cls,
        circuit: Circuit,
        time: Array,
        inputs: tuple[Any, ...],
        dim: str | None,
        *,
        calculus: str,
        meanings: Meanings,
        fixed_point: FixedPoint,
        orders: Orders | None = None,
        held_at: Callable[[Array], Array] = lambda t: t,
    ) -> "Cut":
        """Cuts a circuit.

        **Arguments:**

        - `time`: the first time, of the run's dtype.
        - `inputs`: one for each input wire: an array, a `Function` of time, `Samples`, a `Stream`.
        - `dim`: the dimension that is time, or None for the only one that registers name.
        - `calculus`: the name that errors give.
        - `meanings`: what atoms along time mean.
        - `fixed_point`: how loops that no register cuts are solved.
        - `orders`: those asked for along the dimensions that are not time, by name.
        - `held_at`: for a time, the time at which samples that are held are read.

        **Raises:** `CircuitError` or one of its kind where the calculus cannot run the circuit.
        """
        check_fixed_point(calculus, fixed_point)
        graph = flatten(settled(circuit, [_type(source, time) for source in inputs]))
        dim = time_dimension(graph, dim)
        # A name that several wires bear names none of them.
        named = {name: wires[0] for name, wires in graph.names.items() if len(wires) == 1}
        nodes = graph.needed((*graph.outputs, *named.values()))
        connected = _Inputs(dim, held_at, _precision(nodes))
        for wire, source in zip(graph.inputs, inputs, strict=True):
            connected.connect(wire, source)
        found = _orders(graph, nodes, dim, connected.known, orders or {}, calculus)
        _check(nodes, found, dim, calculus)
        _check_meanings(nodes, dim, meanings, calculus)
        first = {wire: at_zero(value) for wire, value in connected.known.items()}
        first |= {coordinate_wire(d): time if d == dim else jnp.zeros_like(time) for d in found}
        tables = {**dict.fromkeys((*found, *graph.dims), REAL), dim: meanings}
        net = network(graph, nodes, first, tables, connected.sources, fixed_point)
        known = {w: fitted(v, found) for w, v in {**connected.known, **net.initials}.items()}
        about, known = _centers(nodes, inputs, found, dim, known)
        rest = _rest(net, known, dim, tuple(found))
        stops = tuple(connected.stops)
        return cls(calculus, graph, nodes, named, dim, found, about, net, known, rest, stops)

    @property
    def shown(self) -> tuple[Wire, ...]:
        """The output wires and the named ones."""
        return tuple(dict.fromkeys((*self.graph.outputs, *self.named.values())))

    @property
    def output_names(self) -> tuple[str, ...]:
        """What errors call the output wires, and the named ones after them.

        Of several names of a wire it is the first, as for registers.
        """
        name = {wire: name for name, wire in reversed(self.named.items())}
        count = len(self.graph.outputs)
        outputs = (
            name.get(wire, f"output {index}" if count > 1 else "the output")
            for index, wire in enumerate(self.graph.outputs)
        )
        return (*outputs, *self.named)

    @property
    def loop_names(self) -> tuple[str, ...]:
        """What errors call the loops that are solved as fixed points, with the names of what is
        solved for."""
        found = []
        for loop in self.net.loops:
            names = [name for name, wire in self.named.items() if wire in loop.unknowns]
            found.append(f"{loop.name} (solved for {', '.join(names)})" if names else loop.name)
        return tuple(found)

    def check_digits(self, registers: Iterable[Wire]) -> None:
        """Raises `CircuitError` where a register, by the wire that it drives, holds numbers of
        fewer digits than float32 has: too few to control an error by."""
        for wire in registers:
            dtype = self.net.avals[wire].dtype
            if jnp.finfo(dtype).bits >= 32:
                continue
            names = [f"{name!r}" for name, own in self.named.items() if own == wire]
            raise CircuitError(
                f"{self.calculus}: states are in float32 or float64, and what "
                f"{' or '.join(names) or 'a register'} holds is in {dtype}: give its initial value "
                "in float32; parameters and weights may keep their dtype"
            )

    def loops_behind(self, wires: Iterable[Wire]) -> list[Algebraic]:
        """The loops without registers on which some wires depend, registers' inputs included."""
        inside = needed(self.net.pieces, self.known, list(wires))
        driven = {wire for piece in inside for wire in piece.outs}
        return [loop for loop in self.net.loops if driven.issuperset(loop.unknowns)]

    def guess(self, loop: Algebraic) -> list[Array]:
        """Where the first solve of a loop starts, of the types of its unknowns."""
        avals = [self.net.avals[wire] for wire in loop.unknowns]
        return [
            jnp.broadcast_to(self.known[wire].array, aval.shape).astype(aval.dtype)
            for wire, aval in zip(loop.guesses, avals, strict=True)
        ]

    def state_shape(self, wire: Wire) -> tuple[int, ...]:
        """The shape of what a register holds: coefficient axes of `rest`, then the value's axes."""
        axes = tuple(self.orders[dim] + 1 for dim in self.rest[wire])
        return (*axes, *self.net.avals[wire].shape)

    def initial(self, wire: Wire) -> Array:
        """The initial content of the register that drives a wire, of `state_shape`."""
        frame = Frame(tuple(self.orders), self.orders, self.net.avals)
        value = promote(self.known[initial_wire(wire)], self.rest[wire], frame)
        # A value of fewer axes than the wire's is one value for all of them.
        count, shape = len(self.rest[wire]), self.state_shape(wire)
        array = jnp.expand_dims(value.array, range(count, count + len(shape) - value.array.ndim))
        return jnp.broadcast_to(array, shape)


class _Inputs:
    """What drives the input wires: known values, pieces that read time, and samples' times."""

    def __init__(self, dim: str, held_at: Callable[[Array], Array], precision: Any):
        self.dim, self.held_at, self.precision = dim, held_at, precision
        self.known: dict[Wire, Value] = {}
        self.sources: list[Piece] = []
        self.stops: list[Array] = []

    def connect(self, wire: int, source: Any) -> None:
        """Drives an input wire by a constant, a function of time, samples, or a stream."""
        if isinstance(source, Function):
            self._of_time(wire, lambda t: call(source, t))
        elif isinstance(source, Samples):
            self._samples(wire, source)
        elif isinstance(source, Stream) and self.dim in source.dims:
            self._stream(wire, source)
        else:
            self.known[wire] = stream_value(source) if isinstance(source, Stream) else Value(source)

    def _of_time(self, wire: int, fn: Callable[..., Any], others: Sequence[Wire] = ()) -> None:
        self.sources.append(Piece((coordinate_wire(self.dim), *others), (wire,), fn=fn))

    def _samples(self, wire: int, samples: Samples) -> None:
        """A piecewise polynomial in time, in the precision to which steps are checked."""
        interpolant = samples.interpolant(jnp.result_type(samples.values, *self.precision))
        self.stops.append(interpolant.origins[1:])
        read_at = self.held_at if samples.kind == "hold" else lambda t: t
        self._of_time(wire, lambda t: (interpolant(read_at(t)),))

    def _stream(self, wire: int, stream: Stream) -> None:
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

        self._of_time(wire, polynomial, coefficients)


def _type(source: Any, time: Array) -> jax.ShapeDtypeStruct:
    """The type of what an input wire carries."""
    if isinstance(source, Function):
        return jax.eval_shape(lambda t: call(source, t), time)[0]
    if isinstance(source, Samples):
        return jax.ShapeDtypeStruct(source.values.shape[1:], source.values.dtype)
    return type_of(source)


def _precision(nodes: Sequence[Node]) -> list[Any]:
    """The real dtypes of the circuit's numbers."""
    return [jnp.finfo(x.dtype).dtype for x in jax.tree.leaves([node.atom for node in nodes])]


def _orders(
    graph: Graph,
    nodes: Sequence[Node],
    dim: str,
    known: Mapping[Wire, Value],
    given: Orders,
    calculus: str,
) -> dict[str, int]:
    """The run's dimensions, time first, with their orders: those given, else those of streams."""
    lengths: dict[str, int] = {}
    initials = [stream_value(stream) for node in nodes for stream in node.streams]
    for value in (*known.values(), *initials):
        for axis, name in enumerate(value.dims):
            lengths[name] = max(lengths.get(name, 0), value.array.shape[axis] - 1)
    check_coordinates(nodes, {dim, *lengths, *given})
    dims = (dim, *(name for name in dict.fromkeys([*graph.dims, *lengths]) if name != dim))
    unknown = [name for name in given if name not in dims]
    if unknown:
        raise DimensionError(
            f"{calculus}: order names {', '.join(unknown)}; the run's dimensions are "
            f"{', '.join(dims)}"
        )
    return {name: given.get(name, lengths.get(name, 0)) if name != dim else 0 for name in dims}


def _check(nodes: Sequence[Node], orders: Orders, dim: str, calculus: str) -> None:
    """Raises for what the series engine runs, but not over time."""
    for node in nodes:
        own = getattr(node.atom, "dim", None) == dim
        if not own and any(dim in stream.dims for stream in node.streams):
            raise DimensionError(
                f"{brief(node.atom)}: the initial content changes along {dim}, which is the run's "
                "time; series runs it, and so does simulate along another dim",
                atoms=[node.atom],
            )
    check_loops(nodes, tuple(orders), calculus)
    if lags(nodes, edges(nodes), dim) is None:
        raise LoopError(
            f"along {dim} a loop takes as many derivatives as it integrates, or more, so {dim} "
            "cannot be the run's time: choose another by dim="
        )


def _check_meanings(nodes: Sequence[Node], dim: str, meanings: Meanings, calculus: str) -> None:
    """Raises where a table gives a state atom along time no meaning, or one that is none."""
    if not isinstance(meanings, Mapping) or not all(isinstance(kind, type) for kind in meanings):
        raise CircuitError(
            f"{calculus}: meanings must be a dictionary from classes of atoms, such as "
            f"{{ag.Register: register}}, not {meanings!r:.60}"
        )
    for node in nodes:
        atom = node.atom
        if not isinstance(atom, State) or atom.dim != dim:
            continue
        kind = next((kind for kind in type(atom).__mro__ if kind in meanings), None)
        if kind is None:
            raise CircuitError(
                f"{brief(atom)} has no meaning under {calculus}, whose table has no entry for "
                f"{type(atom).__name__}",
                atoms=[atom],
            )
        meaning, what = meanings[kind], f"{calculus}: the meaning of {kind.__name__}"
        if isinstance(meaning, str):
            continue
        if not callable(meaning):
            raise CircuitError(
                f"{what} must be a function of its node or the text of an error, not {meaning!r}"
            )
        check_takes(what, meaning, "a node of the graph")


def _centers(
    nodes: Sequence[Node],
    inputs: tuple[Any, ...],
    orders: Orders,
    dim: str,
    known: dict[Wire, Value],
) -> tuple[dict[str, Array], dict[Wire, Value]]:
    """The centre along every dimension but time, and the known values.

    Streams about different centres make every value NaN: no error can be raised in a trace.
    """
    others = {name: order for name, order in orders.items() if name != dim}
    streams = [source for source in inputs if isinstance(source, Stream)]
    inside = [stream for node in nodes for stream in node.streams]
    found, conditions = centers([*streams, *inside], others)
    for agrees in conditions.values():
        known = {
            wire: Value(jnp.where(agrees, value.array, jnp.nan), value.dims)
            for wire, value in known.items()
        }
    return found, known


def _rest(
    net: Network, known: Mapping[Wire, Value], dim: str, dims: tuple[str, ...]
) -> dict[Wire, tuple[str, ...]]:
    """For each wire the dimensions other than time that it depends on."""
    zero = jnp.zeros(())
    coordinates = {coordinate_wire(name): Value(zero, (name,)) for name in dims}
    others = tuple(name for name in dims if name != dim)
    return wire_dims(net.pieces, {**known, **coordinates}, others)


def time_dimension(graph: Graph, dim: str | None) -> str:
    """The dimension that is time: the one asked for, or the only one that registers name.

    Raises `DimensionError` if registers name several and none is asked for, or if the circuit does
    not have the one asked for.
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
