"""The Real calculus: wires carry functions, and a register is the integral."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ..analysis import check_loops
from ..atoms.functions import Function
from ..atoms.registers import Register, State, Substitution
from ..circuit import Circuit, brief
from ..components import orders_read
from ..concrete import is_concrete
from ..errors import CircuitError, DimensionError
from ..graph import Graph, flatten
from ..series import coordinate, fitted, series
from ..status import Status
from ..stream import Stream
from ..taylor.evaluate import evaluate
from ..taylor.net import Frame, Piece, Value, Wire, promote, wire_dims
from ..taylor.network import Network, call, coordinate_wire, initial_wire, network, stream_value
from ..trajectory import Trajectory
from .adaptive import Control, Point, System, beside, integrate, no_statistics, start
from .calculus import Calculus


class Real(Calculus):
    """Functions of a real coordinate: `register(t)` is the integral from the start.

    A run takes adaptive Taylor steps. The defaults are those of machine precision; a looser `rtol`
    takes longer steps of the same order.

    **Arguments:**

    - `order`: the order of the Taylor steps, 2 or more; by default 20 in float64, 9 in float32.
      Under `compile`, the order of the series (also one for each dimension, by name).
    - `rtol`, `atol`: what error a step may make, relative to the size of each wire and absolute;
      by default the dtype's resolution, and that times `rtol`.
    - `max_steps`: how many steps a run may take.
    - `max_step`: the longest step, in units of time. Set it where an input has features that are
      narrow beside the time before them: a step cannot see what lies between the points at which it
      is checked.
    - `breakpoints`: times at which a step ends, for inputs that jump there.
    - `noise`: "off" runs a circuit with stochastic registers by its drift alone; "error" refuses.

    **Raises:** `CircuitError` for options out of range.
    """

    order: int | tuple[tuple[str, int], ...] | None = eqx.field(static=True)
    rtol: Float[Array, ""] | None
    atol: Float[Array, ""] | None
    max_steps: int = eqx.field(static=True)
    max_step: Float[Array, ""] | None
    breakpoints: Float[Array, " breakpoints"] | None
    noise: str = eqx.field(static=True)

    def __init__(
        self,
        order: int | Mapping[str, int] | None = None,
        rtol: Any = None,
        atol: Any = None,
        max_steps: int = 16**4,
        max_step: Any = None,
        breakpoints: Any = None,
        noise: str = "error",
    ):
        self.order = tuple(order.items()) if isinstance(order, Mapping) else order
        self.rtol = _number("rtol", rtol)
        self.atol = _number("atol", atol)
        self.max_step = _number("max_step", max_step)
        self.breakpoints = None if breakpoints is None else jnp.atleast_1d(_float(breakpoints))
        self.max_steps = max_steps
        self.noise = noise
        if not isinstance(max_steps, int) or max_steps < 1:
            raise CircuitError(f"Real: max_steps must be a positive integer, not {max_steps!r}")
        if noise not in ("error", "off"):
            raise CircuitError(f'Real: noise must be "error" or "off", not {noise!r}')
        for number in [n for _, n in self.order] if isinstance(self.order, tuple) else [self.order]:
            if number is not None and (not isinstance(number, int) or number < 0):
                raise CircuitError(f"Real: order must be a count, not {number!r}")

    def simulate(
        self, circuit: Circuit, ts: Array, inputs: tuple[Any, ...], dim: str | None, state: Any
    ) -> Trajectory:
        run = _Simulation(self, circuit, ts, inputs, dim)
        return run.trajectory(state)

    def compile(self, circuit: Circuit) -> Callable[[Any, Any], tuple[Any, Any]]:
        if self.order is None:
            raise CircuitError("compile needs the order of the series: Real(order=N)")
        order = dict(self.order) if isinstance(self.order, tuple) else self.order

        def run(inputs: Any, state: Any = None) -> tuple[Any, Any]:
            return series(circuit, *inputs, order=order), state

        return run

    def step_order(self, dim: str, dtype: Any) -> int:
        """The order of a Taylor step along time in a dtype."""
        orders = dict(self.order) if isinstance(self.order, tuple) else {dim: self.order}
        order = orders.get(dim)
        if order is None:
            # Jorba and Zou, section 3.2: about half the digits' natural logarithm.
            return 20 if jnp.finfo(dtype).bits > 32 else 9
        if order < 2:
            raise CircuitError(f"Real: a Taylor step has an order of 2 or more, not {order}")
        return order


class _Simulation:
    """A circuit cut at its registers along time: the system to integrate, and what to read off."""

    def __init__(
        self, real: Real, circuit: Circuit, ts: Array, inputs: tuple[Any, ...], dim: str | None
    ):
        self.real, self.ts = real, ts
        self.graph = flatten(circuit)
        self.dim = time_dimension(self.graph, dim)
        # A name that several wires bear names none of them.
        self.named = {n: wires[0] for n, wires in self.graph.names.items() if len(wires) == 1}
        self.nodes = self.graph.needed((*self.graph.outputs, *self.named.values()))
        self.known: dict[Wire, Value] = {}
        self.sources: list[Piece] = []
        for wire, source in zip(self.graph.inputs, inputs, strict=True):
            self._connect(wire, source)
        self._check()
        self.orders = self._orders()
        self.dims = tuple(self.orders)
        check_loops(self.nodes, self.dims, "Real")
        self.known = {wire: fitted(value, self.orders) for wire, value in self.known.items()}
        self.net = self._network()
        self.known |= {w: fitted(value, self.orders) for w, value in self.net.initials.items()}
        self.registers = {
            node.outs[0]: node.ins[0]
            for node in self.nodes
            if isinstance(node.atom, Register) and node.atom.dim == self.dim
        }
        depends = wire_dims(self.net.pieces, self._known_at(ts[0], {}, 0), self.dims)
        self.rest = {w: tuple(d for d in dims if d != self.dim) for w, dims in depends.items()}

    def trajectory(self, state: Point | None) -> Trajectory:
        """Runs, and evaluates the outputs at the saved states."""
        count = self.ts.shape[0]
        if self.registers:
            point = self._begin() if state is None else self._resume(state)
            system = System(self._expand, self._field, self._wire_numbers())
            run = integrate(system, self.ts, point, state is not None, self._control())
            states, found, status, point = run.saved[:count], run.count, run.status, run.point
            stats = run.statistics
        else:
            states, found, status = jnp.zeros((count, 0), self.dtype), count, Status.ok
            point, stats = start(self.ts[-1], states[0]), no_statistics(self.ts.dtype)
        reached = jnp.arange(count) < found

        def mask(array: Array) -> Array:
            shape = (-1,) + (1,) * (array.ndim - 1)
            return jnp.where(reached.reshape(shape), array, jnp.nan)

        outputs, named = jax.tree.map(mask, jax.vmap(self._outputs)(self.ts, states))
        counts = {
            "steps": stats.steps,
            "rejected": stats.rejected,
            "smallest_step": stats.smallest,
            "reached": jnp.where(found == count, self.ts[-1], point.time),
        }
        return Trajectory(self.ts, outputs, named, status, counts, point)

    @property
    def dtype(self) -> Any:
        """The dtype of the flat state."""
        if not self.registers:
            return self.ts.dtype
        return jnp.result_type(*(self.net.avals[wire].dtype for wire in self.registers))

    def _expand(self, t: Array, y: Array) -> Array:
        """The Taylor coefficients of the state about (t, y)."""
        order = self.real.step_order(self.dim, self.dtype)
        working = orders_read(self.nodes, {self.dim: order})[self.dim]
        values = self._evaluate(t, y, working, list(self.registers))
        columns = [
            promote(value, (self.dim, *self.rest[wire]), self._frame(working)).array
            for wire, value in values.items()
        ]
        flat = [array[: order + 1].reshape(order + 1, -1) for array in columns]
        return jnp.concatenate(flat, axis=1, dtype=self.dtype)

    def _field(self, t: Array, y: Array) -> Array:
        """The derivative of the state: what goes into the registers."""
        values = self._evaluate(t, y, 0, list(dict.fromkeys(self.registers.values())))
        flat = []
        for register, source in self.registers.items():
            array = self._at_zero(values[source], self.rest[register])
            flat.append(jnp.broadcast_to(array, self._state_shape(register)).reshape(-1))
        return jnp.concatenate(flat, dtype=self.dtype)

    def _outputs(self, t: Array, y: Array) -> tuple[tuple[Array, ...], dict[str, Array]]:
        """The output wires and the named ones at one time, coefficient axes last."""
        wires = list(dict.fromkeys((*self.graph.outputs, *self.named.values())))
        values = self._evaluate(t, y, 0, wires)

        def read(wire: Wire) -> Array:
            rest = self.rest[wire]
            array = self._at_zero(values[wire], rest)
            return jnp.moveaxis(array, range(len(rest)), range(-len(rest), 0))

        outputs = tuple(read(wire) for wire in self.graph.outputs)
        return outputs, {name: read(wire) for name, wire in self.named.items()}

    def _evaluate(
        self, t: Array, y: Array, order: int, wanted: Sequence[Wire]
    ) -> dict[Wire, Value]:
        """Wires about (t, y), to an order along time."""
        known = self._known_at(t, self._split(y), order)
        return evaluate(self.net.pieces, known, wanted, self._frame(order))

    def _at_zero(self, value: Value, rest: tuple[str, ...]) -> Array:
        """The value at order 0 along time, with a coefficient axis for each of `rest`."""
        if self.dim in value.dims:
            axis = value.dims.index(self.dim)
            dims = tuple(dim for dim in value.dims if dim != self.dim)
            value = Value(jax.lax.index_in_dim(value.array, 0, axis, keepdims=False), dims)
        return promote(value, rest, self._frame(0)).array

    def _frame(self, order: int) -> Frame:
        return Frame(self.dims, {**self.orders, self.dim: order}, self.net.avals)

    def _known_at(self, t: Array, contents: Mapping[Wire, Value], order: int) -> dict[Wire, Value]:
        """What is known of the net when the registers along time hold `contents` at t."""
        known = {**self.known, **contents}
        for dim in self.dims:
            along = order if dim == self.dim else self.orders[dim]
            center = t if dim == self.dim else jnp.zeros_like(t)
            # Time keeps its slope, which derivatives of what depends on it read.
            least = 1 if dim == self.dim else 0
            known[coordinate_wire(dim)] = coordinate(dim, center, max(along, least))
        return known

    def _state_shape(self, wire: Wire) -> tuple[int, ...]:
        axes = tuple(self.orders[dim] + 1 for dim in self.rest[wire])
        return (*axes, *self.net.avals[wire].shape)

    def _split(self, y: Array) -> dict[Wire, Value]:
        """The contents of the registers along time, from the flat state."""
        contents: dict[Wire, Value] = {}
        place = 0
        for wire in self.registers:
            shape = self._state_shape(wire)
            size = math.prod(shape)
            array = y[place : place + size].reshape(shape).astype(self.net.avals[wire].dtype)
            contents[initial_wire(wire)] = Value(array, self.rest[wire])
            place += size
        return contents

    def _wire_numbers(self) -> np.ndarray:
        sizes = [math.prod(self._state_shape(wire)) for wire in self.registers]
        return np.repeat(np.arange(len(sizes)), sizes)

    def _begin(self) -> Point:
        """The registers' initial contents, at the first time."""
        flat = []
        for wire in self.registers:
            value = promote(self.known[initial_wire(wire)], self.rest[wire], self._frame(0))
            # A value of fewer axes than the wire's is one value for all of them.
            count = len(self.rest[wire])
            missing = len(self._state_shape(wire)) - value.array.ndim
            array = jnp.expand_dims(value.array, range(count, count + missing))
            flat.append(jnp.broadcast_to(array, self._state_shape(wire)).reshape(-1))
        return start(self._first_time(), jnp.concatenate(flat, dtype=self.dtype))

    def _first_time(self) -> Array:
        """The time of the start, or just past it where a breakpoint stands there."""
        first = self.ts[0]
        if self.real.breakpoints is None:
            return first
        direction = jnp.where(self.ts[-1] < first, -1.0, 1.0).astype(first.dtype)
        at_start = jnp.any(self.real.breakpoints.astype(first.dtype) == first)
        return jnp.where(at_start, beside(first, direction), first)

    def _resume(self, state: Any) -> Point:
        size = len(self._wire_numbers())
        if not isinstance(state, Point) or state.state.shape != (size,):
            raise CircuitError(
                f"state must be the state of a trajectory of this circuit, with {size} numbers, "
                f"not {state!r}"
            )
        return state

    def _control(self) -> Control:
        real, dtype = self.real, jnp.finfo(self.dtype).dtype
        resolution = jnp.finfo(dtype).eps
        rtol = jnp.asarray(resolution if real.rtol is None else real.rtol, dtype)
        atol = rtol * resolution if real.atol is None else jnp.asarray(real.atol, dtype)
        time = self.ts.dtype
        longest = jnp.inf if real.max_step is None else real.max_step
        stops = jnp.zeros(0) if real.breakpoints is None else real.breakpoints
        return Control(rtol, atol, jnp.asarray(longest, time), stops.astype(time), real.max_steps)

    def _connect(self, wire: int, source: Any) -> None:
        """Drives an input wire by a constant, a function of time, or a stream."""
        if isinstance(source, Function):
            time = coordinate_wire(self.dim)
            self.sources.append(Piece((time,), (wire,), fn=lambda t: call(source, t)))
        elif isinstance(source, Stream) and self.dim in source.dims:
            self._connect_stream(wire, source)
        elif isinstance(source, Stream):
            self.known[wire] = stream_value(source)
        else:
            self.known[wire] = Value(source)

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
        for node in self.nodes:
            if isinstance(node.atom, Substitution):
                raise CircuitError(f"{brief(node.atom)} is for series only, not for simulate")

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
        given = dict(self.real.order) if isinstance(self.real.order, tuple) else {}
        dims = (
            self.dim,
            *(d for d in dict.fromkeys([*self.graph.dims, *lengths]) if d != self.dim),
        )
        unknown = [dim for dim in given if dim not in dims]
        if unknown:
            raise DimensionError(
                f"Real: order names {', '.join(unknown)}; the run's dimensions are "
                f"{', '.join(dims)}"
            )
        return {dim: given.get(dim, lengths.get(dim, 0)) if dim != self.dim else 0 for dim in dims}

    def _network(self) -> Network:
        avals = {wire: value.aval for wire, value in self.known.items()}
        scalar = jax.ShapeDtypeStruct((), self.ts.dtype)
        avals |= {coordinate_wire(dim): scalar for dim in self.dims}
        return network(self.graph, self.nodes, avals, "Real", self.real.noise, self.sources)


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


def _number(name: str, value: Any) -> Array | None:
    if value is None:
        return None
    array = _float(value)
    if array.shape != ():
        raise CircuitError(f"Real: {name} must be a number, not of shape {array.shape}")
    if is_concrete(array) and not array >= 0:
        raise CircuitError(f"Real: {name} must not be negative, but is {array}")
    return array


def _float(value: Any) -> Array:
    try:
        return jnp.asarray(value, dtype=jnp.result_type(float))
    except (TypeError, ValueError) as error:
        raise CircuitError(f"Real: expected a number, not {value!r}") from error
