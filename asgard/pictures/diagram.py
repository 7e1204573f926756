"""Circuits as diagrams: boxes with ports in order, and wires from one port to any number."""

import dataclasses

from ..circuits.atoms.registers import Coordinate
from ..circuits.atoms.wiring import Wiring
from ..circuits.circuit import Block, Circuit
from ..circuits.constraints import resolved
from ..circuits.graph import Graph, flatten
from ..circuits.terms import fold
from .labels import Label, label_of, shortened


@dataclasses.dataclass(frozen=True)
class Box:
    """A node of a diagram, with inputs on its left and outputs on its right, from top to bottom.

    The ends of a circuit are boxes too, of the kinds "inputs" and "outputs". `names` are then those
    of its ports.
    """

    label: Label
    n_in: int
    n_out: int
    names: tuple[str, ...] = ()

    @property
    def is_end(self) -> bool:
        """Whether the box stands for the inputs or the outputs of the circuit."""
        return self.label.kind in ("inputs", "outputs")


@dataclasses.dataclass(frozen=True, order=True)
class Port:
    """An input or output of a box, by its index from the top."""

    box: int
    index: int


@dataclasses.dataclass(frozen=True)
class Wire:
    """What goes from an output of a box to inputs of boxes. `name` is empty where it has none."""

    source: Port
    readers: tuple[Port, ...]
    name: str = ""


@dataclasses.dataclass(frozen=True)
class Diagram:
    """Boxes in order of appearance, the inputs first and the outputs last, and their wires.

    `composed` says that this is an order from left to right, so that what leads back is traced.
    """

    boxes: tuple[Box, ...]
    wires: tuple[Wire, ...]
    composed: bool = False


def diagram_of(circuit: Circuit, depth: int | None) -> Diagram:
    """The diagram of a circuit with blocks opened `depth` levels deep; None opens all.

    A circuit that is a block itself is always opened.
    """
    opened = depth if depth is None or not isinstance(circuit, Block) else depth + 1
    graph = flatten(circuit, depth=opened)
    names: dict[int, str] = {}
    for name, wires in graph.names.items():
        for wire in wires:
            names[wire] = f"{names[wire]}, {name}" if wire in names else name
    given = circuit.input_names if isinstance(circuit, Block) else ()
    inputs = dict(zip(graph.inputs, given, strict=True)) if given else {}
    return _wired(graph, {**inputs, **names}, _is_composed(circuit, opened))


def _is_composed(circuit: Circuit, depth: int | None) -> bool:
    """Whether a term composes its atoms. One made by a program has them in one row, all traced."""

    def longest(combinator: str, count: int, lengths: list[int]) -> int:
        return sum(lengths) if combinator == "composition" else max(lengths)

    if isinstance(circuit, Block) and depth != 0:
        inside = circuit.circuit() if depth is None else circuit.outline()
        return _is_composed(resolved(inside), None if depth is None else depth - 1)
    nodes = [part for part in circuit.parts if not isinstance(part, Wiring)]
    row = fold(circuit, lambda part: int(not isinstance(part, Wiring)), longest) == 1
    if len(nodes) > 1 and row:
        return False
    return depth == 0 or all(_is_composed(part, depth) for part in nodes if isinstance(part, Block))


def _wired(graph: Graph, names: dict[int, str], composed: bool) -> Diagram:
    """The diagram of a graph whose wires have these names."""
    boxes: list[Box] = []
    sources: dict[int, Port] = {}
    readers: dict[int, list[Port]] = {}

    def add(box: Box, ins: tuple[int, ...], outs: tuple[int, ...]) -> None:
        for index, wire in enumerate(ins):
            readers.setdefault(wire, []).append(Port(len(boxes), index))
        sources.update({wire: Port(len(boxes), index) for index, wire in enumerate(outs)})
        boxes.append(box)

    def end(kind: str, wires: tuple[int, ...]) -> Box:
        ports = tuple(shortened(names.get(wire, "")) for wire in wires)
        inputs = kind == "inputs"
        counts = (0, len(wires)) if inputs else (len(wires), 0)
        return Box(Label("", kind), *counts, ports)

    if graph.inputs:
        add(end("inputs", graph.inputs), (), graph.inputs)
    known = names | {
        node.outs[0]: node.atom.dim for node in graph.nodes if isinstance(node.atom, Coordinate)
    }
    for node in graph.nodes:
        label = label_of(node.atom, [known.get(wire) for wire in node.ins])
        add(Box(label, len(node.ins), len(node.outs)), node.ins, node.outs)
    if graph.outputs:
        add(end("outputs", graph.outputs), graph.outputs, ())
    wires = (
        Wire(source, tuple(readers.get(wire, ())), shortened(names.get(wire, "")))
        for wire, source in sources.items()
    )
    return Diagram(tuple(boxes), tuple(wires), composed)
