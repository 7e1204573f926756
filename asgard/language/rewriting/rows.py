"""From nodes and wires to a term that one can read: nodes one after another, on a row of wires.

`circuits.assembly` puts all nodes side by side in one feedback loop, whose size is linear in the
graph. The terms here have no loop where there is none, and grow with the width of the row.
"""

from collections import Counter
from collections.abc import Sequence

from ...circuits.assembly import Wired
from ...circuits.atoms.wiring import Discard, Id, Permute, Split, Swap, Var
from ...circuits.circuit import Circuit, Composition, Monoidal, Trace


def row_by_row(
    nodes: Sequence[Wired],
    inputs: Sequence[int],
    outputs: Sequence[int],
    names: Sequence[tuple[str, int]],
    widest: int,
) -> Circuit | None:
    """The circuit of nodes that are joined by wires, with its atoms in the order given.

    Wires that are read before they are driven are fed back. None where a row would be wider than
    `widest`, and where there is neither a node nor a wire.
    """
    driven = set(inputs)
    back: dict[int, int] = {}  # wires that are fed back, each with the end that is read
    following = 1 + max([*inputs, *(wire for node in nodes for wire in node.drives)], default=0)
    placed = []
    for node in nodes:
        for wire in node.reads:
            if wire not in driven:
                back.setdefault(wire, following + len(back))
        reads = tuple(wire if wire in driven else back[wire] for wire in node.reads)
        placed.append(Wired(node.circuit, reads, node.drives))
        driven.update(node.drives)
    rows = _Rows([*inputs, *back.values()], names, placed)
    rows.left.update([*outputs, *back])
    rows.label(inputs)
    for node in placed:
        rows.add(node)
        if len(rows.wires) > widest:
            return None
    rows.arrange([*outputs, *back])
    whole = rows.circuit()
    return Trace(whole, len(back)) if back and whole is not None else whole


class _Rows:
    """A term under construction: the wires that lie side by side now, and how often each is still
    to be read."""

    def __init__(self, wires: list[int], names: Sequence[tuple[str, int]], nodes: Sequence[Wired]):
        self.wires = wires
        self.names: dict[int, list[str]] = {}
        for name, wire in names:
            self.names.setdefault(wire, []).append(name)
        self.left = Counter(wire for node in nodes for wire in node.reads)
        self.layers: list[Circuit] = []
        self.passing = Id(len(wires)) if wires else None

    def add(self, node: Wired) -> None:
        """One more node, to the right of the wires that others still read."""
        self.left.subtract(node.reads)
        kept = [wire for wire in dict.fromkeys(self.wires) if self.left[wire] > 0]
        self.arrange([*kept, *node.reads])
        self.beside(len(kept), [node.circuit])
        self.wires = [*kept, *node.drives]
        self.label(node.drives)

    def label(self, wires: Sequence[int]) -> None:
        """Names the wires that have names, once they are driven."""
        labels = [[Var(name) for name in self.names.get(wire, ())] for wire in wires]
        if any(labels):
            parts = [
                Composition(*one) if len(one) > 1 else one[0] if one else Id() for one in labels
            ]
            first = self.wires.index(wires[0])
            rest = len(self.wires) - first - len(wires)
            self.beside(first, [*parts, *([Id(rest)] if rest else [])])

    def arrange(self, wanted: Sequence[int]) -> None:
        """Copies, discards and reorders wires."""
        counts = Counter(wanted)
        copies = [_copied(counts[wire]) for wire in self.wires]
        if not all(isinstance(copy, Id) for copy in copies):
            self.beside(0, copies)
        lying = [wire for wire in self.wires for _ in range(counts[wire])]
        starts = {wire: lying.index(wire) for wire in reversed(lying)}
        order = []
        for wire in wanted:
            order.append(starts[wire])
            starts[wire] += 1
        if order != sorted(order):
            self.layers.append(Swap() if order == [1, 0] else Permute(tuple(order)))
        self.wires = list(wanted)

    def beside(self, passing: int, circuits: Sequence[Circuit]) -> None:
        """A layer of circuits, after some wires that pass."""
        joined: list[Circuit] = [Id(passing)] if passing else []
        for circuit in circuits:
            last = joined[-1] if joined else None
            if isinstance(circuit, Id) and isinstance(last, Id):
                joined[-1] = Id(last.n + circuit.n)
            else:
                joined.append(circuit)
        self.layers.append(Monoidal(*joined) if len(joined) > 1 else joined[0])

    def circuit(self) -> Circuit | None:
        if len(self.layers) > 1:
            return Composition(*self.layers)
        return self.layers[0] if self.layers else self.passing


def _copied(count: int) -> Circuit:
    if count == 1:
        return Id()
    return Split(count) if count else Discard()
