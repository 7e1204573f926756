"""`simplify`: a circuit without the nodes that it does not need."""

import dataclasses
from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import Any

import equinox as eqx
import jax
import numpy as np

from ...circuits.assembly import Wired, assemble
from ...circuits.atoms.arithmetic import Add, Multiplication, Power
from ...circuits.atoms.events import Hybrid
from ...circuits.atoms.registers import (
    Delay,
    Deregister,
    Register,
    State,
    StochasticRegister,
    Substitution,
)
from ...circuits.atoms.wiring import Discard, Var, Wiring
from ...circuits.circuit import Atom, Block, Circuit
from ...circuits.graph import Graph, flatten
from ...errors import CircuitError
from ...jaxprs.concrete import is_concrete
from ...jaxprs.program import Program, trace
from .rows import row_by_row

# Terms with rows of more wires would be longer than they are clear.
_WIDEST = 12
# State atoms of which two that hold and read the same are one. Others may be noise of their own.
_ALIKE = (Register, Deregister, StochasticRegister, Delay, Hybrid)


def simplify(circuit: Circuit) -> Circuit:
    """A circuit of the same outputs with fewer nodes, where it has some that it does not need.

    It drops nodes on which neither an output nor a named wire depends, joins nodes that are alike
    and read the same wires, and takes out atoms that pass one wire through: sums and products of
    one wire, and `Power(1)`. Wires are routed anew. The nodes that stay do what they did, in the
    same order, so outputs have the same values and derivatives. Runs leave out what no output
    needs anyway, so what is dropped changes neither their steps nor their `status`.

    Numbers are free: each may change later, by a fit or by `update`, so none is computed from
    others, and `Scalar(1.0)` stays. Nodes are alike where a block has their numbers from the same
    parameters, or writes the same number out. Two parameters that are equal now are two. The
    functions of `ag.ode` and `@ag.circuit` stay whole.

    **Arguments:** `circuit`: any circuit.

    **Returns:** the circuit itself where there is nothing to do; of atoms, a circuit of atoms,
    whose parameters are those of the atoms that stay; of blocks, a block with all the parameters of
    the circuit by their names.

    **Raises:** `LoopError` for a closed loop without an atom that an output reads.

    ```python
    twice = ag.Split() >> ag.Sin() @ ag.Sin() >> ag.Add()
    ag.simplify(twice)  # one sine, split in two
    ```
    """
    if not isinstance(circuit, Circuit):
        raise CircuitError(f"simplify takes a circuit, not {type(circuit).__name__}")
    plan, count = _planned(circuit)
    if not (plan.nodes or plan.inputs or plan.names):
        return circuit  # 0 -> 0: there is no circuit of nothing
    if any(isinstance(part, Block) for part in circuit.parts):
        return Simplified(circuit, plan) if len(plan.nodes) < count else circuit
    atoms = [part for part in circuit.parts if not isinstance(part, Wiring)]
    found = plan.circuit(atoms)
    shorter = len(found.shape) < len(circuit.shape)
    return found if shorter or len(plan.nodes) < count else circuit


@dataclasses.dataclass(frozen=True)
class Kept:
    """A node that stays, by its index in the graph, with the wires that it reads and drives."""

    index: int
    reads: tuple[int, ...]
    drives: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Plan:
    """What stays of a circuit's graph. It holds for all values of the circuit's numbers.

    `names` are wires by name, of which there may be several.
    """

    nodes: tuple[Kept, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    names: tuple[tuple[str, int], ...]

    def circuit(self, atoms: Any) -> Circuit:
        """The circuit, from the atoms of all nodes of the graph."""
        nodes = [Wired(atoms[node.index], node.reads, node.drives) for node in self.nodes]
        found = row_by_row(nodes, self.inputs, self.outputs, self.names, _WIDEST)
        if found is not None:
            return found
        names: dict[str, int] = {}
        for name, wire in self.names:
            if names.setdefault(name, wire) != wire:
                nodes.append(Wired(Var(name) >> Discard(), (wire,), ()))
        return assemble(nodes, self.inputs, self.outputs, names)


class Simplified(Block):
    """A circuit with blocks in it, simplified. Its parameters are those of the circuit."""

    original: Circuit
    plan: Plan = eqx.field(static=True, repr=False)
    by_name = ("original",)

    def circuit(self) -> Circuit:
        graph = flatten(self.original, whole=True)
        return self.plan.circuit([node.atom for node in graph.nodes])

    def text(self) -> str:
        return str(self.circuit())


def _planned(circuit: Circuit) -> tuple[Plan, int]:
    """What stays of a circuit, and how many nodes it had."""
    leaves, structure = jax.tree.flatten(circuit)
    graphs: list[Graph] = []

    def numbers(*leaves: Any) -> list[Any]:
        graph = flatten(jax.tree.unflatten(structure, leaves), whole=True)
        graphs.append(graph)
        return [number for node in graph.nodes for number in jax.tree.leaves(node.atom)]

    program = trace(numbers, *(jax.ShapeDtypeStruct(x.shape, x.dtype) for x in leaves))
    graph = graphs[-1]
    known = _known(program)
    labels = [_label(node.atom, known) for node in graph.nodes]
    return _plan(graph, labels), len(graph.nodes)


def _known(program: Program) -> Iterator[int]:
    """The outputs of a program, by numbers that are equal for what is equal at all inputs.

    So a parameter is known from a number that a block writes out, what a block computes twice is
    one number, and two parameters that are equal by chance are two.
    """
    keys: dict[Hashable, int] = {}
    found = {value: keys.setdefault(("input", value), len(keys)) for value in program.inputs}
    for value, constant in program.constants.items():
        array = np.asarray(constant) if is_concrete(constant) else None
        key = value if array is None else (str(array.dtype), array.shape, array.tobytes())
        found[value] = keys.setdefault(("constant", key), len(keys))
    for equation in program.equations:
        numbers = found | dict.fromkeys(equation.outs, -1)
        key = equation.renumbered(numbers).key
        for index, value in enumerate(equation.outs):
            found[value] = keys.setdefault((key or value, index), len(keys))
    return iter([found[value] for value in program.outputs])


def _plan(graph: Graph, labels: Sequence[Hashable | None]) -> Plan:
    joined = _joined(graph, labels)

    def read(wire: int) -> int:
        while wire in joined:
            wire = joined[wire]
        return wire

    names = tuple(
        dict.fromkeys((name, read(wire)) for name, wires in graph.names.items() for wire in wires)
    )
    outputs = tuple(read(wire) for wire in graph.outputs)
    ends = [*outputs, *(wire for _, wire in names)]
    nodes = [
        Kept(index, tuple(read(wire) for wire in node.ins), node.outs)
        for index, node in enumerate(graph.nodes)
    ]
    sources = {wire: node for node in nodes for wire in node.drives}
    needed: set[int] = set()
    while ends:
        node = sources.get(ends.pop())
        if node is not None and node.index not in needed:
            needed.add(node.index)
            ends.extend(node.reads)
    kept = tuple(node for node in nodes if node.index in needed)
    return Plan(kept, graph.inputs, outputs, names)


def _joined(graph: Graph, labels: Sequence[Hashable | None]) -> Mapping[int, int]:
    """Wires that carry what an earlier wire carries, each with that wire."""
    joined: dict[int, int] = {}

    def read(wire: int) -> int:
        while wire in joined:
            wire = joined[wire]
        return wire

    changed = True
    while changed:
        changed = False
        known: dict[Hashable, tuple[int, ...]] = {}
        for node, kind in zip(graph.nodes, labels, strict=True):
            if node.outs and node.outs[0] in joined:
                continue
            reads = tuple(map(read, node.ins))
            if _passes(node.atom) and reads[0] != node.outs[0]:
                joined[node.outs[0]] = reads[0]
                changed = True
            elif kind is not None and node.outs:
                first = known.setdefault((kind, reads), node.outs)
                if first is not node.outs:
                    joined.update(zip(node.outs, first, strict=True))
                    changed = True
    return joined


def _passes(atom: Any) -> bool:
    """Whether an atom passes its only wire through."""
    if isinstance(atom, Add | Multiplication):
        return atom.n == 1
    return isinstance(atom, Power) and atom.integer == 1


def _label(atom: Any, known: Iterator[int]) -> Hashable | None:
    """Equal for atoms that drive the same wires where they read the same; None of others.

    `known` gives the numbers of the atom.
    """
    leaves, structure = jax.tree.flatten(atom)
    label = structure, tuple(next(known) for _ in leaves)
    if not isinstance(atom, Atom) or isinstance(atom, Substitution):
        return None
    if isinstance(atom, State) and not isinstance(atom, _ALIKE):
        return None
    try:
        hash(label)
    except TypeError:
        return None  # static fields of an own atom that cannot be compared
    return label
