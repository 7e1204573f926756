"""The types of a circuit's wires, and the wiring of typed blocks that follows from them."""

from collections import deque
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from ..circuits.assembly import Wired, assemble
from ..circuits.atoms.functions import Function
from ..circuits.atoms.registers import State, Substitution
from ..circuits.atoms.unknown import Unknown
from ..circuits.atoms.wiring import Var
from ..circuits.circuit import Atom, Block, Circuit, TypedBlock, Types
from ..circuits.constraints import resolved
from ..circuits.graph import Graph, Node, flatten
from ..circuits.stream import Stream
from ..errors import CircuitError
from .network import call, join

# How often the type of what a node drives may change: shapes only grow, and have few axes.
_MOST_CHANGES = 16
Type = jax.ShapeDtypeStruct


def settled(circuit: Circuit, types: Types) -> Circuit:
    """The circuit without typed blocks, for inputs of some types: each becomes its wiring."""
    if isinstance(circuit, TypedBlock):
        return resolved(circuit).wiring(types)
    if not any(isinstance(part, Block) for part in circuit.parts):
        return circuit
    graph = flatten(circuit, whole=True)
    if not any(isinstance(node.atom, TypedBlock) for node in graph.nodes):
        return circuit
    found = wire_types(graph, types)
    nodes = []
    for node in graph.nodes:
        atom = node.atom
        if isinstance(atom, TypedBlock):
            atom = atom.wiring([found.get(wire) for wire in node.ins])
        nodes.append(Wired(atom, node.ins, node.outs))
    fresh = -1
    for name, wires in graph.names.items():
        for wire in wires:
            nodes.append(Wired(Var(name), (wire,), (fresh,)))
            fresh -= 1
    return assemble(nodes, graph.inputs, graph.outputs)


def output_types(circuit: Circuit, types: Types) -> list[Type | None]:
    """The types of a circuit's outputs, for inputs of some types."""
    if isinstance(circuit, TypedBlock):
        return list(resolved(circuit).output_types(types))
    graph = flatten(circuit, whole=True)
    found = wire_types(graph, types)
    return [found.get(wire) for wire in graph.outputs]


def type_of(value: Any) -> Type:
    """The type of what a wire with this value carries: for a stream that of its value."""
    if isinstance(value, Stream):
        return Type(value.value_shape, value.coefficients.dtype)
    if isinstance(value, Function):  # a history in time
        return jax.eval_shape(lambda t: call(value, t), _number())[0]
    return Type(jnp.shape(value), jnp.result_type(value))


def wire_types(graph: Graph, types: Types) -> dict[int, Type]:
    """The type of each wire, as far as it is known.

    What a node drives is found when all that it reads is; a state atom has the type of its initial
    content at once. Where nothing more is found, a node goes on with the types that it has: first
    typed blocks, which then take a wire for what they say, and then atoms on loops.
    """
    found = {wire: t for wire, t in zip(graph.inputs, types, strict=True) if t is not None}
    readers: dict[int, list[int]] = {}
    for index, node in enumerate(graph.nodes):
        for wire in node.ins:
            readers.setdefault(wire, []).append(index)
    changes = [0] * len(graph.nodes)
    pending = deque(range(len(graph.nodes)))
    stuck = deque(
        sorted(pending, key=lambda index: not isinstance(graph.nodes[index].atom, TypedBlock))
    )
    while pending or stuck:
        forced = not pending
        index = (stuck if forced else pending).popleft()
        node = graph.nodes[index]
        if forced and all(wire in found for wire in node.outs):
            continue
        driven = _driven(node, [found.get(wire) for wire in node.ins], forced)
        before = [found.get(wire) for wire in node.outs]
        if driven is None or driven == before or changes[index] == _MOST_CHANGES:
            continue
        changes[index] += 1
        found.update(zip(node.outs, driven, strict=True))
        pending.extend(reader for wire in node.outs for reader in readers.get(wire, ()))
    return found


def _driven(node: Node, reads: Types, forced: bool) -> list[Type] | None:
    """The types of what a node drives; None if they are not known."""
    atom, known = node.atom, [one for one in reads if one is not None]
    if isinstance(atom, State | Unknown):
        return _held(atom, known)
    if len(known) < len(reads) and not forced:
        return None
    if isinstance(atom, TypedBlock):
        return [one for one in atom.output_types(reads) if one is not None]
    if isinstance(atom, Substitution):
        return [_number()]
    return _evaluated(atom, [_number() if one is None else one for one in reads])


def start_of(atom: Any) -> Any:
    """What a state atom holds at first, or where the solve for a wire starts; None for others."""
    return atom.guess if isinstance(atom, Unknown) else getattr(atom, "initial", None)


def _held(atom: Atom, reads: Sequence[Type]) -> list[Type] | None:
    """The type of what a state atom drives: that of what it holds, joined with what feeds it."""
    initial = start_of(atom)
    parts = ([] if initial is None else [type_of(initial)]) + list(reads[:1])
    if not parts:
        return None
    try:
        return [parts[0] if len(parts) == 1 else join(*parts)]
    except ValueError:  # the run says what is wrong
        return [parts[0]]


def _evaluated(atom: Atom, reads: Sequence[Type]) -> list[Type] | None:
    coordinates = [_number()] * len(atom.coordinates)
    try:
        return list(jax.eval_shape(lambda *values: call(atom, *values), *coordinates, *reads))
    except CircuitError:  # the run says what is wrong
        return None


def _number() -> Type:
    return Type((), jnp.result_type(float))
