"""Layers: each box in a column, and wires cut into links between neighbouring columns.

A wire that passes a column has an item of its own there, a bend. A wire that leads back turns
around beside its source, passes the columns from right to left, and turns around again beside its
readers. So a link joins two ports that face one gap: one on each side of it, or both on the same.
"""

import dataclasses

from ..diagram import Diagram, Wire

_PASSES = 6
# A wire that leads back is harder to follow than one of the same length that does not.
_TURN = 2


@dataclasses.dataclass(frozen=True)
class Item:
    """What stands in a column: a box, or a bend of a wire, whose box is None.

    A bend has one port on each side. `backward` says that its wire runs from right to left.
    """

    box: int | None
    wire: int | None
    n_in: int
    n_out: int
    backward: bool = False


@dataclasses.dataclass(frozen=True)
class End:
    """An end of a link: a port of an item. `right` says on which side of the item."""

    item: int
    port: int
    right: bool


@dataclasses.dataclass(frozen=True)
class Link:
    """A piece of a wire in one gap, from where it comes from to where it leads."""

    wire: int
    start: End
    stop: End

    @property
    def turns(self) -> bool:
        """Whether both ends are on one side of the gap."""
        return self.start.right == self.stop.right


@dataclasses.dataclass(frozen=True)
class Layers:
    """Items in columns from left to right; `gaps[k]` has the links left of column k.

    There is one gap more than there are columns.
    """

    items: list[Item]
    columns: list[list[int]]
    gaps: list[list[Link]]


def layered(diagram: Diagram, order: list[int]) -> Layers:
    """The layers of a diagram, each column in order of appearance.

    Arcs that go forward in `order`, the boxes from left to right, lead to later columns.
    """
    columns = _columns(diagram, order)
    layers = Layers([], [[] for _ in range(max(columns, default=-1) + 1)], [])
    layers.gaps.extend([] for _ in range(len(layers.columns) + 1))
    for index, (box, column) in enumerate(zip(diagram.boxes, columns, strict=True)):
        _add(layers, Item(index, None, box.n_in, box.n_out), column)
    for index, wire in enumerate(diagram.wires):
        _forward(layers, index, wire, columns)
        _backward(layers, index, wire, columns)
    return layers


def _add(layers: Layers, item: Item, column: int) -> int:
    layers.items.append(item)
    layers.columns[column].append(len(layers.items) - 1)
    return len(layers.items) - 1


def _forward(layers: Layers, index: int, wire: Wire, columns: list[int]) -> None:
    """Cuts what leads to columns on the right. Readers share the bends on their way."""
    start = columns[wire.source.box]
    ahead = [port for port in wire.readers if columns[port.box] > start]
    tip = End(wire.source.box, wire.source.index, True)
    last = max((columns[port.box] for port in ahead), default=start)
    for column in range(start + 1, last + 1):
        for port in ahead:
            if columns[port.box] == column:
                layers.gaps[column].append(Link(index, tip, End(port.box, port.index, False)))
        if column < last:
            bend = _add(layers, Item(None, index, 1, 1), column)
            layers.gaps[column].append(Link(index, tip, End(bend, 0, False)))
            tip = End(bend, 0, True)


def _backward(layers: Layers, index: int, wire: Wire, columns: list[int]) -> None:
    """Cuts what leads back, to columns on the left or to the source's own."""
    start = columns[wire.source.box]
    back = [port for port in wire.readers if columns[port.box] <= start]
    tip = End(wire.source.box, wire.source.index, True)
    last = min((columns[port.box] for port in back), default=start + 1)
    for column in range(start, last - 1, -1):
        bend = _add(layers, Item(None, index, 1, 1, True), column)
        layers.gaps[column + 1].append(Link(index, tip, End(bend, 0, True)))
        tip = End(bend, 0, False)
        for port in back:
            if columns[port.box] == column:
                layers.gaps[column].append(Link(index, tip, End(port.box, port.index, False)))


def _columns(diagram: Diagram, order: list[int]) -> list[int]:
    """The column of each box: by the longest path that leads to it, then moved to shorten wires."""
    position = {box: index for index, box in enumerate(order)}
    before: list[list[int]] = [[] for _ in diagram.boxes]
    after: list[list[int]] = [[] for _ in diagram.boxes]
    for wire in diagram.wires:
        for port in wire.readers:
            if position[wire.source.box] < position[port.box]:
                before[port.box].append(wire.source.box)
                after[wire.source.box].append(port.box)
    kinds = [box.label.kind for box in diagram.boxes]
    first = 1 if "inputs" in kinds else 0
    columns = [0] * len(order)
    for box in order:
        least = 0 if kinds[box] == "inputs" else first
        columns[box] = max((columns[source] + 1 for source in before[box]), default=least)
    last = max((c for c, kind in zip(columns, kinds, strict=True) if kind != "outputs"), default=0)
    if "outputs" in kinds:
        columns[-1] = last + 1
    _shorten(diagram, order, columns, before, after, (first, last))
    used = {column: index for index, column in enumerate(sorted(set(columns)))}
    return [used[column] for column in columns]


def _shorten(
    diagram: Diagram,
    order: list[int],
    columns: list[int],
    before: list[list[int]],
    after: list[list[int]],
    bounds: tuple[int, int],
) -> None:
    """Moves each box between those before and after it to where its wires are shortest."""
    touching: list[list[Wire]] = [[] for _ in diagram.boxes]
    for wire in diagram.wires:
        for box in dict.fromkeys((wire.source.box, *(port.box for port in wire.readers))):
            touching[box].append(wire)
    for _ in range(_PASSES):
        moved = False
        for box in reversed(order):
            if diagram.boxes[box].is_end:
                continue
            low = max((columns[source] + 1 for source in before[box]), default=bounds[0])
            high = min((columns[reader] - 1 for reader in after[box]), default=bounds[1])
            costs = {}
            was = columns[box]
            for column in range(low, high + 1):
                columns[box] = column
                costs[column] = sum(_length(wire, columns) for wire in touching[box])
            # Of those as good, the rightmost: what feeds the box can then follow.
            best = min(costs, key=lambda column: (costs[column], -column))
            columns[box] = best
            moved |= best != was
        if not moved:
            break


def _length(wire: Wire, columns: list[int]) -> int:
    """How many columns a wire passes."""
    start = columns[wire.source.box]
    readers = [columns[port.box] for port in wire.readers]
    ahead = max((column - start for column in readers if column > start), default=0)
    back = max((start - column + _TURN for column in readers if column <= start), default=0)
    return ahead + back
