"""A circuit from streams to streams: what `series` and `Real.compile` run."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from ...circuits.atoms.registers import Substitution
from ...circuits.circuit import Circuit, as_circuit
from ...circuits.components import orders_read
from ...circuits.fields import as_order, check_flag
from ...circuits.graph import Graph, flatten
from ...circuits.loops import check_loops
from ...circuits.stream import Stream
from ...circuits.terms import brief
from ...errors import CircuitError, DegreeError, DimensionError
from ...fixed_points.options import FixedPoint, Solve
from ...jaxprs.apart import MANY, apart
from ...jaxprs.compiling import Jit
from ...jaxprs.concrete import run_compiled
from ...jaxprs.meshes import without_mesh
from ...jaxprs.settings import default_promotion
from ...taylor.algebraic import distinct
from ...taylor.evaluate import evaluate
from ...taylor.net import Frame, Value, Wire, at_zero, whole_of
from ...taylor.network import coordinate_wire, network, stream_value
from ...taylor.streams import (
    Conditions,
    as_stream,
    centers,
    check,
    check_coordinates,
    coordinate,
    fitted,
)
from ...taylor.typed import settled, type_of
from ..meanings import SERIES

# How fixed points went, by the loops' names.
Solves = dict[str, Solve]


def power_series(
    circuit: Circuit,
    streams: tuple[Stream, ...],
    order: Any,
    unroll: bool,
    fixed_point: FixedPoint,
) -> Stream | tuple[Stream, ...]:
    """The streams of a circuit's outputs, one by itself. For the arguments see `series`."""
    circuit = as_circuit("series runs", circuit)
    _check_streams(circuit, streams)
    check_flag("series", "unroll", unroll)
    if not isinstance(fixed_point, FixedPoint):
        raise CircuitError(f"series: fixed_point must be a FixedPoint, not {fixed_point!r}")
    arguments = (circuit, streams, fixed_point, _counts(order), unroll)
    outputs, conditions, solves = run_compiled(_compiled, _run, *arguments)
    check(conditions)
    for name, solve in solves.items():
        solve.check(name)
    return outputs[0] if len(outputs) == 1 else outputs


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


@default_promotion()
def _run(
    circuit: Circuit, streams: tuple[Stream, ...], fixed_point: FixedPoint, order: Any, unroll: bool
) -> tuple[tuple[Stream, ...], Conditions, Solves]:
    graph = flatten(settled(circuit, [type_of(stream) for stream in streams]))
    orders = _orders(graph, streams, order)
    named = {dim for stream in streams for dim in stream.dims}
    named |= {dim for node in graph.nodes for stream in node.streams for dim in stream.dims}
    named |= dict(order).keys() if isinstance(order, tuple) else set()
    check_coordinates(graph.nodes, named)
    inside = [stream for node in graph.nodes for stream in node.streams]
    about, conditions = centers([*streams, *inside], orders)
    known: dict[Wire, Value] = {}
    for wire, stream in zip(graph.inputs, streams, strict=True):
        known[wire] = stream_value(stream)
    outputs, more, solves = _expand(graph, known, orders, about, unroll, fixed_point)
    return outputs, {**conditions, **more}, solves


_compiled = Jit(without_mesh(_run), static_argnums=(3, 4))


def _expand(
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
    found = [values[wire] for wire in graph.outputs]
    whole = whole_of(found) if len(found) >= MANY else None
    if whole is not None:
        found = [Value(array, whole.dims) for array in apart(whole.array, len(whole.dims))]
    outputs = tuple(as_stream(value, orders, frame, centers) for value in found)
    return outputs, conditions, solves


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
    (outer,), of_outer, one = _expand(outer_graph, {}, along, zero, unroll, how)
    (inner,), of_inner, other = _expand(inner_graph, fed, along, dict(centers), unroll, how)
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
