"""The wiring graph of a circuit: its atoms as nodes, joined by wires.

Terms that a law of traced monoidal categories makes equal have the same graph, up to names;
`canonical` is a form without names, to compare them by. Wires are numbers. A wire has one source (a
node's output or an input of the circuit) and any number of readers. Wiring atoms only join wires,
and blocks are replaced by their circuits.
"""

import dataclasses
import functools
from collections.abc import Hashable, Iterable, Sequence
from typing import Any

import equinox as eqx
import jax
import numpy as np

from ..errors import CircuitError, LoopError
from ..jaxprs.concrete import is_concrete
from ..jaxprs.own_functions import NOT_TRACEABLE
from .atoms.registers import State
from .atoms.wiring import Var, Wiring
from .circuit import Atom, Block, Circuit, TypedBlock
from .constraints import resolved
from .stream import Stream


@dataclasses.dataclass(frozen=True)
class Node:
    """An atom with the wires it reads and the wires it drives.

    `atom` is a block where `flatten` was told to leave it whole.
    """

    atom: Any
    ins: tuple[int, ...]
    outs: tuple[int, ...]

    def delay(self, dim: str) -> int:
        """What the node adds to the delay of a cycle along `dim`."""
        return self.atom.delay if isinstance(self.atom, State) and self.atom.dim == dim else 0

    @property
    def streams(self) -> tuple[Stream, ...]:
        """The streams that the node holds: an initial content over other dimensions."""
        initial = getattr(self.atom, "initial", None)
        return (initial,) if isinstance(self.atom, State) and isinstance(initial, Stream) else ()


@dataclasses.dataclass(frozen=True)
class Graph:
    """Nodes in order of appearance, the circuit's input and output wires, and wires by name."""

    nodes: tuple[Node, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    names: dict[str, tuple[int, ...]]

    @functools.cached_property
    def dims(self) -> tuple[str, ...]:
        """Every dimension that a node names, in order of appearance."""
        found: dict[str, None] = {}
        for node in self.nodes:
            if isinstance(node.atom, State):
                found[node.atom.dim] = None
            for stream in node.streams:
                found.update(dict.fromkeys(stream.dims))
            found.update(dict.fromkeys(node.atom.coordinates))
            inner = getattr(node.atom, "dim", None)
            if inner is not None:
                found[inner] = None
        return tuple(found)

    def needed(self, wires: Iterable[int]) -> tuple[Node, ...]:
        """The nodes on which these wires depend, in their order."""
        source = {wire: index for index, node in enumerate(self.nodes) for wire in node.outs}
        pending = list(wires)
        kept: set[int] = set()
        while pending:
            index = source.get(pending.pop())
            if index is not None and index not in kept:
                kept.add(index)
                pending.extend(self.nodes[index].ins)
        return tuple(self.nodes[index] for index in sorted(kept))


def flatten(circuit: Circuit, whole: bool = False, depth: int | None = None) -> Graph:
    """The wiring graph of a circuit. `whole` leaves each typed block in it as one node.

    `depth` opens blocks, and blocks in these, that many levels deep, and leaves what is in there as
    one node each; None opens all.

    Raises `LoopError` if an output or node reads a closed loop that holds no node.
    """
    wires = _Wires(whole, depth)
    ins, outs = wires.expand(resolved(circuit))
    return wires.resolve(ins, outs)


class _Wires:
    """Wires under construction. An input of a node is a wire that is joined to its source later."""

    def __init__(self, whole: bool, depth: int | None):
        self.whole = whole
        self.depth = depth
        self.count = 0
        self.source: dict[int, int] = {}
        self.nodes: list[Node] = []
        self.names: dict[str, list[int]] = {}

    def fresh(self, count: int) -> list[int]:
        self.count += count
        return list(range(self.count - count, self.count))

    def expand(self, circuit: Circuit) -> tuple[list[int], list[int]]:
        """The input and output wires of a circuit.

        The open wires of all subterms so far lie side by side, so joining subterms moves only what
        a combinator closes.
        """
        parts = iter(circuit.parts)
        ins: list[int] = []
        outs: list[int] = []
        starts: list[tuple[int, int]] = []  # where each subterm's wires start in `ins` and `outs`
        for combinator, count in circuit.shape:
            if combinator == "part":
                starts.append((len(ins), len(outs)))
                own = self._part(next(parts))
                ins += own[0]
                outs += own[1]
            elif combinator == "trace":
                self.source.update(zip(ins[-count:], outs[-count:], strict=True))
                del ins[-count:], outs[-count:]
            else:
                joined = starts[-count:]
                del starts[1 - count :]
                if combinator == "composition":
                    inner_ins, inner_outs = (
                        slice(joined[1][0], None),
                        slice(joined[0][1], joined[-1][1]),
                    )
                    self.source.update(zip(ins[inner_ins], outs[inner_outs], strict=True))
                    del ins[inner_ins], outs[inner_outs]
        return ins, outs

    def _part(self, part: Circuit) -> tuple[list[int], list[int]]:
        block = isinstance(part, Block)
        folded = block and (self.depth == 0 or (self.whole and isinstance(part, TypedBlock)))
        if isinstance(part, Block) and not folded:
            return self._opened(part)
        if not isinstance(part, Atom) and not folded:
            raise CircuitError(f"a circuit is built of atoms and blocks, not {type(part).__name__}")
        ins = self.fresh(part.n_in)
        if isinstance(part, Wiring):
            if isinstance(part, Var):
                self.names.setdefault(part.name, []).append(ins[0])
            return ins, [ins[source] for source in part.sources]
        outs = self.fresh(part.n_out)
        self.nodes.append(Node(part, tuple(ins), tuple(outs)))
        return ins, outs

    def _opened(self, block: Block) -> tuple[list[int], list[int]]:
        outside = self.depth
        self.depth = None if outside is None else outside - 1
        try:
            inside = block.circuit() if outside is None else block.outline()
        except NOT_TRACEABLE as error:
            raise CircuitError(
                f"{type(block).__name__}: its circuit depends on a number, which has no value in a "
                "run; declare a field that is structure with equinox.field(static=True)"
            ) from error
        wires = self.expand(resolved(inside))
        self.depth = outside
        return wires

    def resolve(self, ins: Sequence[int], outs: Sequence[int]) -> Graph:
        nodes = tuple(
            Node(node.atom, tuple(self._read(wire) for wire in node.ins), node.outs)
            for node in self.nodes
        )
        names = {
            name: tuple(dict.fromkeys(self._read(wire) for wire in found))
            for name, found in self.names.items()
        }
        return Graph(nodes, tuple(ins), tuple(self._read(wire) for wire in outs), names)

    def _read(self, wire: int) -> int:
        """The wire at the end of a chain of joins. It becomes the source of every link."""
        chain = []
        passed = set()
        while wire in self.source:
            if wire in passed:
                raise LoopError("a closed loop with no atom in it is read: its value is undefined")
            passed.add(wire)
            chain.append(wire)
            wire = self.source[wire]
        for link in chain:
            self.source[link] = wire
        return wire


def canonical(circuit: Circuit | Graph) -> Hashable:
    """The wiring graph up to the names of its wires and the order of its nodes.

    A walk from the outputs backward numbers the nodes, in the same order for every term of one
    graph. Nodes on which no output depends are left out.
    """
    graph = circuit if isinstance(circuit, Graph) else flatten(circuit)
    sources: dict[int, tuple[int, int]] = {
        wire: (index, port)
        for index, node in enumerate(graph.nodes)
        for port, wire in enumerate(node.outs)
    }
    inputs = {wire: index for index, wire in enumerate(graph.inputs)}
    numbers: dict[int, int] = {}
    order: list[int] = []
    pending = list(reversed(graph.outputs))
    while pending:
        wire = pending.pop()
        if wire in sources and sources[wire][0] not in numbers:
            index = sources[wire][0]
            numbers[index] = len(order)
            order.append(index)
            pending.extend(reversed(graph.nodes[index].ins))

    def name(wire: int) -> tuple[str, int, int]:
        if wire in inputs:
            return ("input", inputs[wire], 0)
        index, port = sources[wire]
        return ("node", numbers[index], port)

    nodes = tuple(
        (label(graph.nodes[index].atom), tuple(name(wire) for wire in graph.nodes[index].ins))
        for index in order
    )
    return len(graph.inputs), nodes, tuple(name(wire) for wire in graph.outputs)


def label(atom: Circuit) -> Hashable:
    """Equal for atoms and blocks of one structure with equal numbers, where these are known."""
    leaves, structure = jax.tree.flatten(atom)
    return structure, tuple(_number(leaf) for leaf in leaves)


def _number(leaf: object) -> Hashable:
    if not eqx.is_array(leaf) or not is_concrete(leaf):
        return id(leaf)
    array = np.asarray(leaf)
    return str(array.dtype), array.shape, array.tobytes()
