"""`series`: a circuit from streams to streams."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from ..circuits.atoms.registers import State, Substitution
from ..circuits.circuit import Circuit
from ..circuits.components import orders_read
from ..circuits.fields import as_order, check_flag
from ..circuits.graph import Graph, Node, flatten
from ..circuits.loops import check_loops
from ..circuits.stream import Stream
from ..circuits.terms import brief
from ..errors import CircuitError, DegreeError, DimensionError
from ..fixed_points.options import FixedPoint, Solve
from ..jaxprs.concrete import is_concrete, run_compiled
from ..jaxprs.meshes import without_mesh
from ..jaxprs.settings import default_promotion
from ..taylor.algebraic import distinct
from ..taylor.evaluate import evaluate
from ..taylor.net import Frame, Value, Wire, at_zero, promote, resize
from ..taylor.network import coordinate_wire, network, stream_value
from .meanings import SERIES

# What has to hold of traced numbers, by what to say where it does not.
Conditions = dict[str, jax.Array]
# How fixed points went, by the loops' names.
Solves = dict[str, Solve]


def series(
    circuit: Circuit,
    *streams: Stream,
    order: int | Mapping[str, int],
    unroll: bool = False,
    fixed_point: FixedPoint = FixedPoint(),  # noqa: B008 - frozen, and holds no array of JAX
) -> Stream | tuple[Stream, ...]:
    """The power series of a circuit's outputs, from those of its inputs.

    A register along a dimension is the integral from the centre, a deregister the derivative; every
    other atom acts on the function's value at each point. Streams are polynomials: what they do not
    give is zero. Loops that registers guard are solved order by order, in one `lax.scan`. A loop
    that no register cuts is a fixed point at order 0, and one linear solve at every order past it.

    **Arguments:**

    - `circuit`: any circuit without noise and unit delays.
    - `streams`: one for each input wire, all about one centre along each dimension.
    - `order`: the highest order to compute: a number for all dimensions, or one for each, by name.
    - `unroll`: unrolls the orders in place of a scan; may run faster at small orders, and compiles
      slower the larger they are.
    - `fixed_point`: how loops that no register cuts are solved.

    **Returns:** a stream, or a tuple of them where the circuit has not one output; coefficients of
    shape `[*value, *(order + 1)]` over all dimensions of the run: those of `order` where it names
    them, else those of the streams and then those of the circuit.

    **Raises:** `DegreeError` where the streams are not as many as the inputs, `DimensionError` for
    dimensions without an order or unknown, `LoopError` for loops that take more derivatives than
    they integrate; `SimulationError`, with status `not_converged`, for a loop without a fixed point
    that is found. Under a trace that raises nothing, and what depends on the loop is NaN.

    ```python
    grow = (ag.Add() >> ag.Split() >> ag.Id() @ ag.Register("t")).trace()
    ag.series(grow, ag.Stream([1.0], "t"), order=5)  # e^t: f = 1 + ∫ f dt
    ```
    """
    if not isinstance(circuit, Circuit):
        raise CircuitError(f"series runs a circuit, not {circuit!r}")
    _check_streams(circuit, streams)
    check_flag("series", "unroll", unroll)
    if not isinstance(fixed_point, FixedPoint):
        raise CircuitError(f"series: fixed_point must be a FixedPoint, not {fixed_point!r}")
    arguments = (circuit, streams, fixed_point, _counts(order), unroll)
    outputs, conditions, solves = run_compiled(_compiled, _run, *arguments)
    for message, holds in conditions.items():
        if is_concrete(holds) and not holds:
            raise CircuitError(message)
    for name, solve in solves.items():
        solve.check(name)
    return outputs[0] if len(outputs) == 1 else outputs


@default_promotion()
def _run(
    circuit: Circuit, streams: tuple[Stream, ...], fixed_point: FixedPoint, order: Any, unroll: bool
) -> tuple[tuple[Stream, ...], Conditions, Solves]:
    graph = flatten(circuit)
    orders = _orders(graph, streams, order)
    named = {dim for stream in streams for dim in stream.dims}
    named |= {dim for node in graph.nodes for stream in node.streams for dim in stream.dims}
    named |= dict(order).keys() if isinstance(order, tuple) else set()
    check_coordinates(graph.nodes, named)
    about, conditions = centers(graph.nodes, streams, orders)
    known: dict[Wire, Value] = {}
    for wire, stream in zip(graph.inputs, streams, strict=True):
        known[wire] = stream_value(stream)
    outputs, more, solves = expand(graph, known, orders, about, unroll, fixed_point)
    return outputs, {**conditions, **more}, solves


_compiled = jax.jit(without_mesh(_run), static_argnums=(3, 4))


def expand(
    graph: Graph,
    known: dict[Wire, Value],
    orders: dict[str, int],
    centers: dict[str, Any],
    unroll: bool,
    fixed_point: FixedPoint,
) -> tuple[tuple[Stream, ...], Conditions, Solves]:
    """The streams of a graph's outputs, from the values of its inputs; what has to hold; and how
    its fixed points went, by the loops' names."""
    nodes = graph.needed(graph.outputs)
    dims = tuple(orders)
    check_loops(nodes, dims, "Real")
    working = orders_read(nodes, orders)
    conditions: Conditions = {}
    solves: Solves = {}
    for dim in {dim for node in nodes for dim in node.atom.coordinates}:
        known[coordinate_wire(dim)] = coordinate(dim, centers[dim], working[dim])
    for node in nodes:
        if isinstance(node.atom, Substitution):
            value, more, inside = _substitution(node.atom, working, centers, unroll, fixed_point)
            known[node.outs[0]] = value
            conditions |= more
            _add(solves, inside)
    known = {wire: fitted(value, working) for wire, value in known.items()}
    first = {wire: at_zero(value) for wire, value in known.items()}
    net = network(graph, nodes, first, dict.fromkeys(dims, SERIES), fixed_point=fixed_point)
    initials = {wire: fitted(value, working) for wire, value in net.initials.items()}
    frame = Frame(dims, working, net.avals, unroll)
    facts = [wire for loop in net.loops for wire in loop.facts]
    values = evaluate(net.pieces, {**known, **initials}, [*graph.outputs, *facts], frame)
    own = {loop.name: Solve(*(at_zero(values[w]) for w in loop.facts)) for loop in net.loops}
    _add(solves, own)
    center = _stack_centers([centers[dim] for dim in dims])
    outputs = tuple(_stream(values[wire], orders, frame, center) for wire in graph.outputs)
    return outputs, conditions, solves


def fitted(value: Value, orders: Mapping[str, int]) -> Value:
    """A value with as many coefficients along each of its dimensions as the orders ask for."""
    array = value.array
    for axis, dim in enumerate(value.dims):
        if dim not in orders:
            raise DimensionError(
                f"a stream along {dim} is given, but the run's dimensions are "
                f"{', '.join(orders) or 'none'}"
            )
        array = resize(array, orders[dim] + 1, axis)
    return Value(array, value.dims)


def _stream(value: Value, orders: Mapping[str, int], frame: Frame, center: Any) -> Stream:
    array = promote(value, frame.dims, frame).array
    for axis, dim in enumerate(frame.dims):
        array = resize(array, orders[dim] + 1, axis)
    count = len(frame.dims)
    return Stream(jnp.moveaxis(array, range(count), range(-count, 0)), frame.dims, center)


def coordinate(dim: str, center: Any, order: int) -> Value:
    """The coordinate along `dim` as a series about `center`."""
    center = jnp.asarray(center)
    return Value(resize(jnp.stack([center, jnp.ones_like(center)]), order + 1), (dim,))


def _substitution(
    atom: Substitution,
    orders: Mapping[str, int],
    centers: Mapping[str, Any],
    unroll: bool,
    fixed_point: FixedPoint,
) -> tuple[Value, Conditions, Solves]:
    """outer(inner(t)) by Horner's rule on truncated series."""
    along = {atom.dim: orders[atom.dim]}
    for role, circuit in (("outer", atom.outer), ("inner", atom.inner)):
        others = set(flatten(circuit).dims) - {atom.dim}
        if others:
            raise DimensionError(
                f"{brief(atom)}: the {role} series may depend on {atom.dim} only, not on "
                f"{', '.join(sorted(others))}"
            )
    outer_graph, inner_graph = flatten(atom.outer), flatten(atom.inner)
    along_dim = coordinate(atom.dim, centers[atom.dim], along[atom.dim])
    zero = {atom.dim: jnp.zeros_like(jnp.asarray(centers[atom.dim]))}
    fed: dict[Wire, Value] = {inner_graph.inputs[0]: along_dim}
    # Guesses name wires of the circuit, not of what it substitutes.
    how = dataclasses.replace(fixed_point, guess={})
    (outer,), of_outer, one = expand(outer_graph, {}, along, zero, unroll, how)
    (inner,), of_inner, other = expand(inner_graph, fed, along, dict(centers), unroll, how)
    if outer.value_shape or inner.value_shape:
        raise CircuitError(f"{brief(atom)}: power series are composed of scalar values only")
    length = along[atom.dim] + 1
    offset = jnp.arange(length)[:, None] - jnp.arange(length)[None, :]
    powers = jnp.where(offset >= 0, inner.coefficients[jnp.maximum(offset, 0)], 0)

    def step(total, coefficient):
        return (powers @ total).at[0].add(coefficient), None

    start = jnp.zeros(length, jnp.result_type(outer.coefficients, inner.coefficients))
    total, _ = jax.lax.scan(step, start, outer.coefficients, reverse=True)
    vanishes = inner.coefficients[0] == 0
    message = f"{brief(atom)}: the inner series must vanish at the centre along {atom.dim}"
    value = Value(jnp.where(vanishes, total, jnp.nan), (atom.dim,))
    _add(one, other)
    return value, {**of_outer, **of_inner, message: vanishes}, one


def _add(solves: Solves, more: Solves) -> None:
    """Adds solves, with numbers for loops of the same name."""
    for name, solve in more.items():
        solves[distinct(name, solves)] = solve


def _check_streams(circuit: Circuit, streams: tuple[Any, ...]) -> None:
    if len(streams) != circuit.n_in:
        raise DegreeError(
            f"{brief(circuit)} takes {circuit.n_in} input{'s'[: circuit.n_in != 1]}, but "
            f"{len(streams)} stream{'s were' if len(streams) != 1 else ' was'} given"
        )
    for stream in streams:
        if not isinstance(stream, Stream):
            raise CircuitError(
                f"series takes streams, not {type(stream).__name__}; a function that does not "
                'change is Stream([value], "t")'
            )


def _counts(order: Any) -> int | tuple[tuple[str, int], ...]:
    """The orders asked for as plain integers, to compile by."""
    if isinstance(order, Mapping):
        return tuple(
            (dim, as_order(f"series: order along {dim}", number)) for dim, number in order.items()
        )
    return as_order("series: order", order)


def _orders(
    graph: Graph, streams: Sequence[Stream], order: int | tuple[tuple[str, int], ...]
) -> dict[str, int]:
    """The run's dimensions and their orders."""
    dims = tuple(dict.fromkeys([*(dim for s in streams for dim in s.dims), *graph.dims]))
    if isinstance(order, int):
        return dict.fromkeys(dims, order)
    orders = dict(order)
    missing = [dim for dim in dims if dim not in orders]
    unknown = [str(dim) for dim in orders if dim not in dims]
    if missing or unknown:
        fault = f"none for {', '.join(missing)}" if missing else f"one for {', '.join(unknown)}"
        raise DimensionError(
            f"order must have a number for each of {', '.join(dims) or 'no dimension'}; it has "
            f"{fault}"
        )
    return orders


def centers(
    nodes: Sequence[Node], streams: Sequence[Stream], orders: Mapping[str, int]
) -> tuple[dict[str, Any], Conditions]:
    """The centre along each dimension: that of the streams that have it, else 0."""
    streams = [*streams, *(stream for node in nodes for stream in node.streams)]
    dtype = jnp.result_type(*(s.center for s in streams)) if streams else jnp.result_type(float)
    about: dict[str, Any] = {}
    conditions: Conditions = {}
    for dim in orders:
        found = [stream.center_of(dim).astype(dtype) for stream in streams if dim in stream.dims]
        about[dim] = found[0] if found else jnp.zeros((), dtype)
        if len(found) > 1:
            one = jnp.stack(found) == found[0]
            conditions[f"the streams along {dim} are about different centres"] = one.all()
            about[dim] = jnp.where(one.all(), found[0], jnp.nan)
    return about, conditions


def check_coordinates(nodes: Sequence[Node], named: Iterable[str]) -> None:
    """Raises for a coordinate that neither a state atom names nor `named` has: it would be 0."""
    dims = {*named, *(node.atom.dim for node in nodes if isinstance(node.atom, State))}
    for node in nodes:
        for dim in node.atom.coordinates:
            if dims and dim not in dims:
                raise DimensionError(
                    f"{brief(node.atom)}: no register, stream or dim is along {dim}; the run's "
                    f"dimensions are {', '.join(sorted(dims))}",
                    atoms=[node.atom],
                )


def _stack_centers(centers: list[Any]) -> Any:
    return jnp.stack(centers) if centers else 0.0
