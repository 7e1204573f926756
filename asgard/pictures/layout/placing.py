"""Where everything is: boxes, the ports on their sides, and the ways of the wires between them."""

import dataclasses
from collections.abc import Sequence

from ..diagram import Box, Diagram, Wire
from ..geometry import Frame, Path, Point, line, spread, text_width
from .heights import Shape, heights
from .layers import End, Layers
from .ordering import ordered
from .routing import Gap, Way

NAME_SIZE, DETAIL_SIZE = 13.0, 9.5
# From port to port of one side.
_PITCH = 20.0
_LEAST_HEIGHT, _HEIGHT_WITH_DETAIL = 30.0, 38.0
_LEAST_WIDTH, _PADDING = 32.0, 9.0
_BESIDE_NAME = 4.0
_LOOSE = 12.0
_MARGIN = 14.0


@dataclasses.dataclass(frozen=True)
class Name:
    """The name of a wire: above it, from `point` on, or beside its end."""

    text: str
    point: Point
    beside: str = ""


@dataclasses.dataclass(frozen=True)
class Placed:
    """A diagram on a sheet. `frames` are those of its boxes; `ways` join `ports`.

    `arrows` are points on wires that lead back; `loose` are the ends of wires that nobody reads.
    """

    diagram: Diagram
    width: float
    height: float
    frames: tuple[Frame, ...]
    inputs: tuple[tuple[Point, ...], ...]
    outputs: tuple[tuple[Point, ...], ...]
    ways: tuple[Way, ...]
    dots: tuple[Point, ...]
    arrows: tuple[Point, ...]
    loose: tuple[tuple[Path, Point], ...]
    names: tuple[Name, ...]


def placed(diagram: Diagram) -> Placed:
    """A diagram laid out from left to right."""
    return _Placing(diagram, ordered(diagram)).placed()


def size_of(box: Box) -> tuple[float, float]:
    """The width and height of a box."""
    ports = _PITCH * max(box.n_in, box.n_out)
    if box.is_end:
        name = max((text_width(name, DETAIL_SIZE) for name in box.names), default=0.0)
        return name + _BESIDE_NAME, ports
    label = box.label
    text = max(text_width(label.name, NAME_SIZE), text_width(label.detail, DETAIL_SIZE))
    height = _HEIGHT_WITH_DETAIL if label.detail else _LEAST_HEIGHT
    return max(_LEAST_WIDTH, text + 2 * _PADDING), max(height, ports)


def _ports(count: int, height: float) -> tuple[float, ...]:
    return tuple(height / 2 + _PITCH * (index - (count - 1) / 2) for index in range(count))


class _Placing:
    """One diagram, while it is placed. Heights are known before widths: gaps need them."""

    def __init__(self, diagram: Diagram, layers: Layers):
        self.diagram, self.layers = diagram, layers
        self.sizes = [size_of(box) for box in diagram.boxes]
        shapes = [self._shape(index) for index in range(len(layers.items))]
        several = (i for i, box in enumerate(diagram.boxes) if box.is_end and len(box.names) > 1)
        self.tops = heights(layers, shapes, frozenset(several))
        self.ins = self._heights([shape.left for shape in shapes])
        self.outs = self._heights([shape.right for shape in shapes])
        self._free_ends()
        self._to_margin()
        self.column = {i: k for k, column in enumerate(layers.columns) for i in column}
        self.widths = [
            max((self._width(item) for item in column), default=0.0) for column in layers.columns
        ]

    def _shape(self, index: int) -> Shape:
        item = self.layers.items[index]
        if item.box is None:
            return Shape(0.0, (0.0,), (0.0,))
        height = self.sizes[item.box][1]
        return Shape(height, _ports(item.n_in, height), _ports(item.n_out, height))

    def _heights(self, sides: Sequence[Sequence[float]]) -> list[list[float]]:
        return [[top + y for y in side] for top, side in zip(self.tops, sides, strict=True)]

    def _free_ends(self) -> None:
        """Sets the ports of the ends beside what they are linked to: they stand in no box."""
        for index, box in enumerate(self.diagram.boxes):
            if not box.is_end:
                continue
            ports = self.outs[index] if box.n_out else self.ins[index]
            wanted = [list[float]() for _ in ports]
            for gap in self.layers.gaps:
                for link in gap:
                    for near, far in ((link.start, link.stop), (link.stop, link.start)):
                        if near.item == index:
                            wanted[near.port].append(self.height(far))
            pairs = zip(wanted, ports, strict=True)
            ports[:] = spread([sum(w) / len(w) if w else y for w, y in pairs], _PITCH)

    def _width(self, item: int) -> float:
        box = self.layers.items[item].box
        return 0.0 if box is None else self.sizes[box][0]

    def height(self, end: End) -> float:
        """The y of an end of a link."""
        return (self.outs if end.right else self.ins)[end.item][end.port]

    def _to_margin(self) -> None:
        """Moves all down, or up, to below the upper margin, names of wires too."""
        tops = (self.tops[i] for i, box in enumerate(self.diagram.boxes) if not box.is_end)
        bends = self.tops[len(self.sizes) :]
        heights = [
            *tops,
            *bends,
            *(y - DETAIL_SIZE for side in (self.ins, self.outs) for y in _flat(side)),
        ]
        shift = _MARGIN - min(heights, default=0.0)
        self.tops = [top + shift for top in self.tops]
        self.ins, self.outs = (
            [[y + shift for y in s] for s in side] for side in (self.ins, self.outs)
        )

    def placed(self) -> Placed:
        gaps = [
            Gap(links, self.height, self._beside(column - 1))
            for column, links in enumerate(self.layers.gaps)
        ]
        starts, x = [], _MARGIN
        # Nothing is left of the first column or right of the last but what turns around there.
        for column, width in enumerate(self.widths):
            x += gaps[column].width if column or gaps[column].links else 0.0
            starts.append(x)
            x += width
        last = gaps[-1].width if gaps[-1].links or self._beside(len(self.widths) - 1) else 0.0
        self.middles = [start + width / 2 for start, width in zip(starts, self.widths, strict=True)]
        ways, dots = [], []
        for column, gap in enumerate(gaps):
            at = starts[column] - gap.width if column < len(starts) else x
            for link in gap.links:
                ways.append(gap.way(link, at, self._point(link.start), self._point(link.stop)))
            dots += gap.dots(at)
        boxes = range(len(self.diagram.boxes))
        return Placed(
            diagram=self.diagram,
            width=x + last + _MARGIN,
            height=self._bottom() + _MARGIN,
            frames=tuple(self._frame(box) for box in boxes),
            inputs=tuple(self._points(box, right=False) for box in boxes),
            outputs=tuple(self._points(box, right=True) for box in boxes),
            ways=tuple(ways),
            dots=tuple(dots),
            arrows=tuple(self._arrows()),
            loose=tuple(self._loose()),
            names=tuple(self._names()),
        )

    def _beside(self, column: int) -> float:
        """How far names of wires and loose ends reach out of a column."""
        reach = [0.0]
        for wire in self.diagram.wires:
            box = wire.source.box
            if self.column[box] == column:
                inside = (self.widths[column] - self.sizes[box][0]) / 2
                reach.append(0.0 if wire.readers else _LOOSE + _BESIDE_NAME - inside)
                if self._is_named(wire):
                    name = text_width(wire.name, DETAIL_SIZE) + 2 * _BESIDE_NAME
                    reach.append(name - inside)
        return max(reach)

    def _is_named(self, wire: Wire) -> bool:
        """Whether a wire bears its name: it has one, and leads not only to where its end has it."""
        boxes = self.diagram.boxes
        inside = not wire.readers or any(not boxes[port.box].is_end for port in wire.readers)
        return bool(wire.name) and inside and not boxes[wire.source.box].is_end

    def _frame(self, box: int) -> Frame:
        width, height = self.sizes[box]
        column = self.column[box]
        x = self.middles[column] - width / 2
        if not self.diagram.boxes[box].is_end:
            return Frame(x, self.tops[box], width, height)
        ports = [*self.ins[box], *self.outs[box]]
        return Frame(x, ports[0] - _PITCH / 2, width, ports[-1] - ports[0] + _PITCH)

    def _points(self, box: int, right: bool) -> tuple[Point, ...]:
        frame = self._frame(box)
        heights = (self.outs if right else self.ins)[box]
        return tuple(Point(frame.right if right else frame.x, y) for y in heights)

    def _point(self, end: End) -> Point:
        """Where a link ends: at the side of a box, or in the middle of a column."""
        x = self.middles[self.column[end.item]]
        width = self._width(end.item)
        return Point(x + (width / 2 if end.right else -width / 2), self.height(end))

    def _bottom(self) -> float:
        boxes = enumerate(self.diagram.boxes)
        bottoms = (self.tops[i] + self.sizes[i][1] for i, box in boxes if not box.is_end)
        return max([*bottoms, *_flat(self.ins), *_flat(self.outs)], default=_MARGIN)

    def _arrows(self) -> list[Point]:
        """The middle of each wire that leads back."""
        bends: dict[int, list[int]] = {}
        for index, item in enumerate(self.layers.items):
            if item.backward and item.wire is not None:
                bends.setdefault(item.wire, []).append(index)
        middle = (found[len(found) // 2] for found in bends.values())
        return [self._point(End(item, 0, True)) for item in middle]

    def _loose(self) -> list[tuple[Path, Point]]:
        found = []
        for wire in self.diagram.wires:
            if not wire.readers:
                start = self._point(End(wire.source.box, wire.source.index, True))
                end = Point(start.x + _LOOSE, start.y)
                found.append((line(start, end), end))
        return found

    def _names(self) -> list[Name]:
        found = []
        for index, box in enumerate(self.diagram.boxes):
            for name, y in zip(box.names, [*self.ins[index], *self.outs[index]], strict=False):
                frame = self._frame(index)
                inputs = box.n_out > 0
                x = frame.right - _BESIDE_NAME if inputs else frame.x + _BESIDE_NAME
                if name:
                    found.append(Name(name, Point(x, y), "left" if inputs else "right"))
        for wire in self.diagram.wires:
            if self._is_named(wire):
                point = self._point(End(wire.source.box, wire.source.index, True))
                found.append(Name(wire.name, Point(point.x + _BESIDE_NAME, point.y - 4.0)))
        return found


def _flat(heights: Sequence[Sequence[float]]) -> list[float]:
    return [y for side in heights for y in side]
